"""Parts of programs that run loops.

RECORD is for the beginning of a program: what records an event in a step of a loop, and looks how long that takes.

DRIVER is a program's part that sends without pause by whatever loop runs, as the flusher's thread does once in a while.

It lies beside a program as `driver.py`. In a bare run it does nothing.
"""

RECORD = '''
    MOST_SECONDS, HANGING_SECONDS = 0.1, 5.0
    def record(name, data):
        """Record an event. Debug mode calls a step slow after 0.1 s of the clock, which any step may take on a busy
        machine, ours in it or not: what is looked at is the processor's time, and by the clock only what hangs.
        """
        asyncio.get_running_loop().slow_callback_duration = HANGING_SECONDS
        began = time.thread_time()
        Monitor.event(name, data)
        seconds = time.thread_time() - began
        if seconds > MOST_SECONDS:
            print("an event took", seconds)
'''

DRIVER = '''
import _thread, sys, time
from types import SimpleNamespace
from monitor_auto.boot import recorder

TIMEOUT = 10.0
counts = {"loop": 0, "fallback": 0, "failed": 0}
whys = []
transport = None

def start(url, timeout=TIMEOUT, pause=0.001):
    """Send from now on, one event a request, from a thread that nobody sees."""
    global transport
    if recorder.session is None:
        return
    from monitor_auto.boot.formats import uuid7
    from monitor_auto.boot.settings import endpoint_parts
    from monitor_auto.delivery import async_flusher, hush
    from monitor_auto.delivery.exchange import NoAnswer

    class Fallback:
        def post(self, body, deadline):
            counts["fallback"] += 1
            raise NoAnswer("fallback")

    def body():
        event = ('{"v":1,"type":"event","name":"loop.sent","timestamp":"2026-11-23T18:16:00.123+08:00","event_id":'
            '"%s-0","source":{"sdk":"python","platform":"linux"},"session":{},"data":{}}' % uuid7())
        return ('{"batch_id":"%s","events":[%s]}' % (uuid7(), event)).encode()

    def work():
        hush.on_thread()
        while True:
            before = counts["fallback"]
            try:
                transport.post(body(), time.monotonic() + timeout)
                counts["loop"] += 1
            except NoAnswer as error:
                counts["failed"] += counts["fallback"] == before
                whys.append(str(error))
            time.sleep(pause)

    scheme, host, port, path = endpoint_parts(url)
    settings = SimpleNamespace(scheme=scheme, host=host, port=port, path=path, token=None, endpoint=url)
    async_flusher.AVOID_SECONDS = 0.0
    state = SimpleNamespace(interrupt=None, is_stopping=False, ident=0)
    transport = async_flusher.LoopTransport(state, settings, timeout, Fallback())
    _thread.start_new_thread(work, ())

def notice():
    """Say that something is recorded here. What any step takes on a busy machine is no matter of this."""
    import asyncio
    asyncio.get_running_loop().slow_callback_duration = 5.0
    if recorder.session is not None:
        from monitor_auto.boot import loops
        loops.notice()

def wait(name="loop", more=1, seconds=60.0):
    """Wait until something has happened so many times more; at once in a bare run. For another thread than the loop's.
    """
    goal, end = counts[name] + more, time.monotonic() + seconds
    while recorder.session is not None and counts[name] < goal:
        assert time.monotonic() < end, (name, counts, whys[-3:])
        time.sleep(0.005)

async def until(name="loop", more=1, seconds=60.0):
    """The same for a coroutine, which records something all the while."""
    import asyncio
    goal, end = counts[name] + more, time.monotonic() + seconds
    while recorder.session is not None and counts[name] < goal:
        assert time.monotonic() < end, (name, counts, whys[-3:])
        notice()  # the loop that was noticed may have ended
        await asyncio.sleep(0.001)

def finish():
    """Say what was done, for the test, through an event."""
    if recorder.session is not None:
        from monitor_auto import Monitor
        Monitor.event("driver.done", dict(counts))
'''
