"""The page of the collector in a real browser: what it shows, live and of hostile events, by keyboard, in bounds."""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.browser import Browser, Tab, running_browser
from support.local_collector import REQUIREMENTS, LocalCollector, event, new_id, running_local_collector
from support.realistic import batches, events_of_a_team
from support.sandbox import ROOT, Sandbox

PAGES = ROOT / "src" / "monitor_auto" / "collector" / "pages"
PLACES = ("runs", "errors", "lost", "tests", "metrics", "search")


@pytest.fixture(scope="session")
def local(sandbox_for: Callable[..., Sandbox]) -> Sandbox:
    """An environment with the extra `local`."""
    return sandbox_for(sys.executable, *REQUIREMENTS)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless Chromium."""
    with running_browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="module")
def team(local: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCollector]:
    """A collector that holds some days of a small team; not to be changed."""
    with running_local_collector(local, tmp_path_factory.mktemp("team")) as running:
        fill(running, events_of_a_team(round(time.time() * 1000)))
        yield running


@pytest.fixture
def empty(local: Sandbox, tmp_path: Path) -> Iterator[LocalCollector]:
    """A collector of this test's own, with nothing in it."""
    with running_local_collector(local, tmp_path) as running:
        yield running


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    """A page that must not complain: no exception, no error on its console, nothing the policy has stopped."""
    tab = browser.tab()
    tab.prefer("light")
    yield tab
    tab.close()
    assert tab.complaints == []


def fill(collector: LocalCollector, events: list[dict[str, Any]]) -> None:
    """Post events, all of which have to be taken."""
    for batch in batches(events):
        # ASCII: httpx cannot send a lone surrogate otherwise.
        headers = {"Content-Type": "application/json"}
        answer = collector.client.post(collector.endpoint, content=json.dumps(batch), headers=headers)
        assert answer.json()["errors"] == []


def show(tab: Tab, collector: LocalCollector, place: str = "runs") -> None:
    """Open a place of the page and wait until it is there and live."""
    tab.open("about:blank")
    tab.wait("location.href === 'about:blank'")
    tab.open(f"{collector.base}/#/{place}")
    tab.wait("document.querySelector('main h1') && document.getElementById('state').textContent === 'live'")


def root_of(collector: LocalCollector, program: str, **asked: str) -> str:
    """Return the id of the newest run of a program."""
    runs = collector.json("/v1/runs", limit=1000, **asked)["runs"]
    return next(str(run["root"]) for run in runs if run["program"] == program)


def test_runs_are_listed_with_their_outcome(team: LocalCollector, tab: Tab) -> None:
    """Whoever opens the page wants to know what went wrong last night."""
    show(tab, team)
    rows = tab.js("[...document.querySelectorAll('tbody tr')].map((row) => row.innerText)")
    assert len(rows) == len(team.json("/v1/runs")["runs"])
    nightly = next(row for row in rows if "nightly.py" in row)
    assert "failed · exit 3" in nightly and "1 child failed" in nightly and "batch-1" in nightly
    assert any("running" in row and "reindex.py" in row for row in rows)


def test_runs_are_filtered(team: LocalCollector, tab: Tab) -> None:
    """Of hundreds of runs one wants those that failed, and of one program."""
    show(tab, team)
    tab.js("document.querySelector('select[name=outcome]').focus()")
    choose = "const s = document.querySelector('select'); s.value = 'ok'"
    tab.js("{ %s; s.dispatchEvent(new Event('change', {bubbles: true})); }" % choose)
    tab.wait("location.hash === '#/runs?outcome=ok' && !document.querySelector('tbody .failed')")
    assert "backup.py" in tab.text() and "nightly.py" in tab.text()
    tab.js("document.querySelector('input[name=q]').focus()")
    tab.write("NIGHTLY")
    tab.press("Enter")
    tab.wait("!document.querySelector('tbody').innerText.includes('backup.py')")
    assert "nightly.py" in tab.text()


