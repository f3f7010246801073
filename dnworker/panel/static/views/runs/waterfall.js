// The waterfall of a run: a tree of events and calls beside the time axis, of which only the rows that can be seen exist.
import { html, useEffect, useId, useLayoutEffect, useRef, useSignal, useState } from "../../vendor/vendor.js";
import { duration, nameParts } from "../../base/format.js";
import { useStore } from "../../base/store.js";
import { Hover } from "./hover.js";
import { percentOf } from "./scale.js";
import { AxisRow, axisKey, gridStyle, placed, useAxisGestures } from "./timeline.js";
import { endOf, labelOf, visible } from "./tree.js";

const BEYOND = 10; // rows drawn above and below what can be seen
const DEEPEST = 14; // levels that are indented

function Diamond() {
  return html`<svg class="kd" width="8" height="8" viewBox="0 0 8 8" aria-hidden="true">
    <rect x="1.4" y="1.4" width="5.2" height="5.2" transform="rotate(45 4 4)" />
  </svg>`;
}

/** The numbers of an event's row: `#4814 to #4816`. */
export function numbersOf(row) {
  return row.last !== row.seq ? `#${row.seq} to #${row.last}` : `#${row.seq}`;
}

const DOT = { error: "err", running: "start", cancelled: "stop", warning: "busy" };

function Name({ item, narrow }) {
  const { row, level, isLast, hasBelow, isOpen, guides } = item;
  const at = (one) => (narrow ? 16 : 24) + (narrow ? 8 : 9) * Math.min(one - 1, DEEPEST);
  const left = at(level);
  const line = (one, cls) =>
    html`<i class=${`gd ${cls}`} key=${one} style=${{ left: `${at(one) - (narrow ? 5 : 6)}px` }}></i>`;
  const guide = [...guides.map((one) => line(one, "")), level > 1 && line(level, isLast ? "last" : "")];
  const fold = hasBelow && !isOpen && html`<span class="s t3 nw">…</span>`;
  const style = { paddingLeft: `${left}px` };
  if (row.type === "note")
    return html`<div class="n" role="gridcell" style=${style}>${guide}<span class="s t2 el" title=${row.text}>${row.text}</span></div>`;
  if (row.type === "event")
    return html`<div class="n" role="gridcell" style=${style} title=${row.kind}>
      ${guide}<${Diamond} /><span class="m el">${narrow ? shortKind(row.kind, level) : row.kind}</span>
      <span class="s t3 nw">${numbersOf(row)}</span>${fold}
    </div>`;
  const bad = row.outcome === "error";
  const worker = narrow ? nameParts(row.worker)[1] : row.worker;
  return html`<div class="n" role="gridcell" style=${style} title=${`${row.worker}.${row.handler}${onNode(row)}`}>
    ${guide}<i class=${`dot ${DOT[row.outcome] ?? ""}`}></i>
    <span class=${`nw el ${bad ? "bad" : ""}`}>${worker}<span class=${bad ? "" : "t3"}>.${row.handler}</span><span class="t3">${onNode(row)}</span></span>${fold}
  </div>`;
}

/** Where a call ran, where a runtime is one of several. */
const onNode = (row) => (row.node ? ` on ${row.node}` : "");

/** A kind without its first part, where there is little room below others. */
function shortKind(kind, level) {
  const dot = kind.indexOf(".");
  return level > 5 && dot > 0 ? kind.slice(dot + 1) : kind;
}

function Bars({ row, axis, now, mark: chosen, onChoose }) {
  if (row.type === "event") {
    const last = row.marks.at(-1);
    const says = row.text && percentOf(last.at, axis) < 80;
    return html`${row.marks.map(
      (mark) =>
        html`<i
          class=${`ev ${mark.id === chosen ? "on" : ""}`}
          key=${mark.id}
          title=${row.marks.length > 1 ? `#${mark.seq}` : undefined}
          style=${{ left: `${percentOf(mark.at, axis).toFixed(3)}%` }}
          onClick=${(event) => {
            event.stopPropagation(); // the row would choose its first event
            onChoose(mark.id);
          }}
        ></i>`,
    )}${
      says &&
      html`<span class="lb right" style=${{ left: `${percentOf(last.at, axis).toFixed(3)}%` }} title=${row.text}>${row.text}</span>`
    }`;
  }
  if (row.type !== "call") return null;
  const bad = row.outcome === "error";
  const end = endOf(row, now);
  const label = labelOf(row, axis, now);
  const beside =
    label?.side === "left"
      ? { right: `${(100 - percentOf(row.published, axis)).toFixed(3)}%` }
      : { left: `${percentOf(end, axis).toFixed(3)}%` };
  const kind = `x ${bad ? "f" : ""} ${row.outcome === "running" ? "on" : ""}`;
  return html`${row.started > row.published && html`<i class="q" style=${placed(axis, row.published, row.started)}></i>`}
    <i class=${kind} style=${placed(axis, row.started, end)}></i>
    ${label && html`<span class=${`lb ${label.side} ${label.bad ? "bad" : ""}`} style=${beside}>${label.text}</span>`}`;
}

function wordsOf(row, now, chosen) {
  const mark = row.marks?.length > 1 && row.marks.find((one) => one.id === chosen);
  const numbers = mark ? `#${mark.seq} of ${numbersOf(row)}` : row.type === "event" && numbersOf(row);
  if (row.type !== "call")
    return row.type === "note" ? row.text : `${row.kind} ${numbers}${row.text ? `, ${row.text}` : ""}`;
  const how = {
    error: `failed${row.error ? ` with ${row.error}` : ""}`,
    running: "running",
    cancelled: "cancelled",
  };
  const took = duration(row.ran ?? endOf(row, now) - row.started);
  return `${row.worker}.${row.handler}${onNode(row)}, ${how[row.outcome] ?? "succeeded"}, ran ${took}`;
}

