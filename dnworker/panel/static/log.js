// The log: what is in sight is in the document, the rest in the kernel.
import { VirtualList, button, download, element, field, select, setOptions } from "./dom.js";
import { coloured } from "./trace.js";
import { ansi, count, marked, timeOfDay } from "./text.js";

const CACHED = 4000;
const PAGE = 200;
const LEVELS = [["", "any level"], ["debug", "debug and up"], ["info", "info and up"], ["warning", "warnings and up"], ["error", "errors"]];

/** The lines that are known, by place; the farthest from where people look go first. */
export class LineCache {
  constructor(limit = CACHED) {
    this.limit = limit;
    this.lines = new Map();
  }

  get(place) {
    return this.lines.get(place);
  }

  add(lines) {
    for (const line of lines) {
      this.lines.delete(line.place);
      this.lines.set(line.place, line);
    }
    for (const place of this.lines.keys()) {
      if (this.lines.size <= this.limit) break;
      this.lines.delete(place);
    }
  }

  clear() {
    this.lines.clear();
  }
}

/** The first stretch of `[from, until)` that is not known, as `[place, count]`; null when all is. */
export function missing(cache, from, until, page = PAGE) {
  for (let place = from; place < until; place += 1) {
    if (!cache.get(place)) return [place, Math.min(page, Math.max(until - place, page))];
  }
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
    this.asking = false;
    this.following = true;
    this.worker = select([["", "all workers"]], "", (value) => this.narrow({ worker: value || null }), "worker of the log");
    this.level = select(LEVELS, "", (value) => this.narrow({ level: value || null }), "level");
    this.text = element("input", { cls: "dnw-input", type: "search", placeholder: "find", spellcheck: "false", "aria-label": "find in the log", data: { focus: "find" } });
    this.text.addEventListener("input", () => this.search());
    this.regex = this.check("regex");
    this.only = this.check("only matches");
    this.only.checked = true;
    this.followButton = button("❚❚ pause", () => this.follow(!this.following), { label: "follow the log", pressed: true });
    this.note = element("span", { cls: "dnw-muted" });
    this.problem = element("span", { cls: "dnw-bad", role: "alert" });
    this.list = new VirtualList({
      rowHeight: 19, label: "lines of the log", follows: true, draw: (n) => this.row(this.first + n), open: (n) => this.open(this.first + n),
      scrolled: () => this.scrolled(),
    });
    this.list.root.classList.add("dnw-log-list");
    this.list.root.addEventListener("wheel", (event) => {
      if (event.deltaY < 0) this.follow(false);
    }, { passive: true });
    this.list.root.addEventListener("keydown", (event) => {
      if (["ArrowUp", "PageUp", "Home"].includes(event.key)) this.follow(false);
      if (event.key === "End") this.follow(true);
    }, { capture: true });
    this.detail = element("div", { cls: "dnw-line-detail" });
    this.clearInvocation = button("✕ one invocation", () => this.narrow({ invocation: null }), { label: "show the lines of all invocations" });
    this.clearInvocation.hidden = true;
    this.root = element("section", { cls: "dnw-log-section", "aria-label": "log" }, [
      element("div", { cls: "dnw-tools" }, [
        element("h3", { cls: "dnw-title", text: "log" }), this.worker, this.level, this.text,
        element("label", { cls: "dnw-check" }, [this.regex, element("span", { text: "regex" })]),
        element("label", { cls: "dnw-check" }, [this.only, element("span", { text: "only matches" })]),
        this.clearInvocation, this.followButton, button("download", () => this.save(), { label: "download the log" }), this.note, this.problem,
      ]),
      element("div", { cls: "dnw-log", role: "log", "aria-live": "off", "aria-label": "log lines" }, [this.list.root]),
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
      const text = this.only.checked ? this.text.value : "";
      if (text !== (this.filter.text ?? "") || this.regex.checked !== (this.filter.regex ?? false)) this.narrow({ text, regex: this.regex.checked });
      else this.list.render(); // only other marks
    }, 150);
  }

  async narrow(change) {
    this.filter = { ...this.filter, ...change };
    this.clearInvocation.hidden = !this.filter.invocation;
    const answer = await this.panel.ask("filter", { type: "log", filter: this.filter }, (text) => {
      this.problem.textContent = text;
    });
    if (answer) this.problem.textContent = "";
  }

  /** Take what the kernel tells: where the log begins and ends now, and the newest lines. */
  take({ first, end, dropped, problem, filter, lines }) {
    const told = JSON.stringify(filter);
    if (told !== this.told || end < this.end) {
      this.told = told;
      this.cache.clear();
      this.first = first;
      this.detail.replaceChildren();
    }
    const gone = first - this.first;
    this.first = first;
    this.end = end;
    this.dropped = dropped;
    this.cache.add(lines);
    if (problem) this.problem.textContent = problem;
    this.list.resize(end - first, -gone);
    this.tell();
    this.fetch();
  }

  tell() {
    const kept = this.end - this.first;
    const matching = this.told && /"text":"[^"]|"worker":"|"level":"|"invocation":"/.test(this.told);
    const parts = [`${count(kept)} ${matching ? "matching " : ""}line${kept === 1 ? "" : "s"}`];
    if (this.dropped) parts.push(`${count(this.dropped)} older ones dropped`);
    this.note.textContent = parts.join(" · ");
  }

  follow(on) {
    if (this.following === on) return;
    this.following = this.list.follows = on;
    this.followButton.textContent = on ? "❚❚ pause" : "▶ follow";
    this.followButton.setAttribute("aria-pressed", String(on));
    this.list.render();
  }

  scrolled() {
    if (!this.following && this.list.atEnd && this.list.current < 0) this.follow(true);
    this.fetch();
  }

  /** Ask for the lines in sight that are not known. */
  async fetch() {
    if (this.asking) return;
    const [from, until] = this.list.follows ? [Math.max(0, this.list.count - 40), this.list.count] : this.list.sight;
    const wanted = missing(this.cache, this.first + from, this.first + until);
    if (!wanted) return;
    this.asking = true;
    const told = this.told;
    const answer = await this.panel.ask("lines", { type: "lines", place: Math.max(this.first, wanted[0] - (this.list.follows ? 0 : 50)), count: wanted[1] });
    this.asking = false;
    if (!answer || told !== this.told) return;
    this.cache.add(answer.lines);
    this.list.render();
    if (answer.lines.length) this.fetch();
  }

  row(place) {
    const line = this.cache.get(place);
    if (!line) return null;
    const text = element("span", { cls: "dnw-text" });
    const wanted = this.text.value;
    if (wanted) {
      const plain = ansi(line.text).map((piece) => piece.text).join("");
      text.append(...marked(plain, wanted, this.regex.checked).map((piece) => (piece.mark ? element("mark", { text: piece.text }) : document.createTextNode(piece.text))));
    } else text.append(...coloured(line.text));
    if (line.cut) text.append("…");
    if (line.image) text.append(" ", element("img", { cls: "dnw-thumb", src: line.image, alt: line.text }));
    const bad = { error: "✗ ", critical: "✗ ", warning: "! " }[line.level] ?? "";
    return element("div", { cls: `dnw-line dnw-level-${line.level}` }, [
      element("span", { cls: "dnw-muted dnw-at", text: timeOfDay(line.at) }),
      element("span", { cls: "dnw-muted dnw-by", text: line.worker }),
      element("span", { cls: "dnw-levelmark", text: bad }), text,
    ]);
  }

  /** Show all of a line, and the way to where it is from. */
  async open(place) {
    let line = this.cache.get(place);
    if (!line) return;
    if (line.cut) line = (await this.panel.ask("the whole line", { type: "line", number: line.number }))?.line ?? line;
    const about = `${timeOfDay(line.at)} · ${line.worker} · ${line.source} · ${line.level}`;
    this.detail.replaceChildren(
      element("div", { cls: "dnw-head" }, [
        element("span", { cls: "dnw-muted", text: about }),
        ...(line.event ? [button("show the event", () => this.panel.showEvent(line.event), { label: "show the event of this line" })] : []),
        ...(line.invocation ? [button("only this invocation", () => this.narrow({ invocation: line.invocation }))] : []),
        button("close", () => this.detail.replaceChildren(), { label: "close the line" }),
      ]),
      element("pre", { tabindex: "0" }, coloured(line.text)),
      ...(line.image ? [element("img", { cls: "dnw-image", src: line.image, alt: line.text })] : []),
    );
  }

  async save() {
    const pieces = [];
    let place = this.first;
    const end = this.end;
    while (place < end) {
      const answer = await this.panel.ask("download", { type: "lines", place, count: 500, whole: true });
      if (!answer) return;
      pieces.push(answer.text);
      if (!answer.next || answer.next <= place) break;
      place = answer.next;
      this.panel.say(`downloading: ${Math.round(((Math.min(place, end) - this.first) / (end - this.first)) * 100)} %`);
    }
    download(pieces.join(""), "worker.log");
    this.panel.say(`saved ${count(end - this.first)} lines as worker.log`);
  }

  update() {
    setOptions(this.worker, [["", "all workers"], ...this.panel.state.order.map((name) => [name, name])]);
  }
}
