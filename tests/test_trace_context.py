"""W3C trace context: taken over from what started us, handed to whatever we start, invisible to the program itself."""

import os
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_auto.boot import inherited
from support.children import Children, Run
from support.sandbox import SUPPORTED, Sandbox, other_pythons

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
OUTER = f"00-{TRACE}-{SPAN}-01"
SHOW = "echo $TRACEPARENT $TRACESTATE"
HEX = "0123456789abcdef"


def by_program(done: Run) -> dict[str, dict[str, Any]]:
    """Return every `session.start` by the program that it is of."""
    return {event["data"]["program"]: event for event in done.named("session.start")}


def handed(event: dict[str, Any], flags: str = "01") -> str:
    """Return the TRACEPARENT that names a session."""
    return f"00-{event['session']['trace_id']}-{event['session']['span_id']}-{flags}"


@pytest.mark.parametrize(
    ("given_text", "flags"),
    [
        (OUTER, "01"),
        (f"00-{TRACE}-{SPAN}-00", "00"),
        (f"00-{TRACE}-{SPAN}-03", "03"),
        (f"00-{TRACE}-{SPAN}-fd", "01"),
        (f"01-{TRACE}-{SPAN}-01", "01"),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", "01"),
        (f" {OUTER}\t", "01"),
    ],
)
def test_trace_of_what_started_us_is_ours(children: Children, given_text: str, flags: str) -> None:
    """The tree hangs below the CI job's own trace; whether that is sampled is not for us to change."""
    done = children.twin(
        f"import os; print(os.environ['TRACEPARENT']); os.system('{SHOW} > handed')",
        env={"TRACEPARENT": given_text, "TRACESTATE": "vendor=1,other=2"},
    )
    (start,) = done.named("session.start")
    assert (start["session"]["trace_id"], start["data"]["parent_span_id"]) == (TRACE, SPAN)
    shown = (children.folder / "cwd" / "handed").read_text()
    assert shown == f"{handed(start, flags)} vendor=1,other=2\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}0-01",
        f"cc-{TRACE}-{SPAN}-01.future",
        f"00-{TRACE}-{SPAN}-0x",
        "x" * 100_000,
    ],
)
def test_malformed_trace_counts_as_none(children: Children, text: str) -> None:
    """A variable that somebody has filled with something else must not end up in every event."""
    done = children.twin("import os; print(len(os.environ['TRACEPARENT']))", env={"TRACEPARENT": text})
    (start,) = done.named("session.start")
    assert start["session"]["trace_id"] not in (TRACE, "0" * 32)
    assert "parent_span_id" not in start["data"]


@given(st.text(alphabet=HEX + "-AZ \n\0é", max_size=60) | st.text(max_size=60))
def test_what_is_taken_over_is_always_well_formed(text: str) -> None:
    """Whatever is in the variable: what we hand on is read by programs that may be less careful."""
    context = inherited.context_of(text)
    if context is not None:
        assert [len(part) for part in context] == [32, 16, 2]
        assert set("".join(context)) <= set(HEX)
        assert text.strip()[3:52] == "-".join(context[:2])


@given(st.text(alphabet=HEX + ":-", max_size=120) | st.text(max_size=120), st.text(max_size=60))
def test_strange_parent_is_no_parent(text: str, traceparent: str) -> None:
    """MONITOR_PARENT is a variable that anybody can set; its parts become file names."""
    found = inherited.lineage_of(text, traceparent)
    assert found is None or set("".join(found)) <= set(HEX + "-")


def test_children_of_every_kind_get_the_trace(children: Children) -> None:
    """A shell script's curl can send it on, and a child Python hangs below the session that started it."""
    source = """
        import os, subprocess, sys
        subprocess.run([sys.executable, "child.py"])
        os.system("%s > shell")
        subprocess.run(["sh", "-c", "%s > popen"])
        pid = os.fork()
        if not pid:
            os.system("%s > fork")
            os._exit(0)
        os.waitpid(pid, 0)
        print("TRACEPARENT" in os.environ, "TRACEPARENT" in dict(os.environ))
    """ % ((SHOW,) * 3)
    child = f"import os; os.system('{SHOW} > grandchild')"
    (children.folder / "cwd").mkdir()
    (children.folder / "cwd" / "child.py").write_text(child)
    done = children.twin(source, cwd=children.folder / "cwd")
    assert done.stdout == b"False False\n"
    starts = done.named("session.start")
    root = next(event for event in starts if "parent" not in event["session"])
    child_start = by_program(done)["child.py"]
    forked = next(event for event in starts if event["data"]["start_method"] == "fork")
    shown = {name: (children.folder / "cwd" / name).read_text().strip() for name in ("shell", "popen", "fork")}
    assert shown == {"shell": handed(root), "popen": handed(root), "fork": handed(forked)}
    assert (children.folder / "cwd" / "grandchild").read_text().strip() == handed(child_start)
    for event in (child_start, forked):
        assert event["session"]["parent"] == root["session"]["id"]
        assert event["session"]["trace_id"] == root["session"]["trace_id"]
        assert event["data"]["parent_span_id"] == root["session"]["span_id"]
    assert "parent_span_id" not in root["data"]


