// View: find an SAE in the registry, have its labels fetched, see how far each job is. There only with --jobs.
"use strict";
{
  const FOUND = 50;
  const JOBS = 200;
  const LOSSES = [["missing", "do not exist"], ["failed", "failed"]];
  const nameOf = (sae_) => `${sae_.sae_release} ${sae_.sae_id}`;

  sae.jobsView = async (path, params, page) => {
    if (!page.summary.jobs) return page.nothing("Not switched on", "Start it as sae-dashboard --jobs to fetch labels from here.");
    const cards = new Map(); // a job's id -> {job, node, ...}
    const list = sae.el("div", { class: "list" });
    const told = sae.el("p", { class: "muted", role: "status" });
    const found = sae.el("ul", { class: "found" });
    const count = sae.el("span", { class: "muted", role: "status" });
    const trouble = sae.el("p", { class: "warning", role: "alert", hidden: true });
    const box = sae.el("input", {
      type: "search",
      name: "query",
      value: params.query || "",
      placeholder: "Find an SAE: gemma-scope 16k, gpt2*, layer_16",
      "aria-label": "Find an SAE",
      class: "find",
      autocomplete: "off",
      spellcheck: "false",
    });

    /** Have the service change something; what it refuses stands above the jobs until something else is asked. */
    async function change(method, where, body) {
      trouble.hidden = true;
      try {
        const answer = await sae.source.send(`v1/jobs${where}`, method, body);
        (answer.jobs ?? [answer]).forEach(show);
        return answer.jobs?.map((job) => `Job ${job.id}: ${job.state}`).join(", ");
      } catch (error) {
        trouble.textContent = error.message;
        trouble.hidden = false;
      }
    }

    /** Show a job as it is now: its card stays the same element, so that it keeps the focus. */
    function show(job) {
      const before = cards.get(job.id);
      const card = before ?? make(job);
      const ended = !["queued", "running"].includes(job.state);
      if (before && before.state !== job.state) sae.say(`${nameOf(job)}: ${job.state}`);
      card.state = job.state;
      card.tag.textContent = job.state;
      card.tag.className = `tag ${{ done: "complete" }[job.state] ?? job.state}`;
      const total = job.total_features ?? 0;
      const counts = LOSSES.map(([key, words]) => job[key] > 0 && `${sae.count(job[key])} ${words}`).filter(Boolean);
      const done = job.successful ?? job.done ?? 0;
      const text = total ? [`${sae.count(done)} of ${sae.plural(total, "feature")}`, ...counts].join(" · ") : "Not begun";
      const parts = [[ended ? "got" : "working", done], ...LOSSES.map(([key]) => [key, job[key] ?? 0])];
      card.body.replaceChildren(
        total ? sae.progress(parts, total) : "",
        sae.el("p", { class: "muted" }, `${text} · job ${job.id}`),
        job.error ? sae.el("p", { class: ended ? "warning" : "note" }, job.error) : "",
      );
      card.button.textContent = ended ? "Try again" : "Cancel";
      card.button.setAttribute("aria-label", `${card.button.textContent}: ${nameOf(job)}`);
      if (job.state === "done" && document.activeElement === card.button) card.node.focus();
      card.button.hidden = job.state === "done";
      told.textContent = cards.size ? "" : "No jobs yet.";
    }

    function make(job) {
      const [tag, body] = [sae.el("span"), sae.el("div")];
      const press = () => (cards.get(job.id).button.textContent === "Cancel" ? change("DELETE", `/${job.id}`) : change("POST", `/${job.id}/retry`, {}));
      const button = sae.el("button", { type: "button", onclick: press });
      const head = sae.el("div", { class: "row" }, sae.el("h3", {}, sae.el("bdi", {}, nameOf(job))), tag, button);
      const card = { id: Number(job.id), tag, body, button };
      card.node = sae.el("article", { class: "card download", tabindex: "-1", "aria-label": nameOf(job) }, head, body);
      const later = [...cards.values()].filter(({ id }) => id < card.id).sort((a, b) => b.id - a.id)[0];
      list.insertBefore(card.node, later?.node ?? null);
      cards.set(job.id, card);
      return card;
    }

    let asked = 0;
    async function find() {
      const mine = ++asked;
      const query = box.value.trim();
      page.replace({ query });
      const [{ saes }, held] = query ? await Promise.all([sae.source.send(`v1/registry?q=${encodeURIComponent(query)}`), sae.source.send("v1/saes")]) : [{ saes: [] }];
      if (mine !== asked) return;
      const here = new Map(held?.saes.map((one) => [nameOf(one), one.state]));
      count.textContent = !query ? "" : sae.plural(saes.length, "SAE") + (saes.length > FOUND ? `, the first ${FOUND} are shown` : "");
      found.replaceChildren(...saes.slice(0, FOUND).map((one) => row(one, here.get(nameOf(one)))));
    }

    function row(one, state) {
      const text = state === "complete" ? "Look for changes" : "Get labels";
      const get = async () => sae.say((await change("POST", "", { sae_release: one.sae_release, sae_id: one.sae_id, refresh: state === "complete" })) ?? "");
      return sae.el(
        "li",
        {},
        sae.el("bdi", {}, one.sae_release, " ", sae.el("b", {}, one.sae_id)),
        state && sae.el("span", { class: `tag ${state}` }, state),
        sae.el("span", { class: "muted" }, one.num_features ? sae.plural(one.num_features, "feature") : "size not known"),
        sae.el("button", { type: "button", "aria-label": `${text}: ${nameOf(one)}`, onclick: get }, text),
      );
    }

    const load = async () => (await sae.source.send(`v1/jobs?limit=${JOBS}`)).jobs.forEach(show);
    await load();
    told.textContent = cards.size ? "" : "No jobs yet.";
    const failed = (error) => (count.textContent = error.message);
    box.addEventListener("input", sae.later(() => find().catch(failed), 150));
    find().catch(failed);
    const events = new EventSource("v1/events");
    events.addEventListener("job", ({ data }) => show(JSON.parse(data)));
    events.addEventListener("open", () => load().then(() => (told.textContent = cards.size ? "" : "No jobs yet."), () => {}));
    events.addEventListener("error", () => (told.textContent = "The server does not answer; this page asks again by itself."));
    return {
      title: "Jobs",
      search: box,
      node: sae.el(
        "section",
        { class: "view reading wide jobs-view" },
        sae.heading("Jobs"),
        sae.el("section", {}, sae.el("h2", {}, "Get an SAE's labels"), sae.el("div", { class: "tools" }, box, count), found),
        sae.el("section", {}, sae.el("h2", {}, "Jobs, the latest first"), trouble, told, list),
      ),
      leave: () => events.close(),
    };
  };
}
