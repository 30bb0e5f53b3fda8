// View: one feature: its label, its figures in this data and on Neuronpedia, and the tokens on which it fires most.
"use strict";
{
  const CONTEXTS = 20;
  const BELOW = [
    ["", "the strongest"],
    ["0.75", "below 75 % of its max"],
    ["0.5", "below 50 %"],
    ["0.25", "below 25 %"],
    ["0.1", "below 10 %"],
    ["bands", "four bands, beside each other"],
  ];

  const WIDTHS = [["6", "6 tokens around"], ["12", "12 tokens around"], ["30", "30 tokens around"], ["80", "80 tokens around"]];
  const BANDS = [[0.75, 1], [0.5, 0.75], [0.25, 0.5], [0, 0.25]];

  sae.featureView = async (path, params, page) => {
    const index = Number(path[1]);
    const feature = await sae.source.get(`features/${index}`);
    const title = `Feature ${sae.count(index)}`;
    const n = page.summary.features?.d_sae ?? page.summary.labels?.n_features ?? 0;
    const around = [index > 0 ? index - 1 : null, index + 1 < n ? index + 1 : null];
    const neighbours = sae.neighbours("feature", sae.source.isStatic ? [null, null] : around);
    const lead = sae.el("p", { class: "lead" });
    const drawLead = () => lead.replaceChildren(...sae.labelOf(index, feature.label ?? (feature.error && `no label: ${feature.error}`)));
    drawLead();
    const where = page.summary.features && contexts(feature, params, page);
    return {
      copy: () => where?.taken.copy("tsv"),
      title: `${title}${feature.label ? `: ${feature.label.slice(0, 80)}` : ""}`,
      node: sae.el(
        "section",
        { class: "view reading" },
        sae.el(
          "div",
          { class: "title" },
          sae.heading(title),
          neighbours.node,
          where?.taken.node,
          feature.neuronpedia &&
            sae.el(
              "a",
              { class: "outside", href: feature.neuronpedia, rel: "noreferrer", target: "_blank" },
              "On Neuronpedia ↗",
            ),
        ),
        lead,
        sae.noteOn(index, drawLead),
        sae.el("div", { class: "cards" }, explanations(feature), figures(feature, page), chart(feature)),
        tokens(feature),
        where?.node,
        !sae.source.isStatic && feature.here?.count > 0 && whereItFires(feature),
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

  function figures(feature, page) {
    const { here } = feature;
    const scale = here && feature.max_activation !== null && !feature.is_one_scale;
    const rows = [
      ["density", here ? sae.percent(here.density) : "–", sae.percent(feature.density_neuronpedia)],
      ["max activation", here ? sae.figure(here.max) : "–", [sae.figure(feature.max_activation), scale && " *"]],
      ["mean activation", here && here.count ? sae.figure(here.mean) : "–", "–"],
      ["tokens", here ? sae.count(here.count) : "–", "–"],
      ["documents", here ? sae.count(here.n_documents) : "–", "–"],
    ];
    const table = sae.table("figures", ["", "this data", "Neuronpedia"], rows);
    const index = page.summary.features?.index;
    const hint =
      !here && index && index.command
        ? sae.el("p", { class: "muted" }, "Figures of this data need the index: ", sae.command(index.command))
        : null;
    const remark =
      scale &&
      sae.el(
        "p",
        { class: "muted" },
        "* in another scale: Neuronpedia multiplies by the norm of the feature's decoder row. sae-encode run --fold-decoder-norm writes values in its scale.",
      );
    const excluded = here && sae.excluded(page.summary.features.excluded);
    const counted = excluded && sae.el("p", { class: "muted" }, `Of the tokens that count; ${excluded}.`);
    return sae.el("section", { class: "card" }, sae.el("h2", {}, "Figures"), table, counted, remark, hint);
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

  /** The tokens on which the feature fires most, or most below a share of its maximum, in context. A button brings more. */
  function contexts({ index, here }, params, page) {
    const body = sae.el("ol", { class: "contexts", role: "list", "aria-label": "Strongest tokens, in context" });
    const more = sae.el("button", { type: "button", hidden: true, onclick: () => ask() }, "More");
    const count = sae.el("span", { class: "muted", role: "status" });
    const once = sae.el("input", { type: "checkbox", checked: params.distinct !== "0" });
    const strength = sae.select("How strong", BELOW, params.below || "");
    let got = 0;
    let most = Math.abs(here?.max || 0);
    let round = 0;
    const width = sae.select("Width", WIDTHS, params.width || "12");
    const breaks = sae.el("input", { type: "checkbox", checked: params.breaks === "1" });
    const looks = () => ({ isBroken: breaks.checked, index, most });
    for (const control of [once, strength, width, breaks]) {
      control.addEventListener("change", () => {
        const wide = width.value === "12" ? "" : width.value;
        page.replace({ distinct: once.checked ? "" : "0", below: strength.value, width: wide, breaks: breaks.checked ? "1" : "" });
        got = 0;
        ask();
      });
    }

    const asked = () => ({
      around: width.value,
      distinct: once.checked ? 1 : "",
      below: Number(strength.value) && here ? Number(strength.value) * Math.abs(here.max) : "",
    });

    async function ask() {
      const mine = ++round;
      more.disabled = true;
      try {
        if (strength.value === "bands") return await bands(mine);
        const request = { ...asked(), limit: CONTEXTS, offset: got };
        const answer = await sae.source.get(`features/${index}/top`, request);
        if (mine !== round) return;
        if (got === 0) {
          most ||= Math.abs(answer.contexts[0]?.value || 0);
          body.replaceChildren();
        }
        got += answer.contexts.length;
        body.append(...answer.contexts.map((found) => context(found, looks())));
        count.textContent = answer.total
          ? `${sae.count(got)} of ${sae.plural(answer.total, once.checked ? "document" : "token")}`
          : "";
        more.hidden = got >= answer.total || answer.contexts.length < CONTEXTS;
        if (!answer.total)
          body.append(sae.el("li", { class: "muted" }, `It fires ${strength.value && "so "}nowhere in this data.`));
      } catch (error) {
        if (mine !== round) return;
        body.replaceChildren(sae.el("li", {}, sae.failure(error, error.status ? null : ask)));
        more.hidden = true;
      }
      more.disabled = false;
    }

    /** Four lists beside each other: tokens on which it fires strongly, less, and least. */
    async function bands(mine) {
      const top = Math.abs(here.max);
      const lists = BANDS.map(async ([low, high]) => {
        const bounds = { above: low * top || "", below: high < 1 ? high * top : "" };
        const answer = await sae.source.get(`features/${index}/top`, { ...asked(), limit: 8, ...bounds });
        const head = sae.el("h3", {}, `${100 * low} to ${100 * high} % of its max `, sae.el("span", { class: "muted" }, sae.count(answer.total)));
        return sae.el("li", {}, head, sae.el("ol", { class: "contexts", role: "list" }, ...answer.contexts.map((found) => context(found, looks()))));
      });
      const all = await Promise.all(lists);
      if (mine !== round) return;
      body.replaceChildren(...all);
      count.textContent = "";
    }

    ask();
    const taken = sae.takeOut(() => ({ of: "feature", index, ...asked(), limit: Math.max(CONTEXTS, got) }));
    const node = sae.el(
      "section",
      { class: "top-tokens" },
      sae.el(
        "div",
        { class: "title" },
        sae.el("h2", {}, "Where it fires most"),
        here?.count > 0 && !sae.source.isStatic && strength,
        width,
        sae.el("label", {}, once, " once a document"),
        sae.el("label", {}, breaks, " line breaks"),
        count,
      ),
      body,
      more,
    );
    return { node, taken };
  }

  function context(found, { index, most, isBroken }) {
    const middle = [0, 0]; // how many nodes stand before the token, and are the token
    const spans = found.tokens.flatMap((token, i) => {
      const span = sae.el("span", {
        class: `token${i === found.at ? " at" : ""}${found.masked?.[i] ? " masked" : ""}`,
        title: found.values[i] ? sae.figure(found.values[i]) : null,
      });
      sae.warm(span, found.values[i], most);
      const shown = [sae.inText(span, token, { breaks: isBroken })].flat();
      if (i <= found.at) middle[i < found.at ? 0 : 1] += shown.length;
      return shown;
    });
    const [before] = middle;
    const line = [spans.slice(0, before), spans.slice(before)];
    const href = sae.link(["documents", found.address], { at: found.position, colour: `feature:${index}` });
    return sae.el(
      "li",
      {},
      sae.el(
        "a",
        { href },
        sae.el("span", { class: "value" }, sae.figure(found.value)),
        isBroken ? sae.el("span", { class: "context" }, ...spans) : sae.el("span", { class: "context occurrence" }, ...line.map((part, i) => sae.el("span", { class: i ? "after" : "before" }, sae.el("bdi", {}, ...part)))),
      ),
      sae.el("span", { class: "muted where" }, `document ${sae.count(found.document)}, token ${sae.count(found.position)}`),
    );
  }

  /** The documents in which it fires as a table whose heads sort, and the features that fire on the same tokens. */
  function whereItFires({ index }) {
    const body = sae.el("tbody");
    const count = sae.el("span", { class: "muted" });
    const heads = ["count", "sum", "max", "share"].map((name) => [name, sae.el("button", { type: "button", class: "figure", onclick: () => ask(name) }, name)]);
    async function ask(sort) {
      const { total, documents } = await sae.source.get(`features/${index}/documents`, { sort });
      heads.forEach(([name, head]) => head.parentNode.setAttribute("aria-sort", name === sort ? "descending" : "none"));
      count.textContent = total > documents.length ? `the first ${documents.length} of ${sae.plural(total, "document")}` : sae.plural(total, "document");
      body.replaceChildren(...documents.map(row));
    }
    function row({ address, preview, count: n, sum, max, share, strip }) {
      const most = Math.max(...strip);
      const bars = [...strip].map((value, i) => value && sae.svg("rect", { x: i, y: 6 - (6 * value) / most, width: 1, height: (6 * value) / most }));
      const where = sae.svg("svg", { viewBox: `0 0 ${strip.length} 6`, preserveAspectRatio: "none", class: "strip", role: "img", "aria-label": "Where in the document it fires" }, ...bars);
      const link = sae.el("a", { href: sae.link(["documents", address], { colour: `feature:${index}` }), title: preview }, sae.el("bdi", { class: "shard" }, address));
      return sae.el("tr", {}, sae.el("th", { scope: "row" }, link), ...[sae.count(n), sae.figure(sum), sae.figure(max), sae.percent(share)].map((text) => sae.el("td", {}, text)), sae.el("td", {}, where));
    }
    const table = sae.el(
      "table",
      { class: "figures" },
      sae.el("thead", {}, sae.el("tr", {}, sae.el("th", { scope: "col" }, "document"), ...heads.map(([, head]) => sae.el("th", { scope: "col" }, head)), sae.el("th", { scope: "col" }, "where"))),
      body,
    );
    const others = sae.el("ul", { class: "together" });
    const basis = sae.el("p", { class: "muted" });
    sae.source.get(`features/${index}/together`).then(({ looked_at: of, features }) => {
      basis.textContent = `On a tenth or more of ${sae.plural(of, "token")} on which it fires, by PMI: 3 is 8 times as often as by chance.`;
      others.append(
        ...features.map(({ hits, pmi, ...other }) =>
          sae.el("li", {}, ...sae.featureRow({ ...other, measures: [sae.bar(hits / of), ...sae.figures([["PMI", sae.figure(pmi), "pmi"], ["of them", sae.percent(hits / of), "muted"]])] }).filter(Boolean)),
        ),
      );
    }, () => {});
    ask("sum");
    return sae.el(
      "div",
      { class: "top-tokens wide" },
      sae.el("section", { class: "card" }, sae.el("h2", {}, "Documents ", count), sae.el("div", { class: "scrolled", tabindex: "0", role: "group", "aria-label": "Documents" }, table)),
      sae.el("section", { class: "card" }, sae.el("h2", {}, "Fires together with"), basis, others),
    );
  }
}
