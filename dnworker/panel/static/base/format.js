// Numbers and times for people, as the design words them: `0.31 ms`, `2.1/s`, `9 s ago`. Pure; node tests it.

/** Milliseconds: `0.31 ms`, `12.4 ms`, `480 ms`, `3.20 s`, `4 min 10 s`, `2 h 5 min`, `4 d 6 h`. */
export function duration(ms) {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return "";
  if (ms === 0) return "0 ms";
  if (ms < 9.995) return `${ms.toFixed(ms < 0.9995 ? 2 : 1)} ms`;
  if (ms < 99.95) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 59_995) return `${(ms / 1000).toFixed(ms < 9995 ? 2 : 1)} s`;
  return span(ms);
}

/** A longer time, of its two largest units: `9 s`, `4 min 10 s`, `2 h 5 min`, `4 d 6 h`. */
export function span(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  const two = (n, unit, rest, below) => `${n} ${unit}${rest ? ` ${rest} ${below}` : ""}`;
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return two(Math.floor(seconds / 60), "min", seconds % 60, "s");
  if (seconds < 86_400) return two(Math.floor(seconds / 3600), "h", Math.floor(seconds / 60) % 60, "min");
  return two(Math.floor(seconds / 86_400), "d", Math.floor(seconds / 3600) % 24, "h");
}

/** A time of one unit: `9 s`, `2 min`, `3 h`, `4 d`. */
export function coarse(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** How long ago a moment was: `now`, `9 s ago`. */
export function ago(at, now) {
  return now - at < 1000 ? "now" : `${coarse(now - at)} ago`;
}

/** How far ahead a moment is: `now`, `in 3 min`. */
export function ahead(at, now) {
  return at - now < 500 ? "now" : `in ${coarse(at - now)}`;
}

/** A whole number with its thousands apart: `2,104`. */
export function count(n) {
  return Math.round(n).toLocaleString("en-US");
}

/** A number with its noun: `1 call`, `2,104 calls`. */
export function plural(n, one, many = `${one}s`) {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** Times a second as the unit that reads best: `48/h`, `10/min`, `2.1/s`, `1.2k/s`; nothing for none. */
export function rate(perSecond) {
  if (!perSecond) return "";
  if (perSecond >= 1000) return `${(perSecond / 1000).toFixed(1)}k/s`;
  if (perSecond >= 99.95) return `${Math.round(perSecond)}/s`;
  if (perSecond >= 0.995) return `${perSecond.toFixed(1)}/s`;
  const perMinute = perSecond * 60;
  if (perMinute >= 9.95) return `${Math.round(perMinute)}/min`;
  if (perMinute >= 0.995) return `${perMinute.toFixed(1)}/min`;
  return `${Math.max(1, Math.round(perSecond * 3600))}/h`;
}

/** A share: `0.8 %`, `64 %`. */
export function percent(share) {
  const value = share * 100;
  if (value === 0) return "0 %";
  if (value < 0.1) return "< 0.1 %";
  return `${value >= 9.95 ? Math.round(value) : value.toFixed(1)} %`;
}

const two = (n, digits = 2) => String(n).padStart(digits, "0");

/** The time of the day: `14:27`. */
export function clock(at) {
  const day = new Date(at);
  return `${two(day.getHours())}:${two(day.getMinutes())}`;
}

/** The time of the day with seconds: `14:27:02`. */
export function clockSeconds(at) {
  return `${clock(at)}:${two(new Date(at).getSeconds())}`;
}

/** The time of the day with milliseconds, for logs and runs only: `14:27:02.906`. */
export function clockMillis(at) {
  return `${clockSeconds(at)}.${two(new Date(at).getMilliseconds(), 3)}`;
}

/** Bytes: `512 B`, `1.2 kB`, `3.4 MB`. */
export function bytes(n) {
  if (n < 1000) return `${n} B`;
  if (n < 999_950) return `${(n / 1000).toFixed(1)} kB`;
  return `${(n / 1_000_000).toFixed(1)} MB`;
}

/** The name of a worker in two parts: `["csvdrop", "importer"]`. */
export function nameParts(qualified) {
  const at = qualified.indexOf(":");
  return at < 0 ? ["", qualified] : [qualified.slice(0, at), qualified.slice(at + 1)];
}
