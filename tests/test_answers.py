"""The reader of a collector's answer: any bytes, in any pieces, end in an answer or in none, and in the same one."""

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor_auto.delivery.exchange import MAX_BODY_BYTES, Answer, NoAnswer, read_answer, request
from support.children import Children
from support.rawserver import raw_server

OK = b"HTTP/1.1 200 OK\r\n"
LEGAL = {
    "as usual": OK + b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    "lower case": b"HTTP/1.1 202 accepted\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
    "folded header": OK + b"X-Long: one\r\n two\r\n\tthree\r\nContent-Length: 0\r\n\r\n",
    "chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;name=value\r\n}\r\n0\r\n\r\n",
    "chunks with trailers": OK + b"transfer-encoding: Chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Sum: 1\r\nX-Two: 2\r\n\r\n",
    "no length": OK + b"Content-Type: text/plain\r\n\r\nfine",
    "no header at all": OK + b"\r\n",
    "continue first": b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n",
    "hints first": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    "old": b"HTTP/1.0 200 OK\r\n\r\n{}",
    "no reason": b"HTTP/1.1 204\r\n\r\n",
    "bare newlines": b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
    "length of no content": b"HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n",
    "twice the same length": OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "twice the same length in one": OK + b"Content-Length: 2, 2\r\n\r\n{}",
    "latin-1": OK + b"X-Name: K\xe4the\r\nContent-Length: 0\r\n\r\n",
    "more than was promised": OK + b"Content-Length: 2\r\n\r\n{}HTTP/1.1 500 no\r\n\r\n",
}
ILLEGAL = {
    "nothing": b"",
    "half a status": b"HTTP/1.1 20",
    "half a header": OK + b"Content-Len",
    "half a body": OK + b"Content-Length: 10\r\n\r\n{}",
    "half a chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{}",
    "no last chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    "chunk too long": OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}x\r\n0\r\n\r\n",
    "chunk without a size": OK + b"Transfer-Encoding: chunked\r\n\r\n\r\n{}\r\n0\r\n\r\n",
    "negative chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "two lengths in one": OK + b"Content-Length: 2, 3\r\n\r\n{}",
    "negative length": OK + b"Content-Length: -1\r\n\r\n",
    "length of another alphabet": OK + "Content-Length: ٢\r\n\r\n{}".encode(),
    "unknown coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "HTTP/2": b"HTTP/2 200\r\n\r\n",
    "switching": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "status below": b"HTTP/1.1 099 OK\r\n\r\n",
    "no colon": OK + b"Nonsense\r\n\r\n",
    "space before the colon": OK + b"Content-Length : 2\r\n\r\n{}",
    "endless line": OK + b"X: " + b"x" * 70_000,
    "endless headers": OK + b"X: x\r\n" * 20_000,
    "endless continue": b"HTTP/1.1 100 Continue\r\n\r\n" * 4_000,
    "huge body": OK + b"Content-Length: 99999999\r\n\r\n" + bytes(2000),
    "huge body without a length": OK + b"\r\n" + b"{" * (MAX_BODY_BYTES + 1),
    "huge chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n" + (b"80000\r\n" + b"{" * 0x80000 + b"\r\n") * 3,
    "a web page": b"<html><body>Log in</body></html>",
    "binary": bytes(range(256)) * 8,
}


def receiver(data: bytes, cuts: list[int]) -> Callable[[], bytes]:
    """Return what gives out data in pieces that end at `cuts`, then nothing for ever."""
    places = [0, *sorted({cut for cut in cuts if 0 < cut < len(data)}), len(data)]
    pieces = [data[begin:end] for begin, end in itertools.pairwise(places) if begin < end]
    rest = iter(pieces)
    return lambda: next(rest, b"")


def outcome(data: bytes, cuts: list[int]) -> tuple[object, ...]:
    """Return what reading ends in."""
    try:
        answer = read_answer(receiver(data, cuts))
    except NoAnswer as error:
        assert str(error)
        return ("none",)
    assert type(answer) is Answer and 200 <= answer.status < 1000
    return answer.status, answer.content_type, answer.body


