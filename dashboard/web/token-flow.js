// A document's text: tokens, each on its heat, in a scroller. The text is made of pieces of PIECE tokens. A piece is fetched
// when it comes near the window and emptied when it is far away, so a document of a million tokens scrolls like a short one.
// A filled piece is inline, so that the text runs on from piece to piece; an empty one is a block of about its height.
//
//   piece    tokens [start, stop), never across the end of a section (prompt, response)
//   shown    the token under the pointer
//   held     the token that was clicked or moved to by keys; it stays when the pointer moves on
"use strict";
{
  const PIECE = 512;
  const NEAR = "1500px 0px";
  const MOST_FILLED = 20; // pieces; further ones are emptied, the furthest first
  const LOOKED_AT_ONCE = 4096; // tokens, when looking for where a feature fires next
  const PX_A_TOKEN = 2.2; // of height, for a piece that has not been there yet
  const STYLED = ["prompt", "response"]; // sections have any names; only these are classes

  /**
   * `below` is the document's address below api/. `onAt(at, isHeld, isJump)` is called at each move, `onScale({floor, scale})` with the colour's scale,
   * `onRemark(text)` with a message for the person who reads.
   */
  sae.tokenFlow = ({ below, total, sections, colour, onAt, onScale, onRemark }) => {
    const node = sae.el("div", {
      class: "flow",
      role: "listbox",
      tabindex: "0",
      "aria-label": "Tokens of the document",
      "aria-describedby": "flow-help",
    });
    const pieces = cut(total, sections).map((piece) => ({ ...piece, state: "empty", node: frame(piece) }));
    let now = colour;
    let held = null;
    let shown = null;
    const left = new AbortController();
    const near = new IntersectionObserver(
      (entries) => {
        for (const { target, isIntersecting } of entries) {
          target.piece.isNear = isIntersecting;
          if (isIntersecting) fill(target.piece);
        }
      },
      { root: node, rootMargin: NEAR },
    );
    for (const piece of pieces) {
      piece.node.piece = piece;
      if (piece.isFirst) node.append(stretch(piece.name));
      node.lastChild.append(piece.node);
      near.observe(piece.node);
    }

    const pieceOf = (at) => pieces.find((piece) => piece.start <= at && at < piece.stop);
    const span = (at) => document.getElementById(`t${at}`);
    /** Tokens, and their values in a layer for each pin; in one for another colour. */
    const ask = async (start, stop, asked = now) => {
      const pins = sae.pinsOf(asked);
      const colours = pins.length ? pins.map((index) => `feature:${index}`) : [asked];
      const layers = await Promise.all(
        colours.map((colour) => sae.source.get(`${below}/tokens`, { start, stop, colour }, { signal: left.signal })),
      );
      return { ...layers[0], colour: asked, layers };
    };

    function fill(piece) {
      if (piece.state === "filled") return Promise.resolve();
      piece.filling ??= (async () => {
        try {
          const answer = await ask(piece.start, piece.stop);
          const made = answer.tokens.flatMap((token, i) => make(piece.start + i, token, answer.reasons?.[i]));
          piece.node.replaceChildren(...made);
          piece.state = "filled";
          piece.node.classList.add("filled");
          if (answer.colour === now) warm(piece, answer);
          else colourAgain(piece);
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

    function make(at, token, reason) {
      const made = sae.el("span", {
        id: `t${at}`,
        role: "option",
        "aria-selected": "false",
        "aria-posinset": at + 1,
        "aria-setsize": total,
        class: reason ? "token masked" : "token",
        title: reason && sae.reason(reason),
      });
      return sae.inText(made, token);
    }

    function warm(piece, answer) {
      if (answer.colour !== now || piece.state !== "filled") return; // a later colour, or a piece that was let go
      onScale(answer);
      const spans = piece.node.children;
      const isPinned = sae.pinsOf(now).length > 0;
      answer.values.forEach((value, i) => {
        if (answer.reasons?.[i]) return;
        if (isPinned) return sae.pin(spans[i], answer.layers, i);
        if (spans[i].dataset.pin) sae.unpin(spans[i]);
        sae.warm(spans[i], value, answer.scale, answer.floor);
      });
    }

    async function colourAgain(piece) {
      try {
        warm(piece, await ask(piece.start, piece.stop));
      } catch (error) {
        if (error.name !== "AbortError") onRemark(error.message);
      }
    }

    let isWhole = false;
    node.whole = async (is) => {
      isWhole = is;
      if (is) for (const piece of pieces) if (piece.stop <= sae.MOST_PRINTED) await fill(piece);
      empty();
    };

    /** Empty the pieces that are furthest away, if too many are filled. */
    function empty() {
      if (isWhole) return;
      const heldPiece = pieceOf(held);
      const filled = pieces.filter((piece) => piece.state === "filled" && !piece.isNear && piece !== heldPiece);
      const far = (piece) => Math.abs(piece.node.getBoundingClientRect().top);
      const surplus = Math.max(0, filled.length - MOST_FILLED);
      for (const piece of filled.sort((a, b) => far(b) - far(a)).slice(0, surplus)) {
        piece.node.style.setProperty("--reserved", `${piece.node.offsetHeight}px`);
        piece.node.classList.remove("filled");
        piece.node.replaceChildren();
        piece.state = "empty";
      }
    }

    function mark() {
      for (const token of node.querySelectorAll(".at")) {
        token.classList.remove("at", "held");
        token.setAttribute("aria-selected", "false");
      }
      node.removeAttribute("aria-activedescendant");
      const token = span(held ?? shown);
      token?.classList.add("at");
      if (held === null || !token) return;
      token.classList.add("held");
      token.setAttribute("aria-selected", "true");
      node.setAttribute("aria-activedescendant", token.id);
    }

    async function hold(at, { scroll = "nearest", isJump = false } = {}) {
      if (!total) return;
      held = Math.max(0, Math.min(total - 1, at));
      shown = held;
      const wanted = held;
      const number = pieces.indexOf(pieceOf(held));
      await Promise.all(pieces.slice(Math.max(0, number - 1), number + 2).map(fill));
      if (held !== wanted) return;
      mark();
      span(held)?.scrollIntoView({ block: scroll, behavior: "instant" });
      onAt(held, true, isJump);
    }

    function release() {
      held = null;
      mark();
      onAt(shown, false, false);
    }

    /** The token in the line above (-1) or below (1) whose middle is nearest to the middle of the present token. */
    function beside(direction) {
      const from = held ?? shown ?? 0;
      const here = span(from)?.getBoundingClientRect();
      if (!here) return from;
      const middle = (here.left + here.right) / 2;
      let best = null;
      let line = null;
      for (let at = from + direction; at >= 0 && at < total; at += direction) {
        const token = span(at);
        if (!token) return best?.at ?? at;
        const box = token.getClientRects()[0] || token.getBoundingClientRect();
        if (Math.abs(box.top - here.top) < here.height / 2) continue;
        line ??= box.top;
        if (Math.abs(box.top - line) > box.height / 2) break;
        const gap = Math.abs((box.left + box.right) / 2 - middle);
        if (best === null || gap < best.gap) best = { at, gap };
      }
      return best?.at ?? from;
    }

    /** Go to the next (1) or previous (-1) token on which a pin fires: any, or the feature `index`. */
    async function jump(direction, index) {
      const colour = now;
      const from = (held ?? shown ?? (direction > 0 ? -1 : total)) + direction;
      try {
        for (let at = from; at >= 0 && at < total && colour === now; at += direction * LOOKED_AT_ONCE) {
          const start = direction > 0 ? at : Math.max(0, at - LOOKED_AT_ONCE + 1);
          const stop = direction > 0 ? Math.min(total, at + LOOKED_AT_ONCE) : at + 1;
          const { values, reasons, layers } = await ask(start, stop, index === undefined ? now : `feature:${index}`);
          const fires = (_, i) => layers.some((layer) => layer.values[i] !== 0) && !reasons?.[i];
          const found = direction > 0 ? values.findIndex(fires) : values.findLastIndex(fires);
          if (found >= 0) {
            onRemark("");
            await hold(start + found, { scroll: "center", isJump: true });
            return;
          }
        }
        onRemark(direction > 0 ? "fires on no later token" : "fires on no earlier token");
      } catch (error) {
        if (error.name !== "AbortError") onRemark(error.message);
      }
    }

    node.addEventListener("pointerover", (event) => {
      const token = event.target.closest(".token");
      if (!token || held !== null || event.pointerType === "touch") return;
      shown = Number(token.id.slice(1));
      mark();
      onAt(shown, false, false);
    });
    node.addEventListener("click", (event) => {
      const token = event.target.closest(".token");
      if (!token || String(getSelection()).length) return;
      const at = Number(token.id.slice(1));
      if (at === held) release();
      else hold(at);
    });
    node.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const at = held ?? shown ?? -1;
      const moves = {
        ArrowRight: () => at + 1,
        ArrowLeft: () => at - 1,
        ArrowDown: () => (at < 0 ? 0 : beside(1)),
        ArrowUp: () => beside(-1),
        Home: () => 0,
        End: () => total - 1,
        PageDown: () => at + 100,
        PageUp: () => at - 100,
      };
      if (!moves[event.key]) return;
      event.preventDefault();
      hold(moves[event.key]());
    });

    return {
      node,
      hold,
      release,
      jump,
      get at() {
        return held;
      },
      setColour(which) {
        now = which;
        for (const piece of pieces) if (piece.state === "filled") colourAgain(piece);
      },
      leave() {
        left.abort();
        near.disconnect();
      },
    };
  };

  /** What holds the pieces of a section. */
  const stretch = (name) =>
    sae.el("div", { class: `stretch ${STYLED.includes(name) ? name : ""}`, "data-heading": name || null });

  function frame({ name, start, stop }) {
    return sae.el("div", {
      class: "piece",
      role: "group",
      "aria-label": `${name || "tokens"} ${start} to ${stop - 1}`,
      "data-at": sae.count(start),
      "--reserved": `${Math.ceil((stop - start) * PX_A_TOKEN)}px`,
    });
  }

  /** Cut [0, total) where sections begin and end, and every PIECE tokens; of nested sections the inner section names it. */
  function cut(total, sections) {
    const edges = [...new Set([0, total, ...sections.flatMap(({ start, stop }) => [start, stop])])].sort(
      (a, b) => a - b,
    );
    const found = [];
    for (let i = 0; i + 1 < edges.length; i++) {
      const [first, last] = [edges[i], edges[i + 1]];
      const around = sections.filter(({ start, stop }) => start <= first && last <= stop);
      const name = around.reduce((inner, section) => (inner && inner.start > section.start ? inner : section), null)?.name ?? "";
      const isNew = found.at(-1)?.name !== name;
      for (let start = first; start < last; start += PIECE) {
        found.push({ name, start, stop: Math.min(last, start + PIECE), isFirst: isNew && start === first });
      }
    }
    return found;
  }
}
