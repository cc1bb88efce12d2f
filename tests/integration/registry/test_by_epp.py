"""`whoisd registrant classify --epp`: a contact command is carried out as by hand, and is always answered."""

import asyncio
import os
import subprocess
from itertools import product
from pathlib import Path
from typing import Any, Final

import pytest
from epp_frames import TRANSACTION, Answer, create, read_answer, update
from portal_data import (
    ACCOUNT,
    DANISH,
    FOREIGN,
    OTHER,
    PROTECTED,
    THIRD,
    add_user,
    connected,
    entries,
    refuse_audit,
    settings,
    state,
    without_personal_data,
)
from support import IN_FORCE, NOWHERE, WHOISD, Database, Service, environment, fields

from whoisd.errors import EppCode, EppError, RegistrantFault
from whoisd.registry import classification
from whoisd.registry.access import SENTENCES, Denial, Group
from whoisd.registry.by_epp import CODES, STILL_COUNTS, carry_out
from whoisd.registry.classification import Decision, classify
from whoisd.registry.epp import LARGEST_FRAME, MESSAGES, parse_frame

USER: Final = "ADM"
DECISIONS: Final = "SELECT handle, decided_by, decision FROM registry.classification ORDER BY handle, decided_by"
DONE: Final = MESSAGES[EppCode.COMPLETED]


@pytest.fixture
async def user(owner: Any) -> str:
    """A user who may classify, of an account that manages a domain of the registrant abroad."""
    await add_user(owner, USER, group=Group.ADMINISTRATION)
    return f"user:{USER}"


async def carried_out(owner: Any, frame: bytes, who: str = f"user:{USER}") -> str:
    """What is said of a frame that was carried out."""
    return await carry_out(owner, parse_frame(frame), who=who, server_transaction="whoisd-1", conditions=IN_FORCE)


async def refused(owner: Any, frame: bytes, who: str = f"user:{USER}") -> tuple[EppCode, str]:
    """The code and the fault of a frame that is not carried out; nothing is changed."""
    before = await state(owner)
    with pytest.raises(EppError) as error:
        await carried_out(owner, frame, who)
    assert await state(owner) == before
    assert error.value.transaction == TRANSACTION
    return error.value.code, error.value.why


def ran(frame: bytes, settings: dict[str, str], *arguments: str, who: str = USER) -> tuple[int, Answer, str]:
    """Exit status, answer and standard error of the command, in which nothing personal is."""
    done = subprocess.run(
        [WHOISD, "registrant", "classify", "--epp", "-", "--by", who, *arguments],
        env=environment(settings),
        input=frame,
        capture_output=True,
        timeout=60,
        check=False,
    )
    said, wrong = done.stdout.decode(), done.stderr.decode()
    without_personal_data(f"{said}{wrong}".replace("DATABASE", ""))
    return done.returncode, read_answer(said), wrong


# --- what it does ------------------------------------------------------------------------------------------------


async def test_true_and_false(owner: Any, user: str) -> None:
    """True is the account's yes, false takes it back, by create as by update; said again, neither changes anything."""
    await owner.execute("UPDATE registry.registrant SET sole_proprietorship = false")
    for frame in (create, update):
        assert await carried_out(owner, frame(FOREIGN, "true")) == ""
        assert await owner.fetch(DECISIONS) == [(FOREIGN, ACCOUNT, "yes")]
        before = await state(owner)
        assert await carried_out(owner, frame(FOREIGN.lower(), " true ")) == ""
        assert await state(owner) == before
        assert await carried_out(owner, frame(FOREIGN, "false")) == ""
        assert await owner.fetch(DECISIONS) == []
        before = await state(owner)
        assert await carried_out(owner, frame(FOREIGN, "false")) == ""
        assert await state(owner) == before
    assert {entry["who"] for entry in await entries(owner)} == {user}


async def test_not_said(owner: Any, user: str) -> None:
    """A command that does not say is done and changes nothing; a create, to which that is false, takes no decision back."""
    for said in (None, "true"):
        if said:
            await carried_out(owner, update(FOREIGN, said))
        before = await state(owner)
        for frame in (create(FOREIGN), update(FOREIGN), create(FOREIGN, country="DK"), update(FOREIGN, country="DK")):
            assert await carried_out(owner, frame, user) == ""
        assert await state(owner) == before