@pytest.mark.parametrize("how", LEGAL)
def test_legal_answer_is_understood_in_any_pieces(how: str) -> None:
    """A slow network cuts anywhere; a yes that is not understood is an event that is sent for ever."""
    data = LEGAL[how]
    whole = outcome(data, [])
    assert whole[0] in (200, 202, 204)
    assert all(outcome(data, [cut]) == whole for cut in range(1, len(data)))
    assert outcome(data, list(range(len(data)))) == whole


@pytest.mark.parametrize("how", ILLEGAL)
def test_what_is_no_whole_answer_is_none(how: str) -> None:
    """Events are deleted on a yes; half of one, or something that looks like one, is none."""
    data = ILLEGAL[how]
    assert outcome(data, []) == ("none",)
    assert outcome(data, list(range(0, len(data), 997))) == ("none",)


WHOLE_WITH_LENGTH = ("as usual", "lower case", "folded header", "chunks", "chunks with trailers", "continue first")


@pytest.mark.parametrize("how", WHOLE_WITH_LENGTH)
def test_answer_that_breaks_off_is_none(how: str) -> None:
    """A server that dies while it answers has perhaps not stored what it was about to confirm."""
    assert all(outcome(LEGAL[how][:size], []) == ("none",) for size in range(len(LEGAL[how])))


words = st.sampled_from(
    [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 100 Continue",
        b"HTTP/1.0 503 x",
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b":",
        b" ",
        b"\t",
        b"0",
    ]
    + [b"Content-Length", b"content-length: 5", b"Transfer-Encoding: chunked", b"5\r\nhello\r\n", b"0\r\n\r\n", b";x=y"]
)
streams = st.lists(words | st.binary(max_size=12), max_size=24).map(b"".join) | st.binary(max_size=400)


@settings(max_examples=400, deadline=None)
@given(data=streams, cuts=st.lists(st.integers(0, 400), max_size=40))
def test_any_bytes_in_any_pieces_end_the_same_way(data: bytes, cuts: list[int]) -> None:
    """An exception of another kind, or an endless loop, would be in a process that somebody waits for."""
    whole = outcome(data, [])
    assert outcome(data, cuts) == whole
    assert outcome(data, list(range(len(data)))) == whole


@settings(max_examples=200, deadline=None)
@given(seed=st.sampled_from([*LEGAL.values(), *list(ILLEGAL.values())[:20]]), place=st.integers(0, 120), data=st.data())
def test_damaged_answer_ends_in_an_answer_or_none(seed: bytes, place: int, data: st.DataObject) -> None:
    """What comes near an answer finds the corners that random bytes never reach."""
    piece = data.draw(st.binary(max_size=6))
    damaged = seed[:place] + piece + seed[place + data.draw(st.integers(0, 6)) :]
    assert outcome(damaged, list(range(0, len(damaged), 3))) == outcome(damaged, [])


@pytest.mark.parametrize("how", LEGAL)
def test_exit_delivers_whatever_legal_answer_comes(how: str, children: Children) -> None:
    """Collectors are written in every language; each has a server with habits of its own."""
    with raw_server(LEGAL[how]) as server:
        done = children.twin("print('bare')", endpoint=server.url())
        assert len(server.requests) == 1
        assert b"session.end" in server.requests[0]
    assert done.events == []


@pytest.mark.parametrize("token", ["a\r\nX-Evil: 1", "a\nb", "käthe", "a\0b", "a\x7f"])
def test_token_that_no_header_may_hold_is_refused(token: str) -> None:
    """A token from a file often ends with a newline; what follows one in a header is another header."""
    with pytest.raises(NoAnswer, match="MONITOR_TOKEN"):
        request("127.0.0.1", 1, "/v1/events", token, b"{}")


def test_request_is_what_a_strict_server_expects() -> None:
    """The host's brackets, the length and the blank line are what servers refuse requests for."""
    head, _, body = request("::1", 8080, "/v1/events", "secret", b"{}").partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /v1/events HTTP/1.1"
    fields = dict(line.split(": ") for line in lines[1:])
    assert fields["Host"] == "[::1]:8080"
    assert (fields["Content-Length"], body) == ("2", b"{}")
    assert (fields["Authorization"], fields["Content-Type"]) == ("Bearer secret", "application/json")
    assert "Transfer-Encoding" not in fields
