// The states of a worker and the steps between them; those that it took of late are lit.
import { html } from "../../vendor/vendor.js";
import { nameOf } from "./lanes.js";

const WIDTH = 66;
const HEIGHT = 20;
const BOXES = {
  loading: [0, 1],
  starting: [1, 1],
  running: [2, 1],
  stopping: [3, 1],
  stopped: [4, 1],
  error: [2, 0],
  gated_off: [4, 0],
  standby: [3, 0], // drawn where several nodes share the workers
};
// The steps that people should know; any other is drawn when it was taken (contract 2.7 has them all).
const STEPS = [
  ["loading", "starting"],
  ["starting", "running"],
  ["running", "stopping"],
  ["stopping", "stopped"],
  ["stopped", "gated_off"],
  ["loading", "error"],
  ["starting", "error"],
  ["running", "error"],
];

function centre(state) {
  const [column, row] = BOXES[state];
  return [column * 84 + WIDTH / 2 + 1, row * 34 + HEIGHT / 2 + 1];
}

/** The steps since the worker was loaded last. */
export function sinceLoad(steps) {
  return steps.slice(
    Math.max(
      0,
      steps.findLastIndex((one) => one.state === "loading"),
    ),
  );
}

/** The steps that were taken, as `from>to`. */
export function stepsTaken(steps) {
  return new Set(steps.slice(1).map((to, n) => `${steps[n].state}>${to.state}`));
}

/** Where the line from one state to the other begins and ends: on the edges of their boxes. */
export function lineEnds(from, to) {
  const [x1, y1] = centre(from);
  const [x2, y2] = centre(to);
  const edge = (x, y, dx, dy) => {
    const scale = Math.min(
      dx ? WIDTH / 2 / Math.abs(dx) : Infinity,
      dy ? HEIGHT / 2 / Math.abs(dy) : Infinity,
    );
    return [x + dx * scale, y + dy * scale];
  };
  return [...edge(x1, y1, x2 - x1, y2 - y1), ...edge(x2, y2, x1 - x2, y1 - y2)];
}

/** What the picture shows, in words. */
export function description(state, steps) {
  return `State machine: ${state}; the way since it was loaded: ${steps.map((one) => one.state).join(", ")}`;
}

function Step({ from, to, isTaken }) {
  const [x1, y1, x2, y2] = lineEnds(from, to).map((n) => n.toFixed(1));
  const angle = (Math.atan2(y2 - y1, x2 - x1) * 180) / Math.PI;
  const cls = isTaken ? "taken" : "";
  return html`<line class=${`step ${cls}`} x1=${x1} y1=${y1} x2=${x2} y2=${y2} />
    <path class=${`tip ${cls}`} d="M0 0L-6 3L-6 -3Z" transform=${`translate(${x2} ${y2}) rotate(${angle.toFixed(1)})`} />`;
}

export function Machine({ steps, state }) {
  const way = sinceLoad(steps);
  const taken = stepsTaken(way);
  const been = new Set(way.map((one) => one.state));
  const known = new Set(STEPS.map((step) => step.join(">")));
  const others = [...taken].filter((step) => !known.has(step)).map((step) => step.split(">"));
  const drawn = [...STEPS, ...others].filter(([from, to]) => from in BOXES && to in BOXES && from !== to);
  return html`<svg class="w-machine" viewBox="0 0 404 58" role="img" aria-label=${description(state, way)}>
    ${drawn.map(([from, to]) => html`<${Step} from=${from} to=${to} isTaken=${taken.has(`${from}>${to}`)} />`)}
    ${Object.keys(BOXES)
      .filter((one) => one !== "standby" || been.has(one))
      .map((one) => {
        const [x, y] = centre(one);
        const here = one === state ? `here is-${one}` : been.has(one) ? "been" : "";
        return html`<rect class=${`place ${here}`} x=${x - WIDTH / 2} y=${y - HEIGHT / 2} width=${WIDTH} height=${HEIGHT} rx="6" />
        <text class=${`s3 ${here}`} x=${x} y=${y + 4} text-anchor="middle">${nameOf(one)}</text>`;
      })}
  </svg>`;
}
