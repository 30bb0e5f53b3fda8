// Tabs: sae.tabs([[name, node, called when it is opened], ...]) gives {node, choose(i)}; arrow keys move between them.
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
}
