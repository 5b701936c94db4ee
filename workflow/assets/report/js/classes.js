// Classes: what a row recognises of each, what it takes for what, and the images on which two rows disagree.

const answers = new Map(DATA.answers.map((one) => [`${one.p}|${one.r}|${one.s}`, one]));
const recalls = new Map(DATA.recalls.map((one) => [`${one.p}|${one.r}|${one.s}`, one]));
const keyOf = (at, row, column) => `${at}|${row}|${DATA.rows[row].learns ? column : EVERY}`;

/** Class numbers from base64: a byte each, or two where there are many classes. */
function unpacked(text, classes) {
  const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  return classes > 256 ? new Uint16Array(bytes.buffer) : bytes;
}

function classesSection() {
  if (!DATA.recalls.length) return null;
  const chooser = h("div.tools");
  const body = h("div", { id: "classes-body" });
  const again = () => { renderClassChoice(chooser); renderClasses(body); };
  watch(["dataset", "backbone", "shots", "labels", "row"], () => { if (!made.start) again(); });
  const made = section("classes", "Classes", "One row at the chosen number of shots, all seeds together: how many images of each class it gets right, and what it takes for what.", chooser, body);
  made.start = again;
  return made;
}

function classRow() {
  const given = state.row === "" ? -1 : Number(state.row);
  return rowsHere().includes(given) ? given : pairHere()[0];
}

function renderClassChoice(chooser) {
  fill(chooser, choice("Row", rowsHere().map((row) => [String(row), labelOf(row)]), String(classRow()), (row) => choose({ row })));
}

function renderClasses(body) {
  const [at, row] = [place(), classRow()];
  const found = recalls.get(keyOf(at, row, shots()));
  const images = DATA.images[at];
  if (!found || !images.classnames) return fill(body, h("p.quiet", {}, "This page has no answers of that row at that number of shots."));
  const counts = new Map();
  for (const label of unpacked(images.labels, images.classnames.length)) counts.set(label, (counts.get(label) ?? 0) + 1);
  const trust = trusted.get(keyOf(at, row, shots()));
  const columns = ["images", "recall, %", ...(trust?.sets ? ["in set, %", "set size"] : [])];
  const table = h("table.numbers.classes", {}, h("caption.unseen", {}, `Recall of each class, ${labelOf(row)}`),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "class"), ...columns.map((name) => h("th.r", { scope: "col" }, name)))),
    h("tbody", {}, ...images.classnames.map((name, k) => h("tr", {}, h("th", { scope: "row", "data-order": name, "data-search": name }, h("span.label", {}, name)),
      h("td.r", { "data-order": counts.get(k) ?? 0 }, String(counts.get(k) ?? 0)), recallCell(found.recall[k]), ...(trust?.sets ? setCells(trust.sets[k]) : [])))));
  const pairs = h("div", {}, h("h3", {}, "Most often confused"), h("ul.pairs", {}, ...found.confused.map(([a, b, times]) => pairItem(images, a, b, times, row))));
  const about = trust?.sets ? `Prediction sets are to hold the true class of ${trust.level ?? "the chosen share of"} % of all images. Of each class: how many of its images have it in their set, and how many classes these sets hold.` : null;
  fill(body, about && h("p.about", { id: "sets-about" }, about), h("div.halves", {}, h("div.scroll.tall", { tabindex: 0, role: "region", "aria-label": "Recall of each class" }, table), pairs));
  new DataTable(table, { paging: false, searching: false, info: false, autoWidth: false, order: [[2, "asc"]],
    columnDefs: [{ targets: 0, type: "string" }, { targets: "_all", type: "known" }] });
  return body;
}

function recallCell(thousandths) {
  if (thousandths < 0) return h("td.r", { "data-order": "" }, "n/a");
  return h("td.r", { "data-order": thousandths }, h("span.meter", { "aria-hidden": "true", style: `--share:${thousandths / 10}%` }), (thousandths / 10).toFixed(1));
}

