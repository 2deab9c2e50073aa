// Numbers and times as people read them.

import { el, visible } from "./dom.js";

const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });

/** Return a duration in ms with two or three digits that matter. */
export function duration(ms) {
  if (typeof ms !== "number" || !Number.isFinite(ms)) return "";
  if (ms < 1) return ms <= 0 ? "0 ms" : "<1 ms";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 10) return `${minutes} min ${Math.floor((ms % 60_000) / 1000)} s`;
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.floor(minutes / 1440)} d ${Math.floor((minutes % 1440) / 60)} h`;
}

/** Return a moment (Unix ms or ISO text) as an element: the day where it is not today, the whole of it on hover. */
export function moment(value) {
  const at = new Date(value ?? NaN);
  if (Number.isNaN(at.getTime())) return el("span", {}, "unknown");
  return el("time", { datetime: at.toISOString(), title: FULL.format(at) }, momentText(at));
}

const NEAR_MS = 12 * 3600_000; // a minute after midnight nobody takes 23:59 for another day's

/** Return a moment as text. */
export function momentText(at) {
  const isNear = at.toDateString() === new Date().toDateString() || Math.abs(Date.now() - at) < NEAR_MS;
  if (Number.isNaN(at.getTime())) return "unknown";
  return isNear ? TIME.format(at) : `${DAY.format(at)}, ${TIME.format(at)}`;
}

/** Return the time of day with milliseconds. */
export function clock(value) {
  const at = new Date(value ?? NaN);
  return Number.isNaN(at.getTime()) ? "" : `${TIME.format(at)}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

/** Return how long ago a moment was. */
export function ago(value, now = Date.now()) {
  const seconds = Math.round((now - new Date(value).getTime()) / 1000);
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 5) return "now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

/** Return a count. */
export function count(value) {
  return typeof value === "number" ? value.toLocaleString() : "0";
}

/** Return "1 error", "2 errors". */
export function counted(value, one, many = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** Return bytes with a unit. */
export function bytes(value) {
  let left = value;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (Math.abs(left) < 1024 || unit === "GiB") return `${left.toFixed(unit === "B" || left >= 100 ? 0 : 1)} ${unit}`;
    left /= 1024;
  }
  return "";
}

/** Return a measured value with the unit that the name of its field tells. */
export function measured(field, value) {
  if (field.endsWith("_bytes")) return bytes(value);
  if (field.endsWith("_ms")) return duration(value);
  const shown = Math.abs(value) >= 1000 ? Math.round(value).toLocaleString() : String(Number(value.toPrecision(4)));
  return field.endsWith("percent") ? `${Number(value.toFixed(1))} %` : shown;
}

const OUTCOMES = new Map([
  ["ok", ["✓", "ok"]],
  ["failed", ["✗", "failed"]],
  ["lost", ["?", "lost"]],
  ["open", ["●", "running"]],
  ["process", ["·", "not Python"]],
]);

/** Return the mark of an outcome: a sign and a word, so that nobody has to see the colour. */
export function outcome(name, detail = "") {
  const [sign, word] = OUTCOMES.get(name) ?? ["·", visible(name)];
  const text = detail ? `${word} · ${visible(String(detail).slice(0, 40))}` : word; // it is never wrapped
  return el("span", { class: `outcome ${OUTCOMES.has(name) ? name : "open"}` }, el("span", { "aria-hidden": "true" }, sign), text);
}

/** Return how a session or a run ended, in a few words. */
export function ending(facts) {
  if (facts.signal) return facts.signal;
  if (facts.outcome === "failed" && facts.exit_code) return `exit ${facts.exit_code}`;
  return facts.outcome === "failed" && facts.reason ? facts.reason : "";
}
