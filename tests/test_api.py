"""The API and the settings: a program that uses it runs unchanged where nothing is monitored, and nothing it gives is
an exception."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from platformdirs import user_cache_dir

from monitor_auto.boot import errors, parsing
from monitor_auto.boot import settings as boot_settings
from support.children import Children
from support.collector import Answer, Collector
from support.network import Swallower
from support.sandbox import Sandbox

UNCHANGED = """
    from monitor_auto import Monitor, __version__
    class Odd:
        def __float__(self): raise RuntimeError("no number")
    for timeout in (0.01, -1, "soon", None, float("nan"), Odd()):
        Monitor.flush(timeout)
    Monitor.event("a.b"); Monitor.event(None); Monitor.error("text"); Monitor.error(None); Monitor.error(ValueError)
    Monitor.metric("m", None); Monitor.metric("m", 1, 2)
    with Monitor.span("s") as span:
        with span:
            pass
    try:
        Monitor()
    except TypeError as error:
        print(error)
    Monitor.close(); Monitor.close()
    print(Monitor.event("late"), Monitor.error("late"), Monitor.metric("late", 1), Monitor.session, Monitor.flush())
    with Monitor.span("late"):
        print("inside")
    Monitor.init(endpoint="local:")
    print(Monitor.session, Monitor.event("late"))
"""


def test_program_that_records_runs_unchanged_where_nothing_is_monitored(children: Children) -> None:
    """A script goes from CI to a laptop and back; there it may not even print something else."""
    source = UNCHANGED.replace('Monitor.init(endpoint="local:")', "pass")
    done = children.twin(source)
    assert (done.status, done.stderr) == (0, b"")
    assert "session.end" in done.names and "late" not in done.names
    assert done.names.count("a.b") == 1
    assert children.run(UNCHANGED).stdout == done.stdout, "a closed monitor stays closed"


def test_disabled_monitor_is_dormant_whatever_the_program_asks(children: Children) -> None:
    """Who operates decides, not who programs."""
    source = """
        from monitor_auto import Monitor
        print(Monitor.init(endpoint="local:"), Monitor.session, Monitor.event("a.b"), Monitor.flush())
        try:
            Monitor.init(endpoint="local:", strict=True)
        except ValueError as error:
            print("strict")
    """
    for value in ("1", "yes", "TRUE"):
        done = children.run(source, env={"MONITOR_DISABLE": value})
        assert done.stdout == b"False None None True\nstrict\n"
        assert not done.events
    for value in ("", "0", "False"):
        assert children.run(source, env={"MONITOR_DISABLE": value}).names[-2:] == ["a.b", "session.end"]


def test_init_starts_the_monitor_where_the_environment_has_not(children: Children, collector: Collector) -> None:
    """Where a .pth never runs, this line is the only start there is; its session knows its name from the beginning."""
    source = f"""
        from monitor_auto import Monitor
        arguments = dict(endpoint={collector.url!r}, app="my-app", app_version="2.0", redact=["ward"])
        print(Monitor.init(**arguments), Monitor.init(**arguments), Monitor.session.app)
        Monitor.event("a.b", {{"Ward_Name": "east", "text": "ward=east"}})
    """
    done = children.run(source, env={"MONITOR_ENDPOINT": None})
    assert (done.stdout, done.stderr) == (b"True True my-app\n", b"")
    assert collector.names() == ["session.start", "a.b", "session.end"]
    assert {event["source"]["app"] for event in collector.events()} == {"my-app"}
    assert {event["source"]["version"] for event in collector.events()} == {"2.0"}
    assert collector.events()[1]["data"] == {"Ward_Name": "[REDACTED]", "text": "ward=[REDACTED]"}


def test_init_refines_what_the_environment_has_started(children: Children, collector: Collector) -> None:
    """Where events go is the operator's, what they are called is the program's."""
    source = """
        from monitor_auto import Monitor
        Monitor.event("before", {"ward": 1, "hook": 1}); Monitor.event("before", {"ward": 2, "hook": 1})
        Monitor.init(endpoint="http://127.0.0.1:9/v1/events", app="my-app", redact=["ward", "email"])
        Monitor.event("after", {"ward": 3, "hook": "a@b.test"})
        Monitor.event("after", {"ward": 4, "hook": "a@b.test"})
    """
    children.run(source, endpoint=collector.url, env={"MONITOR_APP": "operators-name"})
    before, after = ([e for e in collector.unique() if e["name"] == name] for name in ("before", "after"))
    assert [event["data"]["ward"] for event in before] == [1, 2]
    assert [event["data"] for event in after] == [{"ward": "[REDACTED]", "hook": "[REDACTED]"}] * 2
    assert (before[0]["source"]["app"], after[0]["source"]["app"]) == ("operators-name", "my-app")


def test_init_raises_for_wrong_arguments_only(children: Children) -> None:
    """A typing error shows at once, also on the laptop where nothing is monitored."""
    source = """
        from monitor_auto import Monitor
        for arguments in (
            dict(endpoint=5), dict(app=b"x"), dict(app_version=1.0), dict(redact="email"), dict(redact=[1]),
            dict(redact=5), dict(endpoint="ftp://host/"), dict(endpoint="http://u:pw@host/v1/events"),
            dict(endpoint="otlp+http://host:4318"), dict(endpoint=""), dict(endpoint="http://h:99999/v1/events"),
        ):
            try:
                Monitor.init(**arguments)
                print("nothing raised for", arguments)
            except (TypeError, ValueError) as error:
                (name, *_) = arguments
                print(type(error).__name__, "pw" in str(error), name in str(error), "MONITOR_E" in str(error))
        print(Monitor.init(app="x"))
        try:
            Monitor.init(strict=True)
        except ValueError as error:
            print(error)
    """
    done = children.run(source, env={"MONITOR_ENDPOINT": None})
    lines = done.stdout.decode().splitlines()
    assert lines[:6] == ["TypeError False True False"] * 6
    assert lines[6:11] == ["ValueError False True False"] * 5
    assert lines[11:] == ["False", "no endpoint: set MONITOR_ENDPOINT or pass endpoint="]
    assert not done.events


STRICT = """
    import sys
    from monitor_auto import Monitor
    if "closed" in sys.argv:
        Monitor.close()
    try:
        print(Monitor.init(strict=True))
    except ValueError as error:
        print(error)
