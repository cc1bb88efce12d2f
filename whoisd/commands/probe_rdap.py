"""RDAP as a probe asks and judges it: one GET over HTTP or TLS (RFC 7480), and an object of RFC 9083.

Knows the statuses by which an RDAP server refuses, and what an answer must have to be one about the name that was asked for.
"""

import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, ClassVar, Final

from httptools import HttpParserError, HttpResponseParser

from whoisd.answers.names import DomainName, parse_name
from whoisd.answers.rdap import MEDIA_TYPE
from whoisd.commands.probing import (
    FAILED,
    REFUSED,
    Answer,
    Deadline,
    Demands,
    NoAnswerError,
    Rule,
    Status,
    WrongUseError,
    connect,
    decode,
    exchange,
    judge_text,
    parse_target,
    quoted,
    shortened,
    words_of,
)
from whoisd.errors import InvalidName

_PORTS: Final = {"http": 80, "https": 443}
_BASE: Final = "/rdap/"  # where a URL without a path is asked, as whoisd serves it


@dataclass(frozen=True)
class RdapQuestion:
    """What is asked of a server at a URL: an object, or help where there is no name."""

    service: ClassVar[str] = "RDAP"

    host: str
    port: int
    tls: bool
    authority: str
    path: str
    text: str
    name: DomainName | None

    def ask(self, deadline: Deadline) -> Answer:
        """Return the whole answer, its body without HTTP's framing. Raises `NoAnswerError`."""
        request = f"GET {self.path} HTTP/1.1\r\nHost: {self.authority}\r\nAccept: {MEDIA_TYPE}\r\n"
        request += "User-Agent: whoisd-probe\r\nConnection: close\r\n\r\n"
        reader = _Reader()
        with connect(self.host, self.port, deadline) as plain:
            try:
                connection = self._secure(plain, deadline) if self.tls else plain
            except TimeoutError:
                raise NoAnswerError(f"no TLS within {deadline.seconds:g} s") from None
            except ssl.SSLCertVerificationError as error:
                raise NoAnswerError(f"the certificate is not to be trusted: {error.verify_message}") from None
            except ssl.SSLError as error:
                reason = (error.reason or "closed").replace("_", " ").lower()
                raise NoAnswerError(f"no TLS can be agreed on: {reason}") from None
            except OSError as error:
                raise NoAnswerError(f"no TLS can be agreed on: {words_of(error)}") from None
            with connection:
                exchange(connection, request.encode("ascii"), deadline, reader.feed)
        return reader.answer()

    def _secure(self, connection: Any, deadline: Deadline) -> ssl.SSLSocket:  # noqa: ANN401 - a socket
        connection.settimeout(deadline.left())
        return ssl.create_default_context().wrap_socket(connection, server_hostname=self.host)

    def judge(self, answer: Answer, demands: Demands) -> Iterator[Rule]:
        """Yield the judgements of an answer but for its time, the most severe first."""
        name = shortened(self.text)
        yield answer.status == HTTPStatus.TOO_MANY_REQUESTS, Status.UNKNOWN, REFUSED
        yield answer.status == HTTPStatus.SERVICE_UNAVAILABLE, Status.CRITICAL, FAILED
        found = _object(answer)
        yield found is None, Status.CRITICAL, f"the answer to {name} is no RDAP: HTTP status {answer.status}"
        yield from judge_text("\n".join((decode(answer.body), *_texts(found))), name, demands)
        if not demands.expect:
            yield answer.status == HTTPStatus.NOT_FOUND, Status.CRITICAL, f"the name is not there: {name}"
            yield answer.status == HTTPStatus.BAD_REQUEST, Status.UNKNOWN, f"the server refuses the query: {name}"
            yield answer.status != HTTPStatus.OK, Status.CRITICAL, f"the answer to {name} has HTTP status {answer.status}"
        if answer.status == HTTPStatus.OK:
            yield not self._is_answered_by(found or {}), Status.CRITICAL, f"the answer to {name} is about something else"

    def _is_answered_by(self, found: dict[str, Any]) -> bool:
        """Whether an object conforms to RDAP, and is what was asked for."""
        conformance, ldh = found.get("rdapConformance"), found.get("ldhName")
        if not isinstance(conformance, list) or "rdap_level_0" not in conformance or "errorCode" in found:
            return False
        if self.name is None:
            return "objectClassName" not in found
        is_kind = found.get("objectClassName") == _kind(self.name)
        return is_kind and isinstance(ldh, str) and ldh.lower().removesuffix(".") == self.name.ascii


def rdap_question(url: str, text: str) -> RdapQuestion:
    """Return the question for a name, or for HELP, at http(s)://HOST[:PORT][/PATH]. Raises `WrongUseError`."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    port = _PORTS.get(scheme.lower())
    host = parse_target(authority, port) if port else None
    if host is None or not url.isascii() or not url.isprintable() or set(" ?#") & set(url):
        raise WrongUseError(f"{quoted(url)} is no https://HOST[:PORT][/PATH]")
    base = f"{slash}{path.rstrip('/')}/" if path else _BASE
    name = None if text.lower() == "help" else _name(text)
    asked = "help" if name is None else f"{_kind(name)}/{name.ascii}"
    return RdapQuestion(*host, scheme.lower() == "https", authority, base + asked, text, name)


def _name(text: str) -> DomainName:
    try:
        return parse_name(text)
    except InvalidName:
        raise WrongUseError(f"RDAP is asked for one name, or HELP, and this is none: {shortened(text)}") from None


def _kind(name: DomainName) -> str:
    return "domain" if name.is_dk_domain else "nameserver"


# --- what came -------------------------------------------------------------------------------------------------------


@dataclass
class _Reader:
    """Reads one answer of HTTP/1.1, however it is framed."""

    body: bytearray = field(default_factory=bytearray)
    headers: dict[str, str] = field(default_factory=dict)
    _begun: bool = False
    _ended: bool = False

    def __post_init__(self) -> None:
        self._parser = HttpResponseParser(self)

    def feed(self, data: bytes) -> bool:
        """Read a piece, and return whether it was the last. Raises `NoAnswerError`."""
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            raise NoAnswerError("what is there speaks no HTTP") from None
        return self._ended

    def answer(self) -> Answer:
        """Return what was read, as it is when the server has closed. Raises `NoAnswerError`."""
        has_length = {"content-length", "transfer-encoding"} & self.headers.keys()
        if not self._begun or (has_length and not self._ended):
            raise NoAnswerError(f"closed before the end of the answer, {len(self.body)} bytes into its body")
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        return Answer(bytes(self.body), self._parser.get_status_code(), media_type)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Note that the body begins; of an answer before the answer (RFC 9110, 15.2) there is none."""
        self._begun = self._parser.get_status_code() >= HTTPStatus.OK
        if not self._begun:
            self.headers.clear()

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        self.body += data

    def on_message_complete(self) -> None:
        """Note the end."""
        self._ended = self._begun


def _object(answer: Answer) -> dict[str, Any] | None:
    """Return the object of an answer, or None where it is no RDAP."""
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return found if answer.media_type == MEDIA_TYPE and isinstance(found, dict) else None


def _texts(value: object) -> Iterator[str]:
    """Yield the texts of an object, which in its JSON may have letters as escapes."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)
