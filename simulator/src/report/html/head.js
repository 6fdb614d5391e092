// The head of the timeline: the whole run in small with the shown part, the axis with its pins, and the steps.

/** Pins nearer than this are one pin with a number. */
const PIN_DISTANCE = 16;

function drawAxis() {
  const axis = byId("axis");
  axis.replaceChildren();
  const step = tickStep(90);
  for (let index = Math.ceil(shown.from / step); index * step <= shown.to; index += 1) {
    const time = index * step;
    if (time < 0 || time > end * 1.0001) continue;
    const tick = make("span", "tick", timeText(time, step));
    tick.style.left = `${xOf(time).toFixed(1)}px`;
    axis.append(tick);
  }
  byId("shown").textContent = `${lengthText(shown.to - shown.from)} shown`;
  let last;
  for (const event of events) {
    if (event.kind === "expect" || event.kind === "note" || event.at < shown.from || event.at > shown.to) continue;
    const x = xOf(event.at);
    if (last && x - last.x < PIN_DISTANCE) {
      last.events.push(event);
      continue;
    }
    last = { x, events: [event] };
    axis.append(pin(last));
  }
  for (const element of axis.querySelectorAll(".pin")) {
    const { events: together } = shows.get(element);
    if (together.length > 1) {
      element.textContent = String(together.length);
      element.className = `pin ${loudest(together).kind}`;
    }
  }
}

const LOUDNESS = ["invariant", "fault", "ill", "flip", "label", "restart", "delete", "apply"];
const loudest = (list) => [...list].sort((a, b) => LOUDNESS.indexOf(a.kind) - LOUDNESS.indexOf(b.kind))[0];

function pin(cluster) {
  const [event] = cluster.events;
  const element = make("span", `pin ${event.kind}`, KINDS[event.kind]?.glyph || "·");
  element.style.left = `${cluster.x.toFixed(1)}px`;
  shows.set(element, { kind: "event", event, events: cluster.events, from: event.at, to: event.at });
  return element;
}

function drawSteps() {
  const lane = byId("steps");
  lane.replaceChildren();
  drawn.inLane = 0;
  for (const marker of record.markers) {
    if (marker.step === undefined) continue;
    const state = marker.ok === undefined ? "skipped" : marker.ok ? "ok" : "bad";
    const to = marker.until ?? marker.at;
    const element = part(lane, `step ${marker.kind} ${state}`, marker.at, to, { kind: "event", event: marker, from: marker.at, to });
    if (!element) continue;
    if (element.wide > 14) element.append(make("span", "text", element.wide > 60 ? `${marker.step} ${marker.text}` : String(marker.step)));
  }
}

/** GPUs held, by role, over the whole run, as stacked areas; drawn once. */
function drawOverview() {
  const lane = byId("overview");
  const keys = [...roles.keys()];
  const changes = [];
  for (const node of record.nodes)
    for (const gpu of node.gpus)
      for (const span of gpu.spans) {
        const share = span.replicas ? Math.min(1, (span.holders || []).length / span.replicas) : 0;
        const key = keys.indexOf(span.role);
        if (key < 0 || share === 0) continue;
        changes.push([span.from, key, share], [span.to, key, -share]);
      }
  changes.sort((a, b) => a[0] - b[0]);
  const svg = drawing("svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", "aria-hidden": "true" });
  const levels = keys.map(() => 0);
  const points = keys.map(() => []);
  const x = (time) => (((time - full.from) / (full.to - full.from)) * 1000).toFixed(2);
  const y = (level) => (98 - (level / Math.max(gpusInAll, 1)) * 92).toFixed(2);
  const note = (time) => {
    let sum = 0;
    keys.forEach((_, key) => {
      const low = sum;
      sum += levels[key];
      points[key].push([x(time), y(low), y(sum)]);
    });
  };
  note(0);
  for (let index = 0; index < changes.length; ) {
    const time = changes[index][0];
    for (; index < changes.length && changes[index][0] === time; index += 1) levels[changes[index][1]] += changes[index][2];
    note(time);
  }
  note(end);
  keys.forEach((role, key) => svg.append(drawing("path", { d: area(points[key]), style: `fill:${colourOf(role)}` })));
  for (const event of events)
    if (["label", "fault", "invariant", "ill"].includes(event.kind)) svg.append(notch(x(event.at), event.kind));
  if (failure) svg.append(notch(x(failure.at), "failed"));
  lane.replaceChildren(svg, make("div", "brush"));
}

function area(points) {
  if (points.length === 0) return "";
  let top = `M${points[0][0]} ${points[0][2]}`;
  let bottom = "";
  for (const [x, low, high] of points) {
    top += `H${x}V${high}`;
    bottom = `V${low}H${x}${bottom}`;
  }
  return `${top}${bottom}Z`;
}

const notch = (x, kind) => drawing("line", { x1: x, x2: x, y1: "0", y2: "100", class: `notch ${kind}`, "vector-effect": "non-scaling-stroke" });

function drawBrush() {
  const brush = byId("overview").querySelector(".brush");
  const part = (time) => ((time - full.from) / (full.to - full.from)) * 100;
  brush.style.left = `${part(shown.from).toFixed(3)}%`;
  brush.style.width = `${Math.max(part(shown.to) - part(shown.from), 0.3).toFixed(3)}%`;
}

function drawLegend() {
  const legend = byId("legend");
  const item = (className, text, colour) => {
    const entry = make("span", "key");
    const swatch = make("i", `swatch ${className}`);
    if (colour) swatch.style.setProperty("--c", colour);
    entry.append(swatch, text);
    legend.append(entry);
  };
  for (const [role, { strategy }] of roles) item("role", strategy ? `${short(role)} (${strategy})` : short(role), colourOf(role));
  const states = new Set(record.nodes.flatMap((node) => node.gpus.flatMap((gpu) => gpu.spans.map((span) => span.state))));
  for (const state of ["draining", "converting", "found", "lost"]) if (states.has(state)) item(state, state);
  if (record.nodes.some((node) => node.gpus.some((gpu) => gpu.spans.some((span) => span.ill)))) item("ill", "ill");
  if (record.nodes.some((node) => node.gpus.some((gpu) => gpu.memory))) item("memory", "memory in use");
  for (const phase of ["pending", "succeeded", "failed"])
    if (record.pods.some((pod) => pod.spans.some((span) => span.phase.toLowerCase() === phase))) item(`phase ${phase}`, `pod ${phase}`);
}
