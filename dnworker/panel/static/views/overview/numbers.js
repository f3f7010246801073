/* The numbers of the overview: what its charts draw and say. Pure; node tests it.
 *
 * `series` is as `panel/overview_part.py` sends it: 60 buckets of `step` milliseconds, the newest last, which ends at
 * `end`; `calls` and `failed` are counts, `p50`, `p95` and `lag` milliseconds or null.
 */
import { clock, count, duration, percent, plural, rate } from "../../base/format.js";

export const LAG_LIMIT = 25; // milliseconds
const MINUTE = 5; // buckets of the last minute, with the one under way
const FEW = 5; // calls in it that are too few to tell a rate
const SHORTEST = 3000; // milliseconds of a bucket after which its rate tells anything
const SPAN = 60;

const sum = (values) => values.reduce((all, value) => all + value, 0);

/** When a bucket begins, in milliseconds since 1970; 60 is the end of the newest. */
export function beginOf(series, bucket) {
  return series.end - (SPAN - bucket) * series.step;
}

/** The bucket that a moment is in, from 0 to 59. */
export function bucketAt(series, at) {
  return Math.max(0, Math.min(SPAN - 1, Math.floor((at - beginOf(series, 0)) / series.step)));
}

/** Calls a second by bucket; the one under way counts for as long as it has lasted. */
export function rates(series, now) {
  const { calls, step, end } = series;
  const lasted = Math.min(step, Math.max(0, step - (end - now)));
  return calls.map((n, bucket) => {
    if (bucket < SPAN - 1) return (n * 1000) / step;
    if (lasted >= SHORTEST) return (n * 1000) / lasted;
    return ((n + calls[bucket - 1]) * 1000) / (step + lasted);
  });
}

/** Calls and failed calls from one bucket to another, the latter left out, and milliseconds of both. */
export function between(series, from, until) {
  return { calls: sum(series.calls.slice(from, until)), failed: sum(series.failed.slice(from, until)) };
}

/** The last minute, or all 15 where few calls have ended in that: `few` tells. */
export function lately(series, now) {
  const minute = between(series, SPAN - MINUTE, SPAN);
  if (minute.calls < FEW) return { ...between(series, 0, SPAN), few: true };
  const lasted = Math.min(series.step, Math.max(0, series.step - (series.end - now)));
  return { ...minute, few: false, perSecond: (minute.calls * 1000) / ((MINUTE - 1) * series.step + lasted) };
}

const NICE = [1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10];

/** The end of a scale from 0 that has room for a value. */
export function niceTop(value, least = 0) {
  const wanted = Math.max(value * 1.12, least, 1e-9);
  const power = 10 ** Math.floor(Math.log10(wanted));
  return power * NICE.find((one) => one * power >= wanted * 0.999);
}

const short = (value) => String(Number(value.toPrecision(3)));

/** What a throughput is shown in: times a second, a minute or an hour. */
export function rateUnit(perSecond) {
  if (perSecond >= 0.5) return { factor: 1, unit: "s" };
  return perSecond * 60 >= 0.5 ? { factor: 60, unit: "min" } : { factor: 3600, unit: "h" };
}

/** Throughput: `{ title, value, unit, sub, top, ticks, label }` of its chart, with `bars` of `[ok, failed]`. */
export function throughput(series, now) {
  const all = rates(series, now);
  const recent = lately(series, now);
  const peak = Math.max(...all);
  const { factor, unit } = rateUnit(peak);
  const top = niceTop(peak * factor, 1);
  const bars = all.map((one, n) => {
    const bad = series.calls[n] ? (one * series.failed[n]) / series.calls[n] : 0;
    return [(one - bad) * factor, bad * factor];
  });
  let value;
  if (recent.few) value = [count(recent.calls), recent.calls === 1 ? "call in 15 min" : "calls in 15 min"];
  else {
    const [number, per] = rate(recent.perSecond).split("/");
    value = [number, `calls/${per}`];
  }
  const sub = recent.few ? "" : `peak ${rate(peak).replace("/s", "")}`;
  const label = `Throughput, last 15 minutes: ${value.join(" ")}${sub && `, ${sub}`}`;
  return {
    title: "Throughput",
    value,
    sub,
    top,
    ticks: [
      [top, `${short(top)}/${unit}`],
      [top / 2, short(top / 2)],
    ],
    bars,
    label,
  };
}

