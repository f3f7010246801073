// One run: its head with what can be done, the form it is drawn in, and what the chosen row holds.
import { html, useEffect, useRef, useState } from "../../vendor/vendor.js";
import { ago, clockMillis, count, duration, plural } from "../../base/format.js";
import { useLostFocus } from "../../base/focus.js";
import { useLook, useStore } from "../../base/store.js";
import { Button, Empty, Icon, Menu, Seg } from "../../base/ui.js";
import { DeadOfRun } from "../overview/dead.js";
import { copyAs, editAndFire, fireAgain, moreItems, saveAsTest, whyNoTest } from "./actions.js";
import { Inspector } from "./inspector.js";
import { Lanes } from "./lanes.js";
import { OutcomeMark } from "./list.js";
import { Sequence } from "./sequence.js";
import { runsState } from "./state.js";
import { Minimap, useAxis } from "./timeline.js";
import { above, firstToSee, lengthOf, rowOf } from "./tree.js";
import { Waterfall } from "./waterfall.js";

const FORMS = [
  ["waterfall", "Waterfall"],
  ["lanes", "Lanes"],
  ["sequence", "Sequence"],
];

/** When a run began, by the runtime's clock. */
const clockOf = (run) =>
  run.virtual == null ? clockMillis(run.at) : `${clockMillis(run.virtual)} virtual time`;

/** What became of a run, in words: `took 142 ms, 1 of 8 calls failed, session ops`. */
function outcomeText(run, now) {
  const { row } = run;
  const texts = [];
  if (row.calls || row.outcome === "running")
    texts.push(
      row.duration === null
        ? `running for ${duration(Math.max(0, now - run.at))}`
        : `took ${duration(row.duration)}`,
    );
  if (row.outcome === "none") texts.push(row.why ?? "nobody listens");
  else if (row.failed) texts.push(`${count(row.failed)} of ${plural(row.calls, "call")} failed`);
  else texts.push(plural(row.calls, "call"));
  if (row.dead) texts.push(plural(row.dead, "dead letter"));
  if (row.by) texts.push(`fired by agent ${row.by}`);
  return texts;
}

function FormSwitch({ form, onForm, bare }) {
  const options = FORMS.map(([name, title]) => [
    name,
    bare
      ? html`<${Icon} name=${name} /><span class="offscreen">${title}</span>`
      : html`<${Icon} name=${name} />${title}`,
  ]);
  return html`<${Seg} label="View" options=${options} value=${form} onChange=${onForm} />`;
}

function FireAgain({ run }) {
  const store = useStore();
  return html`<${Button} primary icon="again" why=${store.disabled.value} onClick=${() => fireAgain(store, run)}>Fire again<//>`;
}

function Edit({ run }) {
  const store = useStore();
  return html`<${Button} icon="edit" label="Edit and fire" why=${store.disabled.value} onClick=${() => editAndFire(store, run)} />`;
}

/** The head beside the list; below 1,200 pixels the forms are in it. */
function Head({ run, form, onForm, extra }) {
  const store = useStore();
  const wide = store.width.value === "wide";
  const texts = outcomeText(run, store.now());
  const line = wide
    ? [clockOf(run), ...texts, ...(run.session ? [`session ${run.session}`] : [])]
    : texts.map((text) => text.replace(/^took /, ""));
  const copyCell = () => copyAs(store, run, "fire", "Copied; paste it into a cell");
  return html`<div class="phead">
    <div class="g">
      <div class="row">
        <${OutcomeMark} outcome=${run.row.outcome} /><h2 class="el">${run.kind}</h2><span class="t3">#${run.seq}</span>
      </div>
      <div class="s t2 el about">${line.join(", ")}</div>
    </div>
    ${!wide && html`<${FormSwitch} form=${form} onForm=${onForm} bare />`}
    <${Edit} run=${run} />
    ${wide && html`<${Button} icon="copy" label="Copy as %fire" why=${store.disabled.value} onClick=${copyCell} />`}
    ${wide && html`<${Button} icon="test" label="Save as test" why=${store.disabled.value ?? whyNoTest(run)} onClick=${() => saveAsTest(store, run)} />`}
    <${Menu} items=${moreItems(store, run, wide ? [] : extra)} />
    <${FireAgain} run=${run} />
  </div>`;
}

/** The head in place of the panel's own, where there is room for one thing at a time. */
function NarrowHead({ run, form, onForm, steps, extra }) {
  const store = useStore();
  const root = useRef(null);
  useLostFocus(root);
  const forms = FORMS.filter(([name]) => name !== form).map(([name, label]) => ({
    label,
    icon: name,
    run: () => onForm(name),
  }));
  const texts = [ago(run.at, store.now()), ...outcomeText(run, store.now())];
  return html`<header class="top detail-head" ref=${root}>
      <${Button} icon="left" label="Back to runs" onClick=${steps.back} />
      <span class="g el row"
        ><${OutcomeMark} outcome=${run.row.outcome} /><span class="b el">${run.kind}</span
        ><span class="t3">#${run.seq}</span></span
      >
      <${Button} icon="up" label="Previous run" why=${steps.previous ? null : "this is the newest"} onClick=${steps.previous} />
      <${Button} icon="down" label="Next run" why=${steps.next ? null : "this is the last"} onClick=${steps.next} />
      <${Menu} items=${moreItems(store, run, [...forms, ...extra])} />
    </header>
    <div class="row narrow-about">
      <span class="s t2 g">${texts.join(", ")}</span><${Edit} run=${run} /><${FireAgain} run=${run} />
    </div>`;
}