"""


@pytest.mark.parametrize(
    ("env", "words", "text"),
    [
        ({}, [], "True"),
        ({"MONITOR_DISABLE": "1"}, [], "MONITOR_DISABLE is set in the environment"),
        ({}, ["closed"], "the session of this process was closed, and it has but one"),
        ({"MONITOR_EXCLUDE": "script.py"}, [], "an endpoint is set in the environment, but nothing was started"),
    ],
)
def test_strict_init_says_why_nothing_is_recorded(
    children: Children, env: dict[str, str], words: list[str], text: str
) -> None:
    """Who asks to be told looks for the cause where the message points."""
    done = children.run(STRICT, argv=words, env=env)
    assert (done.status, done.stderr) == (0, b"")
    assert done.stdout.decode().startswith(text)
    assert bool(done.names) == (not env)


UNUSABLE = ["http://", "ftp://host/x", "host:9090", "http://u:S3cret@host/v1/events", "otlp+http://host:4318",
            "http://host:port/v1/events", "http://ho st/v1/events", "local", "http://[::1/v1/events"]  # fmt: skip


@pytest.mark.parametrize("endpoint", UNUSABLE)
def test_endpoint_that_cannot_be_used_leaves_a_reason_in_the_debug_log(
    children: Children, tmp_path: Path, endpoint: str
) -> None:
    """The program runs on unmonitored, and whoever wonders why finds the answer."""
    log = tmp_path / "debug.log"
    source = "from monitor_auto import Monitor; print(Monitor.init(endpoint='local:'), Monitor.session)"
    done = children.run(source, endpoint=endpoint, env={"MONITOR_DEBUG": str(log)})
    assert (done.status, done.stdout, done.stderr) == (0, b"False None\n", b"")
    assert not done.events
    text = log.read_text()
    assert "not started: ValueError: " in text and "S3cret" not in text
    assert log.stat().st_mode & 0o777 == 0o600


def test_value_that_cannot_be_read_counts_as_its_default_and_is_named(children: Children, tmp_path: Path) -> None:
    """A typing error in one setting must not switch off the monitoring of a fleet."""
    log = tmp_path / "debug.log"
    names = ["SPOOL_LIMIT", "SPOOL_AGE", "BATCH_SIZE", "EXIT_TIMEOUT", "ARGV"]
    env = {f"MONITOR_{name}": "many" for name in names}
    done = children.run("pass", env={**env, "MONITOR_DEBUG": str(log)})
    assert done.names == ["session.start", "session.end"]
    for name in names:
        assert f"MONITOR_{name}" in log.read_text()


QUANTITIES = [
    ("MONITOR_SPOOL_LIMIT", "spool_limit_bytes",
     {"1000": 1000, "1KiB": 1024, "2 MiB": 2 << 20, "0.5gib": 1 << 29, "-1": None, "1KB": None, "nan": None}),
    ("MONITOR_SPOOL_AGE", "spool_age_seconds",
     {"60": 60, "1.5d": 129600, "2D": 172800, "30s": 30, "1w": None, "": None}),
    ("MONITOR_EXIT_TIMEOUT", "exit_timeout_seconds", {"0": 0, "0.5": 0.5, "7": 7, "03": 3, "-3": None, "x": None}),
    ("MONITOR_BATCH_SIZE", "batch_size", {"7": 7, "0": 1, "1e3": 1000}),
]  # fmt: skip
DEFAULTS = {
    "spool_limit_bytes": 50 << 20,
    "spool_age_seconds": 14 * 86400,
    "exit_timeout_seconds": 3,
    "batch_size": 100,
}


@pytest.mark.parametrize("variable, attribute, cases", QUANTITIES, ids=[name for name, _, _ in QUANTITIES])
def test_sizes_and_times_are_read_with_their_units(variable: str, attribute: str, cases: dict[str, float]) -> None:
    """Who writes 50MiB and gets 50 bytes loses everything."""
    for text, expected in cases.items():
        made = boot_settings.make({"MONITOR_ENDPOINT": "local:", variable: text})
        assert getattr(made, attribute) == (DEFAULTS[attribute] if expected is None else expected), text
        assert bool(made.problems) == (expected is None and text != ""), text


@given(st.text())
@settings(deadline=None)
def test_any_endpoint_is_taken_apart_or_refused(text: str) -> None:
    """What the environment holds is anybody's text; only a ValueError is expected by the start."""
    for endpoint in (text, "http://" + text, "https://h" + text, "http://u:S3cret@" + text):
        try:
            scheme, host, port, path = boot_settings.endpoint_parts(endpoint)
        except ValueError as error:
            assert "S3cret" not in str(error)
            continue
        assert scheme in ("http", "https", "local")
        assert scheme == "local" or (host and 0 < port < 65536 and path.startswith("/"))


