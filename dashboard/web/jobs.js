// View: find an SAE in the registry, have its labels fetched, see how far each job is. There only with --jobs.
"use strict";
{
  const FOUND = 50;
  const JOBS = 200;
  const nameOf = (one) => `${one.sae_release} ${one.sae_id}`;
  const status = () => sae.el("p", { class: "muted", role: "status" });
  const button = (text, name, onclick) =>
    sae.el("button", { type: "button", "aria-label": `${text}: ${name}`, onclick }, text);

  sae.jobsView = async (path, params, page) => {
    if (!page.summary.jobs)
      return page.nothing("Not switched on", "Labels are fetched from here by sae-dashboard --jobs.");
    const list = sae.el("div");
    const found = sae.el("ul", { class: "found", tabindex: "0", "aria-label": "SAEs that were found" });
    const [count, told] = [status(), status()];
    const trouble = sae.el("p", { class: "warning", role: "alert" });
    const words = { placeholder: "Find an SAE: gemma-scope 16k, gpt2*, layer_16", "aria-label": "Find an SAE" };
    const value = params.query || "";
    const box = sae.el("input", { ...words, value, type: "search", class: "find", autocomplete: "off" });

    /** Have the service change something. What it refuses stands above the jobs until something else is asked. */
    const change = (method, where, body) => async () => {
      trouble.textContent = "";
      try {
        const answer = await sae.source.send(`v1/jobs${where}`, method, body);
        (answer.jobs ?? [answer]).forEach(show);
      } catch (error) {
        trouble.textContent = error.message;
      }
    };

    /** Show a job as it is now. Its card stays the same, and its button until the state changes: they keep the focus. */
    function show(job) {
      const name = nameOf(job);
      const isOpen = ["queued", "running"].includes(job.state);
      let card = list.querySelector(`[data-id="${CSS.escape(job.id)}"]`);
      if (!card) {
        const known = { class: "card download", tabindex: "-1", "aria-label": name, "data-id": job.id };
        card = sae.el("article", known, sae.el("header", { class: "row" }), sae.el("div"));
        list.insertBefore(card, [...list.children].find(({ dataset }) => Number(dataset.id) < Number(job.id)) ?? null);
      }
      const [head, body] = card.children;
      if (card.dataset.state !== job.state) {
        const hasFocus = head.contains(document.activeElement);
        if (card.dataset.state || isOpen) sae.say(`${name}: ${job.state}`);
        card.dataset.state = job.state;
        head.replaceChildren(
          sae.el("h3", {}, sae.el("bdi", {}, name)),
          sae.el("span", { class: `tag ${job.state === "done" ? "complete" : job.state}` }, job.state),
          isOpen ? button("Cancel", name, change("DELETE", `/${job.id}`)) : "",
          isOpen || job.state === "done" ? "" : button("Try again", name, change("POST", `/${job.id}/retry`, {})),
        );
        if (hasFocus) (head.querySelector("button") ?? card).focus();
      }
      const { total_features: total, missing, failed } = job;
      const done = job.successful ?? job.done ?? 0;
      const counts = [
        total ? `${sae.count(done)} of ${sae.plural(total, "feature")}` : "Not begun",
        missing > 0 && `${sae.count(missing)} do not exist`,
        failed > 0 && `${sae.count(failed)} failed`,
        `job ${job.id}`,
      ];
      const parts = { [isOpen ? "working" : "got"]: done, missing: missing ?? 0, failed: failed ?? 0 };
      body.replaceChildren(
        total ? sae.progress(Object.entries(parts), total) : "",
        sae.el("p", { class: "muted" }, counts.filter(Boolean).join(" · ")),
        job.error ? sae.el("p", { class: isOpen ? "note" : "warning" }, job.error) : "",
      );
      told.textContent = "";
    }

    let asked = 0;
    async function find() {
      const mine = ++asked;
      const query = box.value.trim();
      page.replace({ query });
      const wanted = query ? [`v1/registry?q=${encodeURIComponent(query)}`, "v1/saes"] : [];
      const [known, held] = (await Promise.all(wanted.map((address) => sae.source.send(address)))).map(
        ({ saes }) => saes,
      );
      if (mine !== asked) return;
      const more = known?.length > FOUND ? `; here are the first ${FOUND}` : "";
      count.textContent = known ? sae.plural(known.length, "SAE") + more : "";
      const states = new Map(held?.map((one) => [nameOf(one), one.state]));
      found.replaceChildren(...(known ?? []).slice(0, FOUND).map((one) => row(one, states.get(nameOf(one)))));
    }

    function row({ sae_release, sae_id, num_features }, state) {
      const [text, refresh] = state === "complete" ? ["Look for changes", true] : ["Get labels", false];
      return sae.el(
        "li",
        {},
        sae.el("bdi", {}, sae_release, " ", sae.el("b", {}, sae_id)),
        state && sae.el("span", { class: `tag ${state}` }, state),
        num_features && sae.el("span", { class: "muted" }, sae.plural(num_features, "feature")),
        button(text, nameOf({ sae_release, sae_id }), change("POST", "", { sae_release, sae_id, refresh })),
      );
    }

    const look = () => find().catch((error) => (count.textContent = error.message));
    const load = async () => {
      const { jobs } = await sae.source.send(`v1/jobs?limit=${JOBS}`);
      told.textContent = jobs.length ? "" : "No jobs yet.";
      jobs.forEach(show);
    };
    await load();
    look();
    box.addEventListener("input", sae.later(look, 150));
    const events = new EventSource("v1/events");
    events.onopen = () => load().catch(() => {}); // what happened before the stream was there
    events.onerror = () => (told.textContent = "The server does not answer; this page asks again by itself.");
    events.addEventListener("job", ({ data }) => show(JSON.parse(data)));
    return {
      title: "Jobs",
      search: box,
      node: sae.el(
        "section",
        { class: "view reading wide jobs-view" },
        sae.heading("Jobs"),
        sae.el("section", {}, sae.el("h2", {}, "Get an SAE's labels"), box, count, found),
        sae.el("section", {}, sae.el("h2", {}, "Jobs, the latest first"), trouble, told, list),
      ),
      leave: () => events.close(),
    };
  };
}
