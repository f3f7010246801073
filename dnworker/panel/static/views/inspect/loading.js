// Payloads that are too large to come unasked: `usePayload` requests them piece by piece, and keeps the newest.
import { useEffect, useState } from "../../vendor/vendor.js";
import { useStore } from "../../base/store.js";

const KEPT = 3;
const texts = new Map(); // by the event's id; a payload never changes

/** Get a payload whole; `progress(share)` hears how much has come. Null where it was refused. */
export async function loadPayload(store, event, progress = () => {}) {
  if (texts.has(event)) return texts.get(event);
  const pieces = [];
  let [start, length] = [0, 0];
  while (start !== null) {
    const answer = await store.request("Payload", { type: "payload", event, start });
    if (!answer) return null;
    pieces.push(answer.text);
    length += answer.text.length;
    start = answer.next;
    progress(length / answer.size);
  }
  const text = pieces.join("");
  texts.set(event, text);
  if (texts.size > KEPT) texts.delete(texts.keys().next().value);
  return text;
}

/** The text of an event's payload, and the share of it that has come; `head` is what came with the event. */
export function usePayload(event, head) {
  const store = useStore();
  const [state, setState] = useState({ event: null, text: null, share: 0 });
  const own = head?.text ?? null;
  useEffect(() => {
    if (!event || !head || own !== null) return undefined;
    let isWanted = true;
    const progress = (share) => isWanted && setState({ event, text: null, share });
    loadPayload(store, event, progress).then((text) => isWanted && setState({ event, text, share: 1 }));
    return () => {
      isWanted = false;
    };
  }, [store, event, own, Boolean(head)]);
  if (own !== null) return { text: own, share: 1 };
  return state.event === event ? state : { text: null, share: 0 };
}
