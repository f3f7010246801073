// The time axis of a run: how long it is, where its ticks are, and how it is zoomed. Pure; node tests it.

const NICE = [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10];
const PARTS = 5; // of the axis between two lines
const SHORTEST = 1e-3; // milliseconds that can be seen
const MINUTE = 60_000;
const LONG = [0.25, 0.5, 1, 2, 3, 5, 10, 15, 20, 30, 60, 120, 180, 360, 720, 1440, 2880, 7200, 14_400]; // minutes
const UNITS = [
  ["d", 86_400_000, 3],
  ["h", 3_600_000, 3],
  ["min", 60_000, 3],
  ["s", 1000, 2],
  ["ms", 1, 0],
];

/** The smallest round step of which `PARTS` are at least as long. */
export function stepFor(length, parts = PARTS) {
  const least = Math.max(length, SHORTEST) / parts;
  if (least > 10_000 && least <= LONG.at(-1) * MINUTE)
    return LONG.find((one) => one * MINUTE >= least) * MINUTE;
  const power = 10 ** Math.floor(Math.log10(least));
  const step = NICE.find((one) => one * power >= least * (1 - 1e-9)) ?? 10;
  return step * power;
}

/** The whole axis of a run that lasts so long, from 0. */
export function wholeOf(length) {
  return { from: 0, to: stepFor(length) * PARTS };
}

/** Where a time lies on an axis, in percent. */
export function percentOf(at, { from, to }) {
  return ((at - from) / (to - from)) * 100;
}

/** The ticks of an axis: `[{ at, percent, text }]`; the first one has the unit. */
export function ticksOf(axis) {
  const length = axis.to - axis.from;
  const step = stepFor(length);
  const largest = Math.max(Math.abs(axis.from), Math.abs(axis.to));
  const [unit, size] = UNITS.find(([, one, factor]) => largest >= one * Math.max(1, factor)) ?? UNITS.at(-1);
  const digits = Math.min(
    6,
    Math.max(0, Math.ceil(-Math.log10(step / size) - 1e-9) + (isHalf(step) ? 1 : 0)),
  );
  const ticks = [];
  for (let n = Math.ceil(axis.from / step - 1e-9); n * step < axis.to * (1 - 1e-9); n += 1) {
    const value = String(Number(((n * step) / size).toFixed(digits)));
    const percent = percentOf(n * step, axis);
    ticks.push({ at: n * step, percent, text: ticks.length ? value : `${value} ${unit}` });
    if (ticks.length > 20) break;
  }
  return ticks;
}

function isHalf(step) {
  const lead = step / 10 ** Math.floor(Math.log10(step) + 1e-9);
  return Math.abs(lead - Math.round(lead)) > 1e-6;
}

/** The lines of an axis as a background, at each tick or at every second: its size and position in percent. */
export function gridOf(axis, every = 1) {
  const size = (stepFor(axis.to - axis.from) / (axis.to - axis.from)) * every;
  const first = ticksOf(axis)[0]?.percent ?? 0;
  return { size: size * 100, position: size < 1 ? first / (1 - size) : 0 };
}

/** An axis that lies within the whole one and is no shorter than can be seen. */
export function within(axis, whole) {
  const longest = whole.to - whole.from;
  const length = Math.min(longest, Math.max(longest / 10_000, SHORTEST * 10, axis.to - axis.from));
  const from = Math.min(Math.max(whole.from, axis.from), whole.to - length);
  return { from, to: from + length };
}

/** The axis nearer or farther, so that the time at `share` of it stays there. */
export function zoomed(axis, whole, factor, share = 0.5) {
  const length = (axis.to - axis.from) * factor;
  const pivot = axis.from + (axis.to - axis.from) * share;
  return within({ from: pivot - length * share, to: pivot + length * (1 - share) }, whole);
}

/** The axis moved by a share of its length. */
export function moved(axis, whole, share) {
  const by = (axis.to - axis.from) * share;
  return within({ from: axis.from + by, to: axis.to + by }, whole);
}

/** Whether all is seen. */
export function isWhole(axis, whole) {
  return axis.from <= whole.from && axis.to >= whole.to;
}
