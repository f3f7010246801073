// One event: its payload, and everything it caused as a waterfall.
import { button, copy, download, element, redraw } from "../base/dom.js";
import { shownElement } from "./shown.js";
import { locationLink } from "./workers.js";
import { ansi, barExtent, count, timeOfDay } from "../base/text.js";

export const OUTCOMES = { ok: "✓", warning: "!", error: "✗", running: "…", cancelled: "–", none: "·" };

/** The pieces of a line with their colours, as elements. */
export function coloured(text) {
  return ansi(text).map(({ text: piece, style }) => {
    const names = ["bold", "dim", "italic", "underline", "inverse"]
      .filter((name) => style[name])
      .map((name) => `dnw-a-${name}`);
    for (const side of ["fg", "bg"]) if (style[side]) names.push(`dnw-${side}-${style[side]}`);
    return names.length
      ? element("span", { cls: names.join(" "), text: piece })
      : document.createTextNode(piece);
  });
}

function traceRow(row, panel, view) {
  const node = element("div", {
    cls: `dnw-row dnw-row-${row.category} dnw-outcome-${row.outcome}`,
    role: "listitem",
    "aria-level": row.depth + 1,
  });
  const text = element("span", { cls: "dnw-row-text" });
  text.style.paddingLeft = `${row.depth * 1.1}em`;
  const found = row.category === "error" ? /^(cell \[\d+\], line \d+)(, in .*)$/.exec(row.text) : null;
  const advice = row.category === "warning" ? /^x (cell \[\d+\], line \d+)(.*)$/s.exec(row.text) : null;
  if (found) text.append(locationLink(found[1], panel), found[2]);
  else if (advice) text.append("x ", locationLink(advice[1], panel), advice[2]);
  else if (row.category === "invocation") text.append(`${OUTCOMES[row.outcome] ?? "?"} ${row.text}`);
  else text.append(...(row.category === "log" ? ["│ ", ...coloured(row.text)] : [row.text]));
  node.append(text);
  if (row.bar) {
    const { left, width } = barExtent(row.bar);
    const bar = element("span", { cls: "dnw-bar" });
    bar.style.left = `${left}%`;
    bar.style.width = `${width}%`;
    node.append(element("span", { cls: "dnw-track", "aria-hidden": "true" }, [bar]));
  }
  const line = view.opened.get(row.number);
  if (line) {
    if (row.cut) text.replaceChildren("│ ", ...coloured(line.text));
    if (line.shown) node.append(element("div", { cls: "dnw-shown" }, [shownElement(line.shown, line.text)]));
  } else if (row.number) {
    const what = row.form ? `show ${row.form}` : `… ${count(row.cut)} more characters`;
    text.append(
      " ",
      button(what, () => view.open(row.number), { label: `${what}: line ${row.number}` }),
    );
  }
  return node;
}

/** The rows of a trace; the values of a frame's variables open on demand. */
function traceRows(rows, view, opened) {
  const nodes = [];
  for (let at = 0; at < rows.length; at += 1) {
    const first = at;
    while (rows[at]?.category === "value") at += 1;
    if (at > first) nodes.push(frameValues(rows.slice(first, at), opened.has(first), first));
    if (at < rows.length) nodes.push(traceRow(rows[at], view.panel, view));
  }
  return nodes;
}

function frameValues(rows, open, number) {
  const count = `${rows.length} value${rows.length > 1 ? "s" : ""}`;
  const node = element("details", { cls: "dnw-values", role: "listitem", data: { values: number } }, [
    element("summary", { text: count, data: { focus: `values ${number}` } }),
    element("pre", { text: rows.map((row) => row.text.trim()).join("\n") }),
  ]);
  node.open = open;
  node.style.marginLeft = `${rows[0].depth * 1.1 + 2}em`;
  return node;
}

function head(trace) {
  const about = [
    `${OUTCOMES[trace.outcome] ?? "?"} ${trace.outcome === "none" ? "no handler ran" : trace.outcome}`,
    timeOfDay(trace.at),
    ...(trace.session ? [`session ${trace.session}`] : []),
    ...(trace.turn ? [`turn ${trace.turn}`] : []),
  ];
  return element("div", { cls: "dnw-head" }, [
    element("strong", { cls: `dnw-outcome-${trace.outcome}`, text: `#${trace.seq} ${trace.kind}` }),
    element("span", { cls: "dnw-muted", text: about.join(" · ") }),
  ]);
}

