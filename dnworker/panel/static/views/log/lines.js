// The entries of the log, of which only those that can be seen are in the document.
import { html, useEffect, useLayoutEffect, useRef, useState } from "../../vendor/vendor.js";
import { useStore } from "../../base/store.js";
import { copy } from "../../base/dom.js";
import { count, plural } from "../../base/format.js";
import { Button } from "../../base/ui.js";
import { ROW } from "./model.js";
import { Row, classOf } from "./row.js";

const BEYOND = 4; // entries drawn above and below what can be seen
const LONGEST_COPY = 5000; // entries

/** What keys and buttons do with an entry. */
export function actionsOf(model, store) {
  return {
    toggle: (position) => model.toggle(position),
    run: (line) => line.event && store.go("runs", { event: line.event, call: line.invocation }),
    worker: (line) => store.go("workers", { worker: line.worker }),
    only: (line) => model.narrow({ worker: line.worker }),
    call: (line) => model.narrow({ invocation: line.invocation }),
    text: async (line) => {
      const answer = await store.request("Copy the line", { type: "line", number: line.number });
      return answer ? answer.line.rows.map((row) => row.text).join("\n") : "";
    },
  };
}

/** Copy the chosen entries; says how many. */
export async function copySelection(model, store, near) {
  const range = model.range;
  if (!range) return;
  const until = Math.min(range[1], range[0] + LONGEST_COPY);
  const text = await model.text(range[0], until);
  if (text !== null && (await copy(text, near)))
    store.toast(
      `Copied ${plural(until - range[0], "line")}${until < range[1] ? `; ${count(LONGEST_COPY)} at once` : ""}`,
    );
}

function keysOf(model, store, actions, root) {
  return (event) => {
    if (event.target !== root.current || event.altKey) return;
    const line = model.cache.get(model.current);
    const { key } = event;
    if (event.ctrlKey || event.metaKey) {
      if (key.toLowerCase() !== "c" || !model.range || String(getSelection())) return;
      copySelection(model, store, root.current);
      event.preventDefault();
      return;
    }
    const page = Math.max(1, Math.floor(model.height / ROW) - 1);
    const steps = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: page, PageUp: -page };
    const here = model.current ?? (key === "ArrowUp" || key === "k" ? model.end : model.visible[0] - 1);
    const does = {
      Home: () => model.choose(model.first, { extend: event.shiftKey }),
      End: () => (event.shiftKey ? model.choose(model.end - 1, { extend: true }) : model.follow(true)),
      Enter: () => line && model.toggle(line.position),
      Escape: () => model.clearRange(),
      r: () => line && actions.run(line),
      w: () => line && actions.worker(line),
      c: () => copySelection(model, store, root.current),
      n: () => model.find(false),
      N: () => model.find(true),
    };
    if (key in steps) model.choose(here + steps[key], { extend: event.shiftKey });
    else if (key in does && !(key === "Escape" && model.rangeFrom === null)) does[key]();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
}

/** Keep the list where it belongs, and note how tall the entries are that are open or wrapped. */
function usePlace(model, root, own, bump) {
  useLayoutEffect(() => {
    let isNew = false;
    for (const node of root.current.firstElementChild.children) {
      const position = Number(node.dataset.position);
      const isTall = model.wraps || node.dataset.open;
      isNew = model.heights.set(position, isTall ? node.offsetHeight : ROW) || isNew;
    }
    if (isNew) {
      model.reveal();
      bump();
    }
    const { top } = model;
    if (Math.abs(root.current.scrollTop - top) > 0.5) root.current.scrollTop = top;
    own.current = root.current.scrollTop;
  });
}

export function LogLines({ model, version, isBrief }) {
  const store = useStore();
  const root = useRef(null);
  const own = useRef(0);
  version.value; // the model stays the same object: it is drawn again when its version is another
  const [, redraw] = useState(0);
  const bump = () => redraw((n) => n + 1);
  const actions = actionsOf(model, store);
  useEffect(() => {
    const sized = () => {
      model.height = root.current?.clientHeight ?? 0;
      bump();
    };
    const observer = new ResizeObserver(sized);
    observer.observe(root.current);
    sized();
    return () => observer.disconnect();
  }, [model]);
  usePlace(model, root, own, bump);
  useEffect(() => {
    model.fetch();
  }, [version.value]);
  const scrolled = () => {
    const { scrollTop, clientHeight } = root.current;
    if (clientHeight !== model.height) {
      model.height = clientHeight; // the list was made higher, and so the browser moved it
      bump();
      return;
    }
    if (Math.abs(scrollTop - own.current) <= 1) return; // the list itself went there
    own.current = scrollTop;
    model.scrolled(scrollTop);
  };
  const prefix = useRef(`dn-log-${Math.random().toString(36).slice(2)}`).current;
  const [from, until] = model.visible;
  const range = model.range;
  const rows = [];
  const last = Math.min(model.end, until + BEYOND);
  for (let position = Math.max(model.first, from - BEYOND); position < last; position += 1) {
    const line = model.cache.get(position);
    const isOpen = Boolean(line) && model.isOpen(line);
    const isChosen = range !== null && position >= range[0] && position < range[1];
    rows.push(html`<div
      key=${position}
      id=${`${prefix}-${position}`}
      class=${`${line ? classOf(line.level) : ""} ${isChosen ? "sel" : ""} ${isOpen ? "open" : ""}`}
      role="row"
      aria-rowindex=${position - model.first + 1}
      aria-selected=${String(isChosen)}
      data-position=${position}
      data-open=${isOpen ? "1" : undefined}
      style=${{ transform: `translateY(${model.heights.top(model.first, position)}px)` }}
      onClick=${(event) => !String(getSelection()) && model.choose(position, { extend: event.shiftKey })}
      onDblClick=${() => model.toggle(position)}
    >
      ${
        line
          ? html`<${Row}
              line=${line}
              whole=${isOpen ? model.opened.get(line.number) : null}
              isOpen=${isOpen}
              isBrief=${isBrief}
              actions=${actions}
            />`
          : html`<span role="gridcell" class="t3">…</span>`
      }
    </div>`);
  }
  const isShown = model.current !== null && model.current >= from - BEYOND && model.current < last;
  return html`<div class="log-body" role="log" aria-live="off" aria-label="Log lines">
    <div
      class=${`lines ${model.wraps ? "wrap" : ""}`}
      ref=${root}
      role=${rows.length ? "grid" : "group"}
      aria-label="Lines of the log"
      aria-rowcount=${rows.length ? model.count : undefined}
      aria-multiselectable=${rows.length ? "true" : undefined}
      tabindex="0"
      aria-activedescendant=${isShown ? `${prefix}-${model.current}` : undefined}
      onScroll=${scrolled}
      onKeyDown=${keysOf(model, store, actions, root)}
    >
      <div role="presentation" class="all" style=${{ height: `${model.total}px` }}>${rows}</div>
    </div>
    ${!model.count && html`<p class="none t3">${model.isFiltered ? "No line matches" : "Nothing was printed yet"}</p>`}
    ${
      model.news > 0 &&
      html`<${Button} cls="news" small icon="down" onClick=${() => model.follow(true)}>${plural(model.news, "new line")}<//>`
    }
  </div>`;
}
