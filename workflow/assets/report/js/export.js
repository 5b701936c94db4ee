// A table as text: Markdown, LaTeX with booktabs, CSV. A table is {columns, rows: [[label, cells]], caption}, where a cell
// is {mean, sd, level, mark} with the numbers as text, or null for n/a.

const plain = (text) => String(text).replace(/\s+/g, " ");
const escapeMarkdown = (text) =>
  plain(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/[\\`*|[\]~_]/g, "\\$&");
const escapeLatex = (text) => [...plain(text)].map((one) => DATA.latex[one] ?? one).join("");
const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

function toMarkdown(table, options) {
  const shape = (cell) => {
    if (!cell) return "n/a";
    const text = cell.mean + (options.sd && cell.sd ? ` ± ${cell.sd}` : "") + (options.level && cell.level ? " †" : "");
    return cell.mark === "best" ? `**${text}**` : cell.mark === "second" ? `<u>${text}</u>` : text;
  };
  const lines = table.rows.map(([label, cells]) => `| ${[escapeMarkdown(label), ...cells.map(shape)].join(" | ")} |`);
  const head = ["method", ...table.columns].map(escapeMarkdown);
  const rule = `|:--|${table.columns.map(() => "--:|").join("")}`;
  return [`| ${head.join(" | ")} |`, rule, ...lines, "", escapeMarkdown(table.caption), ""].join("\n");
}

function toLatex(table, options) {
  const shape = (cell) => {
    if (!cell) return "n/a";
    const text = cell.mean + (options.sd && cell.sd ? ` $\\pm$ ${cell.sd}` : "") + (options.level && cell.level ? " $\\dagger$" : "");
    return cell.mark === "best" ? `\\textbf{${text}}` : cell.mark === "second" ? `\\underline{${text}}` : text;
  };
  const lines = table.rows.map(([label, cells]) => `${[escapeLatex(label), ...cells.map(shape)].join(" & ")} \\\\`);
  const head = ["method", ...table.columns].map(escapeLatex).join(" & ");
  return [
    "% needs \\usepackage{booktabs}",
    "\\begin{table}",
    "\\centering",
    `\\begin{tabular}{l${"r".repeat(table.columns.length)}}`,
    "\\toprule",
    `${head} \\\\`,
    "\\midrule",
    ...lines,
    "\\bottomrule",
    "\\end{tabular}",
    `\\caption{${escapeLatex(table.caption)}}`,
    "\\end{table}",
    "",
  ].join("\n");
}

function toCsv(table, options) {
  const parts = (cell) => (options.sd ? [cell?.mean ?? "", cell?.sd ?? ""] : [cell?.mean ?? ""]);
  const head = ["method", ...table.columns.flatMap((column) => (options.sd ? [column, `${column} sd`] : [column]))];
  const lines = table.rows.map(([label, cells]) => [plain(label), ...cells.flatMap(parts)]);
  return [head, ...lines].map((line) => line.map(quoted).join(",")).join("\n") + "\n";
}

const FORMATS = { Markdown: toMarkdown, LaTeX: toLatex, CSV: toCsv };
