// The view "Map": what flows where, what of it is wrong, and what is known of the chosen box.
import { html, signal, useEffect, useLayoutEffect, useRef, useState } from "../../vendor/vendor.js";
import { useSteadyLook, useStore } from "../../base/store.js";
import { Empty, Menu, Search, Seg } from "../../base/ui.js";
import { put } from "../runs/actions.js";
import { Findings, Selected } from "./aside.js";
import { Canvas, FlowList, open } from "./flow_map.js";

const WINDOWS = [
  ["live", "Live"],
  ["15m", "15 min"],
  ["code", "By code"],
];
const ROWS = 50;

const remembered = new WeakMap();

/** What is chosen in the map of a store, which stays while other views are looked at. */
function choices(store) {
  if (!remembered.has(store))
    remembered.set(store, {
      window: signal("live"),
      hide: signal([]),
      open: signal([]),
      fold: signal([]),
      chosen: signal(null),
    });
  return remembered.get(store);
}

const toggled = (list, one) => (list.includes(one) ? list.filter((other) => other !== one) : [...list, one]);

export function MapView() {
  const store = useStore();
  const mine = choices(store);
  const [query, setQuery] = useState("");
  const [finding, setFinding] = useState(null);
  const field = useRef(null);
  const isNarrow = store.width.value === "narrow";
  const { node } = store.route.value;
  useEffect(() => {
    if (node) mine.chosen.value = node;
  }, [node]);
  const looked = { window: mine.window.value, hide: mine.hide.value };
  const wanted = isNarrow
    ? { ...looked, busiest: ROWS }
    : { ...looked, open: mine.open.value, fold: mine.fold.value, node: mine.chosen.value };
  const value = useSteadyLook(isNarrow ? "map#rows" : "map", wanted);
  const key = (event) => {
    if (event.key === "/" && !event.target.closest("input, textarea")) {
      event.preventDefault();
      event.stopPropagation();
      field.current?.focus();
    } else if (event.key === "Escape" && (finding || mine.chosen.value)) {
      setFinding(null);
      mine.chosen.value = null;
    }
  };
  useShortcut(field);
  const bar = html`<${Bar}
    mine=${mine}
    capabilities=${value?.capabilities ?? []}
    find=${html`<${Search}
      inputRef=${field}
      value=${query}
      onInput=${setQuery}
      label="Find a worker or kind"
      shortcut="/"
      data-search
      width=${isNarrow ? "100%" : "280px"}
      onKeyDown=${(event) => event.key === "Enter" && chooseFirst(value, query, mine, store)}
    />`}
    wanted=${wanted}
    width=${store.width.value}
  />`;
  const shown = isNarrow
    ? html`<${Narrow} value=${value} query=${query} />`
    : html`<${Wide} value=${value} query=${query} mine=${mine} finding=${finding} setFinding=${setFinding} />`;
  return html`<section class=${`map ${store.width.value}`} aria-label="Map" onKeyDown=${key}>${bar}${shown}</section>`;
}

/** `/` anywhere in the panel, outside of fields, leads to the field that finds boxes. */
function useShortcut(field) {
  useLayoutEffect(() => {
    const root = field.current?.closest(".dn");
    const press = (event) => {
      if (
        event.key !== "/" ||
        event.defaultPrevented ||
        event.target.closest("input, textarea, [contenteditable]")
      )
        return;
      event.preventDefault();
      field.current?.focus();
    };
    root?.addEventListener("keydown", press);
    return () => root?.removeEventListener("keydown", press);
  }, []);
}

const matches = (text, query) => text.toLowerCase().includes(query.trim().toLowerCase());

function chooseFirst(value, query, mine, store) {
  if (!query.trim() || !value) return;
  const found = value.nodes?.find((node) => matches(node.name, query));
  if (found) mine.chosen.value = found.id;
  else store.toast(`Nothing on the map is called ${query.trim()}`);
}

/** The map as a text for elsewhere. */
function CopyMenu({ wanted }) {
  const store = useStore();
  const item = (form, name) => ({
    label: `Copy as ${name}`,
    icon: "copy",
    why: store.disabled.value,
    run: async () => {
      const answer = await store.request(`Map as ${name}`, { type: "maptext", form, wanted });
      if (answer) await put(store, answer.text, `Copied as ${name}`);
    },
  });
  return html`<${Menu} items=${[item("mermaid", "Mermaid"), item("svg", "SVG")]} />`;
}

