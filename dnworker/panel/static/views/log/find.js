// The field that searches the log: a text or a pattern, with or without the other lines, and from match to match.
import { html } from "../../vendor/vendor.js";
import { count } from "../../base/format.js";
import { useTyped } from "../../base/typed.js";
import { Button, Icon } from "../../base/ui.js";

function Toggle({ label, pressed, onToggle, children }) {
  return html`<button
    type="button"
    class="toggle"
    aria-label=${label}
    title=${label}
    aria-pressed=${String(pressed)}
    onClick=${onToggle}
  >
    ${children}
  </button>`;
}

/** Have a component drawn again whenever the log has changed: the model stays the same object. */
export const useChanges = (model) => model.version.value;

export function Find({ model, inputRef }) {
  useChanges(model);
  const { filter, problem, hits } = model;
  const { text, type, put } = useTyped(filter.text, (words) => model.narrow({ text: words }), model.resets);
  const search = (change) => {
    put(change.text);
    model.narrow(change);
  };
  const key = async (event) => {
    if (event.key === "Escape" && text) search({ text: "" });
    else if (event.key === "Enter") {
      if (text !== filter.text) await search({ text });
      model.find(event.shiftKey);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return html`<div class=${`inp find ${text ? "full" : ""}`} role="search" aria-label="Log">
    <${Icon} name="search" />
    <input
      ref=${inputRef}
      type="text"
      data-search
      aria-label="Find in log"
      placeholder="Find in log"
      value=${text}
      spellcheck=${false}
      autocomplete="off"
      aria-invalid=${problem ? "true" : undefined}
      onInput=${(event) => type(event.currentTarget.value)}
      onKeyDown=${key}
    />
    ${text && hits !== null && !problem && html`<span class="s nw" role="status">${count(hits)} ${hits === 1 ? "match" : "matches"}</span>`}
    <span class="more">
      <${Toggle} label="Regular expression" pressed=${filter.regex} onToggle=${() => search({ text, regex: !filter.regex })}>.*<//>
      <${Toggle} label="Only matches" pressed=${filter.only} onToggle=${() => search({ text, only: !filter.only })}
        ><${Icon} name="filter"
      /><//>
      ${
        text &&
        html`<${Button} small icon="up" label="Previous match (Shift+F3)" onClick=${() => model.find(true)} />
          <${Button} small icon="down" label="Next match (F3)" onClick=${() => model.find(false)} />`
      }
    </span>
  </div>`;
}
