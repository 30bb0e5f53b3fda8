// Pins: up to five features that a text is coloured by, each in a colour of its own. A pin has a chip in the legend and a
// lane above the text, which shows where in the whole document it fires.
"use strict";
{
  sae.MOST_PINS = 5;
  const BINS = 400;
  const COLOUR = /^(l0|top|feature:\d{1,15}(,\d{1,15}){0,4})$/;

  /** The colour of an address: l0, top, or feature:300,42 for pins. */
  sae.readColour = (text) => (COLOUR.test(text ?? "") ? text : "l0");

  /** The pins of a colour, [300, 42]; none for l0 and top. */
  sae.pinsOf = (colour) => (colour.startsWith("feature:") ? [...new Set(colour.slice(8).split(",").map(Number))] : []);

  /** Colour a token by the pin that is strongest there, by the share of its largest value; the others underline it. */
  sae.pin = (node, layers, i) => {
    const shares = layers.map(({ values, scale }) => Math.abs(Math.fround(values[i])) / Math.fround(scale || 1)); // equal ones are equal
    const first = shares.indexOf(Math.max(...shares));
    sae.warm(node, layers[first].values[i], layers[first].scale);
    node.dataset.pin = first;
    const others = shares.flatMap((share, k) => (share > 0 && k !== first ? [`var(--pin-${k})`] : []));
    node.style.boxShadow = others.map((colour, k) => `inset 0 ${-2 * (k + 1)}px ${colour}`).join();
  };

  sae.unpin = (node) => {
    delete node.dataset.pin;
    node.style.boxShadow = "";
  };

  /** The chip of a pin: its colour, its label, the tokens before and after on which it fires, and a way to let go. */
  sae.pinChip = (index, k, { jump, remove }) => {
    const name = sae.el("a", { class: "chosen", href: sae.link(["features", index]) }, sae.el("span", { class: "index" }, sae.count(index)));
    sae.source.get(`features/${index}`).then(
      ({ label }) => {
        name.append(" ", sae.label(label));
        name.title = label ?? "no label";
      },
      () => {},
    );
    const button = (text, words, onclick) =>
      sae.el("button", { type: "button", class: "quiet", title: words, "aria-label": `${words}: feature ${index}`, onclick }, text);
    return sae.el(
      "li",
      { class: "pin", "data-pin": k },
      sae.el("span", { class: "dot", "aria-hidden": "true" }),
      name,
      button("‹", "Previous token it fires on (p)", () => jump(-1, index)),
      button("›", "Next token it fires on (n)", () => jump(1, index)),
      button("×", "Unpin", () => remove(index)),
    );
  };

  /** The lanes of some pins over the whole document. `go(at)` is called with the strongest token of the place clicked. */
  sae.lanes = ({ below, go }) => {
    const node = sae.el("div", { class: "lanes" });
    let round = 0;
    return {
      node,
      async show(pins) {
        const mine = ++round;
        const answer = pins.length ? await sae.source.get(`${below}/lanes`, { features: pins.join(), bins: BINS }).catch(() => null) : null;
        if (mine !== round) return;
        node.replaceChildren(...(answer?.lanes ?? []).map((lane, k) => draw(lane, k, answer.bins, go)));
      },
    };
  };

  function draw({ feature, values, at, max }, k, bins, go) {
    const bars = values.map((value, bin) => value && sae.svg("rect", { x: bin, y: 0, width: 1, height: 6, "fill-opacity": (0.25 + 0.75 * Math.abs(value / max)).toFixed(2) }));
    const fires = values.filter(Boolean).length;
    const words = `Where feature ${feature} fires: in ${fires} of ${bins} equal parts of the document`;
    const lane = sae.svg("svg", { viewBox: `0 0 ${bins} 6`, preserveAspectRatio: "none", role: "img", "aria-label": words, "data-pin": k }, ...bars);
    lane.addEventListener("click", ({ offsetX }) => {
      const wanted = (offsetX / lane.clientWidth) * bins;
      const hits = values.flatMap((value, bin) => (value ? [bin] : []));
      if (hits.length) go(at[hits.reduce((best, bin) => (Math.abs(bin + 0.5 - wanted) < Math.abs(best + 0.5 - wanted) ? bin : best))]);
    });
    return lane;
  }
}
