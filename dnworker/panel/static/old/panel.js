// The panel in a notebook and on a page: it draws the state that arrives in messages of the kernel.
import { element } from "../base/dom.js";
import { Link, SILENT } from "../base/link.js";
import { FailureAlert } from "./alert.js";
import { WorkersSection } from "./workers.js";
import { EventsSection } from "./events.js";
import { LogSection } from "./log.js";
import { FireSection } from "./fire.js";
import { CapabilitySection } from "./capability.js";
import { SessionsSection } from "./sessions.js";
import { age, count, failures } from "../base/text.js";

const TABS = [
  ["workers", "Workers", []],
  ["events", "Events", ["events"]],
  ["fire", "Fire", ["fire", "events"]],
  ["capability", "Capability", ["capabilities"]],
  ["sessions", "Sessions", ["sessions"]],
];
const QUIET = ["ping", "lines", "line", "events", "log", "copy", "suggest", "locate"];
const SHORTCUT_KEYS = /^(.|Enter|Escape|Arrow.*|Home|End|Page.*|Delete|Backspace)$/u;

class Panel {
  constructor(model, el) {
    this.model = model;
    this.el = el;
    // what is shown
    this.state = {
      runtime: null,
      paused: null,
      workers: new Map(),
      order: [],
      only: model.get?.("only") ?? null,
      chosen: null,
      trace: null,
      clock: null,
      prompts: 0,
    };
    this.tab = "workers";
    this.skew = 0; // milliseconds by which the kernel's clock is ahead
    // whether anybody can see it
    this.isOnScreen = true;
    this.visible = document.visibilityState !== "hidden";
    // messages that wait until a button is let go; null while none is pressed
    this.held = null;
    this.link = new Link(model, {
      greet: () => this.greet(),
      receive: (message) => this.receive(message),
      showStatus: (text, bad) => this.showStatus(text, bad),
      quiet: QUIET,
    });
    this.build();
    this.handlers = this.makeHandlers();
    this.onOnly = () => {
      this.state.only = model.get?.("only") ?? null;
      this.sections.workers.update(null);
    };
    model.on?.("change:only", this.onOnly);
    el.append(this.root);
    this.watchVisibility();
    this.watchPress();
    this.timer = setInterval(() => this.tick(), 1000);
    this.link.hello();
  }

  build() {
    this.summary = element("div", { cls: "dnw-summary" });
    this.status = element("div", { cls: "dnw-status", role: "status" });
    this.alert = new FailureAlert(this);
    this.sections = {
      workers: new WorkersSection(this),
      events: new EventsSection(this),
      fire: new FireSection(this),
      capability: new CapabilitySection(this),
      sessions: new SessionsSection(this),
    };
    this.log = new LogSection(this);
    const tablist = this.buildTabs();
    this.root = element("div", { cls: "dnw-panel", "aria-label": "dnworker panel", role: "region" }, [
      this.summary,
      this.status,
      this.alert.spoken,
      this.alert.root,
      element("div", { cls: "dnw-body" }, [
        element("div", { cls: "dnw-main" }, [tablist, ...this.panes]),
        this.log.root,
      ]),
    ]);
    // A notebook in command mode takes bare keys for its own: what is typed here is meant for the panel.
    this.root.addEventListener("keydown", (event) => {
      if (!event.ctrlKey && !event.metaKey && !event.altKey && SHORTCUT_KEYS.test(event.key))
        event.stopPropagation();
    });
    this.mark();
  }

  /** Make `tabs` and `panes`; returns the list of tabs. */
  buildTabs() {
    const prefix = `dnw-${this.link.view}`;
    this.tabs = TABS.map(([name, title]) =>
      element("button", {
        cls: "dnw-tab",
        type: "button",
        role: "tab",
        id: `${prefix}-tab-${name}`,
        "aria-controls": `${prefix}-${name}`,
        text: title,
        data: { tab: name },
        on: { click: () => this.show(name) },
      }),
    );
    this.panes = TABS.map(([name]) => {
      const labels = { id: `${prefix}-${name}`, "aria-labelledby": `${prefix}-tab-${name}` };
      return element("div", { cls: "dnw-pane", role: "tabpanel", ...labels }, [this.sections[name].root]);
    });
    const options = { cls: "dnw-tabs", role: "tablist", "aria-label": "panel" };
    const tablist = element("div", options, this.tabs);
    tablist.addEventListener("keydown", (event) => this.tabKey(event));
    return tablist;
  }

  greet() {
    const filter = this.log.filter;
    const { events, sessions } = this.sections;
    return {
      parts: this.parts(),
      log: filter,
      events: events.filter,
      session: sessions.chosen,
      trace: this.state.chosen,
      looks: this.sections.workers.state.wanted
        ? { state: { worker: this.sections.workers.state.wanted } }
        : {},
      visible: this.visible,
    };
  }