SITE_FILE = """\ufeff# written by the operations team\r
MONITOR_ENDPOINT="local:"\r
 MONITOR_APP = 'site app' \r
export MONITOR_APP_VERSION=1=2\r
#MONITOR_DISABLE=1\r
PATH=/nowhere\r
MONITOR_SPOOL_DIR={spool}\r
nonsense"""


def test_site_file_gives_defaults_to_processes_without_an_environment(children: Children, changeable: Sandbox) -> None:
    """cron, sudo and `env -i` clear the environment; editors leave quotes, a BOM and Windows line ends in files."""
    children.sandbox = changeable  # not the one that all share
    site = children.sandbox.folder / "etc" / "monitor-auto.env"
    site.parent.mkdir(exist_ok=True)
    none: dict[str, str | None] = {"MONITOR_ENDPOINT": None, "MONITOR_SPOOL_DIR": None}
    try:
        site.write_bytes(SITE_FILE.format(spool=children.spool).encode())
        done = children.run("import os; print(os.environ['PATH'] != '/nowhere')", env=none)
        assert done.stdout == b"True\n"
        (start,) = done.named("session.start")
        assert (start["source"]["app"], start["source"]["version"]) == ("site app", "1=2")
        assert children.run("pass", env={**none, "MONITOR_APP": "own"}).events[-1]["source"]["app"] == "own"
        count = len(done.events)
        children.run("pass", env={**none, "MONITOR_DISABLE": "1"})
        assert len(done.events) == count
        site.write_text("MONITOR_DISABLE=1\n")
        source = "from monitor_auto import Monitor; print(Monitor.init(endpoint='local:'))"
        assert children.run(source, env=none).stdout == b"False\n"
    finally:
        site.unlink()


