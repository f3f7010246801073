// What handlers displayed. HTML is in a sandboxed frame, with an origin of its own: nothing in it reaches the panel.
import { html } from "../../vendor/vendor.js";

/** Something displayed: its type, content, height and whether it runs scripts come from the kernel. */
export function Shown({ shown, label }) {
  switch (shown.type) {
    case "image":
      return html`<img class="shown-image" src=${shown.content} alt=${label} />`;
    case "frame": // the sandbox stands before the document, which would run without it
      return html`<iframe
        class="shown-frame"
        sandbox=${shown.scripts ? "allow-scripts" : ""}
        loading="lazy"
        referrerpolicy="no-referrer"
        title=${label || shown.mime}
        style=${{ height: `${shown.height}px` }}
        srcdoc=${shown.content}
      ></iframe>`;
    case "json":
      return html`<details>
        <summary>${shown.mime}</summary>
        <pre tabindex="0">${shown.content}</pre>
      </details>`;
    case "text":
      return html`<pre tabindex="0">${shown.content}</pre>`;
    default:
      return html`<div class="t3">(${shown.content})</div>`;
  }
}
