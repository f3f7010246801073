// The keys of the whole panel: what each does, and the list of them that `?` shows.
import { html, useLayoutEffect, useRef } from "../vendor/vendor.js";
import { useStore } from "../base/store.js";
import { Button, Kbd } from "../base/ui.js";

const IS_MAC = /Mac|iPhone|iPad/.test(globalThis.navigator?.platform ?? "");
/** What people call the key that commands are given with. */
export const CONTROL = IS_MAC ? "⌘" : "Ctrl";

const KEYS = [
  [
    "Everywhere",
    [
      [`${CONTROL} K`, "Search or run"],
      ["/", "Search in this view, or in the log"],
      ["F", "Write an event to fire"],
      [`${CONTROL} J`, "Open or close the log"],
      ["F3", "The next match in the log"],
      ["?", "Show the keys"],
      ["Esc", "Close, or clear"],
    ],
  ],
  [
    "Lists",
    [
      ["↑ ↓ or J K", "Move"],
      ["Home End", "To the first, to the last"],
      ["Enter", "Open"],
      ["← →", "Fold and unfold"],
    ],
  ],
  [
    "A failure",
    [
      ["Enter", "Its event"],
      ["L", "The line"],
      ["D", "Debug"],
      ["F", "Fire again"],
      ["Delete", "Dismiss"],
    ],
  ],
  [
    "A run, a payload, the log",
    [
      ["+ - 0", "Zoom in, zoom out, all of a run or the map"],
      ["P", "Copy the path in a payload"],
      ["C", "Copy the value, or the lines of the log"],
      ["R", "Show the run of a line"],
      ["W", "Only the worker of a line"],
      ["N", "The next match in the log"],
    ],
  ],
];

/** Whether keys that are typed there are text. */
function isTyping(node) {
  return Boolean(
    node?.closest?.("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable=true]"),
  );
}

/** The field that searches where a key was pressed: the one of the log within that, else the one of the view. */
export function searchOf(root, from = null) {
  const log = from?.closest?.(".log");
  return log?.querySelector("[data-search]") ?? root.querySelector(".main [data-search]") ?? null;
}

/** A click in a dialog, beside its fields, leaves the focus where it is: else its keys went nowhere. */
export function keepFocus(event) {
  if (!event.target.closest("input, textarea")) event.preventDefault();
}

/** Do what a key means everywhere in the panel; returns whether it means anything. */
export function pressed(event, store, root) {
  if (event.defaultPrevented || event.isComposing) return false;
  const commands = (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey;
  if (commands && event.key.toLowerCase() === "k") {
    store.paletteOpen.value = true;
    return true;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return false;
  if (event.key === "/") {
    const field = searchOf(root, event.target);
    if (field) field.focus();
    else store.paletteOpen.value = true;
    field?.select();
    return true;
  }
  if (event.key === "?") {
    store.keysOpen.value = true;
    return true;
  }
  return false;
}

/**
 * Listen for the keys of the panel: in a notebook only within it, on a page wherever nothing else has the focus.
 * Returns what ends that.
 */
export function listenForKeys(store, root, inNotebook) {
  const page = root.ownerDocument;
  const take = (event) => {
    if (!pressed(event, store, root)) return;
    event.preventDefault();
    event.stopPropagation(); // neither the notebook nor the browser has a use for it now
  };
  const takeOfPage = (event) => event.target === page.body && take(event); // nothing has the focus
  root.addEventListener("keydown", take);
  if (!inNotebook) page.addEventListener("keydown", takeOfPage);
  return () => {
    root.removeEventListener("keydown", take);
    page.removeEventListener("keydown", takeOfPage);
  };
}

/** The list of the keys. */
export function Keys() {
  const store = useStore();
  const root = useRef(null);
  const isOpen = store.keysOpen.value;
  const before = useRef(null);
  useLayoutEffect(() => {
    if (!isOpen) return;
    before.current ??= root.current.getRootNode().activeElement;
    root.current.querySelector("button").focus();
  }, [isOpen]);
  if (!isOpen) return null;
  const close = () => {
    if (before.current?.isConnected) before.current.focus(); // now: the next key is meant for that
    before.current = null;
    store.keysOpen.value = false;
  };
  const key = (event) => {
    event.stopPropagation();
    if (event.key === "Tab") event.preventDefault();
    if (event.key === "Escape" || event.key === "?") close();
  };
  return html`<div class="scrim" onPointerDown=${close}></div>
    <div class="pal keys" ref=${root} role="dialog" aria-modal="true" aria-label="Keys" tabindex="-1" onMouseDown=${keepFocus} onKeyDown=${key}>
      <div class="q"><h2 class="g">Keys</h2><${Button} icon="cross" label="Close" onClick=${close} /></div>
      <div class="groups">
        ${KEYS.map(
          ([title, all]) => html`<section key=${title} aria-label=${title}>
            <h3>${title}</h3>
            <dl>${all.map(([name, does]) => html`<dt><${Kbd}>${name}<//></dt><dd>${does}</dd>`)}</dl>
          </section>`,
        )}
      </div>
    </div>`;
}
