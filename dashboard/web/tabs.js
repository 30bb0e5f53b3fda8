// The parts of a window: tabs, and a bar that divides it. sae.tabs([[name, node, called when it is opened], ...]) gives {node, choose(i)}; arrow keys move between them.
"use strict";
{
  sae.tabs = (label, all) => {
    const buttons = all.map(([name], i) =>
      sae.el(
        "button",
        { type: "button", role: "tab", id: `tab-${i}`, "aria-controls": `tabpanel-${i}`, onclick: () => choose(i) },
        name,
      ),
    );
    const bodies = all.map(([, body], i) =>
      sae.el("div", { role: "tabpanel", id: `tabpanel-${i}`, "aria-labelledby": `tab-${i}`, class: "tabpanel" }, body),
    );
    function choose(chosen) {
      all.forEach(([, , opened], i) => {
        buttons[i].setAttribute("aria-selected", String(i === chosen));
        buttons[i].tabIndex = i === chosen ? 0 : -1;
        bodies[i].hidden = i !== chosen;
        if (i === chosen) opened?.();
      });
    }
    const list = sae.el("div", { role: "tablist", "aria-label": label }, ...buttons);
    list.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.stopPropagation();
      const next = (buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length;
      choose(next);
      buttons[next].focus();
    });
    choose(0);
    return { node: sae.el("div", { class: "tabs" }, list, ...bodies), choose };
  };

  const LEAST = 15;
  const MOST = 80;
  const narrow = matchMedia("(max-width: 900px)");

  /** The bar between a text and the panel that comes after it: beside the text, or below it where the window is narrow. */
  sae.splitter = () => {
    const bar = sae.el("div", {
      class: "splitter",
      role: "separator",
      tabindex: "0",
      "aria-label": "Size of the panel",
      "aria-valuemin": LEAST,
      "aria-valuemax": MOST,
    });
    const name = () => (narrow.matches ? "sheet" : "panel");
    function resize(share) {
      const percent = Math.round(Math.max(LEAST, Math.min(MOST, share)));
      bar.parentNode?.style.setProperty("--share", `${percent}%`);
      bar.setAttribute("aria-valuenow", percent);
      bar.setAttribute("aria-orientation", narrow.matches ? "horizontal" : "vertical");
      return percent;
    }
    const start = () => resize(Number(sae.kept(name())) || (narrow.matches ? 38 : 40));
    bar.addEventListener("pointerdown", (event) => bar.setPointerCapture(event.pointerId));
    bar.addEventListener("pointermove", (event) => {
      if (!bar.hasPointerCapture(event.pointerId)) return;
      const box = bar.parentNode.getBoundingClientRect();
      const rest = narrow.matches ? (box.bottom - event.clientY) / box.height : (box.right - event.clientX) / box.width;
      sae.keep(name(), resize(100 * rest));
    });
    bar.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: 4, ArrowUp: 4, ArrowRight: -4, ArrowDown: -4, Home: -100, End: 100 }[event.key];
      if (!step) return;
      event.preventDefault();
      sae.keep(name(), resize(Number(bar.getAttribute("aria-valuenow")) + step));
    });
    narrow.addEventListener("change", start);
    new ResizeObserver(start).observe(bar); // as soon as it is in the page
    return bar;
  };
}
