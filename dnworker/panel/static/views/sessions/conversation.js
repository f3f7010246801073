// One session: what it asks, what is under way, and what was said.
import { html, useLayoutEffect, useRef } from "../../vendor/vendor.js";
import { clockSeconds, count, plural } from "../../base/format.js";
import { useLostFocus } from "../../base/focus.js";
import { useLook, useStore } from "../../base/store.js";
import { Button, Empty } from "../../base/ui.js";
import { Phase, PHASES } from "./list.js";
import { Prompt } from "./prompt.js";

const NEAR = 40; // px from the end within which the conversation follows

function Message({ message }) {
  const { role, tool, content, cut, at } = message;
  const who = tool ?? (role === "user" ? "User" : role === "assistant" ? "Assistant" : role);
  const kind = ["user", "assistant"].includes(role) ? role : "tool";
  return html`<li class=${`said ${kind}`}>
    <span class=${`who el s ${tool ? "m" : ""}`} title=${who}>${who}</span>
    <div class="g">
      ${
        kind === "tool"
          ? html`<div class="text m" dir="auto" role="group" aria-label=${who} tabindex="0">${content}</div>`
          : html`<div class="text" dir="auto">${content}</div>`
      }
      ${cut > 0 && html`<div class="s t3">${plural(cut, "more character")}</div>`}
    </div>
    <time class="s t3 nw">${at ? clockSeconds(Date.parse(at)) : ""}</time>
  </li>`;
}

function Turn({ session, turn }) {
  const store = useStore();
  const cancel = () => store.request("Cancel the turn", { type: "cancel", session, turn: turn.id });
  return html`<li class="turn row">
    <${Phase} phase=${turn.active ? "running" : "idle"} />
    <span class="s t2 nw">${turn.active ? "Under way" : "Waits"}</span>
    <span class="g el" dir="auto" title=${turn.message}>${turn.message}</span>
    <${Button}
      small
      why=${store.disabled.value}
      label=${`Cancel the turn ${turn.message.slice(0, 40)}`}
      onClick=${cancel}
      >Cancel<//
    >
  </li>`;
}

function Back({ onClick }) {
  const root = useRef(null);
  useLostFocus(root);
  return html`<span ref=${root}><${Button} icon="left" label="Back to the list" onClick=${onClick} /></span>`;
}

function Head({ detail, back }) {
  const facts = [
    PHASES[detail.phase] ?? detail.phase,
    detail.agent ? `agent ${detail.agent}` : "no agent",
    detail.model,
    plural(detail.turns, "turn"),
    detail.tokens > 0 && `${count(detail.tokens)} tokens`,
    detail.cost > 0 && `$${detail.cost.toFixed(detail.cost < 0.1 ? 4 : 2)}`,
  ];
  return html`<div class="phead">
    ${back && html`<${Back} onClick=${back} />`}
    <${Phase} phase=${detail.phase} />
    <h2 class="el" title=${detail.id}>${detail.title ?? detail.id}</h2>
    <span class="s t3 el g">${facts.filter(Boolean).join(" · ")}</span>
  </div>`;
}

/** Keep the end of the conversation in sight while people are there. */
function useFollow(root, key, length) {
  const isAtEnd = useRef(true);
  useLayoutEffect(() => {
    isAtEnd.current = true;
  }, [key]);
  useLayoutEffect(() => {
    if (isAtEnd.current) root.current.scrollTop = root.current.scrollHeight;
  }, [key, length]);
  return () => {
    const { scrollHeight, scrollTop, clientHeight } = root.current;
    isAtEnd.current = scrollHeight - scrollTop - clientHeight < NEAR;
  };
}

function Shown({ detail, back }) {
  const root = useRef(null);
  const scroller = useRef(null);
  const last = detail.history.at(-1);
  const size = `${detail.earlier} ${detail.history.length} ${last?.content.length}`;
  const scrolled = useFollow(scroller, detail.id, size);
  const answered = () => root.current?.focus(); // the prompt that had the focus is gone
  return html`<section class="conversation" ref=${root} tabindex="-1" aria-label=${detail.title ?? detail.id}>
    <${Head} detail=${detail} back=${back} />
    ${
      detail.openPrompts.length > 0 &&
      html`<div class="asks">
        ${detail.openPrompts.map(
          (prompt, n) =>
            html`<${Prompt} key=${prompt.request_id} session=${detail.id} prompt=${prompt} isFirst=${!n} onDone=${answered} />`,
        )}
      </div>`
    }
    ${
      detail.underWay.length > 0 &&
      html`<ul class="turns" aria-label="Turns">
        ${detail.underWay.map((turn) => html`<${Turn} key=${turn.id} session=${detail.id} turn=${turn} />`)}
      </ul>`
    }
    <div class="talk g" ref=${scroller} onScroll=${scrolled} tabindex="0" role="log" aria-label="Conversation">
      ${detail.earlier > 0 && html`<p class="s t3">${plural(detail.earlier, "earlier message")}, not shown here</p>`}
      <ul>
        ${detail.history.map((message, n) => html`<${Message} key=${detail.earlier + n} message=${message} />`)}
      </ul>
      ${!detail.history.length && html`<p class="t2">Nothing was said yet</p>`}
    </div>
  </section>`;
}

/** The session of an id; `back` leads to the list where that is not beside it. */
export function Conversation({ id, back }) {
  const found = useLook("session", { session: id });
  if (!found || found.id !== id) return html`<section class="conversation" aria-label="Session"></section>`;
  if (!found.detail)
    return html`<${Empty} title="This session was deleted">
      ${back && html`<${Button} onClick=${back}>Back to the list<//>`}
    <//>`;
  return html`<${Shown} detail=${found.detail} back=${back} />`;
}
