"""Gives every order that the command line takes, good and bad, to a sound database and to a broken one; hears all of it."""

import gzip
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from leaks.breaks import REFUSALS, broken
from leaks.ear import Ear
from leaks.forks import Commands, Ran
from leaks.oracle import Question, Way
from leaks.registry import (
    LINKED,
    OTHER_REGISTRAR,
    REGISTRAR,
    STAFF,
    STATUSES,
    USER,
    Field,
    Person,
    domain_record,
    line,
)
from leaks.talk import LATER
from support import Database

DONE, FAILED, MISUSED, UNKNOWN = 0, 1, 2, 3
PATIENT: Final = "10"  # seconds for a lookup: a busy machine is no reason to answer less
EVIDENCE: Final = ("--evidence", "Handelsregister, set 2026-11-20")


class Orders:
    """The commands over a database; each must end with the status that is expected of it."""

    def __init__(self, ear: Ear, commands: Commands, database: Database, folder: Path, **settings: str) -> None:
        self.ear = ear
        self.folder = folder
        self._commands = commands
        self._settings = {
            "WHOISD_DATABASE__DSN": database.reader,
            "WHOISD_DATABASE__OWNER_DSN": database.owner,
            "WHOISD_LIMITS__FILE": str(folder / "sources"),
            "WHOISD_LOG__LEVEL": "debug",
            "WHOISD_DATABASE__DEADLINE": PATIENT,
        } | settings

    @contextmanager
    def given(self, way: Way, *arguments: str | Path, known: Collection[str] = ()) -> Iterator[None]:
        """Give an order, and hear at the end of what happens meanwhile how it ended: done or not."""
        self._commands.start(*arguments, settings=self._settings)
        try:
            yield
        finally:
            ran = self._commands.wait()
        self._hear(ran, way, *arguments, status=(DONE, FAILED), known=known)

    def give(
        self,
        way: Way,
        *arguments: str | Path,
        status: int | Collection[int] = DONE,
        known: Collection[str] = (),
        stdin: bytes = b"",
    ) -> Ran:
        """Give an order, and hear what it says on standard output and standard error, of which nobody knew but these."""
        ran = self._commands.run(*arguments, settings=self._settings, stdin=stdin)
        return self._hear(ran, way, *arguments, status=status, known=known)

    def _hear(
        self, ran: Ran, way: Way, *arguments: str | Path, status: int | Collection[int] = DONE, known: Collection[str] = ()
    ) -> Ran:
        """Hear how an order ended."""
        expected = (status,) if isinstance(status, int) else status
        self.ear.expect(ran.status in expected and b"Traceback" not in ran.wrong, (arguments, ran))
        for said in (ran.said, ran.wrong):
            self.ear.hear(way, said, known, where=" ".join(map(str, arguments)))
        return ran

    def query(self, question: Question, *, sound: bool = True) -> None:
        """`whoisd query`: an answer on standard output, and its event on standard error."""
        options = f"--charset={'utf-8' if question.utf_8 else 'latin1'}{' --show-handles' * question.show_handles}"
        text = f"{options} {question.domain}.dk"
        words = text if question.utf_8 else os.fsdecode(text.encode("iso-8859-1"))
        ran = self._commands.run("query", "--", words, settings=self._settings)
        self.ear.expect(ran.status == DONE or not sound, ran)
        self.ear.hear_answer(ran.said, question, where=f"query {text}", sound=sound)
        self.ear.hear(Way.LOG, ran.wrong, {question.domain}, where=f"query {text}")


# --- a sound database ------------------------------------------------------------------------------------------------


