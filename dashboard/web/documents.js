// View: the list of documents, with a box that finds documents by words of their texts, their beginning or their shard.
"use strict";
{
  sae.documentsView = (path, params, page) => {
    const { features } = page.summary;
    if (!features) return page.noFeatures();
    const box = sae.el("input", {
      type: "search",
      value: params.query || "",
      placeholder: features.index.has_words ? "Find words in the texts" : "Find a document by its beginning",
      "aria-label": "Find documents by words, by their beginning or by their shard",
      class: "find",
    });
    const count = sae.el("span", { class: "muted", role: "status" });
    const list = sae.virtualList({
      kind: "documents",
      label: "Documents",
      fetch: async (offset, limit) => {
        const answer = await sae.source.get("documents", { offset, limit, query: box.value, group });
        return { items: answer.documents, total: answer.total };
      },
      onTotal: (total) => (count.textContent = sae.plural(total, "document")),
      render: (item) => [row(item)],
      empty: () =>
        sae.empty(
          "No document has these words",
          features.index.has_words
            ? "What is searched is all words of the texts, and the names of the shards."
            : "What is searched is the first words of each document and the name of its shard. An index finds all words:",
          !features.index.has_words && features.index.command,
        ),
    });
    let group = params.group ?? "";
    const groups = sae.el("div", { class: "row" });
    if (!sae.source.isStatic) sae.source.get("groups").then(drawGroups, () => {});

    /** Chips of the groups: one shows only its documents; what fires more in them is a link. */
    function drawGroups(answer) {
      const chip = ({ name, n_documents: n }) =>
        sae.el("button", { type: "button", class: "group", "aria-pressed": String(name === group), onclick: () => choose(name) }, sae.el("bdi", {}, name), sae.el("span", {}, ` ${sae.count(n)}`));
      function choose(name) {
        group = name === group ? "" : name;
        page.replace({ group });
        list.reset();
        drawGroups(answer);
        groups.querySelector('[aria-pressed="true"]')?.focus();
      }
      const more = group && sae.el("a", { href: sae.link(["features"], { a: group, b: "rest" }) }, "What fires more in it");
      const parts = [...answer.groups.map(chip), more, answer.error && sae.el("span", { class: "bad" }, answer.error)];
      groups.replaceChildren(...parts.filter(Boolean));
    }

    const every = sae.el("a", { class: "button" });
    const typed = () => {
      const word = /^[^\s,]+$/.exec(box.value.trim())?.[0];
      every.hidden = !word || !features.index.has_words;
      every.href = sae.link(["words", word ?? ""]);
      every.textContent = `Every “${word}” →`;
    };
    typed();
    sae.drive(box, list, () => {
      typed();
      page.replace({ query: box.value });
    });
    list.reset(page.scrolled);
    return {
      title: "Documents",
      node: sae.filling(
        [sae.heading("Documents"), figures(features, page.summary), sae.el("div", { class: "tools" }, box, every, count), groups],
        list.node,
      ),
      search: box,
    };
  };

  function figures(features, summary) {
    const excluded = sae.excluded(features.excluded);
    const facts = [
      [sae.count(features.rows), `tokens${excluded && `, of which ${excluded}`}`],
      [sae.figure(features.mean_l0), "features fire on a token (L0)"],
      [sae.count(features.d_sae), "features in the SAE"],
      [sae.count(features.nnz), "activations"],
    ];
    return sae.el(
      "p",
      { class: "facts" },
      ...facts.map(([number, name]) => sae.el("span", {}, sae.el("b", {}, number), ` ${name}`)),
      summary.warned > 0 && sae.el("a", { href: "#/health", class: "alarm" }, sae.warned(summary)),
    );
  }

  function row(item) {
    const preview = sae.el("bdi", { class: "preview" });
    if (item.preview) sae.showToken(preview, item.preview, { breaks: false });
    else preview.append(sae.el("span", { class: "muted" }, "no text"));
    preview.classList.remove("special");
    const parts = item.sections.map(({ name }) =>
      sae.el("span", { class: `tag ${name === "response" ? "response" : "prompt"}` }, name),
    );
    return sae.el(
      "a",
      { class: "document", href: sae.link(["documents", item.address]) },
      preview,
      sae.el(
        "span",
        { class: "about muted" },
        sae.el("span", {}, `document ${sae.count(item.id)}`),
        sae.el(
          "span",
          {},
          sae.plural(item.rows, "token"),
          item.excluded > 0 && `, ${sae.count(item.excluded)} not counted`,
        ),
        sae.el("span", {}, `L0 ${sae.figure(item.mean_l0)}`),
        sae.el("bdi", { class: "shard" }, item.shard),
        ...parts,
      ),
    );
  }
}
