"""Framing: when there is a line to judge, and how text becomes bytes."""

from collections.abc import Sequence

import pytest

from whoisd.answers.wire import Charset, LineBuffer, encode, is_text


def feed(*chunks: bytes) -> Sequence[bytes | None]:
    """Return what a new buffer says to each chunk."""
    buffer = LineBuffer()
    return [buffer.feed(chunk) for chunk in chunks]


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([b"a.dk\r\n"], [b"a.dk"]),
        ([b"a.dk\n"], [b"a.dk"]),
        ([b"\r\n"], [b""]),
        ([b"\n"], [b""]),
        ([b"a.", b"dk", b"\r"], [None, None, b"a.dk"]),
        ([b"a.", b"dk", b"\n"], [None, None, b"a.dk"]),
        ([b"a\tb\n"], [b"a\tb"]),
        ([b"a.dk\r\nb.dk\r\n"], [b"a.dk"]),
        ([b"a.dk\n\x00"], [b"a.dk"]),
        ([b"a.dk\r\r\n"], [b"a.dk"]),
        ([b"a.dk\r\x00"], [b"a.dk"]),
        ([b"a.dk\rb.dk\n"], [b"a.dk"]),
        ([b"a.dk\nb.dk\r"], [b"a.dk"]),
        ([b"\xe6\xff\x80\n"], [b"\xe6\xff\x80"]),
    ],
)
def test_line_ends_at_its_newline(chunks: list[bytes], lines: list[bytes | None]) -> None:
    """A line ends at CRLF, LF, CR CR LF, CR NUL or CR, in however many pieces it comes, and what follows it is not read."""
    assert feed(*chunks) == lines


@pytest.mark.parametrize("control", [b"\x00", b"\x08", b"\x0b", b"\x1b", b"\x7f"])
def test_what_is_not_text_is_judged_at_once(control: bytes) -> None:
    """A control character is handed out to be refused without waiting for the end of the line."""
    assert feed(b"a", control + b"b") == [None, b"a" + control + b"b"]


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r"])
def test_line_within_the_limit_waits_for_its_end(end: bytes) -> None:
    """A line of 1,024 bytes is a line, also when its end comes in a packet of its own."""
    assert feed(b"a" * 1024, end) == [None, b"a" * 1024]


WILL, DO, IAC, SB, SE, NOP = b"\xff\xfb", b"\xff\xfd", b"\xff", b"\xff\xfa", b"\xff\xf0", b"\xff\xf1"
BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    "before",
    [
        BOM,
        WILL + b"\x18",
        DO + b"\x03" + WILL + b"\x1f" + NOP,
        DO + b"\n" + WILL + b"\r",
        SB + b"\x18\x00VT100" + SE,
        SB + b"\x1f\x00\n\r\xff\xff" + SE + BOM,
    ],
)
def test_telnet_and_byte_order_marks_are_skipped(before: bytes) -> None:
    """Telnet's commands and a byte order mark before a query are no part of it, in however many packets they come."""
    assert feed(before + b"a.dk\r\n") == [b"a.dk"]
    sent = before + b"a.dk\r"
    assert feed(*(sent[at : at + 1] for at in range(len(sent)))) == [*[None] * (len(sent) - 1), b"a.dk"]
    buffer = LineBuffer()
    assert buffer.feed(before + b"a.dk") is None
    assert buffer.rest() == b"a.dk"


@pytest.mark.parametrize(
    "sent", [b"a" + BOM + b".dk\n", b"\xef\xbb.dk\n", b"a" + WILL + b".dk\n", b"\xff\xff.dk\n", BOM * 2 + b"\n"]
)
def test_only_what_stands_before_a_query_is_skipped(sent: bytes) -> None:
    """What looks like telnet or a byte order mark elsewhere is part of the line, and there to be refused."""
    [line] = feed(sent)
    assert line is not None
    assert set(line) & {0xFF, 0xEF}