def test_a_run_is_a_timeline(team: LocalCollector, tab: Tab) -> None:
    """One picture has to tell what started what, what took long and what broke: children that are not Python, too."""
    show(tab, team, f"runs/{root_of(team, 'nightly.py', outcome='failed')}")
    labels = tab.js("[...document.querySelectorAll('[role=treeitem]')].map((row) => row.getAttribute('aria-label'))")
    assert labels[0].startswith("nightly.py, failed · exit 3, after 0 ms")
    assert any(label.startswith("pg_dump --format=custom sales, ended, not Python") for label in labels)
    assert any(re.match(r"import_city.py quito.csv, failed · exit 1, .*1 error$", label) for label in labels)
    assert len(labels) == 1 + 9 + 3
    bars = tab.js("[...document.querySelectorAll('.track .bar')].map((bar) => bar.getBoundingClientRect().width)")
    assert bars[0] == max(bars) > 200 and min(bars) > 0
    assert "invalid literal for int()" in tab.text(), "the first error is open from the start"


def test_the_timeline_is_used_by_keyboard(team: LocalCollector, tab: Tab) -> None:
    """Not everybody has a mouse: every process is reached, folded, zoomed to and read by keys."""
    show(tab, team, f"runs/{root_of(team, 'build_all.py')}")
    tab.js("document.querySelector('[role=tree]').focus()")
    for key in ("ArrowDown", "ArrowDown", "ArrowDown"):
        tab.press(key)
    active = "document.getElementById(document.querySelector('[role=tree]').getAttribute('aria-activedescendant'))"
    tab.wait(f"{active}.getAttribute('aria-level') === '3'")
    assert tab.js(f"{active}.getAttribute('aria-label')").startswith("git clone")
    tab.wait("document.querySelector('.about h2').innerText.startsWith('git clone')")
    tab.press("ArrowLeft")  # to its parent, which is then folded
    tab.wait(f"{active}.getAttribute('aria-level') === '2'")
    tab.press("ArrowLeft")
    tab.wait(f"{active}.getAttribute('aria-expanded') === 'false'")
    width = f"{active}.querySelector('.bar').getBoundingClientRect().width"
    before = tab.js(width)
    tab.press("+")
    tab.wait(f"{width} > {before} * 1.4")
    tab.press("0")
    tab.wait(f"Math.abs({width} - {before}) < 1")
    tab.press("End")
    tab.wait("document.querySelector('.about h2') !== null")
    bottom = "getBoundingClientRect().bottom"
    assert tab.js(f"{active}.{bottom} <= document.querySelector('[role=tree]').{bottom} + 1")


def test_the_timeline_is_used_by_mouse(team: LocalCollector, tab: Tab) -> None:
    """Pointing at a bar tells what it is; a click shows that process's own events."""
    show(tab, team, f"runs/{root_of(team, 'nightly.py', outcome='failed')}")
    spot = tab.js(
        "(() => { const rows = [...document.querySelectorAll('[role=treeitem]')];"
        " const row = rows.find((row) => row.innerText.includes('quito')); row.classList.add('quito');"
        " const b = row.querySelector('.bar').getBoundingClientRect();"
        " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
    )
    tab.move(*spot)
    tab.wait("!document.querySelector('.tip').hidden && document.querySelector('.tip').innerText.includes('exit 1')")
    tab.js("document.querySelector('[role=tree]').focus()")
    tab.press("ArrowDown")  # whoever goes on by keyboard is not to have the view covered
    tab.wait("document.querySelector('.tip').hidden")
    tab.click(".quito .bar")
    tab.wait("document.querySelector('.about h2').innerText.includes('quito')")
    names = tab.js("[...document.querySelectorAll('[role=option] .name')].map((name) => name.innerText)")
    assert names == ["session.start", "rows.imported", "import.rows_per_s", "error.ValueError", "session.end"]
    tab.click(".kinds button:last-child")
    tab.wait("document.querySelectorAll('[role=option]').length === 1")
    tab.click("[role=option]")
    tab.wait("document.querySelector('.panel .stack').innerText.includes('read_row')")


