// `Store`: what one view of the panel knows and asks for; every component gets it by `useStore()`.
import { computed, createContext, signal, useContext, useEffect, useRef } from "../vendor/vendor.js";
import { Link } from "./link.js";
import { BEAT, judge, KernelWatch, kernelOf } from "./liveness.js";

const QUIET = [
  "ping",
  "lines",
  "line",
  "events",
  "log",
  "copy",
  "suggest",
  "locate",
  "payload",
  "alike",
  "compare",
  "older",
  "diagram",
  "maptext",
  "eventpayload",
];
const ENVELOPE = new Set(["view", "type", "now", "seq"]);
const WIDE = 1200;
const NARROW = 760;

/** The store of the view that a component is in. */
export const StoreContext = createContext(null);

export function useStore() {
  return useContext(StoreContext);
}

/** Look at a part while the component is there; returns its newest value, null before the first. */
export function useLook(part, wanted = {}) {
  const store = useStore();
  const key = wanted === null ? null : JSON.stringify(wanted);
  useEffect(() => {
    if (key === null) return undefined;
    return store.look(part, JSON.parse(key));
  }, [store, part, key]);
  return store.value(part, key).value;
}

/** Look at a part, and go on showing what was there while something else of it is asked for. */
export function useSteadyLook(part, wanted) {
  const value = useLook(part, wanted);
  const last = useRef(null);
  if (value) last.current = { part, value };
  return value ?? (last.current?.part === part ? last.current.value : null);
}

/** Have one of the parts that are sent piece by piece (`log`, ...) sent while the component is there. */
export function usePart(part) {
  const store = useStore();
  useEffect(() => store.wantPart(part), [store, part]);
}

export class Store {
  /** `model` sends and receives messages: a widget's, or one of the page's socket. */
  constructor(model, { inNotebook = false } = {}) {
    this.model = model;
    this.inNotebook = inNotebook;
    this.skew = 0; // milliseconds by which the kernel's clock is ahead
    // what the kernel sent
    this.values = new Map();
    this.failed = new Map(); // why a part could not be made, as far as that was said
    this.workers = signal(new Map());
    this.paused = signal(null);
    this.listeners = new Map();
    // what is looked at: a part's name to how often and what of it
    this.looks = new Map();
    this.partsWanted = new Map();
    this.greetings = new Map(); // name of a field of the hello, to what gives it
    // what people look at
    this.width = signal("wide");
    this.only = signal(model.get?.("only") ?? null);
    this.route = signal({ view: this.only.value ? "workers" : "overview" });
    this.visible = true;
    this.toasted = signal(null);
    this.paletteOpen = signal(false);
    this.keysOpen = signal(false);
    this.fireWanted = signal(null);
    this.logWanted = signal(null);
    this.commands = new Commands();
    // whether somebody is there
    this.tick = signal(0);
    this.liveness = signal({ state: "live", since: Date.now(), by: null });
    this.disabled = computed(() => (this.liveness.value.state === "gone" ? this.whyGone : null));
    this.held = null; // messages that wait until a button is let go; null while none is pressed
    this.link = new Link(model, {
      greet: () => this.greet(),
      receive: (message) => this.receive(message),
      showStatus: (text, bad) => text && this.toast(text, { bad }),
      quiet: QUIET,
    });
    this.onOnly = () => {
      this.only.value = model.get?.("only") ?? null;
    };
    model.on?.("change:only", this.onOnly);
    this.kernel = new KernelWatch(model);
    this.link.onHeard = () => this.heard();
    this.timer = setInterval(() => this.beat(), BEAT);
  }

  close() {
    clearInterval(this.timer);
    this.kernel.close();
    this.model.off?.("change:only", this.onOnly);
    this.link.close();
  }

  // -- what components read ------------------------------------------------------------------------------

  /** The signal of the newest value of a part; its value is null before the first. */
  value(part) {
    if (!this.values.has(part)) this.values.set(part, signal(null));
    return this.values.get(part);
  }

  /** Call `listener(value, isSnapshot)` with each update of a part; returns what ends it. */
  on(part, listener) {
    const all = this.listeners.get(part) ?? new Set();
    this.listeners.set(part, all.add(listener));
    return () => all.delete(listener);
  }

  /** Milliseconds since 1970 by the kernel's clock; it stands still once nobody answers. */
  now() {
    const { state, since } = this.liveness.peek();
    return (state === "gone" ? since : Date.now()) + this.skew;
  }

  /** What time it is to schedules, which is another one where the clock is virtual. */
  clockNow() {
    const clock = this.value("clock").peek();
    return clock?.virtual ? clock.now : this.now();
  }

  // -- what components do --------------------------------------------------------------------------------

  /** Show a view, such as `go("runs", { event })`. */
  go(view, params = {}) {
    this.route.value = { view, ...params };
  }

  openLog(wanted = {}) {
    this.logWanted.value = wanted;
  }

  openFire(wanted = {}) {
    this.fireWanted.value = wanted;
  }

  /** Show a short text at the corner; `action` is `{ label, run }`. */
  toast(text, { bad = false, action = null } = {}) {
    this.toasted.value = { text, bad, action, at: Date.now() };
  }

  /** Request something; gives the fields of the answer, or null when it was refused: a toast says why. */
  request(title, message, refuse = (text) => this.toast(`${title}: ${text}`, { bad: true })) {
    return this.link.request(title, message, refuse);
  }

