// The rows of the list: those that are shown, and new ones that wait while somebody looks. Pure; node tests it.

export const KEPT = 2000; // rows in the page
const AT_ONCE = 100; // rows that the kernel sends at once; of more, the newest

const newestFirst = (a, b) => b.seq - a.seq;

export class RunRows {
  constructor() {
    this.rows = []; // as they are shown
    this.waiting = new Map(); // new ones, by id
    this.isCut = false; // whether there are runs between the rows and what waits
    this.left = new Set(); // those that match no more, and stay while somebody looks
    this.counts = { all: 0, failed: 0, running: 0, unheard: 0 };
    this.filter = null;
    this.complete = false; // whether there are no older ones
    this.seen = false; // whether anything came yet
  }

  /** How many new rows wait. */
  get fresh() {
    return this.waiting.size;
  }

  /** That in words: of a storm not all were sent. */
  get freshText() {
    return `${this.fresh}${this.isCut ? "+" : ""} new`;
  }

  /** Take what came of the kernel; while `held`, no row moves. */
  take({ rows, gone, whole, counts, filter }, held) {
    const anew = JSON.stringify(filter) !== JSON.stringify(this.filter);
    this.counts = counts;
    this.filter = filter;
    if (whole && (anew || !held || !this.rows.length)) {
      this.rows = rows;
      this.waiting.clear();
      this.left.clear();
      this.isCut = false;
      this.complete = rows.length < AT_ONCE;
    } else this.merge(rows, gone, held, whole);
    this.seen = true;
  }

  merge(rows, gone, held, whole) {
    const byId = new Map(rows.map((row) => [row.id, row]));
    this.rows = this.rows.map((row) => byId.get(row.id) ?? row);
    const known = new Set(this.rows.map((row) => row.id));
    const oldest = this.rows.at(-1)?.seq ?? Number.NEGATIVE_INFINITY;
    const news = rows.filter((row) => !known.has(row.id) && (row.seq > oldest || this.complete));
    if (whole) this.waiting.clear();
    if (whole && this.filter?.order !== "slowest" && rows.length >= AT_ONCE)
      this.isCut = rows.at(-1).seq > (this.rows[0]?.seq ?? Number.NEGATIVE_INFINITY);
    for (const row of news) this.waiting.set(row.id, row);
    for (const id of gone) {
      this.waiting.delete(id);
      if (known.has(id)) this.left.add(id);
    }
    for (const row of rows) this.left.delete(row.id);
    if (!held) this.release();
  }

  /** Show what waited. */
  release() {
    if (!this.waiting.size && !this.left.size) return;
    const before = this.isCut ? [] : this.rows.filter((row) => !this.left.has(row.id));
    const all = [...this.waiting.values(), ...before];
    if (this.filter?.order !== "slowest") all.sort(newestFirst);
    if (all.length > KEPT || this.isCut) this.complete = false;
    this.isCut = false;
    this.rows = all.slice(0, KEPT);
    this.waiting.clear();
    this.left.clear();
  }

  /** Add older rows, which were asked for. */
  append(rows, atOnce) {
    const known = new Set(this.rows.map((row) => row.id));
    this.rows = [...this.rows, ...rows.filter((row) => !known.has(row.id))].slice(0, KEPT);
    this.complete = rows.length < atOnce || this.rows.length >= KEPT;
  }

  indexOf(id) {
    return this.rows.findIndex((row) => row.id === id);
  }
}

/** A run in words, for its row: `csvdrop.dropped #4812, failed, 142 ms`. */
export const OUTCOMES = {
  failed: "Failed",
  running: "Running",
  cancelled: "Cancelled",
  warning: "Ended with a warning",
  ok: "Succeeded",
  none: "Nobody ran",
};
