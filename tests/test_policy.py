"""When a living session delivers: the one object that thread, task and simulation share, asked without a clock."""

from monitor_auto.delivery.policy import ORPHAN_PAUSE_SECONDS, QUICKEST_SECONDS, Policy

START = 1000.0


def policy(interval: float = 30, batch: int = 100, heartbeat: float = 300, chance: float = 0.5) -> Policy:
    """Make one that begins at START."""
    return Policy(interval, batch, heartbeat, START, 0, lambda: chance)


def test_first_flush_waits_a_random_part_of_the_interval() -> None:
    """A hundred machines that restart together must not call together."""
    assert policy(chance=0).is_flush_due(START, 0)
    assert not policy(chance=1).is_flush_due(START + 29.9, 99)
    assert policy(chance=1).is_flush_due(START + 30, 1)
    assert policy(chance=0.25).seconds_until_due(START, 1) == 7.5


def test_flush_comes_at_once_when_a_batch_is_full_and_else_after_the_interval() -> None:
    """What matters arrives soon, and a quiet program costs the collector two requests a minute."""
    asked = policy(chance=1)
    assert asked.is_flush_due(START + 1, 100)
    asked.on_flush(START + 1, 100)
    asked.on_success(START + 1.1)
    assert not asked.is_flush_due(START + 30.9, 199)
    assert asked.is_flush_due(START + 31, 100)
    assert asked.is_flush_due(START + 2, 200)


def test_program_that_records_without_end_is_flushed_a_few_times_a_second() -> None:
    """Each flush costs a rotation of the segment: a thousand of them a second would be felt."""
    asked = policy()
    asked.on_flush(START, 1000)
    assert not asked.is_flush_due(START + QUICKEST_SECONDS / 2, 5000)
    assert asked.seconds_until_due(START, 5000) == QUICKEST_SECONDS
    assert asked.is_flush_due(START + QUICKEST_SECONDS, 5000)


def test_flush_that_a_fork_has_cut_off_is_due_again() -> None:
    """What waits for the next interval, or the next full batch, may wait for half a minute in a program that forks."""
    asked = policy(chance=1)
    asked.on_flush(START + 1, 250)
    asked.on_cut()
    assert asked.is_flush_due(START + 1 + QUICKEST_SECONDS, 250)
    asked.on_flush(START + 30, 255)
    asked.on_cut()
    assert asked.is_flush_due(START + 31, 255)
    asked.on_flush(START + 31, 255)
    asked.on_success(START + 32)
    assert not asked.is_flush_due(START + 33, 255)


def test_batches_get_smaller_while_forks_cut_flushes_off() -> None:
    """A program that forks for each request leaves a few milliseconds: what cannot be sent in these never is."""
    asked, batches = policy(batch=100), []
    for number in range(4):
        asked.on_flush(START + number, 0)
        batches.append(asked.batch)
        asked.on_cut()
    assert batches == [100, 25, 6, 5]
    asked.on_success(START + 5)
    assert asked.batch == 100
    assert policy(batch=2).batch == 2


def test_pause_doubles_up_to_five_minutes_and_ends_with_a_success() -> None:
    """A collector that is away must neither be hammered nor forgotten."""
    asked, now, pauses = policy(heartbeat=0), START, []
    for _ in range(10):
        asked.on_flush(now, 0)
        asked.on_failure(now, 503, False, 0)
        pauses.append(asked.seconds_until_due(now, 100_000))
        assert not asked.is_flush_due(now + pauses[-1] - 0.1, 100_000)
        now += pauses[-1]
        assert asked.is_flush_due(now, 0)
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300, 300]
    asked.on_success(now)
    assert asked.failures == 0
    asked.on_failure(now, 503, False, 0)
    assert asked.seconds_until_due(now, 0) == 5


def test_collector_that_asks_for_a_pause_gets_it() -> None:
    """Retry-After of 15 minutes is longer than any pause of ours; those that were told together come back apart."""
    asked = policy(chance=0, heartbeat=0)
    asked.on_failure(START, 429, False, 900)
    assert asked.seconds_until_due(START, 100) == 900
    assert asked.is_throttled
    late = policy(chance=1, heartbeat=0)
    late.on_failure(START, 429, False, 900)
    assert 900 < late.seconds_until_due(START, 100) <= 1080
    late.on_success(START + 1000)
    assert not late.is_throttled


def test_wrong_address_is_left_alone_for_five_minutes() -> None:
    """It does not heal by itself, and the collector behind it may be somebody else's."""
    asked = policy()
    asked.on_failure(START, 401, True, 0)
    assert asked.seconds_until_due(START, 500) == 300


def test_heartbeat_comes_after_silence_and_not_while_the_program_records() -> None:
    """A session that says nothing for hours looks like one that was lost."""
    asked = policy(heartbeat=60)
    assert not asked.is_heartbeat_due(START + 59, 0)
    assert asked.is_heartbeat_due(START + 60, 0)
    asked.on_heartbeat(START + 60)
    assert not asked.is_heartbeat_due(START + 119, 0)
    assert not asked.is_heartbeat_due(START + 120, 1)
    assert asked.is_heartbeat_due(START + 180, 1)
    assert not policy(heartbeat=0).is_heartbeat_due(START + 1e6, 0)


def test_orphans_come_in_batches_apart_and_faster_from_a_quick_collector() -> None:
    """A backlog of thousands must not fall upon a collector that has just come back."""
    asked = policy()
    assert not asked.are_orphans_due(START + 100)
    asked.on_success(START)
    assert ORPHAN_PAUSE_SECONDS[0] <= asked.seconds_until_due(START, 0) <= ORPHAN_PAUSE_SECONDS[1]
    asked.on_orphans(START + 3, 100, 0.01)
    quick = asked.seconds_until_due(START + 3, 0)
    assert asked.orphan_batch == 100
    asked.on_orphans(START + 3, 100, 2.0)
    assert quick < asked.seconds_until_due(START + 3, 0) == ORPHAN_PAUSE_SECONDS[1]
    assert asked.orphan_batch == 50
    asked.on_orphans(START + 3, 0, 0)
    assert not asked.are_orphans_due(START + 1000)


def test_orphans_wait_while_the_collector_fails() -> None:
    """The session's own events are the first to be tried again."""
    asked = policy()
    asked.on_success(START)
    asked.on_failure(START + 1, 0, False, 0)
    assert not asked.are_orphans_due(START + 100)
