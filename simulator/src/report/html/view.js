// Puts the parts together: drawing, pointer, wheel, keys, filters, theme; and checks the result.

let asked = false;
/** Draws with the next frame, once however often it is asked. */
function redraw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(drawNow);
}

function drawNow() {
  asked = false;
  width = Math.max(byId("axis").clientWidth, 1);
  drawRows();
  drawLines();
  drawAxis();
  drawSteps();
  drawBrush();
}

const stage = byId("stage");
const lanes = byId("lanes");

/** The time under a pointer event. */
const timeUnder = (event) => timeAt(event.clientX - byId("axis").getBoundingClientRect().left);
const onTimes = (event) => event.clientX >= byId("axis").getBoundingClientRect().left;

function infoUnder(target) {
  for (let element = target; element && element !== stage; element = element.parentElement) if (shows.has(element)) return shows.get(element);
  return undefined;
}

// --- pointer

/** A drag under way: what it moves and from where. */
let drag;

function startDrag(kind, event) {
  if (event.button !== 0 || event.target.closest("button")) return;
  drag = { kind, x: event.clientX, from: shown.from, to: shown.to, time: timeUnder(event), info: infoUnder(event.target), moved: false };
}

function dragTo(event) {
  const by = event.clientX - drag.x;
  if (Math.abs(by) > 3) drag.moved = true;
  if (!drag.moved) return;
  hideTip();
  if (drag.kind === "pan") {
    const length = drag.to - drag.from;
    const from = drag.from - (by / width) * length;
    stage.classList.add("dragging");
    show(from, from + length);
  } else if (drag.kind === "range") {
    const [from, to] = [drag.time, timeUnder(event)].sort((a, b) => a - b);
    markRange(from, to);
  } else {
    const box = byId("overview").getBoundingClientRect();
    const shift = (by / box.width) * (full.to - full.from);
    show(drag.from + shift, drag.to + shift);
  }
}

function markRange(from, to) {
  let range = byId("axis").querySelector(".range");
  if (!range) byId("axis").append((range = make("div", "range")));
  range.style.left = `${xOf(from)}px`;
  range.style.width = `${xOf(to) - xOf(from)}px`;
}

function endDrag(event) {
  const done = drag;
  drag = undefined;
  stage.classList.remove("dragging");
  if (done?.kind === "range" && done.moved) {
    const [from, to] = [done.time, timeUnder(event)].sort((a, b) => a - b);
    show(from, to);
  }
  if (done && !done.moved && done.kind !== "brush") {
    // The part under the pointer may have been drawn anew since: what counts is where the press began.
    const { info } = done;
    if (info?.kind === "event") choose(info.event);
    else if (info) {
      keep(info, timeUnder(event));
      chosen.row = info.row.index;
      redraw();
    }
  }
}

byId("axis").addEventListener("pointerdown", (event) => startDrag("range", event));
byId("overview").addEventListener("pointerdown", (event) => {
  const box = byId("overview").getBoundingClientRect();
  const time = full.from + ((event.clientX - box.left) / box.width) * (full.to - full.from);
  const half = (shown.to - shown.from) / 2;
  if (time < shown.from || time > shown.to) show(time - half, time + half);
  startDrag("brush", event);
});
for (const place of [lanes, byId("steps")])
  place.addEventListener("pointerdown", (event) => {
    if (onTimes(event)) startDrag("pan", event);
  });
addEventListener("pointermove", (event) => {
  if (drag) return dragTo(event);
  if (!stage.contains(event.target)) return hideTip();
  const info = infoUnder(event.target);
  const inside = onTimes(event);
  const cursor = byId("cursor");
  cursor.hidden = !inside;
  if (inside) cursor.style.left = `${event.clientX - lanes.getBoundingClientRect().left}px`;
  byId("cursor-time").textContent = inside ? `at ${timeText(timeUnder(event), tickStep(2))}` : "whole run";
  highlight(info?.podName ?? info?.pod?.name);
  if (info) showTip(info, timeUnder(event), event.clientX, event.clientY);
  else hideTip();
});
addEventListener("pointerup", endDrag);
addEventListener("pointercancel", () => {
  drag = undefined;
});
stage.addEventListener("pointerleave", () => {
  hideTip();
  byId("cursor").hidden = true;
  highlight(undefined);
});
stage.addEventListener("dblclick", (event) => {
  if (!event.target.closest("button")) show(full.from, full.to);
});
stage.addEventListener(
  "wheel",
  (event) => {
    const onHead = byId("head").contains(event.target);
    const sideways = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
    if (event.ctrlKey || event.metaKey || (onHead && !event.shiftKey && Math.abs(event.deltaY) >= Math.abs(event.deltaX))) {
      event.preventDefault();
      zoom(Math.exp(Math.min(Math.max(event.deltaY, -120), 120) * 0.0025), timeUnder(event));
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      pan(sideways / Math.max(width, 1));
    }
  },
  { passive: false },
);
stage.addEventListener("scroll", redraw, { passive: true });
new ResizeObserver(redraw).observe(stage);

// --- keys

const nextEvent = (by) => {
  const all = eventsShown();
  if (all.length === 0) return;
  const at = all.indexOf(chosen.event);
  choose(all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + by, 0), all.length - 1)]);
};

function toFailure() {
  if (!failure) return;
  for (const name of failure.nodes || []) folded.delete(name);
  layOut();
  focusOn(failure.from, failure.at);
  const row = rows.find((one) => concerned.has(one.name) && one.kind !== "node") || rows.find((one) => concerned.has(one.name));
  if (row) stage.scrollTop = Math.max(0, row.top - 60);
  byId("viewer").scrollIntoView({ block: "start" });
  const event = events.find((one) => failure.step !== undefined && one.step === failure.step);
  if (event) choose(event);
}

