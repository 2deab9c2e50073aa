"""Requests that the program's own event loop sends for us: nothing of the program's can tell, count or stop them."""

import sys
from pathlib import Path
from typing import Any

import pytest

from support.children import Children, Run
from support.collector import STALL, Answer, Collector, running_collector
from support.loops import DRIVER
from support.network import make_certificate, running_proxy
from support.sandbox import Sandboxes, other_pythons

FILES = {"driver.py": DRIVER}
HEAD = """
    import asyncio, gc, logging, os, sys, threading, time, warnings
    import driver
    url, *rest = sys.argv[1:]
"""
TASKS = f"""{HEAD}
    driver.start(url)
    async def forever():
        await asyncio.sleep(1000)
    async def count():
        yield 1
        yield 2
    async def main():
        driver.notice()
        tasks = [asyncio.ensure_future(forever()) for _ in range(3)]
        for _ in range(int(rest[1])):
            await driver.until(more=1)
            assert len(asyncio.all_tasks()) == 4
        for task in asyncio.all_tasks() - {{asyncio.current_task()}}:
            task.cancel()
        others = asyncio.all_tasks() - {{asyncio.current_task()}}
        print(await asyncio.gather(*others, return_exceptions=True))
        async for number in count():
            break
        print(asyncio.ensure_future(forever()).get_name())
    for _ in range(int(rest[0])):
        asyncio.run(main())
    driver.finish()
"""
ENDS = f"""{HEAD}
    driver.start(url, timeout=0.3)
    async def main(seconds):
        driver.notice()
        await asyncio.sleep(seconds)
    for number in range(int(rest[0])):
        asyncio.run(main(number % 7 / 200))
    gc.collect()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main(0.01))
    loop.run_until_complete(driver.until(rest[1]))
    loop.run_until_complete(main(0.01))
    loop.call_later(0.1, loop.stop)
    loop.run_forever()
    loop.close()
    print("done")
    driver.finish()
"""
BLOCKED = f"""{HEAD}
    driver.start(url)
    async def main():
        driver.notice()
        await driver.until("loop", 3)
        driver.wait("fallback", 1)      # the loop does not move
        await driver.until("loop", 3)
        print("moves again", len(asyncio.all_tasks()))
    asyncio.run(main())
    driver.finish()
"""
THREADS = f"""{HEAD}
    driver.start(url)
    async def main():
        driver.notice()
        await driver.until("loop", 3)
    def run():
        for _ in range(5):
            asyncio.run(main())
    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    driver.wait("fallback", 1)      # no loop any more
    print("done", threading.active_count())
    driver.finish()
"""
LOGS = f"""{HEAD}
    logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, format="%(name)s %(message)s")
    class Loop(asyncio.SelectorEventLoop):
        def create_task(self, *args, **kwargs):
            print("create_task")
            return super().create_task(*args, **kwargs)
        def call_later(self, *args, **kwargs):
            print("call_later")
            return super().call_later(*args, **kwargs)
        def run_in_executor(self, *args):
            print("run_in_executor")
            return super().run_in_executor(*args)
    async def main():
        driver.notice()
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 0.5
        event = asyncio.Event()
        thread = threading.Thread(target=lambda: (driver.wait("loop", 20), loop.call_soon_threadsafe(event.set)))
        thread.start()
        await event.wait()
    driver.start(url)
    loop = Loop()
    loop.set_debug(True)
    loop.run_until_complete(main())
    loop.close()
    logging.getLogger("httpx").info("the program's own line")
    driver.finish()
"""
FORKS = f"""{HEAD}
    driver.start(url, timeout=1.0)
    async def main():
        driver.notice()
        asyncio.get_running_loop().slow_callback_duration = 1000
        await asyncio.sleep(0.2)
        for number in range(12):
            await asyncio.sleep(0.02)
            pid = os.fork()
            if not pid:
                gc.collect()
                if number % 3 == 0:
                    os._exit(7)
                sys.exit(7)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        await asyncio.sleep(0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)     # the driver's thread is there, the flusher's is not
        asyncio.run(main())
    driver.finish()
"""
NUMBERS = f"""{HEAD}
    import socket
    driver.start(url, timeout=0.05)
    def handle(reader, writer):
        async def echo():
            writer.write(await reader.readline())
            await writer.drain()
            writer.close()
        return echo()
    async def main():
        driver.notice()
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        for number in range(25):
            await driver.until("failed")
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello\\n")
            assert await asyncio.wait_for(reader.readline(), 30) == b"hello\\n"
            writer.close()
        print("done")
    asyncio.run(main())
    driver.finish()
"""
INTERRUPTED = f"""{HEAD}
    import signal
    driver.start(url)
    signal.signal(signal.SIGUSR1, signal.default_int_handler)
    begun = threading.Event()
    def interrupt():
        begun.wait()
        driver.wait("loop", 10)
        os.kill(os.getpid(), signal.SIGUSR1)
    async def main():
        driver.notice()
        begun.set()
        while True:
            await asyncio.sleep(0.001)
    for _ in range(10):
        begun.clear()
        threading.Thread(target=interrupt).start()
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            print("interrupted")
    driver.finish()
"""


