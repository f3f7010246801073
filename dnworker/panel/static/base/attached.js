// The mark of a runtime that is attached to another one: red where it is live, calm where it is in its shadow.
import { html } from "../vendor/vendor.js";
import { clockSeconds, count } from "./format.js";
import { useStore } from "./store.js";

const WORDS = { different: "different", same: "same", pending: "pending", unknown: "unknown" };

/** What a score says: `3 different, 1,204 same`; what is none of is left out. */
export function scoreText(score) {
  const some = Object.entries(WORDS).filter(([name]) => score[name] > 0);
  return some.map(([name, word]) => `${count(score[name])} ${word}`).join(", ") || "nothing compared yet";
}

/** Whether the other runtime answers, where that is to be said; `lost` with since when. */
export function stateText({ state, since, detail }) {
  const why = detail && `: ${detail}`;
  if (state === "lost") return `lost since ${clockSeconds(since)}${why}; it goes on by itself`;
  if (state === "connecting") return `connecting${why}`;
  return state === "ended" ? `ended${why}` : "";
}

/** The gaps with their numbers: what was missed, and cannot be had. */
export function gapsText({ gaps, gap }) {
  if (!gaps) return "";
  const until = gap.until === null ? "" : ` and before #${gap.until}`;
  const last = `${gaps > 1 ? "the last one " : ""}after #${gap.after}${until}`;
  return `${gaps > 1 ? `${count(gaps)} gaps` : "a gap"}, ${last}: ${gap.detail}`;
}

/** A line over everything that shows this runtime; nothing where it is attached to none. */
export function AttachedBand({ isSmall = false }) {
  const attached = useStore().value("runtime").value?.attached;
  if (!attached) return null;
  const isLive = attached.mode === "live";
  const state = stateText(attached);
  const gaps = gapsText(attached);
  const what = isLive
    ? "what workers publish, notify or start is done there"
    : `nothing is changed there; ${scoreText(attached.score)}`;
  return html`<div class=${`attached at-${attached.mode}`} role=${isLive ? "alert" : "note"} aria-label="attached">
    <b>${isLive ? "LIVE" : "Shadow"}</b>
    <span class="g">
      <span class="m">${attached.url}</span>${!isSmall && html`: ${what}`}
      ${state && html` <b>(${state})</b>`}${!isSmall && gaps && html` <span>(${gaps})</span>`}
    </span>
  </div>`;
}
