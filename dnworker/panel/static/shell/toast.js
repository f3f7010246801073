// The toast: one short text at the corner, for five seconds, with one thing to do.
import { html, useEffect } from "../vendor/vendor.js";
import { useStore } from "../base/store.js";
import { Button, Icon } from "../base/ui.js";

const SHOWN = 5000; // milliseconds

export function Toast() {
  const store = useStore();
  const toast = store.toasted.value;
  useEffect(() => {
    if (!toast) return undefined;
    const timer = setTimeout(() => {
      store.toasted.value = null;
    }, SHOWN);
    return () => clearTimeout(timer);
  }, [toast]);
  const close = () => {
    store.toasted.value = null;
  };
  return html`<div class="toasts" role="status">
    ${
      toast &&
      html`<div class=${`toast ${toast.bad ? "failed" : ""}`}>
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
