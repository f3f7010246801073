// The tab "Error": what was raised, the user's line, its variables, and what the payload had that the last good one had not.
import { html, useState } from "../../vendor/vendor.js";
import { plural } from "../../base/format.js";
import { PlaceLink } from "../../base/place.js";
import { useStore } from "../../base/store.js";
import { Copy, Link } from "../../base/ui.js";
import { Code } from "./code.js";
import { EventLink } from "./compare.js";
import { Diff } from "./diff.js";
import { loadPayload } from "./loading.js";

const LINKS = {
  cause: "The exception above caused this one:",
  context: "While the exception above was handled, this one was raised:",
};

export function ErrorTab({ part }) {
  const { error, good, event } = part;
  const isChain = error.chain.length > 1;
  return html`<div class=${`insp ${good ? "" : "one"}`}>
    <div class="row all">
      <div class="errline g"><bdi>${error.text}</bdi></div>
      <${Copy} text=${() => error.traceback} label="Copy traceback" />
    </div>
    ${error.unhandled && html`<div class="s t2 all">A task that it started raised this, and nobody awaited it.</div>`}
    <div class="col">
      ${error.chain.map(
        (one, n) => html`${one.link && html`<div class="s t2 then">${LINKS[one.link]}</div>`}
          ${isChain && html`<div class="errline s"><bdi>${one.text}</bdi></div>`}
          <${Raised}
            key=${n}
            one=${one}
            isLast=${n === error.chain.length - 1}
            named=${isChain ? null : error.place.text}
          />`,
      )}
      ${error.others.length > 0 && html`<${Others} texts=${error.others} />`}
      ${error.debug && html`<${Debug} command=${error.debug} />`}
    </div>
    ${good && html`<${Against} good=${good} event=${event} />`}
  </div>`;
}

function Raised({ one, isLast, named }) {
  const [isOpen, setOpen] = useState(false);
  const frames = isOpen ? one.frames : one.frames.slice(-1);
  const more = one.frames.length - 1;
  return html`${frames.map(
    (frame, n) => html`<${FrameOf}
        key=${frame.place.text}
        frame=${frame}
        isNamed=${frames.length === 1 && frame.place.text === named}
        title=${n === frames.length - 1 ? (isLast ? "Your line" : "Raised here") : "Called here"}
      >
        ${
          n === 0 && (one.hidden > 0 || more > 0)
            ? html`<${Link} onClick=${() => setOpen(!isOpen)} aria-expanded=${String(isOpen)}>${foldText(one, more, isOpen)}<//>`
            : null
        }
      <//>`,
  )}
    ${!one.frames.length && html`<div class="s t2">Raised outside the worker's code</div>`}
    ${isOpen && one.folded.map((text, n) => html`<div key=${n} class="s t3">${text}</div>`)}
    ${one.notes.map((note, n) => html`<div key=${n} class="s t2 pre">${note}</div>`)}
    ${one.members.map((member, n) => html`<div key=${n} class="s bad pre">${member}</div>`)}`;
}

function foldText({ hidden }, more, isOpen) {
  if (isOpen) return "Fold";
  const own = more > 0 ? `${plural(more, "more frame")} of yours` : "";
  const theirs =
    hidden > 0 ? `${plural(hidden, "frame")} of ${hidden === 1 ? "a library" : "libraries"}` : "";
  return [own, theirs].filter(Boolean).join(", ");
}

function FrameOf({ frame, title, isNamed, children }) {
  return html`<div class="row s t2 hd">
      <span class="nw">${title}</span>
      ${
        isNamed
          ? html`<${PlaceLink} cls="narrow-only" place=${frame.place} />`
          : html`<${PlaceLink} place=${frame.place} /><span class="el t3">${`in ${frame.function}`}</span>`
      }
      <span class="g"></span>${children}
    </div>
    ${
      frame.lines.length
        ? html`<${Code} lines=${frame.lines} marked=${[frame.line]} label=${`Code at ${frame.place.text}`} />`
        : html`<div class="s t3">Its code cannot be read</div>`
    }
    ${frame.locals.length > 0 && html`<${Locals} values=${frame.locals} line=${frame.lines.find(([n]) => n === frame.line)?.[1]} />`}`;
}

/** The variables that the line names; the others on demand. */
function Locals({ values, line }) {
  const [isOpen, setOpen] = useState(false);
  const words = new Set((line ?? "").match(/[\p{L}_][\p{L}\p{N}_]*/gu) ?? []);
  const named = values.filter(([name]) => words.has(name));
  const shown = isOpen || !named.length ? values : named;
  const more = values.length - named.length;
  return html`<div class="s t2 locals" role="group" aria-label="Locals">
    ${"Locals: "}${shown.map(
      ([name, value]) => html`<span key=${name} class="m"><bdi>${`${name} = ${value}`}</bdi></span>`,
    )}
    ${
      named.length > 0 &&
      more > 0 &&
      html`<${Link} onClick=${() => setOpen(!isOpen)} aria-expanded=${String(isOpen)}
        >${isOpen ? "Fold" : `${more} more`}<//
      >`
    }
  </div>`;
}

function Others({ texts }) {
  return html`<div class="s t2 then">Tasks that it started, and nobody awaited, raised:</div>
    ${texts.map((text, n) => html`<div key=${n} class="s bad pre">${text}</div>`)}`;
}

function Debug({ command }) {
  return html`<div class="row s t2 then">
    <span>Open the frame in a cell:</span><code class="m">${command}</code><${Copy} text=${() => command} label="Copy command" />
  </div>`;
}

/** The payload beside that of the last call of the handler that succeeded. */
function Against({ good, event }) {
  const store = useStore();
  const other = { id: good.event, seq: good.seq };
  const isLater = good.seq > event.seq;
  const isNarrow = store.width.value === "narrow";
  const link = html`<${EventLink} event=${other} />`;
  const caption = isNarrow
    ? html`${`#${event.seq} against `}${link}, which succeeded`
    : html`${`Payload #${event.seq} against ${isLater ? "a later one" : "the last"} that succeeded, `}${link}`;
  return html`<div class="col">
    <div class="row s t2 hd">
      <span>${caption}</span>
    </div>
    ${
      good.changes
        ? html`<${Diff}
            rows=${good.rows}
            load=${() => loadPayload(store, event.id)}
            label=${`Payload #${event.seq} against #${good.seq}: ${good.where}`}
          />`
        : html`<div class="s t2">No difference: the payload is not what made it fail</div>`
    }
  </div>`;
}
