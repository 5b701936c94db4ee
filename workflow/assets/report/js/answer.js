// The top of the page: what to use, what ran, on what, when, and what is missing.

function renderAnswer() {
  const names = DATA.studies.map((study) => study.name);
  byId("title").textContent = names.join(" · ");
  document.title = `${names.join(", ")}: report`;
  fill(byId("answer"), ...DATA.studies.map((study) => h("div.study", {},
    names.length > 1 ? h("h2", {}, study.name) : null,
    study.recommended.length ? h("div.cards", {}, ...study.recommended.map(card)) : null,
    unfinished(study),
    h("p.protocol", {}, study.protocol),
    h("p.facts", {}, ...facts(study).flatMap(([label, value]) => [h("span.fact", {}, h("span.quiet", {}, label), " ", value), " "])))));
}

/** What to use on a dataset: the first sentences, and the rest on demand. */
function card({ dataset, backbone, lines: [first, ...rest] }) {
  const at = DATA.places.length > 1
    ? h("button.place", { type: "button", "data-tip": "Show its table", onclick: () => { choose({ dataset, backbone }); jump("table"); } }, `${dataset}, ${backbone}`)
    : `${dataset}, ${backbone}`;
  return h("article.card", {}, h("p.quiet", {}, at), h("p.recommended", {}, first), ...rest.slice(0, 2).map((line) => h("p", {}, line)),
    rest.length > 2 ? h("details", {}, h("summary", {}, "What it costs, how sure, what more labels would give"), ...rest.slice(2).map((line) => h("p", {}, line))) : null);
}

function unfinished(study) {
  const [there, all] = study.cells;
  return there < all ? h("p.warning", {}, `Unfinished: ${there} of ${all} cells are there. `,
    h("a", { href: "#", onclick: (event) => { event.preventDefault(); jump("missing"); } }, "What is missing, and why")) : null;
}

function facts(study) {
  const { datasets: on, backbones: under, shots: counts } = study.grid;
  return [
    ["datasets", on.join(", ")],
    ["backbones", under.join(", ")],
    ["shots", counts.join(", ")],
    ["rows", String(DATA.rows.filter((row) => DATA.studies[row.study] === study).length)],
    ["seeds", String(study.seeds)],
    ["run", study.days.join(" to ")],
    ["commit", study.commits.join(", ")],
    ["on", study.devices.join(", ")],
  ].filter(([, value]) => value);
}
