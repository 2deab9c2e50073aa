// Making elements. Guarantee: what comes from an event reaches the page only as text, never as markup, an attribute's
// code or an object's key; invisible and direction-changing characters are shown instead of obeyed.

const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;
const MAX_TEXT = 20_000;
const SVG = "http://www.w3.org/2000/svg";

/** Make an element. `properties`: `class`, `on` (listeners), `style` (CSSOM names), else attributes; null leaves out. */
export function el(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** Make an SVG element. */
export function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === "style") Object.assign(element.style, value); // the policy forbids style attributes, not this
    else element.setAttribute(name, value === true ? "" : visible(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Replace all children. */
export function put(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Return a text in which what cannot be seen is spelled out. */
export function visible(value) {
  return String(value).replace(HIDDEN, (sign) => `⟨${sign.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

/** Return at most `most` characters, and say how many there were. */
export function clip(value, most = MAX_TEXT) {
  const text = typeof value === "string" ? value : String(value ?? "");
  return text.length <= most ? text : `${text.slice(0, most)}… (${text.length.toLocaleString()} characters)`;
}

/** Return a text of an event as an element whose direction is its own affair. */
export function said(value, most = 300, properties = {}) {
  return el("bdi", properties, visible(clip(value, most)));
}

/** Return one line of a text: for lists. */
export function line(value, most = 200) {
  return said(clip(value, most).replace(/\s+/g, " ").trim(), most + 40);
}

/** Return a stack or other text of many lines. */
export function block(value, label) {
  return el("pre", { class: "stack", tabindex: "0", role: "region", "aria-label": label }, visible(clip(value)));
}

/** Return a function that runs `work` at once, and then at most every `milliseconds`, the last call always. */
export function throttled(work, milliseconds) {
  let timer = null;
  let isWanted = false;
  const start = () => {
    isWanted = false;
    timer = setTimeout(() => {
      timer = null;
      if (isWanted) start();
    }, milliseconds);
    work();
  };
  return () => {
    if (timer === null) start();
    else isWanted = true;
  };
}