  /** Look at a part, with what is wanted of it; returns what ends it. */
  look(part, wanted) {
    const look = { wanted };
    const all = this.looks.get(part) ?? [];
    this.looks.set(part, [...all, look]);
    this.link.send({ type: "look", part, wanted });
    return () => {
      const left = (this.looks.get(part) ?? []).filter((one) => one !== look);
      if (left.length) {
        this.looks.set(part, left);
        const { wanted: still } = left.at(-1);
        if (JSON.stringify(still) !== JSON.stringify(wanted))
          this.link.send({ type: "look", part, wanted: still });
      } else {
        this.looks.delete(part);
        this.value(part).value = null;
        this.link.send({ type: "look", part, wanted: null });
      }
    };
  }

  /** Have a part sent that comes piece by piece; returns what ends it. */
  wantPart(part) {
    const times = this.partsWanted.get(part) ?? 0;
    this.partsWanted.set(part, times + 1);
    if (!times) this.link.send({ type: "parts", parts: [...this.partsWanted.keys()] });
    return () => {
      const left = this.partsWanted.get(part) - 1;
      if (left) this.partsWanted.set(part, left);
      else {
        this.partsWanted.delete(part);
        this.link.send({ type: "parts", parts: [...this.partsWanted.keys()] });
      }
    };
  }

  setWidth(pixels) {
    this.width.value = pixels >= WIDE ? "wide" : pixels >= NARROW ? "medium" : "narrow";
  }

  setVisible(visible) {
    if (visible === this.visible) return;
    this.visible = visible;
    this.link.send({ type: "visibility", visible });
  }

  // -- what arrives --------------------------------------------------------------------------------------

  greet() {
    const fields = [...this.greetings].map(([name, give]) => [name, give()]);
    return {
      parts: [...this.partsWanted.keys()],
      looks: Object.fromEntries([...this.looks].map(([part, all]) => [part, all.at(-1).wanted])),
      visible: this.visible,
      ...Object.fromEntries(fields.filter(([, value]) => value !== null && value !== undefined)),
    };
  }

  receive(message) {
    if (this.held) this.held.push(message);
    else if (message.type === "paused") this.paused.value = message.by;
    else this.take(message);
  }

  take(message) {
    const isSnapshot = message.type === "snapshot";
    this.skew = message.now - Date.now();
    if (isSnapshot) this.workers.value = new Map();
    for (const [part, sent] of Object.entries(message)) {
      if (ENVELOPE.has(part)) continue;
      const value = this.whole(part, sent);
      if (value === null && sent !== null) {
        this.value(part).value = null;
        continue;
      }
      if (part === "workers") this.takeWorkers(value);
      else if (part === "paused") this.paused.value = value;
      else this.value(part).value = value;
      for (const listener of [...(this.listeners.get(part) ?? [])]) listener(value, isSnapshot);
    }
  }

  /** Return a part as it was sent; null for one that the kernel failed to make, which is said once. */
  whole(part, value) {
    if (typeof value?.failed !== "string" || Object.keys(value).length > 1) {
      if (value !== null) this.failed.delete(part);
      return value;
    }
    if (this.failed.get(part) !== value.failed) {
      this.failed.set(part, value.failed);
      this.toast(`Cannot show ${part.split("#")[0]}: ${value.failed}`, { bad: true });
    }
    return null;
  }

  /** Take the order of the workers, and those that have changed. */
  takeWorkers({ order, changed }) {
    const before = this.workers.peek();
    const news = new Map(changed.map((worker) => [worker.name, worker]));
    this.workers.value = new Map(
      order.map((name) => [name, news.get(name) ?? before.get(name)]).filter(([, worker]) => worker),
    );
  }

  // -- whether somebody answers --------------------------------------------------------------------------

  /** Who answers here, in a word. */
  get who() {
    return this.inNotebook ? "kernel" : "runtime";
  }

  get whyGone() {
    return `The ${this.who} is gone; nothing can be done until it is back`;
  }

  /** Look, four times a second, whether somebody answers; a look at nothing else costs nothing. */
  beat() {
    const { link, kernel } = this;
    const before = this.liveness.peek();
    const state = judge({
      isOpen: link.isOpen,
      waits: link.waits,
      lifeless: link.lifeless,
      kernel: kernel.look(),
    });
    const by = state === "busy" ? (link.queuedBy ?? this.paused.peek()) : null;
    if (state !== before.state || by !== before.by) {
      const since = state === "busy" ? Date.now() - link.waits : link.heardAt;
      this.liveness.value = { state, since: state === before.state ? before.since : since, by };
    }
    if (this.visible) link.check();
    const second = Math.floor(this.now() / 1000);
    if (state !== "gone" && second !== this.second) this.tick.value += 1;
    this.second = second;
  }

  heard() {
    this.kernel.heard();
    if (this.liveness.peek().state === "gone")
      this.liveness.value = { state: "live", since: Date.now(), by: null };
  }

  /** What stops the cell that keeps the kernel busy; null where the front end offers none. */
  get interrupt() {
    const kernel = this.inNotebook ? kernelOf(this.model) : null;
    return kernel?.interrupt ? () => kernel.interrupt() : null;
  }

  /** Try again whether somebody is there. */
  connectAgain() {
    if (this.model.connectAgain) {
      this.model.connectAgain();
      return;
    }
    this.link.lost();
    this.link.hello();
    const since = this.link.heardAt;
    const check = () => {
      if (this.link.heardAt === since) this.toast("Nobody answers; run %panel again", { bad: true });
    };
    setTimeout(check, 6 * BEAT);
  }
}

/** What the palette offers: providers, each of which answers a query. */
class Commands {
  constructor() {
    this.providers = new Set();
  }

  /** Add `provider(query)`, which returns `[{ group, icon, title, detail, keys, run }]`; returns what ends it. */
  add(provider) {
    this.providers.add(provider);
    return () => this.providers.delete(provider);
  }

  find = (query) => [...this.providers].flatMap((provider) => provider(query));
}
