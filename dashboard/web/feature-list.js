// Features as rows: a button that colours by it, its number, its label, and figures.
"use strict";
{
  /** The row of a feature. `colour` is called when its text should be coloured by it; `share` is the bar's, of 0 to 1. */
  sae.featureRow = ({ index, label, marked, chosen, colour, share, kind, figures }) => [
    colour &&
      sae.el(
        "button",
        { type: "button", class: "swatch", "aria-pressed": String(Boolean(chosen)), title: `Colour by feature ${index}`, "aria-label": `Colour by feature ${index}`, onclick: () => colour(index) },
      ),
    sae.el("a", { class: "feature", href: sae.link(["features", index]), title: label ?? "no label" }, sae.el("span", { class: "index" }, sae.count(index)), " ", marked ? sae.marked(marked) : sae.label(label)),
    share === undefined ? null : sae.bar(share, kind),
    ...figures.map(([text, name]) => sae.el("span", { class: `figure ${name || ""}` }, text)),
  ];

  /** The height of such a row in pixels, as the style sheet has it. */
  sae.rowHeight = (name) => () => parseFloat(getComputedStyle(document.documentElement).getPropertyValue(`--${name}`));
}
