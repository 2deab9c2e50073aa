// A list of any length of which only the visible rows are in the document. Keys: arrows, Page Up/Down, Home, End, Enter.

import { el } from "./dom.js";

const SPARE_ROWS = 8;
let lists = 0;

/** `render(index)` returns the content of a row, `choose(index)` is called for the one that is clicked or moved to. */
export class WindowedList {
  constructor({ label, rowHeight = 30, render, choose, onEnd = null, role = "listbox", describe = null, keys = null }) {
    Object.assign(this, { rowHeight, render, choose, onEnd, describe, keys });
    this.id = `list-${(lists += 1)}`;
    this.itemRole = role === "tree" ? "treeitem" : "option";
    this.count = 0;
    this.current = -1;
    this.rows = new Map();
    this.space = el("div", { class: "space", role: "presentation" });
    this.element = el(
      "div",
      {
        class: "windowed", role, tabindex: "0", "aria-label": label,
        on: { scroll: () => this.draw(), keydown: (event) => this.onKey(event), click: (event) => this.onClick(event) },
      },
      this.space,
    );
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  /** Say how many rows there are; `isSame` keeps those that are drawn. */
  resize(count, isSame = false) {
    this.count = count;
    this.space.style.height = `${count * this.rowHeight}px`;
    if (this.current >= count) this.current = count - 1;
    if (!isSame) this.clear();
    this.draw();
  }

  clear() {
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
  }

  draw() {
    const height = this.element.clientHeight || 600;
    const first = Math.max(0, Math.floor(this.element.scrollTop / this.rowHeight) - SPARE_ROWS);
    const last = Math.min(this.count, Math.ceil((this.element.scrollTop + height) / this.rowHeight) + SPARE_ROWS);
    for (const [index, row] of this.rows) {
      if (index < first || index >= last) {
        row.remove();
        this.rows.delete(index);
      }
    }
    const before = this.rows.size;
    for (let index = first; index < last; index += 1) if (!this.rows.has(index)) this.rows.set(index, this.make(index));
    // In the order of the list, since that is the order in which they are read out.
    if (this.rows.size !== before) {
      const sorted = [...this.rows.keys()].sort((a, b) => a - b).map((index) => this.rows.get(index));
      if (sorted.some((row, place) => this.space.children[place] !== row)) this.space.replaceChildren(...sorted);
    }
    this.mark();
    if (this.onEnd && last >= this.count - 50) this.onEnd();
  }

  make(index) {
    const more = this.describe?.(index) ?? { "aria-posinset": index + 1, "aria-setsize": this.count };
    const row = el("div", { class: "row", id: `${this.id}-${index}`, role: this.itemRole, "data-index": index, ...more }, this.render(index));
    row.style.transform = `translateY(${index * this.rowHeight}px)`;
    row.style.height = `${this.rowHeight}px`;
    return row;
  }

  mark() {
    for (const [index, row] of this.rows) row.setAttribute("aria-selected", index === this.current ? "true" : "false");
    if (this.rows.has(this.current)) this.element.setAttribute("aria-activedescendant", `${this.id}-${this.current}`);
    else this.element.removeAttribute("aria-activedescendant");
  }

  /** Make a row the current one, bring it into sight and choose it. */
  go(index, isChosen = true) {
    if (!this.count) return;
    this.current = Math.max(0, Math.min(this.count - 1, index));
    const top = this.current * this.rowHeight;
    const { scrollTop, clientHeight } = this.element;
    if (top < scrollTop) this.element.scrollTop = top;
    else if (clientHeight && top + this.rowHeight > scrollTop + clientHeight) this.element.scrollTop = top + this.rowHeight - clientHeight;
    this.draw();
    if (isChosen) this.choose?.(this.current);
  }

  onClick(event) {
    const row = event.target.closest("[data-index]");
    if (row) this.go(Number(row.dataset.index));
  }

  onKey(event) {
    if (event.target !== this.element || event.altKey || event.ctrlKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.rowHeight) - 1);
    const steps = new Map([["ArrowDown", 1], ["ArrowUp", -1], ["PageDown", page], ["PageUp", -page]]);
    if (this.keys?.(event)) event.preventDefault();
    else if (steps.has(event.key)) this.take(event, this.current + steps.get(event.key));
    else if (event.key === "Home") this.take(event, 0);
    else if (event.key === "End") this.take(event, this.count - 1);
    else if (event.key === "Enter" || event.key === " ") this.take(event, this.current);
  }

  take(event, index) {
    event.preventDefault();
    this.go(index);
  }
}
