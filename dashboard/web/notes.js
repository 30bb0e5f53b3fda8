// One's own stars, labels and notes on features, kept in this browser for each SAE; written out and read back as files.
"use strict";
{
  const COLUMNS = ["feature", "star", "label", "note"];
  let place = "";
  let kept = {}; // feature -> {star, label, note}

  /** Read what is kept for the SAE that is shown. */
  sae.readNotes = ({ features, labels }) => {
    const { release, id, path } = features?.sae ?? labels ?? {};
    const now = `notes ${[release, id].filter(Boolean).join(" ") || path}`;
    if (place === now) return;
    place = now;
    try {
      kept = JSON.parse(localStorage.getItem(place)) ?? {};
    } catch {
      kept = {}; // no storage for pages opened from a file, in some browsers; or not what was written
    }
  };

  function keep(index, change) {
    const { star = false, label = "", note = "" } = { ...kept[index], ...change };
    if (star || label || note) kept[index] = { star, label, note };
    else delete kept[index];
    try {
      localStorage.setItem(place, JSON.stringify(kept));
    } catch {
      sae.say("This browser keeps nothing: write a file before you leave");
    }
  }

  /** The label of a feature: one's own before Neuronpedia's, and marked. */
  sae.labelOf = (index, label, marked) => {
    const { star, label: mine } = kept[index] ?? {};
    const parts = [star && sae.el("span", { class: "star", title: "Starred" }, "★ ")];
    if (mine) parts.push(sae.el("span", { class: "tag", title: label ?? "no label" }, "mine"), " ");
    return [...parts, mine ? sae.label(mine) : marked ? sae.marked(marked) : sae.label(label)].filter(Boolean);
  };

  /** What stands on a feature's page: a star, one's own label, a note. `changed` is called after each change. */
  sae.noteOn = (index, changed) => {
    const { star = false, label = "", note = "" } = kept[index] ?? {};
    const set = (change) => changed(keep(index, change));
    const button = sae.el("button", { type: "button", "aria-pressed": String(star), onclick: press }, "★ Star");
    const box = (name, value, words) =>
      sae.el("input", { value, placeholder: words, "aria-label": words, class: "find", oninput: (event) => set({ [name]: event.target.value.trim() }) });
    function press() {
      set({ star: !kept[index]?.star });
      button.setAttribute("aria-pressed", String(Boolean(kept[index]?.star)));
    }
    return sae.el("div", { class: "tools notes" }, button, box("label", label, "Your own label"), box("note", note, "A note"));
  };

  /** All stars and notes, with what writes them out and reads them back. `changed` is called when some were read. */
  sae.allNotes = (changed) => {
    const rows = () => Object.entries(kept).map(([index, one]) => ({ feature: Number(index), ...one }));
    const cell = (value) => (/^[=+\-@]/.test(value) ? `"'${value}"` : /[",\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value);
    const csv = () => [COLUMNS, ...rows().map((row) => COLUMNS.map((name) => row[name]))].map((row) => row.map(cell).join(",")).join("\n");
    const write = (name, text) => sae.save({ name, blob: new Blob([text]) });
    const file = sae.el("input", { type: "file", accept: ".csv,.json", "aria-label": "Read stars and notes from a file", onchange: read });
    const said = sae.el("span", { class: "bad", role: "status" });

    async function read() {
      try {
        const text = await file.files[0].text();
        const found = text.trimStart().startsWith("[") ? JSON.parse(text) : parse(text);
        if (!found.every(({ feature }) => /^\d+$/.test(feature))) throw new Error("there is no column feature of whole numbers");
        for (const { feature, star, label, note } of found) keep(feature, { star: String(star) === "true", label: label ?? "", note: note ?? "" });
        changed();
      } catch (error) {
        said.textContent = `Not read: ${error.message}`;
      }
    }

    const links = rows().map(({ feature, label, note }) =>
      sae.el("li", {}, sae.el("a", { href: sae.link(["features", feature]) }, sae.count(feature)), " ", ...sae.labelOf(feature, note || label || null)));
    return sae.el(
      "details",
      { class: "mine" },
      sae.el("summary", {}, `Your stars and notes (${links.length})`),
      sae.el("ul", {}, ...links),
      sae.el(
        "p",
        { class: "tools" },
        sae.el("button", { type: "button", onclick: () => write("notes.csv", csv()) }, "Write CSV"),
        sae.el("button", { type: "button", onclick: () => write("notes.json", JSON.stringify(rows(), null, 1)) }, "Write JSON"),
        sae.el("label", {}, "Read ", file),
        said,
      ),
    );
  };

  /** The rows of a CSV, by the names in its first line. */
  function parse(text) {
    const lines = [[]];
    for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^,"\n\r]*))(,|\r?\n|$)/g)) {
      lines.at(-1).push((quoted?.replaceAll('""', '"') ?? plain).replace(/^'(?=[=+\-@])/, ""));
      if (end !== ",") lines.push([]);
    }
    const [names, ...rows] = lines.filter((line) => line.join(""));
    return rows.map((row) => Object.fromEntries(names.map((name, i) => [name.trim(), row[i]])));
  }
}
