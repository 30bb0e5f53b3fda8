// View: every occurrence of a word in the texts, aligned, and beside them the features that fire on it.
"use strict";
{
  sae.wordView = (path, params, page) => {
    if (!page.summary.features) return page.noFeatures();
    if (sae.source.isStatic) return page.nothing("Words", "Words are found by the server: run sae-dashboard.");
    const word = path[1] ?? "";
    const box = sae.el("input", { type: "search", value: word, placeholder: "A word of the texts", "aria-label": "Word", class: "find" });
    const count = sae.el("span", { class: "muted", role: "status" });
    const basis = sae.el("p", { class: "padded muted" });
    const occurrences = sae.virtualList({
      kind: "occurrences",
      label: "Occurrences",
      fetch: async (offset, limit) => {
        const answer = await sae.source.get("words", { word, offset, limit });
        return { items: answer.occurrences, total: answer.total };
      },
      onTotal: (total) => (count.textContent = sae.plural(total, "occurrence")),
      render: (item) => [occurrence(item)],
      empty: () => sae.empty("It stands nowhere", "What is looked for is a token or a whole word, in any case."),
    });
    const features = sae.virtualList({
      label: "Features that fire on the word",
      fetch: async (offset, limit) => {
        const answer = await sae.source.get("words/features", { word, offset, limit });
        const some = answer.looked_at < answer.occurrences ? ` ${sae.count(answer.looked_at)}, evenly spread, of its` : " its";
        basis.textContent = `Features that fire on a tenth or more of${some} ${sae.plural(answer.occurrences, "occurrence")}, those first that fire most rarely elsewhere.`;
        return { items: answer.features.map((one) => ({ ...one, of: answer.looked_at })), total: answer.total };
      },
      render: ({ index, label, hits, of, lift }) =>
        sae.featureRow({
          index,
          label,
          measures: [
            sae.bar(hits / of),
            ...sae.figures([["fires on", `${sae.count(hits)} of ${sae.count(of)}`, "hits"], ["as often as elsewhere", `${sae.figure(lift)} ×`, "lift muted"]]),
          ],
        }),
      empty: () => sae.el("p", { class: "padded muted" }, "No feature fires on a tenth of them."),
    });
    box.addEventListener("keydown", ({ key }) => key === "Enter" && (location.hash = sae.link(["words", box.value.trim()])));
    if (word) {
      occurrences.reset(page.scrolled);
      features.reset();
    }
    return {
      title: word ? `“${word}”` : "Words",
      search: box,
      node: sae.filling(
        [sae.heading(word ? sae.el("bdi", {}, `“${word}”`) : "Words"), sae.el("div", { class: "tools" }, box, count)],
        sae.el(
          "div",
          { class: "split" },
          occurrences.node,
          sae.splitter(),
          sae.el("aside", { class: "panel panel-body", "aria-label": "What fires on it" }, basis, features.node),
        ),
      ),
    };
  };

  function occurrence({ address, position, tokens, at, length }) {
    const part = (name, start, stop) =>
      sae.el("bdi", { class: name }, ...tokens.slice(start, stop).map((token) => sae.showToken(sae.el("span"), token, { breaks: false })));
    return sae.el(
      "a",
      { class: "occurrence", href: sae.link(["documents", address], { at: position }), title: address },
      part("before", 0, at),
      sae.el("span", { class: "after" }, part("word", at, at + length), part("", at + length)),
    );
  }
}
