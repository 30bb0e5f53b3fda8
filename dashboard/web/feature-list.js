// What lists of features have in common. A row has a button that colours the text by the feature, the feature's number,
// its label and its figures. Above the figures stand their heads. Also here: links to the previous and the next page.
"use strict";
{
  /**
   * The row of a feature. `colour(index)` is called when the text should be coloured by the feature. `share` is the
   * length of the bar, from 0 to 1. `figures` go to sae.figures.
   */
  sae.featureRow = ({ index, label, marked, chosen, colour, share, figures }) => [
    colour &&
      sae.el("button", {
        type: "button",
        class: "swatch",
        "aria-pressed": String(Boolean(chosen)),
        title: `Colour by feature ${index}`,
        "aria-label": `Colour by feature ${index}`,
        onclick: () => colour(index),
      }),
    sae.el(
      "a",
      { class: "feature", href: sae.link(["features", index]), title: label ?? "no label" },
      sae.el("span", { class: "index" }, sae.count(index)),
      " ",
      marked ? sae.marked(marked) : sae.label(label),
    ),
    share === undefined ? null : sae.bar(share),
    ...sae.figures(figures),
  ];

  /** Figures: [name, text, class]. The name is read out and not seen. */
  sae.figures = (all) =>
    all.map(([name, text, kind]) =>
      sae.el("span", { class: `figure ${kind}` }, text && sae.el("span", { class: "hidden" }, `${name} `), text),
    );

  /** The heads of figures: [text, class, title], over a list of features. */
  sae.columns = (...figures) =>
    sae.el(
      "div",
      { class: "columns muted", "aria-hidden": "true" },
      sae.el("span", {}, "feature"),
      ...figures.map(([text, kind, title]) => sae.el("span", { class: `figure ${kind}`, title }, text)),
    );

  /** The height of a row in pixels, as the style sheet has it. */
  sae.rowHeight = (name) => () => parseFloat(getComputedStyle(document.documentElement).getPropertyValue(`--${name}`));

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
