// The widget `LogTail`: the newest lines of a worker, or of all.
import { html, useLayoutEffect, useRef } from "../../vendor/vendor.js";
import { clockMillis, nameParts } from "../../base/format.js";
import { useLook } from "../../base/store.js";
import { useTraits } from "./traits.js";

const NEAR = 24; // px from the end within which new lines are followed

export function LogTail({ model }) {
  const { worker, lines: most } = useTraits(model, ["worker", "lines"]);
  const found = useLook("tail", { worker, lines: most });
  const kept = useRef(null); // until the next look is answered, where that is at the same worker
  if (found) kept.current = { worker, lines: found.lines };
  const lines = kept.current?.worker === worker ? kept.current.lines : [];
  const root = useRef(null);
  const isAtEnd = useRef(true);
  const scrolled = () => {
    const { scrollHeight, scrollTop, clientHeight } = root.current;
    isAtEnd.current = scrollHeight - scrollTop - clientHeight < NEAR;
  };
  useLayoutEffect(() => {
    if (isAtEnd.current && root.current) root.current.scrollTop = root.current.scrollHeight;
  }, [lines]);
  const name = worker ?? "all workers";
  return html`<div class="wtail">
    <div class="row s t2"><span class="b el g" title=${name}>${name}</span><span>Log</span></div>
    <div class="lines" ref=${root} role="log" aria-label=${`Log of ${name}`} tabindex="0" onScroll=${scrolled}>
      ${lines.map(
        (
          line,
        ) => html`<div key=${line.number} class=${["error", "critical"].includes(line.level) ? "e" : line.level === "warning" ? "w" : ""}>
          <span class="t3">${clockMillis(line.at)}</span>
          ${worker === null && html`<span class="t2 el" title=${line.worker}>${nameParts(line.worker)[1]}</span>`}
          <bdi class="text">${line.text}${line.cut > 0 && "…"}</bdi>
        </div>`,
      )}
      ${found && !lines.length && html`<p class="t3">Nothing logged yet</p>`}
    </div>
  </div>`;
}