def look(orders: Orders, people: Collection[Person], *, in_force: bool = True) -> None:
    """Every order that only reads, about these."""
    for number, person in enumerate(people):
        orders.query(Question(person, STATUSES[number % 3], utf_8=number % 2 > 0, in_force=in_force))
        for status in ("active", "deactivated")[: 1 + number % 2]:
            charset = ("utf-8", "iso-8859-1")[number % 2]
            name = person.domain(status)
            orders.give(Way.EXPLAIN, "explain", "--charset", charset, name, known=person.domains.values())
        orders.give(Way.REGISTRANT, "registrant", "show", person.handle, known={person.handle.lower()})
    for form in ("table", "csv", "json"):
        orders.give(
            Way.LOAD, "report", "disclosure", "--format", form, "--at", LATER if form == "csv" else "2025-01-01T00:00Z"
        )
    page = ("report", "disclosure", "--format", "html", "--language")
    for language in ("en", "da"):
        orders.give(Way.LOAD, *page, language)
    before = orders.folder / "before.json"
    before.write_bytes(orders.give(Way.LOAD, "report", "disclosure", "--format", "json").said)
    orders.give(Way.LOAD, "report", "disclosure", "--changes-from", before)
    orders.give(Way.LOAD, *page, "da", "--changes-from", before)
    for arguments in (("migrate",), ("check",), ("--help",), ("--version",)):
        orders.give(Way.LOAD, *arguments)
    orders.give(Way.LOAD, "bans", "list", status=(DONE, FAILED, MISUSED))  # whether or not there was a server


def misuse(orders: Orders, person: Person) -> None:
    """Orders that cannot be done, among them files in the place of others: what they hold is not told."""
    record, folder = person.record, orders.folder
    mistaken = folder / "mistaken.json"
    for text in (orders.ear.registry.file(), line(record), json.dumps({"report": record["email"]}).encode()):
        mistaken.write_bytes(text)
        for form in ("table", "html"):
            orders.give(Way.LOAD, "report", "disclosure", "--format", form, "--changes-from", mistaken, status=FAILED)
    toml = folder / "mistaken.toml"
    for text in (orders.ear.registry.file(), *_mistaken_settings(record)):
        toml.write_bytes(text)
        for command in (("check",), ("serve",)):
            orders.give(Way.LOAD, *command, "--config", toml, status=MISUSED)
    handle = person.handle
    orders.give(Way.REGISTRANT, "registrant", "show", f"{handle}-X", status=FAILED, known={handle.lower()})
    orders.give(Way.EXPLAIN, "explain", "findes-ikke.dk", status=FAILED)


def _mistaken_settings(record: Any) -> Iterator[bytes]:
    email, name = json.dumps(record["email"]), json.dumps(record["name"])
    network = f"[[network]]\nname = {name}\ncidrs = [{email}]"
    yield f"[log]\nlevel = {email}\n[disclosure]\nin_force_from = {name}\n{network}".encode()
    yield f'[database]\ndsn = {email}\nowner_dsn = {name}\n[answer]\nterms = {email[:-1]}\\u0000"'.encode()
    yield f"[database]\ndsn = {email[:-3]}\n".encode()


def decide(orders: Orders, person: Person, others: Collection[Person]) -> None:
    """Decide by hand on one abroad, by whom it may be and by whom not; on others, of whom it may not be."""
    known = {person.handle.lower()}
    order = ("registrant", "classify", person.handle, "--sole-proprietorship")
    by = ("--by", f"staff:{STAFF}", *EVIDENCE)
    orders.give(Way.LOAD, "portal", "convert", "--dry-run")
    orders.give(Way.LOAD, "portal", "convert")
    for answer in ("yes", "withdraw"):
        orders.give(Way.REGISTRANT, *order, answer, "--by", USER, *EVIDENCE, known=known)
    orders.give(Way.REGISTRANT, *order, "yes", *by, known=known)
    for who in ("staff:nobody", LINKED, "NOBODY-1", USER):  # and what staff decided is staff's to undo
        orders.give(Way.REGISTRANT, *order, "no", "--by", who, *EVIDENCE, status=FAILED, known=known)
    orders.give(Way.REGISTRANT, *order, "no", *by[:2], "--evidence", " ", status=MISUSED, known=known)
    orders.give(Way.REGISTRANT, "registrant", "show", person.handle, known=known)
    for other in others:
        refused = ("registrant", "classify", other.handle, "--sole-proprietorship", "yes", *by)
        orders.give(Way.REGISTRANT, *refused, status=FAILED, known={other.handle.lower()})
    for form in ("table", "csv"):
        orders.give(Way.PORTAL, "portal", "affected", "--format", form, known=_objects(orders.ear))
        orders.give(Way.PORTAL, "portal", "affected", "--progress", "--format", form)
    orders.give(Way.PORTAL, "portal", "affected", "--account", OTHER_REGISTRAR, known=())
    _contact(orders, person)
    first, second = orders.ear.registry.people[:2]
    for text, known in (
        (f"registrant:{first.handle}", {first.handle.lower()}),
        (second.domain(), {*second.domains.values()}),
    ):
        orders.give(Way.PORTAL, "portal", "take-over", REGISTRAR, text, known=known)
        orders.give(Way.PORTAL, "portal", "take-over", OTHER_REGISTRAR, text, status=FAILED, known=known)


