// A document's text, token by token, each on its heat. Pieces of PIECE tokens are asked for when they come near, and let
// go again when they are far, so that a document of a million tokens scrolls like one of a hundred. It is its own scroller.
//
//   piece    [start, stop), never across the end of a section (prompt, response)
//   at       the token that is shown: moved by hovering, by a click (which holds it) and by the keys
"use strict";
{
  const PIECE = 512;
  const NEAR = "1500px 0px";
  const MOST_FILLED = 60; // pieces; further ones are emptied, the furthest first
  const LOOKED_AT_ONCE = 4096; // tokens, when looking for where a feature fires next
  const PX_A_TOKEN = 2.2; // of height, until a piece has been measured

  /** `onAt(at, isHeld, isJump)` is told of each move, `onScale({floor, scale})` of the colour's scale. */
  sae.tokenFlow = ({ id, total, sections, colour, onAt, onScale }) => {
    const node = sae.el("div", { class: "flow", role: "listbox", tabindex: "0", "aria-label": `Tokens of document ${id}`, "aria-describedby": "flow-help" });
    const pieces = cut(total, sections).map((piece) => ({ ...piece, state: "empty", node: sae.el("div", { class: `piece ${piece.name}`, role: "group", "aria-label": `${piece.name || "tokens"} ${piece.start} to ${piece.stop - 1}`, "data-at": sae.count(piece.start), "data-heading": piece.heading }) }));
    let now = colour;
    let held = null;
    let shown = null;
    let perToken = PX_A_TOKEN;
    const left = new AbortController();

    for (const piece of pieces) {
      piece.node.piece = piece;
      reserve(piece);
      node.append(piece.node);
    }
    const near = new IntersectionObserver(
      (entries) => entries.forEach(({ target, isIntersecting }) => {
        target.piece.isNear = isIntersecting;
        if (isIntersecting) fill(target.piece);
      }),
      { root: node, rootMargin: NEAR },
    );
    pieces.forEach((piece) => near.observe(piece.node));

    function reserve(piece) {
      piece.node.style.setProperty("--reserved", `${Math.ceil((piece.stop - piece.start) * perToken)}px`);
    }

    function pieceOf(at) {
      return pieces.find((piece) => piece.start <= at && at < piece.stop);
    }

    function fill(piece) {
      if (piece.state === "filled") return Promise.resolve();
      piece.filling ??= (async () => {
        try {
          const told = await ask(piece.start, piece.stop);
          piece.node.replaceChildren(...told.tokens.map((token, i) => span(piece.start + i, token, told.masked?.[i])));
          piece.tokens = told.tokens;
          piece.state = "filled";
          piece.node.classList.add("filled");
          warm(piece, told);
          if (piece.stop - piece.start === PIECE) perToken = piece.node.offsetHeight / PIECE || perToken;
          mark();
          empty();
        } catch (error) {
          if (error.name !== "AbortError") piece.node.replaceChildren(sae.failure(error, () => fill(piece)));
        } finally {
          piece.filling = null;
        }
      })();
      return piece.filling;
    }

    function ask(start, stop, which = now) {
      return sae.source.get(`documents/${id}/tokens`, { start, stop, colour: which }, { signal: left.signal });
    }

    function warm(piece, told) {
      if (told.colour !== now) return;
      onScale(told);
      const spans = piece.node.children;
      told.values.forEach((value, i) => {
        const heat = sae.heat(value, told.scale, told.floor);
        if (heat) spans[i].dataset.heat = heat;
        else delete spans[i].dataset.heat;
      });
    }

    function empty() {
      const filled = pieces.filter((piece) => piece.state === "filled" && !piece.isNear && piece !== pieceOf(held));
      const far = (piece) => Math.abs(piece.node.getBoundingClientRect().top);
      for (const piece of filled.sort((a, b) => far(b) - far(a)).slice(0, Math.max(0, filled.length - MOST_FILLED))) {
        piece.node.style.setProperty("--reserved", `${piece.node.offsetHeight}px`);
        piece.node.classList.remove("filled");
        piece.node.replaceChildren();
        piece.state = "empty";
      }
    }

    function span(at, token, masked) {
      const one = sae.el("span", { id: `t${at}`, role: "option", "aria-selected": "false", class: masked ? "token masked" : "token" });
      return sae.showToken(one, token);
    }

    function mark() {
      node.querySelectorAll(".at").forEach((one) => {
        one.classList.remove("at", "held");
        one.setAttribute("aria-selected", "false");
      });
      const at = held ?? shown;
      const one = at === null ? null : document.getElementById(`t${at}`);
      one?.classList.add("at");
      one?.classList.toggle("held", held !== null);
      one?.setAttribute("aria-selected", "true");
      if (one) node.setAttribute("aria-activedescendant", one.id);
      else node.removeAttribute("aria-activedescendant");
    }

    async function hold(at, { scroll = "nearest", isJump = false } = {}) {
      held = Math.max(0, Math.min(total - 1, at));
      shown = held;
      const number = pieces.indexOf(pieceOf(held));
      await Promise.all(pieces.slice(Math.max(0, number - 1), number + 2).map(fill));
      if (held !== shown) return;
      mark();
      document.getElementById(`t${held}`)?.scrollIntoView({ block: scroll, behavior: "instant" });
      onAt(held, true, isJump);
    }

    function release() {
      held = null;
      mark();
      onAt(shown, false);
    }

    /** The token a line above (-1) or below (1) the one that is shown, as near to its middle as there is. */
    function beside(direction) {
      const here = document.getElementById(`t${held ?? shown ?? 0}`)?.getBoundingClientRect();
      if (!here) return held ?? 0;
      const middle = (here.left + here.right) / 2;
      let best = null;
      let line = null;
      for (let at = (held ?? shown ?? 0) + direction; at >= 0 && at < total; at += direction) {
        const one = document.getElementById(`t${at}`);
        if (!one) return best ?? at;
        const [first] = one.getClientRects();
        const box = first || one.getBoundingClientRect();
        if (Math.abs(box.top - here.top) < here.height / 2) continue;
        line ??= box.top;
        if (Math.abs(box.top - line) > box.height / 2) break;
        const gap = Math.abs((box.left + box.right) / 2 - middle);
        if (best === null || gap < best.gap) best = { at, gap };
      }
      return best?.at ?? (held ?? 0);
    }

    /** Go to the next (1) or previous (-1) token on which the chosen feature fires. */
    async function jump(direction) {
      const asked = now;
      const from = (held ?? shown ?? (direction > 0 ? -1 : total)) + direction;
      for (let at = from; at >= 0 && at < total; at += direction * LOOKED_AT_ONCE) {
        const start = direction > 0 ? at : Math.max(0, at - LOOKED_AT_ONCE + 1);
        const stop = direction > 0 ? Math.min(total, at + LOOKED_AT_ONCE) : at + 1;
        const { values } = await ask(start, stop, asked);
        const found = direction > 0 ? values.findIndex((value) => value > 0) : values.findLastIndex((value) => value > 0);
        if (found >= 0) return hold(start + found, { scroll: "center", isJump: true });
      }
      return sae.say("It fires on no further token of this document");
    }

    node.addEventListener("pointerover", (event) => {
      const one = event.target.closest(".token");
      if (!one || held !== null || event.pointerType === "touch") return;
      shown = Number(one.id.slice(1));
      mark();
      onAt(shown, false);
    });
    node.addEventListener("click", (event) => {
      const one = event.target.closest(".token");
      if (!one || String(getSelection()).length) return;
      const at = Number(one.id.slice(1));
      if (at === held) release();
      else hold(at);
    });
    node.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const at = held ?? shown ?? -1;
      const to = { ArrowRight: () => at + 1, ArrowLeft: () => at - 1, ArrowDown: () => (at < 0 ? 0 : beside(1)), ArrowUp: () => beside(-1), Home: () => 0, End: () => total - 1, PageDown: () => at + 100, PageUp: () => at - 100 }[event.key];
      if (!to) return;
      event.preventDefault();
      hold(to());
    });

    return {
      node,
      hold,
      release,
      jump,
      get at() {
        return held;
      },
      token: (at) => pieceOf(at)?.tokens?.[at - pieceOf(at).start],
      setColour(which) {
        now = which;
        for (const piece of pieces) {
          if (piece.state === "filled") ask(piece.start, piece.stop).then((told) => warm(piece, told), () => {});
        }
      },
      leave() {
        left.abort();
        near.disconnect();
      },
    };
  };

  /** Cut [0, total) at the sections' ends and every PIECE tokens. */
  function cut(total, sections) {
    const found = [];
    const ends = [...sections].sort((a, b) => a.start - b.start);
    const runs = [];
    let done = 0;
    for (const { name, start, stop } of ends) {
      if (start > done) runs.push({ name: "", start: done, stop: start });
      if (stop > Math.max(start, done)) runs.push({ name, start: Math.max(start, done), stop });
      done = Math.max(done, stop);
    }
    if (done < total) runs.push({ name: "", start: done, stop: total });
    for (const run of runs) {
      for (let start = run.start; start < run.stop; start += PIECE) {
        found.push({ name: run.name, start, stop: Math.min(run.stop, start + PIECE), heading: (start === run.start && run.name) || null });
      }
    }
    return found;
  }
}
