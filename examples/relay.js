// A Node program that says what it does: each line that begins with `monitor-event:` becomes an event.
//
//     monitor-auto run -- node examples/relay.js [FOLDER]
//
// Without `monitor-auto run` the lines are plain output, and the program works as well.
// An event begins a line: behind a newline, or behind the carriage return that ends a step of the progress below.
"use strict";
const fs = require("fs");
const os = require("os");
const path = require("path");

// writeSync: in one piece, and written also when process.exit() follows.
function event(name, data = {}, type = "event") {
  fs.writeSync(1, `monitor-event: ${JSON.stringify({ name, type, data })}\n`);
}

function makeFolder() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "relay-"));
  for (const city of ["berlin", "lagos", "quito"]) {
    fs.writeFileSync(path.join(folder, `${city}.csv`), `orders of ${city}\n`);
  }
  return folder;
}

const given = process.argv[2];
const folder = given || makeFolder();
try {
  const files = fs.readdirSync(folder).sort();
  files.forEach((file, index) => {
    event("file.read", { file, bytes: fs.statSync(path.join(folder, file)).size });
    fs.writeSync(1, `${index + 1} of ${files.length} files\r`);
  });
  fs.writeSync(1, "\n");
  event("job.files", { value: files.length }, "metric");
} finally {
  if (!given) fs.rmSync(folder, { recursive: true });
}