async def test_audit(owner: Any, user: str) -> None:
    """The row of the audit trail is as by hand; its evidence is the command with both transaction identifiers."""
    await carried_out(owner, create(FOREIGN, "true"))
    await carried_out(owner, update(FOREIGN, "false", transaction=None))
    by_files: dict[str, Any] = {"classified_by_hand": None, "decisions": {}, "sole_proprietorship": True}
    by_hand = {"classified_by_hand": True, "decisions": {ACCOUNT: "yes"}, "sole_proprietorship": True}
    hidden = {"email": "withheld", "reason": "foreign_sole_proprietorship"}
    same = {"who": user, "command": "registrant classify", "object": f"registrant:{FOREIGN}"}
    created = "EPP contact create, sole_proprietorship true, clTRID ABC-12345, svTRID whoisd-1"
    updated = "EPP contact update, sole_proprietorship false, svTRID whoisd-1"
    assert await entries(owner) == [
        {**same, "evidence": created, "before": by_files | hidden, "after": by_hand | hidden},
        {**same, "evidence": updated, "before": by_hand | hidden, "after": by_files | hidden},
    ]


async def test_newly_shown_is_in_the_audit_trail(owner: Any, user: str) -> None:
    """Where taking a yes back makes the email public, the row says so, with why it was withheld."""
    await owner.execute("UPDATE registry.registrant SET sole_proprietorship = false")
    await carried_out(owner, update(FOREIGN, "true"), user)
    await carried_out(owner, update(FOREIGN, "false"), user)
    after = [entry["after"] for entry in await entries(owner)]
    assert [one["email"] for one in after] == ["withheld", "shown"]
    assert after[1]["newly_shown"] == {"email": "foreign_sole_proprietorship"}


async def test_in_the_very_next_answer(registry: Database, owner: Any, user: str) -> None:
    """What a frame says is in the very next answer of a running server, and in the command's response."""
    await owner.execute("UPDATE registry.registrant SET sole_proprietorship = false")
    await add_user(owner, "PORT", group=Group.PORTFOLIO_MANAGEMENT)
    with Service(registry.reader) as service:
        for said, email in (("true", "DATA REDACTED"), ("false", "QSecondary@qmail.example")):
            status, answer, wrong = ran(update(FOREIGN, said), settings(registry), who="user:port")
            assert (status, answer[:3], wrong) == (0, (1000, DONE, TRANSACTION), "")
            assert fields(service.ask("--charset=utf-8 --show-handles q-beta.dk"))["Email"] == [email]
            entry = (await entries(owner))[-1]
            assert entry["evidence"].endswith(f"svTRID {answer.server_transaction}")
    assert user


# --- whose word counts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_files", [False, True])
@pytest.mark.parametrize("others", [{}, {"staff": "no"}, {"staff": "yes"}, {OTHER: "yes"}, {"staff": "no", OTHER: "yes"}])
async def test_precedence(owner: Any, user: str, others: dict[str, str], *, by_files: bool) -> None:
    """Any yes counts, staff's no counts over the files: an account takes back its own yes, and no word of others'."""
    await owner.execute("UPDATE registry.registrant SET sole_proprietorship = $2 WHERE handle = $1", FOREIGN, by_files)
    for party, decision in others.items():
        await owner.execute("INSERT INTO registry.classification VALUES ($1, $2, $3)", FOREIGN, party, decision)
    counts = "yes" in others.values() if others else by_files
    decided = await owner.fetch(DECISIONS)
    if counts:
        assert await refused(owner, update(FOREIGN, "false")) == (
            EppCode.NOT_AUTHORISED,
            f"{user} may not classify {FOREIGN}: {SENTENCES[Denial.NOT_THEIRS]} (not_theirs)",
        )
    else:
        assert await carried_out(owner, update(FOREIGN, "false")) == ""
    await carried_out(owner, update(FOREIGN, "true"))
    assert len(await owner.fetch(DECISIONS)) == len(decided) + 1
    assert await carried_out(owner, update(FOREIGN, "false")) == (STILL_COUNTS if counts else "")
    assert await owner.fetch(DECISIONS) == decided


# --- who may -----------------------------------------------------------------------------------------------------


async def test_access(owner: Any) -> None:
    """The same users may as by hand, and all others are told 2201, whatever the frame says or leaves out."""
    groups = product([*Group, None], [ACCOUNT, OTHER], [False, True])
    for number, (group, account, linked) in enumerate(groups):
        handle = f"USER-{number}"
        await add_user(owner, handle, account=account, linked=linked, group=group)
        for frame in (update(FOREIGN, "true"), update(FOREIGN, "false"), create(FOREIGN)):
            if group in (Group.ADMINISTRATION, Group.PORTFOLIO_MANAGEMENT) and account == ACCOUNT and not linked:
                await carried_out(owner, frame, f"user:{handle}")
            else:
                assert (await refused(owner, frame, f"user:{handle}"))[0] is EppCode.NOT_AUTHORISED
    assert (await refused(owner, update(FOREIGN, "true"), "user:NOBODY"))[0] is EppCode.NOT_AUTHORISED


