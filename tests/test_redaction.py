"""Redaction: nothing that is secret reaches the disk, the wire or the log, whatever way it came in."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitor_auto.boot import cleaning, encode, recording, redact, stdlib
from support.children import Children
from support.collector import Collector

CARD = "4111 1111 1111 1111"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEAx\nq83vEjRWeJASNFZ4\n-----END RSA PRIVATE KEY-----"

KEYS = """
    password passwd secret token api_key apikey authorization cookie credential ssn credit_card cvv private_key auth
    db_password PASSWORD Api-Key X-Auth-Token user.password Set-Cookie AWS_SECRET_ACCESS_KEY clientSecret cvv2 AUTH
    Proxy-Authorization GOOGLE_APPLICATION_CREDENTIALS ssnLast4 credit-card-number PRIVATE-KEY
""".split()
NO_KEYS = "author authority pass key hook path card user oauth_state passenger".split()

# What has to go, the text that it stands in, and what has to stay of it.
TEXTS = [
    ("hunter2", "password=hunter2 x", "password=[REDACTED] x"),
    ("hunter2", "PASSWORD = 'hunter2'", "PASSWORD = '[REDACTED]'"),
    ("hunter2", '{"db": {"Pass-Token": "hunter2"}}', "db"),
    ("hunter2", "{'password': 'it\\'s hunter2', 'x': 1}", "'x': 1"),
    ("hunter2", '"{\\"password\\": \\"hunter2\\"}"', "password"),
    ("hunter2", "mysqldump --password hunter2 db", "db"),
    ("hunter2", "['mysqldump', '--password', 'hunter2', 'db']", "'db'"),
    ("hunter2", "auth: hunter2", "auth: [REDACTED]"),
    ("dXNlcjpodW50ZXIy", "Authorization: Basic dXNlcjpodW50ZXIy", "Authorization: [REDACTED]"),
    ("dXNlcjpodW50ZXIy", "Authorization=Basic dXNlcjpodW50ZXIy", "Authorization="),
    ("sid=abc", "Cookie: sid=abc; theme=dark\nHost: x", "Host: x"),
    ("abcdef", "curl -H 'X-Api-Key: abcdef' http://x/", "http://x/"),
    ("abc.def", "got Bearer abc.def, went on", "went on"),
    ("user:pw", "GET https://user:pw@host.test/path?x=1", "https://host.test/path?x=1"),
    ("pw", "postgres://user:p/pw@db.test/orders", "postgres://db.test/orders"),
    (CARD, f"paid with {CARD}.", "paid with [REDACTED]."),
    (CARD, f"{CARD} {CARD}", "[REDACTED] [REDACTED]"),
    ("378282246310005", "amex 378282246310005", "amex"),
    (JWT, f"jwt {JWT} end", "jwt [REDACTED] end"),
    ("MIIEowIBAAKCAQEAx", f"key:\n{PEM}\nrest", "rest"),
    ("q83vEjRWeJASNFZ4", PEM[:75], ""),
    ("AKIAIOSFODNN7EXAMPLE", "id AKIAIOSFODNN7EXAMPLE", "id"),
    ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "clone ghp_16C7e42F292c6912E7710c838347Ae178B4a now", "now"),
    ("github_pat_11ABCDEFG0123456789_abcdefghij", "github_pat_11ABCDEFG0123456789_abcdefghij", ""),
    ("glpat-abcdefghij0123456789", "glpat-abcdefghij0123456789", ""),
    ("xoxb-123456789012-abcdefghij", "xoxb-123456789012-abcdefghij", ""),
    ("sk_live_4eC39HqLyjWDarjtT1zdp7dc", "sk_live_4eC39HqLyjWDarjtT1zdp7dc", ""),
    ("AIzaSyA1234567890abcdefghijklmnopqrstuv", "AIzaSyA1234567890abcdefghijklmnopqrstuv", ""),
    ("hf_abcdefghijklmnopqrstuv", "hf_abcdefghijklmnopqrstuv", ""),
    ("bob", "/home/bob/project/a.py", "~/project/a.py"),
    ("jürgen", "/home/jürgen/a.py", "~/a.py"),
    ("Alice", 'File "/Users/Alice/a.py"', 'File "~/a.py"'),
]

HARMLESS = [
    "step 3 of 4: done", "https://medium.com/@writer/a-post", "http://localhost:8080/@scope/package", "12:30:45.123",
    "tokens are counted", "the password is wrong", "author: bob", "risk-averse", "2026-11-24 17:06:35,123 INFO",
    "1763968275123456789", "1700000000000000", "3.14159265358979", "550e8400-e29b-41d4-a716-446655440000", "/rootfs/a",
]  # fmt: skip

fragments = st.sampled_from(
    ["password", "token", "auth", "authorization", "cookie", "=", ":", " ", '"', "'", "\\", ",", "\n", ">", "/", "@"]
    + ["--", "__", "-_", "_", "-", "~", "é", "İ", "]", ".", "bearer ", "Bearer ", "AKIA", "ghp_", "eyJ", "sk-", "a.b"]
    + ["A" * 20, "1" * 13, CARD, "-----BEGIN", "-----END", "-----", "://", "u:p", "/home/", "/Users/", "bob"]
    + ["[REDACTED]", "[REDACTED", "REDACTED"]
)
texts = st.lists(fragments | st.text(max_size=3), max_size=10).map("".join)


@pytest.fixture
def rules() -> Iterator[None]:
    """Let a test add rules to this process and take them back."""
    yield
    redact.extra_words.clear()
    redact.value_rules.clear()
    recording.forget_keys()


@pytest.mark.parametrize("key", KEYS)
def test_value_under_a_secret_key_goes_at_any_depth(key: str) -> None:
    """Whole configurations are recorded; one forgotten spelling is a leak."""
    value: Any = {"deep": [{key: ["hunter2", {"more": "hunter2"}], "other": 1}], key: 12345, key + "_none": None}
    seen = encode.encode(value)
    assert "hunter2" not in seen and "12345" not in seen
    assert json.loads(seen)["deep"][0] == {key: "[REDACTED]", "other": 1}


@pytest.mark.parametrize("key", NO_KEYS)
def test_value_under_a_harmless_key_stays(key: str) -> None:
    """What is redacted without need is lost to whoever looks for an error."""
    assert json.loads(encode.encode({key: "value"})) == {key: "value"}


@pytest.mark.parametrize("secret, text, kept", TEXTS, ids=[text[:30] for _, text, _ in TEXTS])
def test_secret_in_a_text_goes_and_the_rest_stays(secret: str, text: str, kept: str) -> None:
    """Secrets stand in messages, URLs and command lines far more often than under a key of their own."""
    cleaned = cleaning.clean_text(text)
    assert secret not in cleaned
    assert kept in cleaned
    assert secret not in encode.encode({"note": f"before {text}", "list": [text.encode(), (text,)]})
    assert secret not in encode.encode({text: 1})


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_text_stays(text: str) -> None:
    """A time, an id or a path that becomes [REDACTED] makes the event useless."""
    assert cleaning.clean_text(text) == text


@given(texts)
@example("__password x")
@example("-_password x")
@example("cookie4111 1111 1111 1111sk-sk-1111111111111bearer ")
@example("/home//home/x")
@settings(deadline=None, max_examples=500)
def test_what_cleaning_would_change_is_suspicious_and_cleaning_twice_changes_nothing(text: str) -> None:
    """The quick look decides what is cleaned at all: a false no is a leak."""
    cleaned = cleaning.clean_text(text)
    assert cleaned == text or redact.is_suspicious(text)
    assert cleaning.clean_text(cleaned) == cleaned


@given(st.dictionaries(st.sampled_from(["a", "hook", "pkg", "path"]), texts | st.integers() | st.none()))
@settings(deadline=None, max_examples=300)
def test_what_the_fast_path_writes_is_what_the_careful_one_would(data: dict[str, Any]) -> None:
    """The fast path looks at the encoded object as a whole and must not overlook what the careful one finds."""
    encoder = stdlib.load("_json").make_encoder(
        None, None, stdlib.load("_json").encode_basestring, None, ":", ",", False, False, False
    )
    text = "".join(encoder(data, 0))
    try:
        kinds = text.encode().translate(redact.KINDS)
    except UnicodeEncodeError:
        return
    if kinds.count(b"@") == len(data) and not redact.needs_look(text, kinds):
        assert json.loads(text) == json.loads(encode.encode(data))


@pytest.mark.parametrize("rule, secret, text", [
    ("email", "a.b@c.test", "mail to a.b@c.test, please"), ("ip", "10.0.0.1", "from 10.0.0.1:8080"),
    ("ip", "fe80::1", "from [fe80::1%eth0]"), ("session-id", "abc123", "Session_ID=abc123"),
])  # fmt: skip
def test_rules_of_the_user_are_added(rules: None, rule: str, secret: str, text: str) -> None:
    """Every firm has a secret that nobody else knows of."""
    assert secret in cleaning.clean_text(text)
    cleaning.add_rules([rule])
    assert secret not in encode.encode({"text": text})
    assert redact.is_suspicious(text)
    assert cleaning.clean_text("password=hunter2 at 12:30:45") == "password=[REDACTED] at 12:30:45"


ADVERSARIAL = [
    "password", "password=", 'password="', "'password', '", "auth=1 ", "://", "://a:x/", "://u:p@h ", "@", "bearer ",
    "Bearer x ", "4", "4 ", CARD + " ", "-----BEGIN", "-----END", "/home/", "/home/a ", "eyJ", "-eyJ", "-sk-", '\\"',
    'token=\\"', "\\", "--token ", "_", "cookie:", "AKIA0123456789ABCDEF ", "[", "://a:b@", "İ",
]  # fmt: skip


def steps_of(text: str) -> int:
    """Return how many lines of Python cleaning a text takes: the same number on every machine."""
    count = 0

    def trace(frame: Any, event: str, argument: object) -> Any:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        cleaning.clean_text(text)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("piece", ADVERSARIAL)
def test_time_grows_with_the_length_and_not_faster(piece: str) -> None:
    """A program that records what strangers send it must not be stopped by one of them."""
    short = steps_of(piece * (4096 // len(piece)))
    long = steps_of(piece * (16384 // len(piece)))
    assert long < 5 * short + 1000


def test_secret_that_a_cut_goes_through_is_recognised() -> None:
    """Bounds must not make half a token of a token."""
    token = "ghp_" + "a1B2" * 9
    for length in range(cleaning.MAX_ARGUMENT_CHARS - 45, cleaning.MAX_ARGUMENT_CHARS + 5):
        assert "a1B2" not in cleaning.clean_argument("x" * length + " " + token)
    for length in range(encode.MAX_KEY_CHARS - 45, encode.MAX_KEY_CHARS + 5):
        assert "a1B2" not in encode.encode({"x" * length + " " + token: 1})
    for length in range(32 * 1024 - 45, 32 * 1024 + 5):
        assert "a1B2" not in encode.encode("." * length + " " + token)
    for length in range(75, 125):
        remarks: list[str] = []
        assert "a1b2" not in (recording.learn_name("x" * length + " " + token, remarks) + str(remarks)).lower()


COMMANDS = [
    (["python", "-c", "print('hunter2')", "x"], ["python", "-c", "[code]", "x"]),
    (["python", "-Ic", "hunter2"], ["python", "-Ic", "[code]"]),
    (["python", "-chunter2"], ["python", "-c[code]"]),
    (["python", "-W", "ignore", "-Xdev", "-Bc", "hunter2"], ["python", "-W", "ignore", "-Xdev", "-Bc", "[code]"]),
    (["python", "a.py", "-c", "kept"], ["python", "a.py", "-c", "kept"]),
    (["python", "-m", "job", "--password", "hunter2"], ["python", "-m", "job", "--password", "[REDACTED]"]),
    (["python", "a.py", "--password", "-hunter2"], ["python", "a.py", "--password", "[REDACTED]"]),
    (["python", "a.py", "--password", "--force"], ["python", "a.py", "--password", "--force"]),
    (["python", "a.py", "--api-key=hunter2 and more"], ["python", "a.py", "--api-key=[REDACTED]"]),
    (["python", "a.py", "TOKEN=hunter2 and more"], ["python", "a.py", "TOKEN=[REDACTED]"]),
    (["python", "a.py", "http://u:hunter2@h/"], ["python", "a.py", "http://h/"]),
    (["python", "a.py", "-H", "Authorization: Basic hunter2"], ["python", "a.py", "-H", "Authorization: [REDACTED]"]),
]  # fmt: skip


@pytest.mark.parametrize("given_arguments, recorded", COMMANDS, ids=[" ".join(words) for words, _ in COMMANDS])
def test_command_line_is_recorded_without_its_secrets(given_arguments: list[str], recorded: list[str]) -> None:
    """Everybody who may read a process list has learned not to; everybody who may read events has not."""
    assert cleaning.clean_arguments(given_arguments, "scrubbed") == recorded
    assert cleaning.clean_arguments(["/bin/" + given_arguments[0], *given_arguments[1:]], "name") == ["python"]


@pytest.mark.parametrize("how, seen", [
    (None, ["-c", "[code]", "--token", "[REDACTED]"]), ("full", ["-c", "pass", "--token", "[REDACTED]"]),
    ("name", []),
])  # fmt: skip
def test_operator_decides_how_much_of_command_lines_is_recorded(children: Children, how: str, seen: list[str]) -> None:
    """A hospital records the program's name only; a laboratory all there is."""
    done = children.run(["python", "-c", "pass", "--token", "hunter2"], env={"MONITOR_ARGV": how})
    (start,) = done.named("session.start")
    assert start["data"]["argv"][1:] == seen


