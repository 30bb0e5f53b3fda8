// The theme: light, dark, or the system's. The browser keeps it. This script is the first, so that no page flashes.
"use strict";
{
  const THEMES = ["auto", "light", "dark"];
  const kept = () => {
    try {
      return localStorage.getItem("theme") || "auto";
    } catch {
      return "auto"; // no storage for pages opened from a file, in some browsers
    }
  };
  const show = (theme) => {
    document.documentElement.dataset.theme = theme;
    const button = document.getElementById("theme-button");
    button.textContent = { auto: "◐", light: "☀", dark: "☾" }[theme];
    button.title = `Theme: ${theme}`;
    button.setAttribute("aria-label", `Theme: ${theme}. Change it`);
  };
  show(THEMES.includes(kept()) ? kept() : "auto");
  document.getElementById("theme-button").addEventListener("click", () => {
    const now = document.documentElement.dataset.theme;
    const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
    show(next);
    try {
      localStorage.setItem("theme", next);
    } catch {
      // without storage the theme holds until the page is left
    }
  });
}
