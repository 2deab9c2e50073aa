// Talking to the collector: questions, the stream, and the token when one is wanted.

import { throttled } from "./dom.js";

const HIDDEN_SECONDS = 20;
let token = recall();
let askForToken = async () => null;
let asking = null;

/** An answer that is no answer. `status` is 0 where the collector could not be reached. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Say how the user is asked for the token: an async function of whether the last one was wrong. */
export function onTokenWanted(ask) {
  askForToken = ask;
}

function recall() {
  try {
    return sessionStorage.getItem("token");
  } catch {
    return null;
  }
}

function remember(given) {
  token = given;
  try {
    sessionStorage.setItem("token", given); // of this tab alone, and gone with it
  } catch {
    // Kept for as long as the page is open.
  }
}

async function request(path, options = {}) {
  for (;;) {
    const shown = token;
    const headers = shown ? { Authorization: `Bearer ${shown}` } : {};
    let answer;
    try {
      answer = await fetch(path, { ...options, headers, cache: "no-store" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused(0, "The collector does not answer.");
    }
    if (answer.status !== 401) return answer;
    if (shown === token) await newToken(Boolean(shown)); // else another request has asked meanwhile
  }
}

async function newToken(wasWrong) {
  asking ??= askForToken(wasWrong).finally(() => {
    asking = null;
  });
  remember(await asking);
}

/** Ask a question. Raises Refused with what the collector said. */
export async function get(path, parameters = {}, signal = undefined) {
  const asked = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "" && value != null));
  const answer = await request(asked.size ? `${path}?${asked}` : path, { signal });
  let body;
  try {
    body = await answer.json();
  } catch {
    throw new Refused(answer.status, `The collector answered with ${answer.status} and no JSON.`);
  }
  if (!answer.ok) throw new Refused(answer.status, String(body.error ?? `The collector answered with ${answer.status}.`));
  return body;
}

/** Follow the commits. `onCommit` gets each, null for "ask anew"; `onState` whether we are told anything at all.
 *
 * Not EventSource: that cannot show a token. And not while nobody looks: a browser has six connections to one server,
 * so a few forgotten tabs would leave none for the page in front. Nor while the browser keeps a page that was left, to
 * come back to: the seventh place that somebody went to was blank for a minute (Chromium 156).
 */
export function follow(onCommit, onState) {
  let stop = null;
  let timer = null;
  const open = async () => {
    const control = new AbortController();
    stop = () => control.abort();
    let wait = 1000;
    for (let isFirst = true; !control.signal.aborted; isFirst = false) {
      try {
        const answer = await request("/v1/stream", { signal: control.signal });
        if (!answer.ok) throw new Refused(answer.status, "no stream");
        onState("live");
        if (!isFirst) onCommit(null);
        wait = 1000;
        await read(answer.body, onCommit);
      } catch (error) {
        if (control.signal.aborted) return;
        onState(error instanceof Refused && error.status ? "still" : "away");
      }
      await new Promise((resolve) => setTimeout(resolve, wait));
      wait = Math.min(wait * 2, 15_000);
    }
  };
  const rest = () => {
    clearTimeout(timer);
    stop?.();
    stop = null;
  };
  const goOn = () => {
    clearTimeout(timer);
    if (stop !== null) return;
    open();
    onCommit(null);
  };
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(rest, HIDDEN_SECONDS * 1000);
    else goOn();
  });
  addEventListener("pagehide", rest);
  addEventListener("pageshow", (shown) => shown.persisted && goOn());
  open();
}

async function read(body, onCommit) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    const parts = held.split("\n\n");
    held = parts.pop();
    for (const part of parts) tell(part, onCommit);
  }
}

function tell(message, onCommit) {
  const fields = new Map(message.split("\n").map((row) => [row.slice(0, row.indexOf(":")), row.slice(row.indexOf(":") + 2)]));
  if (fields.get("event") === "reset") onCommit(null);
  if (fields.get("event") === "commit") onCommit(JSON.parse(fields.get("data")));
}

/** Return a function that calls an async `work` when told, never twice at a time and at most once a second. */
export function refresher(work) {
  let isBusy = false;
  let isWanted = false;
  const run = async () => {
    if (isBusy) {
      isWanted = true;
      return;
    }
    isBusy = true;
    try {
      await work();
    } catch (error) {
      if (!(error instanceof Refused)) throw error; // the state of the stream says it already
    } finally {
      isBusy = false;
    }
    if (isWanted) {
      isWanted = false;
      again();
    }
  };
  const again = throttled(run, 1000);
  return again;
}
