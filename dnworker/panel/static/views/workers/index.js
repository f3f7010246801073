// The view "Workers": the list, and one of them in a drawer beside it.
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../../vendor/vendor.js";
import { count, plural } from "../../base/format.js";
import { useLostFocus } from "../../base/focus.js";
import { useStore } from "../../base/store.js";
import { Button, Empty, Search, Seg } from "../../base/ui.js";
import { Drawer } from "./drawer.js";
import { NarrowList } from "./narrow.js";
import { held, rowsOf, segmentCounts } from "./order.js";
import { Table } from "./table.js";

const SEGMENTS = [
  ["all", "All"],
  ["failing", "Failing"],
  ["running", "Running"],
  ["off", "Off"],
];

/** The rows, in an order that stands still while somebody points at them or has the focus there. */
function useRows(workers, wanted, now) {
  const [isHeld, setHeld] = useState({ pointer: false, focus: false });
  const before = useRef({ key: null, ids: [] });
  const bar = Math.floor(now / 30_000);
  const { filter, segment, grouped, folded, sort } = wanted;
  const key = JSON.stringify([filter, segment, grouped, [...folded], sort]);
  const rows = useMemo(() => {
    const found = rowsOf(workers, { ...wanted, now });
    const stays = (isHeld.pointer || isHeld.focus) && before.current.key === key;
    return stays ? held(found, before.current.ids) : found;
  }, [workers, key, bar, isHeld.pointer, isHeld.focus]);
  before.current = { key, ids: rows.map((row) => row.id) };
  const hold = (what, value) => setHeld((old) => (old[what] === value ? old : { ...old, [what]: value }));
  return [rows, hold];
}

function Bar({ workers, wanted, set, searchRef, onDown }) {
  const counts = useMemo(() => segmentCounts(workers), [workers]);
  const options = SEGMENTS.map(([name, title]) => [
    name,
    html`${title} <span class=${name === "failing" && counts.failing ? "bad" : "t3"}>${count(counts[name])}</span>`,
  ]);
  return html`<div class="tbar w-bar">
    <${Search}
      label=${`Filter ${plural(workers.length, "worker")}`}
      shortcut="/"
      data-search
      value=${wanted.filter}
      onInput=${(filter) => set({ filter })}
      inputRef=${searchRef}
      onKeyDown=${(event) => {
        if (event.key === "Escape" && wanted.filter) set({ filter: "" });
        else if (event.key !== "ArrowDown" && event.key !== "Enter") return;
        else onDown();
        event.preventDefault();
        event.stopPropagation();
      }}
    />
    <${Seg} label="Which workers" options=${options} value=${wanted.segment} onChange=${(segment) => set({ segment })} />
    <${Button} ghost icon="group" aria-pressed=${String(wanted.grouped)} onClick=${() => set({ grouped: !wanted.grouped })}
      >By capability<//
    >
  </div>`;
}

function Nothing({ workers, wanted, set }) {
  if (!workers.length)
    return html`<${Empty} title="No workers yet">
      <p>In a notebook, run a cell such as this; or serve a capability.</p>
      <pre class="m code w-code">%%worker hello
@worker.on_event("demo.ping")
async def on_ping(event, client):
    print("pong")</pre>
    <//>`;
  const show = () => set({ filter: "", segment: "all" });
  return html`<${Empty} title=${wanted.filter ? "No worker matches" : "None of them"}>
    <${Button} onClick=${show}>Show all ${count(workers.length)}<//>
  <//>`;
}

/** What the list shows: kept in the route where others may want it, else here. */
function useWanted(store) {
  const [own, setOwn] = useState({ segment: "all", grouped: true, folded: new Set(), sort: null });
  const filter = store.route.value.filter ?? "";
  const set = ({ filter: text, ...rest }) => {
    if (text !== undefined) store.go("workers", { ...params(store), filter: text || undefined });
    setOwn((before) => ({ ...before, ...rest }));
  };
  return [{ ...own, filter }, set];
}

function params(store) {
  const { view, ...rest } = store.route.peek();
  return view === "workers" ? rest : {};
}

function useSlash(searchRef) {
  const root = useRef(null);
  useLayoutEffect(() => {
    const panel = root.current?.closest(".dn");
    const heard = panel?.closest(".dnw-page") ? document : panel; // a page has no other use for the key
    const key = (event) => {
      const isText = event.target.closest?.("input, textarea, select, [contenteditable]");
      if (event.key !== "/" || isText || event.ctrlKey || event.metaKey || event.altKey) return;
      if (!searchRef.current) return;
      event.preventDefault();
      searchRef.current.focus();
      searchRef.current.select();
    };
    heard?.addEventListener("keydown", key);
    return () => heard?.removeEventListener("keydown", key);
  }, []);
  return root;
}