def _contact(orders: Orders, person: Person) -> None:
    """Say who was contacted: a note is kept, and what is no note is refused without a word of it."""
    order = ("portal", "contacted", REGISTRAR, "--by", f"staff:{STAFF}", "--note")
    orders.give(Way.PORTAL, *order, "Ringet op 2026-11-20")
    email = str(person.record["email"])
    orders.give(Way.PORTAL, *order, f"{email}\t{email}", status=MISUSED)
    for who in (f"staff:{email}", email):
        orders.give(Way.PORTAL, *order[:3], "--by", who, "--note", email, status=MISUSED)
    orders.give(Way.PORTAL, *order[:3], "--by", "staff:nobody", "--note", email, status=FAILED)
    orders.give(Way.PORTAL, "portal", "contacted", OTHER_REGISTRAR, *order[3:], email, status=FAILED)


def decide_by_epp(orders: Orders, person: Person, others: Collection[Person]) -> None:
    """Frames with tokens in every field: that are carried out, refused, and no frames; the answer quotes none of it."""
    fields = _fields(person)
    by = ("registrant", "classify", "--epp", "-", "--by")
    good = frame(person.handle, "true", fields)
    known = {person.handle.lower()}
    for sent, who, status in (
        (good, USER, DONE),
        (frame(person.handle, "false", fields), USER, DONE),
        (frame(person.handle, None, fields), USER, DONE),
        *((good, who, FAILED) for who in (LINKED, "NOBODY-1")),
        *((frame(person.handle, value, fields), USER, FAILED) for value in fields.values()),
        (frame(str(person.record["email"]), "true", fields), USER, FAILED),
        (good.replace(b"contact:id", fields[Field.NAME].encode()), USER, FAILED),
        (good.replace(b"true", b"&" + fields[Field.NAME].encode() + b";"), USER, FAILED),
        (good[:-9], USER, FAILED),
        (orders.ear.registry.file(), USER, FAILED),
    ):
        orders.give(Way.REGISTRANT, *by, who, status=status, known=known, stdin=sent)
    for other in others:
        known = {other.handle.lower()}
        orders.give(Way.REGISTRANT, *by, USER, status=FAILED, known=known, stdin=frame(other.handle, "true", fields))


def _fields(person: Person) -> Mapping[Field, str]:
    """Tokens for a frame."""
    return {field: person.token(field) for field in (Field.NAME, Field.EMAIL, Field.CITY)}


