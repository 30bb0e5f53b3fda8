// View: one document, its tokens coloured, and beside the text the features that fire on the token that is looked at.
"use strict";
{
  const FIGURE_TOKENS = 1000;
  const readAt = (text) => (/^\d{1,15}$/.test(text ?? "") ? Number(text) : null);

  sae.documentView = async (path, params, page) => {
    if (!page.summary.features) return page.noFeatures();
    const below = `documents/${encodeURIComponent(path[1])}`;
    const doc = await sae.source.get(`${below}/tokens`, { start: 0, stop: 0 });
    const title = `Document ${sae.count(doc.document)}`;
    let colour = sae.readColour(params.colour);
    let before = []; // the pins as they were before another colour was chosen
    const pins = () => sae.pinsOf(colour);
    const pinned = (all) => setColour(all.length ? `feature:${all.join()}` : "l0");
    function toggle(index) {
      const others = pins().filter((other) => other !== index);
      if (others.length === sae.MOST_PINS) remark.textContent = `${sae.MOST_PINS} pins are all that the eye can tell apart: unpin one first`;
      else pinned(others.length < pins().length ? others : [...others, index]);
    }

    const panel = sae.tokenPanel({ links: page.summary.features.index.has_words, below, pins, toggle });
    const whole = documentFeatures(doc, pins, toggle);
    const legend = sae.el("div", { class: "legend" });
    const remark = sae.el("span", { class: "muted", role: "status" });
    const scale = {
      least: sae.el("span", { class: "least" }),
      most: sae.el("span", { class: "most" }),
    };
    let shownAt = null;
    const flow = sae.tokenFlow({
      below,
      total: doc.total,
      sections: doc.sections,
      colour,
      onAt(at, isHeld, isJump) {
        shownAt = at;
        if (at !== null) panel.show(at, isHeld);
        if (at !== null) second?.show(at, isHeld);
        page.replace({ at: isHeld ? at : "" });
        if (isHeld && !isJump) tabs.choose(0);
      },
      onScale(of) {
        const text = colour === "l0" ? sae.count : sae.figure;
        const isCut = !pins().length && of.floor > 0;
        scale.least.textContent = isCut ? `≤ ${text(of.floor)}` : "0";
        scale.most.textContent = isCut ? `≥ ${text(of.scale)}` : text(of.scale);
      },
      onRemark: (text) => (remark.textContent = text),
    });
    const { sae: mine, saes } = page.summary;
    let second = null; // what fires on the same token in another SAE
    const both = sae.el("div", { class: "both" }, panel.node);
    const others = [["", "beside another SAE"], ...saes.filter((one) => one !== mine).map((one) => [one, `beside ${one}`])];
    const beside = saes.includes(params.beside) ? params.beside : "";
    const chooser = sae.select("Beside it", others, beside, { hidden: saes.length < 2, onchange: () => compareWith(chooser.value) });
    function compareWith(name) {
      second?.leave();
      second = name ? sae.tokenPanel({ below, pins: () => [], of: name }) : null;
      both.replaceChildren(panel.node, second?.node ?? "");
      if (shownAt !== null) second?.show(shownAt, true);
      page.replace({ beside: name });
    }
    if (beside) compareWith(beside);
    const tabs = sae.tabs("What fires", [
      ["Token", sae.el("div", { class: "panel-body" }, chooser, both)],
      ["Whole document", whole.node, whole.open],
    ]);
    const lanes = sae.lanes({ below, go: (at) => flow.hold(at, { scroll: "center", isJump: true }) });
    const neighbours = sae.neighbours("document", [doc.previous, doc.next]);

    function setColour(which) {
      if (which === colour) return;
      if (pins().length) before = pins();
      colour = which;
      remark.textContent = "";
      flow.setColour(colour);
      page.replace({ colour: colour === "l0" ? "" : colour });
      panel.redraw();
      whole.redraw();
      drawLegend();
    }

    function drawLegend() {
      const press = (which, title) => ({
        type: "button",
        "aria-pressed": String(colour === which),
        title,
        onclick: () => setColour(which),
      });
      const parts = [
        sae.el("span", { class: "muted", id: "colour-by" }, "Colour by"),
        sae.el(
          "span",
          { class: "choice", role: "group", "aria-labelledby": "colour-by" },
          sae.el("button", press("l0", "How many features fire on the token (0)"), "L0"),
          sae.el("button", press("top", "The activation of the token's strongest feature"), "Strongest"),
          before.length > 0 && !pins().length && sae.el("button", press(`feature:${before.join()}`, "The pins as they were"), "Pins"),
        ),
        sae.el("span", { class: "scale" }, scale.least, sae.el("span", { class: "gradient" }), scale.most),
      ];
      const chip = (index, k) => sae.pinChip(index, k, { jump: flow.jump, remove: toggle });
      if (pins().length) parts[2] = sae.el("ul", { class: "pins", "aria-label": "Pins" }, ...pins().map(chip));
      const focused = [...legend.querySelectorAll("button")].indexOf(document.activeElement);
      legend.replaceChildren(...parts, remark);
      legend.querySelectorAll("button")[focused]?.focus();
      lanes.show(pins());
      neighbours.lead({ colour: colour === "l0" ? "" : colour });
    }

    function keys({ key }) {
      const digit = /^[0-9]$/.test(key) ? Number(key) : null;
      if (digit === 0) setColour("l0");
      else if (digit !== null && panel.strongest(digit - 1) !== undefined)
        toggle(panel.strongest(digit - 1));
      else if (key === "n" && pins().length) flow.jump(1);
      else if (key === "p" && pins().length) flow.jump(-1);
      else if (key === "Escape" && flow.at !== null) flow.release();
      else return false;
      return true;
    }

    /** What is asked for a figure: all of a short document, of a longer one the tokens around the held one. */
    const taken = sae.takeOut(() => {
      const start = doc.total > FIGURE_TOKENS ? Math.max(0, (flow.at ?? 0) - FIGURE_TOKENS / 2) : 0;
      return { of: "document", document: doc.address, colour, start, stop: Math.min(doc.total, start + FIGURE_TOKENS) };
    });

    drawLegend();
    return {
      title: `${doc.address} · document ${sae.count(doc.document)}`,
      node: sae.filling(
        [
          sae.el("div", { class: "title" }, sae.heading(title), neighbours.node, taken.node),
          sae.el("p", { class: "facts" }, ...facts(doc)),
          legend,
        ],
        sae.el(
          "div",
          { class: "split" },
          sae.el("div", { class: "text" }, lanes.node, flow.node),
          sae.splitter(),
          sae.el("aside", { class: "panel", "aria-label": "What fires" }, tabs.node),
        ),
        sae.el(
          "p",
          { id: "flow-help", class: "hidden" },
          "Arrow keys move from token to token. The features that fire on a token are read out and listed beside the text.",
        ),
      ),
      keys,
      copy: () => taken.copy("tsv", flow.at === null ? {} : { of: "token", at: flow.at, start: "", stop: "" }),
      ready() {
        const at = readAt(params.at);
        if (at !== null) flow.hold(at, { scroll: "center" });
        else if (doc.total) panel.show(0, false);
      },
      update(next) {
        setColour(sae.readColour(next.colour));
        const at = readAt(next.at);
        if (at === null && flow.at !== null) flow.release();
        else if (at !== null && at !== flow.at) flow.hold(at, { scroll: "center" });
      },
      leave() {
        second?.leave();
        flow.leave();
        panel.leave();
      },
    };
  };

  function facts(doc) {
    const mine = `doc:${doc.address}`;
    const kept = sae.compared();
    const others = doc.previous !== null || doc.next !== null;
    return [
      sae.el("span", {}, sae.el("b", {}, sae.count(doc.total)), doc.total === 1 ? " token" : " tokens"),
      doc.excluded > 0 && sae.el("span", { class: "muted" }, `${sae.count(doc.excluded)} of them do not count`),
      sae.el("bdi", { class: "shard" }, doc.shard),
      others &&
        sae.el("a", { href: sae.link(["features"], { a: doc.address, b: "rest" }) }, "What fires more here than elsewhere"),
      !sae.source.isStatic && compare(),
    ];

    function compare() {
      return kept?.startsWith("doc:") && kept !== mine
        ? sae.el("a", { href: sae.link(["compare"], { a: kept, b: mine }) }, `Compare with ${kept.slice(4)}`)
        : sae.el(
            "a",
            { href: sae.link(["compare"], { a: mine }), onclick: () => sae.keepForCompare(mine) },
            "Compare with another",
          );
    }
  }

  const MEASURES = {
    z: ["peculiar", "How surely it fires more often here than in the other documents (z)", sae.figure],
    here: ["sum", "The sum of its activations in this document", sae.figure],
    here_count: ["tokens", "On how many tokens of this document it fires", sae.count],
  };

  /** The features that fire in this document, found by their labels, sorted by one of MEASURES: the first is the usual. */
  function documentFeatures({ address, previous, next }, pins, toggle) {
    const words = "Find a feature that fires in this document";
    const box = sae.el("input", { type: "search", placeholder: "Features of this document", "aria-label": words });
    const hasOthers = previous !== null || next !== null;
    const offered = Object.keys(MEASURES).slice(hasOthers ? 0 : 1);
    let [sort] = offered;
    let most = 1;
    let isOpen = false;
    const list = sae.virtualList({
      label: "Features that fire in this document",
      fetch: async (offset, limit) => {
        const others = hasOthers ? { a: address, b: "rest" } : {};
        const answer = await sae.source.get("search", { document: address, ...others, query: box.value, sort, offset, limit });
        if (offset === 0) most = Math.abs(answer.features[0]?.[sort]) || 1;
        return { items: answer.features, total: answer.total };
      },
      render: (feature) =>
        sae.featureRow({
          ...feature,
          pin: pins().indexOf(feature.index),
          toggle,
          measures: [
            sae.bar(Math.max(0, feature[sort]) / most),
            ...sae.figures(offered.map((name) => [MEASURES[name][0], MEASURES[name][2](feature[name]), name === sort ? "value" : "muted"])),
          ],
        }),
      empty: () => sae.el("p", { class: "muted padded" }, "No feature that fires here has such a label."),
    });
    sae.drive(box, list);
    const heads = offered.map((name) =>
      sae.el("button", { type: "button", title: MEASURES[name][1], onclick: () => choose(name) }, MEASURES[name][0]),
    );
    const press = () => heads.forEach((head, i) => head.setAttribute("aria-pressed", String(offered[i] === sort)));
    function choose(name) {
      sort = name;
      press();
      list.reset();
    }
    press();
    return {
      node: sae.el(
        "div",
        { class: "panel-body" },
        sae.el("div", { class: "token-head" }, box, sae.el("p", { class: "choice", role: "group", "aria-label": "Sort by" }, ...heads)),
        list.node,
      ),
      open() {
        if (!isOpen) list.reset();
        isOpen = true;
      },
      redraw: list.redraw,
    };
  }
}