def test_errors_are_groups_with_their_stack(team: LocalCollector, tab: Tab) -> None:
    """Fourteen timeouts are one problem; where it is, since when and how often has to be seen at once."""
    show(tab, team, "errors")
    rows = tab.js("[...document.querySelectorAll('tbody tr')].map((row) => row.innerText)")
    (timeouts,) = [row for row in rows if "TimeoutError" in row]
    assert "payments.py:77:charge" in timeouts and "14" in timeouts
    tab.js("[...document.querySelectorAll('tbody a')].find((link) => link.innerText.includes('TimeoutError')).click()")
    tab.wait("document.querySelector('h1').innerText === 'TimeoutError'")
    assert 'File "~/shop/payments.py", line 77, in charge' in tab.text()
    assert len(tab.js("[...document.querySelectorAll('.occurrences > details')].map(() => 1)")) == 14
    tab.click(".occurrences summary")
    tab.wait("document.querySelector('.occurrences a[href^=\"#/runs/\"]')")


def test_lost_sessions_tell_what_is_known(team: LocalCollector, tab: Tab) -> None:
    """A worker that was killed says nothing itself; somebody has to see that it is gone, and of what."""
    show(tab, team, "lost")
    rows = tab.js("[...document.querySelectorAll('tbody tr')].map((row) => row.innerText)")
    assert len(rows) == 2
    assert "gunicorn" in rows[0] and "SIGKILL" in rows[0] and "http.server.request" in rows[0]
    assert "resize.py" in rows[1] and "SIGSEGV" in rows[1]


def test_tests_that_failed_and_slow_ones_are_shown(team: LocalCollector, tab: Tab) -> None:
    """In CI these are the two questions."""
    show(tab, team, "tests")
    failed, slow = tab.js("[...document.querySelectorAll('table')].map((table) => table.innerText)")
    assert "tests/test_billing.py::test_billing_create[5]" in failed and "assert 5 == 6" in failed
    times = [float(found) for found in re.findall(r"(\d\.\d\d) s", slow)]
    assert times and times == sorted(times, reverse=True)


def test_metrics_are_plotted_and_readable_as_numbers(team: LocalCollector, tab: Tab) -> None:
    """A worker that grows is seen in a curve; who cannot see a curve reads the numbers."""
    show(tab, team, "metrics")
    names = tab.js("[...document.querySelectorAll('.plot figcaption bdi')].map((name) => name.innerText)")
    assert "process.resources cpu_percent" in [" ".join(name.split()) for name in names]
    place = "[...document.querySelectorAll('.plot')].find((plot) => plot.innerText.includes('rss_bytes'))"
    assert re.search(
        r"\d+ values, least \d+\.\d MiB, most", tab.js(f"{place}.querySelector('svg').getAttribute('aria-label')")
    )
    assert tab.js(f"{place}.querySelector('path.series').getAttribute('d').split('L').length") > 100
    tab.js(f"{place}.querySelector('summary').click()")
    tab.wait(f"{place}.querySelectorAll('tbody tr').length > 100")


def test_search_has_filters_that_can_be_combined(team: LocalCollector, tab: Tab) -> None:
    """The one event that explains it all is found by its type, its name and a word of it."""
    show(tab, team, "search?type=error&name=error.*&q=Gateway")
    tab.wait("document.querySelector('[role=option]')")
    assert "14 events" in tab.text()
    tab.js("document.querySelector('[role=listbox]').focus()")
    tab.press("ArrowDown")
    tab.wait("document.querySelector('.panel h2').innerText === 'error.TimeoutError'")
    tab.js("document.querySelector('.panel details summary').click()")
    tab.wait("document.querySelector('.panel details .stack').innerText.includes('\"event_id\"')")
    tab.js("document.querySelector('input[name=q]').value = 'no such thing'")
    tab.js("document.querySelector('form').requestSubmit()")
    tab.wait_text("Nothing is like that")


