// One series of numbers over time as an SVG, with the numbers as a table for those who cannot see it.

import { el, put, said, svg } from "./dom.js";
import { clock, measured, momentText } from "./format.js";

const [WIDTH, HEIGHT] = [560, 150];
const [LEFT, RIGHT, TOP, BOTTOM] = [70, 8, 10, 22];
const TABLE_ROWS = 200;

/** Return a figure of points ([ms, value], in their order). */
export function plot(title, field, points) {
  const values = points.map((point) => point[1]);
  const [least, most] = [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
  const scale = scaleOf(points, least, most);
  const last = points.at(-1);
  const says = `${title}: ${points.length} values, least ${measured(field, least)}, most ${measured(field, most)}, last ${measured(field, last[1])}`;
  const cursor = svg("g", { class: "cursor", visibility: "hidden" }, svg("line", { y1: TOP, y2: HEIGHT - BOTTOM }), svg("circle", { r: 3.5 }));
  const readout = el("span", { class: "readout" }, measured(field, last[1]));
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": says.slice(0, 300) }, grid(scale, field), line(points, scale), cursor);
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const at = scale.from + (((event.clientX - box.left) / box.width) * WIDTH - LEFT) / scale.perMs;
    const point = nearest(points, at);
    const [x, y] = [scale.x(point[0]), scale.y(point[1])];
    cursor.setAttribute("visibility", "visible");
    for (const name of ["x1", "x2"]) cursor.firstChild.setAttribute(name, x);
    cursor.lastChild.setAttribute("cx", x);
    cursor.lastChild.setAttribute("cy", y);
    readout.textContent = `${measured(field, point[1])} at ${clock(point[0]).slice(0, 8)}`;
  });
  drawing.addEventListener("pointerleave", () => {
    cursor.setAttribute("visibility", "hidden");
    readout.textContent = measured(field, last[1]);
  });
  return el("figure", { class: "plot" }, el("figcaption", {}, said(title, 120), readout), drawing, numbers(title, field, points));
}

function scaleOf(points, least, most) {
  const [from, to] = [points[0][0], Math.max(points.at(-1)[0], points[0][0] + 1)];
  const low = least >= 0 && least < most * 0.6 ? 0 : least;
  const room = most - low || Math.abs(most) || 1;
  const isCount = most - low < 20 && points.every((point) => Number.isInteger(point[1]));
  const [bottom, top] = isCount ? wholeBounds(low, most) : [low === 0 ? 0 : low - room * 0.1, most + room * 0.1];
  const perMs = (WIDTH - LEFT - RIGHT) / (to - from);
  return {
    from, to, bottom, top, perMs,
    x: (at) => Math.round((LEFT + (at - from) * perMs) * 10) / 10,
    y: (value) => Math.round((HEIGHT - BOTTOM - ((value - bottom) / (top - bottom)) * (HEIGHT - TOP - BOTTOM)) * 10) / 10,
  };
}

// Threads are counted: the line in the middle has to be a whole number, too.
function wholeBounds(low, most) {
  const bottom = low === 0 ? 0 : low - 1;
  return [bottom, Math.max(most, bottom + 1) + ((Math.max(most, bottom + 1) - bottom) % 2)];
}

function grid(scale, field) {
  const levels = [0, 0.5, 1].map((part) => scale.bottom + (scale.top - scale.bottom) * part);
  const times = [scale.from, (scale.from + scale.to) / 2, scale.to];
  const anchors = ["start", "middle", "end"];
  return svg(
    "g",
    { class: "grid" },
    levels.map((level) => [svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: scale.y(level), y2: scale.y(level) }), svg("text", { x: LEFT - 6, y: scale.y(level) + 3.5, "text-anchor": "end" }, measured(field, level))]),
    times.map((at, place) => svg("text", { x: scale.x(at), y: HEIGHT - 6, "text-anchor": anchors[place] }, clock(at).slice(0, 8))),
  );
}

function line(points, scale) {
  const path = points.map(([at, value], place) => `${place ? "L" : "M"}${scale.x(at)} ${scale.y(value)}`).join("");
  if (points.length === 1) return svg("circle", { class: "series", cx: scale.x(points[0][0]), cy: scale.y(points[0][1]), r: 3 });
  return [svg("path", { class: "area", d: `${path}L${scale.x(scale.to)} ${HEIGHT - BOTTOM}L${LEFT} ${HEIGHT - BOTTOM}Z` }), svg("path", { class: "series", d: path })];
}

function nearest(points, at) {
  let [low, high] = [0, points.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < at) low = middle;
    else high = middle;
  }
  return Math.abs(points[low][0] - at) < Math.abs(points[high][0] - at) ? points[low] : points[high];
}

function numbers(title, field, points) {
  const details = el("details", {}, el("summary", {}, "Numbers"));
  details.addEventListener("toggle", () => {
    if (!details.open || details.children.length > 1) return;
    const step = Math.ceil(points.length / TABLE_ROWS);
    const shown = points.filter((_, place) => (points.length - 1 - place) % step === 0).reverse();
    const rows = shown.map(([at, value]) => el("tr", {}, el("td", {}, momentText(new Date(at))), el("td", { class: "number" }, measured(field, value))));
    const table = el("table", { class: "list" }, el("caption", { class: "unseen" }, said(title, 120)), el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "When"), el("th", { scope: "col", class: "number" }, "Value"))), el("tbody", {}, rows));
    details.append(put(el("div", { class: "scroll short", tabindex: "0", role: "region", "aria-label": "numbers" }), table));
  });
  return details;
}
