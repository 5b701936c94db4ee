// What is chosen, and its place in the address: a link shows the same view.

const initial = DATA.studies[0];
const DEFAULTS = {
  dataset: datasets[0] ?? "",
  backbone: backbones[0] ?? "",
  metric: DATA.metrics[Math.max(0, metricOf(initial.by))]?.name ?? "",
  regime: initial.regimes[0],
  shots: DATA.shots.at(-1),
  sort: "", // the table's: number of the column and `a` or `d`
  find: "",
  rows: "", // numbers of hidden rows
  columns: "", // numbers of hidden columns
  labels: "", // own labels of rows, as JSON
  cost: "fit_seconds",
  a: "",
  b: "",
  row: "",
  cell: "",
  at: "", // the section that was last asked for
};
const state = { ...DEFAULTS };
const watchers = [];

/** `what` runs whenever one of these keys has changed. */
function watch(keys, what) {
  watchers.push({ keys: new Set(keys), what });
}

function readAddress() {
  const given = new URLSearchParams(address().slice(1));
  const changed = Object.keys(DEFAULTS).filter((key) => (given.get(key) ?? DEFAULTS[key]) !== state[key]);
  for (const key of changed) state[key] = given.get(key) ?? DEFAULTS[key];
  if (placeOf(state.dataset, state.backbone) < 0 && DATA.places.length) {
    Object.assign(state, { dataset: DATA.places[0].dataset, backbone: DATA.places[0].backbone });
  }
  if (metricOf(state.metric) < 0) state.metric = DEFAULTS.metric;
  if (!DATA.shots.includes(state.shots)) state.shots = DEFAULTS.shots;
  return changed;
}

const address = () => { try { return location.hash; } catch { return ""; } };

function writeAddress() {
  const given = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) if (value !== DEFAULTS[key]) given.set(key, value);
  // Inside another page, as in Snakemake's report, there is no address of its own to write to.
  try { history.replaceState(null, "", `#${given}`); } catch { /* the view is kept, the link is not */ }
}

/** Take these choices, write them to the address, show what depends on them. */
function choose(changes) {
  const changed = Object.keys(changes).filter((key) => state[key] !== changes[key]);
  if (!changed.length) return;
  Object.assign(state, changes);
  writeAddress();
  notify(changed);
}

function notify(changed) {
  for (const { keys, what } of watchers) if (changed.some((key) => keys.has(key))) what(changed);
}

const numbers = (text) => new Set(text ? text.split(".").map(Number) : []);
const hiddenRows = () => numbers(state.rows);
const hiddenColumns = () => numbers(state.columns);

function toggled(text, number) {
  const found = numbers(text);
  if (!found.delete(number)) found.add(number);
  return [...found].sort((a, b) => a - b).join(".");
}

const place = () => placeOf(state.dataset, state.backbone);
const metric = () => metricOf(state.metric);
const shots = () => DATA.shots.indexOf(state.shots);

function ownLabels() {
  try { return JSON.parse(state.labels || "{}"); } catch { return {}; }
}

const labelOf = (row) => ownLabels()[row] ?? DATA.rows[row].name;

/** The rows that have a cell at the chosen dataset and backbone, in the studies' order. */
function rowsHere() {
  const at = place();
  return DATA.rows.map((_, i) => i).filter((row) => here.has(`${at}|${row}`));
}
const here = new Set(DATA.entries.map((entry) => `${entry.p}|${entry.r}`));

addEventListener("hashchange", () => notify(readAddress()));
