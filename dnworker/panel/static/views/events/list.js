// The list of kinds: name, who publishes and hears it, and when it was seen last.
import { html } from "../../vendor/vendor.js";
import { ago, plural } from "../../base/format.js";
import { VirtualList } from "../../base/list.js";
import { useStore } from "../../base/store.js";

const ROW = 48; // px

/** Who has to do with a kind, in words: `2 publish · 1 listens`. */
export function about({ publishers, listeners, isRuntimes }) {
  const verb = (count, word) => `${count} ${word}${count === 1 ? (word === "publish" ? "es" : "s") : ""}`;
  const said = [
    isRuntimes ? "Of the runtime" : publishers > 0 && verb(publishers, "publish"),
    listeners > 0 && verb(listeners, "listen"),
  ].filter(Boolean);
  return said.length ? said.join(" · ") : "Nobody publishes or hears it";
}

function Row({ row, isOn, now }) {
  const { kind, kept, last } = row;
  return html`<div class=${`kind ${isOn ? "sel" : ""}`}>
    <div class="g">
      <div class="el m" title=${kind}>${kind}</div>
      <div class="s t3 el">${about(row)}</div>
    </div>
    ${kept > 0 && html`<span class="chip">${kept}<span class="offscreen"> ${plural(kept, "event").replace(/^\S+ /, "")} kept</span></span>`}
    <span class="s t3 nw">${last ? ago(last, now) : ""}</span>
  </div>`;
}

export function KindList({ rows, chosen, listRef, choose }) {
  const store = useStore();
  store.tick.value; // ages grow
  const now = store.now();
  return html`<${VirtualList}
    count=${rows.length}
    rowHeight=${ROW}
    label="Kinds of events"
    listRef=${listRef}
    current=${rows.findIndex((row) => row.kind === chosen)}
    onChoose=${(n) => choose(rows[n].kind)}
    onOpen=${(n) => choose(rows[n].kind)}
    row=${(n) => html`<${Row} row=${rows[n]} isOn=${rows[n].kind === chosen} now=${now} />`}
  />`;
}
