"""MONITOR_SAMPLE, and what a collector that is overrun asks for: which part is kept, and that the rest is counted."""

from collections import Counter
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_auto.boot import sampling
from support.account import accounts, assert_adds_up
from support.children import Children
from support.collector import UNAVAILABLE, Answer, Collector

MIXED = """
    from monitor_auto import Monitor
    ids = []
    for number in range(2000):
        ids.append(Monitor.metric("load.number", number))
        ids.append(Monitor.event("click.button", {"number": number}))
        ids.append(Monitor.event("work.step", {"number": number}))
    print(sum(given is None for given in ids))
"""
TOO_MANY = Answer(429, b"slower")


def test_each_type_and_name_is_kept_at_its_own_rate(children: Children) -> None:
    """Metrics by the thousand may be thinned out; the step that somebody waits for may not."""
    env = {"MONITOR_SAMPLE": "metric=0.1, event:click.*=0.02"}
    done = children.run(MIXED, env=env)
    names = Counter(done.names)
    # Six standard deviations of a binomial distribution: once in a billion runs by chance.
    assert 200 - 81 < names["load.number"] < 200 + 81
    assert 1 < names["click.button"] < 40 + 38
    assert names["work.step"] == 2000
    left_out = 4000 - names["load.number"] - names["click.button"]
    assert int(done.stdout) == left_out
    produced, sampled = (done.named(f"sdk.events.{name}")[-1]["data"]["value"] for name in ("produced", "sampled"))
    assert produced - sampled == left_out
    assert not done.ledger, "what was not wanted is no loss"
    (counts,) = accounts(children.spool).values()
    assert (counts.sampled_out, counts.gaps, counts.dropped) == (left_out, 0, 0)
    assert counts.produced == len(done.events) + left_out


@pytest.mark.parametrize(
    ("value", "metrics"), [("metric=0", 0), ("metric=1", 2000), ("metric=100%", 2000), ("all", 2000)]
)
def test_all_and_nothing_are_exact(children: Children, value: str, metrics: int) -> None:
    """Chance has no say where somebody wants all, or none."""
    done = children.run(MIXED, env={"MONITOR_SAMPLE": value})
    names = Counter(done.names)
    assert (names["load.number"], names["click.button"], names["work.step"]) == (metrics, 2000, 2000)


def test_what_is_sampled_out_does_not_count_for_the_rate_limit(children: Children) -> None:
    """Who samples has decided what to keep; the limit is for what is kept."""
    source = """
        from monitor_auto import Monitor
        for number in range(20_000):
            Monitor.metric("load.number", number)
        print(sum(Monitor.event("work.step") is not None for _ in range(8000)))
    """
    done = children.run(source, env={"MONITOR_SAMPLE": "metric=0.01"})
    assert done.stdout == b"8000\n"
    assert not done.ledger


def test_after_an_error_everything_is_kept(children: Children) -> None:
    """What came after the failure is what somebody will read."""
    source = MIXED + '    Monitor.error("trouble")\n' + MIXED.replace("from monitor_auto import Monitor", "")
    done = children.run(source, env={"MONITOR_SAMPLE": "metric=0,event=0"})
    names = Counter(done.names)
    assert (names["load.number"], names["click.button"], names["work.step"]) == (2000, 2000, 2000)
    first, second = done.stdout.split()
    assert (first, second) == (b"6000", b"0")
    (rate,) = done.named("sdk.sampling.rate")
    assert rate["data"] == {"value": 1.0, "reason": "an error was recorded: everything is kept"}


def test_errors_and_sessions_are_never_sampled(children: Children) -> None:
    """Whatever somebody writes into the setting; and they are told that it means nothing."""
    env = {"MONITOR_SAMPLE": "error=0,lifecycle=0,metric=0"}
    done = children.run('from monitor_auto import Monitor\nMonitor.error("trouble")', env=env)
    assert done.names[0] == "session.start"
    assert done.names[-1] == "session.end"
    assert "error.message" in done.names
    found = children.run(["python", "-m", "monitor_auto", "doctor"], env=env)
    assert found.stdout.count(b"is never sampled") == 2


