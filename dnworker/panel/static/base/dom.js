// Elements. Texts of the kernel go in by textContent alone: they are never markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, { cls, text, on, data, ...attributes }, children) {
  if (cls) node.setAttribute("class", cls);
  if (text !== undefined && text !== null) node.textContent = text;
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false)
      node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const [name, value] of Object.entries(data ?? {})) node.dataset[name] = value;
  for (const [name, listener] of Object.entries(on ?? {})) node.addEventListener(name, listener);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** An element with a class, a text, attributes, listeners and children. */
export function element(tag, options = {}, children = []) {
  return fill(document.createElement(tag), options, children);
}

/** The same in SVG. */
export function shape(tag, options = {}, children = []) {
  return fill(document.createElementNS(SVG, tag), options, children);
}

/** A button. With a reason `why` it does nothing, but stays in the tab order; its title is the reason. */
export function button(text, press, { why = null, label = null, cls = "", pressed = null } = {}) {
  const node = element("button", {
    cls: `dnw-button ${cls}`,
    type: "button",
    text,
    title: why,
    "aria-label": label,
    "aria-disabled": why ? "true" : null,
    "aria-pressed": pressed === null ? null : String(pressed),
    data: { focus: label ?? text },
  });
  node.addEventListener("click", () => {
    if (node.getAttribute("aria-disabled") !== "true") press(node);
  });
  return node;
}

/** A text field with its label before it. */
export function field(label, input) {
  return element("label", { cls: "dnw-field" }, [element("span", { text: label }), input]);
}

/** A choice among `[value, text]`. */
export function select(options, chosen, change, label) {
  const node = element("select", { cls: "dnw-input", "aria-label": label });
  setOptions(node, options, chosen);
  node.addEventListener("change", () => change(node.value));
  return node;
}

/** Give a choice other options, and keep what is chosen; if that is gone, it is marked so. */
export function setOptions(node, options, chosen = node.value) {
  const all =
    !chosen || options.some(([value]) => value === chosen)
      ? options
      : [...options, [chosen, `${chosen} (gone)`]];
  const wanted = JSON.stringify(all);
  if (node.dataset.options !== wanted) {
    node.dataset.options = wanted;
    node.replaceChildren(...all.map(([value, text]) => element("option", { value, text })));
  }
  node.value = chosen || (all[0]?.[0] ?? "");
}

/** Change what is in a parent, and put the focus back where it was: on what has the same `data-focus`. */
export function keepFocus(parent, change) {
  const active = parent.getRootNode().activeElement;
  const focused = active && parent.contains(active) ? active.dataset.focus : null;
  change();
  // Without scrolling: what has the focus may be far above of what is read.
  if (focused)
    [...parent.querySelectorAll("[data-focus]")]
      .find((node) => node.dataset.focus === focused)
      ?.focus({ preventScroll: true });
}

/** Put new children in, and the focus back where it was. */
export function redraw(parent, children) {
  keepFocus(parent, () => parent.replaceChildren(...children));
}

/** Give the browser a text to save. */
export function download(text, name) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
  const link = element("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Put a text on the clipboard; without leave or a secure page, by a selection. Tells whether it is there. */
export async function copy(text, near) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const active = near.getRootNode().activeElement;
    const area = element("textarea", { cls: "dnw-offscreen", "aria-hidden": "true" });
    area.value = text;
    near.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    active?.focus({ preventScroll: true });
    return done;
  }
}

/**
 * A list of any length of which only the visible rows are in the document.
 * `draw(i)` makes row i, or gives null for one that is not here yet; `scrolled` is called at every move.
 */
