// One run: its processes over time, and beside them the events and errors of the one that is chosen.

import { get, refresher } from "./api.js";
import { block, el, line, put, said } from "./dom.js";
import { count, counted, duration, ending, moment, outcome } from "./format.js";
import { eventRow, facts, showEvent } from "./events.js";
import { fact } from "./parts.js";
import { treeOf } from "./tree.js";
import { Waterfall } from "./waterfall.js";
import { WindowedList } from "./windowed.js";

/** Fill the page. */
export async function show(space, { key }) {
  let run = await get(`/v1/runs/${encodeURIComponent(key)}`);
  let chosen = null;
  let events = [];
  let kind = "all";
  const head = el("div", { class: "runhead" });
  const about = el("div", { class: "about" });
  const panel = el("section", { class: "panel", "aria-label": "The event" });
  const list = new WindowedList({
    label: "Events", render: (index) => eventRow(events[index]),
    choose: (index) => showEvent(panel, events[index], { withRun: false }),
  });
  const none = el("p", { class: "hint" });
  const waterfall = new Waterfall((node) => choose(node));
  const kinds = el("div", { class: "kinds", role: "group", "aria-label": "Which events" });

  const choose = (node) => {
    if (chosen?.id !== node?.id) showEvent(panel, null);
    chosen = node;
    drawAbout();
    select(false);
  };
  const select = (isSame) => {
    const session = chosen?.session?.id;
    const own = chosen === null ? run.events : run.events.filter((event) => facts(event.session).get("id") === (session ?? chosen.child.parent) && (session || facts(event.data).get("pid") === chosen.child.pid));
    const errors = own.filter((event) => event.type === "error");
    events = kind === "error" ? errors : own;
    put(kinds, kindButton("all", counted(own.length, "event")), kindButton("error", counted(errors.length, "error")));
    none.textContent = events.length ? "" : kind === "error" ? "No errors here." : "No events here.";
    if (!isSame) {
      list.current = -1;
      list.element.scrollTop = 0;
    }
    list.element.hidden = !events.length;
    list.resize(events.length);
  };
  const kindButton = (name, text) => el("button", { type: "button", "aria-pressed": kind === name ? "true" : "false", on: { click: () => { kind = name; select(false); kinds.querySelector(`[aria-pressed="true"]`)?.focus(); } } }, text);
  const drawAbout = () => put(about, chosen ? aboutNode(chosen, () => choose(null)) : aboutRun(run));
  const draw = () => {
    put(head, headOf(run));
    waterfall.show(treeOf(run));
    if (chosen) chosen = waterfall.rows.find((row) => row.node.id === chosen.id)?.node ?? chosen;
    drawAbout();
    select(true);
  };
  // What is worth reading comes first: the first error, where there is one.
  showEvent(panel, run.events.find((event) => event.type === "error") ?? null, { withRun: false });
  put(
    space,
    el("p", { class: "back" }, el("a", { href: "#/runs" }, "All runs")),
    head,
    el("div", { class: "runsplit" }, waterfall.element, el("section", { class: "beside", "aria-label": "What happened" }, about, kinds, none, list.element)),
    panel,
  );
  draw();
  // A link to one session of the run opens it.
  const wanted = key !== run.root ? waterfall.rows.findIndex((row) => row.node.id === key) : -1;
  const refresh = refresher(async () => {
    run = await get(`/v1/runs/${encodeURIComponent(key)}`);
    draw();
  });
  return {
    refresh: (commit) => (commit === null || commit.roots.includes(run.root) || commit.roots.includes(key)) && refresh(),
    onShown: () => {
      waterfall.list.draw();
      if (wanted >= 0) waterfall.list.go(wanted);
    },
  };
}

function rootOf(run) {
  return run.sessions.find((session) => session.id === run.root) ?? run.sessions[0];
}

function headOf(run) {
  const root = rootOf(run);
  const from = Math.min(...run.sessions.map((session) => session.started_ms ?? session.last_ms));
  const to = Math.max(...run.sessions.map((session) => session.last_ms));
  const lost = run.sessions.filter((session) => session.outcome === "lost").length;
  const errors = run.sessions.reduce((sum, session) => sum + session.errors, 0);
  return [
    el("h1", {}, said(root.program ?? root.app ?? "unknown program", 200)),
    el("p", { class: "facts" }, outcome(root.outcome, ending(root)), moment(from), el("span", {}, duration(to - from)), el("span", {}, counted(run.sessions.length, "process", "processes")), errors > 0 && el("span", { class: "bad" }, counted(errors, "error")), lost > 0 && el("span", { class: "bad" }, `${lost} lost`)),
    !run.is_complete && el("p", { class: "warning" }, `There are more events than the ${count(run.events.length)} here; of errors and processes the first are all there. `, el("a", { href: `#/search?session=${encodeURIComponent(root.id)}` }, "Search through all events of its first process")),
  ];
}

function aboutRun(run) {
  const root = rootOf(run);
  return [el("h2", {}, "The whole run"), el("dl", { class: "factlist" }, fact("App", line(root.app ?? "")), fact("Host", line(root.host ?? "")), fact("pid", root.pid), fact("Trace", root.trace && el("a", { class: "mono", href: `#/search?trace=${encodeURIComponent(root.trace)}` }, line(root.trace, 40))))];
}

function aboutNode(node, close) {
  const { session, child } = node;
  const title = el("div", { class: "line" }, el("h2", {}, line(node.name, 160)), el("button", { type: "button", on: { click: close } }, "Whole run"));
  const words = node.argv ?? child?.argv ?? [];
  const argv = words.length ? block(words.map(String).join(" "), "command line") : null;
  if (!session) return [title, el("dl", { class: "factlist" }, fact("Ended", outcome(node.outcome, child.signal ?? (child.code ? `exit ${child.code}` : ""))), fact("pid", child.pid), fact("Took", duration(node.end - node.start)), fact("Started by", line(child.method ?? ""))), argv];
  return [
    title,
    el("dl", { class: "factlist" }, fact("Ended", outcome(node.outcome, ending(session))), fact("Started", moment(session.started_ms)), fact("Took", duration(node.end - node.start)), fact("pid", session.pid), fact("Host", line(session.host ?? "")), fact("Started by", line(session.start_method ?? "")), fact("Events", el("a", { href: `#/search?session=${encodeURIComponent(session.id)}` }, String(session.events)))),
    argv,
  ];
}
