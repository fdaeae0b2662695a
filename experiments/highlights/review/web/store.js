// What the parts of the page share: the review as the server tells it, and the person's view of it.
import { reactive } from "vue";

export const store = reactive({
  chunks: [], // {url, name, offset, duration} of each file, in seconds
  duration: 1, // of the recording
  recording: 0, // number of the one that is shown
  numRecordings: 1,
  labelling: false, // whether there are no scores, only marks
  drawing: false, // whether the pointer draws the box
  box: null, // [x1, y1, x2, y2] that is labelled, in fractions of the picture
  watched: [], // [start, end] of what was looked through
  finished: false, // whether there is nothing else
  copies: { ready: [], making: null, share: 0, problem: "" }, // of files that cannot be played
  segments: [], // {key, start, end, score, state}, by time
  threshold: 0,
  low: 0,
  empty: null, // why there is no segment
  time: 0, // of the picture that is shown
  playing: false,
  chosen: null, // the segment that the keys act on
  mark: null, // where a new segment is to start
  window: { start: 0, end: 1 }, // the part of the recording that the curve shows
});

// What one part lets the others do; each fills in its own.
export const parts = {
  act: () => {}, // ask the server: {name, ...}
  go: () => {}, // to another recording
  copy: () => {}, // make a playable copy of a file, by its number
  seek: () => {},
  follow: () => {}, // show the picture at an edge that is dragged
  play: () => {}, // [[start, end], ...] one after the other
  toggle: () => {},
  reveal: () => {}, // bring a span into the curve's window
};

// The threshold goes to the server as fast as it answers; what it says of an older one is passed over.
const threshold = { wanted: null, asked: 0, timer: null };
const PATIENCE = 1000; // milliseconds until an answer counts as lost

export function receive(view) {
  const before = store.chosen;
  threshold.asked = 0;
  Object.assign(store, view, threshold.wanted === null ? {} : { threshold: threshold.wanted });
  store.chosen = before && (same(before) || nearest(before));
  if (threshold.wanted !== null) ask();
}

export function wantThreshold(value) {
  store.threshold = threshold.wanted = value;
  clearTimeout(threshold.timer);
  if (Date.now() - threshold.asked > PATIENCE) ask();
  else threshold.timer = setTimeout(() => threshold.wanted !== null && ask(), PATIENCE); // an answer may be lost
}

function ask() {
  parts.act({ name: "threshold", value: threshold.wanted });
  Object.assign(threshold, { wanted: null, asked: Date.now() });
}

export function reel() {
  return store.segments.filter((one) => one.state !== "rejected");
}

export function choose(one, { seek = true } = {}) {
  store.chosen = one;
  if (!one) return;
  parts.reveal(one.start, one.end);
  if (seek) parts.seek(one.start);
}

export function step(by) {
  const all = store.segments;
  if (!all.length) return;
  const at = all.findIndex((one) => one.key === store.chosen?.key);
  const after = all.findIndex((one) => one.start > store.time);
  const fresh = by > 0 ? after : (after < 0 ? all.length : after) - 1;
  const next = at < 0 ? fresh : at + by;
  if (next in all) choose(all[next]);
}

export function judge(one, kept) {
  if (one) parts.act({ name: "judge", key: one.key, kept });
}

export function clear(one) {
  if (one && one.state !== "automatic") parts.act({ name: "clear", key: one.key });
}

export function markStart() {
  store.mark = store.time;
}

export function markEnd(kept) {
  if (store.mark === null) return tell("Mark the start first: i.");
  if (store.time <= store.mark) return tell("The end must come after the start.");
  parts.act({ name: "add", start: store.mark, end: store.time, kept });
  store.chosen = { key: "", start: store.mark, end: store.time };
  store.mark = null;
}

export function tell(message) {
  Quasar.Notify.create({ message, timeout: 2500, position: "bottom" });
}

// 3723.45 -> "1:02:03.4"; digits of a second, cut and not rounded, as clocks do.
export function clock(seconds, digits = 1) {
  const scale = 10 ** digits;
  const units = Math.floor(Math.max(seconds, 0) * scale + 1e-6);
  const whole = Math.floor(units / scale);
  const two = (number) => String(number).padStart(2, "0");
  const text = `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
  return digits ? `${text}.${String(units % scale).padStart(digits, "0")}` : text;
}

function same(before) {
  return store.segments.find((one) => one.key === before.key);
}

// A decision gives a segment another key; it is still at the same place.
function nearest(before) {
  const shared = (one) => Math.min(one.end, before.end) - Math.max(one.start, before.start);
  const best = store.segments.reduce((a, b) => (a && shared(a) >= shared(b) ? a : b), null);
  return best && shared(best) > 0 ? best : null;
}
