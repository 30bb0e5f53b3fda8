// View: two tokens, or two documents, and the features in which they differ most.
"use strict";
{
  const KINDS = [
    ["doc", "document"],
    ["docs", "group or selection"],
    ["row", "token"],
  ];

  sae.compareView = (path, params, page) => {
    if (!page.summary.features) return page.noFeatures();
    if (sae.source.isStatic)
      return page.nothing("Compare", "Tokens and documents are compared by the server: run sae-dashboard.");
    const start = { a: params.a || sae.compared() || "doc:0", b: params.b || "doc:1" };
    const sides = { a: side("a", start.a), b: side("b", start.b) };
    const titles = sae.el("div", { class: "sides" });
    const count = sae.el("span", { class: "muted", role: "status" });
    let most = 1;
    const list = sae.virtualList({
      label: "Features that differ, the largest difference first",
      fetch: async (offset, limit) => {
        const answer = await sae.source.get("compare", { a: value("a"), b: value("b"), offset, limit });
        if (offset === 0) {
          most = Math.abs(answer.features[0]?.difference || 1);
          titles.replaceChildren(name("A", answer.a), name("B", answer.b));
          page.replace({ a: answer.a.name, b: answer.b.name });
        }
        return { items: answer.features, total: answer.total };
      },
      onTotal: (total) => (count.textContent = `${sae.plural(total, "feature")} in either`),
      onError() {
        count.textContent = "";
        titles.replaceChildren();
      },
      render: (feature) =>
        sae.featureRow({
          ...feature,
          measures: [
            ...sae.figures([["A", sae.figure(feature.a), "a"]]),
            difference(feature.difference / most),
            ...sae.figures([["B", sae.figure(feature.b), "b"]]),
          ],
        }),
      empty: () => sae.empty("Nothing fires in either", "Choose two others."),
    });

    function side(which, text) {
      const [, kind, number] = /^(\w+):(.*)$/.exec(text) ?? ["", text, ""];
      const kinds = sae.select(`${which.toUpperCase()} is a`, KINDS, kind);
      const box = sae.el("input", {
        value: number || "0",
        size: 16,
        "aria-label": `Which is ${which.toUpperCase()}`,
        title: "a document's name or number; of a token its row, or document@token",
      });
      const names = () => (kinds.value === "docs" ? box.setAttribute("list", "groups") : box.removeAttribute("list"));
      names();
      kinds.addEventListener("change", () => {
        names();
        list.reset();
      });
      box.addEventListener(
        "input",
        sae.later(() => list.reset(), 250),
      );
      return { kinds, box };
    }

    function value(which) {
      return `${sides[which].kinds.value}:${sides[which].box.value.trim()}`;
    }

    function swap() {
      for (const part of ["kinds", "box"])
        [sides.a[part].value, sides.b[part].value] = [sides.b[part].value, sides.a[part].value];
      list.reset();
    }

    list.reset(page.scrolled);
    const taken = sae.takeOut(() => ({ of: "compare", a: value("a"), b: value("b") }));
    const chooser = (which) =>
      sae.el(
        "span",
        { class: `side ${which}` },
        sae.el("b", {}, which.toUpperCase()),
        " ",
        sides[which].kinds,
        " ",
        sides[which].box,
      );
    return {
      title: "Compare",
      copy: () => taken.copy("tsv"),
      search: sides.a.box,
      node: sae.filling(
        [
          sae.heading("Compare"),
          sae.el(
            "div",
            { class: "tools" },
            chooser("a"),
            sae.el(
              "button",
              { type: "button", onclick: swap, title: "Swap A and B", "aria-label": "Swap A and B" },
              "⇄",
            ),
            chooser("b"),
            count,
            sae.groupNames(),
            taken.node,
          ),
          titles,
        ],
        sae.columns(["A", "a"], ["more in A ◂ ▸ more in B", "difference"], ["B", "b"]),
        list.node,
      ),
    };
  };

  function name(which, side) {
    const text = sae.showToken(
      sae.el("bdi", { class: side.kind === "row" ? "token" : "preview" }),
      side.title || "no text",
      { breaks: false },
    );
    const href =
      side.kind === "row"
        ? sae.link(["documents", side.address], { at: side.position })
        : sae.link(["documents", side.address]);
    const where =
      side.kind === "docs" ? "mean of their tokens that count" : side.kind === "row"
        ? `document ${sae.count(side.document)}, token ${sae.count(side.position)}${side.reason ? `, ${sae.reason(side.reason)}` : ""}`
        : `document ${sae.count(side.id)}, mean of its tokens that count`;
    return sae.el(
      "a",
      { href, class: `side ${which.toLowerCase()}` },
      sae.el("b", {}, which),
      text,
      sae.el("span", { class: "muted" }, where),
    );
  }

  /** A bar from the middle: to the left where the feature is stronger in A, to the right where it is stronger in B. */
  function difference(share) {
    const bar = sae.el("span", {
      class: share > 0 ? "more a" : "more b",
      "--share": `${(50 * Math.min(1, Math.abs(share))).toFixed(1)}%`,
    });
    return sae.el("span", { class: "difference", "aria-hidden": "true" }, bar);
  }
}