@pytest.mark.parametrize("kind", ["directory", "binary", "fifo", "dangling link"])
def test_site_file_that_cannot_be_read_is_an_empty_one(children: Children, changeable: Sandbox, kind: str) -> None:
    """It is read in every process of the machine: nothing that lies there may stop or delay one."""
    children.sandbox = changeable  # not the one that all share
    site = children.sandbox.folder / "etc" / "monitor-auto.env"
    site.parent.mkdir(exist_ok=True)
    made = {"directory": site.mkdir, "binary": lambda: site.write_bytes(os.urandom(5000)),
            "fifo": lambda: os.mkfifo(site), "dangling link": lambda: site.symlink_to("nowhere")}  # fmt: skip
    made[kind]()
    try:
        done = children.twin("print('runs')", env={"MONITOR_ENDPOINT": None})
        assert (done.stdout, done.stderr) == (b"runs\n", b"")
        assert not done.events
        assert "session.end" in children.run("pass").names, "the environment's endpoint still counts"
    finally:
        site.rmdir() if kind == "directory" else site.unlink()


ELEVATED = """
    import os, sys
    os.setresuid(65534, 0, 0)
    words = [sys.argv[1], "-c", "import os; print(os.getuid(), os.geteuid())"]
    os.execve(words[0], words, {**os.environ, "MONITOR_DEBUG": sys.argv[2]})
"""


@pytest.mark.skipif(not hasattr(os, "setresuid") or os.geteuid() != 0, reason="only root can become somebody else")
def test_setuid_program_takes_nothing_from_the_environment(
    children: Children, changeable: Sandbox, tmp_path: Path
) -> None:
    """The environment is another user's there: it must not send the events elsewhere, nor name a file to write."""
    children.sandbox = changeable  # not the one that all share
    site = children.sandbox.folder / "etc" / "monitor-auto.env"
    site.parent.mkdir(exist_ok=True)
    log = tmp_path / "log"
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "MONITOR_APP": "theirs"}
    spool = tmp_path / "site-spool"
    try:
        how = {"argv": [str(children.sandbox.python), str(log)], "env": environment}
        assert children.run(ELEVATED, bare=True, **how).stdout == b"65534 0\n"
        done = children.run(ELEVATED, **how)
        assert [event["data"]["start_method"] for event in done.named("session.start")] == ["exec"]
        site.write_text("MONITOR_ENDPOINT=ftp://unusable/\n")
        children.run(ELEVATED, bare=True, **how)
        assert not log.exists(), "no file of the caller's choice is written as root"
        site.write_text(f"MONITOR_ENDPOINT=local:\nMONITOR_SPOOL_DIR={spool}\nMONITOR_APP=ours\n")
        done = children.run(ELEVATED, bare=True, spool=spool, **how)
        assert done.stdout == b"65534 0\n"
        apps = [(event["data"]["program"], event["source"]["app"]) for event in done.named("session.start")]
        assert apps == [("script.py", "theirs"), ("-c", "ours")]
        assert done.names[-1] == "session.end"
    finally:
        site.unlink(missing_ok=True)


