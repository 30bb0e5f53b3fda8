// Where the data comes from in a page without a server: files beside it, each a script that calls staticData(name, json),
// as a page that was opened from a file may load scripts, but not read files. It answers as source-server.js does.
//
//   summary, documents, health    as the server answers
//   document-<id>                 a document's tokens, and its rows as CSR: indptr, indices, values
//   labels                        of each feature that fires in the set: label, figures
//   features-<k>                  features 256 k to 256 k + 255: what the server answers, with their strongest contexts
"use strict";
{
  const FEATURES_A_FILE = 256;
  const SMOOTHING = 0.5; // as the server has it, and
  const ONE_IN = 50;
  const waiting = new Map(); // name -> what to call with its data
  const files = new Map(); // name -> promise of its data

  globalThis.staticData = (name, data) => waiting.get(name)(data);

  function load(name) {
    if (!files.has(name)) {
      const found = new Promise((resolve, reject) => {
        waiting.set(name, resolve);
        const gone = () => reject(missing("It is not in this folder; the page shows a part of the data only."));
        document.head.append(sae.el("script", { src: `data/${name}.js`, onerror: gone }));
      });
      files.set(name, found);
    }
    return files.get(name);
  }

  function missing(message) {
    return Object.assign(new Error(message), { status: 404 });
  }

  const document_ = (id) => load(`document-${id}`);

  async function documents({ offset = 0, limit = 100, query = "" }) {
    const { documents: all } = await load("documents");
    const words = fold(query).trim();
    const found = words ? all.filter((one) => fold(`${one.preview}\n${one.shard}`).includes(words)) : all;
    return { total: found.length, documents: found.slice(offset, offset + limit) };
  }

  async function tokens(id, { start = 0, stop, colour = "l0" }) {
    const told = await document_(id);
    const total = told.tokens.length;
    const end = Math.min(stop ?? start + 512, total);
    const values = await coloured(id, told, colour);
    return {
      document: id,
      first_row: told.first_row,
      total,
      start,
      stop: end,
      tokens: told.tokens.slice(start, end),
      token_ids: told.token_ids && told.token_ids.slice(start, end),
      masked: told.masked && told.masked.slice(start, end),
      sections: told.sections,
      shard: told.shard,
      values: values.slice(start, end),
      colour,
      ...scaleOf(values, colour),
    };
  }

  /** The values between which the colour rises: for l0 and top without the extremes, one of every ONE_IN. */
  function scaleOf(values, colour) {
    const sorted = Float64Array.from(values).sort();
    const [floor, scale] = [1 / ONE_IN, 1 - 1 / ONE_IN].map((share) => sorted[Math.floor(share * (sorted.length - 1))]);
    return floor < scale && !colour.startsWith("feature:") ? { floor, scale } : { floor: 0, scale: sorted.at(-1) ?? 0 };
  }

  function coloured(id, told, colour) {
    const of = colour.startsWith("feature:") ? Number(colour.slice(8)) : null;
    return told.tokens.map((_, row) => {
      const [from, to] = [told.indptr[row] - told.indptr[0], told.indptr[row + 1] - told.indptr[0]];
      if (colour === "l0") return to - from;
      let most = 0;
      for (let at = from; at < to; at++)
        if (of === null || told.indices[at] === of) most = Math.max(most, told.values[at]);
      return most;
    });
  }

  /** Labels and figures by feature. */
  let known = null;
  async function labels() {
    if (known) return known;
    const told = await load("labels");
    const of = (name, i) => (told[name] ? told[name][i] : null);
    const all = told.index.map((index, i) => ({
      index,
      label: told.label[i],
      density: of("density", i),
      max: of("max_here", i) ?? of("max_activation", i),
      count: of("count", i),
    }));
    known = { figures_of: told.figures_of, all, by: new Map(all.map((one) => [one.index, one])) };
    return known;
  }

  async function holder(row) {
    const { documents: all } = await load("documents");
    const found = all.find((one) => one.first_row <= row && row < one.first_row + one.rows);
    if (!found) throw missing(`row ${row} is in none of the documents of this page`);
    return found.id;
  }

  async function row(number) {
    const id = await holder(number);
    const told = await document_(id);
    const position = number - told.first_row;
    const { by } = await labels();
    const active = fires(told, position, position + 1).sort((a, b) => b.sum - a.sum || a.index - b.index);
    const share = active.map(({ index, sum }) => (by.get(index)?.max ? sum / by.get(index).max : null));
    return {
      row: number,
      document: id,
      position,
      shard: told.shard,
      token: told.tokens[position],
      token_id: told.token_ids ? told.token_ids[position] : null,
      section: told.sections.find(({ start, stop }) => start <= position && position < stop)?.name ?? null,
      masked: Boolean(told.masked?.[position]),
      l0: active.length,
      active: {
        index: active.map(({ index }) => index),
        value: active.map(({ sum }) => sum),
        label: active.map(({ index }) => by.get(index)?.label ?? null),
        share,
        share_here: share,
      },
    };
  }

  /** The features that fire on the tokens [start, stop) of a document: on how many, and the sum of their values. */
  function fires(told, start, stop) {
    const found = new Map();
    for (let at = told.indptr[start] - told.indptr[0]; at < told.indptr[stop] - told.indptr[0]; at++) {
      const one = found.get(told.indices[at]) || { index: told.indices[at], sum: 0, count: 0, max: 0 };
      one.sum += told.values[at];
      one.count += 1;
      one.max = Math.max(one.max, told.values[at]);
      found.set(told.indices[at], one);
    }
    return [...found.values()];
  }

  async function feature(index) {
    const file = await load(`features-${Math.floor(index / FEATURES_A_FILE)}`).catch(() => ({}));
    if (!file[index]) throw missing(`feature ${index} fires in none of the documents of this page`);
    return file[index];
  }

  async function top(index, { limit = 20, offset = 0, distinct = "" }) {
    const told = (await feature(index))[distinct ? "distinct" : "top"];
    return { total: told.total, contexts: told.contexts.slice(offset, offset + limit) };
  }

  async function search({
    query = "",
    sort = "match",
    order = "",
    document: id = "",
    a = "",
    b = "",
    offset = 0,
    limit = 50,
  }) {
    const { all, figures_of } = await labels();
    const words = wordsOf(query);
    let found = all.map((one) => ({ ...one, marked: null, here: null, log_ratio: null, z: null }));
    if (query.trim() && !words.length) found = [];
    if (words.length) {
      found = found.map((one) => ({ ...one, marked: mark(one.label, words) })).filter((one) => one.marked);
      found.sort((one, other) => one.label.length - other.label.length || one.index - other.index);
    }
    if (id !== "") {
      const told = await document_(Number(id));
      const sums = new Map(fires(told, 0, told.tokens.length).map((one) => [one.index, one.sum]));
      found = found.filter(({ index }) => sums.has(index)).map((one) => ({ ...one, here: sums.get(one.index) }));
    }
    if (a || b) {
      const told = await contrast(a || "rest", b || "rest");
      found = found.filter(({ index }) => told.has(index)).map((one) => ({ ...one, ...told.get(one.index) }));
    }
    const byWhat = sort !== "match" ? sort : words.length ? null : id !== "" ? "here" : a || b ? "z" : "index";
    const rising = order ? order === "asc" : byWhat === "index";
    const last = (x) => (x === null || x === undefined ? -Infinity : rising ? -x : x);
    if (byWhat) found.sort((one, other) => last(other[byWhat]) - last(one[byWhat]) || one.index - other.index);
    else if (rising) found.reverse();
    return { total: found.length, figures_of, features: found.slice(offset, offset + limit) };
  }

  /** How much more each feature fires in one selection than in another: feature -> {log_ratio, z}, as the server has them. */
  async function contrast(a, b) {
    const { documents: all } = await load("documents");
    const ids = all.map((one) => one.id);
    const read = (text) =>
      new Set(
        text.split(",").flatMap((part) => {
          const range = /^\s*(\d+)(?:-(\d+))?\s*$/.exec(part);
          if (!range) throw new Error(`${text}: expected numbers and ranges of documents, such as 0-9,12`);
          return ids.filter((id) => Number(range[1]) <= id && id <= Number(range[2] ?? range[1]));
        }),
      );
    const rest = (others) => new Set(ids.filter((id) => !others.has(id)));
    const sets = [a, b].map((text) => (text.trim() === "rest" ? null : read(text)));
    if (!sets[0] && !sets[1]) throw new Error("a and b: only one of them can be the rest");
    const found = [];
    for (const i of [0, 1]) {
      const counts = new Map();
      let n = 0;
      for (const id of sets[i] ?? rest(sets[1 - i])) {
        const told = await document_(id);
        n += told.tokens.length;
        for (const { index, count } of fires(told, 0, told.tokens.length))
          counts.set(index, (counts.get(index) || 0) + count);
      }
      found.push({ counts, n });
    }
    const either = new Set(found.flatMap(({ counts }) => [...counts.keys()]));
    return new Map(
      [...either].map((index) => {
        const [ofA, ofB] = found.map(({ counts }) => (counts.get(index) || 0) + SMOOTHING);
        const ratio = Math.log(ofA / (found[0].n + 1) / (ofB / (found[1].n + 1)));
        return [index, { log_ratio: ratio / Math.LN2, z: ratio / Math.sqrt(1 / ofA + 1 / ofB) }];
      }),
    );
  }

  async function compare({ a, b, offset = 0, limit = 200 }) {
    const { by } = await labels();
    const sides = [await side(a), await side(b)];
    const values = sides.map(({ values: own }) => own);
    const indices = [...new Set([...values[0].keys(), ...values[1].keys()])];
    const found = indices.map((index) => {
      const [x, y] = values.map((own) => own.get(index) ?? 0);
      return { index, label: by.get(index)?.label ?? null, a: x, b: y, difference: x - y };
    });
    found.sort((one, other) => Math.abs(other.difference) - Math.abs(one.difference) || one.index - other.index);
    return { a: sides[0].told, b: sides[1].told, features: found.slice(offset, offset + limit), total: found.length };
  }

  async function side(text) {
    const [, kind, number] = /^(row|doc):(\d+)$/.exec(text) || [];
    if (!kind) throw new Error(`${text}: expected row:NUMBER or doc:NUMBER`);
    const id = kind === "doc" ? Number(number) : await holder(Number(number));
    const told = await document_(id);
    const position = Number(number) - told.first_row;
    const [start, stop] = kind === "doc" ? [0, told.tokens.length] : [position, position + 1];
    const values = new Map(fires(told, start, stop).map(({ index, sum }) => [index, sum / (stop - start)]));
    const title =
      kind === "doc" ? told.tokens.slice(0, 80).join("").slice(0, 160) || told.shard : told.tokens[position];
    return { told: { kind, id: Number(number), title, ...(kind === "row" ? { document: id, position } : {}) }, values };
  }

  const fold = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

  /** What is searched for: words, the beginnings of words, phrases in quotes. */
  function wordsOf(query) {
    return [...query.matchAll(/"([^"]+)"|[\p{L}\p{N}]+/gu)].map(([whole, phrase]) => phrase ?? whole);
  }

  /** The pieces of a label, [text, whether it matched]; null if a word is not in it. Neither case nor accents count. */
  function mark(label, words) {
    if (!label) return null;
    const letters = [...label];
    const plain = letters.map((letter) => fold(letter)[0] ?? " "); // one for one, so that places agree
    const text = plain.join("");
    const places = plain.flatMap((letter, i) => Array(letter.length).fill(i)).concat(letters.length);
    const isHit = letters.map(() => false);
    for (const word of words) {
      const escaped = fold(word).replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
      const found = [...text.matchAll(new RegExp(`(?<![\\p{L}\\p{N}])${escaped}[\\p{L}\\p{N}]*`, "gu"))];
      if (!found.length) return null;
      for (const { index, 0: hit } of found) isHit.fill(true, places[index], places[index + hit.length]);
    }
    const pieces = [];
    letters.forEach((letter, i) => {
      if (i && isHit[i] === isHit[i - 1]) pieces.at(-1)[0] += letter;
      else pieces.push([letter, isHit[i]]);
    });
    return pieces;
  }

  async function get(path, params = {}) {
    const [what, number, part] = path.split("/");
    const n = Number(number);
    if (what === "documents" && part === "tokens") return tokens(n, params);
    if (what === "documents") return documents(params);
    if (what === "rows") return row(n);
    if (what === "features" && part === "top") return top(n, params);
    if (what === "features") return (await feature(n)).feature;
    if (what === "search") return search(params);
    if (what === "compare") return compare(params);
    return load(what);
  }
  sae.source = { get };
}