  parts() {
    return ["log", ...TABS.find(([name]) => name === this.tab)[2]];
  }

  watchVisibility() {
    const look = () => {
      const visible = this.isOnScreen && document.visibilityState !== "hidden";
      if (visible === this.visible) return;
      this.visible = visible;
      this.link.send({ type: "visibility", visible });
    };
    this.observer = new IntersectionObserver((entries) => {
      this.isOnScreen = entries.at(-1).isIntersecting;
      look();
    });
    this.observer.observe(this.root);
    this.onVisibility = look;
    document.addEventListener("visibilitychange", look);
  }

  /** Keep updates while a button is pressed: one that is replaced meanwhile gets no click. */
  watchPress() {
    this.root.addEventListener(
      "pointerdown",
      () => {
        this.held ??= [];
      },
      { capture: true },
    );
    this.release = () =>
      setTimeout(() => {
        const held = this.held ?? [];
        this.held = null;
        for (const message of held) this.receive(message);
      });
    for (const name of ["pointerup", "pointercancel", "dragend"]) window.addEventListener(name, this.release);
  }

  // -- what sections use ------------------------------------------------------------------------------

  now() {
    return Date.now() + this.skew;
  }

  clockNow() {
    return this.state.clock?.virtual ? this.state.clock.now : this.now();
  }

  showStatus(text, bad = false) {
    this.status.textContent = text;
    this.status.classList.toggle("dnw-bad", bad);
  }

  send(message) {
    this.link.send(message);
  }

  request(title, message, refuse) {
    return this.link.request(title, message, refuse);
  }

  /** Fire something, and show what becomes of it. */
  async fire(title, message) {
    const answer = await this.request(title, message);
    if (!answer) return;
    if (this.tab !== "fire") this.show("events");
    this.chooseEvent(answer.event);
    this.showStatus(`fired #${answer.seq}`);
  }

  edit(trace) {
    this.show("fire");
    this.sections.fire.edit(trace);
  }

  showEvent(id) {
    this.show("events");
    this.chooseEvent(id);
    this.sections.events.trace.root.scrollIntoView?.({ block: "nearest" });
  }

  chooseEvent(id) {
    this.state.chosen = id;
    this.send({ type: "trace", event: id });
    this.sections.events.mark();
    this.sections[this.tab].update?.(null);
  }

  canJump() {
    return this.el.closest(".jp-Notebook") !== null;
  }

  /** Go to a cell of the notebook, by the number that it had when it ran. */
  async jump({ number }) {
    const notebook = this.el.closest(".jp-Notebook");
    const prompt = [...(notebook?.querySelectorAll(".jp-InputPrompt") ?? [])].find(
      (node) => node.textContent.trim() === `[${number}]:`,
    );
    const cell = prompt?.closest(".jp-Cell");
    if (!cell) {
      const found = (await this.request(`cell [${number}]`, { type: "locate", number }))?.cell;
      if (found) {
        // The old fragment goes first: the same one again would be no change.
        history.replaceState(history.state, "", location.pathname + location.search);
        location.hash = `#cell-id=${encodeURIComponent(found)}`; // JupyterLab goes there
      } else this.showStatus(`cell [${number}] is not in this notebook any more`);
      return;
    }
    cell.scrollIntoView({ block: "center" });
    cell.classList.add("dnw-found");
    setTimeout(() => cell.classList.remove("dnw-found"), 2000);
    cell.querySelector(".cm-content")?.focus({ preventScroll: true });
  }

  // -- tabs --------------------------------------------------------------------------------------------

  show(name) {
    if (this.tab !== name) {
      this.tab = name;
      this.send({ type: "parts", parts: this.parts() });
      this.sections.workers.state.setVisible(name === "workers");
    }
    this.mark();
  }

  mark() {
    for (const [n, tab] of this.tabs.entries()) {
      const chosen = tab.dataset.tab === this.tab;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
      this.panes[n].hidden = !chosen;
    }
    this.sections[this.tab].update?.(null);
    this.sections[this.tab].list?.render?.();
  }

  tabKey(event) {
    const here = this.tabs.findIndex((tab) => tab.dataset.tab === this.tab);
    const steps = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: this.tabs.length - 1 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const next = this.tabs.at(steps[event.key] % this.tabs.length);
    this.show(next.dataset.tab);
    next.focus();
  }

  // -- what arrives ------------------------------------------------------------------------------------

  receive(message) {
    if (this.held) this.held.push(message);
    else this.handlers.types[message.type](message);
  }

