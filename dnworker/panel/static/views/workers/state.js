// The state of a worker as a tree: its parts fold, and numbers say by how much they changed while it is shown.
import { html, useRef, useState } from "../../vendor/vendor.js";
import { ago, plural } from "../../base/format.js";
import { useLook, useStore } from "../../base/store.js";

const KINDS = { str: "js", int: "jn", float: "jn", bool: "kw", NoneType: "kw" };

const pathOf = (path, key) => `${path}/${key.length}:${key}`;

/** The values of all parts by their paths. */
export function valuesOf(node, path = "", found = new Map()) {
  for (const child of node?.children ?? []) {
    const here = pathOf(path, child.key);
    found.set(here, child.value ?? child.size ?? "");
    valuesOf(child, here, found);
  }
  return found;
}

const number = (text) => (/^-?[\d_,]*\.?\d+$/.test(text) ? Number(text.replace(/[_,]/g, "")) : Number.NaN);

/** What became of the values: a difference of numbers, or that they are others; by path, with the time. */
export function changesOf(before, after, changes, now) {
  const found = new Map([...changes].filter(([path]) => after.has(path)));
  for (const [path, value] of after) {
    const old = before.get(path);
    if (old === value || (old === undefined && !before.size)) continue;
    const by = old === undefined ? Number.NaN : number(value) - number(old);
    const text = Number.isNaN(by)
      ? old === undefined
        ? "new"
        : "changed"
      : `${by < 0 ? "−" : "+"}${format(Math.abs(by))}`;
    found.set(path, { text, at: now });
  }
  return found;
}

const format = (value) =>
  Number.isInteger(value) ? value.toLocaleString("en-US") : String(Number(value.toPrecision(6)));

function useChanges(tree, now) {
  const kept = useRef({ tree: null, values: null, changes: new Map() });
  if (tree && tree !== kept.current.tree) {
    const values = valuesOf(tree);
    const { values: before, changes } = kept.current;
    kept.current = { tree, values, changes: before ? changesOf(before, values, changes, now) : changes };
  }
  return kept.current.changes;
}

function Part({ node, path, changes, now }) {
  const [open, setOpen] = useState(false);
  const children = node.children ?? [];
  const hasParts = children.length > 0 || Boolean(node.more);
  const change = changes.get(path);
  const size = node.size || node.type;
  const head = html`<bdi class="jk">${node.key}</bdi>
    ${hasParts && html`<span class="jt">${open ? "▾" : "▸"} ${size}</span>`}
    ${!hasParts && (node.value ? html`<bdi class=${KINDS[node.type] ?? ""}>${node.value}</bdi>` : html`<span class="jt">${size}</span>`)}
    ${change && html`<span class="jt">${change.text}, ${ago(change.at, now)}</span>`}`;
  if (!hasParts) return html`<li class="w-leaf">${head}</li>`;
  return html`<li>
    <button type="button" class="w-part" aria-expanded=${String(open)} onClick=${() => setOpen(!open)}>${head}</button>
    ${open && html`<${Parts} node=${node} path=${path} changes=${changes} now=${now} />`}
  </li>`;
}

function Parts({ node, path, changes, now }) {
  return html`<ul class="w-parts">
    ${(node.children ?? []).map((child) => {
      const here = pathOf(path, child.key);
      return html`<${Part} key=${here} node=${child} path=${here} changes=${changes} now=${now} />`;
    })}
    ${Boolean(node.more) && html`<li class="t3">${node.more > 0 ? `… ${node.more.toLocaleString("en-US")} more` : "…"}</li>`}
  </ul>`;
}

export function State({ name }) {
  const store = useStore();
  const found = useLook("state", { worker: name });
  const part = found?.worker === name ? found : null;
  store.tick.value; // ages grow
  const now = store.now();
  const changes = useChanges(part?.tree, now);
  const children = part?.tree?.children ?? [];
  const keys = children.length + Math.max(0, part?.tree?.more ?? 0);
  return html`<section class="ds" aria-label="State">
    <h3>State${part?.tree && html`<span class="s t3 n">${keys ? plural(keys, "key") : "empty"}</span>`}</h3>
    ${part?.tree && keys > 0 && html`<div class="w-state"><${Parts} node=${part.tree} path="" changes=${changes} now=${now} /></div>`}
    ${part && !part.tree && html`<p class="t2 s"><bdi>${part.why}</bdi></p>`}
  </section>`;
}