@pytest.mark.parametrize(("outer", "shown"), [(None, ""), (OUTER, OUTER)])
def test_switched_off_it_hands_down_nothing_of_ours(children: Children, outer: str | None, shown: str) -> None:
    """A program whose children must not see a trace still has one tree of sessions."""
    source = f"""
        import os, subprocess, sys
        os.system("{SHOW}")
        subprocess.run([sys.executable, "-c", "import os; print(os.environ.get('TRACEPARENT', ''))"])
    """
    done = children.twin(source, env={"MONITOR_PROPAGATE": "0", "TRACEPARENT": outer})
    assert done.stdout.decode() == f"{shown}\n{shown}\n"
    root, child = done.named("session.start")
    assert child["session"]["trace_id"] == root["session"]["trace_id"]
    assert child["data"]["parent_span_id"] == root["session"]["span_id"]


def test_copy_of_the_environment_does_not_cut_the_parent_out(children: Children) -> None:
    """Programs give `os.environ` to their children, and that still names the span that they were started under."""
    source = """
        import os, subprocess, sys
        ours = subprocess.check_output(["sh", "-c", "echo $MONITOR_PARENT"], text=True).strip()
        subprocess.run([sys.executable, "-c", "pass"], env={**os.environ, "MONITOR_PARENT": ours})
    """
    root, child = children.run(source, env={"TRACEPARENT": OUTER}).named("session.start")
    assert child["session"]["parent"] == root["session"]["id"]
    assert (child["session"]["trace_id"], child["data"]["parent_span_id"]) == (TRACE, root["session"]["span_id"])


def test_span_between_parent_and_child_is_kept(children: Children) -> None:
    """A script that opens a span of its own, by otel-cli for example, puts it into TRACEPARENT for what it starts."""
    other = "11111111111111111111111111111111-2222222222222222"
    program = f"import os; os.system('TRACEPARENT=00-{other}-00 ' + os.sys.executable + ' -c pass')"
    root, child = children.run(program).named("session.start")
    assert child["session"]["parent"] == root["session"]["id"]
    assert f"{child['session']['trace_id']}-{child['data']['parent_span_id']}" == other
    assert root["session"]["trace_id"] not in other


def test_parent_that_has_ended_is_the_parent_still(children: Children) -> None:
    """Daemons and `&` outlive what started them; that is no reason to lose the thread."""
    os.mkfifo(children.folder / "go")
    source = """
        import os, subprocess, sys
        subprocess.Popen(["sh", "-c", 'read line < "$1"; exec "$0" -c "pass"', sys.executable, sys.argv[1]])
    """
    running = children.start(source, argv=[str(children.folder / "go")])
    running.process.wait(60)
    (children.folder / "go").write_text("now\n")
    root, child = running.finish().named("session.start")
    assert child["session"]["parent"] == root["session"]["id"]
    assert child["session"]["trace_id"] == root["session"]["trace_id"]
    assert child["data"]["parent_span_id"] == root["session"]["span_id"]


def test_program_after_exec_hangs_below_the_one_before(children: Children) -> None:
    """The pid stays and the program is another: a session of its own in the same trace."""
    source = "import os, sys; os.execv(sys.executable, [sys.executable, '-c', 'pass'])"
    first, second = children.twin(source, env={"TRACEPARENT": OUTER}).named("session.start")
    assert second["session"]["parent"] == first["session"]["id"]
    assert second["session"]["trace_id"] == first["session"]["trace_id"] == TRACE
    assert second["data"]["parent_span_id"] == first["session"]["span_id"]


def test_program_can_send_the_trace_on_itself(children: Children) -> None:
    """For protocols that we do not know, and for OpenTelemetry's own spans."""
    source = """
        import os
        from monitor_auto import Monitor
        assert Monitor.session.traceparent == os.popen("echo $TRACEPARENT").read().strip()
        print(Monitor.session.traceparent)
    """
    done = children.run(source, env={"TRACEPARENT": f"00-{TRACE}-{SPAN}-00"})
    assert done.stdout.decode().strip() == handed(done.named("session.start")[0], "00"), done.stderr


RELOAD = """
    import os
    print(sorted(name for name in os.environ if "PARENT" in name), os.environ.get("TRACEPARENT"))
    if hasattr(os, "reload_environ"):
        os.reload_environ()
    print(sorted(name for name in os.environ if "PARENT" in name), os.environ.get("TRACEPARENT"))
    os.environ["TRACEPARENT"] = "of the program"
    if hasattr(os, "reload_environ"):
        os.reload_environ()
    print(sorted(name for name in os.environ if "PARENT" in name), os.environ.get("TRACEPARENT"), flush=True)
    os.system("echo $TRACEPARENT")
"""


