// A table, and two small charts: a histogram and a bar. Each says in words what it shows.
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

  /**
   * Points at (x, y), the most extreme of them named: [{x, y, title, name}]. Dragging over some calls `onBrush` with the
   * bounds [left, right, low, high], a click with null.
   */
  sae.scatter = ({ points, label, xName, yName, onBrush }) => {
    const [wide, high, edge] = [640, 230, 26];
    const far = (axis) => Math.max(...points.map((point) => Math.abs(point[axis])), 1) * 1.08;
    const [farX, farY] = [far("x"), far("y")];
    const toX = (x) => wide / 2 + ((wide / 2 - edge) * x) / farX;
    const toY = (y) => high / 2 - ((high / 2 - 12) * y) / farY;
    const text = (x, y, words, anchor = "middle") => sae.svg("text", { x, y, "text-anchor": anchor }, words);
    const axes = [sae.svg("path", { d: `M0 ${high / 2}H${wide}M${wide / 2} 0V${high}`, class: "axes" }), text(wide - 4, high / 2 - 5, `${xName} →`, "end"), text(wide / 2 + 5, 11, `${yName} ↑`, "start")];
    const dots = points.map(({ x, y, title }) => sae.svg("circle", { cx: toX(x).toFixed(1), cy: toY(y).toFixed(1), r: 3, class: y < 0 ? "b" : "a" }, sae.svg("title", {}, title)));
    const named = []; // the most extreme first; one that would lie on another has no name
    for (const point of points.filter(({ name }) => name))
      if (named.every(({ x, y }) => Math.abs(toY(y) - toY(point.y)) > 11 || x * point.x < 0)) named.push(point);
    const names = named.map(({ x, y, name }) => text(toX(x) + (x > 0 ? -7 : 7), toY(y) + 4, name, x > 0 ? "end" : "start"));
    const brush = sae.svg("rect", { class: "brush" });
    const chart = sae.svg("svg", { viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": label, class: "scatter" }, ...axes, ...dots, ...names, brush);
    const place = (event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(chart.getScreenCTM().inverse());
    let start = null;
    const bounds = (end) => [Math.min(start.x, end.x), Math.max(start.x, end.x), Math.min(start.y, end.y), Math.max(start.y, end.y)];
    function draw([left, right, top, bottom]) {
      for (const [name, value] of Object.entries({ x: left, y: top, width: right - left, height: bottom - top })) brush.setAttribute(name, value);
    }
    chart.addEventListener("pointerdown", (event) => {
      start = place(event);
      chart.setPointerCapture(event.pointerId);
    });
    chart.addEventListener("pointermove", (event) => start && draw(bounds(place(event))));
    chart.addEventListener("pointerup", (event) => {
      const [left, right, top, bottom] = bounds(place(event));
      start = null;
      const isBrush = right - left > 4 && bottom - top > 4;
      if (!isBrush) draw([0, 0, 0, 0]);
      const ofX = (x) => ((x - wide / 2) * farX) / (wide / 2 - edge);
      const ofY = (y) => ((high / 2 - y) * farY) / (high / 2 - 12);
      onBrush(isBrush ? [ofX(left), ofX(right), ofY(bottom), ofY(top)] : null);
    });
    return chart;
  };

  /** A table: its heads, and rows of cells of which the first is the row's head. It scrolls where it is too wide. */
  sae.table = (kind, heads, rows) => {
    const head = (scope) => (content) => sae.el(content ? "th" : "td", content && { scope }, ...[content].flat());
    const cells = ([first, ...others]) => [head("row")(first), ...others.map((cell) => sae.el("td", {}, ...[cell].flat()))];
    const parts = [sae.el("thead", {}, sae.el("tr", {}, ...heads.map(head("col")))), sae.el("tbody", {}, ...rows.map((row) => sae.el("tr", {}, ...cells(row))))];
    return sae.el("div", { class: "scrolled", tabindex: "0", role: "region", "aria-label": kind }, sae.el("table", { class: kind }, ...parts));
  };

  /** A bar of a share from 0 to 1. The share itself stands beside the bar as a number. */
  sae.bar = (share) =>
    sae.el(
      "span",
      { class: "bar", "aria-hidden": "true" },
      sae.el("span", { "--share": `${Math.max(0, Math.min(100, 100 * share)).toFixed(1)}%` }),
    );
}