/** The share of calls that fail, in percent. `since` is when it began, or null. */
export function errorRate(series, now, since) {
  const recent = lately(series, now);
  const shares = series.calls.map((n, bucket) => (n ? (series.failed[bucket] / n) * 100 : 0));
  const top = [2, 5, 10].find((one) => Math.max(...shares) <= one) ?? 100;
  let value = [percent(recent.calls ? recent.failed / recent.calls : 0), "of calls"];
  if (recent.few && recent.failed) value = [`${count(recent.failed)} of ${count(recent.calls)}`, ""];
  let sub = "";
  if (since) {
    const before = between(series, 0, bucketAt(series, since));
    if (before.calls) sub = `${((before.failed / before.calls) * 100).toFixed(1)} % before ${clock(since)}`;
  }
  const label = `Error rate, last 15 minutes: ${value.join(" ").trim()}${sub && `, ${sub}`}`;
  const ticks = [
    [top, `${top} %`],
    [top / 2, short(top / 2)],
  ];
  return {
    title: "Error rate",
    value,
    bad: recent.failed > 0,
    sub,
    top,
    ticks,
    bars: shares.map((one) => [0, one]),
    label,
  };
}

const last = (values) => values.findLast((value) => value !== null) ?? null;
const most = (values) => Math.max(0, ...values.filter((value) => value !== null));

/** A scale of milliseconds, in seconds or minutes where these read better. */
function timeTicks(top) {
  const [factor, unit] = top >= 60_000 ? [60_000, "min"] : top >= 1000 ? [1000, "s"] : [1, "ms"];
  return [
    [top, `${short(top / factor)} ${unit}`],
    [top / 2, short(top / 2 / factor)],
  ];
}

/** How long calls take. */
export function durations(series) {
  const { p50, p95, recent } = series;
  const top = niceTop(most(p95));
  const shown = recent ?? { p50: last(p50), p95: last(p95) };
  const value = shown.p95 === null ? ["–", ""] : [duration(shown.p95), "p95"];
  const sub = shown.p50 === null ? "" : `p50 ${duration(shown.p50)}`;
  const label = `Duration, last 15 minutes: ${shown.p95 === null ? "no calls" : value.join(" ")}${sub && `, ${sub}`}`;
  return { title: "Duration", value, sub, top, ticks: timeTicks(top), p50, p95, label };
}

/** How late the loop turns. */
export function loopLag(series) {
  const { lag } = series;
  const top = most(lag) <= 30 ? 30 : niceTop(most(lag));
  const now = lag[SPAN - 1] ?? last(lag);
  const value = now === null ? ["–", ""] : [duration(now), "p99"];
  const isApart = LAG_LIMIT / top < 0.35 || top === 30;
  const ticks = [[LAG_LIMIT, `${LAG_LIMIT} ms`]];
  if (isApart) ticks.push([top / 2, timeTicks(top)[1][1]]);
  if (top > 30) ticks.unshift(timeTicks(top)[0]);
  const label = `Loop lag, last 15 minutes: ${now === null ? "not measured" : value.join(" ")}, limit ${LAG_LIMIT} ms`;
  return {
    title: "Loop lag",
    value,
    bad: false,
    sub: `limit ${LAG_LIMIT} ms`,
    top,
    ticks,
    lag,
    limit: LAG_LIMIT,
    label,
  };
}

/** What is in a span of buckets, in words. */
export function spanText({ calls, failed, p95 }) {
  const parts = [plural(calls, "call"), failed ? `${count(failed)} failed` : "none failed"];
  if (p95 !== null && p95 !== undefined) parts.push(`p95 ${duration(p95)}`);
  return parts.join(", ");
}

/** A brush after a key: `[from, until)` in buckets; null clears it, undefined is a key that does nothing. */
export function movedBrush(brush, key, isShift) {
  if (key === "Escape") return brush ? null : undefined;
  const step = { ArrowLeft: -1, ArrowRight: 1 }[key];
  if (!step) return undefined;
  if (!brush) return step < 0 ? [SPAN - 4, SPAN] : undefined;
  const [from, until] = brush;
  if (isShift) return [from, Math.max(from + 1, Math.min(SPAN, until + step))];
  if (from + step < 0 || until + step > SPAN) return brush;
  return [from + step, until + step];
}
