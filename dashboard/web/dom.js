// Elements, numbers, addresses. Other people's text gets into the page here and nowhere else, and only as text.
"use strict";
const sae = {};
{
  /** Make an element: el("a", {class: "x", href, onclick}, child, "text", ...). Nothing is ever parsed as HTML. */
  sae.el = (name, properties = {}, ...children) => fill(document.createElement(name), properties, children);

  /** The same for SVG. */
  sae.svg = (name, properties = {}, ...children) =>
    fill(document.createElementNS("http://www.w3.org/2000/svg", name), properties, children);

  function fill(node, properties, children) {
    for (const [key, value] of Object.entries(properties)) {
      if (value === null || value === undefined || value === false) continue;
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (key.startsWith("--")) node.style.setProperty(key, value);
      else node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
    return node;
  }

  const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

  /** 16384 -> "16,384" */
  sae.count = (n) => (n === null || n === undefined ? "–" : whole.format(n));

  /** A value to three significant digits or so: 0.0312, 3.12, 31.2, 312 */
  sae.figure = (x) => {
    if (x === null || x === undefined) return "–";
    const size = Math.abs(x);
    if (size >= 1000) return whole.format(x);
    if (size >= 100) return x.toFixed(0);
    if (size >= 10) return x.toFixed(1);
    if (size >= 0.01 || x === 0) return x.toFixed(size >= 1 || x === 0 ? 2 : 3);
    return x.toExponential(1);
  };

  /** A share as percent: 0.00012 -> "0.012 %", -31.4 -> "−3,140 %" */
  sae.percent = (x) => {
    if (x === null || x === undefined) return "–";
    const percent = 100 * Math.abs(x);
    const sign = x < 0 ? "−" : "";
    if (percent > 0 && percent < 1e-4) return `${sign}< 0.0001 %`;
    return `${sign}${percent >= 10 || percent === 0 ? whole.format(percent) : percent.toPrecision(2)} %`;
  };

  /** How fast something goes on and how long it will take: "31 features a second, 9 min left", "" if it is not known. */
  sae.pace = ({ per_s, left_s }, what) => {
    if (!per_s) return "";
    const [n, unit] = per_s >= 1 ? [per_s, "second"] : per_s * 60 >= 1 ? [per_s * 60, "minute"] : [per_s * 3600, "hour"];
    return `${n >= 10 ? sae.count(n) : sae.figure(n)} ${what} a ${unit}, about ${sae.duration(left_s)} left`;
  };

  /** 671 -> "11 min" */
  sae.duration = (seconds) => {
    if (seconds < 100) return `${Math.round(seconds)} s`;
    return seconds < 6000 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
  };

  sae.plural = (n, singular, plural) => `${sae.count(n)} ${n === 1 ? singular : plural || `${singular}s`}`;

  /** An address within the page: link(["documents", 3], {at: 17}) -> "#/documents/3?at=17" */
  sae.link = (path, params = {}) => {
    const kept = Object.entries(params).filter(([, value]) => value !== null && value !== undefined && value !== "");
    const plain = (text) => encodeURIComponent(text).replace(/%(3A|2C|40)/g, decodeURIComponent);
    const query = kept.map(([key, value]) => `${key}=${plain(value)}`);
    return `#/${path.map(plain).join("/")}${query.length ? `?${query.join("&")}` : ""}`;
  };

  /** The name of the SAE that the address asks for, "" for the first; and the address of the same view for another. */
  sae.shownSae = () => new URLSearchParams(location.search).get("sae") ?? "";
  sae.forSae = (name, hash = location.hash) => `?sae=${encodeURIComponent(name)}${hash}`;

  /** Call `work` when `wait_ms` have passed without another call. */
  sae.later = (work, wait_ms) => {
    let timer = 0;
    return (...values) => {
      clearTimeout(timer);
      timer = setTimeout(() => work(...values), wait_ms);
    };
  };

  /** What this browser keeps by a name, null for nothing; some have no storage for pages that are files. */
  sae.kept = (name) => {
    try {
      return localStorage.getItem(name);
    } catch {
      return null;
    }
  };
  sae.keep = (name, value) => {
    try {
      localStorage.setItem(name, value);
    } catch {
      // then it holds until the page is left
    }
  };

  /** Have a text read out by a screen reader. */
  sae.say = (text) => {
    document.getElementById("said").textContent = text;
  };

  /** A command with a button that copies it. */
  sae.command = (text) => {
    const button = sae.el("button", { class: "quiet", type: "button", "aria-label": `Copy: ${text}` }, "Copy");
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
        setTimeout(() => (button.textContent = "Copy"), 1500);
      } catch {
        getSelection().selectAllChildren(button.previousSibling); // without a clipboard a person copies by hand
      }
    });
    return sae.el("span", { class: "command" }, sae.el("code", {}, text), button);
  };

  /** What a view shows where there is no data; `commands` bring the data. */
  sae.empty = (title, text, ...commands) =>
    sae.el(
      "div",
      { class: "empty" },
      sae.el("h2", {}, title),
      text && sae.el("p", {}, ...[text].flat()),
      ...commands.filter(Boolean).map((command) => sae.el("p", {}, sae.command(command))),
    );

  /** An error of the server. A command in its message can be copied. */
  sae.failure = (error, again) => {
    const command = / (sae-encode index .+|saefetch download.*)$/.exec(error.message);
    return sae.el(
      "div",
      { class: "empty", role: "alert" },
      sae.el("p", {}, command ? error.message.slice(0, command.index) : error.message),
      command && sae.el("p", {}, sae.command(command[1])),
      again && sae.el("button", { type: "button", onclick: again }, "Try again"),
    );
  };

  /** A choice among [value, text]. */
  sae.select = (label, options, chosen, properties = {}) =>
    sae.el(
      "select",
      { "aria-label": label, ...properties },
      ...options.map(([value, text]) => sae.el("option", { value, selected: value === chosen }, text)),
    );

  /** A view that fills the window: a head, and below it parts that scroll by themselves. */
  sae.filling = (head, ...below) =>
    sae.el("section", { class: "view filling" }, sae.el("div", { class: "head" }, ...head), ...below);

  /** A heading that gets the focus when its view is opened. */
  sae.heading = (...children) => sae.el("h1", { tabindex: "-1" }, ...children);
}
