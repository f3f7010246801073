// The numbers and sentences of the overview.
import assert from "node:assert/strict";
import test from "node:test";
import * as numbers from "../../dnworker/panel/static/views/overview/numbers.js";
import * as words from "../../dnworker/panel/static/views/overview/words.js";

const END = 1_795_703_520_000;
const NOW = END - 5_000; // the newest bucket has lasted 10 of its 15 s
const LIVE = { state: "live", since: 0 };
const zeros = () => new Array(60).fill(0);
const nulls = () => new Array(60).fill(null);

function series(more = {}) {
  const fields = { calls: zeros(), failed: zeros(), p50: nulls(), p95: nulls(), lag: nulls() };
  return { step: 15_000, end: END, recent: null, ...fields, ...more };
}

test("the bucket under way counts for as long as it has lasted, and a new one with the one before", () => {
  const calls = zeros().with(58, 30).with(59, 20);
  assert.deepEqual(numbers.rates(series({ calls }), NOW).slice(-2), [2, 2]);
  const fresh = numbers.rates(series({ calls: calls.with(59, 2) }), END - 14_000);
  assert.equal(fresh[59], 2);
});

test("few calls are counted, and many are a rate", () => {
  const few = numbers.throughput(series({ calls: zeros().with(3, 2).with(40, 1) }), NOW);
  assert.deepEqual(few.value, ["3", "calls in 15 min"]);
  assert.equal(few.sub, "");
  const many = numbers.throughput(series({ calls: zeros().fill(300).with(59, 200) }), NOW);
  assert.deepEqual(many.value, ["20.0", "calls/s"]);
  assert.equal(many.label, "Throughput, last 15 minutes: 20.0 calls/s, peak 20.0");
  assert.deepEqual(many.ticks[0], [24, "24/s"]);
});

test("the failed part of a bar is its share", () => {
  const { bars } = numbers.throughput(
    series({ calls: zeros().fill(150), failed: zeros().with(10, 15) }),
    NOW,
  );
  assert.deepEqual(bars[10], [9, 1]);
});

test("an error rate has one of four scales, and says what it was before", () => {
  const calls = zeros().fill(100);
  const failed = zeros().fill(1, 40);
  const found = numbers.errorRate(series({ calls, failed }), NOW, numbers.beginOf(series(), 40));
  assert.equal(found.top, 2);
  assert.deepEqual(found.value, ["1.0 %", "of calls"]);
  assert.match(found.sub, /^0\.0 % before \d\d:\d\d$/);
  assert.equal(numbers.errorRate(series({ calls, failed: zeros().fill(64) }), NOW, null).top, 100);
  const few = numbers.errorRate(series({ calls: zeros().with(9, 3), failed: zeros().with(9, 1) }), NOW, null);
  assert.deepEqual(few.value, ["1 of 3", ""]);
});

test("scales have room from 0.01 ms to 3 h", () => {
  for (const ms of [0.01, 0.99, 3, 20.9, 999, 1001, 65_000, 10_800_000]) {
    const { top, ticks } = numbers.durations(series({ p95: nulls().with(59, ms) }));
    assert.ok(top >= ms && top <= ms * 2.1, `${ms}: ${top}`);
    assert.ok(
      ticks.every(([, text]) => text.length <= 9),
      `${ticks}`,
    );
  }
});

test("the lag has room for its limit, and no calls is no duration", () => {
  const found = numbers.loopLag(series({ lag: nulls().with(59, 3.1) }));
  assert.equal(found.top, 30);
  assert.deepEqual(found.ticks, [
    [25, "25 ms"],
    [15, "15"],
  ]);
  assert.equal(found.label, "Loop lag, last 15 minutes: 3.1 ms p99, limit 25 ms");
  assert.equal(numbers.loopLag(series({ lag: nulls().with(59, 40_000) })).top, 50_000);
  assert.deepEqual(numbers.durations(series()).value, ["–", ""]);
  assert.equal(numbers.durations(series()).label, "Duration, last 15 minutes: no calls");
});

test("keys move a brush within the 15 minutes, and resize and clear it", () => {
  assert.deepEqual(numbers.movedBrush(null, "ArrowLeft"), [56, 60]);
  assert.equal(numbers.movedBrush(null, "ArrowRight"), undefined);
  assert.deepEqual(numbers.movedBrush([56, 60], "ArrowRight"), [56, 60]);
  assert.deepEqual(numbers.movedBrush([55, 59], "ArrowRight"), [56, 60]);
  assert.deepEqual(numbers.movedBrush([0, 4], "ArrowLeft"), [0, 4]);
  assert.deepEqual(numbers.movedBrush([3, 4], "ArrowLeft", true), [3, 4]);
  assert.deepEqual(numbers.movedBrush([3, 4], "ArrowRight", true), [3, 5]);
  assert.equal(numbers.movedBrush([3, 4], "Escape"), null);
  assert.equal(numbers.movedBrush(null, "Escape"), undefined);
});

const row = (more = {}) => ({
  id: 1,
  exit: false,
  worker: "csvdrop:importer",
  handler: "on_rows",
  count: 1,
  error: "ValueError: '12,50'",
  failed: 41,
  calls: 52,
  first: NOW - 280_000,
  last: NOW - 9_000,
  since: null,
  ...more,
});