def frame(handle: str, said: str | None, fields: Mapping[Field, str]) -> bytes:
    """An EPP contact create with these fields."""
    extension = (
        ""
        if said is None
        else f"""<extension><dkhm:sole_proprietorship xmlns:dkhm="urn:dkhm:params:xml:ns:dkhm-4.5">{said}
            </dkhm:sole_proprietorship></extension>"""
    )
    return f"""<epp xmlns="urn:ietf:params:xml:ns:epp-1.0"><command><create>
        <contact:create xmlns:contact="urn:ietf:params:xml:ns:contact-1.0"><contact:id>{handle}</contact:id>
        <contact:postalInfo type="loc"><contact:name>{fields[Field.NAME]}</contact:name><contact:addr>
        <contact:city>{fields[Field.CITY]}</contact:city><contact:cc>SE</contact:cc></contact:addr></contact:postalInfo>
        <contact:email>{fields[Field.EMAIL]}</contact:email><contact:authInfo><contact:pw>x</contact:pw></contact:authInfo>
        </contact:create></create>{extension}<clTRID>LEAKS-1</clTRID></command></epp>""".encode()


def _objects(ear: Ear) -> set[str]:
    """What linked users hold roles on."""
    first, second = ear.registry.people[:2]
    return {first.handle.lower(), second.domains["active"]}


# --- loads -----------------------------------------------------------------------------------------------------------


def faults(person: Person) -> Iterator[bytes]:
    """Lines that are faults, with tokens in each: in the values, in the names of fields, or in what is no record."""
    record = dict(person.record)
    token = person.token(Field.NAME)
    for name, value in record.items():
        text = value if isinstance(value, str) and "@" in value else token
        for wrong in (
            f"{text}\n",
            f"{text} " * 30,
            [text] * 4,
            {text: text},
            f"{text}: no entries found for the selected source.",
        ):
            yield line(record | {name: wrong})
    yield line(record | {"type": token})
    yield line(record | {f"{token} {record['email']}": token})
    yield line(record | {"vat_number": "DK12345678", "country": "DK", "cvr_locked": True})
    whole = line(record)
    yield whole[:-20] + b"\n"
    yield whole.replace(b'"city"', b'"name"')
    yield whole.decode().encode("iso-8859-1")
    yield token.encode() + b"\n"
    yield json.dumps([record]).encode() + b"\n"
    yield line(record | {"name": token * 10_000})
    sound = domain_record("prøve.dk", "active", person.handle)
    for name, wrong in (
        *(("name", record["email"]), ("name", f"{token}.{token}.dk"), ("expires", token), ("registered", record["phone"])),
        *(("nameservers", [record["email"], f"{token} x"]), ("registrar", token), ("registrant", record["email"])),
        *(("period_years", token), ("status", token), ("vid", token)),
    ):
        yield line(sound | {name: wrong})
    yield line({"type": "object_role", "holder": LINKED, "role": "proxy", "object": f"registrant:{record['email']}"})
    yield line({"type": "object_role", "holder": token, "role": token, "object": token})


def between_records(person: Person, other: Person) -> Iterator[bytes]:
    """Lines that are sound alone, and faults together: keys that are given twice, and references that lead nowhere."""
    yield from person.lines()
    yield from person.lines()
    handle = other.handle
    yield line(domain_record("prøve.dk", "active", handle) | {"registrar": handle})
    yield line({"type": "portal_user", "handle": handle, "account": handle})
    yield line({"type": "object_role", "holder": handle, "role": "proxy", "object": f"registrant:{handle}X"})
    yield line({"type": "object_role", "holder": LINKED, "role": "proxy", "object": f"domain:{other.domain('reserved')}"})


def load_badly(orders: Orders) -> None:
    """Files that a load refuses, of each kind; and those that it takes, with doubts and with warnings."""
    registry, folder = orders.ear.registry, orders.folder
    person, other = registry.spare
    lines = [*faults(person)]
    for at in range(0, len(lines), 90):  # beyond 100 faults it does not look
        bad = folder / "bad.jsonl"
        bad.write_bytes(b"".join(lines[at : at + 90]))
        ran = orders.give(Way.LOAD, "load", bad, status=FAILED)
        orders.ear.expect(len(ran.wrong.splitlines()) >= len(lines[at : at + 90]), "each line is a fault")
    bad.write_bytes(b"".join(between_records(person, other)))
    orders.give(Way.LOAD, "load", bad, status=FAILED)
    orders.give(Way.LOAD, "load", "-", status=FAILED, stdin=bad.read_bytes())
    bad.write_bytes(gzip.compress(registry.file())[:-100])
    orders.give(Way.LOAD, "load", bad, status=FAILED)
    bad.write_bytes(line(dict(person.record) | {"country": "DE", "cvr_locked": False}))
    orders.give(Way.LOAD, "load", "--dry-run", bad)  # with a doubt about the VAT number
    orders.give(Way.LOAD, "load", "--mode", "replace", bad, status=FAILED)
    everything = folder / "registry.jsonl"
    orders.give(Way.LOAD, "load", "--dry-run", "--mode", "replace", everything)
    orders.give(Way.LOAD, "load", everything)


