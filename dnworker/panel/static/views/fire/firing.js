// What the Fire drawer does with its draft: suggest a payload, fire, copy.
import { useRef, useSignal } from "../../vendor/vendor.js";
import { copy } from "../../base/dom.js";
import { fieldsOf, wrongField } from "./draft.js";
import { apply } from "./editor.js";

/** What the drawer does with its draft. */
export function useFiring(store, draft, wrong, source, area) {
  const reads = useSignal(null);
  const suggestedFor = useRef(null);
  const set = (change) => {
    draft.value = { ...draft.peek(), ...change };
    if (wrong.peek() && (wrong.peek().field in change || "kind" in change)) wrong.value = null;
  };
  const write = (text, isTyped, isAsked = true) => {
    const node = area.current;
    // What people asked for is written as if they had typed it; else the field takes it from the draft, without the focus.
    if (isAsked && node && node.value !== text)
      apply(node, { from: 0, to: node.value.length, insert: text, start: 0, end: 0 });
    set({ payload: text, isTyped });
  };
  const suggest = async (isAsked) => {
    const kind = draft.peek().kind.trim();
    if (!kind) {
      if (isAsked) wrong.value = wrongField(draft.peek(), []);
      return;
    }
    suggestedFor.current = kind;
    const answer = await store.request(`Suggest a payload for ${kind}`, { type: "suggest", kind });
    if (!answer || suggestedFor.current !== kind) return;
    reads.value = answer.reads;
    if (!isAsked && draft.peek().isTyped) return;
    write(answer.payload, false, isAsked);
    source.value = answer.source.slice(0, 1).toUpperCase() + answer.source.slice(1);
  };
  const send = async (one) => {
    const kind = one.kind.trim();
    const answer = await store.request(`Fire ${kind}`, { type: "fire", ...fieldsOf(one) });
    if (answer?.problem) wrong.value = answer.problem;
    else if (answer)
      store.toast(`Fired ${kind} #${answer.seq}`, {
        action: { label: "Show", run: () => store.go("runs", { event: answer.event }) },
      });
    return Boolean(answer && !answer.problem);
  };
  const fire = async () => {
    if (store.disabled.peek()) return;
    const problem = wrongField(draft.peek(), store.workers.peek().keys());
    wrong.value = problem;
    if (problem?.at !== undefined) goTo(area.current, problem.at);
    if (!problem) await send(draft.peek());
  };
  const copyCell = async (near) => {
    const answer = await store.request("Copy as %fire", { type: "draft", ...fieldsOf(draft.peek()) });
    if (answer && (await copy(answer.text, near))) store.toast("Copied as a cell that fires it");
  };
  return { reads, set, write, suggest, send, fire, copyCell };
}

/** Put the caret at a place of the payload. */
export function goTo(area, at) {
  area.focus();
  area.setSelectionRange(at, Math.min(area.value.length, at + 1));
}
