// A list of any length. All rows have one height, --row of the style sheet; only the rows in the window exist, and pages of them are fetched as they
// are scrolled to.
//
//   const list = sae.virtualList({kind, label, render: (item, i) => [nodes], fetch: async (offset, limit) => ({items, total})});
//   list.node, list.reset() fetches anew, list.show(items) shows items without fetching, list.redraw() renders again
//
// `total` may be null where the server does not count: the list then grows until a page is not full.
// Browsers cannot make an element of 30 million pixels, so above MOST_PX a pixel of scrolling stands for more than one.
"use strict";
{
  const PAGE = 100;
  const AHEAD = 8;
  const MOST_PX = 8_000_000;
  const AWAITED = "awaited";

  sae.virtualList = ({
    kind = "features",
    label,
    render,
    fetch,
    onTotal = () => {},
    onError = () => {},
    empty = () => null,
  }) => {
    const rows = sae.el("ol", { role: "list", "aria-label": label });
    const node = sae.el("div", { class: `virtual ${kind}` }, rows);
    const live = new Map(); // index -> its <li>
    let pages = new Map(); // page -> its items, or AWAITED
    let total = 0;
    let round = 0; // answers to requests from before a reset are dropped
    let height = 48; // until the list is in the page
    let awaited = null; // the row that gets the focus when its page has arrived
    let wantedTop = 0; // how far the list is scrolled when its first page has arrived

    const ratio = () => {
      const full = total * height;
      const seen = node.clientHeight;
      return full > MOST_PX ? (full - seen) / (MOST_PX - seen) : 1;
    };

    let isWhole = false; // to be printed

    function draw() {
      const scale = ratio();
      const top = node.scrollTop * scale;
      const first = isWhole ? 0 : Math.max(0, Math.floor(top / height) - AHEAD);
      const last = isWhole ? Math.min(total, sae.MOST_PRINTED) : Math.min(total, Math.ceil((top + node.clientHeight) / height) + AHEAD);
      for (const [index, row] of live) {
        if ((index < first || index >= last) && !row.contains(document.activeElement)) {
          row.remove();
          live.delete(index);
        }
      }
      for (let index = first; index < last; index++) if (!live.has(index)) add(index);
      for (const [index, row] of live)
        row.style.setProperty("--top", `${(index * height - top + node.scrollTop).toFixed(1)}px`);
    }

    function add(index) {
      const page = pages.get(Math.floor(index / PAGE));
      if (page === undefined) ask(Math.floor(index / PAGE));
      const item = Array.isArray(page) ? page[index % PAGE] : undefined;
      if (item === undefined) return;
      const row = sae.el(
        "li",
        { "aria-posinset": index + 1, "aria-setsize": total, "data-index": index },
        ...render(item, index),
      );
      live.set(index, row);
      let after = null; // rows stand in their order, for those who tab through them or hear them
      for (const other of live.keys()) if (other > index && (after === null || other < after)) after = other;
      rows.insertBefore(row, after === null ? null : live.get(after));
    }

    async function ask(page) {
      const mine = round;
      pages.set(page, AWAITED);
      node.classList.toggle("waiting", true);
      try {
        const answer = await fetch(page * PAGE, PAGE);
        if (mine !== round) return;
        pages.set(page, answer.items);
        grow(answer.total ?? page * PAGE + answer.items.length + (answer.items.length === PAGE ? 1 : 0));
        onTotal(answer.total);
        if (awaited && live.has(awaited.index)) focus(awaited.index, awaited.kind);
      } catch (error) {
        if (mine !== round || error.name === "AbortError") return;
        node.replaceChildren(sae.failure(error, () => list.reset()));
        onError();
      } finally {
        if (mine === round) node.classList.toggle("waiting", [...pages.values()].includes(AWAITED));
      }
    }

    function grow(count) {
      total = count;
      rows.style.setProperty("--height", `${Math.min(total * height, MOST_PX)}px`);
      if (wantedTop) node.scrollTop = wantedTop;
      wantedTop = 0;
      if (total === 0) node.replaceChildren(rows, empty() || "");
      draw();
    }

    function clear() {
      round += 1;
      live.forEach((row) => row.remove());
      live.clear();
      pages = new Map();
      awaited = null;
      node.replaceChildren(rows);
      node.scrollTop = 0;
    }

    function focus(index, kind = "a") {
      const wanted = Math.max(0, Math.min(total - 1, index));
      const scale = ratio();
      const top = wanted * height;
      const seen = node.scrollTop * scale;
      if (top < seen) node.scrollTop = top / scale;
      else if (top + height > seen + node.clientHeight) node.scrollTop = (top + height - node.clientHeight) / scale;
      draw();
      awaited = live.has(wanted) ? null : { index: wanted, kind };
      live.get(wanted)?.querySelector(kind)?.focus({ preventScroll: true });
    }

    node.addEventListener("scroll", draw, { passive: true });
    node.addEventListener("keydown", (event) => {
      const row = event.target.closest("li[data-index]");
      if (!row || event.altKey || event.ctrlKey || event.metaKey) return;
      const at = Number(row.dataset.index);
      const whole = Math.max(1, Math.floor(node.clientHeight / height) - 1);
      const to = {
        ArrowDown: at + 1,
        ArrowUp: at - 1,
        PageDown: at + whole,
        PageUp: at - whole,
        Home: 0,
        End: total - 1,
      }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      if (at || event.key !== "ArrowUp") focus(to, event.target.matches("button") ? "button" : "a");
    });
    const resized = new ResizeObserver(() => {
      const now = Number(getComputedStyle(rows).getPropertyValue("--row"));
      if (now === height) return draw();
      height = now;
      if (total) grow(total);
    });
    resized.observe(node);

    node.whole = async (is) => {
      isWhole = is;
      const wanted = Math.ceil(Math.min(total, sae.MOST_PRINTED) / PAGE);
      if (is) for (let page = 0; page < wanted; page++) if (!Array.isArray(pages.get(page))) await ask(page);
      draw();
    };

    const list = {
      node,
      redraw() {
        for (const [index, row] of live) {
          const kind = row.contains(document.activeElement) ? document.activeElement.localName : null;
          row.replaceChildren(...render(pages.get(Math.floor(index / PAGE))[index % PAGE], index).filter(Boolean));
          if (kind) row.querySelector(kind)?.focus({ preventScroll: true });
        }
      },
      /** Fetch anew, and scroll to where the list was when the view was left. */
      reset(top = 0) {
        clear();
        wantedTop = top;
        return ask(0);
      },
      focus,
      show(items) {
        clear();
        for (let page = 0; page * PAGE < items.length; page++)
          pages.set(page, items.slice(page * PAGE, (page + 1) * PAGE));
        grow(items.length);
      },
    };
    return list;
  };

  /** A box that a list follows: it is fetched anew as one types; Enter opens its first row, the arrow keys lead there. */
  sae.drive = (box, list, changed = () => {}) => {
    const search = () => {
      changed();
      return list.reset();
    };
    box.addEventListener("input", sae.later(search, 100));
    box.addEventListener("keydown", async (event) => {
      if (!["Enter", "ArrowDown"].includes(event.key) || event.defaultPrevented) return;
      event.preventDefault();
      if (event.key === "Enter") await search();
      list.focus(0);
      if (event.key === "Enter") list.node.querySelector("li a")?.click();
    });
    list.node.addEventListener("keydown", (event) => {
      if (event.key === "ArrowUp" && event.target.closest('[data-index="0"]')) box.focus();
    });
  };
}
