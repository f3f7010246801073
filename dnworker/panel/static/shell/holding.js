// Updates wait while a button is pressed in the panel, so that nothing moves away below the pointer.

const LONGEST = 2000; // milliseconds; a lost pointerup must not hold updates for ever
const CAPTURE = { capture: true }; // before anything can stop them
const ENDS = ["pointerup", "pointercancel", "dragend", "contextmenu", "blur", "visibilitychange"];

/** Keep what the store receives while the first button is pressed in `root`, a part of `page`; returns what ends it. */
export function holdWhilePressed(root, store, page) {
  let timer = null;
  const release = () => {
    clearTimeout(timer);
    const held = store.held ?? [];
    store.held = null;
    for (const message of held) store.receive(message);
  };
  const hold = (event) => {
    if (event.button !== 0) return;
    store.held ??= [];
    clearTimeout(timer);
    timer = setTimeout(release, LONGEST);
  };
  const end = (event) => {
    const isOfField = event.type === "blur" && event.target !== page; // a press moves the focus, too
    if (!store.held || isOfField) return;
    clearTimeout(timer);
    timer = setTimeout(release); // after the click, which comes next
  };
  root.addEventListener("pointerdown", hold, CAPTURE);
  for (const name of ENDS) page.addEventListener(name, end, CAPTURE);
  return () => {
    root.removeEventListener("pointerdown", hold, CAPTURE);
    for (const name of ENDS) page.removeEventListener(name, end, CAPTURE);
    release();
  };
}
