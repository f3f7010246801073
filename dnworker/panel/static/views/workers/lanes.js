// Where the bars of a worker's lifecycle lie: seven lanes over 30 minutes. Pure; node tests it.

export const STATES = ["loading", "starting", "running", "stopping", "stopped", "error", "gated_off"];
export const LANE_NAMES = ["Loading", "Starting", "Running", "Stopping", "Stopped", "Error", "Gated off"];
/** The lane of a state; a worker that stands by for another node is drawn where it is stopped. */
export const laneOf = (state) => STATES.indexOf(state === "standby" ? "stopped" : state);
export const nameOf = (state) => (state === "standby" ? "Standby" : LANE_NAMES[laneOf(state)]);
export const SPAN = 30 * 60_000; // milliseconds that are shown
export const NARROWEST = 8; // pixels of a bar, however short it was
const NOW_WIDTH = 28; // pixels that `Now` takes at the end
const LABEL_WIDTH = 72; // pixels that the label of a generation takes

/** Steps as stretches of time: each lasts until the next; the last one until now. Those of the same state are one. */
export function stretches(steps, now) {
  const found = [];
  for (const step of steps) {
    const last = found.at(-1);
    if (last?.state === step.state) continue;
    if (last) last.until = Math.max(last.from, Math.min(step.at, now));
    found.push({ state: step.state, from: Math.min(step.at, now), until: now });
  }
  return found;
}

/**
 * The bars in `width` pixels: `{ state, lane, x, width }`, from left to right, each at least 8 px wide and none over
 * another. What is too much for the width is left out, the oldest first.
 */
export function barsOf(steps, now, width) {
  const since = now - SPAN;
  let all = stretches(steps, now).filter((one) => one.until > since || one.until === now);
  all = all.slice(-Math.floor(width / NARROWEST));
  const place = (at) => ((Math.max(at, since) - since) / SPAN) * width;
  const starts = [];
  for (const one of all)
    starts.push(Math.max(place(one.from), starts.length ? starts.at(-1) + NARROWEST : 0));
  let end = width;
  for (let n = starts.length - 1; n >= 0; n -= 1) {
    starts[n] = Math.max(0, Math.min(starts[n], end - NARROWEST));
    end = starts[n];
  }
  return all.map((one, n) => ({
    ...one,
    lane: laneOf(one.state),
    x: starts[n],
    width: (starts[n + 1] ?? width) - starts[n],
  }));
}

/** Where failed calls are marked: within the bar of the state that the worker was in, by their time. */
export function ticksOf(failures, step, bars, now, width) {
  const since = now - SPAN;
  const found = [];
  for (const [at, count] of failures) {
    const middle = Math.min(at + step / 2, now);
    if (middle < since) continue;
    const bar = bars.findLast((one) => one.from <= Math.min(at + step, now)) ?? bars[0];
    if (!bar) continue;
    const x = ((middle - since) / SPAN) * width - 1.5;
    found.push({ x: Math.min(Math.max(x, bar.x + 1), bar.x + bar.width - 4), lane: bar.lane, count });
  }
  return found;
}

/** The generations to be marked, newest kept where labels would lie over each other. */
export function marksOf(generations, now, width) {
  const since = now - SPAN;
  let left = width - NOW_WIDTH;
  const found = [];
  for (const one of [...generations].reverse()) {
    if (one.at < since) break;
    const x = ((one.at - since) / SPAN) * width;
    const label = found.length ? x : Math.min(x, left - LABEL_WIDTH); // the newest has one in any case
    const hasLabel = label + LABEL_WIDTH <= left && label >= 0;
    found.push({ ...one, x, label: hasLabel ? label : null });
    if (hasLabel) left = label - 4;
  }
  return found.reverse();
}

/** The steps with a reason, newest first; a stop that is part of a restart is told once. */
export function reasons(steps) {
  const told = steps.filter((step, n) => {
    if (!step.reason) return false;
    const rest = steps.slice(n + 1, n + 3);
    return !(["stopping", "stopped"].includes(step.state) && rest.some((one) => one.reason === step.reason));
  });
  return told.reverse();
}

/** What the picture shows, in words. */
export function sentence(steps, failures) {
  const now = steps.at(-1);
  if (!now) return "Lifecycle: never started";
  const failed = failures.reduce((n, [, count]) => n + count, 0);
  const count = steps.length - 1;
  const before = count ? `, after ${count} ${count === 1 ? "step" : "steps"}` : "";
  return `Lifecycle over the last 30 minutes: ${nameOf(now.state).toLowerCase()} now${before}; ${failed} failed calls`;
}
