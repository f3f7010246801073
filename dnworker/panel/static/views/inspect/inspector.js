// `Inspector`: the lower half of a run: the chosen event or call, with all that it did, a tab for each.
import { html, useEffect, useId, useRef, useState } from "../../vendor/vendor.js";
import { count } from "../../base/format.js";
import { PlaceLink } from "../../base/place.js";
import { useSteadyLook, useStore } from "../../base/store.js";
import { Tabs } from "../../base/ui.js";
import { ErrorTab } from "./error.js";
import { LogTab, OutputTab, PayloadTab, SourceTab, StateTab } from "./tabs.js";

const TABS = {
  error: ["Error", ErrorTab],
  payload: ["Payload", PayloadTab],
  output: ["Output", OutputTab],
  log: ["Log", LogTab],
  source: ["Source", SourceTab],
  state: ["State", StateTab],
};

/** The tabs that an event or a call has, each with its count in words. */
export function tabsOf(part) {
  if (!part?.call) return [["payload", ""]];
  const number = (n) => (n ? count(n) : "");
  return [
    ...(part.error ? [["error", ""]] : []),
    ["payload", ""],
    ["output", number(part.output.count)],
    ["log", number(part.log.count)],
    ["source", ""],
    ["state", part.state.count ? `${count(part.state.count)} changed` : ""],
  ];
}

/**
 * The tab that is shown: Error opens on failure, another one stays while the chosen thing has it. The tab that a link
 * names opens for its event, until somebody chooses another one.
 */
export function tabOf(part, chosen, route = {}) {
  const names = tabsOf(part).map(([name]) => name);
  const isLinked = part?.event?.id === route.event && names.includes(route.tab);
  if (isLinked && chosen?.route !== route) return route.tab;
  if (chosen && chosen.of === keyOf(part) && names.includes(chosen.tab)) return chosen.tab;
  if (part?.error) return "error";
  return chosen && names.includes(chosen.tab) && chosen.tab !== "error" ? chosen.tab : "payload";
}

const keyOf = (part) => (part ? JSON.stringify([part.wanted.event, part.wanted.invocation]) : "");

/**
 * What the chosen row of a run is. `selected` is `{ event, invocation }`: an event, one call of a handler, or with no
 * event a call that nothing caused; null for nothing. `store.go("runs", { event, compare })` compares an event with another,
 * `{ event, tab }` opens a tab.
 */
export function Inspector({ selected }) {
  const store = useStore();
  const wanted = selected && { event: selected.event ?? null, invocation: selected.invocation ?? null };
  const part = useSteadyLook("call", wanted); // the row before stays until this one comes
  const [chosen, setChosen] = useState(null);
  const body = useRef(null);
  const panel = useId();
  const route = store.route.value;
  const tab = tabOf(part, chosen, route);
  const shownKey = keyOf(part);
  useEffect(() => {
    if (body.current) body.current.scrollTop = 0;
  }, [shownKey, tab]);
  if (!selected)
    return html`<section class="inspect" aria-label="Inspector"><p class="t2 pad">Choose a row</p></section>`;
  if (!part) return html`<section class="inspect" aria-label="Inspector" aria-busy="true"></section>`;
  if (part.gone)
    return html`<section class="inspect" aria-label="Inspector">
      <p class="t2 pad">This is not kept any more: newer events took its place</p>
    </section>`;
  const options = tabsOf(part).map(([name, words]) => [
    name,
    html`${TABS[name][0]}${words && html`<span class="t3">${words}</span>`}`,
  ]);
  const { event: routed, compare } = route;
  const View = TABS[tab][1];
  const isOld = keyOf({ wanted }) !== shownKey; // what was chosen before stays until this one comes
  return html`<section class="inspect" aria-label="Inspector" aria-busy=${String(isOld)}>
    <div class="heads">
      <${Tabs}
        options=${options}
        value=${tab}
        onChange=${(name) => setChosen({ of: shownKey, tab: name, route })}
        label="What the call did"
        controls=${panel}
      />
      <${Where} part=${part} />
    </div>
    <div class="body" ref=${body} id=${panel} role="tabpanel" aria-label=${TABS[tab][0]} tabindex="-1">
      <${Said} part=${part} tab=${tab} />
      <${View} part=${part} compareWith=${part.event?.id === routed ? compare : null} />
    </div>
  </section>`;
}

/** Where the code of the call is, which generation ran, and on which node where there are several. */
function Where({ part }) {
  if (!part.call) return null;
  const place = part.error?.place.text.includes(", line") ? part.error.place : part.source?.place;
  return html`<span class="row s t2 where">
    ${place && html`<${PlaceLink} place=${place} />`}<span class="t3 nw">${`generation ${part.call.generation}${part.call.node ? ` on ${part.call.node}` : ""}`}</span>
  </span>`;
}

/** What a turn was asked and has answered, and mistakes that were noticed in the call. */
function Said({ part, tab }) {
  const { call } = part;
  if (!call) return null;
  return html`${call.says && tab !== "log" ? html`<blockquote class="says"><bdi>${call.says}</bdi></blockquote>` : null}
  ${call.warnings.map((text, n) => html`<div key=${n} class="s warn pad1">${text}</div>`)}`;
}
