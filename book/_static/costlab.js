// The little that the page needs of JavaScript. Every page reads well without it.
"use strict";

const root = document.documentElement;
const systemDark = matchMedia("(prefers-color-scheme: dark)");

function remember(mode) {
  try { localStorage.setItem("costlab-theme", mode); } catch (error) { /* a private window */ }
}

function remembered() {
  try { return localStorage.getItem("costlab-theme") || "auto"; } catch (error) { return "auto"; }
}

// Light and dark. Choosing what the system has anyway means: follow the system again.
document.getElementById("theme").addEventListener("click", () => {
  const next = root.dataset.theme === "dark" ? "light" : "dark";
  root.dataset.theme = next;
  remember(next === (systemDark.matches ? "dark" : "light") ? "auto" : next);
});
systemDark.addEventListener("change", () => {
  if (remembered() === "auto") root.dataset.theme = systemDark.matches ? "dark" : "light";
});

// The contents on a phone.
const menu = document.getElementById("menu");
function openMenu(open) {
  menu.setAttribute("aria-expanded", String(open));
  root.classList.toggle("menu-open", open);
}
menu.addEventListener("click", () => openMenu(menu.getAttribute("aria-expanded") !== "true"));
document.getElementById("contents").addEventListener("click", (event) => {
  if (event.target.closest("a")) openMenu(false);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && root.classList.contains("menu-open")) { openMenu(false); menu.focus(); }
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    openMenu(true);
    document.getElementById("search-field").focus();
  }
});
const query = new URLSearchParams(location.search).get("q");
if (query) document.getElementById("search-field").value = query;

// Copy buttons on code cells.
for (const block of document.querySelectorAll(".cell_input div.highlight, article > section div[class*=highlight-] div.highlight")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy this code");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(block.querySelector("pre").textContent.trimEnd());
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  block.append(button);
}

// What scrolls sideways can be reached and scrolled with the keyboard.
function markScrollable(element, wide) {
  if (wide) {
    element.tabIndex = 0;
    element.setAttribute("role", "group");
    element.setAttribute("aria-label", element.matches("pre") ? "Code, scrolls sideways" : "Scrolls sideways");
  } else {
    for (const name of ["tabindex", "role", "aria-label"]) element.removeAttribute(name);
  }
}
const watcher = new ResizeObserver((entries) => {
  const wide = entries.map(({ target }) => target.scrollWidth > target.clientWidth + 1); // all reading before any writing
  entries.forEach(({ target }, at) => markScrollable(target, wide[at]));
});
for (const element of document.querySelectorAll("pre, .table-frame, div.math, .output.text_html")) watcher.observe(element);

// On paper every folded answer is open; afterwards the page is as it was.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const one of opened) one.open = true;
});
addEventListener("afterprint", () => { for (const one of opened) one.open = false; });
