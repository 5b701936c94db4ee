// What a method gives against what it costs, on logarithmic axes, with the line of those that nothing beats.

const COSTS = {
  fit_seconds: ["fit, seconds", (entry, regime) => entry.stats?.[regime]?.[metricOf("fit_seconds")]?.[0]],
  trainable: ["trainable numbers", (entry) => entry.trainable],
  bytes: ["shipped classifier, bytes", (entry) => entry.bytes],
};
const costNow = () => COSTS[state.cost] ?? COSTS.fit_seconds;

function costSection() {
  const chart = h("div.chart", { id: "cost-chart" });
  const chooser = h("div.tools");
  const table = h("div", { id: "cost-front" });
  const again = () => { chart.redraw?.(); renderFront(table); };
  watch(["dataset", "backbone", "metric", "regime", "shots", "rows", "labels", "cost"], again);
  const made = section("cost", "Cost", "Each row at the chosen number of shots. The line joins the rows that no other beats in both; what costs nothing stands at the left edge.", chooser, chart, table);
  made.start = () => {
    fill(chooser, choice("Against", Object.entries(COSTS).map(([key, [label]]) => [key, label]), state.cost, (cost) => choose({ cost })));
    drawn(chart, costs);
    renderFront(table);
  };
  return made;
}

function costPoints() {
  const hidden = hiddenRows();
  const [, read] = costNow();
  return rowsHere().filter((row) => !hidden.has(row)).flatMap((row) => {
    const entry = entryOf(place(), row, shots());
    const mean = entry?.stats?.[state.regime]?.[metric()]?.[0];
    const cost = entry && read(entry, state.regime);
    return mean === undefined || cost === undefined ? [] : [{ row, mean, cost }];
  });
}

/** The points that no other beats in cost and in the metric, the cheapest first. */
function frontOf(points) {
  const sign = DATA.metrics[metric()].better === "low" ? -1 : 1;
  const front = [];
  for (const one of [...points].sort((a, b) => a.cost - b.cost || sign * (b.mean - a.mean))) {
    if (!front.length || sign * (one.mean - front.at(-1).mean) > 0) front.push(one);
  }
  return front;
}

function costs(width) {
  const points = costPoints();
  if (!points.length) return h("p.quiet", {}, "No numbers to draw.");
  const known = points.map((one) => one.cost).filter((cost) => cost > 0);
  const edge = (known.length ? Math.min(...known) : 1) / 3;
  for (const one of points) one.x = one.cost > 0 ? one.cost : edge;
  const what = DATA.metrics[metric()];
  const [label] = costNow();
  const front = frontOf(points);
  const decades = Math.log10(Math.max(...points.map((one) => one.x)) / Math.min(...points.map((one) => one.x)));
  const chart = Plot.plot({
    width, height: Math.max(300, Math.min(480, width * 0.5)), marginLeft: 48, marginRight: 24, marginBottom: 44, style: chartStyle,
    x: { type: "log", label, labelAnchor: "center", labelOffset: 36, grid: true, insetLeft: 14, insetRight: 14, tickFormat: (cost) => (decades < 1.5 || Number.isInteger(Number(Math.log10(cost).toFixed(6))) ? tickText(cost) : "") },
    y: { label: `${what.label}${what.percent ? ", %" : ""}`, grid: true, nice: true },
    marks: [
      Plot.line(front, { x: "x", y: "mean", stroke: "currentColor", strokeOpacity: 0.35, strokeDasharray: "3 3", curve: "step-after" }),
      points.map((one) => Plot.dot([one], {
        x: "x", y: "mean", r: 5, symbol: symbolOf(one.row), fill: colorOf(one.row), stroke: "var(--paper)", className: `row-${one.row}`,
      })),
      width > 700 ? Plot.text(front, { x: "x", y: "mean", text: (d) => short(labelOf(d.row), 34), dy: -11, fill: "currentColor", fontSize: 11 }) : null,
      Plot.tip(points, Plot.pointer({ x: "x", y: "mean", title: (d) => `${labelOf(d.row)}\n${shown(metric(), d.mean)}\n${label}: ${costText(d.cost)}` })),
    ],
  });
  chart.addEventListener("click", () => { if (chart.value) choose({ cell: `${chart.value.row}.${shots()}` }); });
  return pictured(chart, `${what.label} against ${label}, a dot for each of ${points.length} rows; the line of the best is listed below.`);
}

/** What the features took, which every row shares; nothing where that was not recorded. */
function extractionHere() {
  const { seconds: took, images, device } = DATA.places[place()].extraction ?? {};
  if (took === undefined) return null;
  return h("p.notes", { id: "extraction" }, `Before any of this, once for all rows: ${costText(took)} seconds to take ${images.toLocaleString("en")} images through the backbone${device ? ` on ${device}` : ""}.`);
}

/** A number on an axis: 0.01, 5, 20k, 3M. */
const tickText = (cost) => (cost < 1000 ? String(Number(cost.toPrecision(3))) : d3.format("~s")(cost));
const short = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);
const costText = (cost) => (cost >= 100 ? Math.round(cost).toLocaleString("en") : String(Number(cost.toPrecision(3))));

function renderFront(box) {
  const front = frontOf(costPoints());
  const [label] = costNow();
  fill(box, h("p.notes", {}, front.length ? "On the line: " : "", ...front.flatMap((one, i) => [
    i ? "; " : "", h("b", {}, labelOf(one.row)), ` ${shown(metric(), one.mean)} (${label}: ${costText(one.cost)})`])), extractionHere());
}