@pytest.mark.parametrize("version", SUPPORTED[SUPPORTED.index("3.14") :])
@pytest.mark.parametrize("outer", [None, OUTER])
def test_reloading_the_environment_shows_nothing_of_ours(
    children: Children, sandbox_for: Callable[..., Sandbox], version: str, outer: str | None
) -> None:
    """`os.reload_environ` (3.14) reads the C environment, where children find what we hand down."""
    own = "%d.%d" % sys.version_info[:2]
    if version not in {**other_pythons(), own: sys.executable}:
        pytest.skip(f"no Python {version} on this machine")
    python = sandbox_for({**other_pythons(), own: sys.executable}[version])
    done = children.twin(RELOAD, env={"TRACEPARENT": outer}, python=python)
    assert done.stdout.endswith(b"['TRACEPARENT'] of the program\nof the program\n")
    assert done.names[0] == "session.start"


def test_environment_of_a_child_with_nothing_in_it_stays_empty(children: Children) -> None:
    """What is handed down for the asking must not leak into environments that the program has made itself."""
    done = children.twin("import subprocess; subprocess.run(['env'], env={})")
    assert done.stdout == b""
    assert "session.start" in done.names


def test_parent_of_a_child_that_is_not_python_is_named(children: Children) -> None:
    """What a shell in between starts is a child of the last Python above it."""
    words = ["python", "-c", "import os, sys; os.system(f'sh -c \"{sys.executable} -c pass; true\"')"]
    root, child = children.twin(words).named("session.start")
    assert child["session"]["parent"] == root["session"]["id"]


SPANNED = """
    import asyncio, os, subprocess, sys
    from monitor_auto import Monitor
    code = "import os; from monitor_auto import Monitor; Monitor.event('{}')"
    def asynchronous(words):
        async def main():
            return await (await asyncio.create_subprocess_exec(*words)).wait()
        return asyncio.run(main())
    def fork(words):
        pid = os.fork()
        if pid == 0:
            Monitor.event(words[-1].split("'")[1])
            os._exit(0)
        return os.waitpid(pid, 0)[1]
    def fork_exec(words):
        pid = os.fork()
        if pid == 0:
            os.execv(words[0], words)
        return os.waitpid(pid, 0)[1]
    WAYS = {
        "run": lambda words: subprocess.run(words).returncode,
        "given": lambda words: subprocess.run(words, env={}).returncode,
        "preexec": lambda words: subprocess.run(words, preexec_fn=int).returncode,
        "spawn": lambda words: os.spawnv(os.P_WAIT, words[0], words),
        "posix_spawn": lambda words: os.waitpid(os.posix_spawn(words[0], words, {}), 0)[1],
        "system": lambda words: os.system(f'{words[0]} -c "{words[2]}"'),
        "asyncio": asynchronous, "fork": fork, "fork_exec": fork_exec,
    }
    for way, start in WAYS.items():
        with Monitor.span("work." + way):
            print(way, start([sys.executable, "-c", code.format("child." + way)]), flush=True)
            os.system(f"echo $TRACEPARENT > in.{way}")
        os.system(f"echo $TRACEPARENT > after.{way}")
    print(sorted(name for name in os.environ if name in ("TRACEPARENT", "MONITOR_PARENT")))
"""


def test_child_of_a_span_hangs_below_it_however_it_is_started(children: Children) -> None:
    """A timeline shows a child within the request or the piece of work that has started it, or it shows a heap."""
    done = children.run(SPANNED)
    assert (done.status, done.stderr) == (0, b"")
    assert done.stdout.splitlines()[-1] == b"[]"
    (root,) = [event for event in done.named("session.start") if event["session"].get("parent") is None]
    sessions = {event["session"]["id"]: event for event in done.named("session.start")}
    ways = [name[6:] for name in done.names if name.startswith("child.")]
    assert sorted(ways) == sorted(
        {"run", "given", "preexec", "spawn", "posix_spawn", "system", "asyncio", "fork", "fork_exec"}
    )
    for way in ways:
        (span,) = done.named("work." + way)
        (child,) = done.named("child." + way)
        above = sessions[child["session"]["id"]]
        while above["session"].get("parent") != root["session"]["id"]:  # a forked one that has called exec
            above = sessions[above["session"]["parent"]]
        assert above["data"]["parent_span_id"] == span["span"]["span_id"], way
        assert child["session"]["trace_id"] == root["session"]["trace_id"]
        own = [row for row in done.named("process.start") if row["session"]["id"] == root["session"]["id"]]
        assert [row for row in own if row.get("span", {}).get("span_id") == span["span"]["span_id"]], way
        inside, after = ((children.folder / "cwd" / f"{when}.{way}").read_text().strip() for when in ("in", "after"))
        assert inside.split("-")[2] == span["span"]["span_id"], way
        assert after == handed(root)


def test_traceparent_that_the_program_has_set_is_not_that_of_a_span(children: Children) -> None:
    """A program with a tracer of its own knows better what its children belong to."""
    source = f"""
    import os
    from monitor_auto import Monitor
    os.environ["TRACEPARENT"] = "{OUTER}"
    with Monitor.span("work.all"):
        os.system("echo $TRACEPARENT > handed")
    """
    done = children.run(source)
    assert len(done.named("work.all")) == 1
    assert (children.folder / "cwd" / "handed").read_text() == OUTER + "\n"
