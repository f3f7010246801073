// The toast: one short text at the corner, for five seconds, with one thing to do.
import { html, useEffect, useState } from "../vendor/vendor.js";
import { useStore } from "../base/store.js";
import { Button, Icon } from "../base/ui.js";

const SHOWN = 5000; // milliseconds

export function Toast() {
  const store = useStore();
  const toast = store.toasted.value;
  const [isHeld, setHeld] = useState(false); // under the pointer, or with the focus: somebody reads it
  useEffect(() => {
    if (!toast || isHeld) return undefined;
    const timer = setTimeout(() => {
      store.toasted.value = null;
    }, SHOWN);
    return () => clearTimeout(timer);
  }, [toast, isHeld]);
  useEffect(() => setHeld(false), [toast]);
  const close = () => {
    store.toasted.value = null;
  };
  return html`<div class="toasts" role="status">
    ${
      toast &&
      html`<div
        class=${`toast ${toast.bad ? "failed" : ""}`}
        key=${toast.at}
        onPointerEnter=${() => setHeld(true)}
        onPointerLeave=${() => setHeld(false)}
        onFocusIn=${() => setHeld(true)}
        onFocusOut=${() => setHeld(false)}
        onKeyDown=${(event) => event.key === "Escape" && close()}
      >
        <${Icon} name=${toast.bad ? "warning" : "check"} />
        <span>${toast.text}</span>
        ${
          toast.action &&
          html`<button
            type="button"
            class="act"
            onClick=${() => {
              close();
              toast.action.run();
            }}
          >
            ${toast.action.label}
          </button>`
        }
        <${Button} icon="cross" label="Close" small onClick=${close} />
      </div>`
    }
  </div>`;
}
