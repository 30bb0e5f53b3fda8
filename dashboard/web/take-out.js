// Taking out: what a view shows as a figure or as a table, to copy or to save. The server draws it; a PNG is its SVG.
"use strict";
{
  const FORMATS = { svg: "SVG", png: "PNG", html: "HTML", latex: "LaTeX", markdown: "Markdown", csv: "CSV", tsv: "TSV", json: "JSON" };
  const SHARPNESS = 2; // pixels of a PNG for each of the figure

  /** A menu of forms. `request()` is what is asked of api/figure. `copy(format)` copies without the menu. */
  sae.takeOut = (request) => {
    const said = sae.el("p", { class: "muted", role: "status" });
    const item = ([format, name]) =>
      sae.el("p", {}, sae.el("span", {}, name), button("Copy", format, copy), button("Save", format, save));
    const paper = sae.el("button", { class: "quiet", type: "button", onclick: printAll }, "Print all of it");
    const list = sae.el("div", {}, ...Object.entries(FORMATS).map(item), paper, said);
    const node = sae.el("details", { class: "take" }, sae.el("summary", { class: "button" }, "Copy as figure"), list);
    node.addEventListener("focusout", ({ relatedTarget }) => {
      if (relatedTarget && !node.contains(relatedTarget)) node.open = false;
    });
    node.addEventListener("keydown", (event) => {
      if (event.key === "Escape") [node.open, event.cancelBubble] = [false, true];
    });

    function button(name, format, work) {
      return sae.el("button", { class: "quiet", type: "button", "aria-label": `${name} ${FORMATS[format]}`, onclick: () => work(format) }, name);
    }

    async function make(format, more) {
      const made = await sae.source.get("figure", { ...request(), ...more, format: format === "png" ? "svg" : format });
      if (format === "png") return { name: made.name.replace(/svg$/, "png"), blob: await drawn(made.text) };
      return { name: made.name, blob: new Blob([made.text], { type: made.type }) };
    }

    async function copy(format, more = {}) {
      const types = { png: ["image/png"], html: ["text/html", "text/plain"] }[format] ?? ["text/plain"];
      const blob = make(format, more).then((made) => made.blob);
      const as = (type) => [type, blob.then((one) => (format === "png" ? one : new Blob([one], { type })))];
      await tell(() => navigator.clipboard.write([new ClipboardItem(Object.fromEntries(types.map(as)))]), `${FORMATS[format]} copied`);
    }

    async function save(format) {
      await tell(() => make(format).then(sae.save), `${FORMATS[format]} saved`);
    }

    async function tell(work, done) {
      const words = await work().then(() => done, (error) => error.message || "This browser does not let the page copy: save it");
      said.textContent = words;
      sae.say(words);
    }

    return { node, copy };
  };

  sae.MOST_PRINTED = 20_000; // rows of a list, tokens of a document

  /** Have all of a view in the page, and not only what is seen of it: to be printed. */
  sae.whole = (is) => Promise.all([...document.querySelectorAll(".virtual, .flow")].map((node) => node.whole(is)));
  addEventListener("afterprint", () => sae.whole(false));
  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key !== "p") return;
    event.preventDefault();
    printAll();
  });

  async function printAll() {
    await sae.whole(true);
    print();
  }

  /** Save a blob as a file of this name. */
  sae.save = ({ name, blob }) => {
    const href = URL.createObjectURL(blob);
    sae.el("a", { href, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(href), 60_000);
  };

  async function drawn(svg) {
    const image = new Image();
    image.src = `data:image/svg+xml,${encodeURIComponent(svg)}`;
    await image.decode();
    const canvas = sae.el("canvas", { width: image.width * SHARPNESS, height: image.height * SHARPNESS });
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }

  // Rows that are copied by hand: their cells are separated, which in a list of boxes they would not be.
  document.addEventListener("copy", (event) => {
    const chosen = getSelection();
    const rows = [...document.querySelectorAll(".virtual li, .contexts li")].filter((row) => chosen.containsNode(row, true));
    const within = rows.length === 1 && rows[0].querySelector("a")?.contains(chosen.getRangeAt(0).commonAncestorContainer);
    if (!rows.length || within) return;
    const cells = (row) => [...row.querySelectorAll(".index, .label, .figure, .value, .context, .where, .preview, .about > *")];
    const text = (cell) => (cell.querySelector(".named")?.nextSibling ?? cell).textContent.trim();
    event.clipboardData.setData("text/plain", rows.map((row) => cells(row).map(text).join("\t")).join("\n"));
    event.preventDefault();
  });
}
