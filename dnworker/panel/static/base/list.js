// `VirtualList`: rows of one height of which only those that can be seen are in the document.
import { html, useEffect, useLayoutEffect, useRef, useState } from "../vendor/vendor.js";

const BEYOND = 6; // rows drawn above and below what can be seen

/**
 * A list of `count` rows; `row(i)` draws one. `current` is the index of the chosen row, `onChoose(i)` is called by a
 * click and by keys (arrows, J, K, Home, End, pages), `onOpen(i)` by Enter. `follow` keeps the end in sight;
 * `onRange(from, until)` tells which rows can be seen, `onScroll(atEnd)` that people scrolled.
 */
export function VirtualList({
  count,
  rowHeight,
  row,
  label,
  role = "listbox",
  current = -1,
  onChoose,
  onOpen,
  onRange,
  onScroll,
  follow = false,
  cls = "",
  listRef,
}) {
  const own = useRef(null);
  const root = listRef ?? own;
  const [view, setView] = useState({ top: 0, height: 600 });
  const scrolledTo = useRef(0); // where the list scrolled by itself: that is no wish of people
  const scrollTo = (top) => {
    root.current.scrollTop = top;
    scrolledTo.current = root.current.scrollTop;
  };
  useEffect(() => {
    const sized = () => setView((before) => ({ ...before, height: root.current?.clientHeight ?? 0 }));
    const observer = new ResizeObserver(sized);
    observer.observe(root.current);
    sized();
    return () => observer.disconnect();
  }, []);
  useLayoutEffect(() => {
    if (follow) scrollTo(root.current.scrollHeight);
  }, [follow, count, view.height]);
  const isKept = useRef(-1);
  useLayoutEffect(() => {
    if (current < 0 || current === isKept.current) return;
    isKept.current = current;
    const { scrollTop, clientHeight } = root.current;
    const top = current * rowHeight;
    if (top < scrollTop) scrollTo(top);
    else if (top + rowHeight > scrollTop + clientHeight) scrollTo(top + rowHeight - clientHeight);
  }, [current]);
  const from = Math.max(0, Math.floor(view.top / rowHeight) - BEYOND);
  const until = Math.min(count, Math.ceil((view.top + view.height) / rowHeight) + BEYOND);
  useEffect(() => onRange?.(from, until), [from, until, count]);
  const scrolled = () => {
    const { scrollTop, scrollHeight, clientHeight } = root.current;
    setView({ top: scrollTop, height: clientHeight });
    if (Math.abs(scrollTop - scrolledTo.current) > 1) {
      scrolledTo.current = scrollTop;
      onScroll?.(scrollHeight - scrollTop - clientHeight < rowHeight * 1.5);
    }
  };
  const key = (event) => {
    if (event.target !== root.current || event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(view.height / rowHeight) - 1);
    const steps = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: page, PageUp: -page };
    const ends = { Home: 0, End: count - 1 };
    if (event.key in steps) onChoose?.(Math.min(count - 1, Math.max(0, current + steps[event.key])));
    else if (event.key in ends) onChoose?.(ends[event.key]);
    else if (event.key === "Enter" && current >= 0) onOpen?.(current);
    else return;
    event.preventDefault();
  };
  const prefix = useRef(`dn-${Math.random().toString(36).slice(2)}`).current;
  const option = role === "listbox" ? "option" : "row";
  const rows = [];
  for (let i = from; i < until; i += 1)
    rows.push(html`<div
      key=${i}
      id=${`${prefix}-${i}`}
      role=${option}
      aria-selected=${String(i === current)}
      aria-posinset=${option === "option" ? i + 1 : undefined}
      aria-setsize=${option === "option" ? count : undefined}
      aria-rowindex=${option === "row" ? i + 1 : undefined}
      style=${{ transform: `translateY(${i * rowHeight}px)`, height: `${rowHeight}px` }}
      onClick=${() => onChoose?.(i)}
      onDblClick=${() => onOpen?.(i)}
    >
      ${row(i)}
    </div>`);
  return html`<div
    class=${`virtual g ${cls}`}
    ref=${root}
    role=${count ? role : "group"}
    aria-label=${label}
    tabindex="0"
    aria-activedescendant=${current >= from && current < until ? `${prefix}-${current}` : undefined}
    onScroll=${scrolled}
    onKeyDown=${key}
  >
    <div role="presentation" style=${{ height: `${count * rowHeight}px` }}>${rows}</div>
  </div>`;
}
