// What is under the pointer or chosen with keys: tooltip, details that stay, the list of events.

/** The most events that the list shows; the filter finds the others. */
const EVENTS_SHOWN_MAX = 1000;

/** What is chosen: a row and a part of it by keys, an event by the list. */
const chosen = { row: -1, part: 0, event: undefined };

const when = (from, to) => (to > from ? `${timeText(from)} – ${timeText(to)} (${lengthText(to - from)})` : timeText(from));

function memoryAt(gpu, time) {
  if (!gpu.memory) return undefined;
  const last = gpu.memory.used.findLast(([at]) => at <= time);
  return last && `${bytesText(last[1])} of ${bytesText(gpu.memory.total)}`;
}

function gpuFacts(gpu, span, time) {
  const holders = (span.holders || []).map((holder) => (holder.slot === undefined ? holder.pod : `${holder.slot}: ${holder.pod}`));
  return {
    title: `${gpu.node.name} · GPU ${gpu.index}`,
    facts: [
      ["role", span.role],
      ["strategy", span.strategy && `${span.strategy}${span.replicas > 1 ? ` ×${span.replicas}` : ""}`],
      ["state", span.state],
      ["ill", span.ill],
      ["holders", holders.length ? holders.join("\n") : "none"],
      ["memory", memoryAt(gpu, time)],
      ["compute mode", span.computeMode],
      ["MPS daemon", span.mpsDaemon],
      ["UUID", gpu.uuid],
    ],
  };
}

function podFacts(pod, span) {
  return {
    title: pod.name,
    facts: [
      ["phase", span.phase],
      ["why", span.reason],
      ["node", span.node],
      ["asks for", Object.entries(pod.asks || {}).map(([name, count]) => `${name}: ${count}`).join("\n")],
      ["devices", (span.ids || []).join("\n")],
    ],
  };
}

function nodeFacts(node, span) {
  return {
    title: node.name,
    facts: [
      ["node", span.ready ? "ready" : "not ready"],
      ["plugin", span.plugin],
      ["config", span.config],
      ["switch", span.switch],
      ["allocatable", Object.entries(span.allocatable || {}).map(([name, count]) => `${name}: ${count}`).join("\n")],
    ],
  };
}

function eventFacts(info) {
  const list = info.events || [info.event];
  if (list.length > 1)
    return { title: `${list.length} events`, facts: list.slice(0, 12).map((event) => [timeText(event.at), event.text]) };
  const { event } = info;
  const went = event.ok === undefined ? undefined : event.ok ? "as it should" : "not as it should";
  return {
    title: event.step === undefined ? KINDS[event.kind]?.word || event.kind : `step ${event.step} · ${event.kind}`,
    facts: [["what", event.text], ["node", event.node], ["went", went], ["details", event.details]],
  };
}

/** What there is to say of a part of a lane, at a time. */
function describe(info, time) {
  let said;
  if (info.kind === "event") said = eventFacts(info);
  else if (info.kind === "node") said = nodeFacts(info.node, info.span);
  else if (info.kind === "pod") said = podFacts(info.pod, info.span);
  else if (info.kind === "hold") {
    const span = info.gpu.spans.find((one) => one.from <= time && time <= one.to) || info.gpu.spans.find((one) => one.from === info.bar.from);
    said = gpuFacts(info.gpu, span, time);
    said.facts.unshift(["pod", info.bar.pod]);
  } else said = gpuFacts(info.gpu, info.span, time);
  said.facts = [["time", when(info.from, info.to)], ...said.facts].filter(([, value]) => value !== undefined && value !== "");
  return said;
}

function fill(box, said) {
  const list = make("dl");
  for (const [name, value] of said.facts) {
    const pair = make("div");
    pair.append(make("dt", "", name), make("dd", "", value));
    list.append(pair);
  }
  box.replaceChildren(make("strong", "", said.title), list);
}