function Bar({ mine, capabilities, find, wanted, width }) {
  const hidden = mine.hide.value;
  const known = [...new Set([...capabilities, ...hidden])];
  const items = known.map((name) => ({
    label: `${hidden.includes(name) ? "Show" : "Hide"} ${name}`,
    icon: hidden.includes(name) ? "check" : "filter",
    run: () => {
      mine.hide.value = toggled(hidden, name);
    },
  }));
  const all = hidden.length
    ? {
        label: "Show everything",
        icon: "expand",
        run: () => {
          mine.hide.value = [];
        },
      }
    : null;
  const text = hidden.length
    ? `${hidden.slice(0, 2).join(", ")}${hidden.length > 2 ? ` and ${hidden.length - 2} more` : ""}`
    : "noise";
  return html`<div class="tbar map-bar">
    ${find}
    <${Seg} label="Window" options=${WINDOWS} value=${mine.window.value} onChange=${(one) => {
      mine.window.value = one;
    }} />
    ${
      width !== "narrow" &&
      html`<${Menu} icon="filter" label="Hide" align="left" items=${[all, ...items]}>
      <span class="el">${hidden.length ? "Hidden:" : "Hide"} ${text}</span>
    <//>`
    }
    <span class="g"></span>
    ${width === "wide" && html`<${Legend} />`}
    <${CopyMenu} wanted=${wanted} />
  </div>`;
}

function Legend() {
  const line = (cls, text) => html`<span class="row s t2 legend">
    <svg class="flowmap" width="24" height="10" aria-hidden="true"><path class=${cls} d="M0 5h24" /></svg>${text}
  </span>`;
  return html`<span class="row legends">
    ${line("flow run wide", "Width is rate")}${line("core wide", "Failed share")}${line("flow gated", "Gated")}
    ${line("flow cycle two", "Cycle")}
    <span class="row s t2 legend">
      <svg class="flowmap" width="24" height="10" aria-hidden="true">
        <g class="unheard"><rect class="box" x="1" y="1" width="22" height="8" rx="4" /></g></svg
      >Dead end
    </span>
  </span>`;
}

function Wide({ value, query, mine, finding, setFinding }) {
  const store = useStore();
  if (!value) return html`<p class="map-wait t3">Looking at what flows …</p>`;
  if (!value.nodes.length)
    return html`<${Empty} title="Nothing flows yet">
      A handler appears here with the kinds that it listens to, and those that it publishes.
      <pre class="m">@worker.on_event("orders.placed")</pre>
    <//>`;
  const chosen = mine.chosen.value;
  const choose = (node) => {
    setFinding(null);
    mine.chosen.value = node.id === chosen ? null : node.id;
  };
  const found =
    query.trim() && value.nodes.filter((node) => matches(node.name, query)).map((node) => node.id);
  const about = value.findings.find((one) => one.title === finding);
  const marked = found
    ? { nodes: new Set(found), edges: new Set() }
    : about && { nodes: new Set(about.nodes), edges: new Set(about.edges.map((ends) => ends.join(" "))) };
  const unfold = (node) => {
    const band = node.band;
    mine.open.value = [...mine.open.value.filter((one) => one !== band), band];
    mine.fold.value = mine.fold.value.filter((one) => one !== band);
  };
  const opened = (node) => (node.category === "fold" ? unfold(node) : open(store, node));
  return html`<div class="map-body">
    <${Canvas}
      drawing=${value}
      chosen=${chosen}
      marked=${marked || null}
      reveal=${found?.[0] ?? about?.nodes[0] ?? chosen}
      onChoose=${choose}
      onOpen=${opened}
    />
    <aside class="aside" aria-label="About the map">
      <${Selected} value=${value} mine=${mine} unfold=${unfold} />
      <${Findings} value=${value} chosen=${finding} onChoose=${(title) => setFinding(title === finding ? null : title)} />
    </aside>
  </div>`;
}

function Narrow({ value, query }) {
  const store = useStore();
  if (!value) return html`<p class="map-wait t3">Looking at what flows …</p>`;
  const rows = value.rows.filter((row) => matches(`${row.kind} ${row.workers.join(" ")}`, query));
  if (!rows.length)
    return html`<${Empty} title=${query.trim() ? "Nothing found" : "Nothing flows yet"}>
      ${query.trim() ? `No flow has ${query.trim()} in its name.` : "A kind appears here when a handler listens to it."}
    <//>`;
  return html`<div class="sec map-rows"><${FlowList} rows=${rows} onChoose=${(row) => store.go("runs", { filter: row.kind })} /></div>`;
}
