// The log: the visible lines are in the document, all others in the kernel.
import { VirtualList, button, download, element, select, setOptions } from "../base/dom.js";
import { shownElement } from "./shown.js";
import { coloured } from "./trace.js";
import { ansi, count, marked, timeOfDay } from "../base/text.js";

const CACHED = 4000;
const PAGE = 200;
const LEVELS = [
  ["", "any level"],
  ["debug", "debug and up"],
  ["info", "info and up"],
  ["warning", "warnings and up"],
  ["error", "errors"],
];

/** The lines that are known, by position; those farthest from where people look go first. */
export class LineCache {
  constructor(limit = CACHED) {
    this.limit = limit;
    this.lines = new Map();
  }

  get(position) {
    return this.lines.get(position);
  }

  add(lines, looked) {
    for (const line of lines) this.lines.set(line.position, line);
    if (this.lines.size <= this.limit) return;
    const far = [...this.lines.keys()].sort((a, b) => Math.abs(a - looked) - Math.abs(b - looked));
    for (const position of far.slice(Math.floor(this.limit * 0.75))) this.lines.delete(position);
  }

  clear() {
    this.lines.clear();
  }
}

/** The first position of `[from, until)` that is not known; null when all are. */
export function missing(cache, from, until) {
  for (let position = from; position < until; position += 1) if (!cache.get(position)) return position;
  return null;
}

export class LogSection {
  constructor(panel) {
    this.panel = panel;
    this.first = 1;
    this.end = 1;
    this.dropped = 0;
    this.cache = new LineCache();
    this.filter = {};
    this.isFetching = false;
    this.following = true;
    this.worker = select(
      [["", "all workers"]],
      "",
      (value) => this.narrow({ worker: value || null }),
      "worker of the log",
    );
    this.level = select(LEVELS, "", (value) => this.narrow({ level: value || null }), "level");
    this.text = element("input", {
      cls: "dnw-input",
      type: "search",
      placeholder: "find",
      spellcheck: "false",
      "aria-label": "find in the log",
      data: { focus: "find" },
    });
    this.text.addEventListener("input", () => this.search());
    this.regex = this.check("regex");
    this.only = this.check("only matches");
    this.only.checked = true;
    this.followButton = button("❚❚ pause", () => this.follow(!this.following));
    this.note = element("span", { cls: "dnw-muted" });
    this.problem = element("span", { cls: "dnw-bad", role: "alert" });
    this.list = new VirtualList({
      rowHeight: 19,
      label: "lines of the log",
      follows: true,
      draw: (n) => this.row(this.first + n),
      open: (n) => this.open(this.first + n),
      scrolled: () => this.scrolled(),
    });
    this.list.root.classList.add("dnw-log-list");
    this.list.root.addEventListener("keydown", (event) => event.key === "End" && this.follow(true));
    this.detail = element("div", { cls: "dnw-line-detail" });
    this.clearInvocation = button("✕ one invocation", () => this.narrow({ invocation: null }));
    this.clearInvocation.hidden = true;
    this.root = this.layout();
  }

  layout() {
    return element("section", { cls: "dnw-log-section", "aria-label": "log" }, [
      element("div", { cls: "dnw-tools" }, [
        element("h3", { cls: "dnw-title", text: "log" }),
        this.worker,
        this.level,
        this.text,
        element("label", { cls: "dnw-check" }, [this.regex, element("span", { text: "regex" })]),
        element("label", { cls: "dnw-check" }, [this.only, element("span", { text: "only matches" })]),
        this.clearInvocation,
        this.followButton,
        button("download", () => this.save(), { label: "download the log" }),
        this.note,
        this.problem,
      ]),
      element("div", { cls: "dnw-log", role: "log", "aria-live": "off", "aria-label": "log lines" }, [
        this.list.root,
      ]),
      this.detail,
    ]);
  }

  check(name) {
    const box = element("input", { type: "checkbox", "aria-label": name });
    box.addEventListener("change", () => this.search());
    return box;
  }

  search() {
    clearTimeout(this.typing);
    this.typing = setTimeout(() => {
      // Patterns are for the kernel alone.
      const text = this.only.checked || this.regex.checked ? this.text.value : "";
      if (text !== (this.filter.text ?? "") || this.regex.checked !== (this.filter.regex ?? false))
        this.narrow({ text, regex: this.regex.checked });
      else this.list.render(); // only other marks
    }, 150);
  }

  async narrow(change) {
    this.filter = { ...this.filter, ...change };
    this.clearInvocation.hidden = !this.filter.invocation;
    const answer = await this.panel.request("filter", { type: "log", filter: this.filter }, (text) => {
      this.problem.textContent = text;
    });
    if (answer) this.problem.textContent = "";
  }

  /** Take what the kernel sends: where the log begins and ends now, and the newest lines. */
  take({ window, first, end, dropped, problem, filter, lines }) {
    if (window !== this.window) {
      this.window = window;
      this.isFiltered = Boolean(filter.text || filter.worker || filter.level || filter.invocation);
      this.cache.clear();
      this.first = first;
      this.list.current = -1;
      this.detail.replaceChildren();
    }
    const gone = first - this.first;
    this.first = first;
    this.end = end;
    this.dropped = dropped;
    // What comes in at the end while people look elsewhere would push out what they see.
    if (this.following || end - first <= CACHED) this.cache.add(lines, this.looked);
    if (problem) this.problem.textContent = problem;
    this.list.resize(end - first, -gone);
    this.showCount();
    this.fetch();
  }

