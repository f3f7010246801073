// The timeline: newest first, each event with what became of it.
import { VirtualList, element, field, select, setOptions } from "../base/dom.js";
import { OUTCOMES, TraceView } from "./trace.js";
import { duration, mergeEvents, timeOfDay } from "../base/text.js";

const KEPT = 2000;
const ANY = ["", "any"];
const OUTCOME_OPTIONS = [
  ANY,
  ["error", "✗ error"],
  ["warning", "! warning"],
  ["ok", "✓ ok"],
  ["running", "… running"],
  ["cancelled", "– cancelled"],
  ["none", "· no handler"],
];

export class EventsSection {
  constructor(panel) {
    this.panel = panel;
    this.rows = [];
    this.loading = false;
    this.complete = false;
    this.filter = {};
    this.kind = element("input", {
      cls: "dnw-input",
      type: "search",
      placeholder: "any",
      spellcheck: "false",
      "aria-label": "kind",
    });
    this.kind.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.narrow({ kind: this.kind.value.trim() }), 200);
    });
    this.session = element("input", {
      cls: "dnw-input",
      type: "search",
      placeholder: "any",
      spellcheck: "false",
      "aria-label": "session",
    });
    this.session.addEventListener("change", () =>
      this.narrow({ session: this.session.value.trim() || null }),
    );
    this.worker = select([ANY], "", (value) => this.narrow({ worker: value || null }), "worker");
    this.outcome = select(OUTCOME_OPTIONS, "", (value) => this.narrow({ outcome: value || null }), "outcome");
    this.noise = element("input", { type: "checkbox" });
    this.noise.addEventListener("change", () => this.narrow({ noise: this.noise.checked }));
    this.list = new VirtualList({
      rowHeight: 22,
      label: "events",
      draw: (n) => this.row(n),
      open: (n) => panel.chooseEvent(this.rows[n].id),
      scrolled: (list) => this.older(list),
    });
    this.hint = element("p", { cls: "dnw-muted" });
    this.trace = new TraceView(panel);
    this.root = this.layout();
  }

  layout() {
    return element("div", {}, [
      element("div", { cls: "dnw-tools" }, [
        field("kind", this.kind),
        field("worker", this.worker),
        field("session", this.session),
        field("outcome", this.outcome),
        element("label", { cls: "dnw-check" }, [this.noise, element("span", { text: "the runtime's own" })]),
      ]),
      element("div", { cls: "dnw-split" }, [
        element("div", { cls: "dnw-events" }, [this.hint, this.list.root]),
        this.trace.root,
      ]),
    ]);
  }

  row(n) {
    const event = this.rows[n];
    if (!event) return null;
    const chosen = event.id === this.panel.state.chosen;
    return element(
      "div",
      { cls: `dnw-event dnw-outcome-${event.outcome}${chosen ? " dnw-chosen" : ""}`, title: event.error },
      [
        element("span", { cls: "dnw-mark", text: OUTCOMES[event.outcome] ?? "?" }),
        element("span", { cls: "dnw-seq", text: `#${event.seq}` }),
        element("span", { cls: "dnw-kind", text: event.kind }),
        element("span", { cls: "dnw-who", text: event.error ?? event.workers.join(", ") }),
        element("span", { cls: "dnw-muted", text: duration(event.duration) }),
        element("span", { cls: "dnw-muted", text: timeOfDay(event.at).slice(0, 8) }),
      ],
    );
  }

  narrow(change) {
    this.filter = { ...this.filter, ...change };
    this.panel.request("filter", { type: "events", filter: this.filter });
  }

  /** Take rows of the kernel: changed ones, or all anew. */
  take({ rows, gone, whole, filter }) {
    const before = this.rows.length;
    const newest = this.rows[0]?.seq ?? 0;
    const current = this.rows[this.list.current]?.id;
    const taken = whole ? JSON.stringify(filter) : this.takenFilter;
    const anew = taken !== this.takenFilter;
    if (whole) this.complete = false;
    this.takenFilter = taken;
    this.rows = mergeEvents(whole ? [] : this.rows, rows, gone, whole ? KEPT : Math.max(KEPT, before));
    const added = whole ? 0 : this.rows.findIndex((row) => row.seq <= newest);
    if (anew) this.list.scrollTo(0);
    this.list.current = -1;
    const scrolled = this.list.root.scrollTop > this.list.rowHeight ? Math.max(0, added) : 0;
    this.list.resize(this.rows.length, scrolled);
    const filtered = Object.values(this.filter).some(Boolean);
    this.hint.textContent = this.rows.length
      ? ""
      : filtered
        ? "no event matches"
        : "no events yet: %fire one, or use Fire";
    this.list.current = this.rows.findIndex((row) => row.id === current);
    this.list.render();
  }

  async older(list) {
    if (this.loading || this.complete || !this.rows.length || !list.atEnd) return;
    const { filter } = this;
    this.loading = true;
    const answer = await this.panel.request("older events", {
      type: "events",
      filter,
      before: this.rows.at(-1).seq,
    });
    this.loading = false;
    if (!answer || filter !== this.filter) return;
    this.complete = !answer.rows.length;
    this.rows = mergeEvents(this.rows, answer.rows, [], this.rows.length + answer.rows.length);
    list.resize(this.rows.length);
  }

  mark() {
    const chosen = this.rows.findIndex((row) => row.id === this.panel.state.chosen);
    this.list.current = chosen;
    this.list.render();
  }

  update() {
    const { state } = this.panel;
    setOptions(this.worker, [ANY, ...state.order.map((name) => [name, name])]);
    this.trace.show(state);
  }
}
