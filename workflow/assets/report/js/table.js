// The table: methods in rows, numbers of labelled images in columns. Sorting, searching and pages are DataTables'.

const PAGE = 50; // rows at a time
let sorted = null; // the DataTable
// Numbers of which some are not there: these come last, whichever way the others go.
const lastWithout = (compare) => (a, b) => (a === "" || b === "" ? (a === "") - (b === "") : compare(Number(a), Number(b)));
DataTable.ext.type.order["known-asc"] = lastWithout((a, b) => a - b);
DataTable.ext.type.order["known-desc"] = lastWithout((a, b) => b - a);

function tableSection() {
  const box = h("div.scroll", { id: "table-box" });
  const tools = h("div.tools", { id: "table-tools" });
  watch(["dataset", "backbone", "metric", "regime", "rows", "columns", "labels", "sort", "find"], (changed) => {
    if (changed.length === 1 && (changed[0] === "sort" || changed[0] === "find")) follow();
    else renderTable();
  });
  return section("table", "Methods", null, tools, box, h("div", { id: "table-notes" }));
}

/** The columns: one for each number of shots that some row here has. */
function columnsHere() {
  const at = place();
  const grids = DATA.studies.filter((study) => study.grid.datasets.includes(DATA.places[at].dataset));
  return DATA.shots.map((_, i) => i).filter((i) => grids.some((study) => study.grid.shots.includes(DATA.shots[i])));
}

/** The numbers at the chosen place: by row, by column {mean, sd, interval, level, mark, why}. */
function numbersHere(rows, columns) {
  const [at, what] = [place(), metric()];
  const grid = rows.map((row) => columns.map((column) => {
    const stats = statsOf(at, row, column, what, state.regime);
    if (!stats) return { why: entryOf(at, row, column)?.why ?? missingWhy(at, row, column) };
    return { mean: stats[0], sd: stats[1], ...testOf(at, row, column, what, state.regime) };
  }));
  columns.forEach((_, j) => {
    for (const [i, mark] of bestOf(what, grid.map((cells) => cells[j].mean))) grid[i][j].mark = mark;
  });
  return grid;
}

/** Why a cell is missing, by its study and the end of its path. */
const reasonsOf = new Map(DATA.studies.flatMap((study, i) =>
  study.missing.map(([path, why]) => [`${i}|${path.split("/").slice(-5).join("/")}`, why])));

function missingWhy(at, row, column) {
  const { dataset, backbone } = DATA.places[at];
  const shotsOf = DATA.rows[row].learns ? DATA.shots[column] : "0";
  const why = reasonsOf.get(`${DATA.rows[row].study}|metrics/${dataset}/${backbone}/${DATA.rows[row].label}/${shotsOf}.json`);
  return why ?? (entryOf(at, row, column)?.stats ? "not recorded" : "not in this study");
}

function renderTable() {
  const hidden = hiddenRows();
  const [rows, columns] = [rowsHere().filter((row) => !hidden.has(row)), columnsHere()];
  const grid = numbersHere(rows, columns);
  const scale = columns.map((_, j) => scaleOf(grid.map((cells) => cells[j])));
  sorted?.destroy();
  const table = h("table.numbers", { id: "numbers", "aria-describedby": "table-notes" },
    h("caption.unseen", {}, captionHere()),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "method"), ...columns.map((column) =>
      h("th.r", { scope: "col" }, shotsName(DATA.shots[column]))))),
    h("tbody", {}, ...rows.map((row, i) => h("tr", { "data-row": row }, nameCell(row),
      ...grid[i].map((cell, j) => numberCell(row, columns[j], cell, scale[j]))))));
  fill(byId("table-box"), table);
  sorted = new DataTable(table, {
    paging: rows.length > PAGE,
    pageLength: PAGE,
    lengthChange: false,
    order: sortOf(columns.length),
    layout: { topStart: null, topEnd: null, bottomStart: rows.length > PAGE ? "info" : null, bottomEnd: rows.length > PAGE ? "paging" : null },
    autoWidth: false,
    search: { search: state.find },
    columnDefs: [{ targets: 0, type: "string", searchable: true, orderSequence: ["asc", "desc", ""] },
      { targets: "_all", type: "known", searchable: false, orderSequence: ["desc", "asc", ""] }],
    language: { emptyTable: "no row is shown", zeroRecords: "no row matches" },
  });
  const off = hiddenColumns();
  columns.forEach((column, j) => { if (off.has(column)) sorted.column(j + 1).visible(false); });
  sorted.on("order", () => {
    const [first] = sorted.order();
    choose({ sort: first && first[1] ? `${first[0]}${first[1][0]}` : "" });
  });
  renderTools(rows, columns);
  renderNotes(rows);
}

