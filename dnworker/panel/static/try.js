// The page on which each operation of the API can be tried, beside the panel: it reads /openapi.json, and sends what is
// filled in to the runtime that serves it. The token is in one field of this page and nowhere else.

const LONGEST_ANSWER = 200_000;
const token = document.getElementById("token");
const find = document.getElementById("find");
const problem = document.getElementById("problem");
const list = document.getElementById("operations");

/** Make an element with attributes and children; text is text. */
function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/** What a reference leads to; any other schema itself. */
function resolve(schema, api) {
  const name = schema?.$ref?.split("/").at(-1);
  return name ? api.components.schemas[name] : (schema ?? {});
}

/** A value to begin with: the fields that must be there, with their defaults or something of their type. */
function sample(given, api) {
  const schema = resolve(given, api);
  if (schema.default !== undefined) return schema.default;
  if (schema.enum) return schema.enum[0];
  if (schema.anyOf) return sample(schema.anyOf[0], api);
  if (schema.type === "object") {
    const names = schema.required ?? Object.keys(schema.properties ?? {}).slice(0, 1);
    return Object.fromEntries(names.map((name) => [name, sample(schema.properties?.[name], api)]));
  }
  return { array: [], integer: 0, number: 0, boolean: false, null: null }[schema.type] ?? "";
}

/** The field of one parameter. */
function parameterField(one) {
  const label = one.required ? `${one.name} *` : one.name;
  const input = make("input", { name: one.name, required: one.required, autocomplete: "off" });
  input.dataset.place = one.in;
  return make("label", {}, label, input);
}

/** The field of a body: text where it is JSON, otherwise a file. */
function bodyField(media, schema, api) {
  const field =
    media === "application/json"
      ? make("textarea", { rows: "6", spellcheck: "false" }, JSON.stringify(sample(schema, api), null, 2))
      : make("input", { type: "file", required: true });
  field.dataset.media = media;
  return make("label", {}, "Body", field);
}

/** The first value of a path that browsers take for a step to another operation, escaped or not; null for none. */
function stepOf(form) {
  const inputs = [...form.querySelectorAll('input[data-place="path"]')];
  return inputs.find((input) => input.value === "." || input.value === "..") ?? null;
}

/** What a proxy has put before the runtime's own paths, such as /dnworker. */
const base = new URL("..", location.href).pathname.slice(0, -1);

/** The address that the fields of a form say. */
function addressOf(path, form) {
  let address = base + path;
  const query = new URLSearchParams();
  for (const input of form.querySelectorAll("input[data-place]")) {
    if (input.dataset.place === "path") {
      address = address.replace(`{${input.name}}`, () => encodeURIComponent(input.value));
    } else if (input.value !== "") query.append(input.name, input.value);
  }
  return query.size ? `${address}?${query}` : address;
}

/** Text as JSON that is easy to read, where it is JSON. */
function readable(text) {
  const cut = text.length > LONGEST_ANSWER;
  if (cut) return `${text.slice(0, LONGEST_ANSWER)}\n... ${text.length - LONGEST_ANSWER} more characters`;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** Send what a form says, and show what comes back. */
async function send(method, path, form, shown) {
  const step = stepOf(form);
  if (step) {
    const why = "A browser takes it for a step in the address, and would call another operation.";
    show(shown, false, `${step.name} cannot be ${step.value} on this page`, why);
    return;
  }
  const field = form.querySelector("[data-media]");
  const body = field?.files ? field.files[0] : field?.value.trim();
  const headers = token.value ? { Authorization: `Bearer ${token.value.trim()}` } : {};
  if (body) headers["Content-Type"] = field.dataset.media;
  const button = form.querySelector("button");
  button.disabled = true;
  const began = performance.now();
  try {
    const answer = await fetch(addressOf(path, form), {
      method,
      headers,
      body: body || undefined,
      credentials: "omit",
      cache: "no-store",
      redirect: "error",
    });
    const text = readable(await answer.text());
    const took = `${Math.round(performance.now() - began)} ms`;
    const hint = answer.status === 401 ? "; give the token above" : "";
    show(shown, answer.ok, `${answer.status} ${answer.statusText} in ${took}${hint}`, text);
  } catch (error) {
    show(shown, false, "the request did not come through", String(error));
  } finally {
    button.disabled = false;
  }
}

function show(shown, isOk, status, text) {
  shown.replaceChildren(
    make("p", { class: `status ${isOk ? "ok" : "bad"}`, role: "status" }, status),
    make("pre", { tabindex: "0" }, text),
  );
}

/** One operation with its form. */
function operationOf(method, path, operation, api) {
  const form = make("form", {}, ...operation.parameters.map(parameterField));
  const [body] = Object.entries(operation.requestBody?.content ?? {});
  if (body) form.append(bodyField(body[0], body[1].schema, api));
  const shown = make("div");
  form.append(make("button", { type: "submit" }, "Send"), shown);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(method, path, form, shown);
  });
  const name = `${method} ${path}`;
  const summary = make("summary", {}, make("code", {}, name), " ", make("span", {}, operation.summary));
  const made = make("details", {}, summary, form);
  made.dataset.text = `${name} ${operation.summary}`.toLowerCase();
  return made;
}

function narrow() {
  const wanted = find.value.trim().toLowerCase();
  for (const one of list.children) one.hidden = !one.dataset.text.includes(wanted);
}

/** The description of the API; null, and a text on the page, where the runtime does not give it. */
async function described() {
  try {
    const answer = await fetch(`${base}/openapi.json`, { credentials: "omit" });
    if (answer.ok) return await answer.json();
    problem.textContent = `the runtime does not describe its API: ${answer.status} ${answer.statusText}`;
  } catch (error) {
    problem.textContent = `the runtime does not answer: ${error}`;
  }
  return null;
}

async function main() {
  const api = await described();
  if (!api) return;
  try {
    for (const [path, operations] of Object.entries(api.paths)) {
      for (const [method, operation] of Object.entries(operations)) {
        list.append(operationOf(method.toUpperCase(), path, operation, api));
      }
    }
    narrow();
  } catch (error) {
    problem.textContent = `this page cannot show the whole API, which is a defect of it: ${error}`;
    throw error;
  }
}

find.addEventListener("input", narrow);
main();
