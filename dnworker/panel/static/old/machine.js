// A worker's lifecycle as a picture: seven states, the way it took lit.
import { shape } from "../base/dom.js";

export const MARKS = {
  running: "●",
  starting: "◐",
  loading: "◌",
  stopping: "◑",
  stopped: "○",
  error: "✕",
  gated_off: "⊘",
};

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

/** The steps that were taken, as `from>to`. */
export function stepsTaken(transitions) {
  return new Set(transitions.slice(1).map((to, n) => `${transitions[n].state}>${to.state}`));
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
export function description(worker) {
  const way = worker.transitions.map((one) => one.state).join(", ");
  return `state machine: ${worker.state}; the way since it was loaded: ${way}`;
}

/** The picture. */
export function machine(worker) {
  const taken = stepsTaken(worker.transitions);
  const been = new Set(worker.transitions.map((one) => one.state));
  const known = new Set(STEPS.map((step) => step.join(">")));
  const steps = [...STEPS, ...[...taken].filter((step) => !known.has(step)).map((step) => step.split(">"))];
  const picture = shape("svg", {
    cls: "dnw-machine",
    viewBox: "0 0 404 58",
    role: "img",
    "aria-label": description(worker),
  });
  for (const [from, to] of steps) {
    if (!(from in BOXES) || !(to in BOXES)) continue;
    const [x1, y1, x2, y2] = lineEnds(from, to).map((n) => n.toFixed(1));
    const lit = taken.has(`${from}>${to}`) ? " dnw-taken" : "";
    const angle = (Math.atan2(y2 - y1, x2 - x1) * 180) / Math.PI;
    picture.append(
      shape("line", { cls: `dnw-step${lit}`, x1, y1, x2, y2 }),
      shape("path", {
        cls: `dnw-tip${lit}`,
        d: "M0 0L-6 3L-6 -3Z",
        transform: `translate(${x2} ${y2}) rotate(${angle.toFixed(1)})`,
      }),
    );
  }
  for (const state of Object.keys(BOXES)) {
    const [x, y] = centre(state);
    const here = state === worker.state ? ` dnw-here dnw-is-${state}` : been.has(state) ? " dnw-been" : "";
    picture.append(
      shape("rect", {
        cls: `dnw-place${here}`,
        x: x - WIDTH / 2,
        y: y - HEIGHT / 2,
        width: WIDTH,
        height: HEIGHT,
        rx: 10,
      }),
      shape("text", {
        cls: `dnw-name${here}`,
        x,
        y: y + 3.5,
        "text-anchor": "middle",
        text: state.replace("_", " "),
      }),
    );
  }
  return picture;
}
