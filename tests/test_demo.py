"""The demonstration is the first thing that anybody tries; its batch job must know nothing of the monitor."""

import re
import signal
import subprocess
from pathlib import Path

from support.children import Children
from support.collector import Collector
from support.imports import statements
from support.sandbox import ROOT

EXAMPLES = ROOT / "examples"
NIGHTLY = EXAMPLES / "nightly.py"


def test_batch_job_imports_nothing_of_the_monitor() -> None:
    """What is shown is that an unchanged program is recorded."""
    assert not any("monitor" in name for name in statements("nightly", NIGHTLY))
    assert "MONITOR_" not in NIGHTLY.read_text(encoding="utf-8")


def test_batch_job_is_the_same_with_and_without_the_monitor(children: Children, collector: Collector) -> None:
    """A job with children, a recovered failure and an exit code of its own is what users have."""
    done = children.twin(NIGHTLY, endpoint=collector.url)
    assert done.status == 3
    assert b"try 2 of 3" in done.stdout
    events = collector.unique()
    ends = [event["data"] for event in events if event["name"] == "session.end"]
    assert sorted(end.get("exit_code", 0) for end in ends) == [0, 0, 1, 3]
    (error,) = [event["data"] for event in events if event["name"] == "error.ValueError"]
    assert re.search(r"nightly\.py:\d+:<genexpr>$", error["location"])
    parents = {event["session"].get("parent") for event in events if event["name"] == "session.start"}
    assert len(parents) == 2, "the four children belong to the job, and the job to nobody"


def test_batch_job_that_breaks_is_recorded_with_its_place(children: Children, collector: Collector) -> None:
    """The traceback of a nightly job is mailed to nobody; its last error has to arrive."""
    orders = children.folder / "orders"
    orders.mkdir()
    (orders / "zürich.csv").write_bytes("käthe,5\n".encode("latin-1"))
    done = children.twin(NIGHTLY, argv=[str(orders)], endpoint=collector.url)
    assert done.status == 1
    (error,) = [event for event in collector.unique() if event["type"] == "error"]
    assert error["name"] == "error.UnicodeDecodeError"
    assert f'{NIGHTLY.name}", line' in error["data"]["stack"]


def test_demo_shows_what_was_recorded(children: Children) -> None:
    """`make demo` runs this; it fails by itself when an event is missing."""
    done = children.run(EXAMPLES / "demo.py", bare=True)
    shown = done.stdout.decode()
    assert (done.status, done.stderr) == (0, b"")
    assert re.search(r"^python …/nightly\.py failed: 7 processes · .* · 2 failed · 1 killed", shown, re.MULTILINE)
    assert re.search(r"^  └─ python …/nightly\.py --draw-chart +SIGKILL +[\d.]+ m?s$", shown, re.MULTILINE)
    assert "<code>python …/nightly.py</code>" in (children.folder / "cwd" / "report.html").read_text(encoding="utf-8")
    assert "error.UnicodeDecodeError at " in shown
    assert shown.rstrip().endswith("0 segments left in the spool.")


def test_receiver_tells_of_every_batch_until_it_is_interrupted(children: Children) -> None:
    """The README has people start it in a second terminal."""
    receiver = children.start(EXAMPLES / "receiver.py", argv=["0"], flags=["-u"], bare=True)
    assert receiver.process.stdout
    endpoint = receiver.process.stdout.readline().split()[0].decode().partition("=")[2]
    children.run("import sys; sys.exit(5)", endpoint=endpoint)
    receiver.process.send_signal(signal.SIGINT)
    done = receiver.finish()
    assert done.status == 0
    assert re.search(rb"^script\.py  \(.*\)  ended by exit after .* exit code 5$", done.stdout, re.MULTILINE)


def test_receiver_refuses_what_is_no_batch(children: Children) -> None:
    """An honest receiver does not say 200 to what it cannot read."""
    source = """
        import sys
        sys.path.insert(0, sys.argv[1])
        from receiver import Receiver
        from urllib.request import urlopen
        from urllib.error import HTTPError
        receiver = Receiver()
        receiver.start()
        try:
            urlopen(receiver.url, data=b"[]", timeout=20)
        except HTTPError as error:
            print(error.code)
        receiver.stop()
    """
    assert children.run(source, argv=[str(EXAMPLES)], bare=True).stdout == b"400\n"


def test_make_help_lists_the_targets_of_the_readme() -> None:
    """A command that a README names and make does not know is the first thing a newcomer types."""
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    named = set(re.findall(r"^ +make ([a-z]+)", Path(ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"demo", "test"} <= named <= set(re.findall(r"make ([a-z]+)", listed))
