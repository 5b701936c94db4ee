// Elements from data. Every text that is not of this page goes through a text node: nothing is ever read as HTML.

const byId = (id) => document.getElementById(id);

/** An element: `h("td.number", {title: "…", onclick: …}, "text", other)`. */
function h(kind, attributes = {}, ...children) {
  const [tag, ...classes] = kind.split(".");
  const made = document.createElement(tag);
  if (classes.length) made.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "selected") made[name] = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function fill(target, ...children) {
  target.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return target;
}

/** A choice among named values; `changed` gets the one that is taken. */
function choice(label, options, value, changed) {
  const id = `choice-${label.replace(/\W+/g, "-").toLowerCase()}`;
  const select = h("select", { id, onchange: () => changed(select.value) });
  for (const [name, shown] of options) select.append(h("option", { value: name, selected: name === value }, shown));
  select.value = value;
  return h("span.choice", {}, h("label", { for: id }, label), select);
}

/** A heading with a line below it, and a place for what is shown. */
function section(id, title, about, ...content) {
  return h(
    "section",
    { id, "aria-labelledby": `${id}-title` },
    h("h2", { id: `${id}-title` }, title),
    about ? h("p.about", {}, about) : null,
    ...content,
  );
}

/** Says something to a screen reader, and for a moment to everybody. */
function say(text) {
  const said = byId("said");
  said.textContent = text;
  said.classList.add("seen");
  clearTimeout(say.timer);
  say.timer = setTimeout(() => said.classList.remove("seen"), 1800);
}

/** What stands in `data-tip` of an element shows beside it, under the mouse and under the keyboard's focus. */
function watchTips() {
  const tip = byId("tip");
  const show = (event) => {
    const of = event.target.closest?.("[data-tip]");
    tip.hidden = !of;
    if (!of) return;
    tip.textContent = of.dataset.tip;
    const box = of.getBoundingClientRect();
    const left = Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
    const below = box.bottom + tip.offsetHeight + 8 < innerHeight;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${below ? box.bottom + 6 : box.top - tip.offsetHeight - 6}px`;
  };
  const hide = () => { tip.hidden = true; };
  for (const event of ["mouseover", "focusin"]) document.addEventListener(event, show);
  for (const event of ["mouseleave", "focusout", "scroll"]) document.addEventListener(event, hide, true);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
}

/** The dialog with a title and content; the browser keeps the focus in it and gives it back. */
function openDialog(title, ...content) {
  const dialog = byId("dialog");
  const close = h("button.close", { type: "button", "aria-label": "Close", onclick: () => dialog.close() }, "×");
  fill(dialog, h("div.head", {}, h("h2", { id: "dialog-title" }, title), close), h("div.body", {}, ...content));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}
