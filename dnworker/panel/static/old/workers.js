// The workers: lifecycle, handlers with their stats, buttons.
import { button, element, keepFocus, redraw, shape } from "../base/dom.js";
import { MARKS, machine } from "./machine.js";
import { StateView } from "./state.js";
import {
  age,
  cellOf,
  count,
  countdown,
  duration,
  minuteColumns,
  pausedText,
  failures,
} from "../base/text.js";

const VERBS = [
  ["start", "start"],
  ["stop", "stop"],
  ["restart", "restart"],
  ["rollback", "roll back"],
];
const MANY = 6; // workers, from which on their pictures are small
const COLUMNS = [
  "handler",
  "registered for",
  "calls",
  "errors",
  "in flight",
  "p50 / p95 / max",
  "last minute",
  "next run",
];

/** Refresh a node every second: it shows something that changes with time alone. */
function live(node, refresh) {
  node.dataset.live = "";
  node.refresh = refresh;
  refresh();
  return node;
}

/** The last minute of a handler: runs a second, those that failed at the foot. */
function sparkline(minute, panel, label) {
  const picture = shape("svg", {
    cls: "dnw-spark",
    viewBox: "0 0 120 18",
    preserveAspectRatio: "none",
    role: "img",
  });
  return live(picture, () => {
    const columns = minuteColumns(minute, Math.floor(panel.now() / 1000));
    const most = Math.max(1, ...columns.map(([ended]) => ended));
    const total = columns.reduce((sum, [ended]) => sum + ended, 0);
    picture.setAttribute("aria-label", `${label}: ${count(total)} runs in the last minute`);
    picture.replaceChildren(
      ...columns.flatMap(([ended, failed], n) => {
        if (!ended) return [];
        const height = (ended / most) * 17;
        const bad = (failed / most) * 17;
        return [
          shape("rect", { cls: "dnw-ran", x: n * 2, y: 18 - height, width: 1.6, height }),
          ...(failed
            ? [shape("rect", { cls: "dnw-failed", x: n * 2, y: 18 - bad, width: 1.6, height: bad })]
            : []),
        ];
      }),
    );
  });
}

/** A location in the user's code; one in a cell is a way to it. */
export function locationLink(location, panel) {
  const cell = cellOf(location);
  if (!cell || !panel.canJump()) return element("span", { cls: "dnw-place-text", text: location });
  return button(location, () => panel.jump(cell), { cls: "dnw-link", label: `go to ${location}` });
}

function nextRun(handler, worker, panel) {
  const cell = element("td", { cls: "dnw-number" });
  const isSchedule = handler.key[0] === "every";
  if (handler.nextRun !== null) {
    const text = element("span");
    cell.append(
      live(text, () => {
        const when = countdown(handler.nextRun, panel.clockNow());
        text.textContent = isSchedule ? when : `restarts ${when}`;
      }),
    );
  }
  if (isSchedule) {
    const label = `run ${handler.key[2]} of ${worker.name} now`;
    cell.append(
      " ",
      button("run now", () => panel.request(label, { type: "run", worker: worker.name, key: handler.key }), {
        why: worker.disabled.run,
        label,
      }),
    );
  }
  return cell;
}

function handlerRows(handler, worker, panel) {
  const [decorator, trigger, name] = handler.key;
  const quantiles = handler.quantiles;
  const cell = (value, cls = "dnw-number") => element("td", { cls, text: value });
  return [
    element("tr", { cls: handler.failing ? "dnw-failing" : "" }, [
      element("th", { scope: "row" }, [
        element("span", { cls: "dnw-code", text: name }),
        ...(handler.origin
          ? [" ", locationLink(handler.origin, panel), " ", removal(handler, worker, panel)]
          : []),
      ]),
      cell(`${decorator}${trigger ? ` ${trigger}` : ""}`, ""),
      cell(`${count(handler.calls)}${handler.missed ? `, ${count(handler.missed)} missed` : ""}`),
      cell(
        (handler.errors ? `${handler.failing ? "✗ " : ""}${count(handler.errors)}` : "0") +
          (handler.warnings ? `, ${count(handler.warnings)} warned` : ""),
      ),
      cell(String(handler.inFlight)),
      cell(quantiles ? quantiles.map(duration).join(" / ") : "–"),
      element("td", {}, [sparkline(handler.minute, panel, name)]),
      nextRun(handler, worker, panel),
    ]),
    ...(handler.stale ? [staleRow(handler)] : []),
    ...(handler.error ? [errorRow(handler, panel)] : []),
  ];
}

/** Takes a handler of a cell out, until that cell runs again. */
function removal(handler, worker, panel) {
  const label = `remove ${handler.key[2]} of ${worker.name} until its cell runs again`;
  const press = () => panel.request(label, { type: "remove", worker: worker.name, key: handler.key });
  return button("remove", press, { cls: "dnw-link", label });
}

/** Why a handler runs although its cell would not register it as it stands. */
function staleRow(handler) {
  return element("tr", { cls: "dnw-last-error" }, [
    element("td", { colspan: COLUMNS.length }, [
      element("span", { cls: "dnw-muted", text: `stale: ${handler.stale}; remove drops it` }),
    ]),
  ]);
}