# Every secret has a number of its own, so that a leak says where it came from.
SECRETS = """
    import os, sys
    from monitor_auto import Monitor

    number = 0
    def secret():
        global number
        number += 1
        return f"ghp_S3cret{number:03}x" + "a1B2" * 6
    def word():
        global number
        number += 1
        return f"S3cret{number:03}x"

    class Text(str):
        pass

    Monitor.init(redact=["patient"])
    e, m, r = Monitor.event, Monitor.metric, Monitor.error
    e("plain.token", {"note": "uses " + secret(), "text": Text(secret()), "bytes": secret().encode()})
    e("by.key", {"password": word(), "Db-Password": [word()], "deep": {"a": [{"Api-Key": Text(word())}]}})
    e("by.key", {Text("token"): word(), b"secret": word(), ("cookie", 1): word()})
    e("in.key", {secret(): 1, "password=" + word(): 2, "x" * 100 + " " + secret(): 3})
    e("in.text", {"line": "password=" + word(), "json": '{"token": "' + word() + '"}', "repr": repr({"auth": word()})})
    e("in.text", {"url": "https://u:" + word() + "@host/", "bearer": "Bearer " + word(), "cli": "x --token " + word()})
    e("in.list", ["Authorization: Basic " + word(), {"cookie": word()}, (("password", word()),)][:2])
    e("by.rule", {"patient_name": word(), "text": "patient=" + word(), "mail": word() + "@mail.test"})
    e(secret(), {"a": 1}); e("password=" + word(), None); e(Text("Bearer " + word()), {}); e("error." + secret(), {})
    m("metric." + secret(), 1, {"token": word()}); m("size", "password=" + word())
    r("failed: token=" + word(), {"secret": word()}); r(secret())
    with Monitor.span("span " + secret(), {"api_key": word()}):
        pass

    def fail(error, **more):
        try:
            raise error
        except BaseException as caught:
            r(caught, more)
    fail(ValueError("bad password=" + word()), token=word())
    fail(KeyError(secret()))
    fail(OSError(2, "no such file", "/srv/" + secret()))
    fail(type(secret(), (Exception,), {})("x"))
    try:
        try:
            raise LookupError("cause Bearer " + word())
        except LookupError as cause:
            raise RuntimeError("https://u:" + word() + "@h/") from cause
    except RuntimeError as error:
        if hasattr(error, "add_note"):
            error.add_note("note token=" + word())
        error.local = secret()
        r(error)
    exec(compile("def f():\\n raise TypeError('x')", "/tmp/password=" + word() + "/a.py", "exec"))
    try:
        f()
    except TypeError as error:
        r(error)
    if hasattr(__builtins__, "ExceptionGroup"):
        fail(ExceptionGroup("group " + secret(), [ValueError(secret()), OSError("cookie: " + word())]))
    class Odd:
        def __repr__(self): return "Odd(password='" + word() + "')"
        def __del__(self): raise ValueError("unraisable " + secret())
    e("odd.repr", {"odd": Odd()})
    import threading
    quiet = threading.excepthook = sys.unraisablehook = lambda *ignored: None
    thread = threading.Thread(target=fail, args=(ValueError("thread " + secret()),), name="t " + secret())
    thread.start(); thread.join()
    if len(sys.argv) > 1:
        sys.stderr = open(os.devnull, "w")
        if sys.argv[-1] == "exit":
            sys.exit("password=" + word())
        raise ValueError("uncaught " + secret())
"""


