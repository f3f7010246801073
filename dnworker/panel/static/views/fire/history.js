// What was fired from the drawer, to be edited or fired again.
import { html } from "../../vendor/vendor.js";
import { clockSeconds } from "../../base/format.js";
import { Button } from "../../base/ui.js";

/** What was fired from here: pick one to edit it, and fire again. */
export function History({ entries, edit, fireAgain, why }) {
  if (!entries.length) return null;
  return html`<section class="ds fired" aria-label="Fired before">
    <h3>Fired before</h3>
    <ul>
      ${entries.map(
        (entry) => html`<li key=${`${entry.at}`}>
          <button
            type="button"
            class="entry"
            aria-disabled=${entry.payload === null ? "true" : undefined}
            title=${entry.payload === null ? "Its payload is too long to be kept here" : "Edit"}
            onClick=${() => entry.payload !== null && edit(entry)}
          >
            <span class="t3">${clockSeconds(entry.at)}</span>
            <span class="m">${entry.kind}</span>
            <span class="m t3 el">${(entry.payload ?? "").slice(0, 200).replace(/\s+/g, " ")}</span>
          </button>
          <${Button}
            small
            icon="again"
            label=${`Fire ${entry.kind} again`}
            why=${entry.payload === null ? "Its payload is too long to be kept here" : why}
            onClick=${() => fireAgain(entry)}
          />
        </li>`,
      )}
    </ul>
  </section>`;
}
