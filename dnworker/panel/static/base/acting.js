// What can be done from several views, each with its toast, and with Undo where it can be taken back.
import { plural } from "./format.js";

const short = (name) => name.slice(name.indexOf(":") + 1);
const VERBS = {
  start: "Start",
  stop: "Stop",
  restart: "Restart",
  rollback: "Roll back",
  resume: "Deliver to",
};

/** Names as a sentence has them: `a`, `a and b`, `a, b and 3 more`. */
export function named(names, most = 3) {
  const shown = names.length > most ? names.slice(0, most - 1) : names;
  const left = names.length - shown.length;
  if (left) return `${shown.join(", ")} and ${left} more`;
  return shown.length > 1 ? `${shown.slice(0, -1).join(", ")} and ${shown.at(-1)}` : (shown[0] ?? "");
}

/** What a switch of a flag starts and stops, in words; empty where that is nothing. */
export function effect(starts, stops, { done = false } = {}) {
  const [start, stop] = done ? ["started", "stopped"] : ["starts", "stops"];
  return [starts.length && `${start} ${named(starts)}`, stops.length && `${stop} ${named(stops)}`]
    .filter(Boolean)
    .join(", ");
}

/** Start, stop, restart a worker, or roll it back; gives the answer, null where that was refused. */
export async function control(store, worker, verb, { generation = null, isUndo = false } = {}) {
  const more = generation === null ? {} : { generation };
  const done = await store.request(`${VERBS[verb]} ${short(worker)}`, {
    type: "control",
    verb,
    worker,
    ...more,
  });
  if (!done) return null;
  const failed = done.state === "error";
  const why = failed && done.error ? `: ${done.error.split("\n")[0]}` : "";
  const undo = isUndo || failed ? null : undoOf(store, worker, verb, done);
  const show = { label: "Show", run: () => store.go("workers", { worker }) };
  store.toast(`${told(worker, verb, done, generation)}${why}`, {
    bad: failed,
    action: undo ?? (failed ? show : null),
  });
  return done;
}

function told(worker, verb, { state }, generation) {
  const name = short(worker);
  if (verb === "rollback")
    return generation ? `${name} is at generation ${generation} again` : `${name} is rolled back`;
  if (verb === "resume") return `Delivered what was held for ${name}`;
  return `${name} is ${state.replace("_", " ")}${verb === "restart" ? " again" : ""}`;
}

/** What takes a command back: stop and start each other, a rollback goes forward again. */
function undoOf(store, worker, verb, done) {
  const other = { stop: "start", start: "stop", rollback: "rollback" }[verb];
  if (!other) return null;
  const generation = verb === "rollback" ? (done.before ?? null) : null;
  return { label: "Undo", run: () => control(store, worker, other, { generation, isUndo: true }) };
}

/** Throw a flag; the toast says what that started and stopped, and can throw it back. */
export async function setFlag(store, { capability, flag, value, starts = [], stops = [] }, isUndo = false) {
  const title = `Turn ${value ? "on" : "off"} ${flag}`;
  const done = await store.request(title, { type: "flag", capability, flag, value });
  if (!done) return false;
  const what = effect(starts, stops, { done: true });
  const back = { capability, flag, value: !value, starts: stops, stops: starts };
  store.toast(`${flag} is ${value ? "on" : "off"}${what ? `: ${what}` : ""}`, {
    action: isUndo ? null : { label: "Undo", run: () => setFlag(store, back, true) },
  });
  return true;
}

/** Take a row out of what fails now, until that fails again; the toast can bring it back. */
export async function dismiss(store, row) {
  if (!(await store.request("Dismiss", { type: "dismiss", row: row.id }))) return;
  const undo = async () => {
    const done = await store.request("Undo", { type: "restore", row: row.id });
    if (done) store.toast(`Restored: ${row.error}`);
  };
  store.toast(`Dismissed: ${row.error}`, { action: { label: "Undo", run: undo } });
}

/** Run the checks of a capability. */
export async function runChecks(store, capability) {
  const done = await store.request(`Checks of ${capability}`, { type: "checks", capability });
  if (done) store.toast(`The checks of ${capability} have run`);
}

/** Fire an event of a kind with the payload that the runtime proposes. */
export async function fireKind(store, kind) {
  const proposed = await store.request(`Suggest a payload for ${kind}`, { type: "suggest", kind });
  if (!proposed) return;
  const answer = await store.request(`Fire ${kind}`, { type: "fire", kind, payload: proposed.payload });
  if (answer) tellFired(store, kind, answer);
}

/** Say that an event was fired; the toast shows its run. */
export function tellFired(store, kind, { event, seq }) {
  store.toast(`Fired ${kind} #${seq}`, { action: { label: "Show", run: () => store.go("runs", { event }) } });
}

/** How many and what, for a list that is cut: `3 of 12 sessions`. */
export function ofAll(shown, all, noun) {
  return shown < all ? `${shown} of ${plural(all, noun)}` : plural(all, noun);
}
