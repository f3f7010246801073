// The workers of a narrow panel: a list of two lines each, that leads to one of them.
import { html, useRef } from "../../vendor/vendor.js";
import { count, duration, nameParts, plural, rate } from "../../base/format.js";
import { VirtualList } from "../../base/list.js";
import { useStore } from "../../base/store.js";
import { Dot, Icon } from "../../base/ui.js";

import { figuresOf, stateWord } from "./figures.js";

const HEIGHT = 48;

function Item({ row, isGrouped, now }) {
  const { worker, group } = row;
  if (!worker)
    return html`<div class="row w-two w-head">
      <${Icon} name=${row.isFolded ? "right" : "down"} /><bdi class="b el">${group.name}</bdi>
      <span class="t3 s nw">${plural(group.workers.length, "worker")}</span><span class="g"></span>
      <span class="bad">${group.errors ? count(group.errors) : ""}</span>
    </div>`;
  const figures = figuresOf(worker, now);
  const [word, tone] = stateWord(worker) ?? [];
  const facts = [
    rate(figures.rate),
    worker.p95 && `p95 ${duration(worker.p95)}`,
    worker.backlog && `${count(worker.backlog)} waiting`,
  ];
  return html`<div class="row w-two">
    <${Dot} state=${worker.state} />
    <div class="g">
      <div class="el"><bdi>${isGrouped ? nameParts(worker.name)[1] : worker.name}</bdi></div>
      <div class="s t3 el">${word ? html`<span class=${tone}>${word}</span> ` : ""}${facts.filter(Boolean).join(", ")}</div>
    </div>
    ${figures.failed > 0 && html`<span class="bad nw">${count(figures.failed)} failed</span>`}
    <span class="t3"><${Icon} name="right" /></span>
  </div>`;
}

export function NarrowList({ rows, current, isGrouped, gridRef, onCurrent, onOpen, onFold }) {
  const store = useStore();
  const now = store.now();
  const here = rows.findIndex((row) => row.id === current);
  const pressed = useRef(false);
  const open = (n) =>
    rows[n].worker ? onOpen(rows[n].worker.name) : onFold(rows[n].group.name, !rows[n].isFolded);
  return html`<div
    class="w-narrow"
    onClickCapture=${() => {
      pressed.current = true;
    }}
    onKeyDownCapture=${() => {
      pressed.current = false;
    }}
  >
    <${VirtualList}
      label="Workers"
      count=${rows.length}
      rowHeight=${HEIGHT}
      listRef=${gridRef}
      current=${here}
      row=${(n) => html`<${Item} row=${rows[n]} isGrouped=${isGrouped} now=${now} />`}
      onChoose=${(n) => {
        onCurrent(rows[n].id);
        if (pressed.current) open(n);
      }}
      onOpen=${open}
    />
  </div>`;
}