/** How many of a class's images have it in their prediction set, and how large these sets are. */
function setCells(set) {
  if (!set) return [0, 1].map(() => h("td.r", { "data-order": "" }, "n/a"));
  return [h("td.r", { "data-order": set[0] }, set[0].toFixed(1)), h("td.r", { "data-order": set[1] }, set[1].toFixed(2))];
}

/** A pair of classes with pictures: wrong images of the first, examples of the second. */
function pairItem(images, a, b, times, row) {
  const answer = answers.get(keyOf(place(), row, shots()));
  const labels = unpacked(images.labels, images.classnames.length);
  const said = answer ? unpacked(answer.said, images.classnames.length) : null;
  const wrong = said ? [...labels.keys()].filter((i) => labels[i] === a && said[i] === b && images.pictures?.[i]).slice(0, 4) : [];
  const examples = images.examples?.[b] ?? [];
  return h("li", {}, h("span", {}, className(images, a), " taken for ", className(images, b), h("span.quiet", {}, `, ${times} ${times === 1 ? "time" : "times"}`)),
    wrong.length || examples.length ? h("span.pictures", {}, ...wrong.map((i) => picture(images.pictures[i], `An image of ${images.classnames[a]} taken for ${images.classnames[b]}`)),
      examples.length ? h("span.quiet", {}, "in train: ") : null,
      ...examples.map((one) => picture(one, `An image of ${images.classnames[b]} in train`))) : null);
}

const className = (images, k) => h("b", { "data-tip": images.classnames[k].length > 60 ? images.classnames[k] : null }, short(images.classnames[k], 60));
const picture = (address, alt) => h("img", { src: address, alt, decoding: "async" });

/** The images that one of two rows has right with most seeds and the other has not. */
function disagreement(a, b) {
  const [at, column] = [place(), shots()];
  const [first, second] = [a, b].map((row) => answers.get(keyOf(at, row, column)));
  const images = DATA.images[at];
  if (!first || !second || !images.classnames || first.right.length !== second.right.length) return null;
  const seeds = (row) => entryOf(at, row, column)?.seeds.length ?? 1;
  const right = (one, row, i) => 2 * parseInt(one.right[i], 36) > seeds(row);
  const groups = { both: [], first: [], second: [], none: [] };
  for (let i = 0; i < first.right.length; i += 1) {
    const [x, y] = [right(first, a, i), right(second, b, i)];
    groups[x && y ? "both" : x ? "first" : y ? "second" : "none"].push(i);
  }
  const said = [unpacked(first.said, images.classnames.length), unpacked(second.said, images.classnames.length)];
  return h("div", { id: "disagreement" }, h("h3", {}, `Images on which they differ, with ${DATA.shots[column] === "all" ? "all labels" : shotsName(DATA.shots[column])}`),
    h("p", {}, `By most seeds both are right on ${groups.both.length}, the first alone on ${groups.first.length}, the second alone on ${groups.second.length}, neither on ${groups.none.length}.`),
    h("div.halves", {}, imageList(`Right by ${labelOf(a)} alone`, groups.first, images, said[1]), imageList(`Right by ${labelOf(b)} alone`, groups.second, images, said[0])));
}

function imageList(title, numbers_, images, wrong) {
  const labels = unpacked(images.labels, images.classnames.length);
  const order = [...numbers_].sort((i, j) => Boolean(images.pictures?.[j]) - Boolean(images.pictures?.[i]) || i - j);
  const more = order.length - SHOWN_IMAGES;
  return h("div", {}, h("h4", {}, title), h("ul.images", {}, ...order.slice(0, SHOWN_IMAGES).map((i) => h("li", {},
    images.pictures?.[i] ? picture(images.pictures[i], "") : null,
    h("span", {}, className(images, labels[i]), " taken for ", className(images, wrong[i]), h("br"), h("span.quiet", {}, images.files?.[i] ?? `image ${i}`))))),
    more > 0 ? h("p.quiet", {}, `and ${more} more`) : null);
}
