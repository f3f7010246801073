// What a worker's row says in numbers and words: its sparkline, rate, topology, state. Pure; node tests it.

export const BAR_SECONDS = 30; // of one bar of a sparkline
export const BARS = 30;
const STEP = 15; // seconds of a bucket, as the kernel counts
const YOUNGEST = 60; // seconds over which a rate is measured at least

const PROGRAMS = [
  [/^python/, "Python", "python"],
  [/^uvx?$/, "uv", "package"],
  [/^node/, "Node", "program"],
];

/** How a worker runs, as a word and an icon. */
export function topologyOf(label) {
  if (label.startsWith("in-process")) return ["In-process", "inprocess"];
  const program = /\(([^)]*)\)/.exec(label)?.[1] ?? label;
  const known = PROGRAMS.find(([pattern]) => pattern.test(program));
  return known ? known.slice(1) : [program || "Process", "program"];
}

/** The state in words, and how it is coloured; nothing for one that runs. */
export function stateWord(worker) {
  const flags = Object.keys(worker.gate ?? {});
  return {
    running: null,
    error: ["Error", "bad"],
    loading: ["Loading", "acc"],
    starting: ["Starting", "acc"],
    stopping: ["Stopping", "warn"],
    stopped: ["Stopped", "t3"],
    standby: [worker.standby ? `Standby: ${worker.standby}` : "Standby", "t3"],
    gated_off: [flags.length ? `Gated by ${flags.join(" or ")}` : "Gated off", "t3"],
  }[worker.state];
}

const cached = new WeakMap(); // by row, which is another object where it changed

/**
 * The calls of the last 15 minutes up to `now`, in ms: how many, how many failed, and how many a second that is; of a
 * worker that is younger, since its first call. `bars` are `[calls, failed]`, oldest first, made when they are drawn.
 */
export function figuresOf(worker, now) {
  const bar = Math.floor(now / 1000 / BAR_SECONDS);
  const known = cached.get(worker);
  if (known?.bar === bar) return known;
  const found = new Figures(worker.spark, bar, now / 1000);
  cached.set(worker, found);
  return found;
}

class Figures {
  constructor(spark, bar, now) {
    this.spark = spark;
    this.bar = bar;
    this.calls = 0;
    this.failed = 0;
    this.path = null;
    this.first = null;
    this.each((_, begins, calls, failed) => {
      this.calls += calls;
      this.failed += failed;
      this.first ??= begins;
    });
    const age = this.first === null ? 0 : now - this.first;
    this.rate = this.calls ? this.calls / Math.min(BARS * BAR_SECONDS, Math.max(YOUNGEST, age)) : 0;
  }

  /** Call `take(bar, begins, calls, failed)` with each bucket that has calls, the oldest first. */
  each(take) {
    const { spark } = this;
    const length = spark?.calls.length ?? 0;
    for (let n = 0; n < length; n += 1) {
      if (!spark.calls[n]) continue;
      const begins = spark.end - (length - n) * STEP;
      const at = BARS - 1 - (this.bar - Math.floor(begins / BAR_SECONDS));
      if (at >= 0) take(Math.min(at, BARS - 1), begins, spark.calls[n], spark.failed?.[n] ?? 0);
    }
  }

  get bars() {
    const bars = Array.from({ length: BARS }, () => [0, 0]);
    this.each((at, _, calls, failed) => {
      bars[at][0] += calls;
      bars[at][1] += failed;
    });
    return bars;
  }
}

/** The two paths of a sparkline, of calls and of those that have a failed one among them. */
export function sparkPaths(figures, width, height) {
  if (figures.path?.width === width) return figures.path;
  const { bars } = figures;
  const most = Math.max(1, ...bars.map(([calls]) => calls));
  const step = width / BARS;
  const draw = (wanted) =>
    bars
      .map(([calls, failed], n) => {
        if (!calls || failed > 0 !== wanted) return "";
        const tall = Math.max(2, (calls / most) * height);
        return `M${n * step} ${height}v-${tall.toFixed(1)}h${step - 1}v${tall.toFixed(1)}z`;
      })
      .join("");
  figures.path = { width, ok: draw(false), bad: draw(true) };
  return figures.path;
}

/** A sparkline in words. */
export function sparkLabel({ calls, failed }) {
  if (!calls) return "no calls in 15 minutes";
  return `${calls} ${calls === 1 ? "call" : "calls"} in 15 minutes${failed ? `, ${failed} failed` : ""}`;
}

const OFF = new Set(["stopped", "gated_off", "standby"]);

/** Whether a worker is in a segment of the list. */
export function isIn(segment, worker) {
  if (segment === "failing") return Boolean(worker.failing);
  if (segment === "running") return worker.state === "running";
  return segment === "off" ? OFF.has(worker.state) : true;
}

/** Whether a worker says all the words of a filter, somewhere; one that has a next run says `schedules`. */
export function matches(worker, filter) {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return true;
  const text = [
    worker.name,
    worker.state.replace("_", " "),
    topologyOf(worker.topology)[0],
    worker.error ?? "",
    worker.nextRun == null ? "" : "schedules",
    ...Object.keys(worker.gate ?? {}),
  ]
    .join("\n")
    .toLowerCase();
  return words.every((word) => text.includes(word));
}

/** A trigger as people say it: `On csvdrop.rows`, `Every 10 min`, `On startup`, `Task`. */
export function triggerText([decorator, trigger]) {
  if (decorator === "on_event") return `On ${trigger}`;
  if (decorator === "on_startup") return "On startup";
  if (decorator === "on_shutdown") return "On shutdown";
  if (decorator === "task") return "Task";
  const units = { s: "s", m: "min", h: "h", d: "d" };
  const parts = [...trigger.matchAll(/(\d+(?:\.\d+)?)\s*([smhd])/g)];
  const isInterval = parts.length && /^(\s*\d+(\.\d+)?\s*[smhd])+\s*$/.test(trigger);
  return isInterval
    ? `Every ${parts.map(([, n, unit]) => `${n} ${units[unit]}`).join(" ")}`
    : `At ${trigger}`;
}

/** The sentence below a worker's name, in pieces: what it does since when, and how. */
export function summaryOf(worker, now, age) {
  const word = stateWord(worker)?.[0] ?? "Running";
  const verb = word.startsWith("Gated") ? word : `${word} for ${age(Math.max(0, now - worker.since))}`;
  const [how] = topologyOf(worker.topology);
  const pid = worker.process?.pid;
  const parts = [worker.process?.restartIn == null ? verb : `${word}, starts again by itself`];
  parts.push(pid ? `${how} process ${pid}` : how === "In-process" ? "in-process" : `${how} process`);
  parts.push(`generation ${worker.generation}`);
  parts.push(
    worker.restarts ? `${worker.restarts} ${worker.restarts === 1 ? "restart" : "restarts"}` : "no restarts",
  );
  if (worker.silent) parts.push("runs without reporting");
  if (worker.agent) {
    const where = worker.agent.outside ? ", in no cell of the notebook" : "";
    parts.push(`written by agent ${worker.agent.by}${where}`);
  }
  return parts;
}

/** The numbers of the cells that a worker's handlers are from. */
export function cellsOf(worker) {
  const found = (worker.handlers ?? []).map((handler) => /^cell \[(\d+)\]/.exec(handler.origin ?? "")?.[1]);
  return [...new Set(found.filter(Boolean).map(Number))].sort((a, b) => a - b);
}
