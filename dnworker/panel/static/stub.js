// What a notebook stores of the panel. The module itself comes from the kernel, once a page.
const PATIENCE = 10_000; // milliseconds

/** Ask the kernel for the module and its style sheet; a busy one answers when it has the time. */
function fetchModule(model, waits) {
  return new Promise((resolve) => {
    const timer = setTimeout(waits, PATIENCE);
    const receive = (message) => {
      if (message.type !== "module") return;
      clearTimeout(timer);
      model.off("msg:custom", receive);
      resolve(message);
    };
    model.on("msg:custom", receive);
    model.send({ type: "module" });
  });
}

/** Fetch the module, and make its style sheet one of the page. */
async function install(model, waits) {
  const { text, style } = await fetchModule(model, waits);
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(style);
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  return await import(url).finally(() => URL.revokeObjectURL(url));
}

/** Load the module of this version, once a page: ten widgets fetch it once. */
async function load(model, waits) {
  globalThis.dnworkerPanel ??= new Map();
  const known = globalThis.dnworkerPanel;
  const version = model.get("version");
  if (!known.has(version)) {
    const loading = install(model, waits);
    known.set(version, loading);
    loading.catch(() => known.delete(version));
  }
  return (await known.get(version)).default;
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