@pytest.mark.skipif(sys.platform != "linux", reason="the other platforms' rules are platformdirs' own")
@pytest.mark.parametrize("cache", [None, "", "  ", "/var/cache/me", "relative/cache", "/with space/", "~/c", "$HOME/c"])
def test_spool_is_where_platformdirs_says(cache: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing platformdirs would cost every process 20 ms, so its rule is written twice and has to stay one."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if cache is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", cache)
    for home in ("/home/somebody", "/root"):
        monkeypatch.setenv("HOME", home)
        expected = os.path.normpath(user_cache_dir("monitor") + "/spool")
        assert os.path.normpath(boot_settings.default_directory()) == expected


SAME = """
    import pickle, sys, copy
    from monitor_auto import Monitor

    class Slots(Exception):
        __slots__ = ("x",)
    class Frozen(Exception):
        def __setattr__(self, name, value):
            raise AttributeError(name)
    class Hidden(Exception):
        @property
        def __dict__(self):
            raise RuntimeError("no")
    class Equal(Exception):
        def __eq__(self, other):
            return True
        __hash__ = None
    for kind in (ValueError, Slots, Frozen, Hidden, Equal, OSError, KeyboardInterrupt, SystemExit):
        for number in range(300):
            error = kind(number)
            before = vars(error) if kind is not Hidden else None
            first, second = Monitor.error(error), Monitor.error(error)
            if Monitor.session:
                assert first and second is None, (kind, number)
            if kind is not Hidden:
                assert vars(error) == {}, vars(error)
            del error
    error = ValueError("x")
    Monitor.error(error)
    assert vars(pickle.loads(pickle.dumps(error))) == vars(copy.copy(error)) == {}
    raise error
"""


def test_one_exception_is_one_event_and_is_not_marked(children: Children) -> None:
    """A log call, a framework and the last hook all see it; and a test that compares or pickles it sees no more."""
    done = children.twin(SAME, timeout=120, env={"MONITOR_RATE_LIMIT": "0"})
    assert done.status == 1
    names = done.names
    assert names.count("error.ValueError") == 301
    for kind in ("Slots", "Frozen", "Hidden", "Equal", "OSError", "KeyboardInterrupt", "SystemExit"):
        assert names.count(f"error.{kind}") == 300, "an address that is used again is another exception"
    assert done.events[-1]["data"]["reason"] == "exception"


def test_memory_of_exceptions_is_bounded_and_holds_none_of_them() -> None:
    """What the program let go of is gone: files that an exception holds are closed when they would be."""
    import weakref

    class Held(Exception):
        pass

    held = [Held() for _ in range(errors.MAX_RECENT + 50)]
    assert all(errors.first_time(error) for error in held)
    assert not errors.first_time(held[-1])
    assert len(errors._recent) <= errors.MAX_RECENT
    references = [weakref.ref(error) for error in held]
    held.clear()
    assert [reference for reference in references if reference() is not None] == []


SPANS = """
    import asyncio
    from monitor_auto import Monitor

    with Monitor.span("outer.work", {"pkg": "x", "error": "own"}) as outer:
        with Monitor.span("inner.work"):
            pass
        with outer:
            pass
    for error in (ValueError("a: b"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()):
        try:
            with Monitor.span("failed.work"):
                raise error
        except BaseException as caught:
            print(caught is error, type(caught.__context__))
    async def work():
        async with Monitor.span("async.work"):
            await asyncio.sleep(0)
        try:
            async with Monitor.span("cancelled.work"):
                asyncio.current_task().cancel()
                await asyncio.sleep(10)
        except asyncio.CancelledError:
            print("cancelled")
    asyncio.run(work())
"""


