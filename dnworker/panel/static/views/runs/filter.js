// The bar above the list of runs: what is searched, the segments with their counts, the order, and the pause.
import { html } from "../../vendor/vendor.js";
import { count } from "../../base/format.js";
import { useStore } from "../../base/store.js";
import { useTyped } from "../../base/typed.js";
import { Button, Icon, Menu, Seg } from "../../base/ui.js";
import { takeTokens, withTokens, written } from "./tokens.js";

const SEGMENTS = [
  ["all", "All"],
  ["failed", "Failed"],
  ["running", "Running"],
  ["unheard", "Unheard"],
];
const ORDERS = { newest: "Newest first", slowest: "Slowest first" };

/** The field: tokens that are understood, then the words that are typed. */
function TokenField({ filter, onChange, inputRef }) {
  const store = useStore();
  const { text, type, put } = useTyped(filter.text, (words) => onChange({ text: words }), filter.resets);
  const change = (fields) => {
    const next = { text, ...fields };
    put(next.text);
    onChange(next);
  };
  const take = (value) => {
    const { tokens, rest } = takeTokens(value, store.now());
    change({ tokens: withTokens(filter.tokens, tokens), text: rest });
  };
  const input = (event) => {
    const { value } = event.currentTarget;
    if (/\s$/.test(value) && takeTokens(value, store.now()).tokens.length) take(value);
    else type(value);
  };
  const key = (event) => {
    const { value, selectionEnd } = event.currentTarget;
    if (event.key === "Enter") take(value);
    else if (event.key === "Backspace" && selectionEnd === 0 && filter.tokens.length) {
      change({ tokens: filter.tokens.slice(0, -1) });
    } else if (event.key === "Escape" && (value || filter.tokens.length)) {
      change({ tokens: [], text: "" });
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const remove = (token) => {
    change({ tokens: filter.tokens.filter((one) => one !== token) });
    inputRef.current?.focus();
  };
  const hint =
    store.width.value === "wide" ? "kind, worker, session, payload text" : "kind, worker, session, payload";
  return html`<div class="inp search-runs">
    <${Icon} name="search" />
    ${filter.tokens.map(
      (token) => html`<button
        type="button"
        class="tok"
        key=${token.name}
        aria-label=${`Remove ${written(token)}`}
        title=${`Remove ${written(token)}`}
        onClick=${() => remove(token)}
      >
        ${written(token)}
      </button>`,
    )}
    <input
      ref=${inputRef}
      type="text"
      data-search
      aria-label="Search runs by kind, worker, session or payload text"
      placeholder=${hint}
      value=${text}
      spellcheck=${false}
      autocomplete="off"
      onInput=${input}
      onKeyDown=${key}
    />
  </div>`;
}

function segmentText(name, title, counts) {
  const n = counts?.[name];
  const cls = name === "failed" ? "bad" : "t3";
  return html`${title}${n ? html`<span class=${cls}>${count(n)}</span>` : null}`;
}

/** The whole bar; `filter` is as `tokens.js` has it, `onChange` gets the fields of it that are others now. */
export function FilterBar({ filter, counts, paused, inputRef, onChange, onPause }) {
  const store = useStore();
  const width = store.width.value;
  const segments = SEGMENTS.map(([name, title]) => [name, segmentText(name, title, counts)]);
  const orders = Object.entries(ORDERS).map(([order, label]) => ({
    label,
    icon: order === filter.order ? "check" : undefined,
    run: () => onChange({ order }),
  }));
  const pauseText = paused ? "Resume list" : "Pause list";
  return html`<div class="tbar" role="search" aria-label="Runs">
    <${TokenField} filter=${filter} onChange=${onChange} inputRef=${inputRef} />
    <${Seg}
      label="Outcome"
      options=${segments}
      value=${filter.outcome}
      onChange=${(outcome) => onChange({ outcome })}
    />
    <span class="g"></span>
    ${
      width === "wide"
        ? html`<${Menu} items=${orders} icon="down" label="Order">${ORDERS[filter.order]}<//>`
        : html`<${Menu} items=${orders} icon="more" label="Order" />`
    }
    <${Button}
      ghost
      icon=${paused ? "play" : "pause"}
      label=${width === "wide" ? undefined : pauseText}
      aria-pressed=${String(paused)}
      onClick=${onPause}
      >${width === "wide" ? pauseText : undefined}<//
    >
  </div>`;
}
