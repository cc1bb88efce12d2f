"""The commands that account for what the server discloses: they read the settings, have it counted, and print the report.

Standard output has the report alone; standard error, where it is a terminal, how far the counting has got.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from whoisd.answers.page import Language
from whoisd.answers.wire import Charset
from whoisd.commands.terminal import command, config_option, file_path
from whoisd.config import Settings, load_settings
from whoisd.errors import ReportError
from whoisd.registry.census import tally
from whoisd.registry.progress import Progress
from whoisd.registry.report import EMAILS, LARGEST, REASONS, SUBJECTS, Report, figures, from_json, moment, to_csv, to_json
from whoisd.registry.report_page import to_html

WIDTH: Final = 80  # of the table, on a terminal of any width: a figure is never cut off


def _moment(context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:  # noqa: ARG001 - click's
    try:
        return None if value is None else moment(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.group("report")
def report_commands() -> None:
    """Account for what the server discloses."""


@report_commands.command()
@config_option
@click.option(
    "--at",
    callback=_moment,
    metavar="TIME",
    help="Count today's data by the rules as of a moment, such as 2025-11-03T14:00:00+01:00.  [default: now]",
)
@click.option(
    "--charset", type=click.Choice([charset.value for charset in Charset]), default=Charset.UTF_8.value, show_default=True,
    help="Charset of the answers that are counted.",
)  # fmt: skip
@click.option(
    "--changes-from", "earlier", type=file_path, metavar="FILE",
    help="Compare with an earlier report, as written by --format json.",
)  # fmt: skip
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "html"]),
    default="table",
    show_default=True,
    help="How to print it; html is one page with bars and the rules in words, for a browser or a printer.",
)
@click.option(
    "--language", type=click.Choice([language.value for language in Language]),
    help="Language of the page.  [default: en]",
)  # fmt: skip
@command
def disclosure(  # noqa: PLR0913, PLR0917 - what is counted, and how it is printed
    file: Path | None, at: datetime | None, charset: str, earlier: Path | None, form: str, language: str | None
) -> None:
    """Count emails shown and withheld, by reason.

    Counts registrants and domains: a domain by what its answer with --show-handles says of the email, a registrant by
    what the answer for an active domain of theirs would say. The data are always today's; --at counts them by the rules
    as they are at that moment, before their entry into force or after. Prints counts, and no value of a registrant.
    """
    if language and form != "html":
        raise ReportError("--language is of the page: add --format html")
    settings = load_settings(file)
    before = _read(earlier, Charset(charset)) if earlier else None
    report = asyncio.run(_report(settings, Charset(charset), at))
    if form == "table":
        _print_table(report, before)
    elif form == "html":
        page = to_html(report, before, Language(language or Language.ENGLISH), settings.answer.operator)
        click.echo(page.encode())  # in UTF-8, as it says, whatever the locale
    else:
        click.echo((to_csv if form == "csv" else to_json)(report, before), nl=False)


def _read(file: Path, charset: Charset) -> Report:
    """Read the report to compare with. Raises `ReportError`."""
    try:
        with file.open("rb") as opened:
            report = from_json(opened.read(LARGEST + 1))
    except OSError as error:
        raise ReportError(f"{file}: cannot be read: {error.strerror}") from None
    except ReportError as error:
        raise ReportError(f"{file}: {error}") from None
    if report.charset is not charset:
        raise ReportError(
            f"{file}: charset: is {report.charset}, and counts of answers in {charset} do not compare with it;"
            f" add --charset {report.charset}"
        )
    return report


async def _report(settings: Settings, charset: Charset, at: datetime | None) -> Report:
    now = datetime.now(UTC).replace(microsecond=0)
    at, in_force_from = at or now, settings.disclosure.in_force_from
    in_force = at >= in_force_from
    progress = Progress()
    progress.begin("connecting")
    async with progress if sys.stderr.isatty() else nullcontext():
        age, counts = await tally(settings.database.hosts, charset, progress, settings.policy.conditions(at, fresh=True))
    return Report(
        report="disclosure",
        format=1,
        version=version("whoisd"),
        made_at=now,
        at=at,
        in_force_from=in_force_from,
        in_force=in_force,
        charset=charset,
        registrants=counts["registrants"],
        domains=counts["domains"],
        data_age=None if age is None else round(age, 1),
    )


# --- The table ---------------------------------------------------------------------------------------------------


def _print_table(report: Report, before: Report | None) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("Email")
    for subject in SUBJECTS:
        table.add_column(subject.capitalize(), justify="right", no_wrap=True)
        if before:
            table.add_column("change", justify="right", no_wrap=True)
    for name, style, cells in _lines(report, before):
        table.add_row(name, *cells, style=style)
    console = Console(width=WIDTH, highlight=False, markup=False, emoji=False)
    console.print(_head(report, before), soft_wrap=True)
    console.print(table)


def _head(report: Report, before: Report | None) -> str:
    """Return what was counted, and by which rules; with an earlier report, how that was made."""
    force = "in force since" if report.in_force else "not yet in force: they will be from"
    text = (
        f"Emails as answered at {report.at.isoformat()} to: --charset={report.charset} --show-handles NAME\n"
        f"The rules on emails are {force} {report.in_force_from.isoformat()}\n"
        f"Data of {report.made_at.isoformat()}, {_age(report.data_age)}\n"
    )
    if report.is_too_old:
        text += "That is older than database.max_age allows: emails are withheld\n"
    if before:
        rules = "in force" if before.in_force else "not yet in force"
        text += f"Changes from: at {before.at.isoformat()}, rules {rules}, data of {before.made_at.isoformat()}\n"
    return text


def _age(seconds: float | None) -> str:
    return "of an age that is not known" if seconds is None else f"{seconds:,.0f} s old"


def _lines(report: Report, before: Report | None) -> Iterator[tuple[str, str, list[str]]]:
    """Return the lines of the table: what stands in front, its style, and its figures."""
    now, was = _sums(report), _sums(before) if before else None
    for email in EMAILS:
        yield email.capitalize(), "bold", _cells(now, was, email)
        for reason in REASONS["domains", email]:
            yield f"  {reason}", "", _cells(now, was, email, reason)
    yield "All", "bold", _cells(now, was)


def _sums(report: Report) -> Counter[tuple[str, ...]]:
    """Return the counts and their sums: of each subject, by email, and by reason."""
    found: Counter[tuple[str, ...]] = Counter()
    for (subject, email, reason), count in figures(report).items():
        for place in ((subject,), (subject, email), (subject, email, reason)):
            found[place] += count
    return found


def _cells(now: Counter[tuple[str, ...]], was: Counter[tuple[str, ...]] | None, *key: str) -> list[str]:
    """Return the figures of a line; a reason that a subject cannot have is left blank."""
    found = []
    for subject in SUBJECTS:
        place = (subject, *key)
        found.append(f"{now[place]:,}" if place in now else "")
        if was is not None:
            change = now[place] - was[place]
            found.append(f"{change:+,}" if change else "0" if place in now else "")
    return found
