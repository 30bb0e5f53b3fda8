// View: one document, its tokens coloured, and beside the text the features that fire on the token that is looked at.
"use strict";
{
  const COLOUR = /^(l0|top|feature:\d{1,15})$/;
  const readColour = (text) => (COLOUR.test(text ?? "") ? text : "l0");
  const readAt = (text) => (/^\d{1,15}$/.test(text ?? "") ? Number(text) : null);

  sae.documentView = async (path, params, page) => {
    if (!page.summary.features) return page.noFeatures();
    const below = `documents/${encodeURIComponent(path[1])}`;
    const doc = await sae.source.get(`${below}/tokens`, { start: 0, stop: 0 });
    const title = `Document ${sae.count(doc.document)}`;
    let colour = readColour(params.colour);
    const chosen = () => (colour.startsWith("feature:") ? Number(colour.slice(8)) : null);
    const toggle = (index) => setColour(index === chosen() ? "l0" : `feature:${index}`);

    const panel = sae.tokenPanel({ links: page.summary.features.index.has_words, below, chosen, colour: toggle });
    const whole = documentFeatures(doc.address, chosen, toggle);
    const legend = sae.el("div", { class: "legend" });
    const remark = sae.el("span", { class: "muted", role: "status" });
    const scale = {
      least: sae.el("span", { class: "least" }),
      most: sae.el("span", { class: "most" }),
    };
    const flow = sae.tokenFlow({
      below,
      total: doc.total,
      sections: doc.sections,
      colour,
      onAt(at, isHeld, isJump) {
        if (at !== null) panel.show(at, isHeld);
        page.replace({ at: isHeld ? at : "" });
        if (isHeld && !isJump) tabs.choose(0);
      },
      onScale(of) {
        const text = colour === "l0" ? sae.count : sae.figure;
        const isCut = chosen() === null && of.floor > 0;
        scale.least.textContent = isCut ? `≤ ${text(of.floor)}` : "0";
        scale.most.textContent = isCut ? `≥ ${text(of.scale)}` : text(of.scale);
      },
      onRemark: (text) => (remark.textContent = text),
    });
    const tabs = sae.tabs("What fires", [
      ["Token", panel.node],
      ["Whole document", whole.node, whole.open],
    ]);
    const neighbours = sae.neighbours("document", [doc.previous, doc.next]);

    function setColour(which) {
      if (which === colour) return;
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
        ),
        sae.el("span", { class: "scale" }, scale.least, sae.el("span", { class: "gradient" }), scale.most),
      ];
      if (chosen() !== null) parts.push(...chosenFeature(chosen(), flow));
      const focused = [...legend.querySelectorAll("button")].indexOf(document.activeElement);
      legend.replaceChildren(...parts, remark);
      legend.querySelectorAll("button")[focused]?.focus();
      neighbours.lead({ colour: colour === "l0" ? "" : colour });
    }

    function keys({ key }) {
      const digit = /^[0-9]$/.test(key) ? Number(key) : null;
      if (digit === 0) setColour("l0");
      else if (digit !== null && panel.strongest(digit - 1) !== undefined)
        setColour(`feature:${panel.strongest(digit - 1)}`);
      else if (key === "n" && chosen() !== null) flow.jump(1);
      else if (key === "p" && chosen() !== null) flow.jump(-1);
      else if (key === "Escape" && flow.at !== null) flow.release();
      else return false;
      return true;
    }

    drawLegend();
    return {
      title,
      node: sae.filling(
        [
          sae.el("div", { class: "title" }, sae.heading(title), neighbours.node),
          sae.el("p", { class: "facts" }, ...facts(doc)),
          legend,
        ],
        sae.el(
          "div",
          { class: "split" },
          flow.node,
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
      ready() {
        const at = readAt(params.at);
        if (at !== null) flow.hold(at, { scroll: "center" });
        else if (doc.total) panel.show(0, false);
      },
      update(next) {
        setColour(readColour(next.colour));
        const at = readAt(next.at);
        if (at === null && flow.at !== null) flow.release();
        else if (at !== null && at !== flow.at) flow.hold(at, { scroll: "center" });
      },
      leave() {
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

  /** The feature that the text is coloured by, with buttons to the tokens on which it fires. */
  function chosenFeature(index, flow) {
    const number = sae.el("span", { class: "index" }, sae.count(index));
    const name = sae.el("a", { class: "chosen", href: sae.link(["features", index]) }, number);
    sae.source.get(`features/${index}`).then(
      ({ label }) => name.append(" ", sae.label(label)),
      () => {},
    );
    const step = (direction, sign, title) =>
      sae.el("button", { type: "button", title, "aria-label": title, onclick: () => flow.jump(direction) }, sign);
    return [name, step(-1, "‹", "Previous token it fires on (p)"), step(1, "›", "Next token it fires on (n)")];
  }

  /** The features that fire in this document, found by their labels, the heaviest first. */
  function documentFeatures(address, chosen, colour) {
    const words = "Find a feature that fires in this document";
    const box = sae.el("input", { type: "search", placeholder: "Features of this document", "aria-label": words });
    let most = 1;
    let isOpen = false;
    const list = sae.virtualList({
      label: "Features that fire in this document",
      fetch: async (offset, limit) => {
        const answer = await sae.source.get("search", { document: address, query: box.value, sort: "here", offset, limit });
        if (offset === 0) most = answer.features[0]?.here || 1;
        return { items: answer.features, total: answer.total };
      },
      render: (feature) =>
        sae.featureRow({
          ...feature,
          chosen: feature.index === chosen(),
          colour,
          measures: [sae.bar(feature.here / most), ...sae.figures([["sum", sae.figure(feature.here), "value"]])],
        }),
      empty: () => sae.el("p", { class: "muted padded" }, "No feature that fires here has such a label."),
    });
    sae.drive(box, list);
    return {
      node: sae.el(
        "div",
        { class: "panel-body" },
        sae.el("div", { class: "token-head" }, box),
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
