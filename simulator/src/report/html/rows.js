// Which lanes there are, in which order and how high: nodes with their GPUs, then pods; folded and filtered.

/** More GPUs than this and nodes start folded, each as a stack of stripes. */
const FOLD_ABOVE = 40;

const gpusInAll = record.nodes.reduce((sum, node) => sum + node.gpus.length, 0);
const folded = new Set();
if (gpusInAll > FOLD_ABOVE) for (const node of record.nodes) if (!concerned.has(node.name)) folded.add(node.name);
let podsFolded = false;

const filter = { node: "", text: "" };
/** The lanes that are shown, each with its place from the top. */
let rows = [];
let height = 0;

const lower = (...words) => words.filter(Boolean).join("\n").toLowerCase();

function gpuWords(gpu) {
  gpu.words ??= lower(
    `gpu ${gpu.index}`,
    gpu.uuid,
    ...new Set(gpu.spans.flatMap((span) => [span.role, span.strategy, span.state, span.ill, span.computeMode])),
    ...new Set(gpu.bars.map((bar) => bar.pod)),
  );
  return gpu.words;
}

function podWords(pod) {
  pod.words ??= lower(
    pod.name,
    ...Object.keys(pod.asks || {}),
    ...new Set(pod.spans.flatMap((span) => [span.phase, span.node, span.reason, ...(span.ids || [])])),
  );
  return pod.words;
}

const nodeOf = (pod) => pod.spans.findLast((span) => span.node)?.node;
/** The height of the strip below a GPU's holders that shows its memory. */
const MEMORY_HEIGHT = 14;
const holdersHeight = (gpu) => Math.min(Math.max(26, gpu.slots * 12 + 8), 108);
const gpuHeight = (gpu) => holdersHeight(gpu) + (gpu.memory ? MEMORY_HEIGHT : 0);
const foldedHeight = (node) => Math.min(Math.max(28, node.gpus.length * 4 + 10), 140);

/** Nodes with GPUs first; otherwise in the order of the record. */
const nodesInOrder = [...record.nodes].sort((a, b) => (b.gpus.length > 0) - (a.gpus.length > 0));

function nodeRows(text) {
  const found = [];
  for (const node of nodesInOrder) {
    if (filter.node && node.name !== filter.node) continue;
    const named = node.name.toLowerCase().includes(text);
    const gpus = named ? node.gpus : node.gpus.filter((gpu) => gpuWords(gpu).includes(text));
    if (!named && gpus.length === 0) continue;
    const isFolded = folded.has(node.name) && (named || text === "");
    const alone = isFolded && node.gpus.length > 0;
    found.push({ kind: "node", node, name: node.name, folded: isFolded, height: alone ? foldedHeight(node) : 30 });
    if (!isFolded) for (const gpu of gpus) found.push({ kind: "gpu", gpu, name: gpu.uuid, height: gpuHeight(gpu) });
  }
  return found;
}

function podRows(text) {
  const pods = record.pods.filter(
    (pod) =>
      (!filter.node || pod.spans.some((span) => span.node === filter.node)) && (text === "" || podWords(pod).includes(text)),
  );
  if (record.pods.length === 0) return [];
  const head = { kind: "pods", name: "pods", count: pods.length, folded: podsFolded, height: 30 };
  if (podsFolded) return [head];
  return [head, ...pods.map((pod) => ({ kind: "pod", pod, name: pod.name, height: 22 }))];
}

/** Lays out all lanes that the filter leaves. */
function layOut() {
  const text = filter.text.trim().toLowerCase();
  rows = [...nodeRows(text), ...podRows(text)];
  height = 0;
  rows.forEach((row, index) => {
    row.index = index;
    row.top = height;
    height += row.height;
  });
}

/** Folds or unfolds what a row is the head of. */
function toggle(row) {
  if (row.kind === "pods") podsFolded = !podsFolded;
  else if (row.kind === "node" && !folded.delete(row.name)) folded.add(row.name);
  else if (row.kind !== "node") return;
  layOut();
  redraw();
}

/** The parts of a lane that arrow keys walk through. */
function partsOf(row) {
  const owner = row.node || row.gpu || row.pod;
  return (owner?.spans || []).map((span) => infoOf(row, span));
}

/** What a span is about, for tooltips and details. */
function infoOf(row, span) {
  return { kind: row.kind, row, node: row.node || row.gpu?.node, gpu: row.gpu, pod: row.pod, span, from: span.from, to: span.to };
}
