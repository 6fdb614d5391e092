// Draws the lanes that are in sight, and only those: what is folded, scrolled away or outside the shown time costs nothing.

/** Lanes drawn above and below what is in sight, in pixels. */
const OVERSCAN = 200;
/** The most parts of one lane that are drawn at once; narrower ones are left out first. */
const PARTS_MAX = 1500;

/** Element → what it shows. */
const shows = new WeakMap();
const drawn = { rows: 0, parts: 0 };

/** A part of a lane from one time to another; nothing when it is out of sight. */
function part(lane, className, from, to, info) {
  if (to < shown.from || from > shown.to || drawn.inLane >= PARTS_MAX) return undefined;
  const left = Math.max(xOf(from), -20);
  const right = Math.min(xOf(to), width + 20);
  const wide = Math.max(right - left, 1.5);
  const element = make("div", className);
  element.style.left = `${left.toFixed(1)}px`;
  element.style.width = `${wide.toFixed(1)}px`;
  element.wide = wide - Math.max(0, -left);
  if (left < 0) element.style.paddingLeft = `${(4 - left).toFixed(1)}px`;
  if (info) shows.set(element, info);
  lane.append(element);
  drawn.parts += 1;
  drawn.inLane += 1;
  return element;
}

function gutter(row, title, more, depth) {
  const cell = make("div", `gutter depth-${depth}`);
  if (row.kind === "node" || row.kind === "pods") {
    const fold = make("button", "fold", row.folded ? "▸" : "▾");
    fold.type = "button";
    fold.tabIndex = -1;
    fold.setAttribute("aria-label", `${row.folded ? "unfold" : "fold"} ${title}`);
    fold.setAttribute("aria-expanded", String(!row.folded));
    fold.addEventListener("click", () => toggle(row));
    cell.append(fold);
  }
  cell.append(make("span", "name", title));
  if (more) cell.append(make("span", "more", more));
  cell.title = more ? `${title} ${more}` : title;
  return cell;
}

function drawNode(row, lane) {
  const { node } = row;
  for (const span of node.spans) {
    const info = infoOf(row, span);
    const element = part(lane, `plugin ${span.plugin}${span.ready ? "" : " not-ready"}`, span.from, span.to, info);
    if (!element || row.folded || element.wide < 40) continue;
    const settled = !span.switch || span.switch === "settled";
    const words = [span.config ?? (span.plugin === "ready" ? "" : `plugin ${span.plugin}`), settled ? "" : span.switch];
    element.append(make("span", "text", words.filter(Boolean).join(" · ")));
  }
  if (!row.folded) return;
  const step = (row.height - 8) / Math.max(node.gpus.length, 1);
  node.gpus.forEach((gpu, index) => {
    for (const span of gpu.spans) {
      const element = part(lane, `stripe ${span.state}${span.ill ? " ill" : ""}`, span.from, span.to, { ...infoOf(row, span), kind: "gpu", gpu });
      if (!element) continue;
      const use = span.replicas ? Math.min(1, (span.holders || []).length / span.replicas) : 0;
      element.style.setProperty("--c", colourOf(span.role));
      element.style.setProperty("--use", `${Math.round(18 + use * 82)}%`);
      element.style.top = `${(4 + index * step).toFixed(1)}px`;
      element.style.height = `${Math.max(step - 1, 1).toFixed(1)}px`;
    }
  });
}

function drawGpu(row, lane) {
  const { gpu } = row;
  const inner = holdersHeight(gpu) - 8;
  for (const span of gpu.spans) {
    const element = part(lane, `span ${span.state}${span.ill ? " ill" : ""}`, span.from, span.to, infoOf(row, span));
    if (!element) continue;
    element.style.setProperty("--c", colourOf(span.role));
    const idle = !(span.holders || []).length;
    if (span.state === "draining" || span.state === "converting") part(lane, `veil ${span.state}`, span.from, span.to);
    const words = [span.state === "settled" ? "" : span.state];
    if (idle && span.role) words.push(`${short(span.role)}${span.replicas > 1 ? ` ×${span.replicas}` : ""}`);
    const text = words.filter(Boolean).join(" · ");
    if (text && element.wide > 46 && idle) element.append(make("span", "text", text));
    const veil = span.ill && part(lane, "veil ill", span.from, span.to);
    if (veil && veil.wide > 30) veil.append(make("span", "text", span.ill));
  }
  for (const bar of gpu.bars) {
    const info = { kind: "hold", row, node: gpu.node, gpu, bar, podName: bar.pod, from: bar.from, to: bar.to };
    const element = part(lane, `hold shade-${shade(bar.pod)}`, bar.from, bar.to, info);
    if (!element) continue;
    const high = inner / bar.of;
    element.style.setProperty("--c", colourOf(bar.role ?? rolesOfPods.get(bar.pod)));
    element.style.top = `${(5 + bar.slot * high).toFixed(1)}px`;
    element.style.height = `${Math.max(high - (high > 5 ? 1.5 : 0.5), 1).toFixed(1)}px`;
    element.dataset.pod = bar.pod;
    if (high >= 8 && element.wide > 30) {
      const text = make("span", "text", bar.pod);
      text.style.fontSize = `${Math.min(11, high).toFixed(1)}px`;
      element.append(text);
    }
  }
  if (gpu.memory?.total) lane.append(memory(gpu));
}

