"""Ask a server one question from outside, and judge the answer as a monitoring plugin: one line and an exit status.

WHOIS is here: the sentences by which a .dk server refuses, and nothing of its configuration or its database. RDAP is in
`probe_rdap`, and what both have in common in `probing`. A probe sees what a client sees.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NoReturn

import click

from whoisd.commands.probing import (
    ANSWER_LIMIT,
    FAILED,
    LARGEST_NUMBER,
    QUOTE_LIMIT,
    REFUSED,
    WHOIS,
    Answer,
    Deadline,
    Demands,
    NoAnswerError,
    Question,
    Result,
    Rule,
    Status,
    WrongUseError,
    connect,
    decode,
    exchange,
    judge_text,
    judge_time,
    misuse,
    parse_target,
    performance,
    quoted,
    shortened,
)
from whoisd.errors import whereabouts

__all__ = ["ANSWER_LIMIT", "LARGEST_NUMBER", "QUOTE_LIMIT", "Result", "Status", "probe", "probe_command"]

WHOIS_PORT: Final = 43

# How lines of `notices` begin, and those of other versions of it: a probe may be older or newer than what it asks.
TOO_MANY: Final = "WHOIS LIMIT EXCEEDED"
TEMPORARY: Final = "WHOIS time limit exceeded"
NO_ENTRIES: Final = "No entries found"


def probe(  # noqa: PLR0913 - each is an option of the command
    target: str,
    query: str,
    *,
    warning: float | None,
    critical: float | None,
    expect: Sequence[str] = (),
    absent: Sequence[str] = (),
    timeout: float = 10.0,
) -> Result:
    """Ask `target` the query, and judge what comes back.

    The target is HOST, HOST:PORT, an IPv6 address or [IPv6]:PORT for WHOIS, a URL for RDAP. `warning` and `critical` are
    milliseconds, from resolving the name to the end of the answer; `timeout`, in seconds, is the deadline over the same.
    Texts are compared as they are, with the answer's line ends as plain newlines. Raises nothing for what the network or the
    server does: that is in the result, as is a wrong use.
    """
    service = "RDAP" if "://" in target else WHOIS
    demands = Demands(warning, critical, expect, absent)
    try:
        question = _question(target, query)
        misuse(query, demands, timeout)
        deadline = Deadline(timeout)
        answer = question.ask(deadline)
    except WrongUseError as error:
        return Result(Status.UNKNOWN, str(error), service=service)
    except NoAnswerError as error:
        return Result(Status.CRITICAL, f"{shortened(target)}: {error}", service=service)
    milliseconds, size = deadline.spent() * 1000, len(answer.body)
    for rules in (question.judge(answer, demands), judge_time(query, milliseconds, size, demands)):
        for holds, status, text in rules:
            if holds:
                return Result(status, text, performance(milliseconds, size, demands), service)
    raise AssertionError  # the last rule always holds


def _question(target: str, query: str) -> Question:
    """Return what is asked of a target. Raises `WrongUseError`."""
    if "://" in target:
        from whoisd.commands.probe_rdap import rdap_question  # noqa: PLC0415 - TLS and HTTP take long to import

        return rdap_question(target, query)
    host = parse_target(target, WHOIS_PORT)
    if host is None:
        raise WrongUseError(f"{quoted(target)} is no HOST, HOST:PORT or [IPV6]:PORT")
    return WhoisQuestion(*host, query)


# --- WHOIS -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WhoisQuestion:
    """A query line for a host and port."""

    service: ClassVar[str] = WHOIS

    host: str
    port: int
    query: str

    def ask(self, deadline: Deadline) -> Answer:
        """Return everything until the server closes. Raises `NoAnswerError`."""
        with connect(self.host, self.port, deadline) as connection:
            return Answer(exchange(connection, self.query.encode() + b"\r\n", deadline, lambda _: False))

    def judge(self, answer: Answer, demands: Demands) -> Iterator[Rule]:
        """Yield the judgements of an answer but for its time, the most severe first."""
        text, name = decode(answer.body), shortened(self.query)
        yield _says(text, TOO_MANY), Status.UNKNOWN, REFUSED
        yield _says(text, TEMPORARY), Status.CRITICAL, FAILED
        yield from judge_text(text, name, demands)
        if not demands.expect:
            yield _says(text, NO_ENTRIES), Status.CRITICAL, f"the name is not there: {name}"
            yield _is_refusal(self.query, text), Status.UNKNOWN, f"the server refuses the query: {name}"


def _says(text: str, notice: str) -> bool:
    """Whether a line begins with the notice: within a line it would be a value, or the terms of use."""
    return f"\n{notice}" in f"\n{text}"


def _is_refusal(query: str, text: str) -> bool:
    """Whether an answer has only comments, as one to a query that is not taken; HELP is answered so too, in many lines."""
    lines = [line for line in text.split("\n") if line.strip()]
    asked_for_help = query.rsplit(maxsplit=1)[-1].lower() == "help"
    return all(line.startswith("#") for line in lines) and not (asked_for_help and len(lines) > 1)


# --- the command -----------------------------------------------------------------------------------------------------


class _Plugin(click.Command):
    """A command whose wrong use is UNKNOWN: click's own status for it, 2, would be read as CRITICAL."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            _end(ctx, Result(Status.UNKNOWN, error.format_message()))
        except click.exceptions.Exit:  # of --help, which is UNKNOWN too by the guidelines: nothing was probed
            ctx.exit(Status.UNKNOWN)


def _end(context: click.Context, result: Result) -> NoReturn:
    # As bytes: a locale that lacks a letter of the line must not turn the verdict into a traceback.
    click.echo(result.line().encode())
    context.exit(result.status)


@click.command("probe", cls=_Plugin)
@click.option("--warning", type=float, metavar="MS", help="Milliseconds from which on the answer is a WARNING.")
@click.option("--critical", type=float, metavar="MS", help="Milliseconds from which on the answer is CRITICAL.")
@click.option("--expect", multiple=True, metavar="TEXT", help="CRITICAL unless the answer has this text; may be repeated.")
@click.option("--absent", multiple=True, metavar="TEXT", help="CRITICAL if the answer has this text; may be repeated.")
@click.option(
    "--timeout", type=float, default=10.0, show_default=True, metavar="SECONDS", help="For everything, to the answer's end."
)
@click.argument("target", metavar="HOST[:PORT]")
@click.argument("words", metavar="NAME...", nargs=-1, required=True)
@click.pass_context
def probe_command(context: click.Context, /, target: str, words: tuple[str, ...], **limits: Any) -> None:
    """Ask a server as a client does and judge the answer, as a monitoring plugin.

    Prints one line; the exit status is 0 OK, 1 WARNING, 2 CRITICAL or 3 UNKNOWN. Options of the query go behind `--`:
    whoisd probe whois.example.dk -- --show-handles punktum.dk. A URL instead of a host is asked by RDAP:
    whoisd probe https://rdap.example.dk punktum.dk
    """
    try:
        result = probe(target, " ".join(words), **limits)
    except KeyboardInterrupt:
        result = Result(Status.UNKNOWN, "interrupted")
    except Exception as error:  # noqa: BLE001 - Python's own status for it, 1, would be read as WARNING
        result = Result(Status.UNKNOWN, f"a fault of whoisd's own, please report it: {whereabouts(error)}")
    _end(context, result)
