// `useTyped`: a text that people type and others may replace, such as a search that is asked for after a pause.
import { useEffect, useLayoutEffect, useRef, useState } from "../vendor/vendor.js";

const PAUSE = 150; // milliseconds without a key, after which the text is told

/**
 * `value` is the text that was told last, or what others put in its place: then that is shown, and what waits is
 * dropped. `resets` counts how often others have put a text there: it may be the one that was told. Gives the text, `type(text)` for each key, which calls `tell(text)` after a pause, and `put(text)` for
 * what is told at once.
 */
export function useTyped(value, tell, resets = 0) {
  const [text, setText] = useState(value);
  const told = useRef(value);
  const seen = useRef(resets);
  const timer = useRef(null);
  const latest = useRef(tell);
  latest.current = tell;
  const type = (next) => {
    clearTimeout(timer.current);
    setText(next);
    timer.current = setTimeout(() => {
      told.current = next;
      latest.current(next);
    }, PAUSE);
  };
  const put = (next) => {
    clearTimeout(timer.current);
    told.current = next;
    setText(next);
  };
  // Before the next key: its own text, told a while ago, must not replace what was typed since.
  useLayoutEffect(() => {
    if (value !== told.current || resets !== seen.current) put(value);
    seen.current = resets;
  }, [value, resets]);
  useEffect(() => () => clearTimeout(timer.current), []);
  return { text, type, put };
}
