// What can be done with a run: fire it again, edit and fire, copy it as a cell, a test or a diagram.
import { copy as copyText, download } from "../../base/dom.js";
import { duration } from "../../base/format.js";
import { layout, svgText } from "./diagram.js";

/** Put a text into the clipboard, and say that it is there. */
export async function put(store, text, done) {
  if (await copyText(text, document.activeElement ?? document.body)) store.toast(done);
  else store.toast("The browser does not let this page copy", { bad: true });
}

export async function fireAgain(store, run) {
  const answer = await store.request(`Fire #${run.seq} again`, { type: "replay", event: run.root });
  if (!answer) return;
  const show = { label: "Show", run: () => store.go("runs", { event: answer.event }) };
  store.toast(`Fired ${run.kind} #${answer.seq}`, { action: show });
}

export async function editAndFire(store, run) {
  const answer = await store.request(`The payload of #${run.seq}`, { type: "eventpayload", event: run.root });
  if (!answer) return;
  if (answer.cut) {
    store.toast(`The payload of #${run.seq} is too long to edit here; copy it as %fire`, { bad: true });
    return;
  }
  store.openFire({ kind: run.kind, payload: answer.payload, session: run.session });
}

/** Copy a run as a cell: `fire`, `test-cell` or `debug`. */
export async function copyAs(store, run, form, done) {
  const answer = await store.request(`Copy of #${run.seq}`, { type: "copy", event: run.root, form });
  if (answer) await put(store, answer.text, done);
}

export async function saveAsTest(store, run) {
  const answer = await store.request(`Test of #${run.seq}`, { type: "copy", event: run.root, form: "test" });
  if (!answer) return;
  download(answer.text, answer.file);
  store.toast(`Saved as ${answer.file}; it belongs into tests/ of the capability`);
}

export async function copyMermaid(store, run) {
  const answer = await store.request(`Diagram of #${run.seq}`, { type: "diagram", event: run.root });
  if (answer) await put(store, answer.text, "Copied as Mermaid");
}

export async function copySvg(store, run) {
  const drawn = layout(run.rows, run.source, { time: duration });
  await put(store, svgText(drawn, `Sequence of ${run.kind} #${run.seq}`), "Copied as SVG");
}

/** The reason why a run makes no test; null where it does. */
export function whyNoTest(run) {
  return run.rows.some((row) => row.type === "call") ? null : "no handler ran, so there is nothing to test";
}

/** The menu of what is seldom done; `forms` are the other forms, where there is no room for their switch. */
export function moreItems(store, run, forms) {
  const isKernel = run.cells;
  const gone = store.disabled.value; // what is asked of the kernel cannot be had then
  const failed = run.rows.some((row) => row.outcome === "error");
  return [
    ...forms,
    {
      label: "Copy as %fire",
      icon: "copy",
      why: gone,
      run: () => copyAs(store, run, "fire", "Copied; paste it into a cell"),
    },
    isKernel && {
      label: "Copy as test cell",
      icon: "cell",
      why: gone ?? whyNoTest(run),
      run: () => copyAs(store, run, "test-cell", "Copied; paste it into a cell"),
    },
    { label: "Save as test", icon: "test", why: gone ?? whyNoTest(run), run: () => saveAsTest(store, run) },
    isKernel && {
      label: "Copy %debug",
      icon: "bug",
      why: gone ?? (failed ? null : "nothing failed"),
      run: () => copyAs(store, run, "debug", "Copied; paste it into a cell"),
    },
    { label: "Copy as Mermaid", icon: "sequence", why: gone, run: () => copyMermaid(store, run) },
    { label: "Copy as SVG", icon: "sequence", run: () => copySvg(store, run) },
    run.session && {
      label: "Open session",
      icon: "right",
      run: () => store.go("sessions", { session: run.session }),
    },
    {
      label: "Runs of this kind",
      icon: "filter",
      run: () => store.go("runs", { event: run.root, filter: { kind: run.kind } }),
    },
  ].filter(Boolean);
}