def done_of(run: Run) -> dict[str, Any]:
    """Return what the driver of a program has counted."""
    event = run.named("driver.done")[-1]
    counts: dict[str, Any] = event["data"]
    return counts


def twin(
    children: Children, collector: Collector, source: str, rounds: tuple[str, ...] = ("5", "10"), **how: Any
) -> dict[str, Any]:
    """Run a program bare and monitored, with the driver and the collector's address; return what was sent."""
    done = children.twin(source, files=FILES, argv=[collector.url, *rounds], timeout=120, **how)
    return done_of(done)


@pytest.mark.parametrize("flags", [(), ("-X", "dev", "-W", "error")], ids=["plain", "dev"])
def test_nobody_finds_cancels_or_awaits_the_task(
    children: Children, collector: Collector, flags: tuple[str, ...]
) -> None:
    """Programs cancel all tasks and wait for them when they end; one that is not theirs would hang or be missed."""
    counts = twin(children, collector, TASKS, ("5", "20"), flags=flags)
    assert counts["loop"] >= 100
    assert len(collector.events()) >= 100


@pytest.mark.parametrize("is_silent", [False, True], ids=["answering", "silent"])
@pytest.mark.parametrize("flags", [(), ("-X", "dev", "-W", "error")], ids=["plain", "dev"])
def test_loop_may_end_in_the_middle_of_a_request(
    children: Children, collector: Collector, flags: tuple[str, ...], is_silent: bool
) -> None:
    """Loops close and stop at any time: nothing is "destroyed but pending", "never awaited" or left unclosed."""
    if is_silent:
        collector.answer = STALL
    result = "failed" if is_silent else "loop"
    assert twin(children, collector, ENDS, ("42", result), flags=flags)[result] >= 1
    collector.wait_for_request(5)


def test_blocked_loop_is_left_alone(children: Children, collector: Collector) -> None:
    """A loop that computes for minutes must not keep events from being delivered."""
    counts = twin(children, collector, BLOCKED)
    assert counts["fallback"] >= 1
    assert counts["loop"] >= 6


def test_next_loop_takes_over_from_one_that_ends(children: Children, collector: Collector) -> None:
    """Loops come and go, in several threads; where none is left the thread sends by itself."""
    counts = twin(children, collector, THREADS)
    assert counts["loop"] >= 10
    assert counts["fallback"] >= 1


def test_loop_is_asked_for_nothing_that_shows(children: Children, collector: Collector) -> None:
    """A loop of the program's own class, its debug mode and its logs show no task, timer, thread or request of ours."""
    counts = twin(children, collector, LOGS)
    assert counts["loop"] >= 20


def test_debug_mode_reports_no_slow_step_of_ours(children: Children, collector: Collector) -> None:
    """On a busy machine any step may take long; a line about one that is not the program's leads nowhere."""
    source = LOGS.replace("slow_callback_duration = 0.5", "slow_callback_duration = 0")
    done = children.run(source, files=FILES, argv=[collector.url])
    slow = [line for line in done.stdout.decode().splitlines() if line.startswith("asyncio Executing ")]
    assert any("main()" in line for line in slow)
    assert not [line for line in slow if "monitor_auto" in line]
    assert done_of(done)["loop"] >= 20


@pytest.mark.parametrize("is_silent", [False, True], ids=["answering", "silent"])
def test_fork_while_the_loop_sends_harms_neither_side(
    children: Children, collector: Collector, is_silent: bool
) -> None:
    """A child has the loop, task and connection of its parent in memory, and must end without a word of them."""
    if is_silent:
        collector.answer = STALL
    done = children.twin(FORKS, files=FILES, argv=[collector.url], flags=["-X", "dev"], timeout=120)
    assert done.stdout == b"7\n" * 12
    collector.wait_for_request(1)


def test_request_that_is_given_up_leaves_no_number_watched(children: Children, collector: Collector) -> None:
    """A selector that still watches a closed descriptor takes the program's next socket for it, which then hangs."""
    collector.answer = STALL
    assert twin(children, collector, NUMBERS)["failed"] >= 25


def test_interrupt_during_our_own_code_reaches_the_program(children: Children, collector: Collector) -> None:
    """Ctrl-C comes whenever it likes, also while the loop is busy with our request."""
    counts = twin(children, collector, INTERRUPTED)
    assert counts["loop"] >= 100


