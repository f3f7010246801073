// The lifecycle of a worker over the last 30 minutes: seven lanes, and the reasons of its steps below.
import { html, useEffect, useRef, useState } from "../../vendor/vendor.js";
import { clock, clockSeconds } from "../../base/format.js";
import { useStore } from "../../base/store.js";
import { Button, Link } from "../../base/ui.js";
import { LANE_NAMES, barsOf, marksOf, nameOf, reasons, sentence, ticksOf } from "./lanes.js";
import { Machine } from "./machine.js";

const LEFT = 76; // pixels of the names of the lanes
const LANE = 18;
const FIRST = 9;
const REASONS = 3; // shown at first

const FILLS = {
  loading: "var(--dn-run-fill-2)",
  starting: "var(--dn-run-fill)",
  running: "var(--dn-ok-fill)",
  stopping: "var(--dn-warn-fill)",
  stopped: "var(--dn-wait)",
  error: "var(--dn-bad-fill)",
  gated_off: "var(--dn-off)",
  standby: "var(--dn-off)",
};
const middle = (lane) => FIRST + LANE * lane;

function Picture({ life, now, width }) {
  const room = Math.max(80, width - LEFT - 4);
  const bars = barsOf(life.steps, now, room);
  const ticks = ticksOf(life.failures, life.failureStep, bars, now, room);
  const marks = marksOf(life.generations, now, room);
  return html`<svg
    width=${width}
    height="148"
    viewBox=${`0 0 ${width} 148`}
    role="img"
    aria-label=${sentence(life.steps, life.failures)}
  >
    ${LANE_NAMES.map(
      (name, lane) => html`<text class="s3" x="0" y=${middle(lane) + 4}>${name}</text>
        <line class="ax" x1=${LEFT} x2=${LEFT + room} y1=${middle(lane)} y2=${middle(lane)} />`,
    )}
    ${bars.slice(1).map(
      (bar, n) => html`<line
        x1=${LEFT + bar.x}
        x2=${LEFT + bar.x}
        y1=${middle(bars[n].lane)}
        y2=${middle(bar.lane)}
        stroke="var(--dn-text-3)"
      />`,
    )}
    ${bars.map(
      (bar) => html`<rect
        x=${LEFT + bar.x}
        y=${middle(bar.lane) - 4}
        width=${bar.width}
        height="8"
        rx="2"
        fill=${FILLS[bar.state]}
      ><title>${nameOf(bar.state)} from ${clockSeconds(bar.from)}</title></rect>`,
    )}
    ${ticks.map(
      (tick) => html`<rect
        class="w-tick"
        x=${LEFT + tick.x}
        y=${middle(tick.lane) - 4}
        width="3"
        height="8"
        fill="var(--dn-bad-fill)"
      ><title>${tick.count} failed</title></rect>`,
    )}
    ${marks.map(
      (
        mark,
      ) => html`<line x1=${LEFT + mark.x} x2=${LEFT + mark.x} y1="126" y2="132" stroke="var(--dn-text-3)" />
        ${mark.label !== null && html`<text class="s3" x=${LEFT + mark.label} y="143">${clock(mark.at)} gen ${mark.number}</text>`}`,
    )}
    <text class="s3" x=${LEFT + room} y="143" text-anchor="end">Now</text>
  </svg>`;
}

/** Pixels that an element has, as they change. */
export function useWidth(at) {
  const [width, setWidth] = useState(548);
  useEffect(() => {
    const observer = new ResizeObserver(() => setWidth(Math.round(at.current?.clientWidth ?? 548)));
    observer.observe(at.current);
    return () => observer.disconnect();
  }, []);
  return width;
}

export function Lifecycle({ life, state }) {
  const store = useStore();
  const root = useRef(null);
  const width = useWidth(root);
  const [showsAll, setShowsAll] = useState(false);
  const [machine, setMachine] = useState(false);
  store.tick.value; // time goes on
  const now = store.now();
  const told = life ? reasons(life.steps) : [];
  const shown = showsAll ? told : told.slice(0, REASONS);
  return html`<section class="ds" aria-label="Lifecycle">
    <h3>
      Lifecycle<span class="g"></span><span class="s t3 n">30 min, red marks failed calls</span>
      <${Button}
        icon="sequence"
        small
        label=${machine ? "Hide the state machine" : "Show the state machine"}
        aria-pressed=${String(machine)}
        onClick=${() => setMachine(!machine)}
      />
    </h3>
    <div ref=${root} class="w-life">${life && html`<${Picture} life=${life} now=${now} width=${width} />`}</div>
    ${machine && life && html`<${Machine} steps=${life.steps} state=${state} />`}
    <ol class="w-steps" aria-label="Why, the newest first">
      ${shown.map(
        (step, n) => html`<li key=${`${step.at} ${step.state}`} class="s">
          <span class="t3">${clockSeconds(step.at)}</span>
          <span>${nameOf(step.state)}</span>
          <bdi class="t2 el" title=${step.reason}>${step.reason}</bdi>
          ${
            n === shown.length - 1 &&
            told.length > REASONS &&
            html`<${Link} cls="nw" aria-expanded=${String(showsAll)} onClick=${() => setShowsAll(!showsAll)}
              >${showsAll ? "Fewer" : `${told.length - REASONS} more`}<//
            >`
          }
        </li>`,
      )}
    </ol>
  </section>`;
}
