// The log, a drawer along the bottom of every view: a bar, and a handle that makes it higher.
import { html, useEffect, useId, useLayoutEffect, useMemo, useRef, useSignal } from "../../vendor/vendor.js";
import { usePart, useStore } from "../../base/store.js";
import { ClosedBar, OpenBar } from "./bar.js";
import { LogLines } from "./lines.js";
import { LogModel } from "./model.js";

const BAR = 32; // pixels
const LOWEST = BAR + 44;
const FIRST = BAR + 84; // four lines
const STEP = 20;
const LEFT = 160; // what stays of the view above

/** The model of a store's log, told what the kernel sends while it is there. */
function useModel(store) {
  const version = useSignal(0);
  const model = useMemo(
    () =>
      new LogModel({
        request: (title, message, refuse) => store.request(title, message, refuse),
        changed: () => {
          version.value += 1;
        },
      }),
    [store],
  );
  useEffect(() => {
    const ends = store.on("log", (log) => model.take(log));
    store.greetings.set("log", () => model.filter);
    return () => {
      ends();
      store.greetings.delete("log");
    };
  }, [store, model]);
  const only = store.only.value;
  useEffect(() => {
    if (only !== model.filter.worker) model.narrow({ worker: only });
  }, [only, model]);
  model.version = version;
  return [model, version];
}

/** The handle: dragged, or moved by keys. */
function Handle({ height, most, onHeight, toggle, controls }) {
  const grabbed = useRef(null);
  const set = (value) => onHeight(Math.round(Math.min(most(), Math.max(LOWEST, value))));
  const key = (event) => {
    const moves = {
      ArrowUp: () => set(height + STEP),
      ArrowDown: () => set(height - STEP),
      Home: () => set(LOWEST),
      End: () => set(most()),
      Enter: toggle,
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    event.stopPropagation();
    moves[event.key]();
  };
  return html`<div
    class="handle"
    role="separator"
    aria-orientation="horizontal"
    aria-label="Height of the log"
    aria-controls=${controls}
    aria-valuemin=${LOWEST}
    aria-valuemax=${most()}
    aria-valuenow=${height}
    aria-valuetext=${`${Math.round((height - BAR) / STEP)} lines`}
    tabindex="0"
    onKeyDown=${key}
    onDblClick=${toggle}
    onPointerDown=${(event) => {
      event.currentTarget.setPointerCapture(event.pointerId);
      grabbed.current = { y: event.clientY, height };
      event.preventDefault();
      event.currentTarget.focus();
    }}
    onPointerMove=${(event) => grabbed.current && set(grabbed.current.height + grabbed.current.y - event.clientY)}
    onLostPointerCapture=${() => {
      grabbed.current = null;
    }}
  ></div>`;
}

/** Keys of everywhere: Ctrl+J opens and closes it, F3 goes to the next match. */
function useKeys(root, isOpen, toggle, model) {
  useLayoutEffect(() => {
    const panel = root.current.closest(".dn");
    const target = panel.closest(".dnw-page") ? document : panel;
    const key = (event) => {
      const isToggle = (event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "j";
      if (isToggle) toggle();
      else if (event.key === "F3" && isOpen && model.filter.text) model.find(event.shiftKey);
      else return;
      event.preventDefault();
      event.stopPropagation();
    };
    target.addEventListener("keydown", key);
    return () => target.removeEventListener("keydown", key);
  }, [isOpen, model]);
}

function Opened({ model, version, isBrief }) {
  usePart("log");
  return html`<${LogLines} model=${model} version=${version} isBrief=${isBrief} />`;
}

export function LogDrawer() {
  const store = useStore();
  const root = useRef(null);
  const find = useRef(null);
  const id = useId();
  const [model, version] = useModel(store);
  const isOpen = useSignal(false);
  const heights = useSignal({});
  const { view } = store.route.value;
  const height = heights.value[view] ?? FIRST;
  const most = () => Math.max(LOWEST, (root.current?.closest(".dn")?.clientHeight ?? 800) - LEFT);
  const toggle = () => {
    isOpen.value = !isOpen.value;
    if (!isOpen.value && root.current.contains(root.current.getRootNode().activeElement))
      root.current.querySelector(".log-fold")?.focus();
  };
  useKeys(root, isOpen.value, toggle, model);
  const wanted = store.logWanted.value;
  useEffect(() => {
    if (!wanted) return;
    const { worker = null, text = "", level = null, invocation = null } = wanted;
    model.reset({ worker: store.only.peek() ?? worker, text, level, invocation });
    isOpen.value = true;
    store.logWanted.value = null;
  }, [wanted]);
  const isBrief = store.width.value === "narrow";
  const shown = Math.min(height, most());
  const style = { height: isOpen.value ? `${shown}px` : undefined };
  return html`<section class=${`log ${isOpen.value ? "open" : ""}`} aria-label="Log" ref=${root} style=${style}>
    ${
      isOpen.value &&
      html`<${Handle}
      height=${shown}
      most=${most}
      controls=${id}
      toggle=${toggle}
      onHeight=${(value) => {
        heights.value = { ...heights.value, [view]: value };
      }}
    />`
    }
    ${
      isOpen.value
        ? html`<${OpenBar} model=${model} toggle=${toggle} controls=${id} findRef=${find} />`
        : html`<${ClosedBar} model=${model} toggle=${toggle} controls=${id} />`
    }
    <div id=${id} class="log-content" hidden=${!isOpen.value}>
      ${isOpen.value && html`<${Opened} model=${model} version=${version} isBrief=${isBrief} />`}
    </div>
  </section>`;
}
