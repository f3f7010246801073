// The drawer in which an event is written and fired.
import { html, useEffect, useId, useLayoutEffect, useRef, useSignal } from "../../vendor/vendor.js";
import { useLook, useStore } from "../../base/store.js";
import { plural } from "../../base/format.js";
import { pretty } from "../../base/json.js";
import { Button, Kbd } from "../../base/ui.js";
import { Combo } from "./combo.js";
import { EMPTY, problemOfPayload, wantedDraft } from "./draft.js";
import { JsonEditor } from "./editor.js";
import { goTo, useFiring } from "./firing.js";
import { History } from "./history.js";

const JUDGED_AFTER = 300; // milliseconds without a key

/** What can be chosen in the fields: the kinds with who listens, the workers, the sessions. */
function useChoices(store) {
  const fire = useLook("fire", {});
  const sessions = useLook("sessions", {});
  const listens = ({ workers, count }) =>
    count === 0 ? "" : count > workers.length ? plural(count, "worker") : workers.join(", ");
  return {
    history: fire?.history ?? [],
    kinds: (fire?.kinds ?? []).map((one) => ({ value: one.kind, detail: listens(one) })),
    workers: [...store.workers.value.values()].map(({ name, state }) => ({ value: name, detail: state })),
    sessions: (sessions?.newest ?? []).map(({ id, title }) => ({
      value: id,
      detail: title ?? "",
    })),
  };
}

function Field({ label, problem, id, children }) {
  return html`<div class="field">
    <span class="s t2" aria-hidden="true">${label}</span>
    ${children}
    ${problem && html`<p class="s bad" id=${id} role="alert">${problem.text}</p>`}
  </div>`;
}

/** The kind, who gets it, and the payload. */
function Form({ draft, wrong, source, firing, choices, area, kindRef, why }) {
  const id = useId();
  const { kind, worker, session, payload } = draft.value;
  const problemFor = (field) => (wrong.value?.field === field ? wrong.value : null);
  const timer = useRef(null);
  useEffect(() => () => clearTimeout(timer.current), []);
  const judge = (text) => {
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      const problem = problemOfPayload(text);
      if (problem) wrong.value = { field: "payload", ...problem };
    }, JUDGED_AFTER);
  };
  const problem = problemFor("payload");
  const ids = { kind: `${id}-kind`, worker: `${id}-worker`, payload: `${id}-payload` };
  return html`<div class="form">
    <${Field} label="Kind" problem=${problemFor("kind")} id=${ids.kind}>
      <${Combo}
        label="Kind"
        mono
        inputRef=${kindRef}
        placeholder="turn.completed"
        value=${kind}
        options=${choices.kinds}
        problem=${problemFor("kind")}
        describedBy=${problemFor("kind") ? ids.kind : undefined}
        onInput=${(value) => firing.set({ kind: value })}
        onChoose=${() => firing.suggest(false)}
      />
    <//>
    <div class="two">
      <${Field} label="Worker" problem=${problemFor("worker")} id=${ids.worker}>
        <${Combo}
          label="Worker"
          placeholder="All that listen"
          value=${worker}
          options=${choices.workers}
          problem=${problemFor("worker")}
          describedBy=${problemFor("worker") ? ids.worker : undefined}
          onInput=${(value) => firing.set({ worker: value })}
        />
      <//>
      <${Field} label="Session">
        <${Combo}
          label="Session"
          placeholder="None"
          value=${session}
          options=${choices.sessions}
          onInput=${(value) => firing.set({ session: value })}
        />
      <//>
    </div>
    <div class="field payload">
      <div class="row">
        <span class="s t2" aria-hidden="true">Payload</span>
        <span class="s t3 g el">${source.value}</span>
        <${Button} small ghost why=${why} onClick=${() => firing.suggest(true)}>Suggest<//>
        <${Button} small ghost onClick=${() => firing.write(pretty(payload), true)}>Format<//>
      </div>
      <${JsonEditor}
        label="Payload"
        value=${payload}
        areaRef=${area}
        reads=${firing.reads.value}
        problem=${problem?.at === undefined ? null : problem}
        describedBy=${`${ids.payload} ${id}-keys`}
        onInput=${(text) => {
          firing.set({ payload: text, isTyped: true });
          source.value = "";
          judge(text);
        }}
      />
      <p class="s bad" id=${ids.payload} role="status">
        ${
          problem &&
          (problem.at === undefined
            ? problem.text
            : html`<button type="button" class="goto" onClick=${() => goTo(area.current, problem.at)}>Line ${problem.line}, column ${problem.column}: ${problem.text}</button>`)
        }
      </p>
      <span class="offscreen" id=${`${id}-keys`}>Tab indents. Escape and then Tab leaves. Control and Space offers keys. Control and Enter fires.</span>
    </div>
  </div>`;
}

