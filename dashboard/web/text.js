// How tokens and labels are shown. A character that cannot be seen gets a sign. No text can change the order of others.
"use strict";
{
  const SIGNS = {
    "\n": "↵",
    "\r": "␍",
    "\t": "⇥",
    "\u00a0": "⍽",
    "\u3000": "⍽",
    "\u200b": "∅",
    "\ufeff": "∅",
    "\u00ad": "-",
  };
  // Controls, spaces other than the usual one, marks that only change their neighbours, halves of characters. Joiners and
  // variants of emoji are left alone inside a text.
  const UNSEEN =
    /[\u0000-\u001f\u007f-\u00a0\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u2000-\u200c\u200e\u200f\u2028-\u202f\u205f-\u2069\u3000\u3164\ufeff\uffa0\ud800-\udfff]/u;
  const JOINERS = /^[\u200d\ufe0e\ufe0f]*$/;
  const NAMES =
    "s|bos|eos|pad|unk|mask|cls|sep|start_of_turn|end_of_turn|start_of_image|end_of_image|eod|eop|extra_id_\\d+|unused\\d+";
  const SPECIAL = new RegExp(`^(<\\|.*\\|>|</?(?:${NAMES})>|\\[(?:CLS|SEP|PAD|UNK|MASK|BOS|EOS|unused\\d+)\\])$`);

  /** The parts of a token: [text, kind]. The kinds: "" for text, "sign" for what cannot be seen, "break" for a new line. */
  function parts(token) {
    if (JOINERS.test(token)) return [[token ? "∅" : "·", "sign"]];
    // Some files keep tokens as tokenizers spell them: with ▁ or Ġ for a space, Ċ for a new line.
    const text = token.replace(/^[▁ĠĊ]+/, (all) => all.replace(/[▁Ġ]/g, " ").replace(/Ċ/g, "\n"));
    if (/^ +$/.test(text)) return [["␣".repeat(Math.min(text.length, 8)), "sign"]];
    const found = [];
    let plain = "";
    for (const character of text) {
      if (!UNSEEN.test(character)) {
        plain += character;
        continue;
      }
      if (plain) found.push([plain, ""]);
      plain = "";
      found.push([SIGNS[character] || `\\u${character.codePointAt(0).toString(16).padStart(4, "0")}`, "sign"]);
      if (character === "\n") found.push(["\n", "break"]);
    }
    if (plain) found.push([plain, ""]);
    return found;
  }

  /** Put a token's parts into `node`; without breaks where there is room for one line. */
  sae.showToken = (node, token, { breaks = true } = {}) => {
    if (SPECIAL.test(token)) node.classList.add("special");
    for (const [text, kind] of parts(token)) {
      if (kind === "break" && !breaks) continue;
      node.append(kind === "sign" ? sae.el("i", {}, text) : text);
    }
    return node;
  };

  /** A token within a text: its node, and around it the space before and the line break after, where no heat belongs. */
  sae.inText = (node, token, options) => {
    const { firstChild: first, lastChild: last } = sae.showToken(node, token, options);
    const [space] = /^ */.exec(first?.data ?? "");
    if (space) first.data = first.data.slice(space.length);
    return [space, node, last?.data === "\n" && last].filter(Boolean);
  };

  /** A label, or the words that stand for a missing label. */
  sae.label = (text) =>
    text === null || text === undefined
      ? sae.el("span", { class: "label muted" }, "no label")
      : sae.el("bdi", { class: "label" }, seen(text));

  /** A label in which the words of a search are marked: pieces of [text, whether it matched]. */
  sae.marked = (pieces) =>
    sae.el(
      "bdi",
      { class: "label" },
      ...pieces.map(([text, is]) => (is ? sae.el("mark", {}, seen(text)) : seen(text))),
    );

  function seen(text) {
    return text.replace(/\s+/g, " ").replace(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, "\ufffd");
  }

  /** Put a token on its heat. A negative value has a colour of its own. */
  sae.warm = (node, value, scale, floor = 0) => {
    const heat = sae.heat(Math.abs(value), scale, floor);
    if (heat) node.dataset.heat = heat;
    else delete node.dataset.heat;
    if (heat && value < 0) node.dataset.sign = "minus";
    else delete node.dataset.sign;
  };

  const REASONS = {
    mask: "the data mark it as padding",
    token: "tokens with its id are left out",
    first: "the first tokens of a document are left out",
    norm: "its norm is far above the others'",
  };

  /** Why a token does not count, in words. */
  sae.reason = (name) => `does not count: ${REASONS[name]}`;

  /** How many rows do not count, and why: {mask: 3, first: 2, ...} -> "5 do not count (mask 3, first 2)", "" for none. */
  sae.excluded = (counts) => {
    const reasons = Object.entries(counts).filter(([, n]) => n > 0);
    const total = reasons.reduce((sum, [, n]) => sum + n, 0);
    const words = reasons.map(([name, n]) => `${name} ${sae.count(n)}`).join(", ");
    return total ? `${sae.count(total)} ${total === 1 ? "does" : "do"} not count (${words})` : "";
  };

  /** The level of heat, 0 to 10, of a value between `floor` and `scale`. A value above `floor` has at least 1. */
  sae.heat = (value, scale, floor = 0) => {
    const share = (value - floor) / (scale - floor);
    return share > 0 ? Math.max(1, Math.min(10, Math.round(10 * share))) : 0;
  };
}
