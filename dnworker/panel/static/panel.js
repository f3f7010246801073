// The panel in a notebook and on a page: mounts what the model shows into an element, and takes it away.
import { html, render as draw } from "./vendor/vendor.js";
import { Store } from "./base/store.js";
import { App } from "./shell/app.js";
import { mount } from "./views/widgets/mount.js";

function render({ model, el }) {
  if (model.get?.("shows")) return mount({ model, el }); // one widget of a notebook, not the whole panel
  const inNotebook = !el.closest?.(".dnw-page");
  const store = new Store(model, { inNotebook });
  el.dnwPanel = {
    link: store.link,
    showStatus: (text, bad) => text && store.toast(text, { bad }),
    close: () => {
      draw(null, el);
      store.close();
    },
  };
  draw(html`<${App} store=${store} inNotebook=${inNotebook} />`, el);
  store.link.hello();
  return () => el.dnwPanel?.close();
}

export default { render };