function Legend() {
  const box = (fill) =>
    html`<svg width="16" height="10" aria-hidden="true"><rect width="16" height="10" rx="2" fill=${fill} /></svg>`;
  return html`<span class="row s t2 legend">
    <span class="row">
      <svg width="16" height="10" aria-hidden="true">
        <rect x=".5" y=".5" width="15" height="9" rx="2" fill="none" stroke="var(--dn-wait)" />
        <path d="M2 9 8 1M7 9l6-8" stroke="var(--dn-wait)" stroke-width="1.5" /></svg
      >Waited
    </span>
    <span class="row">${box("var(--dn-run-fill)")}Ran</span>
    <span class="row">${box("var(--dn-bad-fill)")}Failed</span>
    <span class="row">
      <svg width="10" height="10" aria-hidden="true">
        <rect x="2" y="2" width="6" height="6" transform="rotate(45 5 5)" fill="none" stroke="var(--dn-text-2)" stroke-width="1.4" /></svg
      >Event
    </span>
  </span>`;
}

/** A row by the id of it, or of one of its events, which is then the one that is looked at. */
function namedRow(run, id) {
  const row = rowOf(run.rows, id);
  return row && row.id !== id ? { ...row, event: id } : row;
}

/** The row that is looked at: the one chosen since the link that led here, else what the link names, else where it failed. */
export function chosenRow(run, chosen, route) {
  const here = chosen.root === run.root && chosen.route === route ? namedRow(run, chosen.id) : null;
  const linked = here ?? namedRow(run, route.call);
  if (linked) return linked;
  if (route.event && route.event !== run.root) {
    const failed = run.rows.find((row) => row.event === route.event && row.outcome === "error");
    const named = failed ?? namedRow(run, route.event);
    if (named) return named;
  }
  return firstToSee(run.rows);
}

function Run({ run, steps }) {
  const store = useStore();
  const state = runsState(store);
  if (run.running) store.tick.value; // its bars grow
  const [chosen, setChosen] = useState({ root: null, id: null, route: null });
  const [folds, setFolds] = useState({ root: null, ids: new Set() });
  const folded = folds.root === run.root ? folds.ids : new Set();
  const now = Math.max(0, store.now() - run.at);
  const view = useAxis(run.root, lengthOf(run.rows, run.running ? now : 0));
  const selected = chosenRow(run, chosen, store.route.value);
  const choose = (id) => setChosen({ root: run.root, id, route: store.route.peek() });
  const fold = (id, isFolded) => {
    const ids = new Set(folded);
    if (isFolded) ids.add(id);
    else ids.delete(id);
    setFolds({ root: run.root, ids });
  };
  useEffect(() => {
    const hidden = above(run.rows, selected).filter((id) => folded.has(id));
    if (hidden.length)
      setFolds({ root: run.root, ids: new Set([...folded].filter((id) => !hidden.includes(id))) });
  }, [selected?.id]);
  const form = state.form.value;
  const onForm = (next) => {
    state.form.value = next;
  };
  const width = store.width.value;
  const drawn = { run, view, now, chosen: selected?.id, onChoose: choose };
  const extra = form === "sequence" ? [] : [{ label: "Fit all", icon: "expand", run: view.fit }];
  const head = { run, form, onForm, steps, extra };
  return html`${width === "narrow" ? html`<${NarrowHead} ...${head} />` : html`<${Head} ...${head} />`}
  <${DeadOfRun} run=${run} />
  ${
    width === "wide" &&
    html`<div class="row forms">
      <${FormSwitch} form=${form} onForm=${onForm} /><span class="g"></span><${Legend} />
      ${form !== "sequence" && html`<${Button} icon="expand" label="Fit all" small onClick=${view.fit} />`}
    </div>`
  }
  ${width === "wide" && form !== "sequence" && html`<${Minimap} rows=${run.rows} view=${view} now=${now} />`}
  ${form === "waterfall" && html`<${Waterfall} ...${drawn} mark=${selected?.event ?? selected?.id} folded=${folded} onFold=${fold} />`}
  ${form === "lanes" && html`<${Lanes} ...${drawn} />`}
  ${form === "sequence" && html`<${Sequence} ...${drawn} />`}
  <div class="below"><${Inspector} run=${run} selected=${selected} /></div>`;
}

/** The way back while there is no run. */
function Back({ onClick }) {
  const root = useRef(null);
  useLostFocus(root);
  return html`<header class="top detail-head" ref=${root}>
    <${Button} icon="left" label="Back to runs" onClick=${onClick} />
  </header>`;
}

/** The run that is chosen; until it has come, the one before stays. */
export function RunPane({ event, steps }) {
  const store = useStore();
  const kept = useRef(null);
  const newest = useLook("run", event ? { event } : null);
  if (newest && newest.event === event) kept.current = newest;
  const run = event ? kept.current : null;
  const isNarrow = store.width.value === "narrow";
  const back = isNarrow && html`<${Back} onClick=${steps.back} />`;
  if (!run)
    return html`<section class="pane" aria-label="Run" aria-busy=${String(Boolean(event))}>${back}</section>`;
  if (run.gone)
    return html`<section class="pane" aria-label="Run">
      ${back}<${Empty} title="This event is kept no longer"
        ><p>The runtime keeps the newest events. <code>%replay</code> finds it in the journal.</p><//
      >
    </section>`;
  return html`<section class="pane" aria-label=${`Run #${run.seq}`} aria-busy=${String(run.event !== event)}>
    <${Run} run=${run} steps=${steps} />
  </section>`;
}
