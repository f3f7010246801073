// The palette: everything that can be done or opened, by typing; Ctrl+K opens it.
import { html, useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from "../vendor/vendor.js";
import { control, fireKind, runChecks, setFlag } from "../base/acting.js";
import { goToCell, notebookOf } from "../base/place.js";
import { useLook, useStore } from "../base/store.js";
import { Icon, Kbd } from "../base/ui.js";
import { offer } from "./commands.js";
import { pieces } from "./fuzzy.js";
import { CONTROL, keepFocus } from "./keys.js";

const TYPING = 120; // milliseconds after which what was typed is asked for

/** What items do, in this panel; `near()` is an element of it. */
export function actsOf(store, near) {
  return {
    go: (view) => store.go(view),
    openWorker: (worker, handler) => store.go("workers", handler ? { worker, handler } : { worker }),
    openRun: (event) => store.go("runs", { event }),
    openRuns: (words, outcome) =>
      store.go("runs", { filter: { ...(words ? { text: words } : {}), ...(outcome ? { outcome } : {}) } }),
    openSession: (session) => store.go("sessions", { session }),
    openFire: (kind) => store.openFire(kind ? { kind } : {}),
    openLog: (worker) => store.openLog(worker ? { worker } : {}),
    openCell: (number) => goToCell(store, near(), number),
    openLine: (place, event) => {
      const number = /cell \[(\d+)\]/.exec(place)?.[1];
      if (number && notebookOf(near())) goToCell(store, near(), Number(number));
      else store.go("runs", { event });
    },
    control: (worker, verb, more) => control(store, worker, verb, more),
    fire: (kind) => fireKind(store, kind),
    setFlag: (flag) => setFlag(store, flag),
    runChecks: (capability) => runChecks(store, capability),
    showKeys: () => {
      store.keysOpen.value = true;
    },
  };
}

function Marked({ text, ranges }) {
  return pieces(text, ranges).map(([piece, isMarked]) => (isMarked ? html`<b>${piece}</b>` : piece));
}

function Item({ item, id, isOn, onRun, onOver }) {
  return html`<div
    class=${`it ${isOn ? "on" : ""}`}
    id=${id}
    role="option"
    aria-selected=${String(isOn)}
    aria-disabled=${item.why ? "true" : undefined}
    title=${item.why ?? undefined}
    onPointerMove=${onOver}
    onClick=${(event) => onRun(item, event.ctrlKey || event.metaKey)}
  >
    <span class="t3"><${Icon} name=${item.icon} /></span>
    <span class="el"><${Marked} text=${item.title} ranges=${item.ranges} /></span>
    <span class="s t3 el g">${item.why ?? item.detail}</span>
    ${isOn ? html`<${Kbd}>Enter<//>` : item.keys && html`<${Kbd}>${item.keys}<//>`}
  </div>`;
}

/** The query as it was typed a moment ago: what the kernel is asked for. */
function useLater(query) {
  const [later, setLater] = useState("");
  useEffect(() => {
    const timer = setTimeout(() => setLater(query.replace(/^>\s*/, "").trim()), TYPING);
    return () => clearTimeout(timer);
  }, [query]);
  return later;
}

/** The one item that is chosen: it stays chosen while it is there, whatever comes before it. */
function useChosen(query, items) {
  const [chosen, setChosen] = useState({ query: "", id: null });
  const id = chosen.query === query ? chosen.id : null;
  const at = Math.max(
    0,
    items.findIndex((item) => item.id === id),
  );
  return [at, (next) => setChosen({ query, id: items[next]?.id ?? null })];
}

function keyDown({ event, at, items, choose, close, run }) {
  const last = items.length - 1;
  const next = {
    ArrowDown: at >= last ? 0 : at + 1,
    ArrowUp: at <= 0 ? last : at - 1,
    PageDown: Math.min(last, at + 8),
    PageUp: Math.max(0, at - 8),
  };
  event.stopPropagation();
  if (event.isComposing) return;
  if (event.key === "Escape" || (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey)))
    close();
  else if (event.key in next) choose(next[event.key]);
  else if (event.key === "Enter" && items[at]) run(items[at], event.ctrlKey || event.metaKey);
  else if (event.key !== "Tab") return;
  event.preventDefault();
}

function Open({ close, near }) {
  const store = useStore();
  const [query, setQuery] = useState("");
  const root = useRef(null);
  const input = useRef(null);
  const prefix = useId();
  const newest = useLook("palette", { query: useLater(query) });
  const kept = useRef(null); // until the answer to the next query is there
  if (newest) kept.current = newest;
  const found = kept.current;
  const workers = store.workers.value;
  const why = store.disabled.value;
  const hasNodes = Boolean(store.value("runtime").value?.node);
  const acts = useMemo(() => actsOf(store, near), [store]);
  const groups = useMemo(
    () =>
      offer(query, { workers, found, now: store.now(), why, hasNodes, provided: store.commands.find }, acts),
    [query, workers, found, why, hasNodes],
  );
  const items = groups.flatMap((group) => group.items);
  const [at, choose] = useChosen(query, items);
  useLayoutEffect(() => input.current.focus(), []);
  useLayoutEffect(() => {
    root.current.querySelector(".it.on")?.scrollIntoView({ block: "nearest" });
  }, [at, query]);
  const run = (item, inBackground) => {
    if (item.why) return;
    if (inBackground) (item.background ?? item.run)();
    else {
      close();
      item.run();
    }
  };
  return html`<div class="scrim" onPointerDown=${close}></div>
    <div
      class="pal"
      ref=${root}
      role="dialog"
      aria-modal="true"
      aria-label="Search or run"
      tabindex="-1"
      onMouseDown=${keepFocus}
      onKeyDown=${(event) => keyDown({ event, at, items, choose, close, run })}
    >
      <div class="q">
        <${Icon} name="search" />
        <input
          ref=${input}
          class="g"
          type="text"
          role="combobox"
          aria-label="Search or run"
          aria-expanded="true"
          aria-controls=${`${prefix}-list`}
          aria-autocomplete="list"
          aria-activedescendant=${items.length ? `${prefix}-${at}` : undefined}
          placeholder="Search workers, events, runs, or do something"
          spellcheck=${false}
          autocomplete="off"
          value=${query}
          onInput=${(event) => setQuery(event.currentTarget.value)}
        />
        <${Kbd}>Esc<//>
      </div>
      <${Groups} groups=${groups} prefix=${prefix} at=${at} run=${run} choose=${choose} query=${query} />
      <${Foot} />
    </div>`;
}

function Groups({ groups, prefix, at, run, choose, query }) {
  let n = -1;
  return html`<div class="list" role="listbox" id=${`${prefix}-list`} aria-label="Found">
    ${groups.map(
      ({ title, items }) => html`<div role="group" aria-label=${title} key=${title}>
        <div class="gh" aria-hidden="true">${title}</div>
        ${items.map((item) => {
          n += 1;
          const here = n;
          return html`<${Item}
            key=${item.id}
            id=${`${prefix}-${here}`}
            item=${item}
            isOn=${here === at}
            onRun=${run}
            onOver=${() => here !== at && choose(here)}
          />`;
        })}
      </div>`,
    )}
    ${!groups.length && html`<div class="none t2">Nothing is called “${query.trim()}”</div>`}
  </div>`;
}

function Foot() {
  return html`<div class="ft s t3" aria-hidden="true">
    <span><${Kbd}>↑<//> <${Kbd}>↓<//> Move</span>
    <span><${Kbd}>Enter<//> Open</span>
    <span><${Kbd}>${CONTROL} Enter<//> Run in background</span>
    <span class="g"></span>
    <span><${Kbd}>${">"}<//> Commands only</span>
  </div>`;
}

export function Palette() {
  const store = useStore();
  const before = useRef(null);
  const anchor = useRef(null);
  const isOpen = store.paletteOpen.value;
  if (isOpen && anchor.current) before.current ??= anchor.current.getRootNode().activeElement;
  const close = () => {
    if (before.current?.isConnected) before.current.focus(); // now: the next key is meant for that
    before.current = null;
    store.paletteOpen.value = false;
  };
  return html`<span ref=${anchor} hidden></span>${isOpen && html`<${Open} close=${close} near=${() => anchor.current} />`}`;
}
