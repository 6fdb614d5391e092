// Time to pixels and back: what part of the run is shown, how it moves, and how times are written.

/** Room beside the run, as a part of it, so that what happens at its edges can be seen. */
const MARGIN = 0.015;
/** The shortest time that the view shows, in seconds. */
const SHORTEST = 1e-4;

const full = { from: -end * MARGIN, to: end * (1 + MARGIN) };
const shown = { ...full };
/** The width of a lane in pixels; measured before every drawing. */
let width = 1;

const xOf = (time) => ((time - shown.from) / (shown.to - shown.from)) * width;
const timeAt = (x) => shown.from + (x / width) * (shown.to - shown.from);

/** Shows a part of the run, as far as there is one. */
function show(from, to) {
  const whole = full.to - full.from;
  const length = Math.min(Math.max(to - from, SHORTEST), whole);
  const start = Math.min(Math.max((from + to) / 2 - length / 2, full.from), full.to - length);
  shown.from = start;
  shown.to = start + length;
  redraw();
}

function zoom(factor, around = (shown.from + shown.to) / 2) {
  const length = (shown.to - shown.from) * factor;
  const part = (around - shown.from) / (shown.to - shown.from);
  show(around - length * part, around + length * (1 - part));
}

function pan(part) {
  const by = (shown.to - shown.from) * part;
  show(shown.from + by, shown.to + by);
}

/** Shows a range with some room around it. */
function focusOn(from, to) {
  const room = Math.max((to - from) * 0.6, end * 0.02);
  show(from - room, to + room);
}

/** Moves the view until a time is in it. */
function bringIntoView(from, to) {
  if (to >= shown.from && from <= shown.to) return;
  const half = (shown.to - shown.from) / 2;
  show(from - half, from + half);
}

const STEPS_OF_MINUTES = [60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400];

/** The distance between ticks for about one tick per `pixels`. */
function tickStep(pixels) {
  const wanted = ((shown.to - shown.from) / Math.max(width, 1)) * pixels;
  if (wanted > 30) return STEPS_OF_MINUTES.find((step) => step >= wanted) || Math.ceil(wanted / 86400) * 86400;
  const power = 10 ** Math.floor(Math.log10(wanted));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= wanted * 0.999) || 10 * power;
}

/** Runs longer than this, in seconds, have times like a clock. */
const CLOCK_FROM = 180;

/** A time of the run, as exact as `step` asks for. */
function timeText(seconds, step = 0.001) {
  const sign = seconds < 0 ? "−" : "";
  const value = Math.abs(seconds);
  if (end >= CLOCK_FROM) {
    const two = (number) => String(Math.floor(number)).padStart(2, "0");
    const tail = step >= 1 || value % 1 === 0 ? two(value % 60) : (value % 60).toFixed(step < 0.01 ? 3 : 2).padStart(step < 0.01 ? 6 : 5, "0");
    return `${sign}${end >= 3600 ? `${Math.floor(value / 3600)}:${two((value / 60) % 60)}` : Math.floor(value / 60)}:${tail}`;
  }
  const digits = Math.min(6, Math.max(0, Math.ceil(-Math.log10(step) - 1e-9)));
  return `${sign}${value.toFixed(digits)} s`;
}

/** How long something took. */
function lengthText(seconds) {
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 1) return `${Math.round(seconds * 1e3)} ms`;
  if (seconds < 120) return `${seconds.toFixed(2)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

function bytesText(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let value = bytes;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit < 2 ? Math.round(value) : value.toFixed(value < 10 ? 2 : 1)} ${units[unit]}`;
}
