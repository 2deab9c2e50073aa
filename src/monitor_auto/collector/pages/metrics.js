// Metrics of sessions that live long: those that have any, and the plots of the one that is chosen.

import { get, refresher } from "./api.js";
import { el, line, put, said, visible } from "./dom.js";
import { ago } from "./format.js";
import { nothing } from "./parts.js";
import { plot } from "./plot.js";

const MAX_PLOTS = 40;

/** Fill the page. */
export async function show(space, { query }) {
  const list = el("ul", { class: "sessions" });
  const plots = el("div", { class: "plots" });
  const title = el("div");
  let chosen = query.get("session");
  const load = async () => {
    const groups = bySession((await get("/v1/metrics", { limit: 1000 })).metrics);
    if (!groups.size) {
      put(space, el("h1", {}, "Metrics"), nothing("No metrics yet", "A program that runs for more than half a minute tells what it uses (process.resources); others appear when a program calls Monitor.metric."));
      return;
    }
    if (chosen === null || !groups.has(chosen)) [chosen] = [...groups.keys()];
    if (plots.parentNode === null || !space.contains(plots)) put(space, el("div", { class: "head" }, el("h1", {}, "Metrics")), el("div", { class: "metricsplit" }, el("nav", { "aria-label": "Sessions with metrics" }, list), el("div", {}, title, plots)));
    const hadFocus = document.activeElement?.closest?.(".sessions a")?.hash;
    put(list, [...groups].map(([session, names]) => el("li", {}, link(session, names[0], session === chosen))));
    if (hadFocus) [...list.querySelectorAll("a")].find((one) => one.hash === hadFocus)?.focus();
    await draw(groups.get(chosen));
  };
  const draw = async (names) => {
    put(title, el("div", { class: "line" }, el("h2", {}, label(names[0])), names[0].session && el("a", { href: `#/runs/${encodeURIComponent(names[0].session)}` }, "Open its run")));
    const answers = await Promise.all(sorted(names).map((metric) => get(`/v1/metrics/${encodeURIComponent(metric.name)}`, { session: metric.session ?? "" })));
    const opened = new Set([...plots.querySelectorAll("details[open]")].map((one) => one.closest("figure").dataset.key));
    const figures = answers.flatMap(({ name, series }) =>
      seriesOf(name, series).map(([field, points]) => {
        const figure = plot(field === "value" ? name : `${name}  ${field}`, field === "value" ? name : field, points);
        figure.dataset.key = visible(`${name}/${field}`);
        return figure;
      }),
    );
    put(plots, figures.slice(0, MAX_PLOTS), figures.length > MAX_PLOTS && el("p", { class: "hint" }, `Only ${MAX_PLOTS} of ${figures.length} are drawn.`));
    for (const figure of plots.children) if (opened.has(figure.dataset.key)) figure.querySelector("details").open = true;
  };
  await load();
  const reload = refresher(load);
  return { refresh: (commit) => (commit === null || commit.events.some((event) => event.type === "metric")) && reload() };
}

/** Return the series that are worth a plot. Processor time only grows: how fast it does is what one wants to see. */
function seriesOf(name, series) {
  const all = Object.entries(series).filter(([, points]) => points.length);
  if (name !== "process.resources") return all;
  const cpu = all.filter(([field]) => field === "cpu_user_ms" || field === "cpu_system_ms").map(([, points]) => points);
  const rest = all.filter(([field]) => !["uptime_ms", "cpu_user_ms", "cpu_system_ms"].includes(field));
  return cpu.length && cpu[0].length > 1 ? [["cpu_percent", percents(cpu)], ...rest] : rest;
}

function percents(cpu) {
  const used = (place) => cpu.reduce((sum, points) => sum + (points[place]?.[1] ?? 0), 0);
  const made = [];
  for (let place = 1; place < cpu[0].length; place += 1) {
    const passed = cpu[0][place][0] - cpu[0][place - 1][0];
    if (passed > 0) made.push([cpu[0][place][0], Math.max(0, ((used(place) - used(place - 1)) / passed) * 100)]);
  }
  return made.length ? made : [[cpu[0][0][0], 0]];
}

function bySession(metrics) {
  const groups = new Map();
  for (const metric of metrics) {
    const key = metric.session ?? "";
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(metric);
  }
  return groups;
}

/** The machine first, then the program's own, then what the monitor says of itself. */
function sorted(metrics) {
  const rank = (name) => (name === "process.resources" ? 0 : name.startsWith("sdk.") ? 2 : 1);
  return [...metrics].sort((a, b) => rank(a.name) - rank(b.name) || (a.name < b.name ? -1 : 1)).slice(0, MAX_PLOTS);
}

function label(metric) {
  return metric.session ? said(metric.program ?? metric.app ?? metric.session, 120) : "Without a session";
}

function link(session, metric, isCurrent) {
  return el("a", { href: `#/metrics?session=${encodeURIComponent(session)}`, "aria-current": isCurrent ? "true" : null }, label(metric), el("span", { class: "sub" }, line([metric.host, metric.pid && `pid ${metric.pid}`, ago(metric.last)].filter(Boolean).join(" · "))));
}