ENDING = f"""{HEAD}
    import signal
    driver.start(url)
    signal.signal(signal.SIGUSR1, signal.default_int_handler)
    class Loop(asyncio.SelectorEventLoop):
        is_armed = False
        def _write_to_self(self):  # called by the loop itself for nobody but a task of ours that ends
            super()._write_to_self()
            if self.is_armed and threading.current_thread() is threading.main_thread():
                self.is_armed = False
                signal.raise_signal(signal.SIGUSR1)
    async def main():
        driver.notice()
        await driver.until("loop", 1)
        asyncio.get_running_loop().is_armed = True
        while True:
            await asyncio.sleep(0.001)
    for _ in range(10):
        try:
            with asyncio.Runner(loop_factory=Loop) as runner:
                runner.run(main())
        except KeyboardInterrupt:
            print("interrupted")
    driver.finish()
    gc.collect()
"""


def test_interrupt_while_our_task_ends_is_the_programs(children: Children, collector: Collector) -> None:
    """The last thing that our task does is to tell our thread: an interrupt there ends the task, and the program."""
    done = children.run(ENDING, files=FILES, argv=[collector.url, "5", "10"], timeout=120)
    assert (done.status, done.stdout, done.stderr) == (0, b"interrupted\n" * 10, b"")
    assert done_of(done)["loop"] >= 10


STRUCK = f"""{HEAD}
    import signal
    class Own(Exception): pass
    kinds = [Own, TimeoutError, BlockingIOError, ConnectionResetError, ValueError, KeyboardInterrupt]
    raised = []
    def handler(number, frame):
        raised.append(kinds[0]())
        raise raised[-1]
    signal.signal(signal.SIGUSR1, handler)
    driver.start(url)
    armed = []
    def arm(module, owner, name):
        "Have a signal come at the end of one of our functions, once for each kind of exception."
        place = getattr(sys.modules.get("monitor_auto.delivery." + module), owner)
        real = getattr(place, name)
        def struck(*args):
            result = real(*args)
            if armed and threading.current_thread() is threading.main_thread():
                armed.clear()
                signal.raise_signal(signal.SIGUSR1)
            return result
        setattr(place, name, struck)
    async def main():
        driver.notice()
        await driver.until("loop", 1)
        armed.append(True)
        await asyncio.sleep(8)
    def strike():
        try:
            asyncio.run(main())
        except BaseException as error:
            return error
    if driver.transport is not None:
        from monitor_auto.delivery import async_kept, loop_sockets, tickets, turns
        arm(*rest)
        while kinds:
            error = strike()
            print(kinds.pop(0).__name__, error in raised, armed)
    driver.finish()
"""


@pytest.mark.parametrize(
    "place",
    [
        *("turns Turn give", "tickets Ticket begin", "tickets Ticket start_task", "tickets Ticket on_sign"),
        *("tickets Ticket finish", "tickets Ticket tell_thread", "loop_sockets Sockets is_ours"),
        *("async_kept PlainClient check", "loop_sockets Sockets check"),
    ],
)
def test_what_a_handler_raises_in_our_part_of_the_loop_is_the_programs(
    place: str, children: Children, collector: Collector
) -> None:
    """An alarm that ends the work must not be printed by the loop as one of a callback, or vanish with our task."""
    done = children.run(STRUCK, files=FILES, argv=[collector.url, *place.split()], timeout=120)
    kinds = ["Own", "TimeoutError", "BlockingIOError", "ConnectionResetError", "ValueError", "KeyboardInterrupt"]
    assert (done.status, done.stderr) == (0, b"")
    assert done.stdout.decode().splitlines() == [f"{kind} True []" for kind in kinds]
    assert done_of(done)["loop"] >= len(kinds)


SENDS = f"""{HEAD}
    driver.start(url)
    async def main():
        driver.notice()
        await driver.until(rest[0], 5)
        print(len(asyncio.all_tasks()), threading.active_count(), asyncio.get_running_loop()._default_executor)
    asyncio.run(main())
    driver.finish()
"""


def test_loop_speaks_tls_to_a_name(children: Children, tmp_path: Path) -> None:
    """The look-up and the handshake's arithmetic are done beside the loop, and not by its executor."""
    certificate, context = make_certificate(tmp_path)
    with running_collector(tls=context) as secure:
        counts = twin(children, secure, SENDS, ("loop",), env={"SSL_CERT_FILE": str(certificate)})
        assert counts["loop"] >= 5
        assert len(secure.unique()) >= 5
        assert not secure.violations


def test_loop_refuses_a_certificate_that_nobody_has_signed(children: Children, tmp_path: Path) -> None:
    """A token must not go to whoever answers."""
    _, context = make_certificate(tmp_path)
    with running_collector(tls=context) as secure:
        assert twin(children, secure, SENDS, ("failed",))["loop"] == 0
        assert not secure.requests


