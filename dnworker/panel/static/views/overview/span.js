// `useSpan`: the time that a brush in the charts selects; the overview and the widget `Chart` use it.
import { useState } from "../../vendor/vendor.js";
import { beginOf, bucketAt } from "./numbers.js";

/** The brush, kept by time: it moves to the left as time goes on, and ends where the charts do. */
export function useSpan() {
  const [chosen, setChosen] = useState(null);
  const [asked, setAsked] = useState(null);
  const set = (series) => (brush, isMoving) => {
    const times = brush && { since: beginOf(series, brush[0]), until: beginOf(series, brush[1]) };
    setChosen(times);
    if (!isMoving) setAsked(times);
    return times;
  };
  const inBuckets = (series) => {
    if (!chosen || chosen.until <= beginOf(series, 0)) return null;
    return [bucketAt(series, chosen.since), bucketAt(series, chosen.until - 1) + 1];
  };
  return { chosen, asked, set, inBuckets };
}
