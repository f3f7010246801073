// Two events compared: a small picker of the other one, and what differs.
import { html, useEffect, useLayoutEffect, useRef, useState } from "../../vendor/vendor.js";
import { ago } from "../../base/format.js";
import { useStore } from "../../base/store.js";
import { Button, Icon, Link, Search } from "../../base/ui.js";
import { Diff, OUTCOMES, SIDES } from "./diff.js";
import { loadPayload } from "./loading.js";

const LOADING = [];
const ICONS = { ok: ["check", "ok"], error: ["cross", "bad"], running: ["clock", "acc"] };

/** A button that lists the newest events of the same kind; `onPick(id)` gets the chosen one, or `#12` as it was typed. */
export function ComparePicker({ event, onPick }) {
  const store = useStore();
  const root = useRef(null);
  const [list, setList] = useState(null);
  const [query, setQuery] = useState("");
  const close = () => {
    setList(null);
    root.current?.querySelector("button")?.focus();
  };
  useLayoutEffect(() => {
    if (!list) return undefined;
    root.current.querySelector("input").focus(); // before the next key
    const away = (press) => !root.current?.contains(press.target) && setList(null);
    document.addEventListener("pointerdown", away, true);
    return () => document.removeEventListener("pointerdown", away, true);
  }, [Boolean(list)]);
  const press = async () => {
    if (list) return close();
    setQuery("");
    setList(LOADING);
    const answer = await store.request("Compare", { type: "alike", event: event.id });
    setList((before) => (before === LOADING ? (answer?.events ?? null) : before));
    return undefined;
  };
  const pick = (id) => {
    close();
    onPick(id);
  };
  const shown = (list ?? []).filter((one) =>
    `#${one.seq} ${one.text}`.toLowerCase().includes(query.toLowerCase()),
  );
  const key = (pressed) => {
    const buttons = [...root.current.querySelectorAll(".pick button")];
    const here = buttons.indexOf(root.current.getRootNode().activeElement);
    if (pressed.key === "Escape") close();
    else if (pressed.key === "ArrowDown") buttons[Math.min(buttons.length - 1, here + 1)]?.focus();
    else if (pressed.key === "ArrowUp" && here > 0) buttons[here - 1].focus();
    else if (pressed.key === "ArrowUp") root.current.querySelector("input").focus();
    else if (pressed.key === "Enter" && here < 0 && /^#?\d+$/.test(query.trim()))
      pick(`#${query.trim().replace("#", "")}`);
    else if (pressed.key === "Enter" && here < 0 && shown.length) pick(shown[0].id);
    else return;
    pressed.preventDefault();
    pressed.stopPropagation();
  };
  return html`<span class="picker" ref=${root} onKeyDown=${list ? key : undefined}>
    <${Button} small why=${list ? null : store.disabled.value} aria-expanded=${String(Boolean(list))} onClick=${press}>Compare with…<//>
    ${
      list &&
      html`<div class="menu pick" role="group" aria-label=${`Events of ${event.kind}`}>
        <${Search} value=${query} onInput=${setQuery} label="Number of an event, or text" />
        ${shown.slice(0, 30).map((one) => {
          const [icon, cls] = ICONS[one.outcome] ?? ["unheard", "t3"];
          return html`<button type="button" key=${one.id} onClick=${() => pick(one.id)}>
            <span class=${cls} title=${one.outcome}><${Icon} name=${icon} /></span>
            <span class="t3">#${one.seq}</span><bdi class="el g m">${one.text}</bdi
            ><span class="s t3 nw">${ago(one.at, store.now())}</span>
          </button>`;
        })}
        ${
          !shown.length &&
          html`<div class="s t3 none">
            ${list === LOADING ? "Loading" : "No other event of this kind has its payload"}
          </div>`
        }
      </div>`
    }
  </span>`;
}

/** What differs between two events, by their ids; `onClose` ends it. */
export function Compared({ left, right, onClose }) {
  const store = useStore();
  const [found, setFound] = useState(null);
  useEffect(() => {
    let isWanted = true;
    setFound(null);
    store.request("Compare", { type: "compare", left, right }).then((answer) => {
      if (isWanted && answer) setFound(answer);
      else if (isWanted) onClose();
    });
    return () => {
      isWanted = false;
    };
  }, [store, left, right]);
  if (!found) return html`<div class="s t3" role="status">Comparing…</div>`;
  const isFailure = found.left.outcome === "ok" && found.right.outcome === "error";
  return html`<section aria-label="Comparison">
    <div class="row s t2 hd">
      <span
        ><${EventLink} event=${found.left} /> against <${EventLink} event=${found.right} />,
        ${found.changes ? ` differs at ${found.where}` : " no difference"}</span
      >
      <span class="g"></span>
      <${Button} small icon="cross" label="End the comparison" onClick=${onClose} />
    </div>
    ${
      found.changes > 0 &&
      html`<${Diff}
        rows=${found.rows}
        marks=${isFailure ? OUTCOMES : SIDES}
        load=${() => loadPayload(store, found.right.id)}
      />`
    }
  </section>`;
}

/** The number of an event, which leads to it. */
export function EventLink({ event }) {
  const store = useStore();
  return html`<${Link} onClick=${() => store.go("runs", { event: event.id })}>#${event.seq}<//>`;
}
