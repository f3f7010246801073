// What the chosen row of a run holds: its error, and the payload of its event as text.
import { html, useEffect, useState } from "../../vendor/vendor.js";
import { useStore } from "../../base/store.js";

/** `run` is the part `run`; `selected` is one of its rows, or null. */
export function Inspector({ run, selected }) {
  const store = useStore();
  const event = selected?.event ?? run.root;
  const [shown, setShown] = useState({ event: null, text: "" });
  useEffect(() => {
    let isWanted = true;
    const note = (text) => isWanted && setShown({ event, text });
    store
      .request("The payload", { type: "eventpayload", event }, note)
      .then((answer) => answer && note(answer.cut ? `${answer.payload}\n…` : answer.payload));
    return () => {
      isWanted = false;
    };
  }, [store, event]);
  return html`<section class="inspector" aria-label="Inspector" tabindex="0">
    ${selected?.error && html`<div class="errline">${selected.error}${selected.place ? `, ${selected.place}` : ""}</div>`}
    <pre class="code">${shown.event === event ? shown.text : ""}</pre>
  </section>`;
}