const KEYS = {
  "+": () => zoom(0.6),
  "=": () => zoom(0.6),
  "-": () => zoom(1 / 0.6),
  0: () => show(full.from, full.to),
  a: () => pan(-0.2),
  d: () => pan(0.2),
  "[": () => nextEvent(-1),
  "]": () => nextEvent(1),
  f: toFailure,
  t: () => nextTheme(),
  "/": () => byId("text-filter").focus(),
  "?": () => byId("keys").showModal(),
};
const WALK = {
  ArrowDown: () => walk(chosen.row + 1, chosen.part),
  ArrowUp: () => walk(chosen.row - 1, chosen.part),
  ArrowRight: () => walk(chosen.row, chosen.part + 1),
  ArrowLeft: () => walk(chosen.row, chosen.part - 1),
  Home: () => walk(0, 0),
  End: () => walk(rows.length - 1, 0),
  Enter: () => {
    const row = rows[chosen.row];
    if (row?.kind === "node" || row?.kind === "pods") toggle(row);
    const info = row && partsOf(row)[chosen.part];
    if (info) keep(info, info.from);
  },
};
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("keys").open) return;
  if (event.key === "Escape") {
    hideTip();
    if (event.target === byId("text-filter")) lanes.focus();
    return;
  }
  if (event.target.closest("input, select, textarea")) return;
  const act = (event.target === lanes && WALK[event.key]) || KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
lanes.addEventListener("blur", hideTip);

// --- tools

function refilter() {
  layOut();
  listEvents();
  chosen.row = -1;
  stage.scrollTop = 0;
  redraw();
}
byId("text-filter").addEventListener("input", (event) => {
  filter.text = event.target.value;
  refilter();
});
byId("node-filter").addEventListener("change", (event) => {
  filter.node = event.target.value;
  refilter();
});
byId("fold").addEventListener("click", () => {
  for (const node of record.nodes) folded.add(node.name);
  refilter();
});
byId("unfold").addEventListener("click", () => {
  folded.clear();
  refilter();
});
byId("zoom-in").addEventListener("click", () => zoom(0.6));
byId("zoom-out").addEventListener("click", () => zoom(1 / 0.6));
byId("fit").addEventListener("click", () => show(full.from, full.to));
byId("keys-open").addEventListener("click", () => byId("keys").showModal());
byId("to-failure").addEventListener("click", toFailure);

// --- theme: as the system, light, dark; `#theme=dark` in the address chooses one

const THEMES = ["system", "light", "dark"];
let theme = THEMES.find((name) => location.hash === `#theme=${name}`) || "system";
function setTheme(name) {
  theme = name;
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  byId("theme").textContent = { system: "◐ system", light: "☀ light", dark: "☾ dark" }[name];
  byId("theme").setAttribute("aria-label", `Colours: ${name}. Change.`);
}
const nextTheme = () => setTheme(THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]);
byId("theme").addEventListener("click", nextTheme);

// --- what was drawn, checked and told, for tests and for whoever looks at the console

/** How well text can be read: WCAG's contrast ratio of two computed colours. */
function contrast(one, other) {
  const light = (colour) => {
    const [red, green, blue] = colour.match(/[\d.]+/g).slice(0, 3).map((part) => {
      const value = Number(part) / 255;
      return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

/** Everything that is wrong with what was drawn. */
function problems() {
  const found = [];
  const inOrder = (name, spans) =>
    spans.forEach((span, index) => {
      if (!(span.to >= span.from)) found.push(`${name}: span ${index} ends before it begins`);
      if (index > 0 && span.from < spans[index - 1].to) found.push(`${name}: span ${index} begins before the last one ends`);
    });
  for (const node of record.nodes) {
    inOrder(node.name, node.spans);
    for (const gpu of node.gpus) inOrder(gpu.uuid, gpu.spans);
  }
  for (const pod of record.pods) inOrder(pod.name, pod.spans);
  for (const element of byId("rows").querySelectorAll(".lane > div")) {
    const [left, wide] = [element.style.left, element.style.width].map(Number.parseFloat);
    if (!Number.isFinite(left) || !(wide > 0)) found.push(`a part of row ${element.closest(".row").dataset.row} has no place`);
  }
  const style = getComputedStyle(document.body);
  if (contrast(style.color, style.backgroundColor) < 7) found.push("text and background are too alike");
  return found;
}

function report() {
  const wrong = problems();
  const root = document.documentElement.dataset;
  const dark = contrast("rgb(0,0,0)", getComputedStyle(document.body).backgroundColor) < 3;
  root.scheme = dark ? "dark" : "light";
  root.ready = `${gpusInAll} GPU lanes, ${record.pods.length} pod lanes, ${events.length} events, ${failure ? 1 : 0} failures`;
  root.drawn = `${drawn.rows} of ${rows.length} rows, ${drawn.parts} parts`;
  root.check = wrong.length === 0 ? "ok" : wrong.slice(0, 5).join("; ");
}

function start() {
  byId("viewer").hidden = false;
  byId("theme").hidden = false;
  byId("to-failure").hidden = !failure;
  for (const node of record.nodes) byId("node-filter").append(new Option(node.name, node.name));
  setTheme(theme);
  layOut();
  listEvents();
  keep(undefined);
  drawOverview();
  drawLegend();
  drawNow();
  report();
}

start();