export function WorkersView() {
  const store = useStore();
  const only = store.only.value;
  if (only)
    return html`<section class="w-view" aria-label="Worker"><${Drawer} name=${only} isPage /></section>`;
  return html`<${List} />`;
}

function List() {
  const store = useStore();
  const [wanted, set] = useWanted(store);
  const all = store.workers.value;
  const workers = useMemo(() => [...all.values()], [all]);
  store.tick.value; // sparklines move on
  const isGrouped = wanted.grouped && workers.length > 1;
  const [rows, hold] = useRows(workers, { ...wanted, grouped: isGrouped }, store.now());
  const open = store.route.value.worker ?? null;
  const [current, setCurrent] = useState(open ? `w ${open}` : null);
  const grid = useRef(null);
  const search = useRef(null);
  const root = useSlash(search);
  const isNarrow = store.width.value === "narrow";
  const show = (name) => {
    setCurrent(`w ${name}`);
    store.go("workers", { ...params(store), worker: name });
  };
  const close = () => {
    const { worker, ...rest } = params(store);
    store.go("workers", rest);
    requestAnimationFrame(() => grid.current?.focus({ preventScroll: true }));
  };
  const mark = (id, isKey) => {
    setCurrent(id);
    if (isKey && open && id.startsWith("w ")) store.go("workers", { ...params(store), worker: id.slice(2) });
  };
  const fold = (group, isFolded) => {
    const folded = new Set(wanted.folded);
    if (isFolded) folded.add(group);
    else folded.delete(group);
    set({ folded });
  };
  const leaveDrawer = (event) => {
    if (event.key !== "Escape" || !open || event.defaultPrevented) return;
    event.preventDefault();
    close();
  };
  const leave = (event) => !event.currentTarget.contains(event.relatedTarget) && hold("focus", false);
  const isDetail = isNarrow && Boolean(open);
  useEffect(() => {
    if (!isDetail) return;
    hold("pointer", false); // a list that goes away hears no pointer leave it
    hold("focus", false);
  }, [isDetail]);
  const shared = {
    rows,
    current,
    open,
    isGrouped,
    gridRef: grid,
    onCurrent: mark,
    onOpen: show,
    onFold: fold,
  };
  const drawer =
    open &&
    html`<${Drawer} name=${open} onClose=${close} isNarrow=${isNarrow}
    before=${isNarrow && html`<${Steps} rows=${rows} open=${open} onOpen=${show} onClose=${close} />`} />`;
  if (isDetail)
    return html`<section class="w-view" aria-label="Workers" ref=${root} onKeyDown=${leaveDrawer}>${drawer}</section>`;
  return html`<section class=${`w-view ${open ? "w-open" : ""}`} aria-label="Workers" ref=${root} onKeyDown=${leaveDrawer}>
    ${workers.length > 1 && html`<${Bar} workers=${workers} wanted=${wanted} set=${set} searchRef=${search} onDown=${() => grid.current?.focus()} />`}
    <div
      class="w-list"
      onPointerEnter=${() => hold("pointer", true)}
      onPointerLeave=${() => hold("pointer", false)}
      onFocusIn=${() => hold("focus", true)}
      onFocusOut=${leave}
    >
      ${
        !rows.length
          ? html`<${Nothing} workers=${workers} wanted=${wanted} set=${set} />`
          : isNarrow
            ? html`<${NarrowList} ...${shared} />`
            : html`<${Table} ...${shared} sort=${wanted.sort} onSort=${(sort) => set({ sort })} />`
      }
    </div>
    ${drawer}
  </section>`;
}

/** Back to the list, and on to the next worker: the head of a detail that fills the panel. */
function Steps({ rows, open, onOpen, onClose }) {
  const root = useRef(null);
  useLostFocus(root);
  const names = rows.filter((row) => row.worker).map((row) => row.worker.name);
  const here = names.indexOf(open);
  const step = (by, label, icon) => html`<${Button}
    icon=${icon}
    label=${label}
    why=${names[here + by] === undefined || here < 0 ? "there is none" : null}
    onClick=${() => onOpen(names[here + by])}
  />`;
  return html`<div class="tbar w-bar" ref=${root}>
    <${Button} ghost icon="left" onClick=${onClose}>Back<//><span class="g"></span>
    ${step(-1, "Previous", "up")}${step(1, "Next", "down")}
  </div>`;
}