async def test_order_of_checks(owner: Any, user: str) -> None:
    """Who is not there is 2303 to everybody; who may not is told no more than that of one who is; the rest is 2306."""
    await add_user(owner, "AWAY", account=THIRD, group=Group.ADMINISTRATION)
    for who in (user, "user:AWAY", "user:NOBODY"):
        for frame in (update("NOBODY", "true"), create("NOBODY", "true", country="DK"), create("NOBODY")):
            expected = (EppCode.OBJECT_DOES_NOT_EXIST, "NOBODY: there is no such registrant")
            assert await refused(owner, frame, who) == expected
    said = {
        (await refused(owner, update(handle, value, country=country), "user:AWAY"))[1].replace(handle, "?")
        for handle, value, country in product((FOREIGN, DANISH, PROTECTED), ("true", "false"), ("DK", "FI"))
    }
    assert len(said) == 1


async def test_danish(owner: Any, user: str) -> None:
    """Of a Danish registrant, by the registry's data or by the frame's, every stated value is refused with 2306."""
    for frame in (
        *(update(DANISH, said) for said in ("true", "false")),
        *(create(DANISH, said) for said in ("true", "false")),
        *(create(FOREIGN, said, country="DK") for said in ("true", "false")),
        *(update(FOREIGN, said, country="dk") for said in ("true", "false")),
    ):
        code, why = await refused(owner, frame, user)
        assert code is EppCode.PARAMETER_POLICY
        assert why.endswith(": is Danish: CVR decides, and nobody by hand")
    assert await carried_out(owner, create(DANISH)) == ""


@pytest.mark.parametrize("country", ["SE", "DK"])
async def test_protected(owner: Any, user: str, country: str) -> None:
    """Of one under name and address protection a stated value is refused with 2306, in words that tell no country."""
    await owner.execute("UPDATE registry.registrant SET country = $2 WHERE handle = $1", PROTECTED, country)
    why = "is under name and address protection: nothing of theirs is shown, and nothing to be decided"
    for said in ("true", "false"):
        assert await refused(owner, update(PROTECTED, said), user) == (EppCode.PARAMETER_POLICY, f"{PROTECTED}: {why}")
    assert await carried_out(owner, update(PROTECTED), user) == ""


