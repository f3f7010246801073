// Mounts one widget of `dn.widgets` into an element: the component that its model names, on the store that all share.
import { html, render as draw, useEffect, useErrorBoundary, useRef } from "../../vendor/vendor.js";
import { AttachedBand } from "../../base/attached.js";
import { StoreContext, useStore } from "../../base/store.js";
import { useToast } from "../../base/toast.js";
import { Attached } from "./attached.js";
import { Chart } from "./chart.js";
import { FireForm } from "./fire_form.js";
import { FlowMap } from "./flow_map.js";
import { LogTail } from "./log_tail.js";
import { acquire, derive } from "./shared.js";
import { setTraits } from "./traits.js";
import { Waterfall } from "./waterfall.js";
import { WorkerState } from "./worker_state.js";

const COMPONENTS = { Attached, Chart, FireForm, FlowMap, LogTail, Waterfall, WorkerState };
const BARE_KEYS = /^(.|Enter|Escape|Arrow.*|Home|End|Page.*|Delete|Backspace)$/u;

function Note() {
  const { toast, hold, act } = useToast();
  const cls = `note s ${toast?.bad ? "bad" : "t2"}`;
  return html`<p class=${cls} role="status" ...${hold}>
    ${toast?.text}${toast?.action && html` <button type="button" class="lnk" onClick=${act}>${toast.action.label}</button>`}
  </p>`;
}

function Frame({ shows, model, setVisible }) {
  const store = useStore();
  const root = useRef(null);
  const [problem] = useErrorBoundary((error) => console.error(`dnworker: ${shows} failed`, error));
  const gone = store.liveness.value.state === "gone";
  useEffect(() => {
    const sized = new ResizeObserver(() => store.setWidth(root.current?.clientWidth ?? 0));
    sized.observe(root.current);
    let isOnScreen = true;
    const look = () => setVisible(isOnScreen && document.visibilityState !== "hidden");
    const seen = new IntersectionObserver((entries) => {
      isOnScreen = entries.at(-1).isIntersecting;
      look();
    });
    seen.observe(root.current);
    document.addEventListener("visibilitychange", look);
    return () => {
      sized.disconnect();
      seen.disconnect();
      document.removeEventListener("visibilitychange", look);
    };
  }, []);
  const key = (event) => {
    // A notebook in command mode takes bare keys for its own.
    if (!event.ctrlKey && !event.metaKey && !event.altKey && BARE_KEYS.test(event.key))
      event.stopPropagation();
  };
  const Shown = COMPONENTS[shows];
  const cls = `dn widget ${gone ? "gone" : ""}`;
  return html`<section class=${cls} ref=${root} aria-label=${shows} onKeyDown=${key}>
    ${problem ? html`<p class="bad">${String(problem.message ?? problem)}</p>` : html`<${AttachedBand} isSmall=${true} /><${Shown} model=${model} /><${Note} />`}
  </section>`;
}

/** Where a component would lead in the panel, as traits: here it selects. */
export function selection(shows, params) {
  if (shows === "FlowMap" && (params.worker || params.node))
    return { selected: params.worker ?? params.node.replace(/^\w+\//, "") }; // a name, not an id such as kind/NAME
  if (params.event) return { selected_event: params.event };
  return null;
}

/** Draw a widget; returns what takes it away again. */
export function mount({ model, el }) {
  const shows = model.get("shows");
  el.classList.add("dnw-widget");
  let isGone = false;
  let close = () => {};
  acquire(model).then(
    ({ store, setVisible, release }) => {
      if (isGone) {
        release();
        return;
      }
      const go = (_, params = {}) => {
        const selected = selection(shows, params);
        const known = selected && Object.keys(selected).every((name) => model.get(name) !== undefined);
        if (known) setTraits(model, selected);
      };
      const own = derive(store, go);
      draw(
        html`<${StoreContext.Provider} value=${own}><${Frame} shows=${shows} model=${model} setVisible=${setVisible} /><//>`,
        el,
      );
      close = () => {
        draw(null, el);
        release();
      };
    },
    (problem) => {
      const note = document.createElement("pre");
      note.textContent = `${model.get("still")}\n(not live: ${problem.message})`;
      el.append(note);
    },
  );
  return () => {
    isGone = true;
    close();
  };
}
