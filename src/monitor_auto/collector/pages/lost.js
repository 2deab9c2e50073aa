// Sessions that vanished: what is known of each.

import { get, refresher } from "./api.js";
import { el, line, put } from "./dom.js";
import { ago, duration, moment } from "./format.js";
import { facts } from "./events.js";
import { nothing, table } from "./parts.js";

/** Fill the page. */
export async function show(space) {
  const result = el("div");
  const load = async () => {
    const { sessions } = await get("/v1/lost", { limit: 500 });
    const focused = document.activeElement?.closest?.("tr")?.dataset.key;
    put(result, sessions.length ? table("Sessions that vanished, the last first", ["Program", "Died of", "Last sign of life", "Lived", "What it did last"], el("tbody", {}, sessions.map(row)), ["Lived"]) : nothing("Nobody is missing", "A process that dies without an end (kill -9, no memory left, a crash of the machine) is found by a later one and listed here."));
    if (focused) result.querySelector(`tr[data-key="${CSS.escape(focused)}"] a`)?.focus();
  };
  await load();
  put(space, el("div", { class: "head" }, el("h1", {}, "Lost sessions")), result);
  return { refresh: refresher(load) };
}

function row(session) {
  const report = facts(session.report?.data);
  const lived = typeof session.started_ms === "number" ? session.last_ms - session.started_ms : null;
  return el(
    "tr",
    { "data-key": session.id },
    el("td", { class: "wide" }, el("a", { href: `#/runs/${encodeURIComponent(session.id)}` }, line(session.program ?? session.app ?? "unknown program", 120)), el("div", { class: "sub" }, line([session.host, session.pid && `pid ${session.pid}`].filter(Boolean).join(" · ")))),
    el("td", {}, cause(session, report)),
    el("td", {}, moment(session.last), el("div", { class: "sub" }, ago(session.last))),
    el("td", { class: "number" }, duration(lived)),
    el("td", { class: "mono" }, line(report.get("last_event") ?? "", 80)),
  );
}

function cause(session, report) {
  if (session.signal) return el("span", { class: "outcome lost" }, line(session.signal, 40));
  if (typeof report.get("exit_code") === "number") return `exit code ${report.get("exit_code")}`;
  if (report.get("rebooted") || report.get("reboot")) return "the machine was started anew";
  return el("span", { class: "none" }, "not known");
}