function Drawer({ draft, wrong, source, close, wanted }) {
  const store = useStore();
  const area = useRef(null);
  const kindRef = useRef(null);
  const choices = useChoices(store);
  const firing = useFiring(store, draft, wrong, source, area);
  const why = store.disabled.value;
  const kind = draft.value.kind.trim();
  useLayoutEffect(() => {
    const node = draft.peek().kind ? area.current : kindRef.current;
    node?.focus(); // before the next key
    firing.suggest(false);
  }, [wanted]);
  const key = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) firing.fire();
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const edit = (entry) => {
    const isTyped = true;
    draft.value = {
      kind: entry.kind,
      worker: entry.worker ?? "",
      session: entry.session ?? "",
      payload: draft.peek().payload,
      isTyped,
    };
    wrong.value = null;
    firing.write(pretty(entry.payload), true);
    firing.suggest(false);
  };
  const again = (entry) =>
    firing.send({ ...entry, session: entry.session ?? "", worker: entry.worker ?? "" });
  return html`<aside class="drawer fire" role="complementary" aria-label="Fire event" onKeyDown=${key}>
    <div class="dh row">
      <h2 class="g">Fire event</h2>
      <${Button} icon="cross" label="Close (Esc)" onClick=${close} />
    </div>
    <div class="body">
      <${Form}
        draft=${draft}
        wrong=${wrong}
        source=${source}
        firing=${firing}
        choices=${choices}
        area=${area}
        kindRef=${kindRef}
        why=${why}
      />
      <${History} entries=${choices.history} edit=${edit} fireAgain=${again} why=${why} />
    </div>
    <div class="foot">
      <${Button} icon="copy" why=${why} onClick=${(event) => firing.copyCell(event.currentTarget)}>Copy as %fire<//>
      <span class="g"></span>
      <${Kbd}>Ctrl Enter<//>
      <${Button} primary icon="fire" why=${why} cls="el" onClick=${firing.fire}>Fire ${kind || "event"}<//>
    </div>
  </aside>`;
}

const isTyping = (node) => node?.matches?.("input, textarea, select, [contenteditable], [contenteditable] *");

/** Key F opens the drawer, from wherever nobody types. */
function useKey(root, store) {
  useLayoutEffect(() => {
    const panel = root.current.closest(".dn");
    const key = (event) => {
      const isPlain = event.key === "f" && !event.ctrlKey && !event.metaKey && !event.altKey;
      if (!isPlain || event.defaultPrevented || isTyping(event.composedPath()[0])) return;
      event.preventDefault();
      store.openFire({});
    };
    // Of what is outside of the panel the page alone hears: the panel keeps bare keys from a notebook.
    const beside = (event) => !panel.contains(event.target) && key(event);
    const page = panel.closest(".dnw-page");
    panel.addEventListener("keydown", key);
    page?.ownerDocument.addEventListener("keydown", beside);
    return () => {
      panel.removeEventListener("keydown", key);
      page?.ownerDocument.removeEventListener("keydown", beside);
    };
  }, [store]);
}

export function FireDrawer() {
  const store = useStore();
  const root = useRef(null);
  const opener = useRef(null);
  const draft = useSignal(EMPTY);
  const wrong = useSignal(null);
  const source = useSignal("");
  const taken = useRef(null);
  const wanted = store.fireWanted.value;
  useKey(root, store);
  if (wanted && wanted !== taken.current) {
    taken.current = wanted;
    opener.current ??= root.current?.getRootNode().activeElement;
    take(store, draft, wrong, source, wanted);
  }
  const close = () => {
    store.fireWanted.value = taken.current = null;
    opener.current?.focus?.();
    opener.current = null;
  };
  return html`<div class="fire-root" ref=${root}>
    ${wanted && html`<${Drawer} draft=${draft} wrong=${wrong} source=${source} close=${close} wanted=${wanted} />`}
  </div>`;
}

/** Take what is wanted as the draft; what was typed before can be had back. */
function take(store, draft, wrong, source, wanted) {
  const before = draft.peek();
  const next = wantedDraft(before, wanted);
  if (next.kind === before.kind && next.payload === before.payload && next.worker === before.worker) return;
  draft.value = next;
  if (next.payload !== before.payload) {
    wrong.value = null;
    source.value = "";
  }
  if (before.isTyped && before.payload !== next.payload)
    store.toast("What you had typed was replaced", {
      action: {
        label: "Undo",
        run: () => {
          draft.value = before;
          store.openFire({});
        },
      },
    });
}
