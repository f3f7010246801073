// The sentences of the nodes: who is there, since when one is gone, who took what over. Pure; node tests it.
import { clockSeconds, count, duration, plural, span } from "../../base/format.js";

const DAY = 86_400_000;

/** A time of the day; with its date where that is another day. */
export function moment(at, now) {
  const day = (ms) => new Date(ms).toDateString();
  const text = clockSeconds(at);
  return day(at) === day(now) ? text : `${new Date(at).toLocaleDateString("sv-SE")} ${text}`;
}

/** The first line: how many are there, and who is missing. */
export function headline({ up, lost, failure }) {
  if (failure) return "The broker cannot be reached from here";
  if (!lost.length) return up === 1 ? "One node" : `All ${count(up)} nodes are up`;
  const missing = lost.length === 1 ? `${lost[0]} is gone` : `${count(lost.length)} nodes are gone`;
  return `${plural(up, "node")} up, ${missing}`;
}

/** The second line: why, or what was taken over last. */
export function reason(found, now) {
  if (found.failure) return `${found.failure}. This is what was seen last.`;
  const last = found.moves.find((move) => move.kind === "failover");
  if (!last) return "No worker was taken over from a node that was lost.";
  return `Last failover: ${last.worker} from ${last.before} to ${last.node}, at ${moment(last.at, now)}.`;
}

/** The state of a node in words; an empty text for one that is up. */
export function stateText(row, now) {
  if (row.state === "up") return "";
  if (row.state === "silent") return "silent";
  if (row.goneAt === null) return `gone, last seen ${moment(row.seenAt ?? row.since, now)}`;
  return `${row.hasLeft ? "left at" : "gone since"} ${moment(row.goneAt, now)}`;
}

/** The dot of a node: red is a failure, grey is rest. */
export function dotOf(row) {
  if (row.state === "up") return row.failure ? "busy" : "running";
  if (row.state === "silent") return "busy";
  return row.hasLeft ? "stopped" : "error";
}

/** A capability as a node has it; the digest tells two contents of one version apart. */
export const capabilityText = (one) => `${one.name} ${one.version} (${one.digest})`;

/** What a row says beside its cells: where it runs, and what is odd about it. */
export function notesOf(row) {
  const notes = [];
  if (row.failure) notes.push(row.failure);
  if (row.clockOff !== null)
    notes.push(
      `its clock is ${span(Math.abs(row.clockOff) * 1000)} ${row.clockOff > 0 ? "ahead" : "behind"}`,
    );
  const old = (row.capabilities ?? []).filter((one) => one.isOld);
  if (old.length && row.state !== "gone") notes.push(`old: ${old.map(capabilityText).join(", ")}`);
  return notes;
}

/** How long a node is up, by its own clock, as far as that is off from ours. */
export function upFor(row, now) {
  return row.state === "gone" ? "" : span(now + (row.clockOff ?? 0) * 1000 - row.since);
}

export const lagText = (row) => (row.lag === null || row.state === "gone" ? "" : duration(row.lag));

const DOTS = {
  joined: "running",
  left: "stopped",
  gone: "error",
  back: "running",
  started: "running",
  moved: "starting",
  failover: "busy",
};

export const dotOfMove = (move) => DOTS[move.kind] ?? "stopped";

/** A step of the timeline in words. */
export function moveText(move) {
  if (move.kind === "joined") return `${move.node} joined`;
  if (move.kind === "left") return `${move.node} left`;
  if (move.kind === "gone") return `${move.node} is gone`;
  if (move.kind === "back") return `${move.node} is back`;
  if (move.before === null) return `${move.worker} started on ${move.node}`;
  const how = move.kind === "failover" ? "failed over" : "handed over";
  return `${move.worker} ${how} from ${move.before} to ${move.node}`;
}

/** A step's time in the list: without a date unless it is a day ago. */
export const moveTime = (move, now) => (now - move.at < DAY ? clockSeconds(move.at) : moment(move.at, now));
