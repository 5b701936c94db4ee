// How a row looks in every chart: the method's colour, and a dash and a symbol that tell it apart without colour.

const DASHES = ["", "7 3", "2 2.5", "9 3 2 3", "14 4", "6 2 1.5 2 1.5 2"];
const SYMBOLS = ["circle", "square", "triangle", "diamond", "star", "wye", "cross"];
const colorOf = (row) => DATA.rows[row].color || "currentColor";
const dashOf = (row) => DASHES[row % DASHES.length];
const symbolOf = (row) => SYMBOLS[row % SYMBOLS.length];
const D3_SYMBOLS = {
  circle: d3.symbolCircle, square: d3.symbolSquare, triangle: d3.symbolTriangle, diamond: d3.symbolDiamond,
  star: d3.symbolStar, wye: d3.symbolWye, cross: d3.symbolCross,
};

/** A row's line and symbol, small, for a table or a legend. */
function swatch(row) {
  const shape = d3.symbol(D3_SYMBOLS[symbolOf(row)], 30)();
  return svg(
    "svg",
    { class: "swatch", viewBox: "0 0 30 12", width: 30, height: 12, "aria-hidden": "true", style: `color:${colorOf(row)}` },
    svg("line", { x1: 0, x2: 30, y1: 6, y2: 6, stroke: "currentColor", "stroke-width": 1.6, "stroke-dasharray": dashOf(row) }),
    svg("path", { d: shape, transform: "translate(15 6)", fill: "currentColor" }),
  );
}

/** A row's name, its parameters quieter than its method. */
function named(row) {
  const [name, method] = [labelOf(row), DATA.rows[row].label];
  return name.startsWith(`${method} (`) ? [method, h("span.quiet", {}, name.slice(method.length))] : [name];
}

/** A chart's options that are the same everywhere. */
const chartStyle = { background: "transparent", color: "inherit", fontFamily: "inherit", fontSize: "12px", overflow: "visible" };

/** Draw a chart as wide as its box, and again when the box changes. */
function drawn(box, draw) {
  let width = 0;
  const again = () => {
    const now = Math.floor(box.clientWidth);
    if (now && now !== width) { width = now; fill(box, draw(now)); }
  };
  box.redraw = () => { width = 0; again(); };
  new ResizeObserver(again).observe(box);
  again();
  return box;
}

/** While the mouse or the focus is on one row, the others step back. */
function emphasize(box, row) {
  box.classList.toggle("emphasis", row !== null);
  for (const found of box.querySelectorAll("[data-row]")) found.classList.toggle("on", Number(found.dataset.row) === row);
  for (const found of box.querySelectorAll("svg g[class^=row-]")) found.classList.toggle("on", found.classList.contains(`row-${row}`));
}

/** A finished chart is one picture to a screen reader, with a sentence that says what is in it. */
function pictured(chart, sentence) {
  for (const part of chart.querySelectorAll("[aria-label]")) {
    part.dataset.mark = part.getAttribute("aria-label");
    part.removeAttribute("aria-label");
  }
  chart.setAttribute("role", "img");
  chart.setAttribute("aria-label", sentence);
  return chart;
}

/** The scale of labelled images: logarithmic. */
const imagesScale = { type: "log", axis: null, insetLeft: 14, insetRight: 14 };

/** Its axis: the studies' numbers of shots where they truly lie. (Of ticks by themselves, a logarithmic scale names a few.) */
function imagesAxis(columns) {
  const ticks = columns.map((column) => ({ images: imagesOf(place(), column), shots: DATA.shots[column] })).filter((one) => one.images);
  const name = (one) => (one.shots === "all" ? `all (${Number(one.images.toFixed(1))})` : one.shots);
  const axis = { label: "labelled images per class", labelAnchor: "center", labelOffset: 36 };
  return Plot.axisX(ticks, { x: "images", text: name, ...axis });
}