function overview(rows = [], more = {}) {
  const handlers = rows.reduce((all, one) => all + one.count, 0);
  return {
    handlers: 128,
    workers: { running: 46, gated_off: 2 },
    failed: 48,
    failures: { rows, all: rows.length, handlers },
    ...more,
  };
}

const said = (found, options) =>
  words
    .reason(found, LIVE, NOW, options)
    .map((one) => one.error ?? one.generation?.n ?? one)
    .join("");

test("the first line says how many fail of how many", () => {
  assert.equal(words.headline(overview([row()]), LIVE), "1 of 128 handlers is failing");
  assert.equal(words.headline(overview([row(), row({ count: 2 })]), LIVE), "3 of 128 handlers are failing");
  assert.equal(words.headline(overview([row()], { handlers: 1 }), LIVE), "The handler is failing");
  assert.equal(words.headline(overview(), LIVE), "All 128 handlers succeed");
  assert.equal(words.headline(overview([], { handlers: 0 }), LIVE), "48 workers, no handlers yet");
  assert.match(
    words.headline(overview(), { state: "gone", since: NOW }),
    /^128 handlers, as of \d\d:\d\d:\d\d$/,
  );
});

test("the second line names the generation since which most fails, and what fails beside", () => {
  const relay = row({
    id: 3,
    exit: true,
    worker: "gateway:relay",
    handler: "process",
    error: "exited with code 1",
    failed: 1,
  });
  const charge = row({ id: 2, worker: "orders:payment", handler: "charge", failed: 6 });
  const since = { worker: "csvdrop:importer", n: 7, at: NOW - 300_000 };
  const text = said(overview([row({ since }), charge, relay]));
  assert.match(text, /^Most since 7 at \d\d:\d\d\. Also payment\.charge, and relay exited\.$/);
  assert.match(said(overview([row({ since }), charge]), { isShort: true }), /^Most since 7 at \d\d:\d\d\.$/);
});

test("a cause of many handlers is named, and one failure is told by its age", () => {
  const cause = row({ count: 29, error: "ConnectionError: refused", failed: 331 });
  assert.match(
    said(overview([cause])),
    /^One cause for 29 of them: ConnectionError: refused, since \d\d:\d\d:\d\d\.$/,
  );
  const once = overview([row({ failed: 1, calls: 3, handler: "on_sale" })], { workers: { running: 2 } });
  assert.equal(said(once), "2 workers running. on_sale failed once, 9 s ago.");
});

test("where nothing fails, that is said, and what is over is counted", () => {
  assert.equal(said(overview([], { failed: 0 })), "46 running, 2 gated off. Nothing failed in 15 min.");
  assert.equal(said(overview()), "46 running, 2 gated off. 48 calls failed in 15 min, and none fails now.");
});

test("workers are counted by state in one order, loading as starting", () => {
  const found = words.stateCounts({ error: 1, loading: 1, starting: 1, running: 46, gated_off: 2 });
  assert.deepEqual(
    found.map(([n, text]) => `${n} ${text}`),
    ["46 running", "2 starting", "2 gated off", "1 in error"],
  );
});

test("rhythms and changes are worded", () => {
  assert.equal(words.rhythm({ every: 30, cron: null }), "every 30 s");
  assert.equal(words.rhythm({ every: 600, cron: null }), "every 10 min");
  assert.equal(words.rhythm({ every: 0.2, cron: null }), "every 0.2 s");
  assert.equal(words.rhythm({ every: null, cron: "0 * * * *" }), "0 * * * *");
  assert.equal(words.rhythm({ every: null, cron: null }), "after error");
  const change = (state, text, generation = null) => words.changeText({ state, text, generation });
  assert.equal(change("running", "Cell [9] ran again", 7), "Generation 7, cell [9] ran again");
  assert.equal(change("running", "Rolled back to generation 3", 5), "Rolled back to generation 3");
  assert.equal(change("error", "exited with code 1"), "Error, exited with code 1");
  assert.equal(change("gated_off", "Requires flag: mail"), "Gated off, flag mail is off");
  assert.equal(change("running", ""), "Running");
});

test("failures whose events come again are counted", () => {
  assert.equal(words.howOften({ failed: 41, calls: 52, retried: 12 }), "41 of 52, 12 retried");
  assert.equal(words.howOften({ failed: 41, calls: 52, retried: 0 }), "41 of 52");
});

test("a dead letter is one sentence, which says whether its retries are exhausted", () => {
  const row = {
    kind: "order",
    seq: 7,
    worker: "shop:bridge",
    handlers: ["charge", "ship"],
    at: NOW - 60_000,
  };
  const exhausted = words.deadText({ ...row, attempts: 3, why: "exhausted", error: "OSError: no disk" }, NOW);
  assert.match(exhausted, /^order #7 for shop:bridge\.charge, ship, after 3 attempts, .*: OSError: no disk$/);
  const never = words.deadText({ ...row, attempts: 1, why: "not retried", error: "KeyError: 'x'" }, NOW);
  assert.match(never, /, not retried, /);
});
