"""The demonstration behind `make demo`: run nightly.py twice, unchanged, and show what the monitor recorded of it.

Once under `monitor-auto run`, which prints a report and writes report.html into the current folder; once as it is run
every night, with a collector named in the environment. Needs an interpreter whose environment has monitor_auto. All
else stays in a scratch folder, and everything on this machine.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from receiver import Receiver, account

JOB = Path(__file__).with_name("nightly.py")
PAGE = Path("report.html")


def main() -> int:
    """Run the demonstration; 0 if everything that was recorded arrived."""
    receiver = Receiver()
    receiver.start()
    with tempfile.TemporaryDirectory(prefix="monitor-demo-") as scratch:
        folder = Path(scratch)
        title("1. A batch job that imports nothing of the monitor, and a report of it")
        report(folder)
        title("2. The same job with a file that it was not written for, and a collector")
        (folder / "orders").mkdir()
        (folder / "orders" / "zürich.csv").write_bytes("käthe,5\n".encode("latin-1"))
        show(receiver, folder, folder / "orders")
        left = list((folder / "spool").glob("*.*.*.jsonl"))
    receiver.stop()
    print(f"{len(receiver.events)} events in {receiver.batches} batches; {len(left)} segments left in the spool.")
    return 1 if left or not receiver.events or not PAGE.exists() else 0


def report(scratch: Path) -> None:
    """Run the job under `monitor-auto run`, which shows what happened."""
    words = ["run", "--html", PAGE.name, "--", "python", f"{JOB.parent.name}/{JOB.name}"]
    print(f"$ monitor-auto {' '.join(words)}", flush=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    environment = {**os.environ, "PATH": path, "MONITOR_SPOOL_DIR": str(scratch / "runs")}
    environment.pop("MONITOR_ENDPOINT", None)
    words[-1] = str(JOB)
    command = [sys.executable, "-m", "monitor_auto", *words]
    done = subprocess.run(command, env=environment, stderr=subprocess.STDOUT)
    print(f"$ echo $?\n{done.returncode}\n\nThe same as a page for a browser: {PAGE.absolute().as_uri()}\n", flush=True)


def show(receiver: Receiver, scratch: Path, *arguments: Path) -> None:
    """Run the job once and print its output, its exit code, and the receiver's account of it."""
    seen = len(receiver.events)
    settings = {"MONITOR_ENDPOINT": receiver.url, "MONITOR_SPOOL_DIR": str(scratch / "spool")}
    print(f"$ export MONITOR_ENDPOINT={receiver.url}")
    print(f"$ python examples/{JOB.name} {' '.join(path.name for path in arguments)}".rstrip())
    words = [sys.executable, str(JOB), *map(str, arguments)]
    done = subprocess.run(words, env={**os.environ, **settings}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(done.stdout.decode(errors="replace").replace(str(scratch) + "/", ""), end="")
    print(f"$ echo $?\n{done.returncode}\n\nrecorded:\n")
    print(account(receiver.events[seen:]) or "nothing", end="\n\n", flush=True)


def title(text: str) -> None:
    """Print a heading."""
    print(f"{text}\n{'=' * len(text)}\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