  /** What takes each type of message, each part of the state, and each part that a section draws. */
  makeHandlers() {
    const { state, sections } = this;
    return {
      types: {
        paused: ({ by }) => this.takePaused(by),
        snapshot: (message) => this.takeSnapshot(message),
        update: (message) => this.takeUpdate(message),
      },
      state: {
        clock: (clock) => Object.assign(state, { clock }),
        paused: (paused) => Object.assign(state, { paused }),
        workers: (workers) => this.takeWorkers(workers),
        runtime: (runtime) => Object.assign(state, { runtime }),
        attention: ({ prompts }) => Object.assign(state, { prompts }),
        trace: (trace) => this.takeTrace(trace),
      },
      sections: {
        events: (events) => sections.events.take(events),
        fire: (fire) => sections.fire.take(fire),
        capabilities: (capabilities) => sections.capability.take(capabilities),
        sessions: (found) => sections.sessions.takeList(found),
        session: (session) => sections.sessions.take(session),
        state: (state) => sections.workers.state.take(state),
        log: (log) => this.log.take(log),
      },
    };
  }

  takePaused(by) {
    this.state.paused = by;
    this.sections.workers.update(null);
    this.summarize();
  }

  takeSnapshot(message) {
    this.state.workers.clear();
    this.alert.reset();
    this.takeUpdate(message);
  }

  takeUpdate(message) {
    const takeParts = (handlers) => {
      for (const [part, take] of Object.entries(handlers)) if (part in message) take(message[part]);
    };
    this.skew = message.now - Date.now();
    takeParts(this.handlers.state);
    const isWhole = message.type === "snapshot" || "paused" in message;
    if (isWhole || "workers" in message) {
      this.drawWorkers(isWhole ? null : new Set(message.workers.changed.map(({ name }) => name)));
    } else if ("trace" in message) this.sections[this.tab].update?.(null);
    takeParts(this.handlers.sections);
    this.summarize();
  }

  takeWorkers({ order, changed }) {
    const { state } = this;
    state.order = order;
    for (const worker of changed) state.workers.set(worker.name, worker);
    const listed = new Set(order);
    for (const name of [...state.workers.keys()]) if (!listed.has(name)) state.workers.delete(name);
  }

  /** Take a trace; its payload comes once. */
  takeTrace(trace) {
    const { state } = this;
    const isWhole = "payload" in trace || trace.gone;
    state.trace = isWhole ? trace : { ...trace, payload: state.trace?.payload, cut: state.trace?.cut };
  }

  /** Draw the workers that changed, all of them for null, and what follows from them. */
  drawWorkers(changed) {
    this.sections.workers.update(changed);
    this.sections[this.tab].update?.(null);
    this.log.update();
    this.alert.update([...this.state.workers.values()]);
  }

  summarize() {
    const { runtime, workers, prompts, paused, clock } = this.state;
    if (!runtime) return;
    this.root.classList.toggle("dnw-stale", this.isStale);
    const states = [...workers.values()].map((worker) => worker.state);
    const counts = [...new Set(states)].map(
      (name) => `${states.filter((one) => one === name).length} ${name}`,
    );
    const parts = [
      counts.join(", ") || "no workers",
      `${count(runtime.events)} events`,
      `runtime ${runtime.id}`,
      runtime.url ?? "no server",
    ];
    if (clock?.virtual) parts.push("virtual clock");
    if (paused) parts.unshift(`paused by ${paused}`);
    if (this.isStale) {
      const silence = `no word from the kernel for ${age(this.link.silence)}`;
      parts.unshift(
        `${silence}: it is busy, or was restarted; then run the cells and %panel again. As it was:`,
      );
    }
    this.summary.textContent = parts.join(" · ");
    const badge = (name, n, mark) => {
      const tab = this.tabs.find((one) => one.dataset.tab === name);
      tab.textContent = TABS.find(([one]) => one === name)[1] + (n ? ` ${mark}${n}` : "");
    };
    badge("workers", failures([...workers.values()]).length, "✗");
    badge("sessions", prompts, "?");
  }

  get isStale() {
    return this.visible && this.link.silence > SILENT;
  }

  tick() {
    if (this.visible) this.link.check();
    if (this.isStale || this.root.classList.contains("dnw-stale")) this.summarize();
    if (this.visible && this.tab === "workers") this.sections.workers.tick();
  }

  close() {
    clearInterval(this.timer);
    this.alert.close();
    this.observer.disconnect();
    document.removeEventListener("visibilitychange", this.onVisibility);
    for (const name of ["pointerup", "pointercancel", "dragend"])
      window.removeEventListener(name, this.release);
    this.model.off?.("change:only", this.onOnly);
    this.link.close();
    this.root.remove();
  }
}

function render({ model, el }) {
  const panel = new Panel(model, el);
  el.dnwPanel = panel;
  return () => panel.close();
}

export default { render };
