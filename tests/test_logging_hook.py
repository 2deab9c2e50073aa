"""What is recorded of log messages, and that logging works as without us: loggers, handlers, stacks, last resort."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from support.children import Children, Run
from support.sandbox import Sandbox


@pytest.fixture(scope="session")
def with_loggers(sandbox_for: Callable[..., Sandbox]) -> Sandbox:
    """An environment that has the libraries which bypass logging."""
    return sandbox_for(sys.executable, "loguru", "structlog")


def errors_of(run: Run) -> list[dict[str, Any]]:
    """Return the data of what was logged; it is always of the type error."""
    assert all(event["type"] == "error" for event in run.named("log.error"))
    return [event["data"] for event in run.named("log.error")]


def messages_of(run: Run) -> list[str]:
    """Return the messages."""
    return [data["message"] for data in errors_of(run)]


def test_errors_are_recorded_with_their_place(children: Children) -> None:
    """Most programs log what goes wrong and go on: nobody else hears of it."""
    source = """
    import logging
    log = logging.getLogger("shop.cart")
    def work():
        log.error("no stock of %s, %d left, password=hunter2", "tea", 0)
        log.warning("not this")
        log.critical("burning")
        log.log(45, "between")
    work()
    """
    done = children.twin(source)
    first, second, third = errors_of(done)
    assert first.pop("location").endswith("script.py:5:work")
    assert first == {
        "library": "logging",
        "logger": "shop.cart",
        "level": "error",
        "log_level": "ERROR",
        "source": "auto",
        "message": "no stock of tea, 0 left, password=[REDACTED]",
    }
    assert (second["log_level"], second["message"]) == ("CRITICAL", "burning")
    assert third["log_level"] == "Level 45"
    assert b"no stock of tea" in done.stderr, "logging.lastResort prints it"


def test_what_the_program_filters_out_is_not_recorded(children: Children) -> None:
    """A filter may be there because the message is no error, or for what it holds."""
    source = """
    import logging
    log = logging.getLogger("quiet")
    log.addFilter(lambda record: "secret" not in record.msg)
    log.error("secret")
    log.disabled = True
    log.error("disabled")
    log.disabled = False
    log.setLevel(logging.CRITICAL)
    log.error("below the level")
    logging.disable(logging.CRITICAL)
    log.critical("all off")
    logging.disable(logging.NOTSET)
    log.critical("said")
    """
    assert messages_of(children.twin(source)) == ["said"]


def test_logging_is_as_without_us(children: Children) -> None:
    """No handler on the root logger, the caller found, and the stack of a failing handler without a frame of ours."""
    source = """
    import inspect, logging, pickle, sys
    print(logging.getLogger().handlers, logging.getLogger().hasHandlers())
    class Failing(logging.Handler):
        def emit(self, record):
            try:
                1 / 0
            except ZeroDivisionError:
                self.handleError(record)
    class Showing(logging.Handler):
        def emit(self, record):
            print(record.funcName, record.lineno, sorted(vars(record)), [frame.function for frame in inspect.stack()])
    log = logging.getLogger("a.b")
    log.addHandler(Failing())
    log.addHandler(Showing())
    def work():
        log.error("text", stack_info=True)
        log.error("wrong %d %d", "arguments")
        log.error(ValueError("an object"))
    work()
    print(inspect.signature(logging.Logger.callHandlers), inspect.signature(log.callHandlers))
    print(logging.Logger.callHandlers.__qualname__, pickle.dumps(logging.Logger.callHandlers))
    class Own(logging.Logger):
        def callHandlers(self, record):
            print("own", record.msg)
            super().callHandlers(record)
    own = Own("own")
    own.addHandler(logging.NullHandler())
    own.error("mine")
    print(logging.Logger.callHandlers(own, own.makeRecord("own", 40, "file", 1, "direct", (), None)) is log)
    try:
        log.callHandlers()
    except TypeError as error:
        print(error)
    """
    done = children.twin(source)
    assert messages_of(done) == ["text", "wrong %d %d", "an object", "mine", "direct"]
    assert b"monitor" not in done.stderr


def test_exception_is_recorded_once(children: Children) -> None:
    """Logged and raised again it passes several hooks: one error, not two."""
    source = """
    import logging
    log = logging.getLogger("once")
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("in division")
        log.exception("again")
    raise_later = ValueError("seen by the hook first")
    import sys
    def hook(kind, error, trace):
        log.critical("uncaught", exc_info=(kind, error, trace))
    sys.excepthook = hook
    log.error("true", exc_info=True)
    log.error("none", exc_info=(None, None, None))
    log.error("wrong", exc_info=KeyError("given"))
    """
    done = children.twin(source)
    first, *others = errors_of(done)
    assert (first["message"], first["type"], first["error"]) == ("in division", "ZeroDivisionError", "division by zero")
    assert "ZeroDivisionError: division by zero" in first["stack"]
    assert [data["message"] for data in others] == ["true", "none", "wrong"]
    assert others[-1]["type"] == "KeyError"


def test_uncaught_exception_that_a_hook_logs_is_one_error(children: Children) -> None:
    """Many programs log what nobody caught: the fatal error is told by whichever sees it first."""
    source = """
    import logging, sys
    sys.excepthook = lambda kind, error, trace: logging.critical("uncaught", exc_info=(kind, error, trace))
    raise ValueError("x")
    """
    done = children.twin(source)
    assert done.status == 1
    assert len(done.named("log.error") + done.named("error.ValueError")) == 1
    (end,) = done.named("session.end")
    assert end["data"]["error"] == "error.ValueError"


def test_hostile_records_are_recorded(children: Children) -> None:
    """What is logged may be anything; what it raises is told by its handlers as ever."""
    source = """
    import logging
    class Bad:
        def __str__(self): raise RuntimeError("no text")
        __repr__ = __str__
    class Worse:
        def __str__(self): raise SystemExit(3)
    log = logging.getLogger("hostile")
    log.addHandler(logging.NullHandler())
    log.error(Bad())
    log.error("%s", Bad())
    log.error("%s", Worse())
    log.error("\\ud800 lone")
    log.error("x" * 100_000)
    log.handle(logging.makeLogRecord({"msg": "made", "levelno": 50, "levelname": None, "lineno": None}))
    log.handle(logging.makeLogRecord({"msg": "made", "levelno": 50, "lineno": "one"}))
    log.propagate = False
    for record in (logging.makeLogRecord({}), logging.makeLogRecord({"levelno": "40"})):
        try:
            log.handle(record)
        except TypeError as error:
            print(error)
    print("alive")
    """
    done = children.twin(source)
    assert done.stdout.splitlines()[-1] == b"alive"
    assert done.stdout.count(b"not supported between") == 2
    assert len(errors_of(done)) == 7


def test_same_error_again_and_again_is_counted(children: Children) -> None:
    """A loop that logs an error ten thousand times must not fill the spool."""
    source = """
    import logging
    logging.getLogger("storm").addHandler(logging.NullHandler())
    for number in range(10_000):
        logging.getLogger("storm").error("number %d", number)
    """
    done = children.twin(source)
    assert 10 <= len(errors_of(done)) < 1000


def test_record_of_another_process_is_not_recorded_again(children: Children) -> None:
    """Workers send their records to one process that handles them; they have recorded them themselves."""
    source = """
    import logging, os
    record = logging.makeLogRecord({"msg": "made elsewhere", "levelno": 40, "levelname": "ERROR"})
    record.process = os.getpid() + 1
    logging.getLogger("x").handle(record)
    logging.getLogger("x").error("made here")
    """
    assert messages_of(children.twin(source)) == ["made here"]


def test_hook_undone_leaves_the_original(children: Children) -> None:
    """The same function is in its place again, and nothing is recorded."""
    source = """
    import logging, types
    from monitor_auto.hooks import logging as hook
    hook.uninstall()
    print(isinstance(logging.Logger.callHandlers, types.FunctionType))
    logging.error("x")
    """
    done = children.run(source)
    assert done.stdout == b"True\n"
    assert not errors_of(done)


def test_switched_off_by_its_name(children: Children) -> None:
    """MONITOR_SKIP names it."""
    done = children.twin("import logging; logging.error('x')", env={"MONITOR_SKIP": "logging"})
    assert not errors_of(done)
    assert "session.end" in done.names


def test_logger_that_another_tool_has_patched_is_recorded_once(children: Children) -> None:
    """Error trackers replace the same method, before or after us."""
    source = """
    import logging
    real = logging.Logger.callHandlers
    def patched(self, record):
        print("patched", record.msg)
        return real(self, record)
    logging.Logger.callHandlers = patched
    logging.error("x")
    """
    assert messages_of(children.twin(source)) == ["x"]


def test_importing_logging_loads_no_wrapt_and_no_typing(children: Children) -> None:
    """It is part of Python, and most programs import it: 22 ms must not become 100."""
    source = "import sys, logging; print('wrapt' in sys.modules, 'typing' in sys.modules)"
    assert children.twin(source).stdout.split()[0] == b"False"


def test_loguru_is_recorded(children: Children, with_loggers: Sandbox) -> None:
    """It bypasses logging; with several handlers, or with one that hands on to logging, each message is told once."""
    source = """
    import logging, sys
    from loguru import logger
    logger.remove()
    logger.add(sys.stdout, format="{level} {function}:{line} {message}")
    logger.add(sys.stderr, format="{message}", level="CRITICAL")
    class Passing(logging.Handler):
        def emit(self, record):
            logging.getLogger(record.name).handle(record)
    logger.add(Passing(), format="{message}")
    logging.getLogger().addHandler(logging.NullHandler())
    def work():
        logger.error("no stock of {}", "tea")
        logger.info("not this")
        logger.critical("burning")
        try:
            1 / 0
        except ZeroDivisionError:
            logger.exception("in division")
    work()
    """
    done = children.twin(source, python=with_loggers)
    assert messages_of(done) == ["no stock of tea", "burning", "in division"]
    first, _, third = errors_of(done)
    assert (first["library"], first["log_level"]) == ("loguru", "ERROR")
    assert first["location"].endswith("script.py:13:work")
    assert third["type"] == "ZeroDivisionError"


def test_structlog_is_recorded(children: Children, with_loggers: Sandbox) -> None:
    """Its own loggers print; what it hands to logging is recorded there, once."""
    source = """
    import logging, structlog
    log = structlog.get_logger()
    structlog.configure(processors=[
        structlog.processors.add_log_level,
        structlog.processors.CallsiteParameterAdder([structlog.processors.CallsiteParameter.FUNC_NAME]),
        structlog.processors.KeyValueRenderer(key_order=["event"], drop_missing=True),
    ])
    def work():
        log.error("no stock", of="tea")
        log.info("not this")
        try:
            1 / 0
        except ZeroDivisionError:
            log.exception("in division")
    work()
    by_logging = structlog.stdlib.LoggerFactory()
    structlog.configure(logger_factory=by_logging, processors=[structlog.processors.JSONRenderer()])
    structlog.get_logger().error("by logging")
    """
    done = children.twin(source, python=with_loggers)
    first, second, third = errors_of(done)
    assert first["library"] == "structlog" and "no stock" in first["message"]
    assert first["location"].endswith("script.py:10:work")
    assert second["type"] == "ZeroDivisionError"
    assert (third["library"], third["message"]) == ("logging", '{"event": "by logging"}')


def test_message_that_is_awaited_is_the_callers(children: Children, with_loggers: Sandbox) -> None:
    """A thread of a pool prints what a coroutine logs; its place says nothing, and is the same for all of a service."""
    source = """
    import asyncio, structlog
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()])  # without the time
    async def work():
        await structlog.get_logger().aerror("no stock")
    asyncio.run(work())
    """
    done = children.twin(source, python=with_loggers)
    (error,) = errors_of(done)
    assert "no stock" in error["message"] and error["logger"] == "__main__"
    assert error["location"].endswith("script.py:5:work")
