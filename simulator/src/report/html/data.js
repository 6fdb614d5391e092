// The record of the run and what is derived from it once: colours of roles, slots of holders, events.

/** The element of that id. */
const byId = (id) => document.getElementById(id);

/** A new element; `text` is always text, never markup. */
function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// A mistake in here must be seen by the reader, not only in the console.
addEventListener("error", (event) => {
  document.documentElement.dataset.check = String(event.message);
  document.querySelector("main").prepend(make("p", "note", `The timeline could not be drawn: ${event.message}`));
}, { once: true });

const record = JSON.parse(byId("timeline").textContent);
const end = Math.max(record.end, 0.001);

/** The resource without its vendor's domain. */
const short = (role) => role.slice(role.indexOf("/") + 1);

/** The most colours of roles; further roles take them again. */
const COLOURS = 6;

/** Role → number of its colour; exclusive roles come first, so that they look alike in every report. */
const roles = new Map();
{
  const seen = new Map();
  for (const node of record.nodes)
    for (const gpu of node.gpus)
      for (const span of gpu.spans) if (span.role && !seen.has(span.role)) seen.set(span.role, span.strategy || "");
  const order = [...seen].sort((a, b) => (b[1] === "exclusive") - (a[1] === "exclusive") || (a[0] < b[0] ? -1 : 1));
  for (const [role, strategy] of order) roles.set(role, { colour: roles.size % COLOURS, strategy });
}
const colourOf = (role) => (role && roles.has(role) ? `var(--role-${roles.get(role).colour})` : "var(--quiet)");

/** A small number that is always the same for a name; neighbours get different shades by it. */
function shade(name) {
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + letter.charCodeAt(0)) % 997;
  return sum % 3;
}

/** The bars of a GPU's holders: contiguous spans in one slot are one bar. */
function holds(gpu) {
  const bars = [];
  let before = new Map();
  for (const span of gpu.spans) {
    const taken = new Map();
    const waiting = [];
    for (const holder of span.holders || []) {
      if (holder.slot !== undefined && !taken.has(holder.slot)) taken.set(holder.slot, holder.pod);
      else waiting.push(holder.pod);
    }
    for (const pod of waiting) {
      let slot = [...before.values()].find((bar) => bar.pod === pod && !taken.has(bar.slot))?.slot ?? 0;
      while (taken.has(slot)) slot += 1;
      taken.set(slot, pod);
    }
    const now = new Map();
    for (const [slot, pod] of taken) {
      const of = Math.max(span.replicas, slot + 1);
      const last = before.get(slot);
      if (last && last.pod === pod && last.of === of && (last.role === span.role || !span.role) && last.to === span.from) {
        last.to = span.to;
        now.set(slot, last);
      } else {
        const bar = { pod, slot, of, role: span.role, from: span.from, to: span.to };
        bars.push(bar);
        now.set(slot, bar);
      }
    }
    before = now;
  }
  return bars;
}

for (const node of record.nodes)
  for (const gpu of node.gpus) {
    gpu.node = node;
    gpu.bars = holds(gpu);
    gpu.slots = Math.max(1, ...gpu.spans.map((span) => span.replicas));
  }

/** The role under which a pod's device is known, for its colour. */
const rolesOfPods = new Map();
for (const node of record.nodes)
  for (const gpu of node.gpus) for (const bar of gpu.bars) if (bar.role) rolesOfPods.set(bar.pod, bar.role);

/** Glyphs and words of the kinds of event. */
const KINDS = {
  label: { glyph: "⚑", word: "label" },
  apply: { glyph: "+", word: "apply" },
  delete: { glyph: "×", word: "delete" },
  fault: { glyph: "⚡", word: "fault" },
  restart: { glyph: "↻", word: "restart" },
  expect: { glyph: "✓", word: "expect" },
  invariant: { glyph: "!", word: "invariant" },
  flip: { glyph: "⇄", word: "flip" },
  ill: { glyph: "✚", word: "health" },
  note: { glyph: "·", word: "note" },
};

/** What the lanes themselves tell: configurations that changed, GPUs lost or ill. */
function observed() {
  const events = [];
  for (const node of record.nodes) {
    let config;
    for (const span of node.spans) {
      if (span.config === undefined) continue;
      if (config !== undefined && span.config !== config)
        events.push({ at: span.from, kind: "flip", node: node.name, text: `${node.name}: ${config} → ${span.config}` });
      config = span.config;
    }
    for (const gpu of node.gpus)
      gpu.spans.forEach((span, index) => {
        const last = gpu.spans[index - 1];
        const what = { at: span.from, node: node.name, kind: "ill" };
        if (span.state === "lost" && last?.state !== "lost")
          events.push({ ...what, ok: false, text: `${node.name}: GPU ${gpu.index} is lost` });
        if (span.ill && last?.ill !== span.ill)
          events.push({ ...what, ok: false, text: `${node.name}: GPU ${gpu.index} is ill: ${span.ill}` });
        if (!span.ill && last?.ill) events.push({ ...what, ok: true, text: `${node.name}: GPU ${gpu.index} is healthy again` });
      });
  }
  return events;
}

const events = [...record.markers, ...observed()].sort((a, b) => a.at - b.at);
const failure = record.failure;
const concerned = new Set([...(failure?.nodes || []), ...(failure?.pods || []), ...(failure?.gpus || [])]);
