// What people chose in the view of runs, kept while another view is shown.
import { signal } from "../../vendor/vendor.js";
import { stateOf } from "./tokens.js";

const states = new WeakMap();

/** The state of the view of runs of one store: `filter`, `form` and `paused`, a signal each. */
export function runsState(store) {
  if (!states.has(store))
    states.set(store, {
      filter: signal(stateOf(null, 0)),
      form: signal("waterfall"),
      paused: signal(false),
      linked: null, // the route whose filter was taken last
    });
  return states.get(store);
}

/** Put a filter in place of the one that is there; what is typed and not told yet is dropped. */
export function reset(state, filter) {
  state.filter.value = { ...filter, resets: (state.filter.peek().resets ?? 0) + 1 };
}

/** Take the filter of the route that led here, once. */
export function takeLink(store) {
  const state = runsState(store);
  const route = store.route.value;
  if (route === state.linked) return;
  state.linked = route;
  if (route.filter !== undefined) reset(state, stateOf(route.filter, store.now()));
}