def test_spans_are_timed_and_change_nothing_about_what_they_hold(children: Children) -> None:
    """`sys.exit` inside a span, or a task that is cancelled, is no error."""
    done = children.twin(SPANS)
    assert (done.status, done.stderr) == (0, b"")
    assert all(e["data"]["duration_ms"] >= 0 for e in done.events if e["name"].endswith(".work"))
    assert [e["name"] for e in done.events if e["name"].endswith("er.work")] == [
        "inner.work",
        "outer.work",
        "outer.work",
    ]
    assert done.named("outer.work")[0]["data"]["pkg"] == "x"
    failed = [event["data"]["error"] for event in done.named("failed.work")]
    assert failed == ["ValueError", "SystemExit", "KeyboardInterrupt", "GeneratorExit"]
    assert done.named("cancelled.work")[0]["data"]["error"] == "CancelledError"
    assert [name for name in done.names if name.startswith("error.")] == ["error.ValueError"]
    (error,) = done.named("error.ValueError")
    assert error["data"]["span"] == "failed.work"


def test_session_tells_who_the_process_is(children: Children) -> None:
    """Its ids go into the program's own logs, so that both can be joined."""
    source = """
        from monitor_auto import Monitor
        facts = Monitor.session
        print(facts.id, facts.trace_id, facts.span_id, facts.parent, facts.app, facts.started, sep="\\n")
        assert facts.id in repr(facts)
        Monitor.event("a.b")
        try:
            Monitor.session = None
        except AttributeError:
            print("read-only")
    """
    done = children.run(source)
    (event,) = done.named("a.b")
    session = event["session"]
    lines = done.stdout.decode().splitlines()
    assert lines == [session["id"], session["trace_id"], session["span_id"], "None", "script.py", session["started"],
                     "read-only"]  # fmt: skip


def test_flush_and_close_deliver_and_say_so(children: Children, collector: Collector) -> None:
    """A long program wants to know that what matters has arrived before it goes on."""
    source = """
        from monitor_auto import Monitor
        Monitor.event("first")
        print(Monitor.flush(timeout=30))
        Monitor.event("second")
        Monitor.close()
        print(Monitor.event("third"), Monitor.session)
    """
    done = children.run(source, endpoint=collector.url, env={"MONITOR_EXIT_TIMEOUT": "30"})
    assert done.stdout == b"True\nNone None\n"
    assert collector.names() == ["session.start", "first", "second", "session.end"]
    assert not done.events
    collector.go_away()
    assert children.run(source, endpoint=collector.url).stdout == b"False\nNone None\n"


@pytest.mark.parametrize(("interval", "is_told"), [("30", True), ("0", False)])
def test_session_that_is_closed_in_haste_is_told_in_the_debug_log(
    children: Children, interval: str, is_told: bool
) -> None:
    """Who closes the monitor after each piece of work has a request for each of them, and wonders why."""
    log = children.folder / "debug.log"
    source = "from monitor_auto import Monitor; print(Monitor.event('my.step') is not None); Monitor.close()"
    done = children.run(source, env={"MONITOR_DEBUG": str(log), "MONITOR_FLUSH_INTERVAL": interval})
    assert (done.stdout, done.stderr) == (b"True\n", b"")
    assert done.named("session.end")[0]["data"]["reason"] == "close"
    text = log.read_text() if log.exists() else ""
    assert ("less than MONITOR_FLUSH_INTERVAL (30 s)" in text) == is_told


@pytest.mark.parametrize("call", ["Monitor.flush()", "Monitor.close()"])
def test_delivery_at_the_very_end_is_left_to_the_next_process(
    call: str, children: Children, collector: Collector
) -> None:
    """A `__del__` that is called when nothing can be imported any more."""
    source = f"""
        from monitor_auto import Monitor
        class Last:
            def __del__(self, Monitor=Monitor, print=print):
                Monitor.event("last.words")
                print({call})
        last = Last()
    """
    done = children.run(source, endpoint=collector.url)
    assert done.stdout in (b"False\n", b"None\n")
    assert (done.status, done.stderr) == (0, b"")
    assert "last.words" in done.names


