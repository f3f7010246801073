// What the log drawer knows: the entries that the kernel has sent, by position, and what people look at. No document.
import { Heights } from "./heights.js";

const CACHED = 4000;
const PAGE = 200;
const AROUND = 50;
export const ROW = 20; // pixels
const BELOW = 4; // pixels below the last entry
export const NO_FILTER = {
  worker: null,
  level: null,
  source: null,
  invocation: null,
  text: "",
  regex: false,
  only: true,
};

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

export class LogModel {
  /** `request(title, message, refuse)` asks the kernel; `changed()` is called when something else is to be drawn. */
  constructor({ request, changed }) {
    this.request = request;
    this.changed = changed;
    this.version = null; // the signal by which components hear of changes
    this.cache = new LineCache();
    this.heights = new Heights(ROW);
    // what the kernel said
    this.window = null;
    this.first = 1;
    this.end = 1;
    this.dropped = 0;
    this.hits = null;
    this.problem = null;
    // what is wanted
    this.filter = { ...NO_FILTER };
    this.resets = 0; // how often others have asked for something else
    this.shownFilter = { ...NO_FILTER };
    this.wraps = false;
    this.opened = new Map(); // number of an entry -> all of it, once it is there; null before
    // where people look
    this.following = true;
    this.seenEnd = 1;
    this.anchor = { position: 1, offset: 0 };
    this.current = null; // the position of the chosen entry
    this.rangeFrom = null; // where the selection began
    this.revealing = null; // the position of an entry that was opened
    this.isFetching = false;
    this.finding = Promise.resolve();
    this.height = 0; // of what can be seen, in pixels
  }

  // -- what the kernel sends -------------------------------------------------------------------------------

  /** Take where the log begins and ends now, and the newest entries or those that have changed. */
  take({ window, first, end, dropped, hits, problem, filter, lines }) {
    if (window !== this.window) this.begin(window, first, end, filter);
    const before = this.first;
    Object.assign(this, { first, end, dropped, hits, problem });
    if (first > before) this.heights.forget(first);
    if (this.following) this.seenEnd = end;
    // What comes in at the end while people look elsewhere would push out what they see.
    const isRoom = this.following || end - first <= CACHED;
    this.cache.add(isRoom ? lines : lines.filter((line) => this.cache.get(line.position)), this.looked);
    for (const line of lines) if (this.opened.has(line.number)) this.load(line);
    this.changed();
  }

  begin(window, first, end, filter) {
    const shown = { ...NO_FILTER, ...filter };
    const isOther = Object.keys(shown).some((name) => shown[name] !== this.shownFilter[name]);
    this.window = window;
    this.shownFilter = shown;
    this.cache.clear();
    this.heights.forget();
    this.current = this.rangeFrom = null;
    if (isOther) {
      this.following = true;
      this.anchor = { position: Math.max(first, end - 1), offset: 0 };
    }
    this.first = first;
  }

  /** Whether some entries are left out. */
  get isFiltered() {
    const { worker, level, source, invocation, text, only } = this.shownFilter;
    return Boolean(worker || level || source || invocation || (text && only));
  }

  get count() {
    return this.end - this.first;
  }

  /** How many entries have come since people left the end. */
  get news() {
    return this.following ? 0 : Math.max(0, this.end - Math.max(this.seenEnd, this.first));
  }

  /** Look at other entries; a text that is wrong leaves those that are there, and the problem. */
  async narrow(change) {
    this.filter = { ...this.filter, ...change };
    const wanted = this.filter;
    const answer = await this.request("Filter the log", { type: "log", filter: wanted }, (text) => {
      if (wanted === this.filter) this.problem = text;
    });
    if (answer && wanted === this.filter) this.problem = null;
    this.changed();
    return answer !== null;
  }

  /** Look at what others ask for, without the other filters; what is typed and not told yet is dropped. */
  reset(filter) {
    this.resets += 1;
    const done = this.narrow({ ...NO_FILTER, ...filter });
    this.changed(); // before the answer: what waits would be told meanwhile
    return done;
  }

  // -- geometry --------------------------------------------------------------------------------------------

  get total() {
    return this.count > 0 ? this.heights.top(this.first, this.end) + BELOW : 0;
  }

  /** How far the list is scrolled, in pixels. */
  get top() {
    const most = Math.max(0, this.total - this.height);
    if (this.following) return most;
    if (this.anchor.position < this.first) return 0;
    const top = this.heights.top(this.first, Math.min(this.anchor.position, this.end)) + this.anchor.offset;
    return Math.min(most, Math.max(0, top));
  }

  /** The position in the middle of what can be seen. */
  get looked() {
    return this.following ? this.end : this.anchor.position;
  }

  /** The entries that can be seen, as `[from, until)`. */
  get visible() {
    if (this.count <= 0) return [this.first, this.first];
    const top = this.top;
    const from = this.heights.at(this.first, this.end, top);
    return [from, Math.min(this.end, this.heights.at(this.first, this.end, top + this.height) + 1)];
  }

