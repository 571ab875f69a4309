// What the pages cannot do by themselves: charts, ageing times, shortcuts, and whether they are live.
"use strict";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Seconds to the words of the server (`fleet_server.console.show.ago`).
function ago(seconds) {
  if (seconds < 0) return "just now";
  const [size, unit] = seconds < 60 ? [1, "s"] : seconds < 3600 ? [60, "min"] : seconds < 172800 ? [3600, "h"] : [86400, "days"];
  return `${Math.floor(seconds / size)} ${unit} ago`;
}

// The server's clock counts: the page says what time it was when it was made.
let offset = 0;
function setOffset() {
  const made = document.querySelector("[data-now]");
  if (made) offset = Number(made.dataset.now) - Date.now() / 1000;
}

function ageTimes() {
  const now = Date.now() / 1000 + offset;
  for (const element of document.querySelectorAll("time[data-at]")) {
    const text = ago(now - Number(element.dataset.at));
    if (element.textContent !== text) element.textContent = text;
  }
}

// Baseline band and bundle changes under the line.
function drawGround(chart, data) {
  const { ctx, bbox } = chart;
  ctx.save();
  if (data.low !== null && data.high !== null) {
    const top = Math.max(chart.valToPos(data.high, "y", true), bbox.top);
    const bottom = Math.min(chart.valToPos(data.low, "y", true), bbox.top + bbox.height);
    ctx.fillStyle = colour("--band");
    ctx.fillRect(bbox.left, top, bbox.width, Math.max(bottom - top, 1));
  }
  ctx.strokeStyle = colour("--line-strong");
  ctx.setLineDash([4, 4]);
  for (const mark of data.marks) {
    const x = chart.valToPos(mark, "x", true);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}

// The time of day in UTC; seconds only where they are not zero.
function clock(seconds) {
  const text = new Date(seconds * 1000).toISOString();
  return text.slice(11, text.slice(17, 19) === "00" ? 16 : 19);
}

function axis(extra) {
  const line = { stroke: colour("--line"), width: 1 };
  return { stroke: colour("--muted"), grid: line, ticks: { ...line, size: 4 }, font: "12px system-ui, sans-serif", ...extra };
}

function yRange(data) {
  return (_chart, low, high) => {
    const ends = [low, high, data.low, data.high].filter((value) => value !== null && Number.isFinite(value));
    if (!ends.length) return [0, 1];
    const least = Math.min(...ends), most = Math.max(...ends);
    const pad = (most - least) * 0.08 || Math.abs(most) * 0.05 || 0.5;
    return [least >= 0 ? Math.max(least - pad, 0) : least - pad, most + pad];
  };
}

function drawChart(host) {
  const data = JSON.parse(host.dataset.chart);
  host.replaceChildren();
  const options = {
    width: Math.max(host.clientWidth, 160),
    height: 150,
    legend: { show: false },
    cursor: { show: false },
    scales: { x: { time: true }, y: { range: yRange(data) } },
    axes: [axis({ space: 64, size: 30, values: (_chart, ticks) => ticks.map(clock) }), axis({ size: 52, space: 32 })],
    series: [{}, { stroke: colour("--info-fill"), width: 2, points: { show: data.x.length < 3 } }],
    hooks: { drawClear: [(chart) => drawGround(chart, data)] },
  };
  new uPlot(options, [data.x, data.y], host);
}

function drawCharts(root) {
  if (typeof uPlot === "undefined") return;
  for (const host of root.querySelectorAll("[data-chart]")) drawChart(host);
}

let connection = "";
function say(text) {
  const state = document.getElementById("link-state");
  if (state) state.textContent = text;
}

function onKey(event) {
  const typing = event.target.closest("input, textarea, select");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const target = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
  if (target) {
    event.preventDefault();
    target.click();
  }
}

document.addEventListener("keydown", onKey);
// A live page is replaced under the reader's hands: what they had focused, opened or scrolled stays.
const focusName = (element) => element.id || `${element.tagName} ${element.getAttribute("href")} ${element.textContent}`;
let held = null;
function hold() {
  const live = document.getElementById("live");
  const active = document.activeElement;
  held = {
    focus: live?.contains(active) ? focusName(active) : "",
    open: [...document.querySelectorAll("details[open]")].map((details) => details.id),
    scrolled: [...document.querySelectorAll(".scroll")].map((box) => [box.getAttribute("aria-label"), box.scrollLeft]),
  };
}

function restore() {
  if (!held) return;
  for (const id of held.open) document.getElementById(id)?.setAttribute("open", "");
  const boxes = [...document.querySelectorAll(".scroll")];
  for (const [label, left] of held.scrolled) {
    const box = left && boxes.find((box) => box.getAttribute("aria-label") === label);
    if (box) box.scrollLeft = left;
  }
  const focused = held.focus && [...document.querySelectorAll("#live :is(a, button, input, summary, .scroll)")].find((element) => focusName(element) === held.focus);
  if (focused) focused.focus({ preventScroll: true });
  held = null;
}

// A page rests while nobody sees it, a button is pressed, a form is filled or on its way, or text is selected.
let pressed = false, leaving = false, stale = false;
const selecting = () => !(document.getSelection()?.isCollapsed ?? true);
const writing = () => document.activeElement instanceof HTMLInputElement && document.activeElement.value !== "";
const resting = () => document.hidden || pressed || leaving || selecting() || writing();

function catchUp() {
  if (resting()) return;
  say(connection);
  const live = document.getElementById("live");
  if (stale && live?.hasAttribute("hx-get")) htmx.trigger(live, "sse:change");
  stale = false;
}

document.addEventListener("pointerdown", () => { pressed = true; });
for (const kind of ["pointerup", "pointercancel"]) {
  // The click comes after the pointer is up.
  document.addEventListener(kind, () => setTimeout(() => { pressed = false; catchUp(); }, 100));
}
for (const kind of ["visibilitychange", "selectionchange", "focusout"]) document.addEventListener(kind, catchUp);
window.addEventListener("pageshow", () => { leaving = false; });
document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.detail.elt.id !== "live" || !resting()) return;
  event.preventDefault();
  stale = true;
  if (selecting()) say("Resting while text is selected");
  else if (writing()) say("Resting while you write");
});
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.elt.id !== "live") return;
  event.detail.shouldSwap &&= !resting();
  if (event.detail.shouldSwap) hold();
  else stale = true;
});
document.addEventListener("htmx:afterSwap", () => {
  setOffset();
  ageTimes();
  drawCharts(document);
  restore();
});
document.addEventListener("htmx:sseOpen", () => say((connection = "Live")));
document.addEventListener("htmx:sseError", () => say((connection = "Connection lost, trying again")));
document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
  // A form of htmx is taken over by it; any other leaves the page.
  leaving = !event.defaultPrevented && !event.target.hasAttribute("hx-post");
});
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawCharts(document));
let resizing = 0;
window.addEventListener("resize", () => {
  cancelAnimationFrame(resizing);
  resizing = requestAnimationFrame(() => drawCharts(document));
});
setOffset();
ageTimes();
setInterval(ageTimes, 1000);
drawCharts(document);