def test_flush_takes_any_timeout(children: Children, collector: Collector) -> None:
    """It raises nothing, and what is no number of seconds is no internal error of ours."""
    source = """
        from monitor_auto import Monitor
        print([Monitor.flush(timeout) for timeout in (float("nan"), -1, 0, None, "x", float("inf"), 10**400)])
    """
    done = children.run(source, endpoint=collector.url)
    assert done.stdout == b"[False, False, False, True, True, True, True]\n"


def test_flush_that_waits_for_another_has_one_deadline(children: Children) -> None:
    """Two threads flush, and the collector says nothing: each waits for as long as it said."""
    swallower = Swallower()
    source = """
        import threading, time
        from monitor_auto import Monitor
        other = threading.Thread(target=Monitor.flush, args=(2.5,))
        other.start()
        time.sleep(0.3)
        begin = time.monotonic()
        Monitor.flush(3)
        print(time.monotonic() - begin < 4)
        other.join()
    """
    env = {"MONITOR_EXIT_TIMEOUT": "0.1", "MONITOR_FLUSH_INTERVAL": "0"}
    done = children.run(source, endpoint=f"http://127.0.0.1:{swallower.port}/v1/events", env=env)
    swallower.close()
    assert done.stdout == b"True\n"


def test_flush_is_false_unless_everything_was_answered_for(children: Children, collector: Collector) -> None:
    """A deployment goes on when flush says yes: it must not be yes for an event that nobody has."""
    source = """
        import os
        from monitor_auto import Monitor
        def record(name):
            Monitor.event(name)
            print(Monitor.flush(timeout=30), flush=True)
        record("refused.alone")
        record("second.batch")
        spool = os.environ["SPOOL"]
        (own,) = [name for name in os.listdir(spool) if name.endswith(".jsonl") and name[0] != "l"]
        Monitor.event("replaced")
        os.rename(os.path.join(spool, own), os.path.join(spool, "kept"))
        os.symlink("kept", os.path.join(spool, own))
        record("after.that")
        print(Monitor.flush(timeout=0), Monitor.flush(timeout=-1))
    """
    collector.refuse_when = lambda body: Answer(400) if b"refused.alone" in body else None
    env = {"SPOOL": str(children.spool), "MONITOR_EXIT_TIMEOUT": "0", "MONITOR_FLUSH_INTERVAL": "0"}
    children.untold = 2  # those in the file that has no name of ours any more
    done = children.run(source, endpoint=collector.url, env=env)
    assert done.stdout.split() == [b"True", b"True", b"False", b"False", b"False"]
    assert collector.names() == ["session.start", "sdk.events.dropped", "second.batch"]
    assert b"after.that" in (children.spool / "kept").read_bytes()


def test_module_is_a_command(children: Children) -> None:
    """Where the script is not on the PATH, `python -m` has to do."""
    shown = children.run(["python", "-m", "monitor_auto", "--help"], bare=True)
    assert shown.status == 0 and b"flush" in shown.stdout and b"MONITOR_ENDPOINT" in shown.stdout
    version = children.run(["python", "-m", "monitor_auto", "--version"], bare=True)
    assert version.stdout.startswith(b"monitor-auto 0.")
    assert children.run(["python", "-m", "monitor_auto", "nonsense"], bare=True).status == 2


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_any_site_file_is_read(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """A file that is half written must not raise in the start of every process."""
    path = tmp_path_factory.getbasetemp() / "site-file"
    path.write_bytes(b"MONITOR_" + content)
    assert all(name.startswith("MONITOR_") for name in parsing.read_site_file(str(path)))
