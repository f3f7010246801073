// The view "Runs": the list, and beside it the run that is chosen; below 760 pixels one after the other.
import { html, useMemo, useRef } from "../../vendor/vendor.js";
import { useStore } from "../../base/store.js";
import { Button, Empty } from "../../base/ui.js";
import { FilterBar } from "./filter.js";
import { RunList, useRuns } from "./list.js";
import { RunPane } from "./pane.js";
import { reset, runsState, takeLink } from "./state.js";
import { filterOf, stateOf, written } from "./tokens.js";

/** What stands in place of rows: how to begin, or that nothing matches. */
function NoRuns({ filter, onClear }) {
  const isAll = !filter.tokens.length && !filter.text && filter.outcome === "all";
  if (isAll) return html`<${Empty} title="No runs yet">Fire an event, and see here what it causes.<//>`;
  const since = filter.tokens.find((token) => token.name === "since");
  return html`<${Empty} title="No run matches">
    <p>${since ? `Nothing of ${written(since)} matches. ` : ""}Other runs may be there.</p>
    <${Button} onClick=${onClear}>Show all runs<//>
  <//>`;
}

/** The runs before and after one in the list; null where there is none. */
function stepsOf(rows, event, go, back) {
  const at = rows.findIndex((row) => row.id === event);
  const step = (n) => (at >= 0 && rows[at + n] ? () => go(rows[at + n].id) : null);
  return { previous: step(-1), next: step(1), back };
}

export function RunsView() {
  const store = useStore();
  const state = runsState(store);
  takeLink(store);
  const filter = state.filter.value;
  const paused = state.paused.value;
  const looking = useRef(false);
  const wanted = useMemo(() => filterOf(filter, store.now()), [filter, store]);
  const runs = useRuns(wanted, () => looking.current || state.paused.peek());
  const { rows } = runs.list;
  const input = useRef(null);
  const list = useRef(null);
  const { event } = store.route.value;
  const isNarrow = store.width.value === "narrow";
  const change = (fields) => {
    state.filter.value = { ...state.filter.peek(), ...fields }; // newer than what was drawn
  };
  const clear = () => reset(state, { ...stateOf(null, 0), order: state.filter.peek().order });
  const choose = (id) => store.go("runs", { event: id });
  const first = useRef(null); // what is shown while nobody has chosen, and stays as rows come
  if (!rows.some((row) => row.id === first.current)) first.current = rows[0]?.id ?? first.current;
  const chosen = event ?? (isNarrow ? null : first.current);
  const run = store.value("run").value;
  const root = (run?.event === chosen && run?.root) || chosen; // a link may lead to any event of a run
  const hold = (isHere) => {
    looking.current = isHere;
    if (!isHere && !state.paused.peek()) runs.release();
  };
  const pause = () => {
    state.paused.value = !paused;
    if (paused && !looking.current) runs.release();
  };
  const back = () => {
    store.go("runs", {});
    requestAnimationFrame(() => list.current?.focus());
  };
  const isDetail = isNarrow && Boolean(event);
  const key = (pressed) => {
    if (pressed.key === "Escape" && isDetail && !pressed.defaultPrevented) {
      pressed.preventDefault();
      back();
      return;
    }
    if (
      pressed.key !== "/" ||
      pressed.ctrlKey ||
      pressed.metaKey ||
      /^(INPUT|TEXTAREA)$/.test(pressed.target.tagName)
    )
      return;
    pressed.preventDefault();
    input.current?.focus();
  };
  return html`<section class=${`runs ${isDetail ? "detail" : ""}`} aria-label="Runs" onKeyDown=${key}>
    ${
      !isDetail &&
      html`<${FilterBar}
        filter=${filter}
        counts=${runs.list.counts}
        paused=${paused}
        inputRef=${input}
        onChange=${change}
        onPause=${pause}
      />`
    }
    <div class="split">
      ${
        !isDetail &&
        html`<${RunList}
          runs=${runs}
          chosen=${root}
          listRef=${list}
          onChoose=${choose}
          onHold=${hold}
          empty=${html`<${NoRuns} filter=${filter} onClear=${clear} />`}
        />`
      }
      ${(!isNarrow || event) && html`<${RunPane} event=${chosen} steps=${stepsOf(rows, root, choose, back)} />`}
    </div>
  </section>`;
}
