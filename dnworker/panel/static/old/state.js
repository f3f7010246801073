// The state of a worker as a tree: it is sent again while it is shown, and never otherwise.
import { element, redraw } from "../base/dom.js";
import { count } from "../base/text.js";

const OPEN_LEVELS = 1; // levels of the tree that are open at first
const STEP = "\u0000"; // between the keys of a path

/** What stands behind a key: its type, its size and its value. */
export function detailOf(node) {
  return [node.type, node.size, node.value].filter(Boolean).join("  ");
}

/** How many parts are not shown; nothing where all are. */
export function restOf(node) {
  if (!node.more) return "";
  return node.more > 0 ? `… ${count(node.more)} more` : "…";
}

/** The value of every part by its path, to see which of them are new. */
export function valuesOf(node, path = "", found = new Map()) {
  for (const child of node.children ?? []) {
    const here = `${path}${STEP}${child.key}`;
    found.set(here, detailOf(child));
    valuesOf(child, here, found);
  }
  return found;
}

export class StateView {
  constructor(panel) {
    this.panel = panel;
    this.worker = null; // whose state is shown
    this.isVisible = true;
    this.state = null;
    this.before = null; // the values of the last picture, by path
    this.unfolded = new Map(); // by path: whether somebody has opened or closed it
    this.root = element("div", { cls: "dnw-state-view", tabindex: "0", role: "region" });
  }

  /** The worker whose state the kernel is to send; none while nobody can see it. */
  get wanted() {
    return this.isVisible ? this.worker : null;
  }

  toggle(worker) {
    const shown = this.worker;
    this.worker = worker === shown ? null : worker;
    this.state = null;
    this.before = null;
    this.unfolded.clear();
    this.draw();
    this.panel.send({ type: "look", part: "state", wanted: this.wanted && { worker: this.wanted } });
    const { workers } = this.panel.sections;
    workers.update(new Set([worker, ...(shown ? [shown] : [])]));
  }

  setVisible(isVisible) {
    if (isVisible === this.isVisible) return;
    this.isVisible = isVisible;
    if (this.worker)
      this.panel.send({ type: "look", part: "state", wanted: this.wanted && { worker: this.wanted } });
  }

  take(state) {
    if (state.worker !== this.worker) return;
    this.state = state;
    this.draw();
  }

  draw() {
    const { root, state } = this;
    const scrolled = root.scrollTop;
    root.setAttribute("aria-label", `state of ${this.worker}`);
    root.dataset.focus = "state";
    if (!state) redraw(root, [element("p", { cls: "dnw-muted", text: "…" })]);
    else if (!state.tree) redraw(root, [element("p", { cls: "dnw-muted", text: state.why })]);
    else {
      const values = valuesOf(state.tree);
      redraw(root, [this.list(state.tree, "", 0, values)]);
      this.before = values;
    }
    root.scrollTop = scrolled;
  }

  list(node, path, level, values) {
    const children = node.children ?? [];
    if (!children.length && !level) return element("p", { cls: "dnw-muted", text: "it is empty" });
    const rest = restOf(node);
    return element("ul", {}, [
      ...children.map((child) => this.row(child, `${path}${STEP}${child.key}`, level, values)),
      ...(rest ? [element("li", { cls: "dnw-muted", text: rest })] : []),
    ]);
  }

  row(node, path, level, values) {
    const isNew = this.before !== null && this.before.get(path) !== values.get(path);
    const head = [
      element("span", { cls: "dnw-key", text: node.key }),
      " ",
      element("span", { cls: "dnw-muted", text: [node.type, node.size].filter(Boolean).join("  ") }),
      " ",
      element("span", { cls: isNew ? "dnw-fresh" : "", text: node.value ?? "" }),
    ];
    if (!node.children?.length && !node.more) return element("li", {}, head);
    const summary = element("summary", { cls: isNew ? "dnw-fresh" : "", data: { focus: path } }, head);
    const details = element("details", {}, [summary, this.list(node, path, level + 1, values)]);
    details.open = this.unfolded.get(path) ?? level < OPEN_LEVELS;
    summary.addEventListener("click", () => this.unfolded.set(path, !details.open));
    return element("li", {}, [details]);
  }
}
