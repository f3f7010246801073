// One kind of event: who publishes and hears it, its fields, how they changed, examples, and its schema.
import { html } from "../../vendor/vendor.js";
import { ago, count, plural } from "../../base/format.js";
import { useStore } from "../../base/store.js";
import { Button, Empty, Icon, Link } from "../../base/ui.js";

const SOURCES = {
  runtime: "Declared by the runtime",
  declared: "Declared by handlers",
  inferred: "Inferred from recorded payloads",
  reads: "From what handlers read",
  unknown: "",
};

function Section({ title, about, children }) {
  return html`<section class="sec" aria-label=${title}>
    <div class="hd"><h2>${title}</h2>${about && html`<span class="t3">${about}</span>`}</div>
    ${children}
  </section>`;
}

function Worker({ name }) {
  const store = useStore();
  const isOne = store.workers.value.has(name);
  return isOne ? html`<${Link} onClick=${() => store.go("workers", { worker: name })}>${name}<//>` : name;
}

function Parties({ entry }) {
  const { publishedBy, heardBy, disagreements } = entry;
  return html`<${Section} title="Who">
    <dl class="facts">
      <div>
        <dt class="t3">Published by</dt>
        <dd>
          ${publishedBy.map(
            (one) => html`<div key=${one.name}>
              <${Worker} name=${one.name} />${" "}
              <span class="s t3">${one.lately > 0 ? `${count(one.lately)} in 15 minutes` : one.isWritten ? "by its source" : ""}</span>
            </div>`,
          )}
          ${!publishedBy.length && html`<span class="t3">${entry.isRuntimes ? "The runtime" : "Nobody lately"}</span>`}
        </dd>
      </div>
      <div>
        <dt class="t3">Heard by</dt>
        <dd>
          ${heardBy.map(
            (one) => html`<div key=${`${one.worker} ${one.handler}`}>
              <${Worker} name=${one.worker} />${" "}
              <span class="s t3">
                ${[one.handler, one.type && `takes ${one.type}`, one.refuses && "refuses others"].filter(Boolean).join(", ")}
              </span>
              ${one.note && html`<span class="s warn"> ${one.note}</span>`}
            </div>`,
          )}
          ${!heardBy.length && html`<span class="t3">Nobody</span>`}
        </dd>
      </div>
    </dl>
    ${disagreements.map((text) => html`<p class="bad wrap" key=${text}><${Icon} name="cross" /> ${text}</p>`)}
  <//>`;
}

function Fields({ entry }) {
  const { fields, moreFields, lookedAt } = entry;
  const looked = lookedAt > 0 ? `${plural(lookedAt, "payload")} looked at` : "";
  if (!fields.length)
    return html`<${Section} title="Fields" about=${looked}><p class="t3">No field is known.</p><//>`;
  return html`<${Section} title="Fields" about=${looked}>
    <table class="fields" aria-label="Fields">
      <thead>
        <tr><th scope="col">Field</th><th scope="col">Declared</th><th scope="col">Seen</th></tr>
      </thead>
      <tbody>
        ${fields.map(
          (one) => html`<tr key=${one.path}>
            <td class="m wrap">${one.path}${one.isRequired && html`<span class="s t3"> required</span>`}</td>
            <td class="wrap">${one.declared}${one.about && html`<div class="s t3">${one.about}</div>`}</td>
            <td class="wrap">
              ${one.seen}
              ${one.seen && one.present < lookedAt && html`<span class="s t3"> in ${count(one.present)} of ${count(lookedAt)}</span>`}
            </td>
          </tr>`,
        )}
      </tbody>
    </table>
    ${moreFields > 0 && html`<p class="s t3">and ${plural(moreFields, "more field")}</p>`}
  <//>`;
}

function Drift({ entry }) {
  const store = useStore();
  if (!entry.drift.length) return null;
  return html`<${Section} title="Changes">
    <ul class="plain">
      ${entry.drift.map(
        (one) => html`<li key=${`${one.seq} ${one.text}`}>
          <span class="warn wrap">${one.text}</span>${" "}
          <${Link} onClick=${() => store.go("runs", { event: one.event })}>#${one.seq}<//>
        </li>`,
      )}
    </ul>
  <//>`;
}

function Examples({ entry }) {
  const store = useStore();
  const { examples, kind } = entry;
  if (!examples.length) return null;
  return html`<${Section} title="Examples">
    ${examples.map(
      (one) => html`<div class="example" key=${one.event}>
        <div class="row s t3">
          <${Link} onClick=${() => store.go("runs", { event: one.event })}>#${one.seq}<//>
          <span class="g">${ago(one.at, store.now())}</span>
          <${Button} small ghost why=${store.disabled.value} onClick=${() => store.openFire({ kind, payload: one.text })}>Fire like this<//>
        </div>
        <pre class="code" tabindex="0" aria-label=${`Payload of #${one.seq}`}>${one.text}</pre>
      </div>`,
    )}
  <//>`;
}

function Schema({ entry }) {
  if (!entry.schema) return null;
  return html`<${Section} title="Schema" about=${SOURCES[entry.source]}>
    <details>
      <summary>JSON Schema</summary>
      <pre class="code" tabindex="0" aria-label="JSON Schema">${entry.schema}</pre>
    </details>
  <//>`;
}

function Seen({ entry }) {
  const store = useStore();
  store.tick.value; // it grows older
  const { first, newest, when } = entry;
  const now = store.now();
  if (!newest) return html`<div class="t2 wrap">${when || "None is kept."}</div>`;
  return html`<div class="t2 wrap">
    ${when && html`<div>${when}</div>`} First seen ${ago(first.at, now)}, last ${ago(newest.at, now)}.
  </div>`;
}

export function Kind({ kind, entry, missing, back }) {
  const store = useStore();
  const header = html`<header class="verdict">
    ${back && html`<${Button} icon="left" label="Back to the kinds" onClick=${back} />`}
    <div class="g">
      <h1 class="m wrap">${kind}</h1>
      ${entry && html`<${Seen} entry=${entry} />`}
    </div>
    <${Button} icon="fire" why=${store.disabled.value} onClick=${() => store.openFire({ kind })}>Try it<//>
    <${Button} ghost onClick=${() => store.go("runs", { filter: kind })}>Show runs<//>
  </header>`;
  if (!entry)
    return html`<article class="kind-entry" aria-label=${`Kind ${kind}`} aria-busy=${String(!missing)}>
      ${header}${missing && html`<${Empty} title="No such kind"><p>${missing}</p><//>`}
    </article>`;
  return html`<article class="kind-entry" aria-label=${`Kind ${kind}`} tabindex="-1">
    ${header}
    <${Drift} entry=${entry} />
    <${Parties} entry=${entry} />
    <${Fields} entry=${entry} />
    <${Examples} entry=${entry} />
    <${Schema} entry=${entry} />
    ${entry.notes.map((note) => html`<p class="s warn note" key=${note}>${note}</p>`)}
  </article>`;
}
