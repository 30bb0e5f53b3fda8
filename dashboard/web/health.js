// View: how the shards, the downloads and the queue are; asked again every POLL_MS while it is looked at.
"use strict";
{
  const POLL_MS = 2000;
  const SHARDS = 200;

  sae.healthView = async (path, params, page) => {
    const body = sae.el("div", { class: "health" });
    const offset = Number(params.offset || 0);
    let left = false;
    let timer = 0;
    const shown = new Map(); // the name of a part -> {text: what it was made of, node}

    async function look() {
      if (left) return;
      if (!document.hidden) {
        try {
          const told = await sae.source.get("health", { offset, limit: SHARDS });
          if (!left) draw(partsOf(told));
        } catch (error) {
          if (!left)
            draw([
              ["error", error.message, () => sae.failure(error)],
              ...[...shown]
                .filter(([name]) => name !== "error")
                .map(([name, { text, node }]) => [name, text, () => node]),
            ]);
        }
      }
      if (!sae.source.isStatic && !left) timer = setTimeout(look, POLL_MS);
    }

    /** Draw anew what has changed, and leave alone what has not, or has the focus: parts of [name, made of, how]. */
    function draw(parts) {
      const nodes = parts.map(([name, text, make]) => {
        const before = shown.get(name);
        if (before && (before.text === text || before.node.contains(document.activeElement))) return before.node;
        const node = make();
        shown.set(name, { text, node });
        return node;
      });
      for (const name of shown.keys()) if (!parts.some(([one]) => one === name)) shown.delete(name);
      for (const node of [...body.children]) if (!nodes.includes(node)) node.remove();
      nodes.forEach((node, i) => body.children[i] !== node && body.insertBefore(node, body.children[i] ?? null));
    }

    function partsOf(told) {
      const { shards: own, total, dead_features } = told;
      const parts = [
        told.queue && ["queue", told.queue, () => queue(told.queue)],
        told.downloads.length > 0 && ["downloads", told.downloads, () => downloads(told.downloads)],
        own.length > 0 && ["shards", [own, total, dead_features], () => shards(told)],
      ].filter(Boolean);
      const nothing = () =>
        page.nothing("Nothing here yet", "Downloads, shards of features and the queue will be seen here, live.").node;
      const found = parts.length ? parts : [["nothing", null, nothing]];
      return found.map(([name, made_of, make]) => [name, JSON.stringify(made_of), make]);
    }

    function shards({ shards: all, total, dead_features: dead }) {
      const d_sae = page.summary.features?.d_sae;
      const facts = [
        sae.plural(total, "shard"),
        dead === null || dead === undefined
          ? null
          : `${sae.count(dead)}${d_sae ? ` of ${sae.count(d_sae)}` : ""} features fire nowhere`,
      ];
      const turn = (to, text) => sae.el("a", { href: sae.link(["health"], { offset: to || "" }) }, text);
      return sae.el(
        "section",
        {},
        sae.el("h2", {}, "Shards of features"),
        sae.el("p", { class: "muted" }, facts.filter(Boolean).join(" · ")),
        sae.el(
          "div",
          { class: "scrolled", tabindex: "0", role: "region", "aria-label": "Shards" },
          sae.el(
            "table",
            { class: "shards" },
            sae.el(
              "thead",
              {},
              sae.el(
                "tr",
                {},
                ...["Shard", "Tokens", "Mean L0", "L0 of its tokens", "Explains", "Dead", "SAE"].map((name) =>
                  sae.el("th", { scope: "col" }, name),
                ),
              ),
            ),
            sae.el("tbody", {}, ...all.map(shard)),
          ),
        ),
        total > SHARDS &&
          sae.el(
            "p",
            { class: "row" },
            offset > 0 && turn(Math.max(0, offset - SHARDS), "← earlier"),
            offset + SHARDS < total && turn(offset + SHARDS, "later →"),
          ),
      );
    }

    look();
    return {
      title: "Health",
      node: sae.el("section", { class: "view reading wide" }, sae.heading("Data health"), body),
      leave() {
        left = true;
        clearTimeout(timer);
      },
    };
  };

  function shard(one) {
    const remarks = [...one.warnings.map((text) => [text, "warning"]), ...one.notes.map((text) => [text, "note"])];
    return sae.el(
      "tr",
      {},
      sae.el(
        "th",
        { scope: "row" },
        sae.el("bdi", {}, one.name),
        ...remarks.map(([text, kind]) => sae.el("span", { class: kind }, kind === "warning" ? "Warning: " : "", text)),
        sae.el("span", { class: "muted" }, `${one.dtype_read} → ${one.values}`),
      ),
      sae.el("td", {}, sae.count(one.rows)),
      sae.el("td", {}, sae.figure(one.mean_l0)),
      sae.el(
        "td",
        { class: "spark" },
        one.l0_histogram && one.rows ? sae.histogram(one.l0_histogram, { height: 32, axis: false, log: true }) : "–",
        sae.el("span", { class: "muted" }, `most ${sae.count(one.max_l0)}`),
      ),
      sae.el(
        "td",
        { class: one.warnings.length ? "bad" : "" },
        one.explained_variance === null ? "–" : sae.percent(one.explained_variance),
      ),
      sae.el("td", {}, one.dead_features === null ? "–" : sae.count(one.dead_features)),
      sae.el("td", {}, sae.el("bdi", {}, one.sae)),
    );
  }

  function downloads(all) {
    return sae.el(
      "section",
      {},
      sae.el("h2", {}, "Downloads of labels"),
      ...all.map((one) =>
        sae.el(
          "div",
          { class: "card download" },
          sae.el(
            "h3",
            {},
            sae.el("bdi", {}, [one.release, one.id].filter(Boolean).join(" ") || one.neuronpedia_id),
            " ",
            state(one.state),
          ),
          one.total
            ? progress(
                [
                  ["got", one.successful],
                  ["missing", one.missing],
                  ["failed", one.failed],
                ],
                one.total,
              )
            : null,
          sae.el(
            "p",
            { class: "muted" },
            [
              `${sae.count(one.successful ?? 0)} of ${sae.count(one.total ?? 0)} features`,
              `${sae.count(one.missing ?? 0)} do not exist`,
              `${sae.count(one.failed ?? 0)} failed`,
            ].join(" · "),
          ),
          one.error && sae.el("p", { class: "warning" }, one.error),
          one.state !== "complete" && one.command && sae.el("p", {}, sae.command(one.command)),
        ),
      ),
    );
  }

  function queue(told) {
    if (told.error)
      return sae.el("section", {}, sae.el("h2", {}, "Queue"), sae.el("p", { class: "warning" }, told.error));
    const total = told.done + told.ready + told.claimed.length + told.failed.length;
    return sae.el(
      "section",
      {},
      sae.el("h2", {}, "Queue"),
      sae.el("p", { class: "muted" }, sae.el("bdi", {}, told.folder)),
      progress(
        [
          ["got", told.done],
          ["working", told.claimed.length],
          ["failed", told.failed.length],
        ],
        total,
      ),
      sae.el(
        "p",
        {},
        `${sae.count(told.done)} done · ${sae.count(told.claimed.length)} being worked on · ${sae.count(told.ready)} waiting · ${sae.count(told.failed.length)} failed`,
      ),
      told.claimed.length > 0 &&
        sae.el(
          "ul",
          { class: "jobs" },
          ...told.claimed.map((one) =>
            sae.el(
              "li",
              {},
              sae.el("bdi", {}, one.job),
              sae.el(
                "span",
                { class: "muted" },
                ` ${one.worker}, attempt ${one.attempt}, for ${sae.duration(one.age_s)}`,
              ),
            ),
          ),
        ),
      told.failed.length > 0 &&
        sae.el(
          "ul",
          { class: "jobs" },
          ...told.failed.map((one) =>
            sae.el("li", {}, sae.el("bdi", {}, one.job), sae.el("span", { class: "warning" }, one.error)),
          ),
        ),
      told.ready + told.claimed.length > 0 && told.command && sae.el("p", {}, sae.command(told.command)),
    );
  }

  function state(name) {
    return sae.el("span", { class: `tag ${name}` }, name);
  }

  function progress(parts, total) {
    const told = parts.filter(([, n]) => n > 0);
    const words = told.map(([name, n]) => `${n} ${name}`).join(", ");
    return sae.el(
      "div",
      { class: "progress", role: "img", "aria-label": `Of ${total}: ${words || "nothing yet"}` },
      ...told.map(([name, n]) =>
        sae.el("span", { class: name, "--share": `${((100 * n) / Math.max(1, total)).toFixed(2)}%` }),
      ),
    );
  }
}
