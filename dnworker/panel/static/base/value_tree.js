/* `ValueTree`: the state of a worker, or any other value that the kernel sends as a tree (`core/value_tree.py`).
 *
 *   html`<${ValueTree} node=${part.tree} label="State of bridge" />`
 *
 * A node is { key, type, size, value, children, more }; what is missing is empty. What was opened stays open when the
 * value changes. It exports ValueTree and the pure `valueRows(node, open)`.
 */
import { html, useMemo, useState } from "../vendor/vendor.js";
import { Tree } from "./tree.js";

const OPEN_AT_FIRST = 30; // parts of what is open without a click

const hasParts = (node) => Boolean(node.children?.length || node.more);

/** The rows of the parts of a node; `open` has the ids of those that are open, `closed` of those that were closed. */
export function valueRows(node, open = new Set(), closed = new Set()) {
  const rows = [];
  const waiting = [];
  const push = (parent, path, level) => {
    if (parent.more) waiting.push({ id: `${path}…`, level, more: parent.more, isOpen: null });
    const children = parent.children ?? [];
    for (let n = children.length - 1; n >= 0; n -= 1) {
      const child = children[n];
      const id = `${path}/${child.key.length}:${child.key}${child.key === "·" ? n : ""}`;
      const isFirst = level === 1 && (child.children ?? []).length <= 8 && children.length <= OPEN_AT_FIRST;
      const isOpen = hasParts(child) ? open.has(id) || (isFirst && !closed.has(id)) : null;
      waiting.push({ id, level, node: child, isOpen });
    }
  };
  push(node, "", 1);
  while (waiting.length) {
    const row = waiting.pop();
    rows.push(row);
    if (row.isOpen) push(row.node, row.id, row.level + 1);
  }
  return rows;
}

const KINDS = { str: "js", int: "jn", float: "jn", bool: "kw", NoneType: "kw" };

export function ValueTree({ node, label = "Value" }) {
  const [open, setOpen] = useState(() => new Set());
  const [closed, setClosed] = useState(() => new Set());
  const [current, setCurrent] = useState(null);
  const rows = useMemo(() => valueRows(node, open, closed), [node, open, closed]);
  const fold = (row, isOpen) => {
    const change = (set, has) => {
      const next = new Set(set);
      if (has) next.add(row.id);
      else next.delete(row.id);
      return next;
    };
    setOpen(change(open, isOpen));
    setClosed(change(closed, !isOpen));
  };
  const draw = ({ node: one, more }) =>
    more
      ? html`<span class="t3">${more > 0 ? `… ${more.toLocaleString("en-US")} more` : "…"}</span>`
      : html`<bdi class="jk">${one.key}</bdi><span class="t3">:</span>
          ${one.value ? html`<bdi class=${`val ${KINDS[one.type] ?? ""}`}>${one.value}</bdi>` : null}
          ${one.value && KINDS[one.type] ? null : html`<span class="t3">${one.type}</span>`}
          ${one.size ? html`<span class="t3">${one.size}</span>` : null}`;
  return html`<${Tree} label=${label} rows=${rows} draw=${draw} current=${current} onCurrent=${setCurrent} onFold=${fold} />`;
}