/** Which rows of a scrolled element can be seen. */
function useWindow(ref, count, rowHeight) {
  const [view, setView] = useState({ top: 0, height: 600 });
  useEffect(() => {
    const node = ref.current;
    const look = () => setView({ top: node.scrollTop, height: node.clientHeight });
    const observer = new ResizeObserver(look);
    observer.observe(node);
    node.addEventListener("scroll", look, { passive: true });
    look();
    return () => {
      observer.disconnect();
      node.removeEventListener("scroll", look);
    };
  }, []);
  const from = Math.max(0, Math.floor(view.top / rowHeight) - BEYOND);
  return { from, until: Math.min(count, Math.ceil((view.top + view.height) / rowHeight) + BEYOND) };
}

/** The event before or after one of those that a row stands for; null at the ends, and of other rows. */
export function markBeside(row, id, key) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
  const at = row?.marks?.findIndex((mark) => mark.id === id) ?? -1;
  return (step && at >= 0 && row.marks[at + step]?.id) || null;
}

/** What the keys of a tree do: arrows move, from event to event within a row, and fold or unfold. */
function treeKey(event, items, at, { mark, choose, fold }) {
  const item = items[at];
  const beside = markBeside(item?.row, mark, event.key);
  const go = (n) => choose(items[Math.min(items.length - 1, Math.max(0, n))].row.id);
  const steps = {
    ArrowDown: at + 1,
    ArrowUp: at - 1,
    PageDown: at + 10,
    PageUp: at - 10,
    Home: 0,
    End: items.length - 1,
  };
  if (event.key in steps) go(steps[event.key]);
  else if (beside) choose(beside);
  else if (event.key === "ArrowRight" && item) {
    if (item.hasBelow && !item.isOpen) fold(item.row.id, false);
    else if (item.hasBelow) go(at + 1);
  } else if (event.key === "ArrowLeft" && item) {
    if (item.isOpen) fold(item.row.id, true);
    else if (item.row.parent) choose(item.row.parent);
  } else if ((event.key === "Enter" || event.key === " ") && item?.hasBelow) fold(item.row.id, item.isOpen);
  else return;
  event.preventDefault();
}

export function Waterfall({ run, view, now, chosen, mark, folded, onChoose, onFold }) {
  const store = useStore();
  const root = useRef(null);
  useAxisGestures(root, view);
  const hovered = useSignal(null);
  const setHovered = (one) => {
    hovered.value = one;
  };
  const narrow = store.width.value === "narrow";
  const rowHeight = store.width.value === "medium" ? 20 : 28;
  const items = visible(run.rows, folded);
  const at = items.findIndex((item) => item.row.id === chosen);
  const { from, until } = useWindow(root, items.length, rowHeight);
  useLayoutEffect(() => scrollTo(root.current, at, rowHeight), [chosen, rowHeight]);
  const key = (event) => {
    if (event.target !== root.current || axisKey(event, view)) return;
    if (!event.ctrlKey && !event.metaKey && !event.altKey)
      treeKey(event, items, at, { mark, choose: onChoose, fold: onFold });
  };
  const own = useId();
  const id = (n) => `${own}-${n}`;
  const shown = items.slice(from, until).map((item, n) => [item, from + n]);
  return html`<div
      class=${`wf ${view.isZoomed ? "zoomed" : ""}`}
      ref=${root}
      role="treegrid"
      aria-label=${`Waterfall of #${run.seq}`}
      aria-rowcount=${items.length + 1}
      aria-activedescendant=${at >= from && at < until ? id(at) : undefined}
      tabindex="0"
      style=${gridStyle(view.axis, narrow)}
      onKeyDown=${key}
      onPointerLeave=${() => setHovered(null)}
    >
      <${AxisRow} axis=${view.axis} title="Event and what it caused" last="Ran" />
      <div class="rows" role="presentation" style=${{ height: `${items.length * rowHeight}px` }}>
        ${shown.map(([item, n]) => {
          const { row } = item;
          const bad = row.outcome === "error" && row.type === "call";
          return html`<div
            class=${`wr ${row.id === chosen ? "sel" : ""}`}
            key=${row.id}
            id=${id(n)}
            role="row"
            aria-level=${item.level}
            aria-rowindex=${n + 2}
            aria-selected=${String(row.id === chosen)}
            aria-expanded=${item.hasBelow ? String(item.isOpen) : undefined}
            aria-label=${wordsOf(row, now, mark)}
            style=${{ transform: `translateY(${n * rowHeight}px)` }}
            onClick=${() => onChoose(row.id)}
            onDblClick=${() => item.hasBelow && onFold(row.id, item.isOpen)}
            onPointerMove=${(event) => setHovered({ row, x: event.clientX, y: event.clientY })}
          >
            <${Name} item=${item} narrow=${narrow} />
            <div class="tl" role="gridcell"><${Bars} row=${row} axis=${view.axis} now=${now} mark=${row.id === chosen ? mark : null} onChoose=${onChoose} /></div>
            <div class=${`d nw ${bad ? "bad" : "t2"}`} role="gridcell">
              ${row.type === "call" ? duration(row.ran ?? endOf(row, now) - row.started) : ""}
            </div>
          </div>`;
        })}
      </div>
    </div>
    <${Hover} at=${hovered} now=${now} />`;
}

/** Scroll so that a row is seen, below the axis. */
function scrollTo(node, at, rowHeight) {
  if (!node || at < 0) return;
  const top = at * rowHeight;
  const room = node.clientHeight - 24;
  if (top < node.scrollTop) node.scrollTop = top;
  else if (top + rowHeight > node.scrollTop + room) node.scrollTop = top + rowHeight - room;
}
