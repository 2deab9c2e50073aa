// Errors: those with the same cause as one line, and one of them with its stack.

import { get, refresher, Refused } from "./api.js";
import { block, el, line, put, said } from "./dom.js";
import { ago, count, counted, moment } from "./format.js";
import { eventDetail, facts } from "./events.js";
import { fact, nothing, picker, table } from "./parts.js";

const MOST = 200;

/** Fill the page: one group where a key is given, else the list. */
export async function show(space, { key, query }) {
  return key ? showOne(space, key) : showAll(space, query);
}

async function showAll(space, query) {
  const asked = { q: query.get("q") ?? "" };
  const result = el("div");
  const load = async () => {
    const { errors } = await get("/v1/errors", { ...asked, limit: MOST });
    if (!errors.length) return put(result, asked.q ? nothing("No error is like that", "Search for less: a class, a word of the message, a file.") : nothing("No errors", "Nothing has failed so far. What no program catches appears here by itself, and what it hands to Monitor.error."));
    const focused = document.activeElement?.closest?.("tr")?.dataset.key;
    put(result, table("Errors, those seen last first", ["Error", "Times", "First seen", "Last seen"], el("tbody", {}, errors.map(row)), ["Times"]), errors.length === MOST && el("p", { class: "hint" }, `Only the last ${MOST} are shown; search for others.`));
    if (focused) result.querySelector(`tr[data-key="${CSS.escape(focused)}"] a`)?.focus();
    return null;
  };
  await load();
  put(space, el("div", { class: "head" }, el("h1", {}, "Errors"), picker("errors", asked, [["q", "Class, message or file"]])), result);
  return { refresh: refresher(load) };
}

function row(error) {
  return el(
    "tr",
    { "data-key": error.fingerprint },
    el("td", { class: "wide" }, el("a", { href: `#/errors/${encodeURIComponent(error.fingerprint)}` }, line(error.name.replace(/^error\./, ""), 100)), error.level === "fatal" && el("span", { class: "tag" }, "fatal"), el("div", { class: "says" }, line(error.message ?? "", 240)), el("div", { class: "sub mono" }, line(error.location ?? "", 160))),
    el("td", { class: "number" }, count(error.count)),
    el("td", {}, moment(error.first_seen), el("div", { class: "sub" }, ago(error.first_seen))),
    el("td", {}, moment(error.last_seen), el("div", { class: "sub" }, ago(error.last_seen))),
  );
}

async function showOne(space, key) {
  const load = async () => {
    const error = await get(`/v1/errors/${encodeURIComponent(key)}`);
    const [last] = error.occurrences;
    const stack = last && facts(last.data).get("stack");
    put(
      space,
      el("p", { class: "back" }, el("a", { href: "#/errors" }, "All errors")),
      el("h1", {}, said(error.name.replace(/^error\./, ""), 200)),
      el("p", { class: "message" }, said(error.message ?? "", 2000)),
      el("dl", { class: "factlist" }, fact("Seen", counted(error.count, "time")), fact("First", moment(error.first_seen)), fact("Last", moment(error.last_seen)), fact("Where", said(error.location ?? "")), fact("Level", said(error.level ?? ""))),
      typeof stack === "string" && stack && [el("h2", {}, "Stack of the last one"), block(stack, "stack")],
      el("h2", {}, error.occurrences.length < error.count ? `The last ${error.occurrences.length}` : "Every time"),
      el("div", { class: "occurrences" }, error.occurrences.map((event) => el("details", {}, el("summary", {}, moment(event.timestamp), " ", line(facts(event.source).get("app") ?? "", 80), " ", line(facts(event.data).get("message") ?? "", 120)), eventDetail(event)))),
    );
  };
  await load();
  // Not redrawn under the reader's eyes: only what was opened would close again.
  const note = el("button", { type: "button", class: "more", hidden: true }, "It was seen again: show");
  note.addEventListener("click", load);
  space.append(note);
  const check = refresher(async () => {
    const before = space.querySelectorAll(".occurrences > details time")[0]?.dateTime;
    try {
      const { occurrences } = await get(`/v1/errors/${encodeURIComponent(key)}`);
      if (occurrences[0] && new Date(occurrences[0].timestamp).toISOString() !== before) {
        space.append(note);
        note.hidden = false;
      }
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
    }
  });
  return { refresh: (commit) => (commit === null || commit.events.some((event) => event.type === "error")) && check() };
}
