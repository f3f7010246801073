// The drawer in which an event is written and fired.
import { useStore } from "../../base/store.js";

export function FireDrawer() {
  const store = useStore();
  if (!store.fireWanted.value) return null;
  return null;
}
