// `JsonEditor`: a text field for JSON with line numbers, colours, pairs, indents, and keys that handlers read.
import { html, useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from "../../vendor/vendor.js";
import { plural } from "../../base/format.js";
import { backspace, complete, indent, keyAt, keysFor, newline, partners, typed } from "./editing.js";
import { Layer, lineStarts } from "./layer.js";

const ROW = 20; // pixels
const PADDING = 8;
const COLOURED = 200_000; // characters; a longer text is plain, so that typing stays fast
const OFFERED = 8;

/** Replace a part of the text as if it was typed: the browser's own undo takes it back. */
export function apply(area, { from, to, insert, start, end }) {
  area.focus();
  if (insert !== area.value.slice(from, to)) {
    area.setSelectionRange(from, to);
    const isDone = insert
      ? document.execCommand("insertText", false, insert)
      : document.execCommand("delete");
    if (!isDone) {
      area.setRangeText(insert, from, to, "end");
      area.dispatchEvent(new Event("input", { bubbles: true }));
    }
  }
  area.setSelectionRange(start, end);
}

/** What a key does to the text, as an edit; null for what the browser does. */
function editOf(event, area) {
  const { value, selectionStart: start, selectionEnd: end } = area;
  const { key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey) return null;
  if (key === "Tab")
    return indent(value, start, end, event.shiftKey) ?? { from: start, to: start, insert: "", start, end };
  if (key === "Enter") return newline(value, start, end);
  if (key === "Backspace") return backspace(value, start, end);
  return key.length === 1 ? typed(value, start, end, key) : null;
}

/** The keys that may be written at the caret: `{ place, offers, chosen }`; null while none are offered. */
function useOffers(area, reads) {
  const [offer, setOffer] = useState(null);
  const look = (isAsked) => {
    const { value, selectionStart, selectionEnd } = area.current;
    const isShort = value.length <= COLOURED && selectionStart === selectionEnd;
    const place = isShort && reads ? keyAt(value, selectionStart) : null;
    const isWanted = place && (isAsked || place.from < place.to);
    const offers = isWanted ? keysFor(place, reads).slice(0, OFFERED) : [];
    setOffer(offers.length ? { place, offers, chosen: 0 } : null);
  };
  return [offer, setOffer, look];
}

function Offers({ id, offer, area, width, choose }) {
  const { value } = area.current;
  const before = value.slice(0, offer.place.from);
  const line = before.split("\n").length - 1;
  const column = before.length - before.lastIndexOf("\n") - 1;
  const { scrollTop, scrollLeft, clientHeight } = area.current;
  const top = PADDING + (line + 1) * ROW - scrollTop;
  const isAbove = top + offer.offers.length * 28 > clientHeight + 60 && top > 120;
  const left = `${Math.max(0, PADDING + column * width - scrollLeft)}px`;
  const style = isAbove ? { left, bottom: `calc(100% - ${top - ROW}px)` } : { left, top: `${top}px` };
  return html`<div class="menu offers" role="listbox" id=${id} aria-label="Keys that handlers read" style=${style}>
    ${offer.offers.map(
      ({ key, value: one }, n) => html`<div
        key=${key}
        id=${`${id}-${n}`}
        role="option"
        aria-selected=${String(n === offer.chosen)}
        onPointerDown=${(event) => {
          event.preventDefault();
          choose(n);
        }}
      >
        <span class="jk">${key}</span><span class="t3 el">${one.slice(0, 40)}</span>
      </div>`,
    )}
  </div>`;
}

/** How the text is scrolled, which lines can be seen, and how wide a character is. */
function useView(area, measure) {
  const [view, setView] = useState({ top: 0, left: 0, height: 200 });
  const [width, setWidth] = useState(7.2);
  const look = () => {
    if (!area.current) return;
    const { scrollTop: top, scrollLeft: left, clientHeight: height } = area.current;
    setView((old) =>
      old.top === top && old.left === left && old.height === height ? old : { top, left, height },
    );
  };
  useEffect(() => {
    const observer = new ResizeObserver(look);
    observer.observe(area.current);
    setWidth(measure.current.getBoundingClientRect().width / 10 || 7.2);
    return () => observer.disconnect();
  }, []);
  return [view, width, look];
}

/**
 * `value` is the text, `onInput(text)` is called when it changes, `problem` is `{ at, line, column, text }` or null,
 * `reads` a JSON text with the keys that are offered. Tab indents; Escape and then Tab leaves the field.
 */
export function JsonEditor({ value, onInput, problem, reads, label, describedBy, areaRef }) {
  const own = useRef(null);
  const area = areaRef ?? own;
  const measure = useRef(null);
  const isLeaving = useRef(false);
  const id = useId();
  const [view, width, look] = useView(area, measure);
  const [caret, setCaret] = useState(0);
  const [offer, setOffer, offerKeys] = useOffers(area, reads);
  const starts = useMemo(() => lineStarts(value), [value]);
  const isColoured = value.length <= COLOURED;
  const pair = useMemo(() => (isColoured ? partners(value, caret) : null), [value, caret]);
  useLayoutEffect(() => {
    if (area.current.value !== value) area.current.value = value;
    look();
  }, [value]);
  const choose = (n) => {
    setOffer(null);
    apply(area.current, complete(area.current.value, offer.place, offer.offers[n]));
  };
  const offerKey = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const all = offer.offers.length;
    if (step) setOffer({ ...offer, chosen: (offer.chosen + step + all) % all });
    else if (event.key === "Enter" || event.key === "Tab") choose(offer.chosen);
    else if (event.key === "Escape") setOffer(null);
    else return false;
    return true;
  };
  const key = (event) => {
    const leaves = isLeaving.current && event.key === "Tab";
    if (!["Shift", "Control", "Alt", "Meta"].includes(event.key)) isLeaving.current = false;
    if (leaves || event.isComposing) return;
    if (event.key === " " && event.ctrlKey) offerKeys(true);
    else if (offer && !event.ctrlKey && !event.metaKey && offerKey(event)) event.stopPropagation();
    else if (event.key === "Escape" && !leaves) {
      isLeaving.current = true; // a second Escape is the drawer's
      if (event.currentTarget.dataset.left) return;
      event.currentTarget.dataset.left = "1";
      event.stopPropagation();
    } else {
      delete event.currentTarget.dataset.left;
      const edit = editOf(event, area.current);
      if (!edit) return;
      apply(area.current, edit);
    }
    event.preventDefault();
  };
  const marks = [
    ...(problem ? [{ at: problem.at, cls: "err" }] : []),
    ...(pair ?? []).map((at) => ({ at, cls: "mate" })),
  ];
  const first = Math.max(0, Math.floor((view.top - PADDING) / ROW) - 2);
  const last = Math.min(starts.length, Math.ceil((view.top + view.height) / ROW) + 2);
  const gutter = `${Math.max(2, String(starts.length).length) * width + 20}px`;
  const shift = { transform: `translateY(${PADDING - view.top}px)` };
  const numbers = [];
  for (let n = first; n < last; n += 1)
    numbers.push(
      html`<div key=${n} class=${problem?.line === n + 1 ? "bad" : ""} style=${{ top: `${n * ROW}px` }}>${n + 1}</div>`,
    );
  return html`<div class=${`editor ${problem ? "wrong" : ""} ${isColoured ? "" : "plain"}`} style=${{ "--gutter": gutter }}>
    <div class="gutter" aria-hidden="true"><div style=${shift}>${numbers}</div></div>
    <div class="layer" aria-hidden="true">
      <div style=${{ transform: `translate(${PADDING - view.left}px, ${PADDING - view.top}px)` }}>
        ${
          isColoured &&
          html`<${Layer} text=${value} starts=${starts} first=${first} last=${last} rowHeight=${ROW} marks=${marks} errorLine=${problem?.line} />`
        }
      </div>
    </div>
    <textarea
      ref=${area}
      aria-label=${label}
      aria-describedby=${describedBy}
      aria-invalid=${problem ? "true" : undefined}
      aria-autocomplete="list"
      aria-controls=${offer ? `${id}-offers` : undefined}
      aria-activedescendant=${offer ? `${id}-offers-${offer.chosen}` : undefined}
      spellcheck=${false}
      autocomplete="off"
      autocapitalize="off"
      wrap="off"
      onScroll=${look}
      onKeyDown=${key}
      onInput=${(event) => {
        onInput(event.currentTarget.value);
        offerKeys(false);
      }}
      onSelect=${(event) => setCaret(event.currentTarget.selectionStart)}
      onBlur=${() => setOffer(null)}
    ></textarea>
    ${offer && html`<${Offers} id=${`${id}-offers`} offer=${offer} area=${area} width=${width} choose=${choose} />`}
    <span class="measure" ref=${measure} aria-hidden="true">0000000000</span>
    <span class="offscreen" role="status">${offer ? `${plural(offer.offers.length, "key")} offered` : ""}</span>
  </div>`;
}