const SVG = "http://www.w3.org/2000/svg";
function drawing(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** Memory in use as an area: a step at every change. */
function memory(gpu) {
  const high = MEMORY_HEIGHT;
  const y = (used) => (high - 0.5 - Math.min(1, used / gpu.memory.total) * (high - 2)).toFixed(1);
  const line = [];
  let before;
  let lastX = -Infinity;
  for (const [at, used] of gpu.memory.used) {
    if (at < shown.from) {
      before = used;
      continue;
    }
    if (at > shown.to) break;
    const x = xOf(at);
    if (line.length === 0 && before === undefined) line.push(`M${x.toFixed(1)} ${y(used)}`);
    else if (line.length === 0) line.push(`M0 ${y(before)}`);
    if (x - lastX < 0.4) continue;
    line.push(`H${x.toFixed(1)}V${y(used)}`);
    lastX = x;
    before = used;
  }
  if (line.length === 0 && before !== undefined) line.push(`M0 ${y(before)}`);
  const svg = drawing("svg", { class: "memory", width: String(width), height: String(high), "aria-hidden": "true" });
  if (line.length === 0) return svg;
  const right = Math.min(xOf(end), width).toFixed(1);
  const path = `${line.join("")}H${right}`;
  const left = /^M([\d.-]+)/.exec(path)[1];
  svg.append(drawing("path", { class: "area", d: `${path}V${high}H${left}Z` }), drawing("path", { class: "outline", d: path }));
  return svg;
}

function drawPod(row, lane) {
  for (const span of row.pod.spans) {
    const element = part(lane, `pod ${span.phase.toLowerCase()}`, span.from, span.to, infoOf(row, span));
    if (!element) continue;
    element.style.setProperty("--c", colourOf(rolesOfPods.get(row.pod.name)));
    element.dataset.pod = row.pod.name;
    const words = span.phase === "Running" ? [span.node] : [span.phase, span.reason];
    if (element.wide > 40) element.append(make("span", "text", words.filter(Boolean).join(" · ")));
  }
}

/** The events of one node, as small flags on its lane. */
function drawFlags(row, lane) {
  let lastX = -Infinity;
  for (const event of events) {
    if (event.node !== row.node.name || event.at < shown.from || event.at > shown.to || event.kind === "expect") continue;
    const x = xOf(event.at);
    if (x - lastX < 3) continue;
    lastX = x;
    const flag = make("span", `flag ${event.kind}`, KINDS[event.kind]?.glyph || "·");
    flag.style.left = `${x.toFixed(1)}px`;
    shows.set(flag, { kind: "event", event, from: event.at, to: event.at });
    lane.append(flag);
  }
}

function drawRow(row) {
  const element = make("div", `row ${row.kind}`);
  element.style.top = `${row.top}px`;
  element.style.height = `${row.height}px`;
  element.dataset.row = String(row.index);
  if (concerned.has(row.name)) element.classList.add("concerned");
  if (row.index === chosen.row) element.classList.add("current");
  const lane = make("div", "lane");
  drawn.inLane = 0;
  if (row.kind === "node") {
    const count = row.node.gpus.length;
    element.append(gutter(row, row.name, count ? `${count} GPU${count > 1 ? "s" : ""}` : "no GPU", 0));
    drawNode(row, lane);
    drawFlags(row, lane);
  } else if (row.kind === "gpu") {
    element.append(gutter(row, `GPU ${row.gpu.index}`, row.gpu.uuid.slice(0, 12), 1));
    drawGpu(row, lane);
  } else if (row.kind === "pods") {
    element.append(gutter(row, "Pods", String(row.count), 0));
  } else {
    const asks = Object.entries(row.pod.asks || {}).map(([name, count]) => `${short(name)}: ${count}`);
    element.append(gutter(row, row.name, asks.join(", "), 1));
    drawPod(row, lane);
  }
  element.append(lane);
  return element;
}

/** Draws every lane in sight anew. */
function drawRows() {
  const stage = byId("stage");
  const top = stage.scrollTop - OVERSCAN;
  const bottom = stage.scrollTop + stage.clientHeight + OVERSCAN;
  const inSight = rows.filter((row) => row.top + row.height >= top && row.top <= bottom);
  drawn.rows = inSight.length;
  drawn.parts = 0;
  const holder = byId("rows");
  holder.style.height = `${height}px`;
  holder.replaceChildren(...inSight.map(drawRow));
  if (rows.length === 0) holder.append(make("p", "empty", "Nothing matches the filter."));
}

/** The most vertical lines drawn at once. */
const LINES_MAX = 300;

/** Lines through all lanes at events, and the failure's band. */
function drawLines() {
  const lines = byId("lines");
  lines.replaceChildren();
  const line = (at, className, to = at) => {
    if (to < shown.from || at > shown.to || lines.childElementCount >= LINES_MAX) return;
    const element = make("div", className);
    element.style.left = `${xOf(at).toFixed(1)}px`;
    if (to > at) element.style.width = `${(xOf(to) - xOf(at)).toFixed(1)}px`;
    lines.append(element);
  };
  if (failure) {
    if (failure.at > failure.from) line(failure.from, "band", failure.at);
    line(failure.at, "line failed");
  }
  for (const event of events)
    if (event.kind !== "expect" && event.kind !== "note") line(event.at, `line ${event.kind}`);
  if (chosen.event) line(chosen.event.at, "line chosen");
}
