"""The commands that answer without the network: `query`, and `explain` of what an answer shows."""

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import quote

import click

from whoisd.answers import notices
from whoisd.answers.answer import Answer, Protocol, answer
from whoisd.answers.explain import explain, explain_host, of_when_cvr_is
from whoisd.answers.model import Host
from whoisd.answers.names import DomainName, parse_name
from whoisd.answers.query import DomainQuery, HostQuery
from whoisd.answers.web import Request, answer_request
from whoisd.answers.wire import Charset
from whoisd.commands.terminal import command, config_option, hint
from whoisd.config import Settings, load_settings
from whoisd.database.store import Store
from whoisd.database.watcher import cvr_age_at
from whoisd.errors import InvalidName, Outcome, StoreError, WhoisdError
from whoisd.log import Logger, log_query, open_log

# Where each protocol is asked for a domain, and for a host.
_PATHS: Final = {Protocol.REST: (b"/query/", b"/query/"), Protocol.RDAP: (b"/rdap/domain/", b"/rdap/nameserver/")}
_PROTOCOLS: Final = (Protocol.WHOIS, *_PATHS)
_FAILED: Final = {Outcome.BAD_QUERY, Outcome.TEMPORARY_FAILURE, Outcome.INTERNAL_ERROR}


@click.command("query")
@config_option
@click.option(
    "--as", "protocol", type=click.Choice([it.value for it in _PROTOCOLS]), default=Protocol.WHOIS.value, show_default=True,
    help="Protocol of the answer; of rest and rdap its body, and QUERY is a name alone.",
)  # fmt: skip
@click.argument("words", metavar="-- QUERY", nargs=-1, required=True)
@command
def query_command(file: Path | None, protocol: str, words: tuple[str, ...]) -> None:
    """Answer a query without the network, as the server would answer 127.0.0.1.

    The answer's bytes go to standard output; at a terminal they are decoded first. Standard error gets the event that
    the server would log, with the reason why the email is shown or withheld, or what failed.
    """
    settings = load_settings(file)
    line = b" ".join(os.fsencode(word) for word in words)
    log = open_log(settings.log.level, settings.log.format)
    found = asyncio.run(_answer(line, Protocol(protocol), settings, log))
    log_query(log, datetime.now(UTC), found.outcome, found.facts())
    if sys.stdout.isatty():
        click.echo(found.text(), nl=False)
    else:
        sys.stdout.buffer.write(found.payload)
    if found.outcome in _FAILED:
        sys.exit(1)


async def _answer(line: bytes, protocol: Protocol, settings: Settings, log: Logger) -> Answer:
    store = _store(settings, log)
    try:
        if protocol is not Protocol.WHOIS:
            request = Request("GET", _path(protocol, line))
            return (await answer_request(request, store.find, settings.policy, datetime.now(UTC))).answer
        return await answer(line, "127.0.0.1", store.find, settings.policy, datetime.now(UTC))
    finally:
        await store.close()


def _path(protocol: Protocol, line: bytes) -> bytes:
    """Return the path at which a protocol is asked for a name; of RDAP there is one for each kind."""
    domain, host = _PATHS[protocol]
    try:
        is_domain = parse_name(line.decode()).is_dk_domain
    except (InvalidName, UnicodeDecodeError):
        is_domain = True  # what is no name is refused at either
    return (domain if is_domain else host) + quote(line, safe="").encode()


@click.command("explain")
@config_option
@click.argument("text", metavar="NAME")
@click.option(
    "--charset", type=click.Choice([charset.value for charset in Charset]), default=Charset.UTF_8.value, show_default=True,
    help="Charset of the answer that is explained.",
)  # fmt: skip
@command
def explain_command(file: Path | None, text: str, charset: str) -> None:
    """Say of each field of an answer whether it is shown or withheld, why, and which facts decided.

    Prints no value of a registrant.
    """
    settings = load_settings(file)
    try:
        name = parse_name(text)
    except InvalidName as error:
        raise WhoisdError(f"{text}: {notices.FAULTS[error.fault]}") from None
    log = open_log("warning", settings.log.format)
    click.echo(asyncio.run(_explain(name, Charset(charset), settings, log)), nl=False)


async def _explain(name: DomainName, charset: Charset, settings: Settings, log: Logger) -> str:
    store = _store(settings, log)
    try:
        found = await store.find(_query(name, charset))
        if isinstance(found, StoreError):
            sqlstate = found.cause.rpartition(": ")[2]
            raise WhoisdError(f"database.dsn: no answer can be had: {found.cause}{hint(sqlstate)}")
        if found is None:
            return _no_such(name)
        if isinstance(found, Host):
            return explain_host(found)
        in_force_from = settings.disclosure.in_force_from
        now = datetime.now(UTC)
        conditions = settings.policy.conditions(now, fresh=True)
        explained = explain(found, now=now, in_force_from=in_force_from, conditions=conditions, charset=charset)
        return explained + of_when_cvr_is(await _cvr_age(settings, log), now)
    finally:
        await store.close()


async def _cvr_age(settings: Settings, log: Logger) -> float | None:
    """Return how old CVR's own data is, in seconds; None where none was read, or where the database is gone by now."""
    try:
        return await cvr_age_at(settings.database.hosts, settings.database.deadline, log)
    except StoreError:
        return None


def _query(name: DomainName, charset: Charset) -> DomainQuery | HostQuery:
    return DomainQuery(name, charset, show_handles=True) if name.is_dk_domain else HostQuery(name, charset)


def _no_such(name: DomainName) -> NoReturn:
    raise WhoisdError(f"{name.unicode}: there is no such {'domain' if name.is_dk_domain else 'host'}")


def _store(settings: Settings, log: Logger) -> Store:
    database = settings.database
    return Store(database.hosts, database.deadline, log, tells_age=database.tells_age)
