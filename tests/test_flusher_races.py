"""The background thread beside what it must not get in the way of: forks, flushes, ends, limits, other Pythons."""

from collections.abc import Callable

import pytest

from support.children import Children
from support.collector import Collector
from support.flushing import OFTEN, UNTIL, go_on, numbers
from support.sandbox import Sandbox, other_pythons

LIMITED = (
    UNTIL
    + """
import gc, resource, _thread
from monitor_auto import Monitor
with open("/proc/self/statm") as pages:
    size = int(pages.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (6 << 20), resource.RLIM_INFINITY))
_thread.stack_size(64 << 20)
try:
    _thread.start_new_thread(print, ())
except RuntimeError as error:
    print(error)
time.sleep(1.2)
gc.collect()
import wave
Monitor.event("work.done", {"number": 1})
print(len(os.listdir("/proc/self/task")))
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""
)


def test_system_that_gives_no_thread(children: Children, collector: Collector) -> None:
    """Where the limits of a system allow no further thread the program goes on, and its exit delivers."""
    run = children.run(LIMITED, endpoint=collector.url, env=OFTEN, timeout=120)
    assert (run.status, run.stdout, run.stderr) == (0, b"can't start new thread\n1\n", b"")
    assert numbers(collector) == [1]


RACING = (
    UNTIL
    + """
from monitor_auto import Monitor
count = iter(range(1 << 30))
def record():
    while not done:
        Monitor.event("work.done", {"number": next(count)})
        time.sleep(0.0005)
done = False
time.sleep(1.1)
workers = [threading.Thread(target=record) for _ in range(3)]
for worker in workers:
    worker.start()
answers = {Monitor.flush(30) for _ in range(25)}
done = True
for worker in workers:
    worker.join()
print(answers, next(count) > 100, flush=True)
END
"""
)


@pytest.mark.parametrize("end", ["", "Monitor.close()", "sys.exit(0)", "Monitor.flush(30); os._exit(0)"])
def test_flush_close_and_exit_beside_the_thread(children: Children, collector: Collector, end: str) -> None:
    """Who sends what is decided once: nothing comes twice, nothing is left, whoever is quicker."""
    env = {**OFTEN, "MONITOR_BATCH_SIZE": "20", "MONITOR_EXIT_TIMEOUT": "30", "MONITOR_RATE_LIMIT": "0"}
    run = children.run(RACING.replace("END", end), endpoint=collector.url, env=env, timeout=180)
    assert (run.status, run.stdout, run.stderr) == (0, b"{True} True\n", b"")
    found = sorted(numbers(collector))
    assert found == list(range(len(found))) and len(found) > 100
    assert len(collector.events()) == len(collector.unique())


FORKS = (
    UNTIL
    + """
from monitor_auto import Monitor
time.sleep(1.1)
for number in range(150):
    Monitor.event("work.done", {"number": number})
until("first")
for number in range(150, 153):
    child = os.fork()
    if not child:
        Monitor.event("work.done", {"number": number})
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
until("stop")
"""
)


@pytest.mark.slow
@pytest.mark.parametrize("version", sorted(other_pythons()))
@pytest.mark.parametrize("flags", [(), ("-X", "dev")], ids=["plain", "dev"])
def test_other_pythons_deliver_while_they_run(
    children: Children, collector: Collector, sandbox_for: Callable[..., Sandbox], version: str, flags: tuple[str, ...]
) -> None:
    """Threads, forks and their warnings differ from version to version."""
    python = sandbox_for(other_pythons()[version])
    child = children.start(FORKS, endpoint=collector.url, env=OFTEN, python=python, flags=(*flags, "-W", "error"))
    collector.wait_for(151, 120)
    go_on(children, "first")
    collector.wait_for(151 + 3 * 3, 120)
    go_on(children)
    run = child.finish(timeout=120)
    assert (run.status, run.stdout, run.stderr) == (0, b"", b"")
    assert sorted(numbers(collector)) == list(range(153))
    assert len(collector.events()) == len(collector.unique())