/** The order that the state asks for, in DataTables' form. */
function sortOf(columns) {
  const [, column, way] = state.sort.match(/^(\d+)([ad])$/) ?? [];
  return column !== undefined && Number(column) <= columns ? [[Number(column), way === "a" ? "asc" : "desc"]] : [];
}

/** Sort and search as the address says, where it isn't the table that has told it. */
function follow() {
  if (!sorted) return;
  if (sorted.search() !== state.find) sorted.search(state.find).draw();
  const field = byId("find");
  if (field && field.value !== state.find) field.value = state.find;
  const now = JSON.stringify(sorted.order().map(([column, way]) => [column, way]));
  const wanted = sortOf(columnsHere().length);
  if (now !== JSON.stringify(wanted) && (wanted.length || now !== "[]")) sorted.order(wanted).draw();
}

function nameCell(row) {
  const label = labelOf(row);
  const hide = h("button.icon", {
    type: "button", "aria-label": `Hide ${label}`, "data-tip": "Hide this row here and in the charts",
    onclick: () => choose({ rows: toggled(state.rows, row) }),
  }, "×");
  return h("th.name", { scope: "row", "data-order": label, "data-search": label }, h("span.line", {},
    swatch(row), h("span.label", { "data-tip": label.length > 90 ? label : null }, named(row)), hide));
}

/** Where a column's intervals begin and end. */
function scaleOf(cells) {
  const ends = cells.flatMap((cell) => cell.interval ?? (cell.mean === undefined ? [] : [cell.mean]));
  return [Math.min(...ends), Math.max(...ends)];
}

function numberCell(row, column, cell, [low, high]) {
  if (cell.mean === undefined) {
    return h("td.r.na", { "data-order": "", "data-tip": cell.why, tabindex: 0 }, "n/a");
  }
  const what = metric();
  const tip = [
    cell.interval && `95 % interval ${cell.interval[0].toFixed(2)} to ${cell.interval[1].toFixed(2)}`,
    cell.mark && (cell.mark === "best" ? "highest mean of the column" : "second best mean"),
    cell.level && "not distinguishable from the best of its column",
  ].filter(Boolean).join("; ").replace("highest", DATA.metrics[what].better === "low" ? "lowest" : "highest");
  const span = high - low || 1;
  const [from, to] = cell.interval ?? [cell.mean, cell.mean];
  const place_ = (value) => `${((100 * (value - low)) / span).toFixed(1)}%`;
  const strip = cell.interval
    ? h("span.strip", { "aria-hidden": "true", style: `--a:${place_(from)};--b:${place_(to)};--m:${place_(cell.mean)}` })
    : null;
  return h("td.r", { "data-order": cell.mean }, h(`button.number${cell.mark ? `.${cell.mark}` : ""}`, {
    type: "button", "data-tip": tip || null, "aria-description": tip || null,
    onclick: () => choose({ cell: `${row}.${column}` }),
  }, shown(what, cell.mean), cell.sd === null || cell.sd === undefined ? null : h("span.sd", {}, `\u00a0± ${shown(what, cell.sd)}`),
    h("span.level", {}, cell.level ? "\u00a0†" : "")), strip);
}

