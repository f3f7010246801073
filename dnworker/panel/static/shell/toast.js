// The toast: one short text at the corner, for five seconds, with one thing to do.
import { html } from "../vendor/vendor.js";
import { useToast } from "../base/toast.js";
import { Button, Icon } from "../base/ui.js";

export function Toast() {
  const { toast, hold, close, act } = useToast();
  return html`<div class="toasts" role="status">
    ${
      toast &&
      html`<div
        class=${`toast ${toast.bad ? "failed" : ""}`}
        key=${toast.at}
        ...${hold}
        onKeyDown=${(event) => event.key === "Escape" && close()}
      >
        <${Icon} name=${toast.bad ? "warning" : "check"} />
        <span>${toast.text}</span>
        ${
          toast.action &&
          html`<button type="button" class="act" onClick=${act}>${toast.action.label}</button>`
        }
        <${Button} icon="cross" label="Close" small onClick=${close} />
      </div>`
    }
  </div>`;
}
