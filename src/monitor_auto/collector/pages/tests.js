// Test results: what failed, and what takes longest.

import { get, refresher } from "./api.js";
import { block, el, line, put } from "./dom.js";
import { ago, duration, moment, outcome } from "./format.js";
import { facts } from "./events.js";
import { nothing, picker, table } from "./parts.js";

/** Fill the page. */
export async function show(space, { query }) {
  const asked = { q: query.get("q") ?? "" };
  const result = el("div");
  const load = async () => {
    const { failed, slow } = await get("/v1/tests", { ...asked, limit: 100 });
    if (!slow.length) return put(result, asked.q ? nothing("No test is like that", "Search for a part of its name.") : nothing("No tests yet", "Run pytest or unittest in an environment that is monitored; each test appears here, with nothing to configure."));
    const opened = new Set([...result.querySelectorAll("details[open]")].map((one) => one.dataset.key));
    put(result, el("h2", {}, "Failed"), failed.length ? table("Failed tests, the last first", ["Outcome", "Test", "When", "Took"], el("tbody", {}, failed.map(failedRow)), ["Took"]) : el("p", { class: "hint" }, "None of them failed."), el("h2", {}, "Slowest"), slowest(slow));
    for (const one of result.querySelectorAll("details")) one.open = opened.has(one.dataset.key);
    return null;
  };
  await load();
  put(space, el("div", { class: "head" }, el("h1", {}, "Tests"), picker("tests", asked, [["q", "Name of a test"]])), result);
  const reload = refresher(load);
  return { refresh: (commit) => (commit === null || commit.events.some((event) => event.name === "test.result")) && reload() };
}

function nameOf(event) {
  const data = facts(event.data);
  return data.get("nodeid") ?? data.get("test") ?? data.get("name") ?? "unnamed test";
}

function testCell(event, extra) {
  const session = facts(event.session).get("id");
  const name = line(nameOf(event), 200);
  return el("td", { class: "wide mono" }, session ? el("a", { href: `#/runs/${encodeURIComponent(session)}` }, name) : name, again(event), extra);
}

function again(event) {
  const attempt = Number(facts(event.data).get("attempt")) || 1;
  return attempt > 1 && el("span", { class: "sub" }, ` attempt ${attempt}`);
}

function failedRow(event) {
  const data = facts(event.data);
  const error = facts(data.get("error"));
  const message = error.get("message") ?? data.get("message") ?? (typeof data.get("error") === "string" ? data.get("error") : "");
  const stack = error.get("stack") ?? data.get("stack");
  const detail = [
    message && el("div", { class: "says" }, line(message, 300)),
    typeof stack === "string" && stack && el("details", { "data-key": event.seq }, el("summary", {}, "Stack"), block(stack, "stack")),
  ];
  return el("tr", {}, el("td", {}, outcome("failed", data.get("outcome") === "failed" ? "" : String(data.get("outcome")).slice(0, 20))), testCell(event, detail), el("td", {}, moment(event.timestamp), el("div", { class: "sub" }, ago(event.timestamp))), el("td", { class: "number" }, duration(data.get("duration_ms"))));
}

function slowest(events) {
  const most = Math.max(1, ...events.map((event) => Number(facts(event.data).get("duration_ms")) || 0));
  const rows = events.map((event) => {
    const took = Number(facts(event.data).get("duration_ms")) || 0;
    const bar = el("span", { class: "bar", "aria-hidden": "true", style: { width: `${(took / most) * 100}%` } });
    return el("tr", {}, testCell(event), el("td", { class: "number" }, duration(took)), el("td", { class: "barcell" }, bar));
  });
  return table("Slowest tests", ["Test", "Took", "Beside the slowest"], el("tbody", {}, rows), ["Took"]);
}