@pytest.mark.parametrize("ending", ["exit", "raise"])
def test_no_secret_reaches_spool_wire_or_log(
    children: Children, collector: Collector, tmp_path: Path, ending: str
) -> None:
    """The table of all ways in, in one process, followed to all ways out."""
    log = tmp_path / "debug.log"
    cwd = tmp_path / "cwd" / "password=S3cret900x"
    cwd.mkdir(parents=True)
    arguments = ["--password", "S3cret901x", "--token=S3cret902x more", "TOKEN=S3cret903x", "http://u:S3cret904x@h/"]
    settings = {
        "MONITOR_APP": "app ghp_S3cret905x" + "a1B2" * 6, "MONITOR_APP_VERSION": "token=S3cret906x",
        "MONITOR_PLATFORM": "secret=S3cret907x", "MONITOR_TOKEN": "S3cret908x", "MONITOR_REDACT": "email,ward",
        "MONITOR_DEBUG": str(log), "MONITOR_BATCH_SIZE": "token=S3cret909x",
    }  # fmt: skip
    how: dict[str, Any] = {"argv": [*arguments, ending], "env": settings, "cwd": cwd}
    spooled = children.run(SECRETS, env={**settings, "MONITOR_EXIT_TIMEOUT": "0"}, argv=how["argv"], cwd=cwd)
    on_disk = b"".join(path.read_bytes() for path in children.spool.rglob("*") if path.is_file())
    sent = children.run(SECRETS, endpoint=collector.url, spool=tmp_path / "other", **how)
    on_wire = b"".join(request.body for request in collector.requests)
    assert (spooled.status, sent.status) == (1, 1)
    for text in (on_disk, json.dumps(collector.events()).encode(), on_wire, log.read_bytes()):
        assert text
        leaks = [text[max(0, at - 60) : at + 40] for at in positions(text.lower(), b"s3cret")]
        assert not leaks
    assert len(collector.unique()) > 25
    names = [event["name"] for event in collector.unique()]
    assert {"by.key", "odd.repr", "error.RuntimeError", "error.message", "session.end"} <= set(names)
    (start,) = [event for event in collector.unique() if event["name"] == "session.start"]
    recorded = ["--password", "[REDACTED]", "--token=[REDACTED]", "TOKEN=[REDACTED]", "http://h/", ending]
    assert start["data"]["argv"][2:] == recorded
    assert sum(b"[REDACTED]" in line for line in on_disk.splitlines()) > 20


