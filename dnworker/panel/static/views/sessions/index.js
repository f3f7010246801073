// The view "Sessions": the list, and the conversation of one with what it asks on top.
import { html, useEffect, useRef, useState } from "../../vendor/vendor.js";
import { ofAll } from "../../base/acting.js";
import { useLook, useStore } from "../../base/store.js";
import { Empty, Search } from "../../base/ui.js";
import { firstOf } from "./answers.js";
import { Conversation } from "./conversation.js";
import { SessionList } from "./list.js";

const seen = new WeakMap(); // store: how many messages of each session were shown

/** Whether a session says something that was not shown yet; what is shown now counts as seen. */
function useUnread(store, sessions, chosen) {
  if (!seen.has(store)) seen.set(store, new Map());
  const known = seen.get(store);
  for (const { id, messages } of sessions) if (id === chosen || !known.has(id)) known.set(id, messages);
  return ({ id, messages }) => messages > (known.get(id) ?? 0);
}

export function SessionsView() {
  const store = useStore();
  const [text, setText] = useState("");
  const found = useLook("sessions");
  const route = store.route.value;
  const isNarrow = store.width.value === "narrow";
  const all = found?.newest ?? [];
  const folded = text.trim().toLowerCase();
  const shown = all.filter(({ id, title, agent }) =>
    [id, title, agent].some((one) => one?.toLowerCase().includes(folded)),
  );
  const chosen = route.session ?? null;
  const unread = useUnread(store, all, chosen);
  const list = useRef(null);
  const go = (session) => store.go("sessions", session ? { session } : {});
  const back = () => {
    go(null);
    requestAnimationFrame(() => list.current?.focus());
  };
  const leave = (event) => {
    if (event.key !== "Escape" || event.defaultPrevented) return;
    event.preventDefault();
    back();
  };
  useEffect(() => {
    if (!chosen && !isNarrow && all.length) go(firstOf(all));
  }, [chosen, isNarrow, all.length]);
  if (found && !all.length && !chosen)
    return html`<${Empty} title="No sessions yet">
      <p>A handler, or a client, creates them: <span class="m">await client.create_session()</span></p>
    <//>`;
  const conversation =
    chosen && html`<${Conversation} key=${chosen} id=${chosen} back=${isNarrow ? back : null} />`;
  if (isNarrow && conversation)
    return html`<section class="sessions narrow" aria-label="Sessions" onKeyDown=${leave}>${conversation}</section>`;
  return html`<section class="sessions" aria-label="Sessions">
    <div class="side">
      <div class="tbar">
        <${Search} label="Filter sessions" shortcut="/" value=${text} onInput=${setText} data-search />
        <span class="s t3 nw">${found ? ofAll(shown.length, found.all, "session") : ""}</span>
      </div>
      <${SessionList} listRef=${list} sessions=${shown} chosen=${chosen} unread=${unread} choose=${go} open=${go} />
    </div>
    ${!isNarrow && html`<div class="pane">${conversation}</div>`}
  </section>`;
}