function showTip(info, time, x, y) {
  const tip = byId("tip");
  fill(tip, describe(info, time));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = x + 16 + box.width > innerWidth ? x - box.width - 12 : x + 16;
  const top = Math.min(y + 14, innerHeight - box.height - 8);
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, top)}px`;
}

const hideTip = () => {
  byId("tip").hidden = true;
};

/** Keeps the details of a part beside the lanes. */
function keep(info, time) {
  const box = byId("details-body");
  if (!info) box.replaceChildren(make("p", "hint", "Point at a lane, or press ? for keys. Click to keep the details here."));
  else fill(box, describe(info, time));
}

let hot;
/** Makes everything of one pod stand out. */
function highlight(pod) {
  if (pod === hot) return;
  hot = pod;
  const stage = byId("stage");
  stage.classList.toggle("has-hot", pod !== undefined);
  for (const element of stage.querySelectorAll("[data-pod]")) element.classList.toggle("hot", element.dataset.pod === pod);
}

/** The events that the filter leaves. */
function eventsShown() {
  const text = filter.text.trim().toLowerCase();
  const fits = (event) =>
    (!filter.node || !event.node || event.node === filter.node) &&
    (text === "" || lower(event.text, event.node, event.kind, event.details).includes(text));
  return events.filter(fits);
}

function listEvents() {
  const list = byId("events");
  const all = eventsShown();
  byId("events-count").textContent = String(all.length);
  list.replaceChildren(
    ...all.slice(0, EVENTS_SHOWN_MAX).map((event) => {
      const item = make("li");
      const button = make("button", `event ${event.kind}${event.ok === false ? " bad" : ""}`);
      button.type = "button";
      const glyph = event.ok === false ? "✗" : KINDS[event.kind]?.glyph || "·";
      button.append(make("span", "glyph", glyph), make("span", "at", timeText(event.at, 0.01)), make("span", "what", event.text));
      button.addEventListener("click", () => choose(event));
      shows.set(button, { kind: "event", event, from: event.at, to: event.until ?? event.at });
      item.append(button);
      return item;
    }),
  );
  if (all.length > EVENTS_SHOWN_MAX) list.append(make("li", "hint", `… and ${all.length - EVENTS_SHOWN_MAX} more`));
}

/** Goes to an event. */
function choose(event) {
  chosen.event = event;
  const info = { kind: "event", event, from: event.at, to: event.until ?? event.at };
  keep(info, event.at);
  byId("live").textContent = `${timeText(event.at, 0.01)}: ${event.text}`;
  bringIntoView(event.at, event.until ?? event.at);
  for (const button of byId("events").querySelectorAll("button")) {
    const isIt = shows.get(button).event === event;
    button.classList.toggle("current", isIt);
    if (isIt) button.scrollIntoView({ block: "nearest" });
  }
  redraw();
}

/** Chooses a lane and a part of it, brings both into view and tells of them. */
function walk(row, index) {
  chosen.row = Math.min(Math.max(row, 0), rows.length - 1);
  const lane = rows[chosen.row];
  if (!lane) return;
  const parts = partsOf(lane);
  chosen.part = Math.min(Math.max(index, 0), Math.max(parts.length - 1, 0));
  const stage = byId("stage");
  const head = byId("head").offsetHeight;
  if (lane.top < stage.scrollTop) stage.scrollTop = lane.top;
  else if (lane.top + lane.height > stage.scrollTop + stage.clientHeight - head) stage.scrollTop = lane.top + lane.height - stage.clientHeight + head;
  const info = parts[chosen.part];
  if (info) bringIntoView(info.from, info.to);
  drawNow();
  if (!info) {
    byId("live").textContent = lane.name;
    return hideTip();
  }
  const said = describe(info, info.from);
  byId("live").textContent = `${said.title}: ${said.facts.map(([name, value]) => `${name} ${value}`).join(", ")}`;
  const box = byId("rows").querySelector(`[data-row="${chosen.row}"] .lane`)?.getBoundingClientRect();
  if (box) showTip(info, info.from, box.left + Math.max(0, Math.min(xOf(info.from), width)), box.bottom - 10);
}