/** The last error of a handler: where it was raised, and the way to its event. */
function errorRow(handler, panel) {
  const { text, location, source, event, origin } = handler.error;
  const label = `show the event that ${handler.key[2]} failed on`;
  const summary = element("span", {
    cls: handler.failing ? "dnw-bad" : "dnw-muted",
    text: `${handler.failing ? "✗ " : ""}last error: ${text.split("\n")[0]}`,
  });
  return element("tr", { cls: "dnw-last-error" }, [
    element("td", { colspan: COLUMNS.length }, [
      summary,
      " at ",
      locationLink(location, panel),
      ...(source ? [": ", element("code", { text: source })] : []),
      ...(origin?.length ? [" · ", element("span", { cls: "dnw-muted", text: origin.join(" · ") })] : []),
      ...(event ? [" ", button("show the event", () => panel.showEvent(event), { label })] : []),
    ]),
  ]);
}

function gateChips(worker) {
  const flags = Object.entries(worker.gate);
  if (!flags.length) return [];
  return [
    element("span", { cls: "dnw-muted", text: "gate: " }),
    ...flags.map(([name, on]) =>
      element("span", { cls: `dnw-chip${on ? " dnw-on" : ""}`, text: `${name} ${on ? "on" : "off"}` }),
    ),
  ];
}

function card(worker, panel) {
  const { state } = panel.sections.workers;
  return element(
    "section",
    { cls: "dnw-worker", "aria-label": `worker ${worker.name}`, data: { worker: worker.name } },
    [
      cardHead(worker, panel),
      machine(worker),
      ...(worker.error ? [element("pre", { cls: "dnw-error", text: worker.error })] : []),
      ...(worker.handlers.length ? [handlerTable(worker, panel)] : []),
      ...(state.worker === worker.name ? [state.root] : []),
    ],
  );
}

function cardHead(worker, panel) {
  const state = `${MARKS[worker.state] ?? "?"} ${worker.state}`;
  const since = element("span", { cls: "dnw-muted" });
  live(since, () => {
    const spent = age(panel.now() - worker.transitions.at(-1).at);
    since.textContent = worker.state === "running" ? `up ${spent}` : `for ${spent}`;
  });
  const facts = [
    worker.topology,
    `generation ${worker.generation}`,
    worker.restarts ? `${worker.restarts} restart${worker.restarts > 1 ? "s" : ""}` : "no restarts",
  ].join(" · ");
  const buttons = VERBS.map(([verb, text]) => {
    const label = `${text} ${worker.name}`;
    const press = () => panel.request(label, { type: "control", verb, worker: worker.name });
    return button(text, press, { why: worker.disabled[verb] ?? null, label });
  });
  const { state: stateView } = panel.sections.workers;
  const showState = button("state", () => stateView.toggle(worker.name), {
    label: `state of ${worker.name}`,
    pressed: stateView.worker === worker.name,
  });
  return element("div", { cls: "dnw-head" }, [
    element("span", { cls: `dnw-state dnw-is-${worker.state}`, text: state }),
    element("strong", { text: worker.name }),
    since,
    element("span", { cls: "dnw-paused", text: pausedText(worker, panel.state.paused) }),
    element("span", { cls: "dnw-muted", text: facts }),
    element("span", { cls: "dnw-gate" }, gateChips(worker)),
    element("span", { cls: "dnw-buttons" }, [...buttons, showState]),
  ]);
}

function handlerTable(worker, panel) {
  const label = `handlers of ${worker.name}`;
  const titles = COLUMNS.map((title) => element("th", { scope: "col", text: title }));
  const rows = worker.handlers.flatMap((handler) => handlerRows(handler, worker, panel));
  const scroll = { cls: "dnw-scroll", tabindex: "0", role: "group" };
  return element("div", { ...scroll, "aria-label": label, data: { focus: label } }, [
    element("table", { cls: "dnw-table" }, [
      element("thead", {}, [element("tr", {}, titles)]),
      element("tbody", {}, rows),
    ]),
  ]);
}

export class WorkersSection {
  constructor(panel) {
    this.panel = panel;
    this.root = element("div", { cls: "dnw-workers" });
    this.cards = new Map();
    this.state = new StateView(panel);
  }

  update(changed) {
    const { workers, order, only } = this.panel.state;
    const failing = (name) => failures([workers.get(name)]).length > 0;
    const wanted = order.filter((name) => !only || name === only);
    // Those that fail come first.
    const shown = [...wanted.filter(failing), ...wanted.filter((name) => !failing(name))];
    this.root.classList.toggle("dnw-many", shown.length > MANY);
    if (!shown.length) {
      this.cards.clear();
      const hint = order.length
        ? "this worker is gone"
        : "no workers yet: run a %%worker cell, or serve a capability";
      this.root.replaceChildren(element("p", { cls: "dnw-muted", text: hint }));
      return;
    }
    const present = new Set(shown);
    for (const name of this.cards.keys()) if (!present.has(name)) this.cards.delete(name);
    let same = this.root.childElementCount === shown.length;
    for (const [n, name] of shown.entries()) {
      if (!this.cards.has(name) || changed === null || changed.has(name)) {
        const made = card(workers.get(name), this.panel);
        const old = this.cards.get(name);
        this.cards.set(name, made);
        if (old?.parentNode === this.root) {
          const scrolled = old.querySelector(".dnw-scroll")?.scrollLeft;
          keepFocus(this.root, () => old.replaceWith(made));
          if (scrolled) made.querySelector(".dnw-scroll").scrollLeft = scrolled;
        }
      }
      same &&= this.root.children[n] === this.cards.get(name);
    }
    if (!same)
      redraw(
        this.root,
        shown.map((name) => this.cards.get(name)),
      );
  }

  tick() {
    for (const node of this.root.querySelectorAll("[data-live]")) node.refresh();
  }
}
