// One worker in full: what fails, its lifecycle, handlers, generations, state, environment and log.
import { html, useEffect, useRef } from "../../vendor/vendor.js";
import { clockMillis, coarse } from "../../base/format.js";
import { useLook, useStore } from "../../base/store.js";
import { ansi } from "../../base/text.js";
import { Button, Dot, Empty, Link, Menu } from "../../base/ui.js";
import { actionsOf, resume } from "./actions.js";
import { cellsOf, summaryOf } from "./figures.js";
import { Generations } from "./generations.js";
import { Handlers } from "./handlers.js";
import { Lifecycle } from "./lifecycle.js";
import { Place } from "./place.js";
import { State } from "./state.js";

function Buttons({ worker, life, onClose, isPage }) {
  const store = useStore();
  const actions = actionsOf(store, worker, life?.previous);
  const icon = ({ label, ...rest }) =>
    html`<${Button} icon=${rest.icon} label=${label} why=${rest.why} onClick=${rest.run} />`;
  const back = actions.rollback;
  return html`<span class="row w-buttons">
    ${icon(actions.toggle)}${icon(actions.restart)}<${Menu} items=${actions.more} />
    ${back && html`<${Button} primary icon="back" why=${back.why} title=${back.why ?? back.hint} onClick=${back.run}>${back.label}<//>`}
    ${!isPage && html`<${Button} icon="cross" label="Close" onClick=${onClose} />`}
  </span>`;
}

function Head({ worker, isKnown, life, onClose, isPage, isNarrow }) {
  const store = useStore();
  store.tick.value; // its age grows
  const cells = cellsOf(worker);
  const parts = isKnown ? summaryOf(worker, store.now(), coarse) : ["\u00a0"];
  return html`<div class="dh">
    <div class="row">
      <${Dot} state=${worker.state} label=${worker.state.replace("_", " ")} />
      <h2 class="w-title el" title=${worker.name}><bdi>${worker.name}</bdi></h2>
      <span class="g"></span>
      <${Buttons} worker=${worker} life=${life} onClose=${onClose} isPage=${isPage || isNarrow} />
    </div>
    <div class="s t2 w-about">
      ${parts.join(", ")}${
        cells.length > 0 &&
        html`, from ${cells
          .slice(0, 3)
          .map((cell, n) => html`${n ? ", " : ""}<${Place} text=${`cell [${cell}]`} />`)}`
      }
    </div>
  </div>`;
}

function Banner({ children, tone = "bad", action }) {
  return html`<div class=${`w-banner ${tone}`}>
    ${tone === "bad" && html`<${Dot} state="error" />`}<span class="g w-said">${children}</span>${action}
  </div>`;
}

/** What is wrong, in a sentence, and the way to it. */
function Troubles({ worker }) {
  const store = useStore();
  const { failure, storm } = worker;
  const [first, ...output] = (worker.error ?? "").split("\n");
  const since = failure?.generation ? `since generation ${failure.generation}` : "since it started";
  const show =
    failure?.event &&
    html`<${Link} cls="nw" onClick=${() => store.go("runs", { event: failure.event })}>Show run #${failure.seq}<//>`;
  return html`
    ${
      worker.error &&
      html`<${Banner}><bdi class="b">${first[0]?.toUpperCase() + first.slice(1)}</bdi>${
        output.length > 0 &&
        html`<pre class="m w-output" tabindex="0" aria-label="Output">${output.join("\n").trim()}</pre>`
      }<//>`
    }
    ${
      failure &&
      html`<${Banner} action=${show}>
        <span title=${failure.text}
          ><span class="b">${failure.failed} of ${failure.calls} calls</span> of <bdi>${failure.handler}</bdi> failed ${since}</span
        >
      <//>`
    }
    ${
      storm &&
      html`<${Banner}
        tone="warn"
        action=${html`<${Button} small why=${store.disabled.value} onClick=${() => resume(store, worker.name)}
          >Deliver ${storm.held}<//
        >`}
        ><bdi>${storm.text}</bdi><//
      >`
    }
  `;
}

const SOURCES = { declared: "capability.yaml", flag: "flag", runtime: "set by the runtime" };

function Environment({ env, process }) {
  if (!env.length) return null;
  return html`<section class="ds" aria-label="Environment">
    <h3>Environment</h3>
    ${process?.command && html`<div class="m t2 el w-command" title=${process.command}><bdi>${process.command}</bdi></div>`}
    <dl class="w-env">
      ${env.map(
        ([name, value, source]) => html`<div key=${name} class="m">
          <dt class="el" title=${name}>${name}</dt>
          <dd class="el">${value === "***" ? html`<span class="t3" title="hidden">•••</span>` : value}</dd>
          <dd class="t3 s">${SOURCES[source] ?? source}</dd>
        </div>`,
      )}
    </dl>
  </section>`;
}

function LogTail({ worker }) {
  const store = useStore();
  return html`<section class="ds" aria-label="Newest lines">
    <h3>
      Log<span class="g"></span>
      <${Link} cls="s n" onClick=${() => store.openLog({ worker: worker.name })}>Open in log<//>
    </h3>
    ${!worker.log.length && html`<p class="t3 s">It has printed nothing of late.</p>`}
    <div class="m t2 w-log">
      ${worker.log.map(
        (
          line,
        ) => html`<div class=${`el ${{ error: "bad", warning: "warn" }[line.level] ?? ""}`} key=${line.number}>
          <span class="t3">${clockMillis(line.at)}</span>${"  "}<bdi>${ansi(line.text).map((one) => one.text)}</bdi>
        </div>`,
      )}
    </div>
  </section>`;
}

function Gone({ name, onClose }) {
  return html`<${Empty} title="This worker is gone">
    <p><bdi>${name}</bdi> was removed, or its capability was unloaded.</p>
    ${onClose && html`<${Button} onClick=${onClose}>Close<//>`}
  <//>`;
}

