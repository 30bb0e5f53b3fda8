// What fires on one token: all of it, the strongest first.
"use strict";
{
  const HOVER_MS = 40;
  const KEPT = 300; // answers

  /** `colour(index)` colours the text by a feature, `chosen()` is the one it has now, null for none. */
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
            ["activation", sae.figure(one.value), "value"],
            ["of its max", one.share === null ? "" : sae.percent(one.share), "share muted"],
          ],
        }),
      empty: () => answer && sae.el("p", { class: "muted padded" }, "No feature fires here."),
    });
    const most = "of the largest activation of the feature, here or, without an index, on Neuronpedia";
    const columns = sae.columns(["activation", "value"], ["of its max", "share", most]);
    const node = sae.el("div", { class: "panel-body" }, head, columns, list.node);
    const kept = new Map();
    let asked = new AbortController();
    let timer = 0;
    let row = null; // the one that is wanted
    let answer = null; // the one that is shown
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

    async function look(wanted, held) {
      clearTimeout(timer);
      row = wanted;
      isHeld = held;
      node.classList.toggle("waiting", !kept.has(wanted));
      try {
        const told = await ask(wanted);
        if (row !== wanted) return;
        const isNew = answer?.row !== told.row;
        answer = told;
        drawHead();
        if (isNew) drawList();
        if (held) say();
      } catch (error) {
        if (error.name === "AbortError" || row !== wanted) return;
        answer = null;
        head.replaceChildren(sae.failure(error, () => look(wanted, held)));
        list.show([]);
      } finally {
        if (row === wanted) node.classList.remove("waiting");
      }
    }

    function drawHead() {
      const { active } = answer;
      const told = [
        `token ${sae.count(answer.position)}`,
        answer.section,
        answer.masked && "masked",
        answer.token_id === null ? null : `id ${answer.token_id}`,
        `row ${sae.count(answer.row)}`,
      ];
      const at = chosen() === null ? null : active.index.indexOf(chosen());
      const own = at < 0 ? "does not fire here" : `${sae.figure(active.value[at])}, number ${sae.count(at + 1)} here`;
      head.replaceChildren(
        sae.el("h2", {}, sae.showToken(sae.el("span", { class: "token big" }), answer.token, { breaks: false })),
        sae.el("p", { class: "muted" }, told.filter(Boolean).join(" · ")),
        sae.el(
          "p",
          { class: "row" },
          sae.el(
            "span",
            {},
            sae.el("b", {}, sae.count(answer.l0)),
            answer.l0 === 1 ? " feature fires" : " features fire",
          ),
          isHeld
            ? !sae.source.isStatic && compare()
            : sae.el("span", { class: "muted" }, "click the token to hold it"),
        ),
        at === null ? "" : sae.el("p", { class: "muted" }, `feature ${sae.count(chosen())}: ${own}`),
      );
    }

    /** What keeps this token to be compared, or compares it with the one that was kept. */
    function compare() {
      const [mine, other] = [`row:${answer.row}`, sae.compared()];
      if (other !== null && other !== mine) {
        const href = sae.link(["compare"], { a: other, b: mine });
        return sae.el("a", { class: "button", href }, "Compare with the kept one");
      }
      const isKept = other === mine;
      const press = () => {
        sae.keepForCompare(isKept ? null : mine);
        drawHead();
        head.querySelector("button")?.focus();
        sae.say(isKept ? "Let go" : "Kept. Choose another token to compare it with.");
      };
      const words = isKept ? "Kept: choose another token" : "Keep to compare";
      return sae.el("button", { type: "button", "aria-pressed": String(isKept), onclick: press }, words);
    }

    function drawList() {
      const { index: indices, value, label, share, share_here } = answer.active;
      const strongest = value[0] || 1;
      list.show(
        indices.map((index, i) => ({
          index,
          label: label[i],
          value: value[i],
          strongest,
          share: share_here[i] ?? share[i],
        })),
      );
    }

    function say() {
      const { index, value, label } = answer.active;
      const first = index.length ? `; strongest ${index[0]}, ${label[0] ?? "no label"}, ${sae.figure(value[0])}` : "";
      sae.say(`token ${answer.position}: ${sae.plural(answer.l0, "feature")}${first.slice(0, 200)}`);
    }

    return {
      node,
      /** Show a row: at once when it is held, else when the pointer stays on it for a moment. */
      show(wanted, held) {
        clearTimeout(timer);
        if (held) look(wanted, true);
        else timer = setTimeout(() => look(wanted, false), HOVER_MS);
      },
      strongest: (i) => answer?.active.index[i],
      redraw() {
        if (!answer) return;
        drawHead();
        list.redraw();
      },
      leave: () => clearTimeout(timer),
    };
  };

  let mark = null;
  /** What was kept to be compared: "row:12" or "doc:3", null for nothing. */
  sae.compared = () => mark;
  sae.keepForCompare = (what) => {
    mark = what;
  };
}