def positions(text: bytes, word: bytes) -> Iterator[int]:
    """Yield where a word stands."""
    at = text.find(word)
    while at >= 0:
        yield at
        at = text.find(word, at + 1)


def test_home_directories_become_a_tilde(children: Children) -> None:
    """A user name is nobody's business; with a slash at its end HOME is the same folder."""
    source = """
        import os
        from monitor_auto import Monitor
        Monitor.event("path.seen", {"own": os.environ["HOME"].rstrip("/") + "/a", "others": "/home/bob/a"})
    """
    for home in (str(children.home), str(children.home) + "/"):
        done = children.run(source, env={"HOME": home}, cwd=children.home)
        assert done.named("path.seen")[-1]["data"] == {"own": "~/a", "others": "~/a"}
        assert done.named("session.start")[-1]["data"]["cwd"] == "~"


def test_native_stack_is_cleaned_when_it_is_read(children: Children, collector: Collector) -> None:
    """It waits raw, since C code wrote it while the process died; nobody but its reader may see that."""
    source = 'import os; exec(compile("os.abort()", "/home/bob/token=S3cret/a.py", "exec"))'
    dead = children.run(source, endpoint=collector.url)
    assert dead.status < 0
    children.run(["python", "-m", "monitor_auto", "flush"], endpoint=collector.url)
    (error,) = [event for event in collector.unique() if event["name"] == "error.SIGABRT"]
    assert "~/token=[REDACTED]" in error["data"]["stack"]
    assert b"S3cret" not in b"".join(request.body for request in collector.requests)
