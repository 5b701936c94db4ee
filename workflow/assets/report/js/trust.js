// How far a row can be trusted: its confidence against the share that is right, and what abstaining gains.

const trusted = new Map(DATA.trust.map((one) => [`${one.p}|${one.r}|${one.s}`, one]));
const SET_METRICS = ["ece", "ece_calibrated", "temperature", "coverage", "set_size", "coverage_mondrian", "set_size_mondrian", "answered", "answered_error", "aurc"];

function trustSection() {
  if (!DATA.trust.length) return null;
  const body = h("div", { id: "trust-body" });
  watch(["dataset", "backbone", "shots", "labels", "row"], () => { if (!made.start) renderTrust(body); });
  const made = section("trust", "How sure", "Of the row that is chosen under Classes. Left: answers by their confidence; on the diagonal it is as often right as it says. Right: the share of wrong answers among those that are given, when the least sure are held back.", body);
  made.start = () => renderTrust(body);
  return made;
}

function renderTrust(body) {
  const row = classRow();
  const found = trusted.get(keyOf(place(), row, shots()));
  if (!found) return fill(body, h("p.quiet", {}, "This page has no confidences of that row at that number of shots."));
  const series = [["own confidence", found.bins, found.risks], ["calibrated", found.calibrated_bins, found.calibrated_risks]].filter(([, bins]) => bins);
  return fill(body, h("h3", {}, labelOf(row)), h("div.halves", {},
    drawn(h("div.chart", { id: "reliability" }), (width) => reliability(width, series)),
    drawn(h("div.chart", { id: "risk" }), (width) => risk(width, series))), trustFacts(row));
}

const SERIES_LOOK = {
  "own confidence": { stroke: "currentColor", fill: "currentColor", symbol: "circle", dash: "5 3" },
  calibrated: { stroke: "var(--accent)", fill: "var(--accent)", symbol: "square", dash: "" },
};

function reliability(width, series) {
  const points = series.flatMap(([name, bins]) => bins.map(([count, sure, right]) => ({ name, count, sure, right })));
  return pictured(Plot.plot({
    width, height: Math.min(380, width), marginLeft: 48, marginBottom: 44, style: chartStyle, r: { range: [2, 9] },
    x: { domain: [0, 100], label: "confidence, %", labelAnchor: "center", labelOffset: 36 }, y: { domain: [0, 100], label: "right, %", grid: true },
    marks: [Plot.link([0], { x1: 0, y1: 0, x2: 100, y2: 100, strokeOpacity: 0.3 }),
      ...series.map(([name]) => [
        Plot.lineY(points.filter((one) => one.name === name), { x: "sure", y: "right", stroke: SERIES_LOOK[name].stroke, strokeDasharray: SERIES_LOOK[name].dash }),
        Plot.dot(points.filter((one) => one.name === name), { x: "sure", y: "right", r: "count", symbol: SERIES_LOOK[name].symbol, fill: SERIES_LOOK[name].fill, fillOpacity: 0.75 })]),
      Plot.tip(points, Plot.pointer({ x: "sure", y: "right", title: (d) => `${d.name}\n${d.count} answers: ${d.sure} % sure, ${d.right} % right` }))],
  }), `The share of right answers by confidence: ${series.map(([name]) => name).join(" and ")}.`);
}

function risk(width, series) {
  const points = series.flatMap(([name, , risks]) => risks.map(([given, wrong]) => ({ name, given, wrong })));
  return pictured(Plot.plot({
    width, height: Math.min(380, width), marginLeft: 48, marginBottom: 44, style: chartStyle,
    x: { domain: [0, 100], label: "answered, %", labelAnchor: "center", labelOffset: 36 }, y: { label: "wrong among them, %", grid: true, zero: true, nice: true },
    marks: [...series.map(([name]) => Plot.lineY(points.filter((one) => one.name === name), { x: "given", y: "wrong", stroke: SERIES_LOOK[name].stroke, strokeDasharray: SERIES_LOOK[name].dash })),
      Plot.tip(points, Plot.pointer({ x: "given", y: "wrong", title: (d) => `${d.name}\nanswers ${d.given} %: ${d.wrong} % of them wrong` }))],
  }), `The share of wrong answers among those that are given: ${series.map(([name]) => name).join(" and ")}.`);
}

/** What the record says of calibration and prediction sets, as far as it does. */
function trustFacts(row) {
  const lines = SET_METRICS.map(metricOf).filter((i) => i >= 0).map((i) => [i, statsOf(place(), row, shots(), i, state.regime)]).filter(([, stats]) => stats);
  const text = ([i, [mean, sd]]) => h("span.fact", {}, h("span.quiet", {}, DATA.metrics[i].label), ` ${shown(i, mean)}${DATA.metrics[i].percent ? " %" : ""}`, sd === null ? "" : h("span.quiet", {}, ` ± ${shown(i, sd)}`));
  return h("p.facts", {}, ...lines.flatMap((line) => [text(line), " "]), h("span.quiet", {}, "dashed: own confidence; solid: calibrated, where there were images to calibrate on"));
}