async def test_busy(registry: Database, owner: Any, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where something else is changing the registrant for too long the command fails, 2400, with what to do."""
    monkeypatch.setattr(classification, "LOCK_TIMEOUT", 0.1)
    async with connected(registry.owner) as loading, loading.transaction():
        await loading.execute("UPDATE registry.registrant SET phone = NULL")
        async with asyncio.timeout(20):
            with pytest.raises(EppError, match="try again when it is done") as error:
                await carried_out(owner, update(FOREIGN, "true"), user)
    assert error.value.code is EppCode.FAILED
    assert {*CODES} == {*RegistrantFault}


async def test_decided_by_hand_or_by_epp_is_one_decision(owner: Any, user: str) -> None:
    """What was said by EPP is taken back by hand, and what was said by hand by EPP."""
    await carried_out(owner, update(FOREIGN, "true"))
    await classify(owner, FOREIGN, Decision.WITHDRAW, evidence="asked", who=user, conditions=IN_FORCE)
    assert await owner.fetch(DECISIONS) == []
    await classify(owner, FOREIGN, Decision.YES, evidence="asked", who=user, conditions=IN_FORCE)
    await carried_out(owner, update(FOREIGN, "false"))
    assert await owner.fetch(DECISIONS) == []


# --- every frame is answered -------------------------------------------------------------------------------------

BOMB: Final = b'<!DOCTYPE epp [<!ENTITY a "' + b"Q" * 500 + b'"><!ENTITY b "' + b"&a;" * 500 + b'">]><epp>&b;</epp>'
OUTSIDE: Final = b'<!DOCTYPE epp [<!ENTITY a SYSTEM "file:///etc/hostname">]><epp>&a;</epp>'


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"", 2001),
        (BOMB, 2001),
        (OUTSIDE, 2001),
        (b"Q" * (LARGEST_FRAME + 1), 2001),
        (b" " * 50_000_000, 2001),
        (create(FOREIGN, "true").replace(b"UTF-8", b"UTF-16"), 2001),
        (create(FOREIGN, "true").replace(b"UTF-8", b"QQQ"), 2001),
        (create(FOREIGN, "true").replace(b"Helsinki", b"\xff\xfe"), 2001),
        (create(FOREIGN, "true").replace(b"command>", b"hello>"), 2002),
        (create(FOREIGN, "QTrue"), 2005),
    ],
    ids=["empty", "bomb", "outside", "too large", "far too large", "encoding", "no encoding", "bytes", "hello", "value"],
)
def test_frames_that_are_not_right(registry: Database, frame: bytes, code: int) -> None:
    """A frame that is not right is answered with its code, in words that quote nothing of it, and exit status 1."""
    status, answer, wrong = ran(frame, settings(registry))
    assert (status, answer.code, wrong) == (1, code, "")


def test_refusals_are_answered(registry: Database) -> None:
    """A command that is not carried out is answered with its code, its fault and the client's transaction identifier."""
    who = "user:NOBODY may not classify BETA-1: the registrar portal has no user of this handle (unknown_user)"
    status, answer, wrong = ran(update(FOREIGN, "true"), settings(registry), who="nobody")
    assert (status, answer[:3], wrong) == (1, (2201, f"Authorization error: {who}", TRANSACTION), "")


def test_failures_are_answered(registry: Database, tmp_path: Path) -> None:
    """Whatever fails is answered with 2400 and no word more, with the client's identifier; standard error says the rest."""
    no_database = settings(registry) | {"WHOISD_DATABASE__OWNER_DSN": NOWHERE}
    no_owner = {"WHOISD_DATABASE__DSN": registry.reader}
    misspelt = settings(registry) | {"WHOISD_LOG__LEVEL": "loud"}
    wanted = {
        1: ("whoisd: database.owner_dsn: the database does not answer", no_database),
        2: ("whoisd: WHOISD_LOG__LEVEL", misspelt),
    }
    for status, (said, wrong_settings) in wanted.items():
        done, answer, wrong = ran(update(FOREIGN, "true"), wrong_settings)
        assert (done, answer[:3]) == (status, (2400, "Command failed", TRANSACTION))
        assert wrong.startswith(said), wrong
    done, answer, wrong = ran(update(FOREIGN, "true"), no_owner)
    assert (done, answer[:3]) == (2, (2400, "Command failed", TRANSACTION))
    assert "database.owner_dsn: required by this command" in wrong
    missing = run_with(registry, tmp_path / "missing.xml")
    assert (missing.returncode, read_answer(missing.stdout)[:3]) == (1, (2400, "Command failed", None))
    assert missing.stderr == f"whoisd: {tmp_path}/missing.xml: cannot be read: No such file or directory\n"


async def test_database_that_refuses_is_answered(registry: Database, owner: Any, user: str) -> None:
    """Where the row for the audit trail is refused the answer is 2400, and the decision is not made either."""
    await refuse_audit(registry, "command <> 'registrant classify'")
    before = await state(owner)
    status, answer, wrong = ran(update(FOREIGN, "true"), settings(registry), who=user)
    assert (status, answer[:3]) == (1, (2400, "Command failed", TRANSACTION))
    assert wrong == "whoisd: the database refuses: CheckViolationError: 23514\n"
    assert await state(owner) == before


def run_with(registry: Database, frame: Path | str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command with a file."""
    return subprocess.run(
        [WHOISD, "registrant", "classify", "--epp", frame, "--by", *(arguments or (USER,))],
        env=environment(settings(registry)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def in_pieces(registry: Database, frame: bytes) -> str:
    """What is answered to a frame that comes through a pipe in pieces."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [WHOISD, "registrant", "classify", "--epp", "-", "--by", USER],
        env=environment(settings(registry)),
        stdin=reading,
        stdout=subprocess.PIPE,
    )
    os.close(reading)
    with os.fdopen(writing, "wb", buffering=0) as pipe:
        for piece in frame.splitlines(keepends=True):
            pipe.write(piece)
    return process.communicate(timeout=60)[0].decode()


async def test_file_and_pipe(registry: Database, owner: Any, user: str, tmp_path: Path) -> None:
    """A frame is read from a file, and from a pipe that brings it in pieces."""
    file = tmp_path / "frame.xml"
    file.write_bytes(update(FOREIGN, "true"))
    assert read_answer(run_with(registry, file, user).stdout).code == 1000
    assert read_answer(in_pieces(registry, update(FOREIGN, "false"))).code == 1000
    assert [entry["evidence"].split(",")[1] for entry in await entries(owner)] == [
        " sole_proprietorship true",
        " sole_proprietorship false",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["staff:anna"], "--epp is for a registrar's users: staff decide by --sole-proprietorship and --evidence"),
        *(
            ([USER, *more], "--epp FRAME says which registrant and what is decided: give --by besides, and nothing else")
            for more in ([FOREIGN], ["--sole-proprietorship", "yes"], ["--evidence", "seen"])
        ),
    ],
)
def test_wrong_command_line(registry: Database, arguments: list[str], said: str) -> None:
    """With a frame staff do not decide, and nothing else is said than by whom."""
    done = run_with(registry, "-", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(f"Error: {said}\n")
