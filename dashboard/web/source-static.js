// Where the data comes from in a page without a server: files beside it, each a script that calls staticData(name, json).
// A page that was opened from a file may load scripts, but not read files. `dashboard/exported.py` says what is in them:
//
//   summary, documents, health    answers of the API
//   features                      every feature that fires here, with its label and figures: columns
//   features-<k>                  features 256 k to 256 k + 255: answers of the API, and where they fire most
//   figures-<id>                  a document as a figure, in each form
//   document-<id>                 a document's tokens, colours and rows, what fires in it, and more than in the others
//
// All figures are the server's. What is done here is to look up, to sort a list by a column, and to find text in it;
// a share is a value over the feature's largest one.
"use strict";
{
  const FEATURES_A_FILE = 256;
  const waiting = new Map(); // name -> what to call with the contents of the file
  const files = new Map(); // name -> promise of the contents
  let places = null; // feature -> its place in the columns of all features

  globalThis.staticData = (name, contents) => waiting.get(name)(contents);

  // In a page of one file the files are in it, packed.
  const packed = document.getElementById("packed");
  const unpack = async () => {
    const bytes = Uint8Array.from(atob(packed.textContent), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
  };
  const absent = () => missing("It is not in this folder; the page shows a part of the data only.");
  let unpacked = null;

  async function load(name) {
    if (!packed) return read(name);
    const all = await (unpacked ??= unpack());
    if (name in all) return all[name];
    throw absent();
  }

  function read(name) {
    if (!files.has(name)) {
      const contents = new Promise((resolve, reject) => {
        waiting.set(name, resolve);
        const onerror = () => reject(absent());
        document.head.append(sae.el("script", { src: `data/${name}.js`, onerror }));
      });
      files.set(name, contents);
    }
    return files.get(name);
  }

  function missing(message) {
    return Object.assign(new Error(message), { status: 404 });
  }

  async function documents({ offset = 0, limit = 100, query = "" }) {
    const { documents: all } = await load("documents");
    const wanted = fold(query).trim();
    const found = all.filter(({ preview, shard }) => fold(`${preview}\n${shard}`).includes(wanted));
    return { total: found.length, documents: found.slice(offset, offset + limit) };
  }

  /** The entry of a document by its address, or by its number. */
  async function named(address) {
    const { documents: all } = await load("documents");
    const found = all.find((one) => one.address === address) ?? all.find(({ id }) => String(id) === address);
    return found ?? { id: address, first_row: NaN };
  }

  async function tokens(id, { start = 0, stop = start + 512, colour = "l0" }) {
    const { tokens: all, colours, rows } = await load(`document-${id}`);
    const { values, ...scale } = colours[colour] ?? byFeature(rows, colour);
    const piece = (list) => list && list.slice(start, stop);
    return {
      ...all,
      ...scale,
      start,
      stop: Math.min(stop, all.total),
      tokens: piece(all.tokens),
      token_ids: piece(all.token_ids),
      masked: piece(all.masked),
      reasons: reasonsOf(piece(all.reasons)),
      values: piece(values),
    };
  }

  /** As the server answers for a piece: null where all of its tokens count. */
  const reasonsOf = (reasons) => (reasons?.some((reason) => reason) ? reasons : null);

  /** A feature's values as the rows have them, and the largest magnitude of the rows that count. */
  function byFeature(rows, colour) {
    const feature = Number(colour.slice("feature:".length));
    const values = rows.map(({ active }) => active.value[active.index.indexOf(feature)] ?? 0);
    const counted = values.filter((_, i) => !rows[i].reason);
    return { colour, values, floor: 0, scale: counted.reduce((most, value) => Math.max(most, Math.abs(value)), 0) };
  }

  /** The strongest value of each feature in each of `bins` equal parts of a document, and where it is. */
  async function lanes(address, { features, bins }) {
    const colours = features.split(",").map((index) => tokens(address, { stop: Infinity, colour: `feature:${index}` }));
    const all = (await Promise.all(colours)).map(({ colour, values, reasons, scale: max, total }) => {
      const lane = { feature: Number(colour.slice(8)), max, values: Array(bins).fill(0), at: Array(bins).fill(0) };
      values.forEach((value, i) => {
        const bin = Math.floor((i * bins) / total);
        if (!reasons?.[i] && Math.abs(value) > Math.abs(lane.values[bin])) [lane.values[bin], lane.at[bin]] = [value, i];
      });
      return lane;
    });
    return { bins, lanes: all };
  }

  async function holderOf(number) {
    const { documents: all } = await load("documents");
    const holder = all.find(({ first_row, rows }) => first_row <= number && number < first_row + rows);
    if (!holder) throw missing(`row ${number} is in none of the documents of this page`);
    return holder;
  }

  async function row(number) {
    const holder = await holderOf(number);
    const { rows } = await load(`document-${holder.id}`);
    const { active, ...answer } = rows[number - holder.first_row];
    const columns = await load("features");
    places ??= new Map(columns.index.map((index, place) => [index, place]));
    const of = (column) => active.index.map((index) => column[places.get(index)]);
    const shareOf = (column) => of(column).map((largest, i) => (largest ? Math.abs(active.value[i] / largest) : null));
    const [share, share_here] = [shareOf(columns.max_neuronpedia), shareOf(columns.max)];
    return { ...answer, active: { ...active, label: of(columns.label), share, share_here } };
  }

  async function feature(index) {
    const answers = await load(`features-${Math.floor(index / FEATURES_A_FILE)}`).catch(() => ({}));
    if (!answers[index]) throw missing(`feature ${index} fires in none of the documents of this page`);
    const { feature: found, ...strongest } = answers[index];
    const { counts, edges } = found.here.histogram;
    const edge = (i) => edges[0] + ((edges.at(-1) - edges[0]) * i) / counts.length;
    const histogram = { counts, edges: Array.from({ length: counts.length + 1 }, (_, i) => edge(i)) };
    return { ...strongest, feature: { ...found, here: { ...found.here, histogram } } };
  }

  async function top(index, { limit = 20, offset = 0, distinct = "", around = 12 }) {
    const { total, rows } = (await feature(index))[distinct ? "distinct" : "top"];
    const page = rows.slice(offset, offset + limit).map((number) => context(index, number, Number(around)));
    return { total, contexts: await Promise.all(page) };
  }

  /** A row with the tokens around it, as the server answers. */
  async function context(index, number, around) {
    const { id, address, first_row, rows: n } = await holderOf(number);
    const { tokens: all, rows } = await load(`document-${id}`);
    const position = number - first_row;
    const [start, stop] = [Math.max(0, position - around), Math.min(n, position + around + 1)];
    const there = rows.slice(start, stop);
    const values = there.map(({ active, reason }) => (reason ? 0 : active.value[active.index.indexOf(index)] ?? 0));
    const masked = there.some(({ reason }) => reason) ? there.map(({ reason }) => Boolean(reason)) : null;
    const at = position - start;
    return { row: number, document: id, address, position, value: values[at], tokens: all.tokens.slice(start, stop), values, masked, at };
  }

  async function search({ query = "", sort = "match", order = "", document: id = "", a = "", b = "", ...page }) {
    const { figures_of, labels_here, labels_of, max_neuronpedia, ...columns } = await load("features");
    let found = entries({ ...columns, marked: [], here: [], here_count: [], log_ratio: [], z: [] });
    const narrow = (those) => {
      const by = new Map(found.map((entry) => [entry.index, entry]));
      found = entries(those).flatMap((entry) => (by.has(entry.index) ? { ...by.get(entry.index), ...entry } : []));
    };
    const more = a || b ? await contrast(a, b) : null;
    if (more) narrow(more.columns);
    if (id !== "") narrow((await load(`document-${(await named(String(id))).id}`)).fires);
    const not = fold(query).match(/(?<!\S)-[\p{L}\p{N}]+/gu) ?? [];
    const words = fold(query).replace(/(?<!\S)-[\p{L}\p{N}]+/gu, "").match(/[\p{L}\p{N}]+/gu) ?? [];
    if (query.trim() && !words.length) found = [];
    found = found.filter(({ label }) => !not.some((word) => mark(label, [word.slice(1)])));
    if (words.length)
      found = found.map((entry) => ({ ...entry, marked: mark(entry.label, words) })).filter(({ marked }) => marked);
    const column = sort !== "match" ? sort : id !== "" ? "here" : a || b ? "z" : "index";
    const isRising = order ? order === "asc" : column === "index";
    found.sort((x, y) => compare(x[column], y[column], column, isRising) || x.index - y.index);
    const { offset = 0, limit = 50 } = page;
    const names = { a: more?.names[0] ?? null, b: more?.names[1] ?? null, labels_here, labels_of };
    return { total: found.length, ...names, figures_of, did_you_mean: null, features: found.slice(offset, offset + limit) };
  }

  /** Columns as objects: {index: [3, 5], here: [1, 2]} -> [{index: 3, here: 1}, {index: 5, here: 2}] */
  function entries(columns) {
    const names = Object.keys(columns);
    return columns.index.map((_, i) => Object.fromEntries(names.map((name) => [name, columns[name][i] ?? null])));
  }

  /** What comes first; a value that is not known comes last either way. A largest value goes by its magnitude. */
  function compare(x, y, column, isRising) {
    if (x === null || y === null) return (x === null) - (y === null);
    const [one, other] = column === "max" ? [Math.abs(x), Math.abs(y)] : [x, y];
    return isRising ? one - other : other - one;
  }

  /** What fires more in one document than in the others of this page: no other selections were counted. */
  async function contrast(a, b) {
    const { id } = await named(a);
    const file = id === a ? null : await load(`document-${id}`);
    if (file && !file.contrast) throw missing("There is no other document in this page.");
    if (file && ["", "rest", file.contrast.b, file.contrast.names[1]].includes(b)) {
      const { b: others, names, ...columns } = file.contrast;
      return { names: [names[0], b === others ? names[1] : b || "rest"], columns };
    }
    throw missing("This page knows what fires more in one of its documents than in its others. More needs sae-dashboard.");
  }

  const fold = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

  /** The pieces of a label, [text, whether it matched]; null unless each of the words begins a word of it. */
  function mark(label, words) {
    const plain = [...(label ?? "")].map((letter) => fold(letter)[0] ?? " "); // one for one, so that places agree
    const isHit = plain.map(() => false);
    for (const word of words) {
      const hits = [...plain.join("").matchAll(new RegExp(`(?<![\\p{L}\\p{N}])${word}[\\p{L}\\p{N}]*`, "gu"))];
      if (!hits.length) return null;
      for (const { index, 0: hit } of hits) isHit.fill(true, index, index + hit.length);
    }
    const pieces = [];
    [...label].forEach((letter, i) => {
      if (i && isHit[i] === isHit[i - 1]) pieces.at(-1)[0] += letter;
      else pieces.push([letter, isHit[i]]);
    });
    return pieces;
  }

  /** A document's figure, as the server drew it; other figures are made when they are asked for. */
  async function figure({ of, document, colour, format, start }) {
    const made = of === "document" && !start && (await load(`figures-${(await named(document)).id}`))[colour];
    if (made) return made[format];
    throw missing("This page has figures of documents, coloured by L0 or by the strongest feature. More needs sae-dashboard.");
  }

  async function get(path, params = {}) {
    const [what, number, part] = path.split("/");
    const n = Number(number);
    if (what === "documents" && part) {
      const { id, first_row } = await named(decodeURIComponent(number));
      if (part === "lanes") return lanes(id, params);
      return part === "row" ? row(first_row + Number(params.at)) : tokens(id, params);
    }
    if (what === "documents") return documents(params);
    if (what === "figure") return figure(params);
    if (what === "rows") return row(n);
    if (what === "features" && part === "top") return top(n, params);
    if (what === "features") return (await feature(n)).feature;
    if (what === "search") return search(params);
    if (what === "compare") throw missing("Tokens and documents are compared by the server: sae-dashboard.");
    return load(what);
  }
  sae.source = { get, isStatic: true };
}
