// The way from a failure to its frame: a line for a cell, which opens the debugger there.
import { button, copy } from "../base/dom.js";

/** A button that copies `%debug #12` for the event on which a handler failed. */
export function debugButton({ event, handler }, panel, near) {
  const take = async () => {
    const answer = await panel.request("debug", { type: "copy", event, form: "debug" });
    if (!answer) return;
    const done = await copy(answer.text, near);
    panel.showStatus(
      done
        ? `copied: ${answer.text}; paste it into a cell below`
        : `the browser does not let this page copy; run this in a cell: ${answer.text}`,
    );
  };
  return button("debug", take, { label: `debug the failure of ${handler}` });
}
