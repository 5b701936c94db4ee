// What the studies come to over datasets, what peeking adds, regimes side by side, and what is missing.

/** Rows by datasets at the chosen number of shots, their mean and rank, and how many others each has beaten. */
function summarySection() {
  if (DATA.places.length < 2) return null;
  const box = h("div.scroll", { id: "summary-box", tabindex: 0, role: "region", "aria-label": "Rows by datasets" });
  watch(["metric", "regime", "shots", "rows", "labels"], () => { if (!made.start) renderSummary(box); });
  const made = section("summary", "All datasets", "Each dataset and backbone at the chosen number of shots, and their mean where none is missing. The rank is over all datasets, backbones and numbers of shots, by the study's metric; won and lost are comparisons with every other row there, at a false discovery rate of 5 %.", box);
  made.start = () => renderSummary(box);
  return made;
}

function renderSummary(box) {
  const hidden = hiddenRows();
  const rows = DATA.rows.map((_, i) => i).filter((row) => !hidden.has(row));
  const grid = rows.map((row) => DATA.places.map((_, at) => statsOf(at, row, shots(), metric(), state.regime)?.[0]));
  const means = grid.map((cells) => (cells.every((cell) => cell !== undefined) ? cells.reduce((a, b) => a + b, 0) / cells.length : undefined));
  const marks = [...DATA.places.keys()].map((j) => bestOf(metric(), grid.map((cells) => cells[j])));
  const best = bestOf(metric(), means.map((mean) => (mean === undefined ? mean : Number(mean.toFixed(2)))));
  const cell = (value, mark) => h(`td.r${mark ? `.${mark}` : ""}`, { "data-order": value ?? "" }, value === undefined ? "n/a" : shown(metric(), value));
  const table = h("table.numbers", {}, h("caption.unseen", {}, "Rows by datasets"),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "method"),
      ...DATA.places.map((one) => h("th.r", { scope: "col" }, backbones.length > 1 ? `${one.dataset}, ${one.backbone}` : one.dataset)),
      ...["mean", "mean rank", "won", "undecided", "lost"].map((text) => h("th.r", { scope: "col" }, text)))),
    h("tbody", {}, ...rows.map((row, i) => h("tr", {},
      nameHead(row),
      ...grid[i].map((value, j) => cell(value, marks[j].get(i))), cell(means[i], best.get(i)),
      h("td.r", { "data-order": DATA.ranks[row] ?? "" }, DATA.ranks[row]?.toFixed(2) ?? "n/a"), ...scores(row)))));
  fill(box, table);
  new DataTable(table, { paging: rows.length > PAGE, pageLength: PAGE, lengthChange: false, searching: false, info: false, order: [], autoWidth: false,
    columnDefs: [{ targets: 0, type: "string" }, { targets: "_all", type: "known", orderSequence: ["desc", "asc", ""] }] });
}

/** How many comparisons a row has won, left undecided and lost against all others of its study. */
function scores(row) {
  const found = DATA.wins[DATA.rows[row].study].filter(([a]) => a === row);
  const sums = [2, 3, 4].map((k) => (found.length ? found.reduce((sum, one) => sum + one[k], 0) : ""));
  return sums.map((sum) => h("td.r", { "data-order": sum }, sum === "" ? "n/a" : String(sum)));
}

/** The peeking gap, and where a study has several regimes these side by side; nothing where there is neither. */
function peekingSection() {
  const gaps = DATA.entries.some((entry) => entry.gap !== undefined);
  const regimes = [...new Set(DATA.studies.flatMap((study) => study.regimes))];
  if (!gaps && regimes.length < 2) return null;
  const box = h("div", { id: "peeking-box" });
  watch(["dataset", "backbone", "metric", "shots", "rows", "labels"], () => { if (!made.start) renderPeeking(box, gaps, regimes); });
  const about = [...(gaps ? new Set(DATA.studies.map((study) => study.peeking)) : []), regimes.length > 1 ? regimes.map((name) => `${name}: ${DATA.regimes[name]}.`).join(" ") : ""].join(" ");
  const made = section("peeking", regimes.length > 1 ? "Regimes and peeking" : "Peeking", about, box);
  made.start = () => renderPeeking(box, gaps, regimes);
  return made;
}

