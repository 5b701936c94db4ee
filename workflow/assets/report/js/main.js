// The page: its choices, its sections, each begun when it comes into view.

readAddress();

function renderChoices() {
  const at = DATA.places.filter((one) => one.dataset === state.dataset).map((one) => one.backbone);
  const regimes = [...new Set(DATA.studies.flatMap((study) => study.regimes))];
  const changedDataset = (dataset) => {
    const there = DATA.places.filter((one) => one.dataset === dataset).map((one) => one.backbone);
    choose({ dataset, backbone: there.includes(state.backbone) ? state.backbone : there[0] });
  };
  fill(byId("choices"),
    choice("Dataset", datasets.map((name) => [name, name]), state.dataset, changedDataset),
    at.length > 1 || backbones.length > 1 ? choice("Backbone", at.map((name) => [name, name]), state.backbone, (backbone) => choose({ backbone })) : null,
    choice("Metric", DATA.metrics.map((one) => [one.name, one.label]), state.metric, (metric) => choose({ metric })),
    regimes.length > 1 ? choice("Regime", regimes.map((name) => [name, name]), state.regime, (regime) => choose({ regime })) : null,
    choice("Shots", DATA.shots.map((name) => [name, shotsName(name)]), state.shots, (shots) => choose({ shots })));
}

const jump = (id) => (state.at === id ? show(id) : choose({ at: id }));

/** Bring a section into view; those above it are made first, which takes their full height. */
function show(id, behavior = matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth") {
  const target = shownSections.find((one) => one.id === id);
  if (!target) return;
  shownSections.slice(0, shownSections.indexOf(target) + 1).forEach(start);
  target.scrollIntoView({ behavior });
  target.setAttribute("tabindex", "-1");
  target.focus({ preventScroll: true });
}

let shownSections = [];
const start = (one) => { one.start?.(); one.start = null; };

/** Sections are made when they come near the window, and all of them for the printer. */
function begin(sections) {
  const watcher = new IntersectionObserver((found) => {
    for (const { isIntersecting, target } of found) if (isIntersecting) { watcher.unobserve(target); start(target); }
  }, { rootMargin: "400px" });
  for (const one of sections) if (one.start) watcher.observe(one);
  const closed = () => document.querySelectorAll("header details:not([open])");
  addEventListener("beforeprint", () => {
    sections.forEach(start);
    // What has just been put there has not been measured yet, and the printer doesn't wait for that.
    for (const chart of document.querySelectorAll(".chart:empty")) chart.redraw?.();
    const opened = [...closed()];
    for (const one of opened) one.open = true;
    addEventListener("afterprint", () => { for (const one of opened) one.open = false; }, { once: true });
  });
}

function main() {
  renderAnswer();
  if (!DATA.entries.length) {
    fill(byId("main"), missingSection());
    return;
  }
  const sections = SECTIONS.map((make) => make()).filter(Boolean);
  shownSections = sections;
  fill(byId("main"), ...sections);
  fill(byId("jumps"), ...sections.map((one) => h("button.jump", { type: "button", onclick: () => jump(one.id) }, one.querySelector("h2").textContent)));
  byId("skip").addEventListener("click", (event) => { event.preventDefault(); jump("table"); });
  watch(["dataset", "backbone", "metric", "regime", "shots"], renderChoices);
  renderChoices();
  renderTable();
  begin(sections);
  watchTips();
  watchCell();
  watch(["at"], () => show(state.at));
  fill(byId("footer"), h("p.quiet", {}, `Made ${DATA.made}. Every number is in tables/results.csv. `,
    "Tables by DataTables (MIT), charts by Observable Plot and D3 (ISC); licences in the project's workflow/assets/report/vendor."));
  show(state.at, "auto");
}

const SECTIONS = [
  tableSection, curvesSection, summarySection, duelSection, classesSection, trustSection, costSection, peekingSection, missingSection,
];
main();
