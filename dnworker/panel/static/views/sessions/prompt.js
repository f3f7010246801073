// A prompt that a turn puts to a person: leave to call a tool, or questions.
import { html, useId, useState } from "../../vendor/vendor.js";
import { plural } from "../../base/format.js";
import { useStore } from "../../base/store.js";
import { Button, Icon } from "../../base/ui.js";
import { answersOf, pick } from "./answers.js";

/** Leave to call a tool. */
function Approval({ prompt, respond, isFirst, why }) {
  const { tool_name: tool, text, cut, reason } = prompt.tool_approval;
  const say = (decision) => () => respond({ decision }, `Answer about ${tool}`);
  return html`<section class="ask" aria-label=${`Leave to call ${tool}`}>
    <h3><${Icon} name="warning" />May it call <span class="m">${tool}</span>?</h3>
    ${reason && html`<p class="t2">${reason}</p>`}
    <pre class="code" tabindex="0" aria-label="Arguments">${text}</pre>
    ${cut > 0 && html`<p class="s t3">${plural(cut, "more character")}</p>`}
    <div class="row">
      <${Button} primary=${isFirst} why=${why} onClick=${say("allow")}>Allow<//>
      <${Button} why=${why} onClick=${say("allow_session")}>Allow in this session<//>
      <${Button} why=${why} onClick=${say("deny")}>Deny<//>
    </div>
  </section>`;
}

function Question({ question, name, given, set, send }) {
  const hasText = question.kind === "input" || question.custom;
  const legend = [question.header, question.prompt].filter(Boolean).join(": ");
  return html`<fieldset>
    <legend>${legend}</legend>
    ${question.options.map(
      ({ label, description }) => html`<label class="option" key=${label}>
        <input
          type=${question.multiple ? "checkbox" : "radio"}
          name=${name}
          checked=${given.picked.includes(label)}
          onChange=${() => set({ picked: pick(question, given.picked, label) })}
        />
        <span>${label}</span>${description && html`<span class="t2">${description}</span>`}
      </label>`,
    )}
    ${
      hasText &&
      html`<span class="inp">
        <input
          type="text"
          aria-label=${question.prompt}
          placeholder=${question.kind === "input" ? "Your answer" : "Or something else"}
          value=${given.text}
          onInput=${(event) => set({ text: event.currentTarget.value })}
          onKeyDown=${(event) => event.key === "Enter" && !event.isComposing && send()}
        />
      </span>`
    }
  </fieldset>`;
}

/** Questions; what was given stays while the prompt is open, however often the session is sent. */
function Questions({ prompt, respond, isFirst, why }) {
  const asked = prompt.questions;
  const name = useId();
  const [form, setForm] = useState(() => asked.map(() => ({ picked: [], text: "" })));
  const [problem, setProblem] = useState("");
  const set = (n) => (change) => {
    setProblem("");
    setForm((before) => before.map((one, at) => (at === n ? { ...one, ...change } : one)));
  };
  const send = () => {
    const answers = answersOf(asked, form);
    if (!answers) setProblem("Each question wants an answer");
    else if (!why) respond({ answers }, "Answer");
  };
  return html`<section class="ask" aria-label="Question">
    ${asked.map(
      (question, n) =>
        html`<${Question} key=${n} question=${question} name=${`${name}-${n}`} given=${form[n]} set=${set(n)} send=${send} />`,
    )}
    <p class="bad s" role="alert">${problem}</p>
    <div class="row">
      <${Button} primary=${isFirst} why=${why} onClick=${send}>Answer<//>
      <${Button} why=${why} onClick=${() => respond({}, "Close the question")}>Close without an answer<//>
    </div>
  </section>`;
}

export function Prompt({ session, prompt, isFirst, onDone }) {
  const store = useStore();
  const [isSent, setSent] = useState(false);
  const respond = async (fields, title) => {
    setSent(true);
    const done = await store.request(title, {
      type: "respond",
      session,
      request: prompt.request_id,
      ...fields,
    });
    setSent(false);
    if (done) onDone();
  };
  const Shown = prompt.tool_approval ? Approval : Questions;
  const why = store.disabled.value ?? (isSent ? "It is being answered" : null);
  return html`<${Shown} prompt=${prompt} respond=${respond} isFirst=${isFirst} why=${why} />`;
}
