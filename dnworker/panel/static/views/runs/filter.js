// The bar above the list of runs: what is searched, the segments with their counts, the order, and the pause.
import { html, useEffect, useRef, useState } from "../../vendor/vendor.js";
import { count } from "../../base/format.js";
import { useStore } from "../../base/store.js";
import { Button, Icon, Menu, Seg } from "../../base/ui.js";
import { takeTokens, withTokens, written } from "./tokens.js";

const SEGMENTS = [
  ["all", "All"],
  ["failed", "Failed"],
  ["running", "Running"],
  ["unheard", "Unheard"],
];
const PAUSE = 150; // milliseconds without a key, after which the kernel is asked
const ORDERS = { newest: "Newest first", slowest: "Slowest first" };

/** The field: tokens that are understood, then the words that are typed. */
function TokenField({ filter, onChange, inputRef }) {
  const store = useStore();
  const [text, setText] = useState(filter.text);
  const timer = useRef(null);
  const newest = useRef(filter); // it may be changed by others while people type
  newest.current = filter;
  useEffect(() => () => clearTimeout(timer.current), []);
  useEffect(() => setText(filter.text), [filter.text]);
  const change = (fields) => {
    const next = { ...newest.current, text, ...fields };
    clearTimeout(timer.current);
    setText(next.text);
    onChange(next);
  };
  const type = (event) => {
    const { value } = event.currentTarget;
    const { tokens, rest } = /\s$/.test(value) ? takeTokens(value, store.now()) : { tokens: [], rest: value };
    clearTimeout(timer.current);
    setText(value);
    if (tokens.length) change({ tokens: withTokens(filter.tokens, tokens), text: rest });
    else timer.current = setTimeout(() => change({ text: value }), PAUSE);
  };
  const key = (event) => {
    const { value, selectionEnd } = event.currentTarget;
    if (event.key === "Enter") {
      const { tokens, rest } = takeTokens(value, store.now());
      change({ tokens: withTokens(filter.tokens, tokens), text: rest });
    } else if (event.key === "Backspace" && selectionEnd === 0 && filter.tokens.length) {
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
      onInput=${type}
      onKeyDown=${key}
    />
  </div>`;
}

function segmentText(name, title, counts) {
  const n = counts?.[name];
  const cls = name === "failed" ? "bad" : "t3";
  return html`${title}${n ? html`<span class=${cls}>${count(n)}</span>` : null}`;
}

/** The whole bar; `filter` is as `tokens.js` has it. */
export function FilterBar({ filter, counts, paused, inputRef, onChange, onPause }) {
  const store = useStore();
  const width = store.width.value;
  const segments = SEGMENTS.map(([name, title]) => [name, segmentText(name, title, counts)]);
  const orders = Object.entries(ORDERS).map(([order, label]) => ({
    label,
    icon: order === filter.order ? "check" : undefined,
    run: () => onChange({ ...filter, order }),
  }));
  const pauseText = paused ? "Resume list" : "Pause list";
  return html`<div class="tbar" role="search" aria-label="Runs">
    <${TokenField} filter=${filter} onChange=${onChange} inputRef=${inputRef} />
    <${Seg}
      label="Outcome"
      options=${segments}
      value=${filter.outcome}
      onChange=${(outcome) => onChange({ ...filter, outcome })}
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