function captionHere() {
  const where = DATA.places[place()];
  const study = DATA.studies[DATA.rows[rowsHere()[0]]?.study ?? 0];
  const what = DATA.metrics[metric()];
  const seeds = study.seeds > 1 ? `mean ± standard deviation over ${study.seeds} seeds` : "one seed";
  return `${where.dataset}, ${where.backbone}: ${what.label}${what.percent ? " in percent" : ""} on ${where.reported ?? study.report}, ${seeds}; regime ${state.regime}.`;
}

function renderTools(rows, columns) {
  const off = hiddenColumns();
  const hidden = [...hiddenRows()].filter((row) => rowsHere().includes(row));
  const find = h("input", {
    type: "search", id: "find", placeholder: "Search rows", "aria-label": "Search rows", value: state.find,
    oninput: () => choose({ find: find.value }),
  });
  const boxes = columns.map((column) => h("label.radio", {}, h("input", {
    type: "checkbox", checked: !off.has(column),
    onchange: () => choose({ columns: toggled(state.columns, column) }),
  }), shotsName(DATA.shots[column])));
  const focused = document.activeElement?.id === "find";
  fill(byId("table-tools"), find, h("details.menu", {}, h("summary", {}, "Columns"), h("div.pop", {}, ...boxes)),
    h("button", { type: "button", id: "copy", onclick: () => openCopy(tableShown) }, "Copy as…"),
    hidden.length ? h("button", { type: "button", id: "show-all", onclick: () => choose({ rows: "" }) },
      `Show ${hidden.length} hidden ${hidden.length === 1 ? "row" : "rows"}`) : null);
  if (focused) find.focus();
}

/** What the table shows now, in its order, for the copy. */
function tableShown() {
  const [columns, off] = [columnsHere(), hiddenColumns()];
  const kept = columns.map((_, j) => j).filter((j) => !off.has(columns[j]));
  const order = sorted.rows({ order: "applied", search: "applied" }).nodes().toArray().map((node) => Number(node.dataset.row));
  const all = rowsHere().filter((row) => !hiddenRows().has(row));
  const grid = numbersHere(all, columns);
  const what = metric();
  const cell = (one) => one.mean === undefined ? null : {
    ...one, mean: shown(what, one.mean), sd: one.sd === null || one.sd === undefined ? "" : shown(what, one.sd),
  };
  return {
    columns: kept.map((j) => shotsName(DATA.shots[columns[j]])),
    rows: order.map((row) => [labelOf(row), kept.map((j) => cell(grid[all.indexOf(row)][j]))]),
    numbers: order,
    caption: [captionHere(), ...protocolsOf(order), DATA.level].join(" "),
  };
}

/** The protocols of the studies that these rows are of, each once. */
function protocolsOf(rows) {
  return [...new Set(rows.map((row) => DATA.studies[DATA.rows[row].study].protocol))];
}

/** What must be known of the numbers: marks, footnotes, the dataset's notes. */
function renderNotes(rows) {
  const at = place();
  const reasons = new Map();
  const add = (text, row) => reasons.set(text, (reasons.get(text) ?? new Set()).add(labelOf(row)));
  for (const row of rows) for (const column of columnsHere()) {
    const entry = entryOf(at, row, column);
    if (entry?.why) add(`n/a: ${entry.why}`, row);
    for (const seed of entry?.seeds ?? []) for (const note of seed.notes ?? []) add(note, row);
  }
  const where = DATA.places[at];
  fill(byId("table-notes"), h("ul.notes", {},
    h("li", {}, captionHere(), " Best in bold, second best underlined. ", DATA.level,
      " The strip below a number is its 95 % interval on the scale of its column."),
    ...where.notes.map((note) => h("li", {}, note)),
    where.majority ? h("li", {}, `Always saying the largest class, '${where.majority[1]}', would get ${where.majority[0].toFixed(2)}.`) : null,
    ...[...reasons].map(([text, of]) => h("li", {}, h("b", {}, [...of].slice(0, 4).join(", ") + (of.size > 4 ? `, and ${of.size - 4} more` : "")), `: ${text}`))));
}
