// The dialog that gives the table away: as it is shown, in a format, under labels of one's own.

function openCopy(gather) {
  const options = { format: "Markdown", sd: true, level: true };
  const text = h("textarea", { rows: 14, readonly: true, spellcheck: "false", "aria-label": "The table as text" });
  const render = () => { text.value = FORMATS[options.format](gather(), options); };
  const formats = Object.keys(FORMATS).map((name) =>
    h("label.radio", {}, h("input", {
      type: "radio", name: "format", value: name, checked: name === options.format,
      onchange: () => { options.format = name; render(); },
    }), name));
  const flags = [["sd", "± standard deviation"], ["level", "† marks"]].map(([key, label]) =>
    h("label.radio", {}, h("input", {
      type: "checkbox", checked: options[key],
      onchange: (event) => { options[key] = event.target.checked; render(); },
    }), label));
  const copy = h("button.primary", { type: "button", id: "copy-now", onclick: () => copyText(text) }, "Copy");
  openDialog(
    "Copy the table",
    h("fieldset.formats", {}, h("legend", {}, "Format"), ...formats, ...flags),
    text,
    h("p", {}, copy, " ", h("span.quiet", {}, "Rows and columns, and their order, are those on the page.")),
    h("details", {}, h("summary", {}, "Own labels"), labelFields(gather().numbers, render)),
  );
  render();
}

/** A field for the label of each row. */
function labelFields(rows, changed) {
  const take = (row, value) => {
    const labels = ownLabels();
    if (value && value !== DATA.rows[row].name) labels[row] = value;
    else delete labels[row];
    choose({ labels: Object.keys(labels).length ? JSON.stringify(labels) : "" });
    changed();
  };
  return h("div.labels", {}, ...rows.map((row) =>
    h("input", {
      type: "text", value: labelOf(row), "aria-label": `Label of ${DATA.rows[row].name}`,
      oninput: (event) => take(row, event.target.value.trim()),
    })));
}

async function copyText(area) {
  try {
    await navigator.clipboard.writeText(area.value);
  } catch {
    area.select(); // without the clipboard's permission the old way is left
    document.execCommand("copy");
  }
  say("Copied");
}
