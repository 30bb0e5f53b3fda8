// View: one document, its tokens coloured, and beside them what fires on the one that is looked at.
"use strict";
{
  sae.documentView = async (path, params, page) => {
    const id = Number(path[1]);
    if (!page.summary.features) return page.nothing("No features yet", "Features are what sae-encode writes: which features fire on which token.");
    const told = await sae.source.get(`documents/${id}/tokens`, { start: 0, stop: 0 });
    let colour = params.colour || "l0";
    const chosen = () => (colour.startsWith("feature:") ? Number(colour.slice(8)) : null);

    const panel = sae.tokenPanel({ chosen, colour: (index) => setColour(index === chosen() ? "l0" : `feature:${index}`) });
    const inDocument = documentFeatures(id, chosen, (index) => setColour(index === chosen() ? "l0" : `feature:${index}`));
    const legend = sae.el("div", { class: "legend" });
    const scale = sae.el("span", { class: "scale" }, sae.el("span", { class: "least" }), sae.el("span", { class: "gradient", role: "img", "aria-label": "from no colour to the full colour" }), sae.el("span", { class: "most" }));
    const flow = sae.tokenFlow({
      id,
      total: told.total,
      sections: told.sections,
      colour,
      onAt: (at, held, isJump) => {
        if (at !== null) panel.show(told.first_row + at, held);
        page.replace({ at: held ? at : "", colour: colour === "l0" ? "" : colour });
        if (held && !isJump) tabs.choose(0);
      },
      onScale: (told) => {
        const text = colour === "l0" ? sae.count : sae.figure;
        scale.querySelector(".least").textContent = chosen() === null && told.floor > 0 ? `≤ ${text(told.floor)}` : "0";
        scale.querySelector(".most").textContent = chosen() === null && told.floor > 0 ? `≥ ${text(told.scale)}` : text(told.scale);
      },
    });
    const tabs = sae.tabs([
      ["Token", panel.node],
      ["Whole document", inDocument.node, inDocument.open],
    ]);

    function setColour(which) {
      if (which !== colour) {
        colour = which;
        flow.setColour(colour);
      }
      page.replace({ at: flow.at ?? "", colour: colour === "l0" ? "" : colour });
      panel.redraw();
      inDocument.redraw();
      drawLegend();
    }

    async function drawLegend() {
      const button = (which, text, title) => sae.el("button", { type: "button", "aria-pressed": String(colour === which), title, onclick: () => setColour(which) }, text);
      const parts = [sae.el("span", { class: "muted", id: "colour-by" }, "Colour by"), sae.el("span", { class: "choice", role: "group", "aria-labelledby": "colour-by" }, button("l0", "L0", "How many features fire on the token (0)"), button("top", "Strongest", "The activation of the token's strongest feature")), scale];
      const index = chosen();
      if (index !== null) {
        const name = sae.el("a", { class: "chosen", href: sae.link(["features", index]) }, sae.el("span", { class: "index" }, sae.count(index)));
        parts.push(
          name,
          sae.el("button", { type: "button", title: "Previous token it fires on (p)", "aria-label": "Previous token it fires on", onclick: () => flow.jump(-1) }, "‹"),
          sae.el("button", { type: "button", title: "Next token it fires on (n)", "aria-label": "Next token it fires on", onclick: () => flow.jump(1) }, "›"),
        );
        sae.source.get(`features/${index}`).then(({ label }) => name.append(" ", sae.label(label)), () => {});
      }
      legend.replaceChildren(...parts);
    }

    function keys(event) {
      const digit = /^[0-9]$/.test(event.key) ? Number(event.key) : null;
      if (digit === 0) setColour("l0");
      else if (digit !== null && panel.strongest(digit - 1) !== undefined) setColour(`feature:${panel.strongest(digit - 1)}`);
      else if (event.key === "n" && chosen() !== null) flow.jump(1);
      else if (event.key === "p" && chosen() !== null) flow.jump(-1);
      else if (event.key === "Escape") flow.release();
      else return false;
      return true;
    }

    drawLegend();
    const title = `Document ${sae.count(id)}`;
    const compare = sae.compared();
    const about = [
      sae.el("span", {}, sae.el("b", {}, sae.count(told.total)), told.total === 1 ? " token" : " tokens"),
      sae.el("bdi", { class: "shard" }, told.shard),
      sae.el("a", { href: sae.link(["features"], { a: id, b: "rest" }) }, "What fires more here than elsewhere"),
      compare !== null && compare.startsWith("doc:") && compare !== `doc:${id}`
        ? sae.el("a", { href: sae.link(["compare"], { a: compare, b: `doc:${id}` }) }, `Compare with document ${compare.slice(4)}`)
        : sae.el("a", { href: sae.link(["compare"], { a: `doc:${id}` }), onclick: () => sae.keepForCompare(`doc:${id}`) }, "Compare with another"),
    ];
    const neighbours = sae.el(
      "span",
      { class: "neighbours" },
      id > 0 && sae.el("a", { href: sae.link(["documents", id - 1], { colour: params.colour }), "aria-label": "Previous document", title: "Previous document" }, "←"),
      id + 1 < page.summary.features.n_documents && !page.summary.static && sae.el("a", { href: sae.link(["documents", id + 1], { colour: params.colour }), "aria-label": "Next document", title: "Next document" }, "→"),
    );
    const node = sae.el(
      "section",
      { class: "view filling" },
      sae.el("div", { class: "head" }, sae.el("div", { class: "title" }, sae.heading(title), neighbours), sae.el("p", { class: "facts" }, ...about), legend),
      sae.el("div", { class: "split" }, flow.node, sae.el("aside", { class: "panel", "aria-label": "What fires" }, tabs.node)),
      sae.el("p", { id: "flow-help", class: "hidden" }, "Arrow keys move from token to token; what fires on it is said and listed beside the text."),
    );
    const go = ({ at }) => (at === undefined || at === "" ? null : flow.hold(Number(at), { scroll: "center" }));
    return {
      title,
      node,
      keys,
      ready: () => {
        if (params.at) go(params);
        else if (told.total) panel.show(told.first_row, false);
      },
      update(next) {
        if ((next.colour || "l0") !== colour) setColour(next.colour || "l0");
        if (next.at && Number(next.at) !== flow.at) go(next);
      },
      leave: flow.leave,
    };
  };

  /** The features that fire in this document, found by their labels, the heaviest first. */
  function documentFeatures(id, chosen, colour) {
    const box = sae.el("input", { type: "search", placeholder: "Features of this document", "aria-label": "Find a feature that fires in this document" });
    let most = 1;
    const list = sae.virtualList({
      rowHeight: sae.rowHeight("feature-row"),
      label: "Features that fire in this document",
      fetch: async (offset, limit) => {
        const told = await sae.source.get("search", { document: id, query: box.value, sort: "here", offset, limit });
        if (offset === 0) most = told.features[0]?.here || 1;
        return { items: told.features, total: told.total };
      },
      render: (one) => sae.featureRow({ ...one, chosen: one.index === chosen(), colour, share: one.here / most, figures: [[sae.figure(one.here), "value"]] }),
      empty: () => sae.el("p", { class: "muted padded" }, "No feature that fires here has such a label."),
    });
    box.addEventListener("input", sae.later(() => list.reset(), 120));
    const columns = sae.el("div", { class: "columns muted", "aria-hidden": "true" }, sae.el("span", {}, "feature"), sae.el("span", { class: "figure value" }, "sum"));
    let isOpen = false;
    const open = () => {
      if (!isOpen) list.reset();
      isOpen = true;
    };
    return { node: sae.el("div", { class: "panel-body" }, sae.el("div", { class: "token-head" }, box), columns, list.node), open, redraw: () => isOpen && list.reset() };
  }

  /** Tabs: [[name, node, called when opened], ...]; arrow keys move between them. */
  sae.tabs = (all) => {
    const buttons = all.map(([name], i) => sae.el("button", { type: "button", role: "tab", id: `tab-${i}`, "aria-controls": `tabpanel-${i}`, onclick: () => choose(i) }, name));
    const bodies = all.map(([, body], i) => sae.el("div", { role: "tabpanel", id: `tabpanel-${i}`, "aria-labelledby": `tab-${i}`, class: "tabpanel" }, body));
    function choose(chosen) {
      all.forEach(([, , opened], i) => {
        buttons[i].setAttribute("aria-selected", String(i === chosen));
        buttons[i].tabIndex = i === chosen ? 0 : -1;
        bodies[i].hidden = i !== chosen;
        if (i === chosen) opened?.();
      });
    }
    const list = sae.el("div", { role: "tablist", "aria-label": "What fires" }, ...buttons);
    list.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.stopPropagation();
      const next = (buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length;
      choose(next);
      buttons[next].focus();
    });
    choose(0);
    return { node: sae.el("div", { class: "tabs" }, list, ...bodies), choose };
  };
}