def update_badly(orders: Orders, person: Person) -> None:
    """Recorded answers of VIES and documents of CVR that an update refuses, with tokens in each value; and sound ones."""
    name, email = person.token(Field.NAME), person.token(Field.EMAIL)
    answer: dict[str, Any] = {"countryCode": "SK", "vatNumber": "2021853504", "requestDate": "2026-11-01", "valid": False}
    company: dict[str, Any] = {"Vrvirksomhed": {"cvrNummer": 99000007, "fejlRegistreret": False, "livsforloeb": []}}
    for command, sound in (("vat", answer), ("cvr", company)):
        file = orders.folder / f"{command}.jsonl"
        inner = sound.get("Vrvirksomhed", sound)
        wrong = [sound | {email: name}, *({**sound, "Vrvirksomhed": {**inner, key: email}} for key in inner)]
        wrong += [{**sound, key: value} for key in sound for value in (name, [email], {name: email})]
        wrong += [sound | {"userError": email}, sound | {"faultstring": name}]
        for bad in (*map(line, wrong), line(sound)[:-9] + name.encode(), email.encode() + b"\n"):
            file.write_bytes(bad)
            orders.give(Way.LOAD, command, "update", "--dry-run", file, status=(DONE, FAILED))
        file.write_bytes(line(sound))
        orders.give(Way.LOAD, command, "update", "--dry-run", file)


def sandbox_badly(orders: Orders) -> None:
    """A sandbox that is to load a file of faults besides its own."""
    bad = orders.folder / "bad.jsonl"
    bad.write_bytes(b"".join(faults(orders.ear.registry.spare[0])))
    orders.give(Way.LOAD, "sandbox", "--port", "0", "--data", bad, status=FAILED)


def maintain(orders: Orders, person: Person, others: Collection[Person]) -> None:
    """Refuse and keep what writes in a window, with tokens in each value; carry out what can be, and tell of what cannot."""
    until, fields = "2099-01-01T00:00Z", _fields(person)
    email, begin = fields[Field.EMAIL], ("maintenance", "begin", "--until")
    epp = ("registrant", "classify", "--epp", "-", "--by", USER)
    for text in (until, email):
        orders.give(Way.LOAD, *begin, text, "--why", "nye diske", status=(FAILED, MISUSED))
    soon = (datetime.now(UTC) + timedelta(hours=6)).isoformat()
    orders.give(Way.LOAD, *begin, soon, "--why", f"{email}\t{email}", status=MISUSED)
    for queue in ((), ("--queue",)):
        orders.give(Way.LOAD, *begin, soon, "--why", "nye diske", *queue)
        orders.give(Way.LOAD, "load", orders.folder / "registry.jsonl", status=FAILED)
        orders.give(Way.PORTAL, "portal", "contacted", REGISTRAR, "--by", f"staff:{STAFF}", "--note", email, status=FAILED)
        for it in (person, *others):
            known, done = {it.handle.lower()}, DONE if queue else FAILED
            by = ("registrant", "classify", it.handle, "--sole-proprietorship", "yes", "--by", f"staff:{STAFF}")
            evidence = EVIDENCE if queue else ("--evidence", email)  # which is kept with what is queued
            orders.give(Way.REGISTRANT, *by, *evidence, status=done, known=known)
            sent = frame(it.handle, "true", fields)
            orders.give(Way.REGISTRANT, *epp, status=done, known=known, stdin=sent)
    known = {it.handle.lower() for it in (person, *others)}
    orders.give(Way.REGISTRANT, "maintenance", "show", known=known)
    orders.give(Way.REGISTRANT, "maintenance", "end", status=FAILED, known=known)  # some are not abroad
    orders.give(Way.REGISTRANT, *epp, known=known, stdin=frame(person.handle, "false", fields))


