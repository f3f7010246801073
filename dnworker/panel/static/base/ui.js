// The small components that every view is built of: buttons, segments, dots, sparklines, menus.
import { html, useId, useLayoutEffect, useRef, useState } from "../vendor/vendor.js";
import { copy as copyText } from "./dom.js";
import { Icon } from "./icons.js";
import { useStore } from "./store.js";

export { Icon, Mark } from "./icons.js";

/**
 * A button. `why` disables it: it stays in the tab order, and its tooltip is the reason. With `icon` alone it needs a
 * `label`, which is its name and its tooltip.
 */
export function Button({
  children,
  icon,
  label,
  why = null,
  primary = false,
  ghost = false,
  small = false,
  cls = "",
  onClick,
  ...rest
}) {
  const isBare = icon && !children;
  const kind = [primary && "pri", ghost && "gh", isBare && "ic", small && "sm"].filter(Boolean).join(" ");
  return html`<button
    type="button"
    class=${`btn ${kind} ${cls}`}
    aria-label=${label}
    title=${why ?? (isBare ? label : undefined)}
    aria-disabled=${why ? "true" : undefined}
    onClick=${(event) => !why && onClick?.(event)}
    ...${rest}
  >
    ${icon && html`<${Icon} name=${icon} />`}${children}
  </button>`;
}

/** A link in a text that does something here. */
export function Link({ children, onClick, cls = "", ...rest }) {
  return html`<button type="button" class=${`lnk ${cls}`} onClick=${onClick} ...${rest}>${children}</button>`;
}

/** One choice of a few, `[value, content]` each: a radio group. */
export function Seg({ options, value, onChange, label, cls = "" }) {
  const chosen = options.findIndex(([one]) => one === value);
  const reached = Math.max(0, chosen); // by Tab
  const choose = (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const here = Math.max(chosen, step < 0 ? 0 : -1);
    const next = (here + step + options.length) % options.length;
    onChange(options[next][0]);
    event.currentTarget.children[next].focus();
  };
  return html`<div class=${`seg ${cls}`} role="radiogroup" aria-label=${label} onKeyDown=${choose}>
    ${options.map(
      ([one, content], n) => html`<button
        type="button"
        role="radio"
        key=${one}
        class=${one === value ? "on" : ""}
        aria-checked=${String(one === value)}
        tabindex=${n === reached ? 0 : -1}
        onClick=${() => onChange(one)}
      >
        ${content}
      </button>`,
    )}
  </div>`;
}

/** Tabs, `[value, content]` each; the panel of the chosen one is named by `controls`. */
export function Tabs({ options, value, onChange, label, controls, cls = "utabs" }) {
  const choose = (event) => {
    const here = options.findIndex(([one]) => one === value);
    const last = options.length - 1;
    const next = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: last }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const at = (next + options.length) % options.length;
    onChange(options[at][0]);
    event.currentTarget.children[at].focus();
  };
  return html`<div class=${cls} role="tablist" aria-label=${label} onKeyDown=${choose}>
    ${options.map(
      ([one, content]) => html`<button
        type="button"
        role="tab"
        key=${one}
        data-tab=${one}
        aria-selected=${String(one === value)}
        aria-controls=${controls}
        tabindex=${one === value ? 0 : -1}
        onClick=${() => onChange(one)}
      >
        ${content}
      </button>`,
    )}
  </div>`;
}

const DOTS = {
  running: "",
  error: "err",
  loading: "start",
  starting: "start",
  stopping: "busy",
  stopped: "stop",
  gated_off: "gate",
  standby: "gate",
  busy: "busy",
  gone: "gone",
};

/** The dot of a worker's state; a word beside it says the same. */
export function Dot({ state = "running", label }) {
  return html`<i
    class=${`dot ${DOTS[state] ?? "stop"}`}
    role=${label ? "img" : undefined}
    aria-label=${label}
    title=${label}
  ></i>`;
}

export function Kbd({ children }) {
  return html`<kbd>${children}</kbd>`;
}

/** A field to search or filter by, with its icon; `shortcut` is shown while it is empty. */
export function Search({ value, onInput, label, placeholder = label, shortcut, width, inputRef, ...rest }) {
  return html`<label class="inp" style=${{ width }}>
    <${Icon} name="search" />
    <input
      ref=${inputRef}
      type="text"
      aria-label=${label}
      placeholder=${placeholder}
      value=${value}
      spellcheck=${false}
      autocomplete="off"
      onInput=${(event) => onInput(event.currentTarget.value)}
      ...${rest}
    />
    ${shortcut && !value ? html`<kbd aria-hidden="true">${shortcut}</kbd>` : null}
  </label>`;
}

