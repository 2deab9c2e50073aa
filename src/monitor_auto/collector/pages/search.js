// Search through all events, newest first; the rest is loaded while one scrolls.

import { get, Refused } from "./api.js";
import { el, put } from "./dom.js";
import { count, counted } from "./format.js";
import { eventRow, showEvent } from "./events.js";
import { firstSteps, nothing, picker } from "./parts.js";
import { WindowedList } from "./windowed.js";

const PAGE = 500;
const FIELDS = ["q", "type", "name", "app", "session", "trace", "from", "to"];
const TYPES = [["", "all"], ["event", "event"], ["error", "error"], ["metric", "metric"], ["lifecycle", "lifecycle"]];

/** Fill the page. */
export async function show(space, { query }) {
  const fields = Object.fromEntries(FIELDS.map((name) => [name, query.get(name) ?? ""]));
  const asked = { ...fields, from: moment(fields.from), to: moment(fields.to) };
  let events = [];
  let next = null;
  let isLoading = false;
  const status = el("p", { class: "hint", role: "status" });
  const panel = el("section", { class: "panel", "aria-label": "The event" });
  const fresh = el("button", { type: "button", class: "more", hidden: true });
  const list = new WindowedList({
    label: "Events, the newest first",
    render: (index) => eventRow(events[index], true),
    choose: (index) => showEvent(panel, events[index]),
    onEnd: () => load(),
  });

  const load = async () => {
    if (isLoading || next === null) return;
    isLoading = true;
    try {
      const answer = await get("/v1/events", { ...asked, limit: PAGE, cursor: next });
      events.push(...answer.events);
      next = answer.next_cursor;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      status.textContent = error.message;
      return;
    } finally {
      isLoading = false;
    }
    list.resize(events.length, true);
    say();
  };
  const say = () => {
    status.textContent = next === null ? counted(events.length, "event") : `the last ${count(events.length)} events; scroll for more`;
  };
  const result = el("div", { class: "split" });
  const begin = async () => {
    const answer = await get("/v1/events", { ...asked, limit: PAGE });
    ({ events, next_cursor: next } = answer);
    fresh.hidden = true;
    list.element.scrollTop = 0;
    list.current = -1;
    list.resize(events.length);
    showEvent(panel, null);
    say();
    const isFiltered = FIELDS.some((name) => fields[name]);
    if (events.length) put(result, el("div", { class: "column" }, list.element), panel);
    else put(result, isFiltered ? nothing("Nothing is like that", "Search for less, or leave out a filter. A name may have * for any text: http.*") : firstSteps());
  };
  await begin();
  let arrived = 0;
  fresh.addEventListener("click", async () => {
    arrived = 0;
    await begin();
    list.element.focus();
  });
  put(
    space,
    el("div", { class: "head" }, el("h1", {}, "Search")),
    picker("search", fields, [["q", "Text, anywhere in the event"], ["name", "Name (* for any text)"], ["app", "App"], ["session", "Session"], ["trace", "Trace"], ["from", "From", "datetime-local"], ["to", "To", "datetime-local"]], [["type", "Type", TYPES]], "Search"),
    el("div", { class: "line" }, status, fresh),
    result,
  );
  return {
    refresh: (commit) => {
      arrived += commit?.count ?? 0;
      fresh.textContent = `${arrived ? counted(arrived, "new event") : "New events"}: look again`;
      fresh.hidden = false;
    },
    onShown: () => list.draw(),
  };
}

function moment(text) {
  const at = new Date(text);
  return text && !Number.isNaN(at.getTime()) ? String(at.getTime()) : "";
}