def test_what_arrives_appears_by_itself(empty: LocalCollector, tab: Tab) -> None:
    """The page is open beside the terminal; nobody wants to reload it."""
    show(tab, empty)
    tab.wait_text("Nothing has been recorded yet")
    assert f"export MONITOR_ENDPOINT={empty.endpoint}" in tab.text()
    session = new_id()
    fill(empty, [event("session.start", session, 0, type="lifecycle", data={"program": "first.py", "pid": 7})])
    tab.wait("document.querySelector('tbody tr') && document.querySelector('tbody').innerText.includes('running')")
    tab.js("document.querySelector('tbody a').focus()")
    ended = {"reason": "exit", "exit_code": 4, "duration_ms": 10}
    fill(empty, [event("session.end", session, 1, type="lifecycle", data=ended)])
    tab.wait("document.querySelector('tbody').innerText.includes('exit 4')")
    assert tab.js("document.activeElement.innerText") == "first.py", "whoever is on a row stays there"
    tab.press("Enter")
    tab.wait("document.querySelector('[role=treeitem]')")
    fill(empty, [event("late.news", session, 2, data={"n": 1})])
    tab.wait_text("late.news")


def test_it_says_when_the_collector_is_away_and_comes_back(local: Sandbox, tmp_path: Path, tab: Tab) -> None:
    """A page that only looks alive is worse than none."""
    with running_local_collector(local, tmp_path) as first:
        fill(first, [event("session.start", new_id(), 0, type="lifecycle", data={"program": "first.py"})])
        show(tab, first)
        port = int(first.base.rpartition(":")[2])
        first.end()
        tab.wait_text("no connection")
        tab.open(f"{first.base}/#/errors")
        tab.wait_text("The collector does not answer")
    with running_local_collector(local, tmp_path, port=port) as second:
        tab.wait("document.getElementById('state').textContent === 'live'")
        tab.wait_text("No errors")
        assert second.json("/health")["total_events"] == 1


def test_a_token_is_asked_for(local: Sandbox, tmp_path: Path, tab: Tab) -> None:
    """With a token nobody reads without it; who has it types it once for a tab, and the address never shows it."""
    with running_local_collector(local, tmp_path, MONITOR_COLLECT_TOKEN="open sesame") as guarded:
        tab.open(guarded.base)
        tab.wait("document.querySelector('dialog[open]')")
        tab.write("wrong")
        tab.press("Enter")
        tab.wait(
            "document.querySelector('dialog[open]') && document.querySelector('dialog').innerText.includes('not it')"
        )
        tab.write("open sesame")
        tab.press("Enter")
        tab.wait("document.querySelector('main h1') && !document.querySelector('dialog[open]')")
        tab.wait("document.getElementById('state').textContent === 'live'")
        tab.call("Page.reload")
        tab.wait("document.querySelector('main h1') && !document.querySelector('dialog[open]')")
        assert "sesame" not in tab.js("location.href + document.body.innerHTML + JSON.stringify(localStorage)")
        assert not any("sesame" in url for url in tab.requests)


HOSTILE = (
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 2'>",
    "\" onmouseover=\"window.hacked = 3\" x=\"",
    "'><svg onload=window.hacked=4>",
    "javascript:window.hacked=5",
    "</pre></title><iframe srcdoc='<script>parent.hacked=6</script>'>",
    "{{constructor.constructor('window.hacked=7')()}}",
    "__proto__", "constructor", "toString",
    "\u202egnp.exe\u2066", "\u0000\u0007\x1b[2J", "\ud800", "A" * 30_000, "ا" * 300,
)  # fmt: skip


