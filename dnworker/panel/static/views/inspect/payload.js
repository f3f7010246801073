// `PayloadTree`: a payload as a tree of its text: numbers are exact, and only what is open is read and drawn.
import { html, useEffect, useMemo, useRef, useState } from "../../vendor/vendor.js";
import { copy } from "../../base/dom.js";
import { count as counted, plural } from "../../base/format.js";
import { find, pathText, stringOf } from "../../base/json.js";
import { AT_ONCE, idOf, openAtFirst, openTo, rowsOf, widened } from "../../base/json_tree.js";
import { useStore } from "../../base/store.js";
import { Tree } from "../../base/tree.js";
import { Button, Copy, Search } from "../../base/ui.js";
import { JsonText } from "./tokens.js";

const LONGEST_VALUE = 300; // characters on a row; below the tree, the chosen one is whole
const LONGEST_WHOLE = 20_000;
const MOST_FOUND = 1000;
const PAUSE = 150; // milliseconds without a key, after which a search begins

/** A payload by its JSON text; `children` stand at the right of its bar. */
export function PayloadTree({ text, label = "Payload", children }) {
  const store = useStore();
  const root = useRef(null);
  const [opened, setOpened] = useState(() => ({ of: text, open: openAtFirst(text), limits: new Map() }));
  const [current, setCurrent] = useState(null);
  const [query, setQuery] = useState(""); // what is typed
  const [search, setSearch] = useState({ words: "", found: [] }); // what was looked for last
  const [at, setAt] = useState(0);
  const state = opened.of === text ? opened : { of: text, open: openAtFirst(text), limits: new Map() };
  const rows = useMemo(() => rowsOf(text, state.open, state.limits), [text, state]);
  const { found } = search;
  const ids = useMemo(() => new Set(found.map(({ path }) => idOf(path))), [found]);

  const goTo = (n, among = found) => {
    if (!among.length) return;
    const next = (n + among.length) % among.length;
    setAt(next);
    setOpened({ of: text, ...openTo(among[next].path, state.open, state.limits) });
    setCurrent(idOf(among[next].path));
  };
  const look = (words) => {
    clearTimeout(timer.current);
    if (words === search.words) return;
    const all = words ? find(text, words, MOST_FOUND) : [];
    setSearch({ words, found: all });
    goTo(0, all);
  };
  const timer = useRef(null);
  const latest = useRef(null);
  latest.current = look; // the tree may be open in other places by then
  useEffect(() => () => clearTimeout(timer.current), []);
  const type = (words) => {
    setQuery(words);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => latest.current(words), words ? PAUSE : 0);
  };
  const fold = (row, isOpen) => {
    const open = new Set(state.open);
    if (isOpen) open.add(row.id);
    else open.delete(row.id);
    setOpened({ ...state, open });
  };
  const more = (row) => {
    setOpened({ ...state, limits: widened(state.limits, row) });
  };
  const take = async (words, what) => {
    if (await copy(words, root.current)) store.toast(`Copied ${what}`);
  };
  const copyPath = (row) => take(pathText(row.path), pathText(row.path) || "the path");
  const copyValue = (row) => take(textOf(text, row.node), pathText(row.path) || "the payload");
  const key = (event, row) => {
    if (row?.rest && event.key === "Enter") more(row);
    else if (!row?.node) return false;
    else if (event.key === "p") copyPath(row);
    else if (event.key === "c") copyValue(row);
    else return false;
    return true;
  };
  const draw = (row) =>
    row.rest
      ? html`<button type="button" class="lnk s" tabindex="-1" onClick=${() => more(row)}>
          ${`Show ${counted(Math.min(AT_ONCE, row.rest))} of ${counted(row.rest)} more`}
        </button>`
      : html`<${Part} text=${text} row=${row} isFound=${ids.has(row.id)} />
          <span class="acts">
            <${Button} small icon="code" label="Copy path (P)" tabindex="-1" onClick=${() => copyPath(row)} />
            <${Button} small icon="copy" label="Copy value (C)" tabindex="-1" onClick=${() => copyValue(row)} />
          </span>`;
  const searchKey = (event) => {
    if (event.key === "Enter" && query !== search.words) look(query);
    else if (event.key === "Enter") goTo(at + (event.shiftKey ? -1 : 1));
    else if (event.key === "Escape" && query) type("");
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return html`<div class="payload" ref=${root}>
    <div class="row bar">
      <${Search} value=${query} onInput=${type} label="Search the payload" width="220px" onKeyDown=${searchKey} />
      <span class="s t3 nw" role="status">${search.words && foundText(found, at)}</span>
      <span class="g"></span>
      ${children}
      <${Copy} text=${() => text} label="Copy payload" />
    </div>
    <${Tree}
      label=${label}
      rows=${rows}
      draw=${draw}
      current=${current}
      onCurrent=${setCurrent}
      onFold=${fold}
      onKey=${key}
    />
    <${Chosen} text=${text} row=${rows.find((row) => row.id === current)} />
  </div>`;
}

/** Where the chosen part is, and all of a long value. */
function Chosen({ text, row }) {
  if (!row?.node || !row.path.length) return null;
  const value = textOf(text, row.node);
  const isLong = row.node.type === "string" && (value.length > 60 || value.includes("\n"));
  return html`<div class="chosen s t2">
    <bdi class="m">${pathText(row.path)}</bdi>
    ${isLong && html`<pre class="m" tabindex="0" aria-label="The whole text">${value.slice(0, LONGEST_WHOLE)}</pre>`}
    ${value.length > LONGEST_WHOLE && html`<span class="t3">… ${counted(value.length - LONGEST_WHOLE)} more characters</span>`}
  </div>`;
}

function foundText(found, at) {
  if (!found.length) return "Not found";
  return `${counted(at + 1)} of ${counted(found.length)}${found.length === MOST_FOUND ? "+" : ""}`;
}

const textOf = (text, node) =>
  node.type === "string" ? stringOf(text, node) : text.slice(node.start, node.end);

/** A key and its value, or how much is in it. */
function Part({ text, row, isFound }) {
  const { node, key, count } = row;
  const name =
    key === undefined
      ? null
      : html`<bdi class=${typeof key === "number" ? "t3" : "jk"}>${typeof key === "number" ? key : JSON.stringify(key)}</bdi
          ><span class="t3">: </span>`;
  const nested = { object: ["{", "}", "field"], array: ["[", "]", "item"] }[node.type];
  if (nested) {
    const [opens, closes, noun] = nested;
    const inside = count ? ` ${plural(count, noun)} ` : "";
    return html`<span class=${`part ${isFound ? "found" : ""}`}
      >${name}${opens}<span class="t3">${inside}</span>${closes}</span
    >`;
  }
  const value = text.slice(node.start, node.end);
  const cut = value.length - LONGEST_VALUE;
  return html`<span class=${`part ${isFound ? "found" : ""}`}
    >${name}<${JsonText} text=${cut > 0 ? `${value.slice(0, LONGEST_VALUE)}` : value} />${
      cut > 0 && html`<span class="t3">… ${counted(cut)} more characters</span>`
    }</span
  >`;
}
