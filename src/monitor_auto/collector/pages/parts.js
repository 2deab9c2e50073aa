// What several pages have: tables, filters, a button for more, and what is shown where there is nothing.

import { Refused } from "./api.js";
import { el, put } from "./dom.js";

/** Return a table with a caption for those who cannot see what it stands under. */
export function table(caption, columns, body, numbers = []) {
  const heads = columns.map((name) => el("th", { scope: "col", class: numbers.includes(name) ? "number" : null }, name));
  return el("div", { class: "scroll", role: "region", "aria-label": caption, tabindex: "0" }, el("table", { class: "list" }, el("caption", { class: "unseen" }, caption), el("thead", {}, el("tr", {}, heads)), body));
}

/** Return a form that puts its fields into the address, so that what is shown can be bookmarked and gone back to.
 * `choices`: name, label, pairs of value and text.
 */
export function picker(page, asked, texts, choices = [], submit = "Filter") {
  const go = (form) => {
    const wanted = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ""));
    location.hash = wanted.size ? `#/${page}?${wanted}` : `#/${page}`;
  };
  const fields = texts.map(([name, label, type = "search"]) => el("label", {}, el("span", {}, label), el("input", { name, type, value: asked[name] ?? "", autocomplete: "off", spellcheck: "false", step: type === "datetime-local" ? "1" : null })));
  const selects = choices.map(([name, label, options]) => {
    const select = el("select", { name, on: { change: (event) => go(event.target.form) } }, options.map(([value, text]) => el("option", { value, selected: (asked[name] ?? "") === value }, text)));
    return el("label", {}, el("span", {}, label), select);
  });
  return el("form", { class: "filter", role: "search", on: { submit: (event) => { event.preventDefault(); go(event.target); } } }, fields, selects, el("button", { type: "submit" }, submit));
}

/** Return a button that loads more; it says so when that fails. */
export function more(text, load) {
  const button = el("button", { type: "button", class: "more", hidden: true }, text);
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await load();
      button.textContent = text;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      button.textContent = `${error.message} Try again`;
    } finally {
      button.disabled = false;
    }
  });
  return button;
}

/** Return what is shown where nothing is. */
export function nothing(title, text, ...rest) {
  return el("div", { class: "empty" }, el("h2", {}, title), el("p", {}, text), rest);
}

/** Return how the first event comes here. */
export function firstSteps() {
  const commands = `export MONITOR_ENDPOINT=${location.origin}/v1/events\npython -c "1/0"`;
  const copy = el("button", { type: "button" }, "Copy");
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(commands);
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "Select it and copy by hand";
    }
  });
  return nothing(
    "Nothing has been recorded yet",
    "Run any Python program of an environment that has monitor-auto installed, with the endpoint set; it appears here when it ends, or within 30 seconds:",
    el("pre", { class: "stack", tabindex: "0", role: "region", "aria-label": "commands" }, commands),
    el("p", {}, copy),
    el("p", { class: "hint" }, "Nothing arrives? `monitor-auto doctor`, in the same terminal, says why and what to do."),
  );
}

/** Return a labelled fact, or null where there is nothing to say. */
export function fact(label, ...value) {
  const filled = value.filter((part) => part !== null && part !== undefined && part !== "");
  return filled.length ? el("div", { class: "fact" }, el("dt", {}, label), el("dd", {}, filled)) : null;
}

/** Put a hint where a panel has nothing. */
export function hint(element, text) {
  return put(element, el("p", { class: "hint" }, text));
}
