"""What a program records while the monitor itself is at work: in a signal handler that runs in the middle of it."""

from typing import Any

import pytest

from support.children import Children
from support.collector import OK, Answer, Collector

HANDLER = """
    import os, posix, signal
    from monitor_auto import Monitor

    ids = []
    signal.signal(signal.SIGUSR1, lambda *_: ids.append(Monitor.event("handler.ran", {"n": len(ids)})))

    def interrupt(name, after, within=False):
        real = getattr(os, name)
        running = []

        def interrupted(*args, **kwargs):
            is_wanted = within or not running  # or what the handler itself calls is interrupted again, and so on
            running.append(name)
            if is_wanted and not after:
                signal.raise_signal(signal.SIGUSR1)
            result = real(*args, **kwargs)
            if is_wanted and after:
                signal.raise_signal(signal.SIGUSR1)
            running.pop()
            return result

        setattr(os, name, interrupted)
        setattr(posix, name, interrupted)  # where what runs at every end takes it from
"""


@pytest.mark.parametrize("answer", [OK, Answer(207, b'{"accepted": 1}')], ids=["usual", "unusual"])
@pytest.mark.parametrize("is_usual", [True, False], ids=["express", "last call"])
@pytest.mark.parametrize(
    ("call", "after"), [("lseek", False), ("read", True), ("close", False), ("close", True), ("listdir", True)]
)
def test_handler_that_records_during_the_last_call_loses_nothing(
    call: str, after: bool, is_usual: bool, answer: Answer, children: Children, collector: Collector
) -> None:
    """A service that is told to stop gets its signals while it is on its way out."""
    collector.answer = answer
    environment = {} if is_usual else {"MONITOR_BATCH_SIZE": "1"}
    done = children.run(HANDLER + f"    interrupt({call!r}, {after})\n", endpoint=collector.url, env=environment)
    assert (done.status, done.stderr) == (0, b"")
    left = [event for event in done.events if event["event_id"] not in {one["event_id"] for one in collector.events()}]
    assert_each_is_there(collector.unique() + left)


def assert_each_is_there(found: list[dict[str, Any]]) -> None:
    """Assert that all numbers up to the highest are there, and that the handler ran."""
    assert "handler.ran" in [event["name"] for event in found]
    numbers = sorted(int(event["event_id"].rpartition("-")[2]) for event in found)
    assert numbers == list(range(len(found))), "an event is neither at the collector nor in the spool"


@pytest.mark.parametrize("limit", range(940, 1000, 5))
def test_handler_that_interrupts_itself_until_the_stack_is_full_loses_nothing(
    limit: int, children: Children, collector: Collector
) -> None:
    """Where there is no room for one more call, that is no reason to lose the line of this event, or of another."""
    source = HANDLER + f"    import sys; sys.setrecursionlimit({limit}); interrupt('close', False, within=True)\n"
    done = children.run(source, endpoint=collector.url)
    left = [event for event in done.events if event["event_id"] not in {one["event_id"] for one in collector.events()}]
    assert done.status == 0
    assert len(collector.unique() + left) > 60, "it was not deep"
    assert_each_is_there(collector.unique() + left)
    assert [path.name for path in done.spool.glob("*.jsonl") if not path.stat().st_size] == []


def test_handler_that_raises_while_the_queue_is_written_costs_no_line_of_it(children: Children) -> None:
    """A time limit by SIGALRM comes when it comes; what waits behind a closed descriptor was recorded before."""
    done = children.run(
        """
        import os, posix, signal
        from monitor_auto import Monitor
        from monitor_auto.boot import recorder

        def on_signal(number, frame):
            if len(seen) == 2:  # the header of the next segment: nobody can write now, so the line waits
                print(Monitor.event("handler.ran"))
            elif len(seen) in (4, 5):  # the second line that has waited; after it has come to the file
                raise TimeoutError

        def write(fd, data):
            if fd == 1:
                return real(fd, data)
            seen.append(data)
            if len(seen) != 5:
                signal.raise_signal(signal.SIGUSR1)
                return real(fd, data)
            written = real(fd, data)
            signal.raise_signal(signal.SIGUSR1)
            return written

        signal.signal(signal.SIGUSR1, on_signal)
        print(Monitor.event("work.before"))
        os.close(recorder.segment.fd)
        real, seen = os.write, []
        os.write = posix.write = write
        for name in "work.first", "work.second":
            try:
                print(Monitor.event(name))
            except TimeoutError:
                print("cut", len(seen))
        os.write = posix.write = real
        print(Monitor.event("work.after"))
        """
    )
    words = done.stdout.decode().split()
    assert (done.status, done.stderr, words[2:6]) == (0, b"", ["cut", "4", "cut", "5"])
    kept = [event for event in done.events if event["event_id"] in words]
    assert [event["name"] for event in kept] == ["work.before", "handler.ran", "work.after"]
    # The other two calls have raised, when their lines were in the queue already.
    names = [event["name"] for event in done.events if event["type"] == "event"]
    assert names == ["work.before", "work.first", "handler.ran", "work.second", "work.after"]


def test_what_is_recorded_while_a_module_of_ours_is_being_loaded_is_not_lost(children: Children) -> None:
    """A handler, or another thread, must not meet half a module."""
    done = children.run(
        """
        import contextlib, sys

        loaded = []

        def hook(name, args):
            if name == "exec" and args[0].co_filename.endswith("boot/leaving.py") and not loaded:
                loaded.append(args)
                with contextlib.suppress(SystemExit):
                    sys.exit(4)

        sys.addaudithook(hook)
        with contextlib.suppress(SystemExit):
            sys.exit(3)
        print(len(loaded))
        """
    )
    assert done.stdout == b"1\n"
    assert [event["data"]["code"] for event in done.named("session.exit")] == [4, 3]
