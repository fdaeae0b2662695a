// The picture behind the bands: the scores as an area, the loudness of the sound, and an axis of times.
import { clock } from "review/store.js";

export const AXIS = 20; // pixels beneath the curve
export const WAVE = 40; // pixels of the sound between the curve and the axis
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800];
const APART = 90; // pixels between two times of the axis

export function draw(canvas, scores, wave, window, alone) {
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  const ratio = devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const style = getComputedStyle(canvas);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const bottom = height - AXIS;
  const place = { width, height: alone ? 0 : bottom - WAVE, bottom, ...window };
  grid(pen, place, colour("grid"), colour("faint"), style.fontFamily);
  if (wave) sound(pen, wave, place, colour("wave"));
  if (alone || !scores) return; // there are no scores, only sound
  pen.lineJoin = "round";
  line(pen, peaks(scores.times, scores.raw, place), colour("raw"), 1);
  const smoothed = peaks(scores.times, scores.smoothed, place);
  area(pen, smoothed, place, colour("area"));
  line(pen, smoothed, colour("line"), 1.5);
}

// The loudest moment of each column of pixels, as a bar about the middle of its strip.
function sound(pen, { step, levels }, { width, height, bottom, start, end }, colour) {
  pen.fillStyle = colour;
  const [middle, half] = [(height + bottom) / 2, (bottom - height) / 2 - 3];
  const seconds = (end - start) / width;
  for (let x = 0; x < width; x++) {
    const first = Math.floor((start + x * seconds) / step);
    const stop = Math.max(Math.floor((start + (x + 1) * seconds) / step), first + 1);
    let level = 0;
    for (let n = first; n < stop && n < levels.length; n++) level = Math.max(level, levels[n]);
    const tall = Math.max((level / 255) * half, 0.5);
    pen.fillRect(x, middle - tall, 1, 2 * tall);
  }
}

// Of all samples in one column of pixels the highest; pieces part where nothing is known.
function peaks(times, values, { width, height, start, end }) {
  const pieces = [[]];
  const scale = width / (end - start);
  const first = Math.max(lower(times, start) - 1, 0);
  const stop = Math.min(lower(times, end) + 1, times.length);
  for (let n = first; n < stop; n++) {
    const piece = pieces[pieces.length - 1];
    if (values[n] === null) {
      if (piece.length) pieces.push([]);
      continue;
    }
    const point = [(times[n] - start) * scale, (1 - values[n]) * height];
    const last = piece[piece.length - 1];
    if (last && Math.floor(last[0]) === Math.floor(point[0])) last[1] = Math.min(last[1], point[1]);
    else piece.push(point);
  }
  return pieces.filter((piece) => piece.length);
}

// The place of the first time that is not before.
function lower(times, time) {
  let [low, high] = [0, times.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] < time) low = middle + 1;
    else high = middle;
  }
  return low;
}

function line(pen, pieces, colour, width) {
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.beginPath();
  for (const piece of pieces) {
    pen.moveTo(...piece[0]);
    for (const point of piece) pen.lineTo(...point);
  }
  pen.stroke();
}

function area(pen, pieces, { height }, colour) {
  pen.fillStyle = colour;
  for (const piece of pieces) {
    pen.beginPath();
    pen.moveTo(piece[0][0], height);
    for (const point of piece) pen.lineTo(...point);
    pen.lineTo(piece[piece.length - 1][0], height);
    pen.fill();
  }
}

function grid(pen, { width, height, bottom, start, end }, lines, words, font) {
  pen.strokeStyle = lines;
  pen.fillStyle = words;
  pen.font = `11px ${font}`;
  pen.textBaseline = "middle";
  pen.beginPath();
  for (const score of height > 0 ? [0, 0.25, 0.5, 0.75] : []) {
    pen.moveTo(0, Math.round((1 - score) * height) + 0.5);
    pen.lineTo(width, Math.round((1 - score) * height) + 0.5);
  }
  const step = STEPS.find((each) => (each / (end - start)) * width >= APART) || STEPS[STEPS.length - 1];
  for (let time = Math.ceil(start / step) * step; time <= end; time += step) {
    const x = Math.round(((time - start) / (end - start)) * width) + 0.5;
    pen.moveTo(x, bottom);
    pen.lineTo(x, bottom + 4);
    const text = clock(time, 0);
    const half = pen.measureText(text).width / 2;
    pen.fillText(text, Math.min(Math.max(x - half, 2), width - 2 * half - 2), bottom + AXIS / 2 + 2);
  }
  pen.stroke();
}
