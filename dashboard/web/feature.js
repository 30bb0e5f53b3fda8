// View: one feature: what it is said to mean, how it fires in this data, and where it fires most.
"use strict";
{
  const CONTEXTS = 20;
  const BELOW = [
    ["", "the strongest"],
    ["0.75", "below 75 % of its max"],
    ["0.5", "below 50 %"],
    ["0.25", "below 25 %"],
    ["0.1", "below 10 %"],
  ];

  sae.featureView = async (path, params, page) => {
    const index = Number(path[1]);
    const told = await sae.source.get(`features/${index}`);
    const title = `Feature ${sae.count(index)}`;
    const n = page.summary.features?.d_sae ?? page.summary.labels?.n_features ?? 0;
    const around = [index > 0 ? index - 1 : null, index + 1 < n ? index + 1 : null];
    const neighbours = sae.neighbours("feature", sae.source.isStatic ? [null, null] : around);
    return {
      title: `${title}${told.label ? `: ${told.label.slice(0, 80)}` : ""}`,
      node: sae.el(
        "section",
        { class: "view reading" },
        sae.el(
          "div",
          { class: "title" },
          sae.heading(title),
          neighbours.node,
          told.neuronpedia &&
            sae.el(
              "a",
              { class: "outside", href: told.neuronpedia, rel: "noreferrer", target: "_blank" },
              "On Neuronpedia ↗",
            ),
        ),
        sae.el(
          "p",
          { class: "lead" },
          told.label === null
            ? sae.el("span", { class: "muted" }, told.error ? `No label: ${told.error}` : "No label.")
            : sae.label(told.label),
        ),
        sae.el("div", { class: "cards" }, explanations(told), figures(told, page), chart(told)),
        tokens(told),
        contexts(told, params, page),
      ),
    };
  };

  function explanations({ explanations: all }) {
    if (!all.length) return null;
    const items = all.map(({ text, type, explainer }) =>
      sae.el(
        "li",
        {},
        sae.label(text),
        sae.el("span", { class: "muted by" }, [explainer, type].filter(Boolean).join(" · ")),
      ),
    );
    return sae.el(
      "section",
      { class: "card" },
      sae.el("h2", {}, all.length === 1 ? "Explanation" : `${all.length} explanations`),
      sae.el("ul", { class: "explanations" }, ...items),
    );
  }

  function figures(told, page) {
    const { here } = told;
    const line = (name, mine, theirs) =>
      sae.el("tr", {}, sae.el("th", { scope: "row" }, name), sae.el("td", {}, mine), sae.el("td", {}, theirs));
    const table = sae.el(
      "table",
      { class: "figures" },
      sae.el(
        "thead",
        {},
        sae.el(
          "tr",
          {},
          sae.el("td", {}),
          sae.el("th", { scope: "col" }, "this data"),
          sae.el("th", { scope: "col" }, "Neuronpedia"),
        ),
      ),
      sae.el(
        "tbody",
        {},
        line("density", here ? sae.percent(here.density) : "–", sae.percent(told.density_neuronpedia)),
        line("max activation", here ? sae.figure(here.max) : "–", sae.figure(told.max_activation)),
        line("mean activation", here && here.count ? sae.figure(here.mean) : "–", "–"),
        line("tokens", here ? sae.count(here.count) : "–", "–"),
        line("documents", here ? sae.count(here.n_documents) : "–", "–"),
      ),
    );
    const index = page.summary.features?.index;
    const hint =
      !here && index && index.command
        ? sae.el("p", { class: "muted" }, "Figures of this data need the index: ", sae.command(index.command))
        : null;
    return sae.el("section", { class: "card" }, sae.el("h2", {}, "Figures"), table, hint);
  }

  function chart({ here }) {
    if (!here || !here.count) return null;
    return sae.el(
      "section",
      { class: "card" },
      sae.el("h2", {}, "Activations where it fires"),
      sae.histogram(here.histogram),
    );
  }

  function tokens({ top_positive_tokens: up, top_negative_tokens: down }) {
    const chips = (name, all) =>
      all.length > 0 &&
      sae.el(
        "div",
        {},
        sae.el("h2", {}, name),
        sae.el(
          "p",
          { class: "chips" },
          ...all.map((token) => sae.showToken(sae.el("span", { class: "chip" }), token, { breaks: false })),
        ),
      );
    return up.length + down.length
      ? sae.el("div", { class: "logits" }, chips("Promotes", up), chips("Suppresses", down))
      : null;
  }

  /** The tokens on which it fires most, or most below a share of its maximum, in context; more of them at a click. */
  function contexts({ index, here }, params, page) {
    const body = sae.el("ol", { class: "contexts", role: "list", "aria-label": "Strongest tokens, in context" });
    const more = sae.el("button", { type: "button", hidden: true, onclick: () => ask() }, "More");
    const count = sae.el("span", { class: "muted", role: "status" });
    const once = sae.el("input", { type: "checkbox", checked: params.distinct !== "0" });
    const strength = sae.select("How strong", BELOW, params.below || "");
    let got = 0;
    let most = here?.max || 0;
    let round = 0;
    for (const one of [once, strength]) {
      one.addEventListener("change", () => {
        page.replace({ distinct: once.checked ? "" : "0", below: strength.value });
        got = 0;
        ask();
      });
    }

    async function ask() {
      const mine = ++round;
      more.disabled = true;
      try {
        const below = strength.value && here ? Number(strength.value) * here.max : "";
        const asked = { limit: CONTEXTS, offset: got, distinct: once.checked ? 1 : "", below };
        const told = await sae.source.get(`features/${index}/top`, asked);
        if (mine !== round) return;
        if (got === 0) {
          most ||= told.contexts[0]?.value || 0;
          body.replaceChildren();
        }
        got += told.contexts.length;
        body.append(...told.contexts.map((one) => context(one, index, most)));
        count.textContent = told.total
          ? `${sae.count(got)} of ${sae.plural(told.total, once.checked ? "document" : "token")}`
          : "";
        more.hidden = got >= told.total || told.contexts.length < CONTEXTS;
        if (!told.total)
          body.append(sae.el("li", { class: "muted" }, `It fires ${below && "so "}nowhere in this data.`));
      } catch (error) {
        if (mine !== round) return;
        body.replaceChildren(sae.el("li", {}, sae.failure(error, error.status ? null : ask)));
        more.hidden = true;
      }
      more.disabled = false;
    }

    if (!page.summary.features) return null;
    ask();
    return sae.el(
      "section",
      { class: "top-tokens" },
      sae.el(
        "div",
        { class: "title" },
        sae.el("h2", {}, "Where it fires most"),
        here?.count > 0 && !sae.source.isStatic && strength,
        sae.el("label", {}, once, " once a document"),
        count,
      ),
      body,
      more,
    );
  }

  function context(one, index, most) {
    const spans = one.tokens.map((token, i) => {
      const heat = sae.heat(one.values[i], most);
      const span = sae.el("span", {
        class: i === one.at ? "token at" : "token",
        "data-heat": heat || null,
        title: one.values[i] > 0 ? sae.figure(one.values[i]) : null,
      });
      return sae.showToken(span, token, { breaks: false });
    });
    const href = sae.link(["documents", one.document], { at: one.position, colour: `feature:${index}` });
    return sae.el(
      "li",
      {},
      sae.el(
        "a",
        { href },
        sae.el("span", { class: "value" }, sae.figure(one.value)),
        sae.el("span", { class: "context" }, ...spans),
      ),
      sae.el("span", { class: "muted where" }, `document ${sae.count(one.document)}, token ${sae.count(one.position)}`),
    );
  }
}
