// What can be done with a worker: as icons in its drawer, in its menu, and from the palette.

const short = (name) => name.slice(name.indexOf(":") + 1);

async function control(store, worker, verb, title, fields = {}) {
  return await store.request(`${title} ${short(worker)}`, { type: "control", verb, worker, ...fields });
}

/** Start a worker; the toast can stop it again. */
export async function start(store, worker) {
  const done = await control(store, worker, "start", "Start");
  if (done) tell(store, `${short(worker)} is ${done.state}`, done, () => stop(store, worker));
}

/** Stop a worker; the toast can start it again. */
export async function stop(store, worker) {
  const done = await control(store, worker, "stop", "Stop");
  if (done) tell(store, `${short(worker)} is ${done.state}`, done, () => start(store, worker));
}

/** Start a worker anew. */
export async function restart(store, worker) {
  const done = await control(store, worker, "restart", "Restart");
  if (done) tell(store, `${short(worker)} is ${done.state} again`, done);
}

/** Go back to a generation; the toast can take that back. */
export async function rollBack(store, worker, generation) {
  const done = await control(store, worker, "rollback", "Roll back", { generation });
  if (!done) return;
  const back = () => rollBack(store, worker, done.before);
  tell(store, `${short(worker)} has the handlers of generation ${generation} again`, done, back);
}

/** Undo what a coding agent has changed. */
export async function undoChange(store, worker, { by, change }) {
  const done = await control(store, worker, "undo", "Undo the agent's change of", { change });
  if (done) tell(store, `The change of agent ${by} is undone: ${short(worker)} is ${done.state}`, done);
}

function tell(store, text, done, undo) {
  const failed = done.state === "error";
  const why = failed && done.error ? `: ${done.error.split("\n")[0]}` : "";
  store.toast(`${text}${why}`, { bad: failed, action: undo ? { label: "Undo", run: undo } : null });
}

/** Deliver what is held of an event storm. */
export async function resume(store, worker) {
  await control(store, worker, "resume", "Deliver what is held for");
}

/** Run a schedule now. */
export async function runNow(store, worker, key) {
  if (await store.request(`Run ${key[2]}`, { type: "run", worker, key })) store.toast(`${key[2]} runs now`);
}

/** Take a handler out, until its cell runs again. */
export async function remove(store, worker, key) {
  if (await store.request(`Remove ${key[2]}`, { type: "remove", worker, key }))
    store.toast(`${key[2]} is removed until its cell runs again`);
}

const KEPT = "Its state, gate and sessions stay; startup handlers run only where they differ.";

/** The buttons of a worker, each with the reason why it cannot be pressed: the icons, the menu, the main one. */
export function actionsOf(store, worker, previous) {
  const gone = store.disabled.value;
  const why = (verb) => gone ?? worker.disabled[verb];
  const { name } = worker;
  const isDown = ["stopped", "error", "gated_off"].includes(worker.state);
  return {
    toggle: isDown
      ? { icon: "play", label: "Start", why: why("start"), run: () => start(store, name) }
      : { icon: "stop", label: "Stop", why: why("stop"), run: () => stop(store, name) },
    restart: { icon: "again", label: "Restart", why: why("restart"), run: () => restart(store, name) },
    rollback: previous && {
      label: `Roll back to ${previous}`,
      hint: `The handlers of generation ${previous} again. ${KEPT}`,
      why: why("rollback"),
      run: () => rollBack(store, name, previous),
    },
    more: [
      { label: "Fire an event to it", icon: "fire", why: gone, run: () => store.openFire({ worker: name }) },
      { label: "Show its log", icon: "right", run: () => store.openLog({ worker: name }) },
      { label: "Show on the map", icon: "sequence", run: () => store.go("map", { node: `worker/${name}` }) },
      worker.agent?.change && {
        label: `Undo the change of agent ${worker.agent.by}`,
        icon: "again",
        why: gone,
        run: () => undoChange(store, name, worker.agent),
      },
      worker.state === "error" && {
        label: "Stop",
        icon: "stop",
        why: why("stop"),
        run: () => stop(store, name),
      },
    ],
  };
}
