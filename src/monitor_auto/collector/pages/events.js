// How an event is shown: as a row of a list, and in full.

import { block, clip, el, line, put, said, visible } from "./dom.js";
import { clock, duration, moment, momentText } from "./format.js";

const LONG_TEXTS = ["stack", "native_stack"];
const SIGNS = new Map([["error", "✗"], ["metric", "∿"], ["lifecycle", "○"], ["event", "•"]]);

/** Return the content of an event's row. `withDay` where the list goes over days. */
export function eventRow(event, withDay = false) {
  const type = SIGNS.has(event.type) ? event.type : "event";
  return [
    el("span", { class: "at" }, withDay ? momentText(new Date(event.timestamp)) : clock(event.timestamp)),
    el("span", { class: `sign ${type}`, "aria-label": type, role: "img" }, SIGNS.get(type)),
    el("span", { class: "name" }, line(event.name, 80)),
    el("span", { class: "gist" }, line(gist(event))),
  ];
}

const GISTS = new Map([
  ["session.start", (data) => words(data.get("argv"))],
  ["process.start", (data) => words(data.get("argv"))],
  ["session.end", (data) => [data.get("reason"), data.get("exit_code") ? `exit ${data.get("exit_code")}` : "", `after ${duration(data.get("duration_ms"))}`]],
  ["process.exit", (data) => [data.get("signal") ?? `exit ${data.get("exit_code") ?? "not known"}`, `after ${duration(data.get("duration_ms"))}`]],
  ["test.result", (data) => [data.get("outcome"), data.get("nodeid"), duration(data.get("duration_ms"))]],
]);

function words(argv) {
  return Array.isArray(argv) ? argv.map((word, place) => (place ? word : String(word).split("/").pop())) : [];
}

/** Return what an event says, in one line. */
export function gist(event) {
  const data = facts(event.data);
  const known = GISTS.get(event.name);
  if (known) return known(data).filter(Boolean).map((part) => clip(part, 200)).join(" ");
  if (event.type === "error") return data.get("message") ?? "";
  const parts = [];
  for (const [key, value] of data) {
    if (LONG_TEXTS.includes(key) || value === null) continue;
    parts.push(`${clip(key, 40)}=${typeof value === "string" ? clip(value, 60) : clip(JSON.stringify(value), 60)}`);
    if (parts.length === 5) break;
  }
  return parts.join("  ");
}

/** Return an object of an event as a Map: its keys are anybody's, `__proto__` among them. */
export function facts(value) {
  return new Map(value && typeof value === "object" && !Array.isArray(value) ? Object.entries(value) : []);
}

/** Return the whole of an event. `link` leads to its run; left out where that is open already. */
export function eventDetail(event, { withRun = true } = {}) {
  const data = facts(event.data);
  const session = facts(event.session).get("id");
  const texts = LONG_TEXTS.filter((key) => typeof data.get(key) === "string" && data.get(key));
  const rest = [...data].filter(([key]) => !texts.includes(key) && !(event.type === "error" && key === "message"));
  return el(
    "article",
    { class: "event" },
    el("h2", {}, said(event.name, 200)),
    event.type === "error" && el("p", { class: "message" }, said(data.get("message") ?? "", 2000)),
    el("p", { class: "facts" }, moment(event.timestamp), el("span", {}, line(facts(event.source).get("app") ?? "", 80)), drift(event)),
    withRun && session && el("p", {}, el("a", { href: `#/runs/${encodeURIComponent(session)}` }, "Open its run")),
    texts.map((key) => [el("h3", {}, key === "stack" ? "Stack" : "Native stack"), block(data.get(key), key)]),
    rest.length ? dataTable(rest) : null,
    raw(event),
  );
}

function drift(event) {
  if (typeof event.clock_drift_ms !== "number") return null;
  const way = event.clock_drift_ms > 0 ? "ahead" : "behind";
  return el("span", { class: "warning" }, `the sender's clock is ${duration(Math.abs(event.clock_drift_ms))} ${way}`);
}

function dataTable(pairs) {
  const rows = pairs.slice(0, 200).map(([key, value]) =>
    el("tr", {}, el("th", { scope: "row" }, said(key, 100)), el("td", {}, said(typeof value === "string" ? value : JSON.stringify(value, null, 1), 4000))),
  );
  const caption = el("caption", { class: "unseen" }, "What the event says");
  return el("table", { class: "data" }, caption, el("tbody", {}, rows));
}

function raw(event) {
  const open = el("details", {}, el("summary", {}, "As JSON"));
  open.addEventListener("toggle", () => {
    if (open.open && open.children.length === 1) open.append(block(visible(JSON.stringify(event, null, 2)), "the event as JSON"));
  });
  return open;
}

/** Show an event in a panel. */
export function showEvent(panel, event, options) {
  put(panel, event ? eventDetail(event, options) : el("p", { class: "hint" }, "Choose an event to read all of it."));
}