function renderPeeking(box, gaps, regimes) {
  const hidden = hiddenRows();
  const columns = columnsHere();
  const rows = rowsHere().filter((row) => !hidden.has(row) && columns.some((column) => {
    const entry = entryOf(place(), row, column);
    return entry?.gap !== undefined || Object.keys(entry?.stats ?? {}).length > 1;
  }));
  const gapOf = (row, column) => entryOf(place(), row, column)?.gap;
  const gapTable = h("table.numbers", {}, h("caption", {}, "Peeking gap in points"),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "method"), ...columns.map((column) => h("th.r", { scope: "col" }, shotsName(DATA.shots[column]))))),
    h("tbody", {}, ...rows.map((row) => h("tr", {}, nameHead(row), ...columns.map((column) =>
      h("td.r", {}, gapOf(row, column) === undefined ? "–" : `+${gapOf(row, column).toFixed(2)}`))))));
  const sideBySide = h("table.numbers", {}, h("caption", {}, `${DATA.metrics[metric()].label} by regime, ${shotsName(state.shots)}`),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "method"), ...regimes.map((name) => h("th.r", { scope: "col" }, name)))),
    h("tbody", {}, ...rows.map((row) => h("tr", {}, nameHead(row), ...regimes.map((name) => {
      const stats = statsOf(place(), row, shots(), metric(), name);
      return h("td.r", {}, stats ? shown(metric(), stats[0]) : "–", stats && stats[1] !== null ? h("span.sd", {}, `\u00a0± ${shown(metric(), stats[1])}`) : null);
    })))));
  const region = (label, table) => h("div.scroll", { tabindex: 0, role: "region", "aria-label": label }, table);
  fill(box, gaps ? region("Gaps by row", gapTable) : null, regimes.length > 1 ? region("Regimes side by side", sideBySide) : null);
}

const nameHead = (row) => h("th.name", { scope: "row", "data-order": labelOf(row), "data-search": labelOf(row) },
  h("span.line.two", {}, swatch(row), h("span.label", {}, named(row))));

const OPENED = 12; // missing cells of one reason that are listed without a click
const LISTED = 200; // and that are listed at all

/** Cells that are not there, and rows that could not run, each with the reason; nothing where there are none. */
function missingSection() {
  const reasons = new Map();
  for (const [path, why] of DATA.studies.flatMap((study) => study.missing)) {
    if (!reasons.has(why)) reasons.set(why, []);
    reasons.get(why).push(path);
  }
  const unable = new Map();
  for (const entry of DATA.entries) if (entry.why) {
    const key = `${DATA.rows[entry.r].name}: ${entry.why}`;
    const where = DATA.places[entry.p];
    unable.set(key, (unable.get(key) ?? new Set()).add(`${where.dataset}, ${where.backbone}`));
  }
  if (!reasons.size && !unable.size) return null;
  return section("missing", "Missing", reasons.size ? "Cells that are not there, by the reason; the command of the study makes them." : "Rows that could not be run.",
    ...[...reasons].map(([why, paths]) => h("details.reason", { open: paths.length <= OPENED },
      h("summary", {}, `${paths.length} ${paths.length === 1 ? "cell" : "cells"}: ${why}`),
      h("ul.notes", {}, ...paths.slice(0, LISTED).map((path) => h("li", {}, path)), paths.length > LISTED ? h("li", {}, `and ${paths.length - LISTED} more`) : null))),
    unable.size ? h("ul.notes", {}, ...[...unable].map(([text, where]) => h("li", {}, `${text} (${[...where].join("; ")})`))) : null);
}
