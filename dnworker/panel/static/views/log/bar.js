// The bar of the log: open, it searches and filters; closed, it shows the last line that is no error.
import { html, useEffect, useRef, useState } from "../../vendor/vendor.js";
import { usePart, useStore } from "../../base/store.js";
import { download } from "../../base/dom.js";
import { clockMillis, count, plural } from "../../base/format.js";
import { Button } from "../../base/ui.js";
import { Find, useChanges } from "./find.js";
import { copySelection } from "./lines.js";

const LEVELS = [
  ["", "Any level"],
  ["debug", "Debug and up"],
  ["info", "Info and up"],
  ["warning", "Warnings and up"],
  ["error", "Errors"],
];
const SOURCES = [
  ["", "Any source"],
  ["stdout", "Standard output"],
  ["stderr", "Standard error"],
  ["log", "Log records"],
  ["display", "Displays"],
  ["runtime", "The runtime"],
];
const LEVEL_NAMES = Object.fromEntries(LEVELS);
const SOURCE_NAMES = Object.fromEntries(SOURCES);

/** The button that opens and closes the log. */
function Fold({ isOpen, toggle, controls }) {
  return html`<${Button}
    ghost
    small
    cls="log-fold"
    icon=${isOpen ? "down" : "up"}
    title="Ctrl+J"
    aria-expanded=${String(isOpen)}
    aria-controls=${controls}
    onClick=${toggle}
    >Log<//
  >`;
}

export function ClosedBar({ model, toggle, controls }) {
  useChanges(model);
  usePart("logbar");
  const store = useStore();
  const bar = store.value("logbar").value;
  const last = bar?.last;
  const noun = model.isFiltered ? "matching line" : "line";
  const isEmpty = bar && !bar.count && !model.isFiltered;
  return html`<div class="bar">
    <${Fold} isOpen=${false} toggle=${toggle} controls=${controls} />
    ${last && html`<span class="m t3">${clockMillis(last.clock ?? last.at)}</span>`}
    ${
      isEmpty
        ? html`<span class="t3 el g">Nothing logged yet</span>`
        : html`<span class="m t2 el g">${last && html`${last.worker}\u2002${last.text}`}</span>`
    }
    ${store.width.value !== "narrow" && !isEmpty && html`<span class="s t3 nw">${bar && plural(bar.count, noun)}</span>`}
  </div>`;
}

function Choice({ label, value, options, onChange }) {
  return html`<label class="choice">
    <span>${label}</span>
    <select class="inp" onChange=${(event) => onChange(event.currentTarget.value || null)}>
      ${options.map(([one, title]) => html`<option key=${one} value=${one} selected=${one === (value ?? "")}>${title}</option>`)}
    </select>
  </label>`;
}

/** What lines are shown, and how. */
function Filter({ model }) {
  useChanges(model);
  const store = useStore();
  const [open, setOpen] = useState(false);
  const root = useRef(null);
  const only = store.only.value;
  const { filter } = model;
  const close = () => {
    setOpen(false);
    root.current?.querySelector("button")?.focus();
  };
  useEffect(() => {
    if (!open) return undefined;
    root.current.querySelector("select")?.focus();
    const away = (event) => !root.current?.contains(event.target) && setOpen(false);
    document.addEventListener("pointerdown", away, true);
    return () => document.removeEventListener("pointerdown", away, true);
  }, [open]);
  const key = (event) => {
    if (event.key !== "Escape") return;
    close();
    event.stopPropagation();
  };
  const isOn = Boolean(filter.level || filter.source || (filter.worker && !only));
  const workers = [["", "All workers"], ...[...store.workers.value.keys()].map((name) => [name, name])];
  return html`<span class="menu-root filter" ref=${root}>
    <${Button}
      icon="filter"
      label="Filter by worker and level"
      cls=${isOn ? "on" : ""}
      aria-haspopup="dialog"
      aria-expanded=${String(open)}
      onClick=${() => setOpen(!open)}
    />
    ${
      open &&
      html`<div class="menu pop" role="dialog" aria-label="Filter the log" onKeyDown=${key}>
        <${Choice} label="Level" value=${filter.level} options=${LEVELS} onChange=${(level) => model.narrow({ level })} />
        ${!only && html`<${Choice} label="Worker" value=${filter.worker} options=${workers} onChange=${(worker) => model.narrow({ worker })} />`}
        <${Choice} label="Source" value=${filter.source} options=${SOURCES} onChange=${(source) => model.narrow({ source })} />
        <label class="check"
          ><input type="checkbox" checked=${model.wraps} onChange=${() => model.wrap(!model.wraps)} />Wrap long lines</label
        >
      </div>`
    }
  </span>`;
}

/** The filters that are on, each with the way to be rid of it. */
function Chips({ model }) {
  useChanges(model);
  const store = useStore();
  const { worker, level, source, invocation } = model.filter;
  const chips = [
    worker && !store.only.value && ["worker", worker],
    level && ["level", LEVEL_NAMES[level] ?? level],
    source && ["source", SOURCE_NAMES[source] ?? source],
    invocation && ["invocation", "One call"],
  ].filter(Boolean);
  return chips.map(
    ([name, text]) => html`<span class="chip" key=${name}
      ><span class="el">${text}</span
      ><${Button} small icon="cross" label=${`Remove filter ${text}`} onClick=${() => model.narrow({ [name]: null })}
    /></span>`,
  );
}

async function save(model, store) {
  const progress = (part) => store.toast(`Downloading the log: ${Math.round(part * 100)} %`);
  const text = await model.text(model.first, model.end, progress);
  if (text === null) {
    store.toast("The filter was changed, and so the download was ended", { bad: true });
    return;
  }
  download(text, "worker.log");
  store.toast(`Saved ${plural(text.split("\n").length - 1, "line")} as worker.log`);
}

export function OpenBar({ model, toggle, controls, findRef }) {
  useChanges(model);
  const store = useStore();
  const isNarrow = store.width.value === "narrow";
  const { following, count: shown, dropped, problem } = model;
  const noun = model.isFiltered ? "matching line" : "line";
  const range = model.range;
  const title = dropped ? `${count(dropped)} older lines are kept no longer` : undefined;
  return html`<div class="bar">
    <${Fold} isOpen=${true} toggle=${toggle} controls=${controls} />
    <${Chips} model=${model} />
    ${store.value("clock").value?.virtual && html`<span class="chip" title="Times are those of the virtual clock">Virtual time</span>`}
    <span class="g"></span>
    ${problem && html`<span class="s bad el" role="alert" title=${problem}>${problem}</span>`}
    ${
      range &&
      range[1] - range[0] > 1 &&
      html`<${Button} small icon="copy" why=${store.disabled.value} onClick=${(event) => copySelection(model, store, event.currentTarget)}>
        Copy ${plural(range[1] - range[0], "line")}<//
      >`
    }
    <${Find} model=${model} inputRef=${findRef} />
    <${Filter} model=${model} />
    <${Button}
      icon=${following ? "pause" : "play"}
      label=${following ? "Pause" : "Follow the end"}
      onClick=${() => model.follow(!following)}
    />
    ${!isNarrow && html`<${Button} icon="download" label="Download" why=${store.disabled.value} onClick=${() => save(model, store)} />`}
    ${!isNarrow && html`<span class="s t3 nw" title=${title}>${plural(shown, noun)}</span>`}
  </div>`;
}