/**
 * A sparkline of `[calls, failed]` a bucket, as bars; the failed part is red. `label` says it in words.
 */
export function Spark({ buckets, width = 98, height = 20, label }) {
  const most = Math.max(1, ...buckets.map(([calls]) => calls));
  const step = width / Math.max(1, buckets.length);
  const bars = buckets.flatMap(([calls, failed], n) => {
    const tall = (value) => (value ? Math.max(2, (value / most) * (height - 2)) : 0);
    const all = tall(calls);
    const bad = failed ? Math.max(2, all * (failed / Math.max(calls, failed))) : 0;
    const bar = (y, tallness, fill) =>
      tallness > 0 &&
      html`<rect x=${n * step} y=${y} width=${Math.max(1, step - 1)} height=${tallness} fill=${fill} />`;
    return [
      bar(height - 1 - all, all - bad, "var(--dn-run-fill-2)"),
      bar(height - 1 - bad, bad, "var(--dn-bad-fill)"),
    ];
  });
  return html`<svg
    width=${width}
    height=${height}
    viewBox=${`0 0 ${width} ${height}`}
    role=${label ? "img" : undefined}
    aria-label=${label}
    aria-hidden=${label ? undefined : "true"}
  >
    <line class="ax" x1="0" x2=${width} y1=${height - 0.5} y2=${height - 0.5} />
    ${bars}
  </svg>`;
}

/** A button that opens a menu of `{ label, icon, why, run }`; a null among them is left out. */
export function Menu({ items, label = "More", icon = "more", children, align = "right" }) {
  const [open, setOpen] = useState(false);
  const root = useRef(null);
  const id = useId();
  const close = () => {
    setOpen(false);
    root.current?.querySelector("button")?.focus();
  };
  useLayoutEffect(() => {
    if (!open) return undefined;
    root.current.querySelector(".menu button")?.focus(); // before the next key
    const away = (event) => !root.current?.contains(event.target) && setOpen(false);
    document.addEventListener("pointerdown", away, true);
    return () => document.removeEventListener("pointerdown", away, true);
  }, [open]);
  const move = (event) => {
    const all = [...root.current.querySelectorAll(".menu button")];
    const here = all.indexOf(root.current.getRootNode().activeElement);
    const next = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: all.length - 1 }[event.key];
    if (event.key === "Escape" || event.key === "Tab") close();
    else if (next === undefined) return;
    else all.at(next % all.length)?.focus();
    if (event.key !== "Tab") event.preventDefault();
    event.stopPropagation();
  };
  const shown = items.filter(Boolean);
  return html`<span class="menu-root" ref=${root} style=${{ position: "relative" }}>
    <${Button}
      icon=${icon}
      label=${children ? undefined : label}
      aria-haspopup="menu"
      aria-expanded=${String(open)}
      aria-controls=${open ? id : undefined}
      onClick=${() => setOpen(!open)}
      >${children}<//
    >
    ${
      open &&
      html`<div class="menu" role="menu" id=${id} aria-label=${label} style=${{ [align]: 0 }} onKeyDown=${move}>
        ${shown.map(
          (item) => html`<button
            type="button"
            role="menuitem"
            key=${item.label}
            tabindex="-1"
            title=${item.why}
            aria-disabled=${item.why ? "true" : undefined}
            onClick=${() => {
              if (item.why) return;
              close();
              item.run();
            }}
          >
            ${item.icon && html`<${Icon} name=${item.icon} />`}${item.label}
          </button>`,
        )}
      </div>`
    }
  </span>`;
}

/** A button that copies a text, which `text()` gives when it is pressed; a check shows that it is done. */
export function Copy({ text, label = "Copy", small = true, children }) {
  const store = useStore();
  const [done, setDone] = useState(false);
  const press = async (event) => {
    const near = event.currentTarget; // gone once the event is over
    if (!(await copyText(await text(), near))) {
      store?.toast("The browser does not let this page copy", { bad: true });
      return;
    }
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return html`<${Button} icon=${done ? "check" : "copy"} label=${children ? undefined : label} small=${small} onClick=${press}
    >${children}<//
  >`;
}

/** What a view shows where there is nothing: a title, a sentence, and what to do. */
export function Empty({ title, children }) {
  return html`<div class="empty">
    <h2>${title}</h2>
    <div class="t2">${children}</div>
  </div>`;
}
