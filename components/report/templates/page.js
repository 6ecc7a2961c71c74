"use strict";
// What the page does with scripts: tabs, filters, figures drawn when they come into view, everything shown on paper.
// A view has an address: #study=2&prompt=3&condition=no-real-data&seed=1&chain=no-real-data, seed 1

const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const viewIn = (address) => new URLSearchParams(address.includes("=") ? address.slice(1) : "");
let view = viewIn(location.hash);

// In the frame of MLflow's viewer a page may not change its address, not even to go to a section, and links may not open.
const embedded = window.parent !== window && window.origin === "null";

function remember(name, value) {
  view.set(name, value);
  showView(`#${view}`);
  if (!embedded) location.hash = view.toString();
}

// --- tabs: a study each ---

const studies = all("[data-study]");
const tabs = all("[data-tab]");

function showStudy(number) {
  for (const study of studies) study.hidden = study.dataset.study !== number;
  for (const tab of tabs) {
    const chosen = tab.dataset.tab === number;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
  }
}

function chooseStudy(number) {
  view = new URLSearchParams();
  remember("study", number);
}

for (const [place, tab] of tabs.entries()) {
  tab.parentElement.hidden = false;
  tab.addEventListener("click", () => chooseStudy(tab.dataset.tab));
  tab.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: tabs.length - 1 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const next = tabs[(steps[event.key] + tabs.length) % tabs.length];
    next.focus();
    chooseStudy(next.dataset.tab);
  });
}

// --- filters: what has another prompt, condition, seed or chain than is chosen is not shown ---

const filters = all("form.filters");

function applyFilters(form) {
  const chosen = all("select", form).filter((select) => select.value !== "");
  for (const item of all("[data-prompt], [data-condition], [data-chain]", form.nextElementSibling)) {
    item.hidden = chosen.some(({ name, value }) => name in item.dataset && item.dataset[name] !== value);
  }
}

for (const form of filters) {
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const select of all("select", form)) {
    select.dataset.first = select.options[0].value;
    select.addEventListener("change", () => remember(select.name, select.value));
  }
}

// --- the view that the address names ---

function showView(address) {
  const anchor = document.getElementById(address.slice(1));
  if (address.includes("=")) view = viewIn(address);
  if (studies.length) {
    const around = anchor?.closest("[data-study]");
    if (around) view.set("study", around.dataset.study);
    const asked = view.get("study");
    showStudy(studies.some((study) => study.dataset.study === asked) ? asked : studies[0].dataset.study);
  }
  for (const form of filters) {
    for (const select of all("select", form)) {
      const asked = view.get(select.name) ?? select.dataset.first;
      select.value = [...select.options].some((option) => option.value === asked) ? asked : select.dataset.first;
    }
    applyFilters(form);
  }
  if (anchor) anchor.scrollIntoView();
}

window.addEventListener("hashchange", () => showView(location.hash));
showView(location.hash);

if (embedded) {
  for (const note of all(".embedded")) note.hidden = false;
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#"]');
    if (!link) return;
    event.preventDefault();
    showView(link.getAttribute("href"));
  });
}

// --- figures: pictures until they are looked at, then drawn by plotly ---

async function unpacked(element) {
  const bytes = Uint8Array.from(atob(element.textContent), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

let plotly = null;
function loadPlotly() {
  plotly ??= unpacked(document.getElementById("plotly")).then((text) => {
    const script = document.createElement("script");
    script.textContent = text;
    document.head.append(script);
  });
  return plotly;
}

const dark = matchMedia("(prefers-color-scheme: dark)");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function channels(text) {
  if (/^#[0-9a-f]{6}$/i.test(text)) return [1, 3, 5].map((place) => parseInt(text.slice(place, place + 2), 16));
  const found = /^rgb\((\d+), *(\d+), *(\d+)\)$/.exec(text);
  return found && found.slice(1).map(Number);
}

function luminance(rgb) {
  const [r, g, b] = rgb.map((value) => (value <= 10.31475 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

// A colour that was chosen for white paper, with as much white in it as it takes to be seen on this page.
function legible(text, contrast) {
  const rgb = channels(text);
  if (!rgb) return text;
  const page = luminance(channels(colour("page")));
  let mixed = rgb;
  for (let white = 0; white <= 1; white += 0.05) {
    mixed = rgb.map((value) => Math.round(value + (255 - value) * white));
    if ((luminance(mixed) + 0.05) / (page + 0.05) >= contrast) break;
  }
  return `rgb(${mixed.join(", ")})`;
}

const PAPER = new Set(["bgcolor", "paper_bgcolor", "plot_bgcolor", "backgroundcolor"]);
const RULES = new Set(["gridcolor", "zerolinecolor", "linecolor", "tickcolor", "bordercolor", "outlinecolor"]);

function darkened(value, key, within) {
  if (Array.isArray(value)) return key === "colorscale" ? value : value.map((one) => darkened(one, key, within));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, darkened(one, name, key)]));
  }
  if (typeof value !== "string") return value;
  if (PAPER.has(key)) return colour("page");
  if (RULES.has(key)) return colour("line");
  if (key === "color" || key === "fillcolor") return legible(value, /font$/.test(within) ? 10 : 3);
  return value;
}

const THREE_D = new Set(["scatter3d", "mesh3d", "surface"]);
const CONFIG = { displaylogo: false, displayModeBar: true, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d"] };
const hasWebGL = () => Boolean(document.createElement("canvas").getContext("webgl"));

async function drawFigure(figure) {
  let [data, layout] = JSON.parse(await unpacked(figure.querySelector(".numbers")));
  const threeD = data.some((trace) => THREE_D.has(trace.type));
  if (threeD && !hasWebGL()) return;
  await loadPlotly();
  if (dark.matches) [data, layout] = [darkened(data, "data", ""), darkened(layout, "layout", "")];
  if (matchMedia("(pointer: coarse)").matches && !threeD) layout.dragmode = false; // a finger scrolls
  const live = figure.querySelector(".live");
  live.hidden = false;
  figure.classList.add("drawn");
  await Plotly.react(live, data, layout, CONFIG);
  figure.dataset.drawn = dark.matches ? "dark" : "light";
  if (threeD) leaving.observe(figure);
}

// Browsers draw in three dimensions in a few places at once: out of view, the picture takes its place again.
const leaving = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting || !target.dataset.drawn) continue;
    leaving.unobserve(target);
    Plotly.purge(target.querySelector(".live"));
    target.querySelector(".live").hidden = true;
    target.classList.remove("drawn");
    delete target.dataset.drawn;
    coming.observe(target);
  }
}, { rootMargin: "1200px" });

const coming = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    coming.unobserve(target);
    drawFigure(target);
  }
}, { rootMargin: "400px" });

if ("DecompressionStream" in window) {
  for (const figure of all("figure.waiting")) coming.observe(figure);
  dark.addEventListener("change", () => all("figure[data-drawn]").forEach(drawFigure));
}

// --- paper has no tabs and nothing folded ---

let folded = [];
window.addEventListener("beforeprint", () => {
  folded = all("details:not([open])");
  for (const one of folded) one.open = true;
  for (const study of studies) study.hidden = false;
});
window.addEventListener("afterprint", () => {
  for (const one of folded) one.open = false;
  showView(`#${view}`);
});
