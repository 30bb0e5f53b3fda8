// The address decides which view is seen: #/documents/3?at=17&colour=feature:42. Every view is opened from here.
//
// A view is a function (path, params, page) that returns {title, node} and, where it has them, update(params) for a new
// address of the same view, keys(event), copy() of what is held, search (the box that "/" goes to), ready() once it is in the page, leave().
"use strict";
{
  const VIEWS = {
    documents: [sae.documentsView, sae.documentView],
    features: [sae.searchView, sae.featureView],
    compare: [sae.compareView],
    words: [sae.wordView, sae.wordView],
    health: [sae.healthView],
    jobs: [sae.jobsView],
  };
  const GO = { d: "documents", f: "features", c: "compare", h: "health", j: "jobs" };
  const GO_MS = 1000;
  const WAIT_MS = 2000;
  const WRITE_MS = 150; // browsers refuse to change the address much more often
  const main = document.getElementById("main");
  let view = null;
  let key = "";
  let round = 0;
  let summary = null;

  // The address. A change of it waits until the browser accepts one; `history.state` holds how far the view was scrolled.
  let pending = null;
  let timer = 0;

  function write(change) {
    const from = location.hash;
    pending = { hash: from, state: history.state, ...(isPending() ? pending : {}), ...change, from };
    if (!timer) flush();
  }

  /** Whether a change waits to be written to the present address. A change to an address that was left is void. */
  const isPending = () => pending !== null && pending.from === location.hash;

  const address = () => (isPending() ? pending.hash : location.hash);

  function flush() {
    clearTimeout(timer);
    timer = 0;
    const due = isPending() ? pending : null;
    pending = null;
    if (!due) return;
    timer = setTimeout(flush, WRITE_MS);
    try {
      history.replaceState(due.state, "", due.hash);
    } catch {
      // too often for this browser: the next change writes all of the address
    }
  }

  function parse() {
    const [path, query] = address().replace(/^#\/?/, "").split("?");
    const parts = path.split("/").filter(Boolean).map(decodeURIComponent);
    const home = summary?.labels && !summary.features ? "features" : "documents";
    return { path: parts.length ? parts : [home], params: Object.fromEntries(new URLSearchParams(query || "")) };
  }

  /** What a view is given: the summary, how to change the view's address, what to show where there is no data. */
  function pageOf(path, mine) {
    const nothing = (title, text) => ({
      title,
      node: sae.el(
        "section",
        { class: "view" },
        sae.heading(title),
        sae.empty("", text, ...summary.hints.map(({ command }) => command)),
        summary.hints.some(({ command }) => command === null) && sae.el("p", { class: "padded" }, "It is on its way."),
      ),
      waits: true,
    });
    return {
      summary,
      scrolled: history.state?.scrolled ?? 0,
      replace(params) {
        const now = parse();
        if (mine !== round || now.path.join("/") !== path.join("/")) return; // the view was left meanwhile
        const hash = sae.link(path, { ...now.params, ...params });
        if (hash !== address()) write({ hash });
      },
      nothing,
      noFeatures: () =>
        nothing("No features yet", "Features are what sae-encode writes: which features fire on which token."),
    };
  }

  async function open() {
    pending = null;
    const mine = ++round;
    main.classList.add("waiting");
    let next;
    let path = [];
    try {
      await know();
      const parsed = read();
      path = parsed.path;
      if (view?.update && key === path.join("/")) {
        if (mine !== round) return;
        round = view.round; // it stays the view that it is, and may go on to change the address
        main.classList.remove("waiting");
        view.update(parsed.params);
        return;
      }
      const made = VIEWS[path[0]]?.[path.length - 1];
      if (!made || (path[0] === "features" && path.length === 2 && !/^\d+$/.test(path[1]))) throw nowhere();
      next = await made(path, parsed.params, pageOf(path, mine));
    } catch (error) {
      next = failed(error);
    }
    if (mine === round) show(next, path, mine);
    else next.leave?.();
  }

  function read() {
    try {
      return parse();
    } catch {
      throw nowhere(); // no text at all: a stray % in the address
    }
  }

  function nowhere() {
    return Object.assign(new Error("There is no such page here."), { status: 404 });
  }

  function failed(error) {
    const title = error.status === 404 ? "Not here" : "That did not work";
    const again = error.status === 404 ? null : open;
    return { title, node: sae.el("section", { class: "view" }, sae.heading(title), sae.failure(error, again)) };
  }

  function show(next, path, mine) {
    view?.leave?.();
    const isFirst = view === null;
    const isTyping = document.activeElement?.matches("input");
    view = { ...next, round: mine };
    key = path.join("/");
    document.getElementById("keys").close();
    main.replaceChildren(view.node);
    main.classList.remove("waiting");
    main.scrollTop = history.state?.scrolled ?? 0;
    document.title = `${view.title} – saefetch`;
    for (const link of document.querySelectorAll("header nav a")) {
      if (link.hash === `#/${path[0]}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    view.ready?.();
    if (view.waits && !sae.source.isStatic) wait(mine);
    if (wantsSearch) view.search?.focus();
    else if (!isFirst && !isTyping) main.querySelector("h1")?.focus({ preventScroll: true });
    wantsSearch = false;
  }

  /** Where there is nothing yet, look again until there is: an encoder may be at its first shard. */
  async function wait(mine) {
    const before = JSON.stringify(summary);
    await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
    if (mine !== round) return;
    const now = document.hidden ? before : JSON.stringify(await sae.source.get("summary").catch(() => summary));
    if (mine !== round) return;
    if (now === before) wait(mine);
    else open();
  }

  /** Ask what there is, each time a view is opened: a download or an encoder may be at work. */
  async function know() {
    summary = await sae.source.get("summary");
    const { features, labels } = summary;
    sae.readNotes(summary);
    const names = features?.sae ?? labels;
    const name = names && (names.neuronpedia_id || [names.release, names.id].filter(Boolean).join(" ") || names.path);
    const { sae: mine, saes } = summary;
    const menu = saes.length > 1 && sae.select("SAE", saes.map((one) => [one, one]), mine, { onchange: ({ target }) => location.assign(sae.forSae(target.value)) });
    const head = document.getElementById("sae");
    if (!menu || head.dataset.saes !== saes.join()) head.replaceChildren(menu || name || "");
    head.dataset.saes = saes.join();
    document.querySelector('nav a[href="#/jobs"]').hidden = !summary.jobs;
    const alarm = document.getElementById("alarm");
    alarm.hidden = !summary.warned;
    alarm.textContent = ` ${sae.count(summary.warned)}`;
    alarm.title = sae.warned(summary);
    const [kind, text, command] = news();
    const banner = document.getElementById("banner");
    if (banner.dataset.text === text + command) return; // a screen reader would read it again
    banner.dataset.text = text + command;
    banner.hidden = !text;
    banner.className = kind;
    banner.replaceChildren(text, command ? sae.command(command) : "");
  }

  /** What stands above every view: [class, text, command]. */
  function news() {
    const { features, labels, refusal, hints, part } = summary;
    if (refusal) return ["refusal", `Labels are not shown: ${refusal}`, ""];
    if (features?.index.state === "older") return ["hint", "The index by feature is of an older version, so its figures are counted anew at each start. Make it anew with ", features.index.command];
    const download = features && !labels && hints.find(({ command }) => command?.startsWith("saefetch"));
    if (download) return ["hint", "No labels yet. They come with ", download.command];
    if (part && part.n_documents < part.of_documents)
      return [
        "hint",
        `This page holds ${sae.count(part.n_documents)} of ${sae.plural(part.of_documents, "document")}. All figures are of these ${sae.count(part.n_documents)} alone.`,
        "",
      ];
    return ["", "", ""];
  }

  let before = { key: "", at: 0 };
  let wantsSearch = false;

  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.target.closest("input, select, textarea, dialog")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const goes = before.key === "g" && event.timeStamp - before.at < GO_MS && GO[event.key];
    before = { key: event.key, at: event.timeStamp };
    if (goes && !document.querySelector(`nav a[href="#/${goes}"]`).hidden) location.hash = `#/${goes}`;
    else if (view?.keys?.(event)) event.preventDefault();
    else if (event.key === "c") view?.copy?.();
    else if (event.key === "/") {
      event.preventDefault();
      if (view?.search) view.search.focus();
      else {
        wantsSearch = true;
        location.hash = "#/features";
      }
    } else if (event.key === "?") document.getElementById("keys").showModal();
  });
  document.addEventListener(
    "scroll",
    sae.later(({ target }) => {
      if (target === main || target.classList?.contains("virtual")) write({ state: { scrolled: target.scrollTop } });
    }, 100),
    { capture: true, passive: true },
  );
  document.addEventListener("click", flush, true); // before a link leads elsewhere
  document.getElementById("keys-button").addEventListener("click", () => document.getElementById("keys").showModal());
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    main.focus();
  });
  document.querySelector('header nav a[href="#/compare"]').hidden = sae.source.isStatic;
  addEventListener("hashchange", open);
  open();
}
