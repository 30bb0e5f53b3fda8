// The address decides what is seen: #/documents/3?at=17&colour=feature:42. Every view is opened from here.
//
// A view is a function (path, params, page) that returns {title, node} and, where it has them, update(params) for a new
// address of the same view, keys(event), search (the box that "/" goes to), ready() once it is in the page, leave().
"use strict";
{
  const VIEWS = { documents: [sae.documentsView, sae.documentView], features: [sae.searchView, sae.featureView], compare: [sae.compareView], health: [sae.healthView] };
  const GO = { d: "documents", f: "features", c: "compare", h: "health" };
  const main = document.getElementById("main");
  let view = null;
  let key = "";
  let round = 0;
  let summary = null;

  function parse() {
    const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
    const parts = path.split("/").filter(Boolean).map(decodeURIComponent);
    return { path: parts.length ? parts : [summary?.features || !summary?.labels ? "documents" : "features"], params: Object.fromEntries(new URLSearchParams(query || "")) };
  }

  /** What a view is given: what there is, how to change its own address, what to say where there is nothing. */
  function pageOf(path) {
    return {
      summary,
      replace(params) {
        const mine = parse();
        if (mine.path.join("/") !== path.join("/")) return;
        const address = sae.link(path, { ...mine.params, ...params });
        if (address !== location.hash) history.replaceState(null, "", address);
      },
      nothing: (title, text) => ({ title, node: sae.el("section", { class: "view" }, sae.heading(title), sae.empty("", text, ...summary.hints.map(({ command }) => command))) }),
    };
  }

  async function open() {
    const mine = ++round;
    let parsed;
    try {
      parsed = parse();
    } catch {
      parsed = { path: ["nowhere"], params: {} };
    }
    const { path, params } = parsed;
    if (view && key === path.join("/") && view.update) {
      view.update(params);
      return;
    }
    main.classList.add("waiting");
    let next;
    try {
      await know();
      const made = VIEWS[path[0]]?.[path.length - 1];
      if (!made || (path.length === 2 && !/^\d+$/.test(path[1]))) throw Object.assign(new Error("There is no such page here."), { status: 404 });
      next = await made(path, params, pageOf(path));
    } catch (error) {
      next = { title: "Not found", node: sae.el("section", { class: "view" }, sae.heading("Nothing to see here"), sae.failure(error, error.status ? null : open)) };
    }
    if (mine !== round) {
      next.leave?.();
      return;
    }
    view?.leave?.();
    const isFirst = view === null;
    view = next;
    key = path.join("/");
    main.replaceChildren(view.node);
    main.classList.remove("waiting");
    document.title = `${view.title} – saefetch`;
    for (const link of document.querySelectorAll("header nav a")) {
      if (link.hash === `#/${path[0]}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    view.ready?.();
    if (!isFirst) main.querySelector("h1")?.focus({ preventScroll: true });
    if (!isFirst && !view.ready) scrollTo(0, 0);
  }

  /** Ask what there is, each time a view is opened: a download or an encoder may be at work. */
  async function know() {
    summary = await sae.source.get("summary");
    const { features, labels, refusal } = summary;
    const own = features?.sae ?? labels;
    document.getElementById("sae").textContent = own ? own.neuronpedia_id || [own.release, own.id].filter(Boolean).join(" ") || own.path || "" : "";
    const banner = document.getElementById("banner");
    const hint = features && !refusal && !labels ? summary.hints.find(({ command }) => command.startsWith("saefetch")) : null;
    banner.hidden = !refusal && !hint;
    banner.className = refusal ? "refusal" : "hint";
    banner.replaceChildren(...(refusal ? [`Labels are not shown: ${refusal}`] : hint ? ["No labels yet. They come with ", sae.command(hint.command)] : []));
  }

  let before = "";
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest("input, select, textarea, dialog");
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (isTyping) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const goes = before === "g" && GO[event.key];
    before = event.key;
    if (goes) location.hash = `#/${goes}`;
    else if (view?.keys?.(event)) event.preventDefault();
    else if (event.key === "/") {
      event.preventDefault();
      if (view?.search) view.search.focus();
      else location.hash = "#/features";
    } else if (event.key === "?") document.getElementById("keys").showModal();
  });
  document.getElementById("keys-button").addEventListener("click", () => document.getElementById("keys").showModal());
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    main.focus();
  });
  addEventListener("hashchange", open);
  open();
}
