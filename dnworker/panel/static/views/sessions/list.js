// The list of sessions: state, title, who answers, what is asked.
import { html } from "../../vendor/vendor.js";
import { ago, plural } from "../../base/format.js";
import { VirtualList } from "../../base/list.js";
import { useStore } from "../../base/store.js";

const ROW = 48; // px

/** What people call the phases of a session. */
export const PHASES = {
  idle: "Idle",
  running: "Running",
  awaiting_input: "Waits for an answer",
  awaiting_permission: "Waits for leave",
};
const DOTS = { idle: "stop", running: "start", awaiting_input: "busy", awaiting_permission: "busy" };

/** The dot of a phase; words beside it say the same. */
export function Phase({ phase }) {
  return html`<i class=${`dot ${DOTS[phase] ?? "stop"}`} aria-hidden="true"></i>`;
}

function Row({ session, isOn, isUnread, now }) {
  const { phase, title, id, agent, turns, prompts, waiting, updated } = session;
  const about = [
    phase === "idle" ? null : PHASES[phase],
    agent ?? "no agent",
    plural(turns, "turn"),
    waiting > 0 && `${waiting} waiting`,
  ];
  return html`<div class=${`session ${isOn ? "sel" : ""}`}>
    <${Phase} phase=${phase} />
    <div class="g">
      <div class=${`el ${isUnread ? "b" : ""}`} dir="auto" title=${title ?? id}>${title ?? id}</div>
      <div class="s t3 el">${about.filter(Boolean).join(" · ")}</div>
    </div>
    ${prompts > 0 && html`<span class="chip look">${prompts}<span class="offscreen"> to answer</span></span>`}
    <span class="s t3 nw">${updated ? ago(Date.parse(updated), now) : ""}</span>
  </div>`;
}

export function SessionList({ sessions, chosen, unread, listRef, choose, open }) {
  const store = useStore();
  store.tick.value; // ages grow
  const now = store.now();
  return html`<${VirtualList}
    count=${sessions.length}
    rowHeight=${ROW}
    label="Sessions"
    listRef=${listRef}
    current=${sessions.findIndex((session) => session.id === chosen)}
    onChoose=${(n) => choose(sessions[n].id)}
    onOpen=${(n) => open(sessions[n].id)}
    row=${(n) =>
      html`<${Row}
        session=${sessions[n]}
        isOn=${sessions[n].id === chosen}
        isUnread=${unread(sessions[n])}
        now=${now}
      />`}
  />`;
}
