// A run over time: a row for each process, its bar where it lived. Zoom by buttons, + and -, or Ctrl and the wheel.

import { el, line, put, visible } from "./dom.js";
import { counted, duration, ending, outcome } from "./format.js";
import { rowsOf, spanOf } from "./tree.js";
import { WindowedList } from "./windowed.js";

const ROW = 30;
const SHORTEST_MS = 2;
const STEP = 1.6;
const TICK_PIXELS = 95;
const KEYS = "Arrow keys: from process to process, left and right fold and unfold. + and − zoom, 0 shows all, Shift with an arrow moves.";

/** `choose(node)` is called for the process that is chosen. */
export class Waterfall {
  constructor(choose) {
    this.choose = choose;
    this.roots = [];
    this.folded = new Set();
    this.rows = [];
    this.list = new WindowedList({
      label: "Processes over time", rowHeight: ROW, role: "tree",
      render: (index) => this.row(this.rows[index]),
      describe: (index) => this.described(this.rows[index]),
      choose: (index) => this.choose(this.rows[index].node),
      keys: (event) => this.onKey(event),
    });
    this.axis = el("div", { class: "track axis", "aria-hidden": "true" });
    this.tip = el("div", { class: "tip", hidden: true, "aria-hidden": "true" });
    const button = (text, label, work) => el("button", { type: "button", "aria-label": label, title: label, on: { click: work } }, text);
    this.element = el(
      "section",
      { class: "waterfall", "aria-label": "Timeline" },
      el("div", { class: "axisrow" }, el("div", { class: "zoom" }, button("−", "Zoom out", () => this.zoom(STEP)), button("+", "Zoom in", () => this.zoom(1 / STEP)), button("All", "Show all of the run", () => this.showAll())), this.axis),
      this.list.element,
      el("p", { class: "hint keys" }, KEYS),
      this.tip,
    );
    this.listen();
    new ResizeObserver(() => this.view && this.redraw()).observe(this.axis);
  }

  /** Show a tree; what is zoomed, folded and chosen stays. */
  show(roots) {
    const chosen = this.rows[this.list.current]?.node.id;
    const wasAll = !this.view || (this.view.from === this.whole.from && this.view.to === this.whole.to);
    this.roots = roots;
    this.rows = rowsOf(roots, this.folded);
    this.whole = spanOf(rowsOf(roots, new Set()));
    if (wasAll) this.view = { ...this.whole };
    this.list.current = this.rows.findIndex((row) => row.node.id === chosen);
    this.redraw();
  }

  redraw() {
    this.list.element.style.maxHeight = `${this.rows.length * ROW + 2}px`; // a short run needs no empty space
    this.list.resize(this.rows.length);
    put(this.axis, ticks(this.view, this.whole.from, (this.axis.clientWidth || 600) / TICK_PIXELS));
  }

  row({ node, level }) {
    const label = el(
      "span",
      { class: "label", style: { paddingLeft: `${Math.min(level - 1, 14) * 14}px` } },
      el("span", { class: "fold", "data-fold": node.id, "aria-hidden": "true" }, node.children.length ? (this.folded.has(node.id) ? "▸" : "▾") : ""),
      el("span", { class: `dot ${node.outcome}`, "aria-hidden": "true" }),
      line(node.name, 120),
    );
    return [label, el("span", { class: "track", "aria-hidden": "true" }, this.bar(node))];
  }

  bar(node) {
    const { from, to } = this.view;
    const part = (moment) => ((moment - from) / (to - from)) * 100;
    const [left, right] = [Math.max(-1, part(node.start)), Math.min(101, part(node.end))];
    if (right < 0 || left > 100) return null;
    const bar = el("span", { class: `bar ${node.outcome}`, style: { left: `${left}%`, width: `${Math.max(0, right - left)}%` } });
    const marks = node.errors.slice(0, 50).map(part).filter((place) => place >= 0 && place <= 100);
    const isLate = right > 82;
    const text = el("span", { class: `took ${isLate ? "before" : ""}`, style: isLate ? { right: `${100 - Math.max(left, 0)}%` } : { left: `${right}%` } }, `${duration(node.end - node.start)}${endText(node)}`);
    return [bar, marks.map((place) => el("span", { class: "mark", style: { left: `${place}%` } })), isLate && left < 18 ? null : text];
  }