def hostile_session(text: str) -> tuple[str, list[dict[str, Any]]]:
    """Return a session that says `text` wherever something can be said, and its events."""
    session = new_id()
    data: dict[str, Any] = {"program": text, "host": text, "pid": 1, "argv": ["python", text, text], text: text}
    data["__proto__"] = {"hacked": 8}
    child: dict[str, Any] = {"child": text, "pid": text, "argv": [text, {}], "method": text}
    name = text if text.isprintable() and len(text) < 200 else "plain"
    error = {"type": text, "message": text, "stack": f'Traceback\n  File "{text}", line 1, in {text}', "location": text}
    source = {"sdk": "python", "app": text[:200], "platform": "linux"}
    return session, [
        event("session.start", session, 0, type="lifecycle", data=data, source=source),
        event(name, session, 1, data=data, source=source),
        event("error.Hostile", session, 2, type="error", data=error | {"level": text}, source=source),
        event("process.start", session, 3, type="lifecycle", data=child),
        event("process.exit", session, 4, type="lifecycle", data={"child": text, "duration_ms": text, "signal": text}),
        event("test.result", session, 5, data={"nodeid": text, "outcome": text, "duration_ms": text, "error": text}),
        event(name, session, 6, type="metric", data={text: 1, "__proto__": 2, "value": text}),
        event("session.lost", session, 7, type="lifecycle", data={"signal": text, "last_event": text}),
    ]


@pytest.mark.slow
def test_hostile_events_are_only_text(empty: LocalCollector, tab: Tab) -> None:
    """What programs record is anybody's: a log line of an attacker must not run in the page, nor mislead its reader."""
    sessions = []
    for text in HOSTILE:
        session, made = hostile_session(text)
        fill(empty, made)
        sessions.append(session)
    keys = [one["fingerprint"] for one in empty.json("/v1/errors")["errors"]]
    places = [*PLACES, "search?q=%3Cb%3E", "search?type=error", *(f"runs/{session}" for session in sessions)]
    said = ""
    for place in [
        *places,
        *(f"errors/{key}" for key in keys[:4]),
        *(f"metrics?session={one}" for one in sessions[-7:]),
    ]:
        show(tab, empty, place)
        if place.startswith(("runs/", "search?type")):
            tab.js("document.querySelector('[role=listbox]').focus()")
            tab.press("ArrowDown")
            tab.js("for (const one of document.querySelectorAll('details')) one.open = true")
        assert tab.js("window.hacked ?? ({}).hacked ?? null") is None
        foreign = "main script, main img, main iframe, main svg[onload], main [onmouseover]"
        assert tab.js(f"document.querySelectorAll('{foreign}').length") == 0
        assert tab.js("[...document.querySelectorAll('a')].every((link) => link.protocol === 'http:')")
        assert not re.search("[\u0000\u0007\x1b\u202e\u2066]", tab.js("document.documentElement.outerHTML")), place
        assert tab.js("document.documentElement.scrollWidth <= innerWidth"), place
        said += tab.text()
    assert "⟨202E⟩gnp.exe" in said and "<script>window.hacked = 1</script>" in said and "__proto__" in said


def test_nothing_is_loaded_from_elsewhere(team: LocalCollector, tab: Tab) -> None:
    """It works on a machine without a network, and tells nobody that it is used."""
    for place in PLACES:
        show(tab, team, place)
    assert len(tab.requests) > 20
    assert {url.split("/")[2] for url in tab.requests if url.startswith("http")} == {team.base.split("/")[2]}
    sources = "".join(path.read_text() for path in PAGES.iterdir())
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", sources)