export class VirtualList {
  constructor({ rowHeight, label, draw, open, scrolled = () => {}, follows = false }) {
    this.rowHeight = rowHeight;
    this.count = 0;
    this.current = -1;
    this.follows = follows;
    this.draw = draw;
    this.open = open;
    this.scrolled = scrolled;
    this.rows = element("div", { cls: "dnw-rows" });
    this.root = element(
      "div",
      { cls: "dnw-list", role: "group", tabindex: "0", "aria-label": label, data: { focus: label } },
      [this.rows],
    );
    this.label = label;
    this.isRequested = false;
    this.prefix = `dnw-${Math.random().toString(36).slice(2)}`;
    this.scrolledTo = 0; // where the list scrolled by itself: such a move is not a wish of people
    this.root.addEventListener(
      "scroll",
      () => {
        const moved = Math.abs(this.root.scrollTop - this.scrolledTo) > 1;
        if (moved) {
          this.scrolledTo = this.root.scrollTop;
          this.scrolled(this);
        }
        this.render();
      },
      { passive: true },
    );
    new ResizeObserver(() => this.render()).observe(this.root); // it goes with the element
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.root.addEventListener("click", (event) => {
      const row = event.target.closest(".dnw-list-row");
      if (row) this.choose(Number(row.dataset.index), true);
    });
  }

  get atEnd() {
    return this.root.scrollHeight - this.root.scrollTop - this.root.clientHeight < this.rowHeight * 1.5;
  }

  /** The rows that can be seen, `[from, until)`. */
  get visibleRange() {
    const from = Math.max(0, Math.floor(this.root.scrollTop / this.rowHeight));
    return [from, Math.min(this.count, from + Math.ceil(this.root.clientHeight / this.rowHeight) + 1)];
  }

  /** There are so many rows now; `before` of them are new or gone at the top. */
  resize(count, before = 0) {
    this.count = count;
    this.rows.style.height = `${count * this.rowHeight}px`;
    if (count) this.root.setAttribute("role", "listbox");
    else this.root.setAttribute("role", "group");
    if (before && !this.follows) this.scrollTo(this.root.scrollTop + before * this.rowHeight);
    if (before && this.current >= 0) this.current += before;
    if (this.current >= count) this.current = -1;
    this.render();
  }

  scrollTo(top) {
    this.root.scrollTop = top;
    this.scrolledTo = this.root.scrollTop;
  }

  /** Draw once the browser is ready for the next picture. */
  render() {
    if (this.isRequested) return;
    this.isRequested = true;
    requestAnimationFrame(() => {
      this.isRequested = false;
      this.drawNow();
    });
  }

  drawNow() {
    if (this.follows) this.scrollTo(this.root.scrollHeight);
    const [from, until] = this.visibleRange;
    const shown = [];
    for (let i = Math.max(0, from - 5); i < Math.min(this.count, until + 5); i += 1) {
      const row = this.draw(i) ?? element("div", { cls: "dnw-list-row dnw-muted", text: "…" });
      row.classList.add("dnw-list-row");
      row.id = `${this.prefix}-${i}`;
      row.dataset.index = String(i);
      row.setAttribute("role", "option");
      row.setAttribute("aria-setsize", String(this.count));
      row.setAttribute("aria-posinset", String(i + 1));
      row.setAttribute("aria-selected", String(i === this.current));
      row.style.transform = `translateY(${i * this.rowHeight}px)`;
      shown.push(row);
    }
    this.rows.replaceChildren(...shown);
    const chosen = shown.some((row) => row.dataset.index === String(this.current));
    if (chosen) this.root.setAttribute("aria-activedescendant", `${this.prefix}-${this.current}`);
    else this.root.removeAttribute("aria-activedescendant");
  }

  choose(index, open = false) {
    if (index < 0 || index >= this.count) return;
    this.current = index;
    const [from, until] = this.visibleRange;
    if (index < from + 1) this.scrollTo(index * this.rowHeight);
    else if (index >= until - 2) this.scrollTo((index + 2) * this.rowHeight - this.root.clientHeight);
    this.scrolled(this);
    this.drawNow();
    if (open) this.open(index);
  }

  key(event) {
    const [from, until] = this.visibleRange;
    const page = Math.max(1, until - from - 2);
    const steps = {
      ArrowDown: 1,
      ArrowUp: -1,
      PageDown: page,
      PageUp: -page,
      Home: -this.count,
      End: this.count,
    };
    if (event.target !== this.root || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in steps) {
      const start = this.current >= 0 ? this.current : this.follows || this.atEnd ? this.count : -1;
      this.choose(Math.min(this.count - 1, Math.max(0, start + steps[event.key])));
    } else if ((event.key === "Enter" || event.key === " ") && this.current >= 0) this.open(this.current);
    else return;
    event.preventDefault();
  }
}
