// The metric over the number of labelled images, with bands of one standard deviation or the 95 % interval.

const LINES = 60; // more than these can't be told apart; those that end best are drawn
const BANDS = 30;
const QUIET = 6; // with more lines than these a band shows when its line is pointed at

function curvesSection() {
  const chart = h("div.chart", { id: "curves-chart" });
  const legend = h("div.legend", { id: "curves-legend" });
  const holder = h("div.beside", {}, chart, legend);
  const again = () => { chart.redraw?.(); renderLegend(legend, chart); };
  watch(["dataset", "backbone", "metric", "regime", "rows", "labels"], again);
  const made = section("curves", "Over labelled images", "Labelled images per class on a logarithmic axis; bands are 95 % intervals where they are known, one standard deviation elsewhere; of many lines the one that is pointed at shows its band. A click on a line hides it, here and in the table.", holder);
  made.start = () => { drawn(chart, (width) => curves(width, chart)); renderLegend(legend, chart); };
  return made;
}

/** The points of a row: images per class, the mean, the band. */
function pointsOf(row, columns) {
  const at = place();
  return columns.flatMap((column) => {
    const stats = statsOf(at, row, column, metric(), state.regime);
    const images = imagesOf(at, column);
    if (!stats || !images) return [];
    const [low, high] = testOf(at, row, column, metric(), state.regime)?.interval ?? [stats[0] - (stats[1] ?? 0), stats[0] + (stats[1] ?? 0)];
    return [{ row, column, images, mean: stats[0], sd: stats[1], low, high }];
  });
}

function linesHere() {
  const hidden = hiddenRows();
  const columns = columnsHere();
  const found = rowsHere().filter((row) => !hidden.has(row)).map((row) => ({ row, points: pointsOf(row, columns) })).filter((line) => line.points.length);
  const sign = DATA.metrics[metric()].better === "low" ? 1 : -1;
  if (found.length > LINES) found.sort((a, b) => sign * (a.points.at(-1).mean - b.points.at(-1).mean));
  return found.slice(0, LINES);
}

function curves(width, box) {
  const lines = linesHere();
  const columns = columnsHere();
  const points = lines.flatMap((line) => line.points);
  if (!points.length) return h("p.quiet", {}, "No numbers to draw.");
  const what = DATA.metrics[metric()];
  const chart = Plot.plot({
    width, height: Math.max(320, Math.min(560, width * 0.55)), marginLeft: 48, marginRight: 36, marginBottom: 44, style: chartStyle,
    x: imagesScale,
    // Bands that show one at a time don't press the lines together.
    y: { label: `${what.label}${what.percent ? ", %" : ""}`, grid: true, nice: true, ...(lines.length > QUIET ? { domain: d3.extent(points, (one) => one.mean) } : {}) },
    marks: [
      imagesAxis(columns),
      lines.length <= BANDS ? lines.map(({ row, points }) => Plot.areaY(points, {
        x: "images", y1: "low", y2: "high", fill: colorOf(row), fillOpacity: 0.14, className: `row-${row} band`, clip: true,
      })) : [],
      lines.map(({ row, points }) => Plot.lineY(points, {
        x: "images", y: "mean", stroke: colorOf(row), strokeWidth: 1.6, strokeDasharray: dashOf(row), className: `row-${row}`,
      })),
      lines.filter(({ row }) => DATA.rows[row].learns).map(({ row, points }) => Plot.dot(points, {
        x: "images", y: "mean", fill: colorOf(row), r: 3.2, symbol: symbolOf(row), className: `row-${row}`,
      })),
      Plot.tip(points, Plot.pointer({
        x: "images", y: "mean", maxRadius: 40,
        title: (d) => `${labelOf(d.row)}\n${shotsName(DATA.shots[d.column])}: ${shown(metric(), d.mean)}${d.sd === null ? "" : ` ± ${shown(metric(), d.sd)}`}\n${shown(metric(), d.low)} to ${shown(metric(), d.high)}`,
      })),
    ],
  });
  chart.classList.toggle("quiet-bands", lines.length > QUIET);
  chart.addEventListener("input", () => emphasize(box.parentElement, chart.value ? chart.value.row : null));
  chart.addEventListener("click", () => { if (chart.value) choose({ rows: toggled(state.rows, chart.value.row) }); });
  return pictured(chart, `${what.label} over labelled images per class, a line for each of ${lines.length} rows; the table has the numbers.`);
}

/** Every row with its line, by what it ends at; a click hides it or brings it back. */
function renderLegend(legend, chart) {
  const hidden = hiddenRows();
  const last = columnsHere().at(-1);
  const end = (row) => statsOf(place(), row, last, metric(), state.regime)?.[0];
  const sign = DATA.metrics[metric()].better === "low" ? 1 : -1;
  const rows = rowsHere().filter((row) => end(row) !== undefined || pointsOf(row, columnsHere()).length);
  rows.sort((a, b) => sign * ((end(a) ?? -sign * 1e9) - (end(b) ?? -sign * 1e9)));
  const button = (row) => h("button.key", {
    type: "button", "aria-pressed": String(!hidden.has(row)), "data-row": row,
    onclick: () => choose({ rows: toggled(state.rows, row) }),
    onmouseenter: () => emphasize(chart.parentElement, row), onmouseleave: () => emphasize(chart.parentElement, null),
    onfocus: () => emphasize(chart.parentElement, row), onblur: () => emphasize(chart.parentElement, null),
  }, swatch(row), h("span.label", {}, named(row)), h("span.value", {}, end(row) === undefined ? "" : shown(metric(), end(row))));
  const focus = document.activeElement?.closest?.(".key")?.dataset.row;
  fill(legend, ...rows.map(button));
  if (focus !== undefined) legend.querySelector(`[data-row="${focus}"]`)?.focus();
}
