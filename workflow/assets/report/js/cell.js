// One cell of the table in full: its seeds, its curve over epochs, where the seconds went, what it came from.

function openCell() {
  if (!state.cell) return;
  const [row, column] = state.cell.split(".").map(Number);
  const entry = DATA.rows[row] && entryOf(place(), row, column);
  if (!entry?.stats) return;
  const cell = DATA.cells[entry.c];
  const where = DATA.places[place()];
  openDialog(
    labelOf(row),
    h("p.quiet", {}, `${shotsName(DATA.shots[column])}, ${where.dataset}, ${where.backbone}: ${cell.support} labelled images, ${where.queries} images to tell.`),
    ...notesOf(entry),
    h("div.scroll", { tabindex: 0, role: "region", "aria-label": "The values of every seed" }, seedsTable(entry)),
    curveOf(entry),
    h("div.columns", {}, secondsOf(cell), factsOf(entry, cell)),
    cell.log ? h("div", {}, h("h3", {}, "End of the log"), h("pre", { tabindex: 0 }, cell.log)) : null,
  );
}

function notesOf(entry) {
  const notes = [...new Set(entry.seeds.flatMap((seed) => seed.notes ?? []))];
  return notes.length ? [h("ul.notes", {}, ...notes.map((note) => h("li", {}, note)))] : [];
}

/** Metrics by seeds, mean and deviation beside them. */
function seedsTable(entry) {
  const own = DATA.studies[DATA.rows[entry.r].study].regimes[0];
  const lines = DATA.metrics.map((one, i) => [one, i]).filter(([, i]) => entry.stats[own][i]);
  const point = (seed) => Object.entries(seed.point).map(([key, value]) => `${key} ${value}`).join(", ");
  return h("table", {}, h("caption.unseen", {}, "The values of every seed"),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "metric"), ...entry.seeds.map((seed) =>
      h("th.r", { scope: "col" }, `seed ${seed.seed}`)), h("th.r", { scope: "col" }, "mean"), h("th.r", { scope: "col" }, "sd"))),
    h("tbody", {}, ...lines.map(([one, i]) => h("tr", {}, h("th", { scope: "row" }, one.percent ? `${one.label}, %` : one.label),
      ...entry.seeds.map((seed) => h("td.r", {}, shown(i, seed.m[i]))),
      h("td.r", {}, shown(i, entry.stats[own][i][0])), h("td.r", {}, shown(i, entry.stats[own][i][1])))),
      entry.seeds.some((seed) => point(seed)) ? h("tr", {}, h("th", { scope: "row" }, "chosen"),
        ...entry.seeds.map((seed) => h("td.r", {}, point(seed))), h("td"), h("td")) : null));
}

/** The study's metric on the reported split over epochs or candidates, a line for each seed. */
function curveOf(entry) {
  const points = entry.seeds.flatMap((seed) => (seed.curve ?? []).map((value, i) => ({ seed: seed.seed, at: seed.at[i] ?? i + 1, value })));
  if (!points.length) return null;
  const step = Object.keys(entry.seeds[0].point)[0] ?? "candidate";
  const known = ["epoch", "step", "iteration"].includes(step) ? step : "candidate";
  const study = DATA.studies[DATA.rows[entry.r].study];
  const box = h("div.chart");
  drawn(box, (width) => pictured(Plot.plot({
    width, height: 220, marginLeft: 48, marginBottom: 40, style: chartStyle,
    x: { label: known, labelAnchor: "center" }, y: { label: `${study.by.replaceAll("_", " ")}, %`, grid: true, nice: true },
    marks: [Plot.lineY(points, { x: "at", y: "value", z: "seed", stroke: colorOf(entry.r), strokeOpacity: 0.8 }),
      Plot.dot(points, { x: "at", y: "value", r: 2, fill: colorOf(entry.r) }),
      Plot.tip(points, Plot.pointer({ x: "at", y: "value", title: (d) => `seed ${d.seed}, ${known} ${d.at}: ${d.value.toFixed(2)}` }))],
  }), `${study.by} over ${known}s, a line for each seed`));
  return h("div", {}, h("h3", {}, `Over ${known}s, on the reported split`), box);
}

const seconds = (value) => (value >= 10 ? value.toFixed(0) : value.toFixed(2));

/** Where the time of the cell went: bars of its parts. */
function secondsOf(cell) {
  const names = { start: "start and imports", read: "reading features", fit: "fitting", score: "scoring" };
  const total = cell.seconds.total || 1;
  const rest = Math.max(0, total - Object.keys(names).reduce((sum, key) => sum + cell.seconds[key], 0));
  const parts = [...Object.entries(names).map(([key, name]) => [name, cell.seconds[key]]), ["the rest", rest]];
  return h("div", {}, h("h3", {}, `Seconds: ${seconds(cell.seconds.total)}, for all rows and seeds of the cell`),
    h("dl.bars", {}, ...parts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {},
      h("span.meter", { style: `--share:${((100 * value) / total).toFixed(1)}%`, "aria-hidden": "true" }), seconds(value))])));
}

function factsOf(entry, cell) {
  const origin = DATA.origins[cell.origin];
  const versions = Object.entries(origin.versions).map(([name, version]) => `${name} ${version}`).join(", ");
  const params = Object.entries(entry.params).map(([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`);
  const lines = [
    ["method", cell.plugin], ["parameters", params.join(", ")], ["trainable numbers", entry.trainable.toLocaleString("en")],
    ["shipped classifier", entry.bytes === undefined ? "" : `${entry.bytes.toLocaleString("en")} bytes`],
    ["memory", `${Math.round(cell.mb)} MB${cell.gpu_mb ? `, on the GPU ${Math.round(cell.gpu_mb)} MB` : ""}`],
    ["device", `${origin.device}, ${origin.threads} ${origin.threads === 1 ? "thread" : "threads"}`], ["commit", origin.commit],
    ["versions", versions], ["code", origin.code], ["features", origin.features], ["SHA-256 of the features", origin.features_sha256],
  ];
  return h("div", {}, h("h3", {}, "What it came from"), h("dl.facts-list", {}, ...lines.filter(([, value]) => value).flatMap(([name, value]) =>
    [h("dt", {}, name), h("dd", {}, value)])));
}

function watchCell() {
  watch(["cell"], openCell);
  byId("dialog").addEventListener("close", () => choose({ cell: "" }));
  openCell();
}
