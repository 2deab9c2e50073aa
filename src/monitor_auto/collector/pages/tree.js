// A run as a tree of processes: sessions, and the children that are not Python, of which only their parent tells. Pure.

import { facts } from "./events.js";

const MAX_DEPTH = 200;

/** Return the nodes that have no parent here, each with `children`, in the order of their start. */
export function treeOf(run) {
  const nodes = new Map(run.sessions.map((session) => [session.id, sessionNode(session)]));
  const children = childrenOf(run.events);
  for (const event of run.events) {
    const node = nodes.get(facts(event.session).get("id"));
    if (event.type === "error") node?.errors.push(at(event));
    else if (event.name === "session.start" && node) call(node, facts(event.data).get("argv"));
  }
  const roots = [];
  for (const node of nodes.values()) {
    const parent = nodes.get(node.session.parent);
    if (parent && parent !== node && !isAncestor(node, parent, nodes)) parent.children.push(node);
    else roots.push(node);
  }
  for (const child of children) adopt(child, nodes.get(child.parent), roots);
  sort(roots);
  return roots;
}

function at(event) {
  return new Date(event.timestamp).getTime();
}

function sessionNode(session) {
  const start = session.started_ms ?? session.last_ms;
  return {
    id: session.id, session, child: null, name: session.program ?? session.app ?? "unknown program",
    start, end: Math.max(start, session.ended_ms ?? session.last_ms), outcome: session.outcome, errors: [], children: [],
  };
}

/** Name a session by what it was called with: ten children of one script are told apart by their arguments. */
function call(node, argv) {
  if (!Array.isArray(argv) || argv.length < 2) return;
  node.argv = argv;
  node.name = commandOf(argv.slice(1));
}

/** Return what `process.start` and `process.exit` tell of each child. */
function childrenOf(events) {
  const known = new Map();
  for (const event of events) {
    if (event.name !== "process.start" && event.name !== "process.exit") continue;
    const data = facts(event.data);
    const parent = facts(event.session).get("id");
    const id = `${parent}/${data.get("child")}`;
    if (!known.has(id)) known.set(id, { id, parent, pid: data.get("pid"), start: null, end: null, argv: [], signal: null, code: null });
    const child = known.get(id);
    if (event.name === "process.start") {
      child.start = at(event);
      child.argv = Array.isArray(data.get("argv")) ? data.get("argv") : [];
      child.method = data.get("method");
    } else {
      child.end = at(event);
      child.signal = typeof data.get("signal") === "string" ? data.get("signal") : null;
      child.code = typeof data.get("exit_code") === "number" ? data.get("exit_code") : null;
      if (child.start === null && typeof data.get("duration_ms") === "number") child.start = child.end - data.get("duration_ms");
    }
  }
  return known.values();
}

/** Give a child to the session that it is, else make it a node of its own. */
function adopt(child, parent, roots) {
  const session = parent?.children.find((node) => node.session && node.session.pid === child.pid && node.child === null && child.pid !== undefined);
  if (session) {
    session.child = child;
    // The parent knows the true end of one that died without a word.
    if (session.session.ended_ms === null && child.end !== null) session.end = Math.max(session.end, child.end);
    if (session.outcome === "open" && child.end !== null) session.outcome = child.signal ? "lost" : child.code ? "failed" : "ok";
    return;
  }
  const start = child.start ?? child.end;
  if (start === null) return;
  const outcome = child.end === null ? "open" : child.signal || child.code ? "failed" : "process";
  const node = { id: child.id, session: null, child, name: commandOf(child.argv), start, end: Math.max(start, child.end ?? start), outcome, errors: [], children: [] };
  (parent ? parent.children : roots).push(node);
}

function commandOf(argv) {
  const words = argv.map(String);
  return words.length ? [words[0].split("/").pop(), ...words.slice(1)].join(" ") : "a child";
}

function isAncestor(node, of, nodes) {
  let one = of;
  for (let depth = 0; one && depth < MAX_DEPTH; depth += 1) {
    if (one === node) return true;
    one = nodes.get(one.session.parent);
  }
  return Boolean(one); // a circle, or too deep to tell: better a root too many than none
}

function sort(nodes) {
  const waiting = [nodes];
  while (waiting.length) {
    const some = waiting.pop();
    some.sort((a, b) => a.start - b.start);
    for (const node of some) if (node.children.length) waiting.push(node.children);
  }
}

/** Return the rows to show: nodes with their level, without what is below a folded one. */
export function rowsOf(roots, folded) {
  const rows = [];
  const add = (nodes, level, parent) => {
    nodes.forEach((node, place) => {
      const row = { node, level, parent, place: place + 1, of: nodes.length };
      rows.push(row);
      if (node.children.length && !folded.has(node.id)) add(node.children, level + 1, row);
    });
  };
  add(roots, 1, null);
  return rows;
}

/** Return the first and the last moment of a run. */
export function spanOf(rows) {
  let [from, to] = [Infinity, -Infinity];
  for (const { node } of rows) {
    from = Math.min(from, node.start);
    to = Math.max(to, node.end);
  }
  return { from, to: Math.max(to, from + 1) };
}
