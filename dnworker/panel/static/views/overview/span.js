// `useSpan`: the time that a brush in the charts selects; the overview and the widget `Chart` use it.
import { signal, useRef } from "../../vendor/vendor.js";
import { beginOf, bucketAt } from "./numbers.js";

const spans = new WeakMap(); // owner: what is selected, and what is asked for

/**
 * The brush, kept by time: it moves to the left as time goes on, and ends where the charts do. With an `owner`, such
 * as the store of a panel, it stays while other views are shown.
 */
export function useSpan(owner = null) {
  const own = useRef({}).current;
  const key = owner ?? own;
  if (!spans.has(key)) spans.set(key, { chosen: signal(null), asked: signal(null) });
  const kept = spans.get(key);
  const [chosen, asked] = [kept.chosen.value, kept.asked.value];
  const set = (series) => (brush, isMoving) => {
    const times = brush && { since: beginOf(series, brush[0]), until: beginOf(series, brush[1]) };
    kept.chosen.value = times;
    if (!isMoving) kept.asked.value = times;
    return times;
  };
  const inBuckets = (series) => {
    if (!chosen || chosen.until <= beginOf(series, 0)) return null;
    return [bucketAt(series, chosen.since), bucketAt(series, chosen.until - 1) + 1];
  };
  return { asked, set, inBuckets, newest: () => kept.chosen.peek() };
}
