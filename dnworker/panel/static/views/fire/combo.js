// `Combo`: a text field with a list of what is known, to type into or to choose from.
import { html, useId, useRef, useState } from "../../vendor/vendor.js";
import { Icon } from "../../base/ui.js";

const SHOWN = 50;

/** The options that have the words, those that begin with them first. */
export function matching(options, words) {
  const wanted = words.trim().toLowerCase();
  const has = options.filter(({ value }) => value.toLowerCase().includes(wanted));
  const begins = ({ value }) => Number(!value.toLowerCase().startsWith(wanted));
  return wanted ? has.sort((a, b) => begins(a) - begins(b)) : has;
}

/**
 * `options` are `{ value, detail }`; `onInput(value)` is called while people type, `onChoose(value)` when they choose or
 * leave with another value than they came with.
 */
export function Combo({
  label,
  value,
  options,
  onInput,
  onChoose,
  placeholder,
  problem,
  describedBy,
  inputRef,
  mono,
}) {
  const id = useId();
  const [open, setOpen] = useState(false);
  const [at, setAt] = useState(-1);
  const [isTyped, setTyped] = useState(false);
  const before = useRef(value);
  const list = useRef(null);
  const found = open ? matching([...options], isTyped ? value : "").slice(0, SHOWN) : [];
  const close = () => {
    setOpen(false);
    setAt(-1);
    setTyped(false);
  };
  const choose = (one) => {
    close();
    onInput(one);
    if (one !== before.current) {
      before.current = one;
      onChoose?.(one);
    }
  };
  const move = (next) => {
    setOpen(true);
    setAt(next);
    list.current?.children[next]?.scrollIntoView({ block: "nearest" });
  };
  const key = (event) => {
    if (event.ctrlKey || event.metaKey) return;
    const last = found.length - 1;
    if (event.key === "ArrowDown") move(Math.min(last, at + 1));
    else if (event.key === "ArrowUp" && open) move(Math.max(-1, at - 1));
    else if (event.key === "Enter" && open) choose(at >= 0 ? found[at].value : value);
    else if (event.key === "Escape" && open && found.length) close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return html`<div class="combo">
    <div class=${`inp ${problem ? "wrong" : ""}`}>
      <input
        ref=${inputRef}
        type="text"
        role="combobox"
        class=${mono ? "m" : ""}
        aria-label=${label}
        aria-expanded=${String(open && found.length > 0)}
        aria-autocomplete="list"
        aria-controls=${`${id}-list`}
        aria-activedescendant=${at >= 0 ? `${id}-${at}` : undefined}
        aria-invalid=${problem ? "true" : undefined}
        aria-describedby=${describedBy}
        placeholder=${placeholder}
        value=${value}
        spellcheck=${false}
        autocomplete="off"
        onFocus=${() => {
          before.current = value;
        }}
        onClick=${() => setOpen(true)}
        onInput=${(event) => {
          setOpen(true);
          setTyped(true);
          setAt(-1);
          onInput(event.currentTarget.value);
        }}
        onKeyDown=${key}
        onBlur=${() => {
          close();
          if (value !== before.current) onChoose?.(value);
          before.current = value;
        }}
      />
      <${Icon} name="down" />
    </div>
    <div class="menu list" role="listbox" id=${`${id}-list`} aria-label=${label} ref=${list} hidden=${!found.length}>
      ${found.map(
        ({ value: one, detail }, n) => html`<div
          key=${one}
          id=${`${id}-${n}`}
          role="option"
          aria-selected=${String(n === at)}
          onPointerDown=${(event) => {
            event.preventDefault();
            choose(one);
          }}
        >
          <span class=${`el ${mono ? "m" : ""}`}>${one}</span><span class="t3 el">${detail}</span>
        </div>`,
      )}
    </div>
  </div>`;
}