@pytest.mark.parametrize("flood", [WILL + b"\x18", NOP, SB + b"a" * 100])
def test_endless_commands_are_too_long(flood: bytes) -> None:
    """Commands of telnet without an end are refused as a line would be that is as long."""
    buffer = LineBuffer()
    lines = [buffer.feed(flood) for _ in range(1025 // len(flood) + 1)]
    assert lines[:-1] == [None] * (len(lines) - 1)
    assert len(lines[-1] or b"") > 1024


@pytest.mark.parametrize("chunks", [[b"a" * 1026], [b"a" * 1024, b"aa"], [b"a" * 1000, b"a" * 1000], [b"a" * 100_000]])
def test_line_beyond_the_limit_is_judged_at_once(chunks: list[bytes]) -> None:
    """Input that has outgrown a line and its end is handed out, too long as it is, without waiting for a newline."""
    *before, last = feed(*chunks)
    assert before == [None] * len(before)
    assert last is not None
    assert len(last) > 1024


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_line_one_byte_beyond_the_limit_stays_too_long(end: bytes) -> None:
    """A line of 1,025 bytes is never cut to one that fits."""
    assert feed(b"a" * 1025 + end) == [b"a" * 1025]


def test_buffer_holds_no_more_than_it_can_judge() -> None:
    """Of a flood in one packet no more is kept than shows that the line is too long."""
    [line] = feed(b"a" * 10_000_000)
    assert line is not None
    assert len(line) <= 1026


@pytest.mark.parametrize(
    ("chunks", "line"), [([b"a.dk"], b"a.dk"), ([b"a.", b"dk"], b"a.dk"), ([b"\xff"], b"\xff"), ([], b"")]
)
def test_end_of_input_ends_the_line(chunks: list[bytes], line: bytes) -> None:
    """What came before the client's half-close is the line."""
    buffer = LineBuffer()
    for chunk in chunks:
        assert buffer.feed(chunk) is None
    assert buffer.rest() == line


def test_pending_says_whether_any_byte_has_come() -> None:
    """A connection on which nothing was sent is told from one on which a query was begun."""
    buffer = LineBuffer()
    assert not buffer.pending
    buffer.feed(b"a")
    assert buffer.pending


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"", True),
        (b"--charset=utf-8\teksempel.dk", True),
        (b"\xe6\xf8\xe5.dk", True),
        (b"a\x00", False),
        (b"a\rb", False),
        (b"a\x0cb", False),
        (b"a\x1fb", False),
        (b"a\x7fb", False),
    ],
)
def test_text_has_no_control_character_but_the_tab(line: bytes, expected: bool) -> None:
    """A line is text when it has no control character but tabs."""
    assert is_text(line) is expected


@pytest.mark.parametrize(
    ("text", "charset", "data"),
    [
        ("a\nb\n", Charset.LATIN_1, b"a\r\nb\r\n"),
        ("a\nb\n", Charset.UTF_8, b"a\r\nb\r\n"),
        ("Ørsted ß\n", Charset.LATIN_1, b"\xd8rsted \xdf\r\n"),
        ("Ørsted ß\n", Charset.UTF_8, b"\xc3\x98rsted \xc3\x9f\r\n"),
        ("Łódź 5€\n", Charset.LATIN_1, b"?\xf3d? 5?\r\n"),
        ("A\u030arhus, \u212ble, Ło\u0301dz\u0301\n", Charset.LATIN_1, b"\xc5rhus, \xc5le, ?\xf3d?\r\n"),
        ("A\u030arhus\n", Charset.UTF_8, b"A\xcc\x8arhus\r\n"),
        ("Łódź 5€\n", Charset.UTF_8, b"\xc5\x81\xc3\xb3d\xc5\xba 5\xe2\x82\xac\r\n"),
        ("\ud800\n", Charset.UTF_8, b"?\r\n"),
    ],
)
def test_encode(text: str, charset: Charset, data: bytes) -> None:
    """Lines end in CRLF; a character that the charset lacks is one question mark, also a letter that is written as two."""
    assert encode(text, charset) == data


@pytest.mark.parametrize("character", [b"\x00", b"\n", b"\r", b"\x0b", b"\x1f", b"\x7f"])
def test_control_characters_are_no_text(character: bytes) -> None:
    """A line with a control character anywhere, but a tab, is no text."""
    assert not is_text(b"eksempel" + character + b".dk")
    assert is_text(b"\teksempel.dk")
