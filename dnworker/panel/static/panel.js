// The panel in a notebook and on a page: it draws the state that arrives in messages of the kernel.
import { button, element, redraw } from "./dom.js";
import { Link, SILENT } from "./link.js";
import { WorkersSection, placeLink } from "./workers.js";
import { EventsSection } from "./events.js";
import { LogSection } from "./log.js";
import { FireSection } from "./fire.js";
import { CapabilitySection } from "./capability.js";
import { SessionsSection } from "./sessions.js";
import { age, count, troubles } from "./text.js";

const TABS = [
  ["workers", "Workers", []],
  ["events", "Events", ["events"]],
  ["fire", "Fire", ["fire", "events"]],
  ["capability", "Capability", ["capabilities"]],
  ["sessions", "Sessions", ["sessions"]],
];
const ANNOUNCE_EVERY = 5000;
const SHORTCUT_KEYS = /^(.|Enter|Escape|Arrow.*|Home|End|Page.*|Delete|Backspace)$/u;

class Panel {
  constructor(model, el) {
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
    this.skew = 0;
    this.tab = "workers";
    this.el = el;
    this.dismissed = new Set();
    this.inSight = true;
    this.visible = document.visibilityState !== "hidden";
    this.held = null;
    this.announced = { at: 0, text: "" };
    this.spokenOf = new Set();
    this.link = new Link(model, {
      greet: () => this.greet(),
      told: (message) => this.told(message),
      said: (text, bad) => this.say(text, bad),
      quiet: ["ping", "lines", "line", "events", "log", "copy", "suggest", "locate"],
    });
    this.build();
    this.onOnly = () => {
      this.state.only = model.get?.("only") ?? null;
      this.sections.workers.update(null);
    };
    model.on?.("change:only", this.onOnly);
    this.model = model;
    el.append(this.root);
    this.watchSight();
    this.watchPress();
    this.timer = setInterval(() => this.tick(), 1000);
    this.link.hello();
  }

