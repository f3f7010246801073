// What is written in the Fire drawer, and what is wrong with it. It stays when the drawer is closed. No document.
import { lineColumn, pretty, problemOf } from "../../base/json.js";
import { isObject } from "./editing.js";

const CHECKED = 500_000; // characters; the kernel alone checks a longer payload

export const EMPTY = { kind: "", worker: "", session: "", payload: "{}", isTyped: false };

/** Why a payload is none, with its place; null where it is one. */
export function problemOfPayload(text) {
  if (text.length > CHECKED) return null;
  const problem = problemOf(text);
  if (problem) return problem;
  if (isObject(text)) return null;
  const at = text.length - text.trimStart().length;
  return { at, ...lineColumn(text, at), text: "a payload is an object, in braces" };
}

/** The draft of what is wanted by `openFire`; fields that are not named stay. */
export function wantedDraft(draft, { kind, payload, session, worker }) {
  const isSame = kind === undefined || (kind === draft.kind && payload === undefined);
  if (isSame) return { ...draft, ...(worker === undefined ? {} : { worker: worker ?? "" }) };
  const text = payload === undefined || payload === null ? null : asText(payload);
  return {
    kind,
    worker: worker ?? "",
    session: session ?? "",
    payload: text ?? "{}",
    isTyped: text !== null,
  };
}

/** A payload as text: a text is JSON already. */
function asText(payload) {
  return typeof payload === "string" ? pretty(payload) : JSON.stringify(payload, null, 2);
}

/** The fields of a request that fires a draft, or copies it. */
export function fieldsOf({ kind, payload, session, worker }) {
  return { kind: kind.trim(), payload, session: session.trim() || null, worker: worker.trim() || null };
}

/** What is wrong with a draft before anybody is asked, as `{ field, text }`; null if nothing is. */
export function wrongField(draft, workers) {
  if (!draft.kind.trim()) return { field: "kind", text: "An event needs a kind, such as turn.completed" };
  const worker = draft.worker.trim();
  const names = [...workers];
  const isKnown = names.some((name) => name === worker || name.endsWith(`:${worker}`));
  if (worker && !isKnown)
    return { field: "worker", text: `There is no worker ${worker}; leave it out for all that listen` };
  const problem = problemOfPayload(draft.payload);
  return problem && { field: "payload", ...problem };
}