  described(row) {
    const { node } = row;
    const words = [node.name, wordOf(node) + endText(node), `after ${duration(node.start - this.whole.from)}`, `took ${duration(node.end - node.start)}`, node.errors.length && counted(node.errors.length, "error")];
    const more = node.children.length ? { "aria-expanded": this.folded.has(node.id) ? "false" : "true" } : {};
    return { "aria-label": words.filter(Boolean).join(", ").slice(0, 400), "aria-level": row.level, "aria-posinset": row.place, "aria-setsize": row.of, ...more };
  }

  /** Change what is seen by a factor, around the chosen process or a moment. */
  zoom(factor, around = this.middle()) {
    const width = this.view.to - this.view.from;
    const wanted = Math.min(this.whole.to - this.whole.from, Math.max(SHORTEST_MS, width * factor));
    this.move(around - ((around - this.view.from) / width) * wanted, wanted);
  }

  middle() {
    const { from, to } = this.view;
    const node = this.rows[this.list.current]?.node;
    const wanted = node ? (node.start + node.end) / 2 : (from + to) / 2;
    return wanted >= from && wanted <= to ? wanted : (from + to) / 2;
  }

  move(from, width) {
    const start = Math.max(this.whole.from, Math.min(from, this.whole.to - width));
    this.view = { from: start, to: start + width };
    this.redraw();
  }

  showAll() {
    this.view = { ...this.whole };
    this.redraw();
  }

  fold(node, isFolded) {
    if (isFolded) this.folded.add(node.id);
    else this.folded.delete(node.id);
    this.show(this.roots);
  }

  onKey(event) {
    this.tip.hidden = true; // the mouse rests somewhere, over something else by now
    const width = this.view.to - this.view.from;
    const row = this.rows[this.list.current];
    if (event.key === "+" || event.key === "=") this.zoom(1 / STEP);
    else if (event.key === "-") this.zoom(STEP);
    else if (event.key === "0") this.showAll();
    else if (event.key === "ArrowLeft" && event.shiftKey) this.move(this.view.from - width / 4, width);
    else if (event.key === "ArrowRight" && event.shiftKey) this.move(this.view.from + width / 4, width);
    else if (row && event.key === "ArrowLeft") this.inward(row);
    else if (row && event.key === "ArrowRight") this.outward(row);
    else return event.key === "Escape";
    return true;
  }

  inward(row) {
    if (row.node.children.length && !this.folded.has(row.node.id)) this.fold(row.node, true);
    else if (row.parent) this.list.go(this.rows.indexOf(row.parent));
  }

  outward(row) {
    if (this.folded.has(row.node.id)) this.fold(row.node, false);
    else if (row.node.children.length) this.list.go(this.rows.indexOf(row) + 1);
  }

