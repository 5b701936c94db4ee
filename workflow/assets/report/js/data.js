// The data of the page, and how to find a number in it.

const DATA = JSON.parse(byId("data").textContent);
const EVERY = -1; // the number of shots of a row that learns nothing
const entries = new Map();
for (const entry of DATA.entries) entries.set(`${entry.p}|${entry.r}|${entry.s}`, entry);
const rings = new Map();
for (const ring of DATA.rings) {
  ring.at = new Map(ring.rows.map((row, i) => [row, i]));
  ring.equal = new Set(ring.level);
  for (const row of ring.rows) rings.set(`${ring.p}|${ring.s}|${ring.m}|${row}`, ring);
}
const datasets = [...new Set(DATA.places.map((place) => place.dataset))];
const backbones = [...new Set(DATA.places.map((place) => place.backbone))];
const placeOf = (dataset, backbone) =>
  DATA.places.findIndex((place) => place.dataset === dataset && place.backbone === backbone);
const metricOf = (name) => DATA.metrics.findIndex((metric) => metric.name === name);

/** What a row came to somewhere; undefined where there is no such cell. */
function entryOf(place, row, shots) {
  return entries.get(`${place}|${row}|${DATA.rows[row].learns ? shots : EVERY}`);
}

/** [mean, deviation] of a metric under a regime; undefined where there is none. */
function statsOf(place, row, shots, metric, regime) {
  return entryOf(place, row, shots)?.stats?.[regime]?.[metric] ?? undefined;
}

/** What was tested of a row's metric at a place: its interval, and whether it can be told from the best. */
function testOf(place, row, shots, metric, regime) {
  const ring = rings.get(`${place}|${shots}|${metric}|${row}`);
  if (!ring || regime !== DATA.studies[ring.study].regimes[0]) return undefined;
  return { interval: ring.intervals[ring.at.get(row)], level: ring.equal.has(row) };
}

/** a minus b with its interval and p; undefined where it was not tested. */
function differenceOf(place, a, b, shots, metric) {
  const ring = rings.get(`${place}|${shots}|${metric}|${a}`);
  if (!ring || !ring.at.has(b) || !ring.pairs.length) return undefined;
  const [first, second] = [ring.at.get(a), ring.at.get(b)].sort((x, y) => x - y);
  const rows = ring.rows.length;
  const pair = first * rows - (first * (first + 1)) / 2 + second - first - 1;
  const [mean, low, high, p] = ring.pairs.slice(4 * pair, 4 * pair + 4);
  return ring.at.get(a) === first ? { mean, low, high, p } : { mean: -mean, low: -high, high: -low, p };
}

/** The labelled images per class that a number of shots means at a place. */
function imagesOf(place, shots) {
  const given = Number(DATA.shots[shots]);
  if (Number.isFinite(given)) return given;
  const found = DATA.entries.find((entry) => entry.p === place && entry.s === shots);
  return found ? DATA.cells[found.c].support / DATA.places[place].classes : undefined;
}

const shotsName = (shots) => (shots === "1" ? "1 shot" : /^\d+$/.test(shots) ? `${shots} shots` : shots);

/** A value of a metric as the tables print it. */
function shown(metric, value) {
  if (value === null || value === undefined) return "–";
  if (DATA.metrics[metric].percent) return value.toFixed(2);
  return Math.abs(value) >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}

/** What is best and second best among [mean, …], by what prints alike, in the direction of the metric. */
function bestOf(metric, means) {
  const better = DATA.metrics[metric].better;
  const marks = new Map();
  const known = means.filter((mean) => mean !== undefined);
  if (!better || known.length < 2) return marks;
  const order = [...new Set(known)].sort((a, b) => (better === "high" ? b - a : a - b));
  means.forEach((mean, i) => {
    if (mean !== undefined && mean === order[0]) marks.set(i, "best");
    else if (mean !== undefined && mean === order[1]) marks.set(i, "second");
  });
  return marks;
}
