// What lists of features have in common. A row has a button that colours the text by the feature, the feature's number,
// its label, and what is measured of it: beside the label, or below it where the list is narrow. Above wide lists stand
// the heads of the figures. Also here: links to the previous and the next page.
"use strict";
{
  /**
   * The row of a feature. `toggle(index)` is called when the feature should be pinned, or no longer; `pin` is the number
   * of its pin, -1 for none. `measures` are bars and figures.
   */
  sae.featureRow = ({ index, label, marked, pin, toggle, measures, of }) => [
    toggle &&
      sae.el("button", {
        type: "button",
        class: "swatch",
        "aria-pressed": String(pin >= 0),
        "data-pin": pin >= 0 ? pin : null,
        title: `Colour by feature ${index}`,
        "aria-label": `Colour by feature ${index}`,
        onclick: () => toggle(index),
      }),
    sae.el(
      "a",
      { class: "feature", href: of ? sae.forSae(of, sae.link(["features", index])) : sae.link(["features", index]), title: label ?? "no label" },
      sae.el("span", { class: "index" }, sae.count(index)),
      " ",
      ...sae.labelOf(index, label, marked),
    ),
    sae.el("span", { class: "measures" }, ...measures),
  ];

  /** Figures: [name, text, class]. The name is read out, and seen where the list is too narrow for heads. */
  sae.figures = (all) =>
    all.map(([name, text, kind]) =>
      sae.el("span", { class: `figure ${kind}` }, text && sae.el("span", { class: "named" }, `${name} `), text),
    );

  /** The heads of figures: [text, class, title, called when it is pressed to sort], over a list of features. */
  sae.columns = (...figures) =>
    sae.el(
      "div",
      { class: "columns muted", "aria-hidden": figures.some(([, , , sort]) => sort) ? null : "true" },
      sae.el("span", {}, "feature"),
      ...figures.map(([text, kind, title, onclick]) =>
        sae.el(onclick ? "button" : "span", { class: `figure ${kind}`, type: onclick && "button", title, onclick }, text),
      ),
    );

  /** The names of the groups of documents, offered by inputs that have list="groups". */
  sae.groupNames = () => {
    const names = sae.el("datalist", { id: "groups" });
    const add = ({ groups }) => names.append(...groups.map(({ name }) => sae.el("option", { value: name })));
    if (!sae.source.isStatic) sae.source.get("groups").then(add, () => {});
    return names;
  };

  /** Links to the previous and the next document or feature, null for none; `lead(params)` sets their parameters. */
  sae.neighbours = (what, [before, after]) => {
    const link = (number, sign, words) => number !== null && sae.el("a", { "aria-label": words, title: words }, sign);
    const links = [link(before, "←", `Previous ${what}`), link(after, "→", `Next ${what}`)];
    const lead = (params = {}) =>
      [before, after].forEach(
        (number, i) => links[i] && links[i].setAttribute("href", sae.link([`${what}s`, number], params)),
      );
    lead();
    return { node: sae.el("span", { class: "neighbours" }, ...links), lead };
  };
}