def less_protected(orders: Orders, person: Person, protected: Person) -> None:
    """A load that says otherwise than was decided by hand, and lifts a protection: it warns of both; a dry run."""
    file = orders.folder / "less.jsonl"
    changed: list[dict[str, Any]] = [{"sole_proprietorship": False}, {"country": "DK"}, {}]
    whose = (person, person, protected)
    for who, change in zip(whose, changed, strict=True):
        file.write_bytes(line(dict(who.record) | change | {"address_protection": False}))
        ran = orders.give(Way.LOAD, "load", "--dry-run", file, known={who.handle.lower()})
        orders.ear.expect(b"warning: " in ran.wrong, ran)


def write_in_trouble(orders: Orders, database: Database, person: Person) -> None:
    """Writes that PostgreSQL refuses with the row in its error."""
    new = orders.folder / "new.jsonl"
    new.write_bytes(b"".join(orders.ear.registry.spare[0].lines()))
    classify = ("registrant", "classify", person.handle, "--sole-proprietorship", "no", "--by", f"staff:{STAFF}", *EVIDENCE)
    for sql in REFUSALS.values():
        with broken(database, *sql):
            orders.give(Way.LOAD, "load", new, status=FAILED)
            orders.give(Way.REGISTRANT, *classify, status=FAILED, known={person.handle.lower()})
            by_epp = ("registrant", "classify", "--epp", "-", "--by", USER)
            sent = frame(person.handle, "true", _fields(person))
            orders.give(Way.REGISTRANT, *by_epp, status=FAILED, known={person.handle.lower()}, stdin=sent)
            orders.give(Way.LOAD, "heartbeat", status=(DONE, FAILED))
    for current in ((), ("--data-is-current",)):
        orders.give(Way.LOAD, "heartbeat", *current)


# --- a broken database -----------------------------------------------------------------------------------------------


def in_trouble(orders: Orders, person: Person) -> list[Callable[[], object]]:
    """Every order that reads, for a database that is not sound: it may fail, or not."""
    give, either = orders.give, (DONE, FAILED)
    handle, domains = person.handle, person.domains.values()
    return [
        lambda: orders.query(Question(person), sound=False),
        lambda: give(Way.EXPLAIN, "explain", person.domain(), status=either, known=domains),
        lambda: give(Way.REGISTRANT, "registrant", "show", handle, status=either, known={handle.lower()}),
        lambda: give(Way.LOAD, "report", "disclosure", "--format", "json", status=either),
        lambda: give(Way.LOAD, "report", "disclosure", "--format", "html", status=either),
    ]


def probe(orders: Orders, port: int, person: Person) -> None:
    """`whoisd probe` of a server: it finds what it was told to look for, or not, and quotes no more of the answer."""
    email = person.token(Field.EMAIL)
    known = {*person.domains.values(), email}
    target, asked = f"127.0.0.1:{port}", ("--", "--charset=utf-8", "--show-handles", person.domain())
    orders.give(Way.PROBE, "probe", "--expect", email, target, *asked, known=known)
    orders.give(Way.PROBE, "probe", "--absent", email, target, *asked, status=MISUSED, known=known)
    orders.give(Way.PROBE, "probe", "--expect", "nothing of the sort", target, *asked, status=MISUSED, known=known)
    orders.give(Way.PROBE, "probe", "--timeout", "0.0001", target, *asked, status=MISUSED, known=known)
    orders.give(Way.PROBE, "probe", target, "--", "--bad", person.domain(), status=UNKNOWN, known=known)
