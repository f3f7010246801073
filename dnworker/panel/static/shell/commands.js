// What the palette offers for a query: groups of items, the best first. Pure but for what items run; node tests it.
import { ago, count, plural } from "../base/format.js";
import { effect } from "../base/acting.js";
import { match } from "./fuzzy.js";

const MOST = { Workers: 6, Events: 5, Runs: 4, Sessions: 4, Cells: 3, Commands: 8 };
const MOST_ACTIONS = 4;
const MOST_MEANT = 40; // commands that are listed where only commands are looked for
const DOWN = ["stopped", "error", "gated_off"];
const TOPOLOGIES = { "in-process": "inprocess", python: "python", uv: "package" };
const VIEWS = ["Overview", "Runs", "Workers", "Map", "Events", "Capability", "Sessions"];
const NOTHING = {
  kinds: [],
  fired: [],
  handlers: [],
  failing: [],
  runs: [],
  count: 0,
  sessions: [],
  flags: [],
  checks: [],
  cells: [],
};

/** What other parts of the panel offer for words, in their groups. */
function provided({ provided: find, why }, words) {
  const groups = new Map();
  for (const one of words && find ? find(words) : [])
    groups.set(one.group, [...(groups.get(one.group) ?? []), one]);
  return [...groups].map(([title, all]) => ({
    title,
    items: all.map((one) => ({
      ...one,
      id: `${title} ${one.title}`,
      ranges: [],
      why: one.why ?? why ?? null,
    })),
  }));
}

/**
 * The groups `{ title, items }` for a query. `known` has `workers` (a map), `found` (the part `palette`), `now`, `why` (why
 * no command can be given, or null), `hasNodes` (whether there are other runtimes), and `provided(words)` (what other parts offer); `act` has a function for each thing that items do. An item is
 * `{ id, icon, title, ranges, detail, keys, why, run, background }`.
 */
export function offer(query, known, act) {
  const text = query.trimStart();
  const found = known.found ?? NOTHING;
  if (text.startsWith(">")) {
    const all = best(commands({ ...known, found }, act, true), text.slice(1).trim(), MOST_MEANT);
    return [{ title: "Commands", items: all }].filter(({ items }) => items.length);
  }
  const wanted = text.trim();
  const workers = best(
    [...workerItems(known, act), ...handlerItems(found, act, wanted)],
    wanted,
    MOST.Workers,
  );
  const groups = [
    { title: "Workers", items: wanted ? workers : workers.filter(({ first }) => first) },
    actions(wanted, workers, { ...known, found }, act),
    { title: "Events", items: events(wanted, { ...known, found }, act) },
    { title: "Runs", items: wanted ? best(runItems({ ...known, found }, act), wanted, MOST.Runs) : [] },
    { title: "Sessions", items: best(sessionItems(found, act, wanted), wanted, MOST.Sessions) },
    { title: "Cells", items: wanted ? best(cellItems(found, act), wanted, MOST.Cells) : [] },
    ...provided(known, wanted),
    { title: "Commands", items: best(commands({ ...known, found }, act, false), wanted, MOST.Commands) },
  ];
  return groups.filter((group) => group?.items.length);
}

/** The items that fit, the best first; the texts that were searched are `title` and `also`. */
function best(items, wanted, most) {
  const scored = [];
  for (const item of items) {
    const inTitle = match(wanted, item.title);
    const elsewhere = inTitle || !item.also ? null : match(wanted, item.also);
    if (!inTitle && !elsewhere) continue;
    const score = (inTitle ? inTitle.score : elsewhere.score - 20) + (item.first ?? 0);
    scored.push({ ...item, ranges: inTitle?.ranges ?? [], score });
  }
  return scored.sort((a, b) => b.score - a.score).slice(0, most);
}

function workerItems({ workers }, act) {
  return [...workers.values()].map((worker) => {
    const at = worker.name.indexOf(":");
    const errors = errorsOf(worker);
    const isBad = worker.state === "error" || failingOf(worker);
    const details = [
      worker.name.slice(0, Math.max(0, at)),
      worker.state.replace("_", " "),
      errors && plural(errors, "error"),
    ];
    return {
      id: `worker ${worker.name}`,
      icon: TOPOLOGIES[worker.topology] ?? "program",
      title: worker.name.slice(at + 1),
      also: worker.name,
      detail: details.filter(Boolean).join(", "),
      first: isBad ? 5 : 0,
      worker: worker.name,
      run: () => act.openWorker(worker.name),
    };
  });
}

const errorsOf = (worker) => worker.errors ?? worker.handlers?.reduce((sum, one) => sum + one.errors, 0) ?? 0;
const failingOf = (worker) => worker.failing || worker.handlers?.some((one) => one.failing);

function handlerItems({ handlers }, act, wanted) {
  if (!wanted) return [];
  return handlers.map(([worker, name]) => ({
    id: `handler ${worker} ${name}`,
    icon: "inprocess",
    title: name,
    detail: `${worker} handler`,
    first: -1,
    run: () => act.openWorker(worker, name),
  }));
}

