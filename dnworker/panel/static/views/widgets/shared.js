// The one store of all widgets of a page: they share a channel, its messages, and what is looked at.
import { signal } from "../../vendor/vendor.js";
import { Store } from "../../base/store.js";

const ALWAYS = new Set(["runtime", "attention", "clock", "paused", "workers"]); // sent to every view, unasked

const stores = new Map(); // the id of a channel, to a promise of its store and who uses it

/** The model of the channel that a widget shares with others. */
async function feedOf(model) {
  const reference = model.get("feed");
  if (!reference) throw new Error("no page can show this widget live");
  return await model.widget_manager.get_model(String(reference).replace("IPY_MODEL_", ""));
}

/** Use the store that a widget shares with all others of its page; `release` ends that. */
export async function acquire(model) {
  const id = String(model.get("feed"));
  if (!stores.has(id)) stores.set(id, { users: new Set(), opened: open(model) });
  const entry = stores.get(id);
  const user = { visible: true };
  entry.users.add(user);
  let store;
  try {
    store = await entry.opened;
  } catch (problem) {
    stores.delete(id);
    throw problem;
  }
  const look = () => store.setVisible([...entry.users].some((one) => one.visible));
  look();
  return {
    store,
    setVisible(visible) {
      user.visible = visible;
      look();
    },
    release() {
      entry.users.delete(user);
      if (entry.users.size) look();
      else {
        stores.delete(id);
        store.close();
      }
    },
  };
}

async function open(model) {
  const store = new Store(await feedOf(model), { inNotebook: true });
  store.link.hello();
  return store;
}

/**
 * A store for one widget on top of the shared one: it has a width and toasts of its own, and looks at parts under the
 * name of what it wants of them, so that widgets share a part where they want the same of it, and only there.
 */
export function derive(shared, onGo) {
  const own = Object.create(shared);
  const named = (part, key) => (ALWAYS.has(part) ? part : `${part}#${key}`);
  own.look = (part, wanted) => shared.look(named(part, JSON.stringify(wanted)), wanted);
  own.value = (part, key = null) => shared.value(named(part, key));
  own.width = signal("medium");
  own.only = signal(null);
  own.toasted = signal(null);
  own.route = signal({ view: "widget" });
  own.go = onGo;
  return own;
}
