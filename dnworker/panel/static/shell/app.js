// The whole panel: header, the chosen view, the log along the bottom, and what lies over them.
import { html, useEffect, useErrorBoundary, useId, useLayoutEffect, useRef } from "../vendor/vendor.js";
import { AttachedBand } from "../base/attached.js";
import { StoreContext, useStore } from "../base/store.js";
import { Button, Empty } from "../base/ui.js";
import { FireDrawer } from "../views/fire/index.js";
import { LogDrawer } from "../views/log/index.js";
import { CapabilityView } from "../views/capability/index.js";
import { EventsView } from "../views/events/index.js";
import { MapView } from "../views/map/index.js";
import { NodesView } from "../views/nodes/index.js";
import { OverviewView } from "../views/overview/index.js";
import { RunsView } from "../views/runs/index.js";
import { SessionsView } from "../views/sessions/index.js";
import { WorkersView } from "../views/workers/index.js";
import { Header } from "./header.js";
import { Banner } from "./banner.js";
import { holdWhilePressed } from "./holding.js";
import { Keys, listenForKeys } from "./keys.js";
import { Palette } from "./palette.js";
import { Toast } from "./toast.js";

const VIEWS = {
  overview: OverviewView,
  runs: RunsView,
  workers: WorkersView,
  map: MapView,
  events: EventsView,
  capability: CapabilityView,
  sessions: SessionsView,
  nodes: NodesView,
};
const BARE_KEYS = /^(.|Enter|Escape|Arrow.*|Home|End|Page.*|Delete|Backspace)$/u;

/** One view; should it fail, the others go on, and it says how. */
function Guarded({ view: View, name }) {
  const [problem, again] = useErrorBoundary((error) => console.error(`dnworker: ${name} failed`, error));
  if (!problem) return html`<${View} />`;
  return html`<${Empty} title="This view has failed">
    <p class="m">${String(problem?.message ?? problem)}</p>
    <${Button} onClick=${again}>Try again<//>
  <//>`;
}

function Body({ inNotebook }) {
  const store = useStore();
  const root = useRef(null);
  const main = useId();
  const { view } = store.route.value;
  const gone = store.liveness.value.state === "gone";
  useEffect(() => watch(root.current, store), [store]);
  useLayoutEffect(() => listenForKeys(store, root.current, inNotebook), [store, inNotebook]); // before the first key
  const key = (event) => {
    // A notebook in command mode takes bare keys for its own: what is typed here is meant for the panel.
    if (!event.ctrlKey && !event.metaKey && !event.altKey && BARE_KEYS.test(event.key))
      event.stopPropagation();
  };
  const cls = ["dn", gone && "gone", inNotebook && "in-notebook"].filter(Boolean).join(" ");
  return html`<div class=${cls} ref=${root} role="region" aria-label="dnworker panel" onKeyDown=${key}>
    <${Header} controls=${main} />
    <${AttachedBand} />
    <${Banner} />
    <div class="main" id=${main} role="tabpanel" aria-label=${view}>
      <${Guarded} key=${view} view=${VIEWS[view] ?? OverviewView} name=${view} />
    </div>
    <${LogDrawer} />
    <${FireDrawer} />
    <${Palette} />
    <${Keys} />
    <${Toast} />
  </div>`;
}

/** Tell the store how wide the panel is, and whether it can be seen; keep updates while a button is pressed. */
function watch(root, store) {
  const sized = new ResizeObserver(() => store.setWidth(root.clientWidth));
  sized.observe(root);
  store.setWidth(root.clientWidth);
  let isOnScreen = true;
  const look = () => store.setVisible(isOnScreen && document.visibilityState !== "hidden");
  const seen = new IntersectionObserver((entries) => {
    isOnScreen = entries.at(-1).isIntersecting;
    look();
  });
  seen.observe(root);
  document.addEventListener("visibilitychange", look);
  const unhold = holdWhilePressed(root, store, window);
  return () => {
    sized.disconnect();
    seen.disconnect();
    document.removeEventListener("visibilitychange", look);
    unhold();
  };
}

/** The panel, by its store. */
export function App({ store, inNotebook }) {
  return html`<${StoreContext.Provider} value=${store}><${Body} inNotebook=${inNotebook} /><//>`;
}
