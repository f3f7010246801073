// The rows of the list of workers: one of a group, one of a worker.
import { html } from "../../vendor/vendor.js";
import { coarse, count, duration, nameParts, plural, rate } from "../../base/format.js";
import { Dot, Icon } from "../../base/ui.js";
import { figuresOf, sparkLabel, sparkPaths, stateWord, topologyOf } from "./figures.js";

const SPARK_WIDTH = 120;
const SPARK_HEIGHT = 20;
const MANY = 100; // waiting events from which on the number is amber

const cell = (cls, content, n) =>
  html`<span role="gridcell" class=${cls} aria-colindex=${n}>${content}</span>`;

/** A sparkline of two paths, so that thirty of them cost little. */
function Bars({ figures }) {
  const paths = sparkPaths(figures, SPARK_WIDTH, SPARK_HEIGHT);
  return html`<svg
    width=${SPARK_WIDTH}
    height=${SPARK_HEIGHT}
    viewBox=${`0 0 ${SPARK_WIDTH} ${SPARK_HEIGHT}`}
    role="img"
    aria-label=${sparkLabel(figures)}
  >
    <line class="ax" x1="0" x2=${SPARK_WIDTH} y1=${SPARK_HEIGHT - 0.5} y2=${SPARK_HEIGHT - 0.5} />
    ${paths.ok && html`<path d=${paths.ok} fill="var(--dn-run-fill-2)" />`}
    ${paths.bad && html`<path d=${paths.bad} fill="var(--dn-bad-fill)" />`}
  </svg>`;
}

/** A group: its name, how many are in it, and what they do together. */
export function GroupRow({ group, isFolded }) {
  return html`
    <span role="gridcell" class="w-group" aria-colindex="1" aria-expanded=${String(!isFolded)}>
      <${Icon} name=${isFolded ? "right" : "down"} />
      <bdi class="b el">${group.name}</bdi>
      <span class="t3 nw">${plural(group.workers.length, "worker")}</span>
    </span>
    ${cell("c-topology", "", 2)}${cell("c-spark", "", 3)}${cell("c-rate r", rate(group.rate), 4)}
    ${cell("c-p95", "", 5)}${cell("c-errors r bad", group.errors ? count(group.errors) : "", 6)}
    ${cell("c-flight", "", 7)}${cell("c-backlog", "", 8)}${cell("c-next", "", 9)}
  `;
}

/** A worker; its whole name where the list has no groups. */
export function WorkerRow({ worker, isGrouped, now, clockNow, paused }) {
  const figures = figuresOf(worker, now);
  const [, own] = nameParts(worker.name);
  const isHeld = paused && worker.inProcess && worker.state === "running";
  const [word, tone] = isHeld ? [`Paused by ${paused}`, "warn"] : (stateWord(worker) ?? []);
  const [topology, icon] = topologyOf(worker.topology);
  const name = isGrouped ? own : worker.name;
  const due = worker.nextRun === undefined ? "" : coarse(Math.max(0, worker.nextRun - clockNow));
  const waiting = worker.backlog ?? 0;
  return html`
    <span role="gridcell" class="w-name" aria-colindex="1">
      <${Dot} state=${isHeld ? "busy" : worker.state} />
      <bdi class="el w-own" title=${worker.name}>${name}</bdi>
      ${word && html`<span class=${`s el w-word ${tone}`} title=${worker.error ?? word}>${word}</span>`}
      ${worker.storm && html`<span class="s warn nw" title=${worker.storm.text}>Storm</span>`}
    </span>
    ${cell("c-topology s t2", html`<span class="t3"><${Icon} name=${icon} /></span><span class="el">${topology}</span>`, 2)}
    ${cell("c-spark", html`<${Bars} figures=${figures} />`, 3)}
    ${cell("c-rate r", rate(figures.rate), 4)}
    ${cell("c-p95 r", worker.p95 ? duration(worker.p95) : "", 5)}
    ${cell("c-errors r bad", figures.failed ? count(figures.failed) : "", 6)}
    ${cell("c-flight r", worker.inFlight ? count(worker.inFlight) : "", 7)}
    ${cell(`c-backlog r ${waiting >= MANY ? "warn" : ""}`, waiting ? count(waiting) : "", 8)}
    ${cell("c-next r t2", due, 9)}
  `;
}