def test_loop_goes_through_the_proxy(children: Children, collector: Collector) -> None:
    """In many companies the proxy alone knows the collector's name."""
    source = SENDS.replace("(url)", '("http://collector.test:9090/v1/events")')
    with running_proxy(collector.port) as (proxy, log):
        env = {"HTTP_PROXY": proxy, "NO_PROXY": ""}
        assert twin(children, collector, source, ("loop",), env=env)["loop"] >= 5
    assert set(log) == {"http://collector.test:9090/v1/events"}


def test_name_that_nobody_knows_holds_up_no_end(children: Children, collector: Collector) -> None:
    """asyncio.run waits for its executor: with a look-up in there the program would hang at its end."""
    source = SENDS.replace("(url)", '("http://nowhere.invalid:9090/v1/events")')
    assert twin(children, collector, source, ("failed",))["loop"] == 0


ANSWERS = {
    "in pieces": Answer(body=b"{}", pace=2000),
    "chunked": Answer(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
    "without a length": Answer(raw=b"HTTP/1.0 200 OK\r\n\r\n{}"),
    "after an interim one": Answer(raw=b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=list(ANSWERS))
def test_loop_hears_every_answer_to_its_end(children: Children, collector: Collector, answer: Answer) -> None:
    """What has to be read of an answer differs; half of one must not count, and none may make the loop wait."""
    collector.answer = answer
    assert twin(children, collector, SENDS, ("loop",))["loop"] >= 5


@pytest.mark.parametrize(
    "raw",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", b"HTTP/1.1 200", b"SSH-2.0-OpenSSH_9.2\r\n\r\n"],
    ids=["cut in the body", "cut in the head", "no HTTP"],
)
def test_loop_believes_no_half_answer(children: Children, collector: Collector, raw: bytes) -> None:
    """Events are deleted when they were answered for."""
    collector.answer = Answer(raw=raw)
    assert twin(children, collector, SENDS, ("failed",))["loop"] == 0


CLOSED = f"""{HEAD}
    import socket
    def is_to_the_collector(fd):
        try:
            with socket.socket(fileno=os.dup(fd)) as found:
                return found.family == socket.AF_INET and found.getpeername()[1] == int(rest[0])
        except OSError:
            return False
    driver.start(url)
    async def main():
        driver.notice()
        for number in range(3):
            await driver.until("loop", 3)
            for fd in range(3, 200) if number else ():
                if is_to_the_collector(fd):
                    os.close(fd)
                    taken.append(os.open(os.devnull, os.O_RDWR))
        print("done")
    taken = []
    asyncio.run(main())
    driver.finish()
    for fd in taken:
        os.fstat(fd)
"""


def test_connection_of_the_loop_that_is_not_ours_any_more(children: Children, collector: Collector) -> None:
    """A daemon closes all descriptors and opens others: nothing of ours is sent to those, nor are they closed."""
    counts = twin(children, collector, CLOSED, (str(collector.port),))
    assert counts["loop"] >= 9
    assert len({request.connection for request in collector.requests}) >= 2
    assert not collector.violations


def test_loop_imports_nothing_for_plain_http(children: Children, collector: Collector) -> None:
    """httpx would be 25 MB and 100 ms of processor time in each asyncio program."""
    source = SENDS.replace(
        "print(len", 'print([name for name in ("httpx", "h11", "anyio") if name in sys.modules], len'
    )
    assert twin(children, collector, source, ("loop",))["loop"] >= 5
    assert len({request.connection for request in collector.requests}) == 1


def test_uvloop_sends_as_well(children: Children, collector: Collector, sandboxes: Sandboxes) -> None:
    """Most servers run on it."""
    python = sandboxes.get(sys.executable, "uvloop")
    head = HEAD + "    import uvloop\n    uvloop.install()\n"
    warnings = ["-W", "ignore::DeprecationWarning"]
    for source, rounds in ((TASKS, ("5", "10")), (ENDS, ("10", "loop")), (THREADS, ())):
        counts = twin(children, collector, source.replace(HEAD, head), rounds, python=python, flags=warnings)
        assert counts["loop"] >= 1


@pytest.mark.slow
@pytest.mark.parametrize("python", other_pythons().values(), ids=list(other_pythons()))
def test_other_pythons_send_by_their_loops(
    children: Children, collector: Collector, sandboxes: Sandboxes, python: str
) -> None:
    """How tasks are listed, named and taken down changed in 3.12 and again in 3.14."""
    sandbox = sandboxes.get(python)
    assert twin(children, collector, TASKS, python=sandbox, flags=["-X", "dev"])["loop"] >= 50
    twin(children, collector, ENDS, ("10", "loop"), python=sandbox, flags=["-X", "dev"])
