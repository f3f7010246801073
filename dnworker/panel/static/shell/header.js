// The header: mark, tabs, how many fail, whether somebody answers, search, and the event to fire.
import { html, useLayoutEffect, useRef } from "../vendor/vendor.js";
import { useStore } from "../base/store.js";
import { Button, Dot, Icon, Mark, Menu, Tabs } from "../base/ui.js";
import { Liveness } from "./liveness.js";

const VIEWS = [
  ["overview", "Overview"],
  ["runs", "Runs"],
  ["workers", "Workers"],
  ["map", "Map"],
  ["events", "Events"],
  ["capability", "Capability"],
  ["sessions", "Sessions"],
];
const NODES = ["nodes", "Nodes"]; // only where the broker is shared
const IS_MAC = /Mac|iPhone|iPad/.test(globalThis.navigator?.platform ?? "");

function Failing() {
  const store = useStore();
  const failing = store.value("attention").value?.failing ?? 0;
  if (!failing || store.route.value.view === "overview") return null;
  const isNarrow = store.width.value === "narrow"; // where there is room for the number alone
  return html`<button type="button" class="fail-pill" aria-label=${`${failing} failing`} onClick=${() => store.go("overview")}>
    <${Dot} state="error" />${failing}${!isNarrow && " failing"}
  </button>`;
}

/** Scroll the tabs, and nothing around them, so that the chosen one is seen. */
function useTabInSight(root, view, width) {
  useLayoutEffect(() => {
    const tab = root.current.querySelector(`[role="tab"][data-tab="${view}"]`);
    const list = tab?.parentElement;
    if (!list) return;
    const [at, room] = [tab.getBoundingClientRect(), list.getBoundingClientRect()];
    if (at.left < room.left) list.scrollLeft -= room.left - at.left;
    else if (at.right > room.right) list.scrollLeft += at.right - room.right;
  }, [view, width]);
}

/** What can be done from everywhere and seldom is. */
function More() {
  const store = useStore();
  const items = [
    {
      label: "Show failed runs",
      icon: "filter",
      run: () => store.go("runs", { filter: { outcome: "failed" } }),
    },
    { label: "Show the log", icon: "group", run: () => store.openLog() },
    { label: "Export the capability", icon: "download", run: () => store.go("capability") },
    {
      label: "Show the keys",
      icon: "more",
      run: () => {
        store.keysOpen.value = true;
      },
    },
  ];
  return html`<${Menu} items=${items} />`;
}

export function Header({ controls }) {
  const store = useStore();
  const { view } = store.route.value;
  const width = store.width.value;
  const prompts = store.value("attention").value?.prompts;
  const views = store.value("runtime").value?.node ? [...VIEWS, NODES] : VIEWS;
  const tabs = views.map(([name, title]) => [
    name,
    name === "sessions" && prompts ? html`${title} <span class="chip">${prompts}</span>` : title,
  ]);
  const list = html`<${Tabs}
    cls="tabs"
    options=${tabs}
    value=${view}
    onChange=${(one) => store.go(one)}
    label="Views"
    controls=${controls}
  />`;
  const isNarrow = width === "narrow";
  const keys = IS_MAC ? "⌘ K" : "Ctrl K";
  const root = useRef(null);
  useTabInSight(root, view, width);
  const openPalette = () => {
    store.paletteOpen.value = true;
  };
  return html`<header class=${`top ${isNarrow ? "narrow" : ""}`} ref=${isNarrow ? null : root}>
      <span class="mark"><${Mark} />${width === "wide" && html`<span>${store.value("runtime").value?.name ?? ""}</span>`}</span>
      ${!isNarrow && list}
      ${isNarrow && html`<${Liveness} /><${Failing} />`}
      <span class="g"></span>
      ${!isNarrow && html`<${Failing} /><${Liveness} />`}
      ${
        isNarrow
          ? html`<${Button} icon="search" label=${`Search or run, ${keys}`} onClick=${openPalette} />`
          : html`<button type="button" class="btn gh search" aria-label="Search or run a command" onClick=${openPalette}>
              <${Icon} name="search" />${width === "wide" && html`<span class="g">Search or run</span>`}<kbd>${keys}</kbd>
            </button>`
      }
      ${isNarrow && html`<${More} />`}
      <${Button}
        icon="fire"
        primary=${["overview", "map"].includes(view) && !store.fireWanted.value}
        why=${store.disabled.value}
        onClick=${() => store.openFire({})}
        >${isNarrow ? "Fire" : "Fire event"}<//
      >
      ${!isNarrow && html`<${More} />`}
    </header>
    ${isNarrow && html`<div class="top second" ref=${root}>${list}</div>`}`;
}