def test_light_and_dark_follow_the_system_until_one_is_chosen(team: LocalCollector, tab: Tab) -> None:
    """Some read at night, and a switch that forgets is no switch."""
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    show(tab, team)
    light = tab.js(ground)
    tab.prefer("dark")
    dark = tab.js(ground)
    assert light != dark
    tab.click("#theme")
    tab.wait(f"{ground} === {json.dumps(light)}")
    show(tab, team)
    assert tab.js(ground) == light and "light" in tab.js("document.getElementById('theme').innerText")
    tab.click("#theme")
    tab.click("#theme")
    tab.wait(f"{ground} === {json.dumps(dark)}")


@pytest.fixture(scope="session")
def axe(sandbox_for: Callable[..., Sandbox]) -> str:
    """The source of axe-core, which checks a page against WCAG; it comes in a package of Python's index."""
    sandbox = sandbox_for(sys.executable, "--no-deps", "axe-playwright-python>=0.1.6")
    return (sandbox.site_packages / "axe_playwright_python" / "axe.min.js").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(team: LocalCollector, browser: Browser, axe: str, scheme: str) -> None:
    """Who uses a screen reader, or sees little, debugs too."""
    tab = browser.tab()
    tab.prefer(scheme)
    key = team.json("/v1/errors")["errors"][0]["fingerprint"]
    run = root_of(team, "build_all.py")
    problems: list[str] = []
    for place in (*PLACES, "search?type=error", "runs?q=nothing-like-it", f"errors/{key}", f"runs/{run}"):
        show(tab, team, place)
        if place.startswith(("runs/", "search?")):
            tab.js("document.querySelector('[role=tree], [role=listbox]').focus()")
            tab.press("ArrowDown")
        tab.js(axe + ";0")
        told = "one.id + one.nodes.slice(0, 3).map((node) => node.html.slice(0, 200) + node.failureSummary)"
        found = tab.js(f"axe.run().then((result) => result.violations.map((one) => {told}))")
        problems += [f"{place}: {one}" for one in found]
        assert tab.js("axe.version") >= "4"
    tab.close()
    assert problems == []


def test_everything_is_reached_with_the_tab_key(team: LocalCollector, tab: Tab) -> None:
    """A trap for the keyboard ends the visit."""
    show(tab, team, f"runs/{root_of(team, 'nightly.py', outcome='failed')}")
    seen = []
    for _ in range(40):
        tab.press("Tab")
        seen.append(
            tab.js("document.activeElement.getAttribute('aria-label') || document.activeElement.innerText || 'body'")
        )
    for wanted in ("Skip to the content", "Search", "Zoom in", "Processes over time", "64 events", "Events", "stack"):
        assert wanted in seen, seen
    assert seen.index("Skip to the content") == 0


@pytest.mark.slow
def test_a_hundred_thousand_events_are_no_burden(empty: LocalCollector, tab: Tab) -> None:
    """A busy day must not make the page slow: it holds the rows that are seen, and asks for more when one scrolls."""
    session = new_id()
    fill(empty, [event("session.start", session, 0, type="lifecycle", data={"program": "busy.py", "pid": 1})])
    for start in range(1, 100_000, 5_000):
        batch = [event(f"tick.{number % 9}", session, number) for number in range(start, start + 5_000)]
        assert empty.post(batch).status_code == 200
    begin = time.monotonic()
    show(tab, empty, "search")
    tab.js("document.querySelector('[role=listbox]').focus()")
    rows = "document.querySelectorAll('[role=option]').length"
    length = "document.querySelector('[role=listbox]').scrollHeight"
    for _ in range(10):
        before = tab.js(length)
        tab.press("End")
        tab.wait(f"{length} > {before}")
    assert 10 < tab.js(rows) < 100
    show(tab, empty, f"runs/{session}")
    assert "more events than" in tab.text() and tab.js(rows) < 100
    # Ten times what it took when this was written, on a machine that was busy.
    assert time.monotonic() - begin < 30
    for _ in range(30):
        assert empty.post([event("live", session, 100_000 + _)]).status_code == 200
    tab.wait("document.querySelector('footer').innerText.includes('100,031')")
    shown = tab.js("performance.getEntriesByType('resource').filter((one) => one.name.includes('/v1/runs/')).length")
    assert shown < 10, "thirty commits are not thirty questions"


