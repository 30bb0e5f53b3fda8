// Two small charts, as SVG: a histogram and a bar. Each says in words what it shows.
"use strict";
{
  const WIDTH = 320;

  /** Bars of {edges: [n + 1], counts: [n]}. `unit` is what is counted; `log` draws the logarithm of the counts. */
  sae.histogram = ({ edges, counts }, { height = 120, unit = "tokens", say = sae.figure, log = false, axis = true, ends, kind = () => null } = {}) => {
    const size = log ? (n) => Math.log10(1 + n) : (n) => n;
    const most = Math.max(...counts.map(size), 1e-9);
    const step = WIDTH / counts.length;
    const bars = counts.map((count, i) => {
      const tall = count ? Math.max(1.5, (height * size(count)) / most) : 0;
      const bar = {
        class: kind(i),
        x: (i * step).toFixed(2),
        y: (height - tall).toFixed(2),
        width: Math.max(0.5, step - 1).toFixed(2),
        height: tall.toFixed(2),
      };
      const title = `${say(edges[i])} to ${say(edges[i + 1])}: ${sae.plural(count, unit.replace(/s$/, ""), unit)}`;
      return sae.svg("rect", bar, sae.svg("title", {}, title));
    });
    const at = counts.indexOf(Math.max(...counts));
    const words = `Histogram of ${sae.count(counts.reduce((a, b) => a + b, 0))} ${unit}, from ${say(edges[0])} to ${say(edges.at(-1))}; most, ${sae.count(counts[at] || 0)}, between ${say(edges[at])} and ${say(edges[at + 1])}`;
    const chart = sae.svg(
      "svg",
      {
        viewBox: `0 0 ${WIDTH} ${height}`,
        preserveAspectRatio: "none",
        role: "img",
        "aria-label": words,
        class: "bars",
      },
      ...bars,
    );
    if (!axis) return chart;
    const middle = (edges[0] + edges.at(-1)) / 2;
    const marks = ends ?? [edges[0], middle, edges.at(-1)].map(sae.figure);
    return sae.el(
      "figure",
      { class: "histogram" },
      chart,
      sae.el("div", { class: "axis", "aria-hidden": "true" }, ...marks.map((mark) => sae.el("span", {}, mark))),
    );
  };

  /** A bar of a share from 0 to 1. The share itself stands beside the bar as a number. */
  sae.bar = (share) =>
    sae.el(
      "span",
      { class: "bar", "aria-hidden": "true" },
      sae.el("span", { "--share": `${Math.max(0, Math.min(100, 100 * share)).toFixed(1)}%` }),
    );
}
