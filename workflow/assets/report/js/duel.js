// Two rows against each other: the paired difference at every number of shots, and the images on which they disagree.

const SHOWN_IMAGES = 24;

function duelSection() {
  const chooser = h("div.tools");
  const body = h("div", { id: "duel-body" });
  const again = () => { renderDuelChoice(chooser); renderDuel(body); };
  watch(["dataset", "backbone", "metric", "shots", "labels", "a", "b"], () => { if (!made.start) again(); });
  const made = section("duel", "Two rows", "The first minus the second, paired over the same supports and the same images, with its 95 % interval and its p before any correction for the number of comparisons.", chooser, body);
  made.start = () => { again(); };
  return made;
}

/** The two rows that are compared: as chosen, or the best here and the best before it that another method gives. */
function pairHere() {
  const rows = rowsHere();
  const given = [state.a, state.b].map((text) => (text === "" ? -1 : Number(text)));
  const mean = (row) => statsOf(place(), row, shots(), metric(), state.regime)?.[0];
  const sign = DATA.metrics[metric()].better === "low" ? 1 : -1;
  const ranked = rows.filter((row) => mean(row) !== undefined).sort((a, b) => sign * (mean(a) - mean(b)));
  const a = rows.includes(given[0]) ? given[0] : ranked[0] ?? rows[0];
  const other = ranked.find((row) => row !== a && DATA.rows[row].label !== DATA.rows[a].label);
  const b = rows.includes(given[1]) ? given[1] : other ?? rows.find((row) => row !== a) ?? a;
  return [a, b];
}

function renderDuelChoice(chooser) {
  const [a, b] = pairHere();
  const options = rowsHere().map((row) => [String(row), labelOf(row)]);
  fill(chooser, choice("First row", options, String(a), (value) => choose({ a: value, b: String(b) })),
    choice("Second row", options, String(b), (value) => choose({ a: String(a), b: value })),
    h("button", { type: "button", onclick: () => choose({ a: String(b), b: String(a) }) }, "Swap"));
}

function renderDuel(body) {
  const [a, b] = pairHere();
  const tested = DATA.rings.some((ring) => ring.m === metric()) ? metric() : metricOf(DATA.studies[DATA.rows[a].study].by);
  const lines = columnsHere().map((column) => ({ column, ...differenceOf(place(), a, b, column, tested) })).filter((line) => line.mean !== undefined);
  if (a === b) return fill(body, h("p.quiet", {}, "Choose two rows."));
  const wins = DATA.wins.flat().find(([x, y]) => x === a && y === b);
  const none = DATA.rows[a].study === DATA.rows[b].study
    ? "Their differences are not on this page, which has too many pairs of rows, or one of the two was not run here. "
    : "They are rows of two studies, which need not share supports: their differences can't be paired. ";
  return fill(body,
    lines.length ? h("div.beside", {}, duelChart(lines, tested), duelTable(lines, a, b, tested)) : h("p.quiet", {}, none),
    wins ? h("p", {}, `Over all datasets, backbones and numbers of shots the first won ${wins[2]}, lost ${wins[4]} and was undecided in ${wins[3]}, at a false discovery rate of 5 % over all pairs of rows.`) : null,
    disagreement(a, b));
}

function duelTable(lines, a, b, tested) {
  const signed = (value) => `${value > 0 ? "+" : value < 0 ? "−" : ""}${Math.abs(value).toFixed(2)}`;
  return h("div.scroll", {}, h("table", {}, h("caption.unseen", {}, `${labelOf(a)} minus ${labelOf(b)}, ${DATA.metrics[tested].label} in points`),
    h("thead", {}, h("tr", {}, ...["shots", "difference", "95 % interval", "p"].map((text, i) => h(i ? "th.r" : "th", { scope: "col" }, text)))),
    h("tbody", {}, ...lines.map((line) => h("tr", {}, h("th", { scope: "row" }, shotsName(DATA.shots[line.column])),
      h(`td.r${line.low > 0 ? ".good" : line.high < 0 ? ".bad" : ""}`, {}, signed(line.mean)),
      h("td.r", {}, `${signed(line.low)} to ${signed(line.high)}`), h("td.r", {}, line.p < 0.001 ? "< 0.001" : line.p.toFixed(3)))))));
}

function duelChart(lines, tested) {
  const data = lines.map((line) => ({ ...line, images: imagesOf(place(), line.column) }));
  return drawn(h("div.chart", { id: "duel-chart" }), (width) => pictured(Plot.plot({
    width, height: 280, marginLeft: 48, marginRight: 36, marginBottom: 44, style: chartStyle,
    x: imagesScale,
    y: { label: `difference in ${DATA.metrics[tested].label}, points`, grid: true, nice: true },
    marks: [
      imagesAxis(lines.map((line) => line.column)),
      Plot.ruleY([0], { strokeOpacity: 0.5 }),
      Plot.ruleX(data, { x: "images", y1: "low", y2: "high", stroke: "var(--accent)", strokeWidth: 2 }),
      Plot.dot(data, { x: "images", y: "mean", r: 4.5, fill: "var(--accent)" })],
  }), "The difference at every number of shots with its 95 % interval; the table beside it has the numbers."));
}
