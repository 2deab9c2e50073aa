// The frame: which page is shown, the stream that keeps it current, light and dark, the token.

import { follow, get, onTokenWanted, refresher, Refused } from "./api.js";
import { el, put } from "./dom.js";
import { bytes, count } from "./format.js";
import * as errors from "./errors.js";
import * as lost from "./lost.js";
import * as metrics from "./metrics.js";
import * as run from "./run.js";
import * as runs from "./runs.js";
import * as search from "./search.js";
import * as tests from "./tests.js";

const PAGES = new Map([["runs", runs], ["errors", errors], ["lost", lost], ["tests", tests], ["metrics", metrics], ["search", search]]);
const main = document.getElementById("main");
let shown = null;
let visit = 0;

/** Return what the address asks for: a page, the id of one thing, and parameters. */
function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/");
  let key = rest.join("/");
  try {
    key = decodeURIComponent(key);
  } catch {
    // A damaged address names nothing; the page says so.
  }
  return { name: PAGES.has(name) ? name : "runs", key, query: new URLSearchParams(query) };
}

async function navigate() {
  if (location.hash === "#main") return; // the skip link
  const { name, key, query } = place();
  const page = name === "runs" && key ? run : PAGES.get(name);
  const mine = (visit += 1);
  shown?.close?.();
  shown = null;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const space = el("div", { class: `page ${key ? "one" : ""} page-${name}` });
  main.setAttribute("aria-busy", "true");
  try {
    const made = await page.show(space, { key, query });
    if (mine !== visit) return made?.close?.();
    shown = made;
    put(main, space);
    made.onShown?.();
  } catch (error) {
    if (mine !== visit) return;
    put(main, failure(error));
  }
  main.removeAttribute("aria-busy");
  const title = main.querySelector("h1");
  document.title = `${title?.textContent ?? name} – monitor-auto`;
  if (visit > 1 && title && !main.contains(document.activeElement)) {
    title.tabIndex = -1;
    title.focus();
  }
}

function failure(error) {
  if (!(error instanceof Refused)) console.error(error);
  const texts = new Map([
    [0, ["The collector does not answer", "Is it still running? Start it with `monitor-auto collect`; this page comes back by itself."]],
    [404, ["There is nothing here any more", "It was deleted for its age or to make room, or the address is not complete."]],
    [503, ["No answer in time", error.message]],
  ]);
  const [title, text] = texts.get(error instanceof Refused ? error.status : -1) ?? ["This cannot be shown", error.message];
  const again = el("button", { type: "button", class: "primary", on: { click: navigate } }, "Try again");
  return el("div", { class: "page empty", role: "alert" }, el("h1", {}, title), el("p", {}, text), again);
}

const STATES = new Map([
  ["live", ["live", "New events appear by themselves."]],
  ["away", ["no connection", "The collector does not answer; trying again."]],
  ["still", ["not live", "Too many pages are open; reload to see what is new."]],
]);
let state = "";

function onState(name) {
  const [text, title] = STATES.get(name);
  const element = document.getElementById("state");
  const isBack = state === "away" && name === "live";
  state = name;
  element.className = `state ${name}`;
  element.title = title;
  if (element.textContent !== text) element.textContent = text;
  if (isBack && shown === null) navigate();
}

const showTotals = refresher(async () => {
  const health = await get("/health");
  put(document.getElementById("totals"), `${count(health.total_events)} events · ${bytes(health.storage_bytes)} · monitor-auto ${health.version}`);
});

function onCommit(commit) {
  shown?.refresh?.(commit);
  showTotals();
}

function startTheme() {
  const button = document.getElementById("theme");
  const order = ["system", "light", "dark"];
  const show = () => {
    button.textContent = `Theme: ${document.documentElement.dataset.theme ?? "system"}`;
  };
  button.addEventListener("click", () => {
    const now = document.documentElement.dataset.theme ?? "system";
    const next = order[(order.indexOf(now) + 1) % order.length];
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem("theme", next);
    } catch {
      // Until the page is closed, then.
    }
    show();
  });
  show();
}

onTokenWanted(
  (wasWrong) =>
    new Promise((resolve) => {
      const dialog = document.getElementById("token");
      const input = dialog.querySelector("input");
      if (wasWrong) document.getElementById("token-why").textContent = "That was not it. It is what MONITOR_COLLECT_TOKEN was when the collector was started.";
      input.value = "";
      dialog.addEventListener("cancel", (event) => event.preventDefault());
      dialog.addEventListener("close", () => resolve(input.value.trim()), { once: true });
      dialog.showModal();
    }),
);
startTheme();
window.addEventListener("hashchange", navigate);
navigate();
showTotals();
follow(onCommit, onState);
