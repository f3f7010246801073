// What a notebook stores of the panel. The module itself comes from the kernel, once a page.
const PATIENCE = 10_000; // milliseconds
const TURN = 1000; // milliseconds after which another widget asks, too: the one that asked may be dead

/** Ask the kernel for the module and its style sheet; a busy one answers when it has the time. */
function fetchModule(model) {
  return new Promise((resolve) => {
    const receive = (message) => {
      if (message.type !== "module") return;
      model.off("msg:custom", receive);
      resolve(message);
    };
    model.on("msg:custom", receive);
    model.send({ type: "module" });
  });
}

/** Take a module, and make its style sheet one of the page. */
async function install({ text, style }) {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(style);
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  return await import(url).finally(() => URL.revokeObjectURL(url));
}

/** The module of a version, which the first answer to any widget brings. */
function begin() {
  let take;
  const module = new Promise((resolve) => {
    take = resolve;
  }).then(install);
  return Object.assign(module, { take, since: Date.now(), asked: 0 });
}

/** Load the module of this version, once a page: ten widgets fetch it once, and none waits for a dead one. */
async function load(model, waits) {
  globalThis.dnworkerPanel ??= new Map();
  const known = globalThis.dnworkerPanel;
  const version = model.get("version");
  if (!known.get(version)?.take) {
    const loading = begin();
    known.set(version, loading);
    loading.catch(() => known.delete(version));
  }
  const loading = known.get(version);
  const ask = () => fetchModule(model).then(loading.take);
  const turn = loading.asked ? Math.max(0, loading.since + TURN - Date.now()) : 0;
  loading.asked += 1;
  const timers = [setTimeout(waits, PATIENCE)];
  if (turn) timers.push(setTimeout(ask, turn));
  else ask();
  return (await loading.finally(() => timers.forEach(clearTimeout))).default;
}

async function render({ model, el }) {
  const still = document.createElement("pre");
  still.textContent = model.get("still");
  el.append(still);
  let gone = false;
  let close = () => {};
  const waits = () => {
    still.textContent += "\n(not live yet: the kernel is busy, or gone; then run %panel again)";
  };
  load(model, waits).then(
    (panel) => {
      if (gone) return;
      still.remove();
      close = panel.render({ model, el });
    },
    (problem) => {
      still.textContent += `\n(not live: ${problem.message})`;
    },
  );
  return () => {
    gone = true;
    close();
  };
}

export default { render };