  build() {
    this.summary = element("div", { cls: "dnw-summary" });
    this.status = element("div", { cls: "dnw-status", role: "status" });
    this.spoken = element("div", { cls: "dnw-offscreen", "aria-live": "polite" });
    this.alert = element("div", { cls: "dnw-trouble", role: "group", "aria-label": "what failed" });
    this.alert.hidden = true;
    this.sections = {
      workers: new WorkersSection(this),
      events: new EventsSection(this),
      fire: new FireSection(this),
      capability: new CapabilitySection(this),
      sessions: new SessionsSection(this),
    };
    this.log = new LogSection(this);
    const prefix = `dnw-${this.link.view}`;
    this.tabs = TABS.map(([name, title]) => {
      const node = element("button", {
        cls: "dnw-tab",
        type: "button",
        role: "tab",
        id: `${prefix}-tab-${name}`,
        "aria-controls": `${prefix}-${name}`,
        text: title,
        data: { tab: name },
      });
      node.addEventListener("click", () => this.show(name));
      return node;
    });
    const tablist = element("div", { cls: "dnw-tabs", role: "tablist", "aria-label": "panel" }, this.tabs);
    tablist.addEventListener("keydown", (event) => this.tabKey(event));
    this.panes = TABS.map(([name]) => {
      const pane = element(
        "div",
        {
          cls: "dnw-pane",
          role: "tabpanel",
          id: `${prefix}-${name}`,
          "aria-labelledby": `${prefix}-tab-${name}`,
        },
        [this.sections[name].root],
      );
      return pane;
    });
    this.root = element("div", { cls: "dnw-panel", "aria-label": "dnworker panel", role: "region" }, [
      this.summary,
      this.status,
      this.spoken,
      this.alert,
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

  greet() {
    const filter = this.log.filter;
    const { events, sessions } = this.sections;
    return {
      parts: this.parts(),
      log: filter,
      events: events.filter,
      session: sessions.chosen,
      trace: this.state.chosen,
      visible: this.visible,
    };
  }

  parts() {
    return ["log", ...TABS.find(([name]) => name === this.tab)[2]];
  }

  watchSight() {
    const look = () => {
      const visible = this.inSight && document.visibilityState !== "hidden";
      if (visible === this.visible) return;
      this.visible = visible;
      this.link.tell({ type: "sight", visible });
    };
    this.observer = new IntersectionObserver((entries) => {
      this.inSight = entries.at(-1).isIntersecting;
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
        for (const message of held) this.told(message);
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

  say(text, bad = false) {
    this.status.textContent = text;
    this.status.classList.toggle("dnw-bad", bad);
  }

  tell(message) {
    this.link.tell(message);
  }

  ask(what, message, refused) {
    return this.link.ask(what, message, refused);
  }

  /** Fire something, and show what becomes of it. */
  async fired(what, message) {
    const answer = await this.ask(what, message);
    if (!answer) return;
    if (this.tab !== "fire") this.show("events");
    this.chooseEvent(answer.event);
    this.say(`fired #${answer.seq}`);
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
    this.tell({ type: "trace", event: id });
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
      const found = (await this.ask(`cell [${number}]`, { type: "locate", number }))?.cell;
      if (found) {
        // Without the old place first: going to the same place again must be a change, too.
        history.replaceState(history.state, "", location.pathname + location.search);
        location.hash = `#cell-id=${encodeURIComponent(found)}`; // JupyterLab goes there
      } else this.say(`cell [${number}] is not in this notebook any more`);
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
      this.tell({ type: "parts", parts: this.parts() });
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

  told(message) {
    const { state, sections } = this;
    if (this.held) {
      this.held.push(message);
      return;
    }
    if (message.type === "paused") {
      state.paused = message.by;
      sections.workers.update(null);
      this.summarize();
      return;
    }
    if (message.type === "snapshot") {
      state.workers.clear();
      this.toldTroubles = null;
    }
    this.skew = message.now - Date.now();
    let changed = new Set();
    if ("clock" in message) state.clock = message.clock;
    if ("paused" in message) {
      state.paused = message.paused;
      changed = null;
    }
    if ("workers" in message) {
      state.order = message.workers.order;
      for (const worker of message.workers.changed) {
        state.workers.set(worker.name, worker);
        changed?.add(worker.name);
      }
      for (const name of [...state.workers.keys()])
        if (!state.order.includes(name)) state.workers.delete(name);
    }
    if ("runtime" in message) state.runtime = message.runtime;
    if ("attention" in message) state.prompts = message.attention.prompts;
    if ("workers" in message || "paused" in message || message.type === "snapshot") {
      sections.workers.update(message.type === "snapshot" ? null : changed);
      sections[this.tab].update?.(null);
      this.log.update();
      this.tellTroubles();
    }
    if ("trace" in message) {
      state.trace =
        "payload" in message.trace || message.trace.gone
          ? message.trace
          : { ...message.trace, payload: state.trace?.payload, cut: state.trace?.cut };
      sections[this.tab].update?.(null);
    }
    if ("events" in message) sections.events.take(message.events);
    if ("fire" in message) sections.fire.take(message.fire);
    if ("capabilities" in message) sections.capability.take(message.capabilities);
    if ("sessions" in message) sections.sessions.takeList(message.sessions);
    if ("session" in message) sections.sessions.take(message.session);
    if ("log" in message) this.log.take(message.log);
    this.summarize();
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
    if (this.isStale)
      parts.unshift(
        `no word from the kernel for ${age(this.link.silence)}: it is busy, or was restarted; then run the cells and %panel again. As it was:`,
      );
    this.summary.textContent = parts.join(" · ");
    const badge = (name, n, mark) => {
      const tab = this.tabs.find((one) => one.dataset.tab === name);
      tab.textContent = TABS.find(([one]) => one === name)[1] + (n ? ` ${mark}${n}` : "");
    };
    badge("workers", troubles([...workers.values()]).length, "✗");
    badge("sessions", prompts, "?");
  }

  tellTroubles() {
    const found = troubles([...this.state.workers.values()]);
    const told = JSON.stringify(
      found.map(({ worker, handler, text, count: n }) => [worker, handler, text, n]),
    );
    // Dismissed is dismissed until it fails anew; but a task that crashes for ever in one way is told once.
    const names = found.map(
      ({ worker, handler, text, count: n, endless }) => `${worker}.${handler} ${text} ${endless ? "" : n}`,
    );
    this.alert.hidden = names.every((name) => this.dismissed.has(name));
    for (const name of this.dismissed) if (!names.includes(name)) this.dismissed.delete(name);
    if (told === this.toldTroubles) return;
    this.toldTroubles = told;
    redraw(this.alert, [
      ...found.slice(0, 5).map(({ worker, handler, text, place, event, count: n }) =>
        element("div", { cls: "dnw-head" }, [
          element("span", {
            cls: "dnw-bad",
            text: `✗ ${handler ? `${worker}.${handler} failed${n > 1 ? ` ${count(n)} times, last` : ""}` : `${worker} is in error`}: ${text.split("\n")[0]}`,
          }),
          ...(place ? [placeLink(place, this)] : []),
          event
            ? button("show the event", () => this.showEvent(event), {
                label: `show the event that made ${handler} fail`,
              })
            : button("show the worker", () => this.show("workers"), { label: `show ${worker}` }),
        ]),
      ),
      ...(found.length > 5
        ? [element("span", { cls: "dnw-muted", text: `and ${found.length - 5} more` })]
        : []),
      button(
        "dismiss",
        () => {
          this.dismissed = new Set(names);
          this.alert.hidden = true;
        },
        { label: "dismiss what failed", cls: "dnw-dismiss" },
      ),
    ]);
    const fresh = found.find((_, n) => !this.spokenOf.has(names[n]));
    this.spokenOf = new Set(names);
    if (fresh) this.announce(`${fresh.handler ?? fresh.worker} failed: ${fresh.text.split("\n")[0]}`);
  }

  /** Say something to those who do not see, not more often than they can listen. */
  announce(text) {
    clearTimeout(this.announcing);
    this.announcing = setTimeout(
      () => {
        this.announced = { at: Date.now(), text };
        this.spoken.textContent = text;
      },
      Math.max(0, this.announced.at + ANNOUNCE_EVERY - Date.now()),
    );
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
    clearTimeout(this.announcing);
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
