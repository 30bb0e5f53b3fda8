// What fires on one token: all of it, the strongest first.
"use strict";
{
  const HOVER_MS = 40;
  const KEPT = 300; // answers

  /** `colour(index)` colours the text by a feature, `chosen()` is the one it has now. */
  sae.tokenPanel = ({ colour, chosen }) => {
    const head = sae.el("div", { class: "token-head" });
    const list = sae.virtualList({
      rowHeight: sae.rowHeight("feature-row"),
      label: "Features that fire on this token",
      render: (one) =>
        sae.featureRow({
          index: one.index,
          label: one.label,
          chosen: one.index === chosen(),
          colour,
          share: one.value / one.strongest,
          figures: [
            [sae.figure(one.value), "value"],
            [one.share === null ? "" : sae.percent(one.share), "share muted"],
          ],
        }),
      empty: () => sae.el("p", { class: "muted padded" }, "No feature fires here."),
    });
    const columns = sae.el("div", { class: "columns muted", "aria-hidden": "true" }, sae.el("span", {}, "feature"), sae.el("span", { class: "figure value" }, "activation"), sae.el("span", { class: "figure share", title: "of the largest activation of the feature, here or, without an index, on Neuronpedia" }, "of its max"));
    const node = sae.el("div", { class: "panel-body" }, head, columns, list.node);
    const kept = new Map();
    let asked = new AbortController();
    let row = null;
    let answer = null;
    let isHeld = false;

    async function ask(wanted) {
      if (kept.has(wanted)) return kept.get(wanted);
      asked.abort();
      asked = new AbortController();
      const told = await sae.source.get(`rows/${wanted}`, {}, { signal: asked.signal });
      kept.set(wanted, told);
      if (kept.size > KEPT) kept.delete(kept.keys().next().value);
      return told;
    }

    async function show(wanted, held) {
      row = wanted;
      isHeld = held;
      node.classList.toggle("waiting", !kept.has(wanted));
      try {
        const told = await ask(wanted);
        if (row !== wanted) return;
        const isNew = answer?.row !== told.row;
        answer = told;
        draw(isNew);
      } catch (error) {
        if (error.name === "AbortError" || row !== wanted) return;
        head.replaceChildren(sae.failure(error, () => show(wanted, held)));
      } finally {
        if (row === wanted) node.classList.remove("waiting");
      }
    }

    function draw(isNew) {
      const { active } = answer;
      const strongest = active.value[0] || 1;
      const marked = sae.compared();
      const name = sae.showToken(sae.el("span", { class: "token big" }), answer.token, { breaks: false });
      const told = [
        `token ${sae.count(answer.position)}`,
        answer.section,
        answer.masked && "masked",
        answer.token_id === null ? null : `id ${answer.token_id}`,
        `row ${sae.count(answer.row)}`,
      ];
      const compare =
        marked !== null && marked !== `row:${answer.row}`
          ? sae.el("a", { class: "button", href: sae.link(["compare"], { a: marked, b: `row:${answer.row}` }) }, "Compare with the kept one")
          : sae.el("button", { type: "button", onclick: () => (sae.keepForCompare(`row:${answer.row}`), draw(false), sae.say("Kept. Choose another token to compare it with.")) }, "Keep to compare");
      head.replaceChildren(
        sae.el("h2", {}, name),
        sae.el("p", { class: "muted" }, told.filter(Boolean).join(" · ")),
        sae.el("p", { class: "row" }, sae.el("span", {}, sae.el("b", {}, sae.count(answer.l0)), answer.l0 === 1 ? " feature fires" : " features fire"), isHeld ? compare : sae.el("span", { class: "muted" }, "click the token to hold it")),
      );
      if (chosen() !== null) {
        const at = active.index.indexOf(chosen());
        head.append(sae.el("p", { class: "muted" }, `feature ${sae.count(chosen())}: ${at < 0 ? "does not fire here" : `${sae.figure(active.value[at])}, its number ${at + 1} here`}`));
      }
      if (isNew) {
        const items = active.index.map((index, i) => ({ index, label: active.label[i], value: active.value[i], strongest, share: active.share_here[i] ?? active.share[i] }));
        list.show(items);
        const first = items[0] ? `; strongest ${items[0].index}, ${items[0].label ?? "no label"}, ${sae.figure(items[0].value)}` : "";
        if (isHeld) sae.say(`${sae.tokenName(answer.token)}, token ${answer.position}: ${sae.plural(answer.l0, "feature")}${first}`);
      }
    }

    return {
      node,
      show: (wanted, held) => (held ? show(wanted, true) : later(wanted)),
      strongest: (i) => answer?.active.index[i],
      redraw: () => answer && draw(true),
    };

    function later(wanted) {
      row = wanted;
      clearTimeout(later.timer);
      later.timer = setTimeout(() => row === wanted && show(wanted, false), HOVER_MS);
    }
  };

  let mark = null;
  /** What was kept to be compared: "row:12" or "doc:3", null for nothing. */
  sae.compared = () => mark;
  sae.keepForCompare = (what) => {
    mark = what;
  };
}
