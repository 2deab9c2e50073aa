"""The spool's bounds while programs record as fast as they can: what one of them adds in a second may be more than all
that may wait there.
"""

from pathlib import Path

import pytest

from support.children import Children
from support.spool import segments

MIB = 1 << 20
RECORDING = """
    import os, sys
    from monitor_auto import Monitor
    size, count, begin = int(sys.argv[1]), int(sys.argv[2]), sys.stdin.readline()
    spool = os.environ.get("MONITOR_SPOOL_DIR", ".")
    pad, most = "m y " * (size // 4), 0
    for number in range(count):
        Monitor.metric("load.number", number, {"pad": pad})
        if number % 500 == 0:
            Monitor.error("trouble %d" % number)
        if number % 20 == 0:
            found = 0
            with os.scandir(spool) as entries:
                for entry in entries:
                    try:
                        found += entry.stat().st_size
                    except OSError:
                        pass
            most = max(most, found)
    print(most)
"""


def size_of(spool: Path) -> int:
    """Return the bytes of all segments in a spool."""
    return sum(path.stat().st_size for path in segments(spool))


def told(children: Children, programs: int, size: int, count: int) -> int:
    """Let so many programs record at the same time, and return the most bytes that one of them has seen."""
    env = {"MONITOR_SPOOL_LIMIT": "1MiB", "MONITOR_RATE_LIMIT": "0"}
    running = [children.start(RECORDING, argv=[str(size), str(count)], env=env, stdin=-1) for _ in range(programs)]
    for child in running:
        assert child.process.stdin is not None
        child.process.stdin.write(b"go\n")
        child.process.stdin.flush()
    return max(int(child.finish().stdout) for child in running)


@pytest.mark.parametrize(("size", "count"), [(200, 10_000), (8_000, 1_500), (50_000, 300)])
def test_programs_at_full_speed_do_not_overrun_a_small_spool(children: Children, size: int, count: int) -> None:
    """A loop gone wild in every worker of a server has filled a small disk before anybody looks."""
    most = told(children, 4, size, count)
    assert MIB // 2 < most < MIB + 4 * 3 * MIB // 8
    assert MIB // 4 < size_of(children.spool) < MIB + 4 * MIB // 4


def test_errors_outlive_what_is_recorded_at_full_speed(children: Children) -> None:
    """They are recorded between thousands of metrics, of which the last ones are worth less than the first error."""
    told(children, 1, 200, 12_000)
    (run,) = [children.run("pass")]
    assert len(run.named("error.message")) == 24
    kept = [item["data"]["value"] for item in run.named("load.number")]
    assert kept == list(range(kept[0], 12_000)), "not the oldest went"
    dropped = [line for line in run.ledger if line["what"] == "dropped"]
    assert {(line["reason"], line["type"]) for line in dropped} == {("bytes", "metric")}
    assert sum(line["count"] for line in dropped) == kept[0]
