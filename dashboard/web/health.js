// View: shards, downloads and the queue as they are now, fetched again every POLL_MS while the view is open.
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
          const health = await sae.source.get("health", { offset, limit: SHARDS });
          if (!left) draw(partsOf(health));
        } catch (error) {
          if (!left) draw([["error", error.message, () => sae.failure(error)], ...before()]);
        }
      }
      if (!sae.source.isStatic && !left) timer = setTimeout(look, POLL_MS);
    }

    /** The parts that are shown now, to stay below an error. */
    function before() {
      return [...shown].filter(([name]) => name !== "error").map(([name, { text, node }]) => [name, text, () => node]);
    }

    /** Draw parts of [name, made of, how]: anew where a part has changed, but never while it has the focus. */
    function draw(parts) {
      const nodes = parts.map(([name, text, make]) => {
        const drawn = shown.get(name);
        if (drawn && (drawn.text === text || drawn.node.contains(document.activeElement))) return drawn.node;
        const node = make();
        shown.set(name, { text, node });
        return node;
      });
      for (const name of shown.keys()) if (!parts.some(([kept]) => kept === name)) shown.delete(name);
      for (const node of [...body.children]) if (!nodes.includes(node)) node.remove();
      nodes.forEach((node, i) => body.children[i] !== node && body.insertBefore(node, body.children[i] ?? null));
    }

    function partsOf(health) {
      const { queue, downloads, shards, total, verdict, densities } = health;
      const parts = [
        total > 0 && ["verdict", [verdict, densities], () => verdictSection(verdict, densities)],
        queue && ["queue", queue, () => queueSection(queue)],
        downloads.length > 0 && ["downloads", downloads, () => downloadsSection(downloads)],
        shards.length > 0 && ["shards", [shards, total], () => shardsSection(health)],
      ].filter(Boolean);
      const nothing = () =>
        page.nothing("Nothing here yet", "Downloads, shards of features and the queue will be seen here, live.").node;
      const found = parts.length ? parts : [["nothing", null, nothing]];
      return found.map(([name, made_of, make]) => [name, JSON.stringify(made_of), make]);
    }

    function shardsSection({ shards, total }) {
      const isPart = page.summary.part !== null;
      const facts = [
        `${sae.plural(total, "shard")}, the worst first`,
        isPart && "figures are of the whole of each shard, not of the documents in this page alone",
      ];
      const heads = ["Shard", "Tokens", "Mean L0", "L0 of its tokens", "Explains", "SAE"];
      const turn = (to, text) => sae.el("a", { href: sae.link(["health"], { offset: to || "" }) }, text);
      return sae.el(
        "section",
        {},
        sae.el("h2", {}, "Shards of features"),
        sae.el("p", { class: "muted" }, facts.filter(Boolean).join(" · ")),
        sae.table("shards", heads, shards.map(shardRow)),
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

  /** What a person wants to know first: is anything wrong, and what fires too rarely or too often. */
  function verdictSection(verdict, densities) {
    const { fine, another_sae: another, other_warnings: others, rows, excluded } = verdict;
    const bad = [
      another && `${sae.count(another)} ${another === 1 ? "looks" : "look"} like another SAE`,
      others && `${sae.plural(others, "other warning")}`,
    ].filter(Boolean);
    const words = [`${sae.plural(fine, "shard")} fine`, ...bad].join(", ");
    const left = sae.excluded(excluded);
    return sae.el(
      "section",
      {},
      sae.el("p", { class: `verdict ${bad.length ? "bad" : "good"}` }, words),
      left && sae.el("p", { class: "muted" }, `Of ${sae.plural(rows, "token")}, ${left}.`),
      densities && sae.el("h2", {}, "How often features fire"),
      densities && densityChart(densities),
    );
  }

  function densityChart({ dead, dense, dense_from: from, histogram }) {
    const { edges } = histogram;
    const kind = (i) => (i === 0 ? "dead" : edges[i] >= from * 0.999 ? "dense" : null);
    const ends = [`never, ${sae.percent(edges[1])}`, "share of tokens", "100 %"];
    return sae.el(
      "div",
      { class: "densities" },
      sae.histogram(histogram, { unit: "features", say: sae.percent, log: true, kind, ends }),
      sae.el("p", {}, sae.el("i", { class: "dead" }), `${sae.count(dead)} fire nowhere here (dead)`),
      sae.el("p", {}, sae.el("i", { class: "dense" }), `${sae.count(dense)} fire on over ${sae.percent(from)} (dense)`),
    );
  }

  /** Shards with a warning, in words. */
  sae.warned = ({ warned }) => `${sae.plural(warned, "shard")} ${warned === 1 ? "has" : "have"} a warning`;

  function shardRow(shard) {
    const remarks = [...shard.warnings.map((text) => [text, "warning"]), ...shard.notes.map((text) => [text, "note"])];
    const aside = (text) => text && sae.el("span", { class: "muted" }, text);
    const spark = (histogram) => sae.histogram(histogram, { height: 32, axis: false, log: true });
    const ofAll = shard.explained_variance_of_all;
    return [
      [
        sae.el("bdi", {}, shard.name),
        ...remarks.map(([text, kind]) => sae.el("span", { class: kind }, kind === "warning" ? "Warning: " : "", text)),
        aside(`${shard.dtype_read} → ${shard.values}`),
      ],
      [sae.count(shard.rows), aside(sae.excluded(shard.excluded))],
      sae.figure(shard.mean_l0),
      sae.el(
        "div",
        { class: "spark" },
        shard.l0_histogram && shard.rows ? spark(shard.l0_histogram) : "–",
        aside(`most ${sae.count(shard.max_l0)}`),
      ),
      [
        sae.el("b", { class: shard.warnings.length ? "bad" : "" }, sae.percent(shard.explained_variance)),
        ofAll !== null && aside(`${sae.percent(ofAll)} with extreme rows`),
      ],
      sae.el("bdi", {}, shard.sae),
    ];
  }

  function downloadsSection(downloads) {
    return sae.el("section", {}, sae.el("h2", {}, "Downloads of labels"), ...downloads.map(downloadCard));
  }

  function downloadCard(download) {
    const { total, successful, missing, failed } = download;
    const name = [download.release, download.id].filter(Boolean).join(" ") || download.neuronpedia_id;
    const parts = [["got", successful], ["missing", missing], ["failed", failed]];
    return sae.el(
      "div",
      { class: "card download" },
      sae.el(
        "h3",
        {},
        sae.el("bdi", {}, name),
        " ",
        sae.el("span", { class: `tag ${download.state}` }, download.state),
      ),
      total > 0 && sae.progress(parts, total),
      sae.el(
        "p",
        { class: "muted" },
        `${sae.count(successful)} of ${sae.count(total)} features · ${sae.count(missing)} do not exist · ${sae.count(failed)} failed`,
      ),
      download.state === "running" && sae.el("p", {}, sae.pace(download, "features")),
      download.error && sae.el("p", { class: "warning" }, download.error),
      !["complete", "running"].includes(download.state) && sae.el("p", {}, sae.command(download.command)),
    );
  }

  function queueSection(queue) {
    const { folder, is_there, done, ready, claimed, failed, error, command } = queue;
    const heading = sae.el("h2", {}, "Queue");
    const words = "is not there yet, and is waited for. Shards that are put on it will be seen here.";
    if (!is_there) return sae.empty("Queue", [sae.el("bdi", {}, folder), ` ${words}`], command);
    if (error) return sae.el("section", {}, heading, sae.el("p", { class: "warning" }, error));
    const parts = [["got", done], ["working", claimed.length], ["failed", failed.length]];
    const held = (claim) =>
      sae.el(
        "span",
        { class: "muted" },
        ` ${claim.worker}, attempt ${claim.attempt}, for ${sae.duration(claim.age_s)}`,
      );
    return sae.el(
      "section",
      {},
      heading,
      sae.el("p", { class: "muted" }, sae.el("bdi", {}, folder)),
      sae.progress(parts, done + ready + claimed.length + failed.length),
      sae.el(
        "p",
        {},
        `${sae.count(done)} done · ${sae.count(claimed.length)} being worked on · ${sae.count(ready)} waiting · ${sae.count(failed.length)} failed`,
      ),
      sae.el("p", {}, sae.pace(queue, "shards")),
      jobs(claimed, held),
      jobs(failed, (failure) => sae.el("span", { class: "warning" }, failure.error)),
      command && sae.el("p", {}, sae.command(command)),
    );
  }

  /** A list of jobs, each with what `words` makes of it; nothing where there are none. */
  function jobs(all, words) {
    const items = all.map((job) => sae.el("li", {}, sae.el("bdi", {}, job.job), words(job)));
    return items.length > 0 && sae.el("ul", { class: "jobs" }, ...items);
  }

  /** A bar of [class, count] parts of a total. */
  sae.progress = (parts, total) => {
    const counted = parts.filter(([, n]) => n > 0);
    const words = counted.map(([name, n]) => `${n} ${name}`).join(", ");
    return sae.el(
      "div",
      { class: "progress", role: "img", "aria-label": `Of ${total}: ${words || "nothing yet"}` },
      ...counted.map(([name, n]) =>
        sae.el("span", { class: name, "--share": `${((100 * n) / Math.max(1, total)).toFixed(2)}%` }),
      ),
    );
  };
}
