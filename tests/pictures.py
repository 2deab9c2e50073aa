"""Takes the pictures of docs/images/ anew: `python tests/pictures.py [FOLDER]`. Look at each before it is committed.

Needs Debian's `chromium`. The page shows some days of a small team, the report is that of examples/nightly.py.
"""

import html
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from support.browser import Tab, running_browser
from support.local_collector import REQUIREMENTS, LocalCollector, running_local_collector
from support.realistic import batches, events_of_a_team
from support.sandbox import ROOT, Sandbox, Sandboxes

COLOURS = {"1": "font-weight:700;color:#fff", "2": "color:#8b949e", "31": "color:#ff7b72", "32": "color:#7ee0a8"}
COLOURS |= {"33": "color:#e3b341", "36": "color:#79c0ff"}
TERMINAL = """<!doctype html><meta charset="utf-8"><style>body{margin:0;background:#0d1117}
pre{margin:0;padding:18px 20px;color:#e6edf3;font:14px/19.6px "DejaVu Sans Mono",monospace}</style><pre>%s</pre>"""

SIZE = """(() => { const range = document.createRange(); range.selectNodeContents(document.querySelector("pre"));
const box = range.getBoundingClientRect(); return [box.right, box.bottom]; })()"""


def main() -> None:
    """Take them all."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        sandbox = Sandboxes(place / "sandboxes").get(sys.executable, *REQUIREMENTS)
        with running_browser(place / "profile") as browser:
            take_report(browser.tab(1000, 690), sandbox, place, folder)
            with running_local_collector(sandbox, place) as collector:
                for batch in batches(events_of_a_team(round(time.time() * 1000))):
                    assert collector.post(batch).status_code == 200
                take_pages(browser.tab(1360, 860), collector, folder)


def take_report(tab: Tab, sandbox: Sandbox, place: Path, folder: Path) -> None:
    """Take the report of the example, on a terminal and as a page."""
    job = Path("/srv/jobs")  # what the README shows
    page, copy = place / "report.html", place / "jobs"
    copy.mkdir()
    (copy / "nightly.py").write_bytes((ROOT / "examples" / "nightly.py").read_bytes())
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("MONITOR_", "PYTHON"))}
    clean |= {"PATH": f"{sandbox.python.parent}:{clean['PATH']}", "TERM": "xterm-256color", "COLUMNS": "96"}
    clean["MONITOR_SPOOL_DIR"] = str(place / "spool")
    words = f"cd {copy} && stty cols 96 && exec monitor-auto run --html {page} -- python nightly.py"
    seen = subprocess.run(
        ["script", "-qec", words, "/dev/null"], env=clean, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    text = seen.stdout.decode().replace("\r\n", "\n").replace(str(copy), str(job)).removeprefix("^@")
    shown = "$ monitor-auto run --html report.html -- python nightly.py\n" + text.rstrip("\n")
    page.write_text(page.read_text().replace(str(copy), str(job)))
    (place / "terminal.html").write_text(TERMINAL % painted(shown))
    for scheme in ("light", "dark"):
        tab.prefer(scheme)
        tab.open(page.as_uri())
        tab.wait("document.querySelector('main')")
        tab.screenshot(folder / f"report-{scheme}.png")
    tab.open((place / "terminal.html").as_uri())
    tab.wait("document.querySelector('pre')")
    width, height = tab.js(SIZE)
    tab.resize(round(width) + 20, round(height) + 18)
    tab.screenshot(folder / "report-terminal.png")


def painted(text: str) -> str:
    """Return what a terminal shows as HTML."""
    parts = re.split(r"\x1b\[([\d;]*)m", text)
    shown = [html.escape(parts[0])]
    for codes, part in zip(parts[1::2], parts[2::2], strict=True):
        style = ";".join(COLOURS.get(code, "") for code in codes.split(";"))
        shown.append(f'<span style="{style}">{html.escape(part)}</span>')
    return re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", "".join(shown))


def take_pages(tab: Tab, collector: LocalCollector, folder: Path) -> None:
    """Take the pages of the collector."""
    runs = collector.json("/v1/runs", limit=1000)["runs"]
    broken = next(run["root"] for run in runs if run["program"] == "nightly.py" and run["outcome"] == "failed")
    failing = max(collector.json("/v1/errors")["errors"], key=lambda group: int(group["count"]))["fingerprint"]
    (metric,) = {one["session"] for one in collector.json("/v1/metrics")["metrics"][:1]}

    def take(name: str, place: str, scheme: str) -> None:
        tab.prefer(scheme)
        tab.open("about:blank")
        tab.wait("location.href === 'about:blank'")
        tab.open(f"{collector.base}/#/{place}")
        tab.wait("document.querySelector('main h1') && document.getElementById('state').textContent === 'live'")
        tab.js("document.fonts.ready.then(() => new Promise((go) => setTimeout(go, 300)))")
        tab.screenshot(folder / f"{name}.png")

    take("runs-light", "runs", "light")
    take("timeline-light", f"runs/{broken}", "light")
    take("timeline-dark", f"runs/{broken}", "dark")
    take("errors-dark", f"errors/{failing}", "dark")
    take("metrics-light", f"metrics?session={metric}", "light")
    take("tests-light", "tests", "light")
    tab.resize(420, 860)
    take("runs-narrow", "runs", "light")
    take("timeline-narrow", f"runs/{broken}", "light")


if __name__ == "__main__":
    main()
