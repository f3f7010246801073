// The traits of a widget, as components read and set them.
import { useEffect, useState } from "../../vendor/vendor.js";

/** The values of traits by name, as they are now. */
export function useTraits(model, names) {
  const read = () => Object.fromEntries(names.map((name) => [name, model.get(name)]));
  const [values, setValues] = useState(read);
  useEffect(() => {
    const change = () => setValues(read());
    for (const name of names) model.on(`change:${name}`, change);
    change(); // what changed before this
    return () => {
      for (const name of names) model.off(`change:${name}`, change);
    };
  }, [model, ...names]);
  return values;
}

/** Set traits, for Python and for whatever is linked to them. */
export function setTraits(model, values) {
  for (const [name, value] of Object.entries(values)) model.set(name, value);
  model.save_changes();
}