/** What can be done with the worker that was found first. */
function actions(wanted, workers, known, act) {
  const first = wanted ? workers[0]?.worker : null;
  const worker = first ? known.workers.get(first) : null;
  if (!worker) return null;
  const all = controls(worker, known, act).map((one) => ({ ...one, title: one.short, ranges: [] }));
  const lines = known.found.failing
    .filter(([name, , place]) => name === first && place)
    .map(([name, handler, place, event]) => ({
      id: `line ${name} ${handler}`,
      icon: "code",
      title: `Open ${place}`,
      ranges: [],
      detail: "Where it fails",
      run: () => act.openLine(place, event),
    }));
  const items = [...all.slice(0, -1), ...lines.slice(0, 2), all.at(-1)];
  return { title: `Actions on ${first}`, items: items.slice(0, MOST_ACTIONS) };
}

/** The commands of one worker; `short` is their title where the worker is known. */
function controls(worker, { why }, act) {
  const { name, state, disabled = {}, generation } = worker;
  const one = (verb, icon, short, detail = "", more = {}) => ({
    id: `${verb} ${name}`,
    icon,
    short,
    title:
      verb === "rollback"
        ? `Roll back ${name}${more.generation ? ` to generation ${more.generation}` : ""}`
        : `${short} ${name}`,
    detail,
    why: why ?? disabled[verb] ?? null,
    run: () => act.control(name, verb, more),
  });
  const isDown = DOWN.includes(state);
  const previous = worker.previous ?? null;
  const back = previous ? `Roll back to generation ${previous}` : "Roll back to the generation before";
  return [
    !disabled.rollback &&
      generation > 1 &&
      one("rollback", "back", back, "Keeps state", { generation: previous }),
    !isDown && one("restart", "again", "Restart"),
    isDown ? one("start", "play", "Start", disabled.start ?? "") : one("stop", "stop", "Stop"),
    {
      ...one("log", "group", "Show the log of"),
      short: "Show its log",
      why: null,
      run: () => act.openLog(name),
    },
  ].filter(Boolean);
}

function events(wanted, { found, why, now }, act) {
  const fired = new Map(found.fired.map(([kind, at]) => [kind, at]).reverse());
  const kinds = wanted ? found.kinds : [...new Set(found.fired.map(([kind]) => kind))];
  const items = kinds.map((kind) => ({
    id: `fire ${kind}`,
    icon: "fire",
    title: `Fire ${kind}`,
    detail: fired.has(kind) ? `Last fired ${ago(fired.get(kind), now)}` : "",
    first: fired.has(kind) ? 2 : 0,
    why,
    run: () => act.openFire(kind),
    background: () => act.fire(kind),
  }));
  const shown = best(items, wanted, MOST.Events - 1);
  if (wanted && found.count)
    shown.push({
      id: "runs with",
      icon: "search",
      title: `Runs with “${wanted}”`,
      ranges: [],
      detail: `${count(found.count)} in 15 min`,
      run: () => act.openRuns(wanted),
    });
  return shown;
}

function runItems({ found, now }, act) {
  return found.runs.map(([event, seq, kind, at, outcome]) => ({
    id: `run ${event}`,
    icon: outcome === "error" ? "warning" : "waterfall",
    title: `${kind} #${seq}`,
    detail: [outcome === "error" ? "failed" : "", ago(at, now)].filter(Boolean).join(", "),
    run: () => act.openRun(event),
  }));
}

function sessionItems({ sessions }, act, wanted) {
  return sessions
    .filter(([, , prompts]) => wanted || prompts)
    .map(([id, title, prompts]) => ({
      id: `session ${id}`,
      icon: "edit",
      title,
      also: id,
      detail: prompts ? plural(prompts, "question") : "session",
      first: prompts ? 3 : 0,
      run: () => act.openSession(id),
    }));
}

function cellItems({ cells }, act) {
  return cells.map(([number, line]) => ({
    id: `cell ${number}`,
    icon: "cell",
    title: `Cell [${number}]`,
    also: line,
    detail: line,
    run: () => act.openCell(number),
  }));
}

/** What can be done from anywhere; with `all`, what can be done with each worker too. */
function commands(known, act, all) {
  const { found, why } = known;
  const flags = found.flags.map(([capability, flag, value, fixed, starts, stops]) => ({
    id: `flag ${capability} ${flag}`,
    icon: "flag",
    title: `Turn ${value ? "off" : "on"} ${flag}`,
    detail: [capability, effect(starts, stops)].filter(Boolean).join(", "),
    why: why ?? fixed,
    run: () => act.setFlag({ capability, flag, value: !value, starts, stops }),
  }));
  const checks = found.checks.map((name) => ({
    id: `checks ${name}`,
    icon: "test",
    title: `Run the checks of ${name}`,
    why,
    run: () => act.runChecks(name),
  }));
  const own = all ? [...known.workers.values()].flatMap((worker) => controls(worker, known, act)) : [];
  return [
    {
      id: "fire",
      icon: "fire",
      title: "Fire an event",
      keys: "F",
      first: 4,
      why,
      run: () => act.openFire(null),
    },
    ...[...VIEWS, ...(known.hasNodes ? ["Nodes"] : [])].map((name) => ({
      id: `go ${name}`,
      icon: "right",
      title: `Go to ${name}`,
      run: () => act.go(name.toLowerCase()),
    })),
    { id: "failed runs", icon: "filter", title: "Show failed runs", run: () => act.openRuns(null, "failed") },
    { id: "log", icon: "group", title: "Show the log", keys: "Ctrl J", run: () => act.openLog(null) },
    ...flags,
    ...checks,
    { id: "export", icon: "download", title: "Export the capability", run: () => act.go("capability") },
    { id: "keys", icon: "more", title: "Show the keys", keys: "?", run: () => act.showKeys() },
    ...own,
  ];
}
