// The list of runs: a row each, newest first; new ones wait while the pointer or the focus is in it.
import { html, useEffect, useMemo, useRef, useState } from "../../vendor/vendor.js";
import { coarse, duration, plural } from "../../base/format.js";
import { VirtualList } from "../../base/list.js";
import { useLook, useStore } from "../../base/store.js";
import { Icon } from "../../base/ui.js";
import { OUTCOMES, RunRows } from "./rows.js";

const OLDER_AT_ONCE = 200;
const NEAR_END = 12; // rows from the end at which older ones are fetched
const MARKS = {
  failed: ["cross", "bad"],
  running: ["clock", "acc"],
  cancelled: ["stop", "t3"],
  warning: ["warning", "warn"],
  ok: ["check", "ok"],
  none: ["unheard", "t3"],
};

/** How a run ended, as an icon with its word. */
export function OutcomeMark({ outcome }) {
  const [icon, cls] = MARKS[outcome] ?? MARKS.none;
  return html`<span class=${cls} title=${OUTCOMES[outcome]} role="img" aria-label=${OUTCOMES[outcome]}
    ><${Icon} name=${icon}
  /></span>`;
}

/** The miniature of a run: a bar a call, its wait before it. */
function Miniature({ bars }) {
  const percent = (share) => `${(share * 100).toFixed(1)}%`;
  const step = Math.min(4, 17 / Math.max(1, bars.length - 1));
  return html`<div class="mini" aria-hidden="true">
    ${bars.map(([start, waited, ran, failed], n) => {
      const top = `${n * step}px`;
      return html`<i class="q" style=${{ left: percent(start), width: percent(waited), top }} />
        <i class=${failed ? "x" : ""} style=${{ left: percent(start + waited), width: percent(ran), top }} />`;
    })}
  </div>`;
}

function secondLine(row) {
  const dead = row.dead ? `, ${plural(row.dead, "dead letter")}` : "";
  const counts = `${plural(row.events, "event")}, ${plural(row.calls, "call")}${dead}`;
  const what = row.outcome === "none" ? (row.why ?? "Nobody listens") : counts;
  const by = row.by ? `, by agent ${row.by}` : "";
  return html`${row.text}<span class="t3">${row.text ? " · " : ""}${what}${by}</span>`;
}

function RunRow({ row, chosen, now }) {
  const took = row.duration ?? Math.max(0, now - row.at);
  return html`<div class=${`run ${chosen ? "sel" : ""}`}>
    <${OutcomeMark} outcome=${row.outcome} />
    <div class="what">
      <div class="row"><span class="el b">${row.kind}</span><span class="t3 s">#${row.seq}</span></div>
      <div class="s t2 el" title=${row.why ?? row.text}>${secondLine(row)}</div>
    </div>
    <${Miniature} bars=${row.mini} />
    <span class=${`r nw ${row.outcome === "failed" ? "bad" : ""}`}>${duration(took)}</span>
    <span class="r s t3 nw">${coarse(now - row.at)}</span>
  </div>`;
}

/** The rows that match a filter, kept up; `held()` says whether they must not move now. */
export function useRuns(filter, held) {
  const store = useStore();
  const list = useMemo(() => new RunRows(), [store]);
  const [, draw] = useState(0);
  const redraw = () => draw((n) => n + 1);
  useEffect(
    () =>
      store.on("runs", (value) => {
        if (!value) return;
        list.take(value, held());
        redraw();
      }),
    [store],
  );
  useLook("runs", { filter });
  const release = () => {
    list.release();
    redraw();
  };
  const older = async () => {
    if (
      store.disabled.peek() ||
      list.isLoading ||
      list.complete ||
      !list.rows.length ||
      list.filter?.order === "slowest"
    )
      return;
    list.isLoading = true;
    const { filter: asked } = list;
    const message = { type: "older", before: list.rows.at(-1).seq };
    const answer = await store.request("Older runs", message, null); // nobody has pressed anything
    list.isLoading = false;
    if (!answer || asked !== list.filter) return;
    list.append(answer.rows, OLDER_AT_ONCE);
    redraw();
  };
  return { list, release, older };
}

/** The list. `paused` keeps it still whoever looks. */
export function RunList({ runs, chosen, onChoose, onHold, listRef, empty }) {
  const store = useStore();
  store.tick.value; // ages
  const { list, release, older } = runs;
  const { rows } = list;
  const now = store.now();
  const rowHeight = store.width.value === "wide" ? 48 : 44;
  const where = useRef({ pointer: false, focus: false }).current;
  const note = (name, isHere) => () => {
    where[name] = isHere;
    onHold(where.pointer || where.focus);
  };
  const leave = useRef(null);
  leave.current = () => (where.pointer || where.focus) && onHold(false);
  useEffect(() => () => leave.current(), []); // what goes away hears no pointer leave it
  const showNew = () => {
    release();
    if (listRef.current) listRef.current.scrollTop = 0;
  };
  return html`<div
    class="runs-list"
    onPointerEnter=${note("pointer", true)}
    onPointerLeave=${note("pointer", false)}
    onFocusIn=${note("focus", true)}
    onFocusOut=${note("focus", false)}
  >
    ${
      list.fresh > 0 &&
      html`<button type="button" class="btn sm fresh" onClick=${showNew}>${list.freshText}</button>`
    }
    ${!rows.length && list.seen ? empty : null}
    <${VirtualList}
      count=${rows.length}
      rowHeight=${rowHeight}
      label="Runs"
      listRef=${listRef}
      current=${list.indexOf(chosen)}
      onChoose=${(i) => rows[i] && onChoose(rows[i].id)}
      onOpen=${(i) => rows[i] && onChoose(rows[i].id, true)}
      onRange=${(_, until) => until >= rows.length - NEAR_END && older()}
      row=${(i) => html`<${RunRow} row=${rows[i]} chosen=${rows[i].id === chosen} now=${now} />`}
    />
  </div>`;
}