  /** People scrolled: at the end they follow, anywhere else they stay. */
  scrolled(top) {
    this.setFollowing(top >= this.total - this.height - ROW / 2);
    this.keepAt(top);
    this.changed();
  }

  keepAt(top) {
    const position = this.heights.at(this.first, this.end, top);
    this.anchor = { position, offset: top - this.heights.top(this.first, position) };
  }

  follow(on) {
    if (!on) this.keepAt(this.top);
    this.setFollowing(on);
    this.changed();
  }

  setFollowing(on) {
    if (this.following && !on) this.seenEnd = this.end;
    this.following = on;
    if (on) this.seenEnd = this.end;
  }

  // -- choosing --------------------------------------------------------------------------------------------

  /** Choose an entry, and show it; with `extend` all from the one before to it. */
  choose(position, { extend = false, centre = false } = {}) {
    if (this.count <= 0) return;
    const next = Math.min(this.end - 1, Math.max(this.first, position));
    this.rangeFrom = extend ? (this.rangeFrom ?? this.current ?? next) : null;
    const top = this.top;
    this.current = next;
    const from = this.heights.top(this.first, next);
    const until = from + this.heights.get(next);
    let wanted = top;
    if (centre) wanted = from - (this.height - ROW) / 2;
    else if (from < top) wanted = from;
    else if (until > top + this.height) wanted = Math.min(from, until - this.height);
    this.setFollowing(this.following && next === this.end - 1);
    if (!this.following) this.keepAt(Math.min(Math.max(0, wanted), Math.max(0, this.total - this.height)));
    this.changed();
  }

  /** The chosen entries as `[from, until)`; null for none. */
  get range() {
    if (this.current === null) return null;
    const other = this.rangeFrom ?? this.current;
    return [Math.min(this.current, other), Math.max(this.current, other) + 1];
  }

  clearRange() {
    this.rangeFrom = null;
    this.changed();
  }

  /** Choose the next entry that has the text, or the one before; one after the other. */
  find(backward) {
    this.finding = this.finding.then(() => this.findNext(backward));
    return this.finding;
  }

  async findNext(backward) {
    const [from, until] = this.visible;
    const start = this.current ?? (backward ? until : from - 1);
    const position = Math.max(0, start);
    const answer = await this.request("Find", { type: "find", position, backward });
    if (answer?.position && answer.window === this.window) this.choose(answer.position, { centre: true });
    return answer?.position ?? null;
  }

  // -- entries ---------------------------------------------------------------------------------------------

  isOpen(line) {
    return this.opened.has(line.number);
  }

  /** Open an entry to all that it is, or fold it. */
  toggle(position) {
    const line = this.cache.get(position);
    if (!line) return;
    if (this.opened.delete(line.number)) {
      this.heights.set(position, ROW);
      this.changed();
      return;
    }
    if (this.following && position < this.end - 1) this.follow(false);
    this.opened.set(line.number, null);
    this.revealing = position;
    this.load(line);
    this.changed();
  }

  /** Bring what was opened into sight, once it is known how tall it is. */
  reveal() {
    const position = this.revealing;
    if (position === null) return;
    const { number } = this.cache.get(position) ?? {};
    if (this.opened.get(number) !== null) this.revealing = null; // all of it is there
    if (this.following) return;
    const from = this.heights.top(this.first, position);
    const until = from + this.heights.get(position);
    if (until > this.top + this.height) this.keepAt(Math.min(from, until - this.height));
  }

  async load(line) {
    const answer = await this.request("Show the line", { type: "line", number: line.number });
    if (!this.opened.has(line.number)) return;
    if (answer) this.opened.set(line.number, answer.line);
    else this.opened.delete(line.number);
    this.changed();
  }

  wrap(on) {
    this.wraps = on;
    const open = new Set(this.opened.keys());
    for (const position of [...this.heights.extra.keys()])
      if (!open.has(this.cache.get(position)?.number)) this.heights.set(position, ROW);
    this.changed();
  }

  /** Request the visible entries that are not known. */
  async fetch() {
    if (this.isFetching) return;
    const [from, until] = this.visible;
    const wanted = missing(this.cache, from, until);
    if (wanted === null) return;
    this.isFetching = true;
    const position = Math.max(this.first, wanted - (this.following ? 0 : AROUND));
    const answer = await this.request("Show lines", { type: "lines", position, count: PAGE });
    this.isFetching = false;
    if (!answer) return;
    if (answer.window === this.window) {
      this.cache.add(answer.lines, this.looked);
      this.changed();
      if (!answer.lines.length) return;
    }
    this.fetch();
  }

  /** The text of the entries `[from, until)` as in a file; null if the filter was changed meanwhile. */
  async text(from, until, progress = () => {}) {
    const pieces = [];
    const window = this.window;
    for (let position = from; position < until; ) {
      const count = Math.min(500, until - position);
      const answer = await this.request("Read the log", { type: "lines", position, count, whole: true });
      if (answer?.window !== window) return null;
      pieces.push(answer.text);
      if (!answer.next || answer.next <= position) break;
      position = answer.next;
      progress((position - from) / (until - from));
    }
    return pieces.join("");
  }
}