function Sections({ worker, life }) {
  const { name } = worker;
  return html`<${Troubles} worker=${worker} />
    <${Lifecycle} key=${`life ${name}`} life=${life} state=${worker.state} />
    <${Handlers} key=${`handlers ${name}`} worker=${worker} />
    ${life && html`<${Generations} key=${name} worker=${worker} life=${life} />`}
    <${State} key=${`state ${name}`} name=${name} />
    <${LogTail} worker=${worker} />
    ${life && html`<${Environment} env=${life.env} process=${worker.process} />`}`;
}

/** The drawer, or, with `isPage`, the same as a page. `onClose` closes it. */
export function Drawer({ name, onClose, isPage = false, isNarrow = false, before = null }) {
  const store = useStore();
  const root = useRef(null);
  const found = useLook("worker", { worker: name });
  const lived = useLook("life", { worker: name });
  const worker = found?.name === name ? found : null;
  const life = lived?.worker === name && !lived.gone ? lived : null;
  useEffect(() => {
    if (root.current) {
      const scroll = root.current.querySelector(".w-scroll");
      if (scroll) scroll.scrollTop = 0;
    }
  }, [name]);
  const key = (event) => {
    if (event.key !== "Escape" || isPage || event.defaultPrevented) return;
    event.preventDefault();
    event.stopPropagation();
    onClose();
  };
  const row = store.workers.value.get(name);
  const body = () => {
    if (worker?.gone) return html`<${Gone} name=${name} onClose=${isPage ? null : onClose} />`;
    if (!worker && !row) return null;
    // Until it is here, the head shows what the list knows.
    return html`<${Head}
        worker=${worker ?? { ...row, handlers: [], process: null }}
        isKnown=${Boolean(worker)}
        life=${life}
        onClose=${onClose}
        isPage=${isPage}
        isNarrow=${isNarrow}
      />
      <div class="w-scroll" tabindex="-1">
        ${worker && html`<${Sections} worker=${worker} life=${life} />`}
      </div>`;
  };
  const cls = ["drawer w-drawer", isPage || isNarrow ? "w-page" : ""].join(" ");
  return html`<aside class=${cls} ref=${root} aria-label=${name} onKeyDown=${key}>
    ${before}${body() ?? html`<div class="w-scroll"></div>`}
  </aside>`;
}