  listen() {
    const list = this.list.element;
    const moment = (event) => {
      const box = this.axis.getBoundingClientRect();
      return this.view.from + ((event.clientX - box.left) / box.width) * (this.view.to - this.view.from);
    };
    list.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      this.zoom(event.deltaY > 0 ? STEP : 1 / STEP, moment(event));
    }, { passive: false });
    list.addEventListener("dblclick", (event) => {
      const node = this.rows[event.target.closest("[data-index]")?.dataset.index]?.node;
      if (node) this.move(node.start - (node.end - node.start) * 0.1, Math.min(this.whole.to - this.whole.from, Math.max(SHORTEST_MS, (node.end - node.start) * 1.2)));
    });
    list.addEventListener("click", (event) => {
      const id = event.target.closest("[data-fold]")?.dataset.fold;
      const node = this.rows.find((row) => row.node.id === id)?.node;
      if (node?.children.length) this.fold(node, !this.folded.has(node.id));
    });
    list.addEventListener("pointermove", (event) => this.onPointer(event));
    for (const name of ["pointerleave", "pointerdown", "scroll"]) list.addEventListener(name, () => (this.tip.hidden = true));
    this.dragging(list);
  }

  dragging(list) {
    let begin = null;
    list.addEventListener("pointerdown", (event) => {
      if (event.button === 0 && event.target.closest(".track")) begin = { x: event.clientX, from: this.view.from };
    });
    list.addEventListener("pointermove", (event) => {
      if (!begin || Math.abs(event.clientX - begin.x) < 5) return;
      const width = this.view.to - this.view.from;
      this.move(begin.from - ((event.clientX - begin.x) / this.axis.clientWidth) * width, width);
    });
    for (const name of ["pointerup", "pointerleave", "pointercancel"]) list.addEventListener(name, () => (begin = null));
  }

  onPointer(event) {
    const row = this.rows[event.target.closest?.("[data-index]")?.dataset.index];
    this.tip.hidden = !row;
    if (!row) return;
    const { node } = row;
    const pid = node.session?.pid ?? node.child?.pid;
    put(this.tip, el("strong", {}, line(node.name, 200)), el("div", {}, outcome(node.outcome, endText(node).replace(/^ · /, ""))), el("div", {}, `begins after ${duration(node.start - this.whole.from)}, takes ${duration(node.end - node.start)}`), el("div", { class: "sub" }, [pid !== undefined && pid !== null && `pid ${visible(pid)}`, node.errors.length && counted(node.errors.length, "error"), node.session && counted(node.session.events, "event")].filter(Boolean).join(" · ")));
    const box = this.element.getBoundingClientRect();
    this.tip.style.left = `${Math.max(4, Math.min(event.clientX - box.left + 14, box.width - this.tip.offsetWidth - 4))}px`;
    this.tip.style.top = `${event.clientY - box.top + 18}px`;
  }
}

function wordOf(node) {
  const words = new Map([["ok", "ok"], ["failed", "failed"], ["lost", "lost"], ["open", "running"], ["process", "ended, not Python"]]);
  return words.get(node.outcome) ?? "";
}

function endText(node) {
  const child = node.child;
  const text = (node.session && ending({ ...node.session, outcome: node.outcome })) || child?.signal || (child?.code ? `exit ${child.code}` : "");
  return text ? ` · ${visible(text)}` : "";
}

function tickText(at, step) {
  if (at === 0) return "0";
  if (at < 60_000 && step < 60_000 && at >= 1000) return `${Number((at / 1000).toFixed(3))} s`;
  if (at < 1000) return `${Number(at.toFixed(2))} ms`;
  return duration(at).replace(/ 0 s$/, "");
}

function ticks(view, origin, most) {
  const width = view.to - view.from;
  const rough = width / Math.max(2, Math.min(8, most));
  const power = 10 ** Math.floor(Math.log10(rough));
  const nice = [1, 2, 5, 10].map((one) => one * power);
  const long = [1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000, 3_600_000, 7_200_000, 14_400_000, 21_600_000, 43_200_000, 86_400_000];
  const step = (rough < 1000 ? nice : [...long, ...nice.filter((one) => one > 86_400_000)]).find((one) => one >= rough) ?? rough;
  const made = [];
  for (let at = Math.ceil((view.from - origin) / step) * step; at + origin <= view.to; at += step) {
    const left = ((at + origin - view.from) / width) * 100;
    if (left < 100 - 70 / most / 1.5) made.push(el("span", { class: "tick", style: { left: `${left}%` } }, tickText(at, step)));
  }
  return made;
}
