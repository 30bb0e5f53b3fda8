// The features that fire on one token, the strongest first.
"use strict";
{
  const HOVER_MS = 40;
  const KEPT = 300; // answers

  /** `below` is the document's address below api/, `of` another SAE than the page's; its features cannot be pinned. */
  sae.tokenPanel = ({ links, below, toggle, pins, of = "" }) => {
    const head = sae.el("div", { class: "token-head" });
    const list = sae.virtualList({
      label: "Features that fire on this token",
      render: (feature) =>
        sae.featureRow({
          index: feature.index,
          label: feature.label,
          pin: pins().indexOf(feature.index),
          toggle,
          of,
          measures: [
            sae.bar(Math.abs(feature.value) / feature.strongest),
            ...sae.figures([
              ["activation", sae.figure(feature.value), "value"],
              [feature.of, feature.share === null ? "" : sae.percent(feature.share), "share muted"],
            ]),
          ],
        }),
      empty: () => shown && sae.el("p", { class: "muted padded" }, "No feature fires here."),
    });
    const node = sae.el("div", { class: "panel-body" }, head, list.node);
    const kept = new Map();
    let request = new AbortController();
    let timer = 0;
    let at = null; // the token that is wanted
    let shown = null; // the answer that is shown
    let isHeld = false;

    async function ask(wanted) {
      if (kept.has(wanted)) return kept.get(wanted);
      request.abort();
      request = new AbortController();
      const answer = await sae.source.get(`${below}/row`, { at: wanted, ...(of ? { sae: of } : {}) }, { signal: request.signal });
      kept.set(wanted, answer);
      if (kept.size > KEPT) kept.delete(kept.keys().next().value);
      return answer;
    }

    async function look(wanted, held) {
      clearTimeout(timer);
      at = wanted;
      isHeld = held;
      node.classList.toggle("waiting", !kept.has(wanted));
      try {
        const answer = await ask(wanted);
        if (at !== wanted) return;
        const isNew = shown?.position !== answer.position;
        shown = answer;
        drawHead();
        if (isNew) drawList();
        if (held) say();
      } catch (error) {
        if (error.name === "AbortError" || at !== wanted) return;
        shown = null;
        head.replaceChildren(sae.failure(error, () => look(wanted, held)));
        list.show([]);
      } finally {
        if (at === wanted) node.classList.remove("waiting");
      }
    }

    function drawHead() {
      const { active } = shown;
      const facts = [
        `token ${sae.count(shown.position)}`,
        shown.section,
        shown.reason && sae.reason(shown.reason),
        shown.token_id === null ? null : `id ${shown.token_id}`,
        `row ${sae.count(shown.row)}`,
      ];
      const [at, ...others] = pins().map((index) => active.index.indexOf(index));
      const here = at < 0 ? "does not fire here" : `${sae.figure(active.value[at])}, number ${sae.count(at + 1)} here`;
      const firing = [at, ...others].filter((place) => place >= 0).length;
      const pinned = others.length ? `${firing} of ${pins().length} pins fire here` : `feature ${sae.count(pins()[0])}: ${here}`;
      const token = sae.showToken(sae.el("span", { class: "token big" }), shown.token, { breaks: false });
      const parts = [
        of && sae.el("p", { class: "shard" }, of),
        sae.el("h2", {}, links && shown.token.trim() ? sae.el("a", { href: sae.link(["words", shown.token.trim()]), title: "Every occurrence" }, token) : token),
        sae.el("p", { class: "muted" }, facts.filter(Boolean).join(" · ")),
        sae.el(
          "p",
          { class: "row" },
          sae.el(
            "span",
            {},
            sae.el("b", {}, sae.count(shown.l0)),
            shown.l0 === 1 ? " feature fires" : " features fire",
          ),
          isHeld
            ? !sae.source.isStatic && compare()
            : sae.el("span", { class: "muted" }, "click the token to hold it"),
        ),
        at !== undefined && sae.el("p", { class: "muted" }, pinned),
      ];
      const count = sae.el("p", {}, sae.el("b", {}, sae.count(shown.l0)), " here");
      head.replaceChildren(...(of ? [parts[0], count] : parts.filter(Boolean)));
    }

    /** A button that keeps this token for a comparison, or a link that compares it with the kept token. */
    function compare() {
      const [mine, other] = [`row:${shown.address}@${shown.position}`, sae.compared()];
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
      const { index: indices, value, label, share, share_here } = shown.active;
      const strongest = Math.abs(value[0]) || 1;
      const isHere = share_here.some((one) => one !== null);
      list.show(
        indices.map((index, i) => ({
          index,
          label: label[i],
          value: value[i],
          strongest,
          of: isHere ? "of its max" : "of its max on Neuronpedia",
          share: (isHere ? share_here : share)[i],
        })),
      );
    }

    function say() {
      const { index, value, label } = shown.active;
      const first = index.length ? `; strongest ${index[0]}, ${label[0] ?? "no label"}, ${sae.figure(value[0])}` : "";
      sae.say(`token ${shown.position}: ${sae.plural(shown.l0, "feature")}${first.slice(0, 200)}`);
    }

    return {
      node,
      /** Show a token: at once when it is held, else when the pointer stays on it for a moment. */
      show(wanted, held) {
        clearTimeout(timer);
        if (held) look(wanted, true);
        else timer = setTimeout(() => look(wanted, false), HOVER_MS);
      },
      strongest: (i) => shown?.active.index[i],
      redraw() {
        if (!shown) return;
        drawHead();
        list.redraw();
      },
      leave: () => clearTimeout(timer),
    };
  };

  let mark = null;
  /** The token or document that is kept for a comparison: "row:tales@12" or "doc:tales", null for none. */
  sae.compared = () => mark;
  sae.keepForCompare = (what) => {
    mark = what;
  };
}