  showCount() {
    const kept = this.end - this.first;
    const parts = [`${count(kept)} ${this.isFiltered ? "matching " : ""}line${kept === 1 ? "" : "s"}`];
    if (this.dropped) parts.push(`${count(this.dropped)} older ones dropped`);
    this.note.textContent = parts.join(" · ");
  }

  follow(on) {
    if (this.following === on) return;
    this.following = this.list.follows = on;
    this.followButton.textContent = on ? "❚❚ pause" : "▶ follow";
    if (on) this.list.current = -1;
    this.list.render();
  }

  /** The position in the middle of the visible lines. */
  get looked() {
    const [from, until] = this.list.visibleRange;
    return this.following ? this.end : this.first + Math.floor((from + until) / 2);
  }

  /** Somebody moved the list: at the end it follows, anywhere else it stays. */
  scrolled() {
    this.follow(this.list.atEnd);
    this.fetch();
  }

  /** Request the visible lines that are not known. */
  async fetch() {
    if (this.isFetching) return;
    const [from, until] = this.following
      ? [Math.max(0, this.list.count - 40), this.list.count]
      : this.list.visibleRange;
    const wanted = missing(this.cache, this.first + from, this.first + until);
    if (wanted === null) return;
    this.isFetching = true;
    const position = Math.max(this.first, wanted - (this.following ? 0 : 50));
    const answer = await this.panel.request("lines", { type: "lines", position, count: PAGE });
    this.isFetching = false;
    if (!answer) return;
    if (answer.window === this.window) {
      this.cache.add(answer.lines, this.looked);
      this.list.render();
      if (!answer.lines.length) return;
    }
    this.fetch();
  }

  row(position) {
    const line = this.cache.get(position);
    if (!line) return null;
    const text = element("span", { cls: "dnw-text" });
    const wanted = this.regex.checked ? "" : this.text.value;
    if (wanted) {
      const plain = ansi(line.text)
        .map((piece) => piece.text)
        .join("");
      text.append(
        ...marked(plain, wanted).map((piece) =>
          piece.mark ? element("mark", { text: piece.text }) : document.createTextNode(piece.text),
        ),
      );
    } else text.append(...coloured(line.text));
    if (line.cut) text.append(`… ${count(line.cut)} more characters`);
    if (line.form && !line.image) text.append(` ▣ ${line.form}`);
    if (line.image) text.append(" ", element("img", { cls: "dnw-thumb", src: line.image, alt: line.text }));
    const bad = { error: "✗ ", critical: "✗ ", warning: "! " }[line.level] ?? "";
    return element("div", { cls: `dnw-line dnw-level-${line.level}` }, [
      element("span", { cls: "dnw-muted dnw-at", text: timeOfDay(line.at) }),
      element("span", { cls: "dnw-muted dnw-by", text: line.worker }),
      element("span", { cls: "dnw-levelmark", text: bad }),
      text,
    ]);
  }

  /** Show all of a line, and the way to where it is from. */
  async open(position) {
    let line = this.cache.get(position);
    if (!line) return;
    if (line.cut || line.form)
      line =
        (await this.panel.request("the whole line", { type: "line", number: line.number }))?.line ?? line;
    const about = `${timeOfDay(line.at)} · ${line.worker} · ${line.source} · ${line.level}`;
    this.detail.replaceChildren(
      element("div", { cls: "dnw-head" }, [
        element("span", { cls: "dnw-muted", text: about }),
        ...(line.event
          ? [
              button("show the event", () => this.panel.showEvent(line.event), {
                label: "show the event of this line",
              }),
            ]
          : []),
        ...(line.invocation
          ? [button("only this invocation", () => this.narrow({ invocation: line.invocation }))]
          : []),
        button("close", () => this.detail.replaceChildren(), { label: "close the line" }),
      ]),
      element("pre", { tabindex: "0" }, coloured(line.text)),
      ...(line.shown ? [shownElement(line.shown, line.text)] : []),
    );
  }

  async save() {
    const pieces = [];
    const { window, first, end } = this;
    for (let position = first; position < end; ) {
      const answer = await this.panel.request("download", {
        type: "lines",
        position,
        count: 500,
        whole: true,
      });
      if (!answer) return;
      if (answer.window !== window) {
        this.panel.showStatus("the filter was changed, and so the download was ended");
        return;
      }
      pieces.push(answer.text);
      if (!answer.next || answer.next <= position) break;
      position = answer.next;
      this.panel.showStatus(
        `downloading: ${Math.round(((Math.min(position, end) - first) / (end - first)) * 100)} %`,
      );
    }
    const text = pieces.join("");
    download(text, "worker.log");
    this.panel.showStatus(`saved ${count(text.split("\n").length - 1)} lines as worker.log`);
  }

  update() {
    setOptions(this.worker, [["", "all workers"], ...this.panel.state.order.map((name) => [name, name])]);
  }
}
