// The list of runs: one line for each tree of processes, the newest first.

import { get, refresher } from "./api.js";
import { el, line, put } from "./dom.js";
import { ago, count, counted, duration, ending, moment, outcome } from "./format.js";
import { firstSteps, more, nothing, picker, table } from "./parts.js";

const PAGE = 50;

/** Fill the page. */
export async function show(space, { query }) {
  const asked = { q: query.get("q") ?? "", outcome: query.get("outcome") ?? "" };
  let runs = [];
  let next = null;
  const body = el("tbody");
  const rows = new Map();
  const result = el("div");
  const button = more("Show older runs", async () => {
    const answer = await get("/v1/runs", { ...asked, limit: PAGE, cursor: next });
    runs = [...runs, ...answer.runs];
    next = answer.next_cursor;
    draw();
  });
  const list = table("Runs, the newest first", ["Outcome", "Program", "Started", "Took", "Processes", "Errors", "Tests"], body, ["Took", "Processes", "Errors", "Tests"]);

  const load = async () => {
    // As many as are shown, so that nothing jumps; what was open may have ended.
    const answer = await get("/v1/runs", { ...asked, limit: Math.min(1000, Math.max(PAGE, runs.length)) });
    const older = runs.slice(answer.runs.length).filter((run) => !answer.runs.some((one) => one.root === run.root));
    if (!older.length) next = answer.next_cursor;
    runs = [...answer.runs, ...older];
    draw();
  };
  const draw = () => {
    button.hidden = next === null;
    if (!runs.length) return put(result, asked.q || asked.outcome ? nothing("No run is like that", "Choose another outcome, or search for something shorter.") : firstSteps());
    if (list.parentNode !== result) put(result, list);
    const wanted = runs.map((run) => rowOf(run, rows));
    // Rows that stay are not touched: whoever is on one with the keyboard remains there.
    wanted.forEach((row, place) => {
      if (body.children[place] !== row) body.insertBefore(row, body.children[place] ?? null);
    });
    while (body.children.length > wanted.length) body.lastChild.remove();
    return null;
  };
  await load();
  const reload = refresher(load);
  put(
    space,
    el("div", { class: "head" }, el("h1", {}, "Runs"), picker("runs", asked, [["q", "Program, app or host"]], [["outcome", "Outcome", [["", "all"], ["failed", "failed"], ["lost", "lost"], ["open", "running"], ["ok", "ok"]]]])),
    result,
    button,
  );
  const timer = setInterval(() => runs.length && reload(), 30_000); // "2 min ago" grows old
  return { refresh: reload, close: () => clearInterval(timer) };
}

function rowOf(run, rows) {
  const state = JSON.stringify(run) + ago(run.started);
  let known = rows.get(run.root);
  if (!known) rows.set(run.root, (known = { row: el("tr"), state: "" }));
  if (known.state !== state) {
    known.state = state;
    const link = known.row.querySelector("a") ?? el("a", { href: `#/runs/${encodeURIComponent(run.root)}` });
    const hadFocus = link === document.activeElement;
    put(link, line(run.program ?? run.app ?? "unknown program", 120));
    put(known.row, ...cells(run, link));
    if (hadFocus) link.focus(); // it was out of the document for a moment
  }
  return known.row;
}

function cells(run, link) {
  const bad = run.failed - (run.outcome === "failed" || run.outcome === "lost" ? 1 : 0);
  return [
    el("td", {}, outcome(run.outcome, ending(run))),
    el("td", { class: "wide" }, link, el("div", { class: "sub" }, line([run.host, run.app !== run.program && run.app].filter(Boolean).join(" · "), 120), bad > 0 && el("span", { class: "bad" }, `${counted(bad, "child", "children")} failed`))),
    el("td", {}, moment(run.started), el("div", { class: "sub" }, ago(run.started))),
    el("td", { class: "number" }, duration(run.duration_ms)),
    el("td", { class: "number" }, count(run.sessions)),
    el("td", { class: `number ${run.errors ? "bad" : "none"}` }, count(run.errors)),
    el("td", { class: `number ${run.failed_tests ? "bad" : run.tests ? "" : "none"}` }, run.tests ? (run.failed_tests ? `${count(run.failed_tests)} of ${count(run.tests)} failed` : count(run.tests)) : "–"),
  ];
}
