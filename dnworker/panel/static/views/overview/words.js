/* The sentences of the overview: what is wrong, since when, why. Pure; node tests it. */
import { ago, clock, clockSeconds, count, nameParts, plural, span } from "../../base/format.js";

const STATES = [
  ["running", "running", "var(--dn-ok-fill)"],
  ["starting", "starting", "var(--dn-run-fill)"],
  ["stopping", "stopping", "var(--dn-warn-fill)"],
  ["stopped", "stopped", "var(--dn-off)"],
  ["gated_off", "gated off", "var(--dn-wait)"],
  ["standby", "standing by", "var(--dn-off)"],
  ["error", "in error", "var(--dn-bad-fill)"],
];

/** Workers by state, as `[count, words, fill, isBad]`, without states that none is in. */
export function stateCounts(workers) {
  const all = { ...workers, starting: (workers.starting ?? 0) + (workers.loading ?? 0) };
  return STATES.filter(([state]) => all[state]).map(([state, words, fill]) => [
    all[state],
    words,
    fill,
    state === "error",
  ]);
}

const workersOf = (overview) => Object.values(overview.workers).reduce((all, n) => all + n, 0);

/** The first line: what is wrong, or that nothing is. */
export function headline(overview, { state, since }) {
  const { handlers } = overview;
  const failing = overview.failures.handlers;
  if (state === "gone") return `${plural(handlers, "handler")}, as of ${clockSeconds(since)}`;
  if (failing && handlers === 1) return "The handler is failing";
  if (failing)
    return `${count(failing)} of ${plural(handlers, "handler")} ${failing === 1 ? "is" : "are"} failing`;
  if (!handlers) return `${plural(workersOf(overview), "worker")}, no handlers yet`;
  return handlers === 1 ? "The handler succeeds" : `All ${count(handlers)} handlers succeed`;
}

/** A handler by its worker's own name, for where its capability was named already: `payment.charge`. */
const shortName = (row) => `${nameParts(row.worker)[1]}.${row.handler}`;

/** What else fails, beside the first row: `orders.charge`, or that a process has exited. */
function also(rows) {
  const said = rows.slice(0, 2).map((row) => {
    if (row.exit)
      return `${nameParts(row.worker)[1]} ${/^exited/i.test(row.error) ? "exited" : "did not start"}`;
    return row.count > 1 ? plural(row.count, "handler") : shortName(row);
  });
  if (rows.length > 2) said.push(`${count(rows.length - 2)} more`);
  const end = said.pop();
  return ` Also ${said.length ? `${said.join(", ")}, and ` : ""}${end}.`;
}

/**
 * The second line as pieces: texts, and `{ generation }` or `{ error }` for what is drawn as a link or as code.
 * `isShort` leaves out what else fails.
 */
export function reason(overview, { state }, now, { who = "kernel", isShort = false } = {}) {
  const { rows } = overview.failures;
  if (state === "gone") return [`The ${who} is gone. Clocks stand still.`];
  if (!rows.length) return [allWell(overview)];
  const [top, ...rest] = rows;
  const total = rows.reduce((all, row) => all + row.failed, 0);
  const isMost = top.failed * 2 > total;
  const others = rest.length && !isShort ? also(rest) : "";
  if (top.count > 1)
    return [
      `One cause for ${count(top.count)} of them: `,
      { error: top.error },
      `, since ${clockSeconds(top.first)}.${others}`,
    ];
  const lead = rest.length
    ? isMost
      ? "Most since "
      : `${count(rows.length)} causes, the first since `
    : "Since ";
  if (top.since && isMost) return [lead, { generation: top.since }, ` at ${clock(top.since.at)}.${others}`];
  if (!rest.length && top.failed === 1) {
    const running = overview.workers.running ?? 0;
    const what = top.exit ? `${top.worker} failed` : `${top.handler} failed once`;
    return [`${plural(running, "worker")} running. ${what}, ${ago(top.last, now)}.`];
  }
  return [`${lead}${clockSeconds(Math.min(...rows.map((row) => row.first)))}.${others}`];
}

function allWell(overview) {
  const states = stateCounts(overview.workers)
    .map(([n, words]) => `${count(n)} ${words}`)
    .join(", ");
  const failed = overview.failed
    ? `${plural(overview.failed, "call")} failed in 15 min, and none fails now.`
    : "Nothing failed in 15 min.";
  return states ? `${states}. ${failed}` : failed;
}

/** How often: `41 of 52`, `41 of 52, 12 retried`, `1 exit`. */
export function howOften(row) {
  if (row.exit) return plural(row.failed, "exit");
  const retried = row.retried ? `, ${count(row.retried)} retried` : "";
  return `${count(row.failed)} of ${count(row.calls)}${retried}`;
}

/** A row in a sentence, for who cannot see it. */
export function rowSentence(row, now) {
  const who = row.count > 1 ? plural(row.count, "handler") : `${row.worker}.${row.handler}`;
  return `${who}: ${row.error}; failed ${howOften(row)}, last ${ago(row.last, now)}`;
}

/** What is said at the end of the list of failures. */
export function listNote(overview) {
  const { all, rows } = overview.failures;
  const hidden = all > rows.length ? `${plural(all, "cause")}, the first ${rows.length} shown; ` : "";
  return `${hidden}${plural(overview.failed, "failed call")} in 15 min, grouped by handler and error`;
}

/** A dead letter as a sentence, for those who do not see its row. */
export function deadText(row, now) {
  const tries = plural(row.attempts, "attempt");
  const why = row.why === "exhausted" ? `after ${tries}` : "not retried";
  return `${row.kind} #${row.seq} for ${row.worker}.${row.handlers.join(", ")}, ${why}, ${ago(row.at, now)}: ${row.error}`;
}

/** The rhythm of what is due: `every 30 s`, cron text, or that it is after an error. */
export function rhythm(row) {
  if (row.cron) return row.cron;
  if (row.every === null) return "after error";
  const text = row.every < 1 ? `${row.every} s` : span(row.every * 1000);
  return `every ${text}`;
}

const STEPS = {
  loading: "Loading",
  starting: "Starting",
  running: "Running",
  stopping: "Stopping",
  stopped: "Stopped",
  error: "Error",
  gated_off: "Gated off",
  standby: "Standby",
};

/** What has changed: `Generation 7, cell [9] ran again`, `Error, exited with code 1`. */
export function changeText(change) {
  if (change.text.startsWith("Rolled back")) return change.text;
  const head = change.generation === null ? STEPS[change.state] : `Generation ${change.generation}`;
  const gate = /^Requires flag: (.+)$/.exec(change.text);
  const text = gate
    ? `flag ${gate[1]} is off`
    : change.text.replace(/^(?=Cell|What)./, (first) => first.toLowerCase());
  return text ? `${head}, ${text}` : head;
}
