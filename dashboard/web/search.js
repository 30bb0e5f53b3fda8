// View: features, found by the words of their labels, sorted by their figures, narrowed by where they fire.
"use strict";
{
  const SORTS = {
    match: "best match",
    density: "density",
    max: "max activation",
    count: "tokens it fires on",
    index: "number",
    here: "fires in the document",
    z: "surely more in A than in B",
    log_ratio: "more in A than in B",
  };
  const ORDERS = [
    ["", "usual order"],
    ["desc", "largest first"],
    ["asc", "smallest first"],
  ];
  const NEEDS = { here: "document", z: "selections", log_ratio: "selections" };

  sae.searchView = (path, params, page) => {
    const { features, labels } = page.summary;
    if (!features && !labels)
      return page.nothing("Nothing to search yet", "Labels come from Neuronpedia, features from sae-encode.");
    const request = () => ({
      query: box.value.trim(),
      sort: sort.value,
      order: order.value,
      document: inDocument.value.trim(),
      a: a.value.trim(),
      b: b.value.trim(),
      within,
    });
    let within = params.within || "";
    const input = (name, label, example, size) =>
      sae.el("input", {
        name,
        value: params[name] || "",
        placeholder: example,
        "aria-label": label,
        size,
        autocomplete: "off",
        spellcheck: "false",
      });
    const box = sae.el("input", {
      type: "search",
      name: "query",
      value: params.query || "",
      placeholder: 'Search labels: dogs, "hot dog", or a number',
      "aria-label": "Search labels",
      class: "find",
      autocomplete: "off",
    });
    const sort = sae.select("Sort by", Object.entries(SORTS), params.sort || "match", { name: "sort" });
    const order = sae.select("Order", ORDERS, params.order || "", { name: "order" });
    const inDocument = input("document", "Only features that fire in this document", "e.g. 3", 6);
    const a = input("a", "Selection A of documents", "group, tales__*, 0-9", 16);
    const b = input("b", "Selection B of documents", "rest", 16);
    for (const box of [a, b]) box.setAttribute("list", "groups");
    const refused = sae.el("span", { class: "bad", "aria-live": "polite" });
    const plot = sae.el("div", { class: "plot" });
    const count = sae.el("span", { class: "muted", role: "status" });
    const go = sae.el("a", { class: "button", hidden: true });
    const beyond = sae.el("span", { class: "bad", "aria-live": "polite" });
    const meant = sae.el("span");
    const columns = sae.el("div");
    let source = null;
    let partial = "";

    const filled = () => ({ document: inDocument.value.trim(), selections: a.value.trim() || b.value.trim() });
    const offers = (name) => !NEEDS[name] || Boolean(filled()[NEEDS[name]]);
    const sorted = () => ({ ...request(), sort: offers(sort.value) ? sort.value : "match" });
    const taken = sae.takeOut(() => ({ ...sorted(), of: "features", in: inDocument.value.trim(), document: "" }));
    const list = sae.virtualList({
      label: "Features",
      fetch: async (offset, limit) => {
        const answer = await sae.source.get("search", {
          ...sorted(),
          offset,
          limit,
        });
        source = answer.figures_of;
        meant.replaceChildren(...(answer.did_you_mean ? ["Did you mean ", mean(answer.did_you_mean), "?"] : []));
        const { labels_here: here, labels_of: all } = answer;
        partial = here === null ? "" : `; the download is at ${sae.count(here)} of ${sae.plural(all, "feature")}`;
        if (answer.a && answer.b) page.replace({ a: answer.a, b: answer.b });
        return { items: answer.features, total: answer.total };
      },
      onTotal: (total) => {
        count.textContent = (total === null ? "the best 2,000 features" : sae.plural(total, "feature")) + partial;
        const scale = features && !features.is_one_scale ? ", in another scale than the values here" : "";
        const of = source === "neuronpedia" ? `on Neuronpedia${scale}` : "in this data, on the tokens that count";
        columns.replaceChildren(
          sae.columns(...figuresOf({}, filled(), of, source).map(([name, , kind, title]) => [head(name), kind, `Sort by ${name}: ${title}`, () => sortBy(name)])),
        );
      },
      render: (feature) => sae.featureRow({ ...feature, measures: sae.figures(figuresOf(feature, filled(), "", source)) }),
      onError: () => (count.textContent = ""),
      empty: () =>
        sae.empty(
          "No feature is like this",
          box.value.trim() && !labels
            ? "There are no labels to search in."
            : go.hidden
              ? "Fewer words, or a beginning of one, find more. -word leaves a word out."
              : "No label holds this number. Enter opens the feature.",
        ),
    });

    const HEADS = { density: "density", max: "max", tokens: "count", "sum here": "here", z: "z", "log₂ A:B": "log_ratio" };
    const sortOf = (name) => HEADS[name.replace(" on Neuronpedia", "")];
    const head = (name) => (sort.value === sortOf(name) ? `${name} ${order.value === "asc" ? "▴" : "▾"}` : name);
    /** Sort by the figure whose head was pressed; the other way round when it is pressed again. */
    function sortBy(name) {
      order.value = sort.value === sortOf(name) && order.value !== "asc" ? "asc" : "desc";
      sort.value = sortOf(name);
      again();
    }

    /** A button that searches for another spelling. */
    const mean = (query) =>
      sae.el("button", { type: "button", onclick: () => ((box.value = query), again(), box.focus()) }, query);

    /** Offer only the orders that go with the boxes that are filled in. */
    function offer() {
      for (const option of sort.options) option.disabled = !offers(option.value);
    }

    /** Where a number was typed, as 1850, 1,850, #1850 or feature 1850: link to the feature, or say that there is none. */
    function offerNumber() {
      const typed = /^(?:feature|#)?\s*(\d{1,9}|\d{1,3}([,. ]\d{3})+)$/i.exec(box.value.trim());
      const number = Number(typed?.[1].replace(/\D/g, ""));
      const n = features?.d_sae ?? labels.n_features;
      go.hidden = !typed || number >= n;
      beyond.textContent = typed && go.hidden ? `There is no feature ${sae.count(number)}: they go from 0 to ${sae.count(n - 1)}.` : "";
      if (go.hidden) return;
      go.href = sae.link(["features", number]);
      go.textContent = `Feature ${sae.count(number)} →`;
    }

    const changed = () => {
      offer();
      offerNumber();
      const wanted = request();
      page.replace({ ...wanted, sort: wanted.sort === "match" ? "" : wanted.sort });
    };
    const again = () => {
      changed();
      list.reset();
    };
    box.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      offerNumber();
      if (go.hidden) return;
      event.preventDefault();
      go.click();
    });
    sae.drive(box, list, changed);
    inDocument.addEventListener("input", sae.later(again, 300));
    [a, b].forEach((control) => control.addEventListener("input", sae.later(select, 300)));
    let plotted = 0;

    /** Take the selections as they are once they can be read; what is half typed changes nothing. */
    async function select() {
      const mine = ++plotted;
      const asked = { a: a.value.trim(), b: b.value.trim() };
      if (!sae.source.isStatic) {
        const found = await sae.source.get("groups", asked).catch(() => null);
        if (mine !== plotted) return;
        refused.textContent = found?.a?.error ?? found?.b?.error ?? found?.overlap ?? "";
        if (refused.textContent) return;
      }
      within = "";
      again();
      drawPlot(mine, asked);
    }

    async function drawPlot(mine, asked) {
      const isAsked = (asked.a || asked.b) && !sae.source.isStatic;
      const found = isAsked ? await sae.source.get("contrast", asked).catch(() => null) : null;
      if (mine !== plotted) return;
      const names = new Map(found?.labels);
      const of = (index) => `${sae.count(index)} ${names.get(index) ?? ""}`.slice(0, 34);
      const points = found?.index.map((index, i) => ({
        x: found.log_ratio[i],
        y: found.z[i],
        title: `feature ${sae.count(index)}: log₂ A:B ${sae.figure(found.log_ratio[i])}, z ${sae.figure(found.z[i])}`,
        name: names.has(index) && of(index),
      }));
      const words = found && `${sae.count(found.index.length)} of ${sae.plural(found.total, "feature")}: how much more in A than in B, and how surely. Drag over some to list only them; all are in the list below.`;
      const onBrush = (bounds) => {
        within = bounds ? bounds.map((bound) => bound.toPrecision(4)).join() : "";
        again();
      };
      plot.replaceChildren(...(points?.length ? [sae.scatter({ points, label: words, xName: "log₂ A:B", yName: "z", onBrush }), sae.el("p", { class: "muted" }, words)] : []));
    }
    [sort, order].forEach((control) => control.addEventListener("change", again));
    offer();
    offerNumber();
    list.reset(page.scrolled);
    drawPlot(plotted, { a: a.value.trim(), b: b.value.trim() });
    const mine = sae.el("div");
    const drawMine = () => mine.replaceChildren(sae.allNotes(() => (list.reset(), drawMine())));
    drawMine();
    const counts = page.summary.refusal ? null : labels;
    return {
      title: "Features",
      copy: () => taken.copy("tsv"),
      search: box,
      node: sae.filling(
        [
          sae.heading("Features"),
          sae.el("div", { class: "tools" }, box, go, sae.el("label", {}, "Sort ", sort), order, count, beyond, meant, taken.node),
          features &&
            sae.el(
              "details",
              { open: innerWidth > 700 || Boolean(params.document || params.a || params.b) },
              sae.el("summary", {}, "By where they fire"),
              sae.el(
                "div",
                { class: "tools" },
                sae.el("label", {}, "Fires in document ", inDocument),
                sae.el("label", {}, sae.source.isStatic ? "More in document " : "More in documents ", a),
                sae.source.isStatic ? "than in the others" : sae.el("label", {}, "than in ", b),
                refused,
                sae.groupNames(),
              ),
            ),
          mine,
          counts &&
            counts.failed + counts.missing > 0 &&
            sae.el(
              "p",
              { class: "muted" },
              `${sae.count(counts.with_descriptions)} of ${sae.count(counts.n_features)} features have a label; ${sae.count(counts.missing)} do not exist on Neuronpedia, ${sae.count(counts.failed)} could not be fetched.`,
            ),
        ],
        plot,
        columns,
        list.node,
      ),
    };
  };

  /**
   * The figures of a feature: [name, text, class, title]. `of` says in words which data density, max and tokens come from.
   * Neuronpedia's stand under heads of their own.
   */
  function figuresOf(feature, { document: inDocument, selections }, of, source) {
    const isTheirs = source === "neuronpedia";
    const found = [
      [isTheirs ? "density on Neuronpedia" : "density", sae.percent(feature.density), "density", of],
      [isTheirs ? "max on Neuronpedia" : "max", sae.figure(feature.max), "max", of],
      ...(isTheirs ? [] : [["tokens", sae.count(feature.count), "count", of]]),
    ];
    if (inDocument && !selections)
      found.unshift(["sum here", sae.figure(feature.here), "added", "of its activations in the document"]);
    if (selections) {
      found.unshift(
        ["z", sae.figure(feature.z), "added", "the log ratio over its standard error: how surely it is more in A"],
        ["log₂ A:B", sae.figure(feature.log_ratio), "added", "of the share of tokens on which it fires"],
      );
    }
    return found;
  }
}