export class TraceView {
  constructor(panel) {
    this.panel = panel;
    this.shown = null;
    this.payloads = { event: null };
    this.opened = new Map(); // the lines that are shown whole, by number
    this.root = element("div", { cls: "dnw-detail" });
    this.update(null);
  }

  /** Show the chosen event; until it has come, what was shown before stays. */
  show({ chosen, trace }) {
    const here = chosen !== null && trace?.event === chosen;
    this.root.setAttribute("aria-busy", String(chosen !== null && !here));
    if (here || chosen === null) this.update(here ? trace : null);
  }

  update(trace) {
    if (trace === this.shown && trace) return;
    this.shown = trace;
    if (!trace) this.showHint("choose an event to see what it caused");
    else if (trace.gone) this.showHint("this event is kept no longer; %replay finds it in the journal");
    else this.draw(trace);
  }

  /** Show a line of the trace whole, with what was displayed. */
  async open(number) {
    const answer = await this.panel.request("the whole line", { type: "line", number });
    if (!answer) return;
    this.opened.set(number, answer.line);
    if (this.shown && !this.shown.gone) this.draw(this.shown);
  }

  showHint(text) {
    this.root.replaceChildren(element("p", { cls: "dnw-muted", text }));
  }

  draw(trace) {
    if ("payload" in trace) this.payloads = { event: trace.event, payload: trace.payload, cut: trace.cut };
    const { payload, cut } = this.payloads.event === trace.event ? this.payloads : { payload: "", cut: 0 };
    const scrolled = this.tree?.scrollTop ?? 0;
    const opened = this.payload ? this.payload.open : true;
    const again = this.kept?.event === trace.event;
    if (!again) this.opened.clear();
    this.kept = { ...trace, payload, cut };
    const label = `trace of #${trace.seq}`;
    const options = { cls: "dnw-trace", role: "list", "aria-label": label, tabindex: "0" };
    const open = again ? [...(this.tree?.querySelectorAll("details.dnw-values[open]") ?? [])] : [];
    const rows = traceRows(trace.rows, this, new Set(open.map((node) => Number(node.dataset.values))));
    this.tree = element("div", { ...options, data: { focus: "trace" } }, rows);
    this.payload = element("details", { cls: "dnw-payload" }, [
      element("summary", { text: "payload", data: { focus: "payload" } }),
      element("pre", { text: cut ? `${payload}\n… ${count(cut)} more characters` : payload }),
    ]);
    this.payload.open = again ? opened : true;
    redraw(this.root, [head(trace), this.actions(trace, cut), this.payload, this.tree]);
    if (again) this.tree.scrollTop = scrolled;
  }

  actions(trace, cut) {
    const { panel } = this;
    const untested = trace.workers.length ? null : "no handler ran, so there is nothing to test";
    const again = { type: "replay", event: trace.event };
    return element("div", { cls: "dnw-actions" }, [
      button("fire again", () => panel.fire(`fire #${trace.seq} again`, again)),
      button("edit and fire", () => panel.edit(this.kept), {
        why: cut ? "the payload is too long to edit here" : null,
      }),
      button("copy as %fire", () => this.take("fire")),
      ...(trace.cells ? [button("copy as test cell", () => this.take("test-cell"), { why: untested })] : []),
      button("save as test", () => this.take("test"), { why: untested }),
    ]);
  }

  async take(form) {
    const { panel, kept } = this;
    const answer = await panel.request(`copy of #${kept.seq}`, { type: "copy", event: kept.event, form });
    if (!answer) return;
    if (form !== "test") {
      const done = await copy(answer.text, this.root);
      panel.showStatus(
        done
          ? `copied: ${answer.text.split("\n")[0]}; paste it into a cell`
          : `the browser does not let this page copy; here it is: ${answer.text}`,
      );
    } else {
      download(answer.text, answer.file);
      panel.showStatus(`saved as ${answer.file}; it belongs into tests/ of the capability`);
    }
  }
}
