// The view "Events": every kind of event, and of the chosen one who publishes and hears it, its fields and examples.
import { html, useEffect, useRef, useState } from "../../vendor/vendor.js";
import { ofAll } from "../../base/acting.js";
import { useSteadyLook, useStore } from "../../base/store.js";
import { Search } from "../../base/ui.js";
import { Kind } from "./kind.js";
import { KindList } from "./list.js";

export function EventsView() {
  const store = useStore();
  const [text, setText] = useState("");
  const chosen = store.route.value.kind ?? null;
  const found = useSteadyLook("catalogue", chosen === null ? { text } : { text, kind: chosen });
  const isNarrow = store.width.value === "narrow";
  const list = useRef(null);
  const go = (kind) => store.go("events", kind ? { kind } : {});
  const back = () => {
    go(null);
    requestAnimationFrame(() => list.current?.focus());
  };
  const leave = (event) => {
    if (event.key !== "Escape" || event.defaultPrevented) return;
    event.preventDefault();
    back();
  };
  const rows = found?.rows ?? [];
  const first = rows.find((row) => !row.isRuntimes) ?? rows[0];
  useEffect(() => {
    if (!chosen && !isNarrow && first && !text) go(first.kind);
  }, [chosen, isNarrow, first?.kind]);
  const entry = found?.entry?.kind === chosen ? found.entry : null;
  const shown =
    chosen &&
    html`<${Kind} key=${chosen} kind=${chosen} entry=${entry} missing=${found?.missing} back=${isNarrow ? back : null} />`;
  if (isNarrow && shown)
    return html`<section class="catalogue narrow" aria-label="Events" onKeyDown=${leave}>${shown}</section>`;
  return html`<section class=${`catalogue ${isNarrow ? "narrow" : ""}`} aria-label="Events" aria-busy=${String(!found)}>
    <div class="side">
      <div class="tbar">
        <${Search} label="Filter kinds" shortcut="/" value=${text} onInput=${setText} data-search />
        <span class="s t3 nw">${found ? ofAll(rows.length, found.all, "kind") : ""}</span>
      </div>
      <${KindList} listRef=${list} rows=${rows} chosen=${chosen} choose=${go} />
      ${(found?.notes ?? []).map((note) => html`<p class="s warn note" key=${note}>${note}</p>`)}
    </div>
    ${!isNarrow && html`<div class="pane">${shown}</div>`}
  </section>`;
}