def test_every_file_of_the_page_is_in_the_wheel_and_asked_for_anew(empty: LocalCollector) -> None:
    """A module that is missing, or that a browser keeps over an update, is a blank page."""
    for path in PAGES.iterdir():
        answer = empty.get(f"/static/{path.name}")
        assert answer.status_code == 200 and answer.content == path.read_bytes()
        assert answer.headers["cache-control"] == "no-cache"
        assert "javascript" in answer.headers["content-type"] or path.suffix != ".js"
        tag = answer.headers["etag"]
        assert empty.get(f"/static/{path.name}", headers={"If-None-Match": tag}).status_code == 304


def test_runs_that_began_together_are_on_one_page_each(empty: LocalCollector) -> None:
    """A page that begins after the last one's moment would leave out those that share it."""
    at = "2026-11-23T18:00:00.000+00:00"
    starts = [event("session.start", f"s{number}", type="lifecycle") for number in range(7)]
    fill(empty, [one | {"session": {"id": one["session"]["id"], "started": at}} for one in starts])
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = empty.json("/v1/runs", limit=2, **({"cursor": cursor} if cursor else {}))
        seen += [run["root"] for run in page["runs"]]
        cursor = page["next_cursor"]
    assert sorted(seen) == [f"s{n}" for n in range(7)]
    assert empty.get("/v1/runs?cursor=x").status_code == 400


def test_runs_are_asked_for_by_outcome_and_text(team: LocalCollector) -> None:
    """The page, and every script that asks, gets only what it wants; what the list says and the filter agree."""
    everything = team.json("/v1/runs", limit=1000)["runs"]
    for outcome in ("ok", "failed", "lost", "open"):
        wanted = [run["root"] for run in everything if run["outcome"] == outcome]
        assert [run["root"] for run in team.json("/v1/runs", limit=1000, outcome=outcome)["runs"]] == wanted
    # Of the whole tree: a child's program finds its run.
    found = team.json("/v1/runs", q="IMPORT_city")["runs"]
    assert {run["program"] for run in found} == {"nightly.py"} and len(found) == 3
    answer = team.get("/v1/runs?outcome=bad")
    assert answer.status_code == 400 and answer.json()["fields"] == ["outcome"]


def test_metrics_name_their_session(team: LocalCollector) -> None:
    """An id says nothing to anybody: the program and its host do."""
    metrics = team.json("/v1/metrics", limit=1000)["metrics"]
    server = [metric for metric in metrics if metric["name"] == "process.resources"]
    assert {metric["program"] for metric in server} == {"gunicorn"} and {metric["host"] for metric in server} == {
        "web-1"
    }
    assert all(isinstance(metric["pid"], int) for metric in server)


def test_half_a_surrogate_pair_does_not_hide_the_rest(empty: LocalCollector) -> None:
    """One program with odd file names must not turn every list that it is in into an error."""
    fill(empty, [event("odd", new_id(), 0, data={"path": "\ud800"}), event("fine", new_id(), 0)])
    assert [one["name"] for one in empty.events()] == ["fine", "odd"]
    assert empty.events()[1]["data"] == {"path": "\ud800"}


def test_pages_that_were_left_keep_no_connection(team: LocalCollector, tab: Tab) -> None:
    """A browser keeps what one has left, to go back to, and has six connections to a server."""
    begin = time.monotonic()
    for number in range(20):  # it took a minute every sixth time
        show(tab, team, ("runs", "errors")[number % 2])
    assert time.monotonic() - begin < 100, "each of the browser's connections was held by a page that nobody sees"
    tab.js("history.go(-2)")
    tab.wait("location.href !== 'about:blank' && document.getElementById('state').textContent === 'live'")