@pytest.mark.parametrize(
    "value", ["metric", "metric=2", "metric=-0.1", "span=0.1", "=0.1", "click.*=0.1", "metric=nan"]
)
def test_a_part_that_makes_no_sense_is_told_and_the_rest_holds(children: Children, value: str) -> None:
    """A typing error must not throw events away, nor switch the other rules off."""
    env = {"MONITOR_SAMPLE": f"{value},event:work.*=0"}
    done = children.run(MIXED, env=env)
    names = Counter(done.names)
    assert (names["load.number"], names["click.button"], names["work.step"]) == (2000, 2000, 0)
    found = children.run(["python", "-m", "monitor_auto", "doctor"], env=env)
    assert found.stdout.count(b"MONITOR_SAMPLE has a part") == 1


def test_nothing_of_it_is_loaded_where_nobody_asks(children: Children) -> None:
    """Every process of the machine would pay for what a few want."""
    source = MIXED + "    from monitor_auto import boot; print('sampling' in vars(boot), 'selfreport' in vars(boot))\n"
    assert children.run(source).stdout == b"0\nFalse False\n"
    assert children.run(source, env={"MONITOR_SAMPLE": "metric=0.5"}).stdout.split()[1:] == [b"True", b"False"]


def test_a_forked_child_is_sampled_anew(children: Children) -> None:
    """Its parent's error is not its own, and what its parent left out is not its count."""
    source = """
        import os
        from monitor_auto import Monitor
        def record():
            return sum(Monitor.event("work.step") is not None for _ in range(1000))
        assert record() == 0
        Monitor.error("trouble")
        assert record() == 1000
        if os.fork() == 0:
            assert record() == 0
            os._exit(0)
        assert os.wait()[1] == 0
    """
    done = children.run(source, env={"MONITOR_SAMPLE": "event=0"})
    assert done.status == 0
    (counts,) = accounts(children.spool).values()
    assert (counts.sampled_out, counts.gaps) == (2000, 0)


def test_a_collector_that_is_overrun_gets_half_until_it_clears(children: Children, collector: Collector) -> None:
    """429 says: less. All that go on sending the same would keep it down."""
    source = """
        from monitor_auto import Monitor
        def record():
            return sum(Monitor.event("work.step") is not None for _ in range(1000))
        def flush():
            Monitor.event("flush.next")
            return Monitor.flush(30)
        print(record(), flush(), record(), flush(), record(), flush(), record())
    """
    collector.answer_next(TOO_MANY, TOO_MANY)
    done = children.run(source, endpoint=collector.url, env={"MONITOR_EXIT_TIMEOUT": "30"})
    before, first, halved, second, quartered, third, after = done.stdout.split()
    assert (before, after) == (b"1000", b"1000")
    assert (first, second, third) == (b"False", b"False", b"True")
    assert 500 - 95 < int(halved) < 500 + 95
    assert 250 - 83 < int(quartered) < 250 + 83
    rates = [event["data"]["value"] for event in collector.unique() if event["name"] == "sdk.sampling.rate"]
    assert rates == [0.5, 0.25, 1.0]
    assert_adds_up(children.spool)


def test_other_failures_do_not_thin_out(children: Children, collector: Collector) -> None:
    """A collector that is away takes everything later: that is what the spool is for."""
    source = """
        from monitor_auto import Monitor
        Monitor.event("work.step")
        print(Monitor.flush(30), sum(Monitor.event("work.step") is not None for _ in range(1000)))
    """
    collector.answer_next(UNAVAILABLE)
    done = children.run(source, endpoint=collector.url, env={"MONITOR_EXIT_TIMEOUT": "0"})
    assert done.stdout == b"False 1000\n"


@given(st.text("ab.*", max_size=12), st.text("ab.", max_size=12))
def test_globs_mean_what_everybody_takes_them_for(glob: str, name: str) -> None:
    """Only * is special; fnmatch is what people have in mind, and is not there in every process."""
    assert sampling.matches(glob, name) == fnmatchcase(name, glob)


@given(st.text(max_size=60))
def test_no_value_stops_a_start(text: str) -> None:
    """A setting is read while the interpreter starts: whatever it is, the program runs."""
    problems: list[str] = []
    for kind, glob, rate in sampling.rules_of(text, problems):
        assert kind in sampling.KINDS
        assert glob
        assert 0 <= rate <= 1
