"""Maintenance: what a window refuses and keeps, what becomes of what it kept, and that nothing is lost or overtaken."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
from epp_frames import Answer, create, read_answer
from portal_data import (
    ACCOUNT,
    DANISH,
    EVIDENCE,
    FOREIGN,
    OTHER,
    add_links,
    add_user,
    connected,
    entries,
    refuse_audit,
    settings,
    state,
    without_personal_data,
)
from support import IN_FORCE, PATIENCE, Database, run_here, run_whoisd

from whoisd.database.audit import this_account
from whoisd.database.maintenance import Window, admit_writer
from whoisd.database.migrations import lock_registry, migrate, shipped_migrations
from whoisd.database.transaction import changing
from whoisd.errors import AccessError, EppCode, MaintenanceError, WhoisdError
from whoisd.registry import classification
from whoisd.registry.access import Group
from whoisd.registry.affected import contact
from whoisd.registry.classification import Decision, classify
from whoisd.registry.files import RegistryFiles
from whoisd.registry.loader import Options, load
from whoisd.registry.maintenance import (
    Applied,
    ClassifyOrder,
    Order,
    Queued,
    TakeOverOrder,
    begin,
    end,
    give,
    settle,
    show,
)
from whoisd.registry.portal import convert, take_over
from whoisd.registry.vat_update import Options as VatOptions
from whoisd.registry.vat_update import update as update_vat

WHY: Final = "new disks"
DECISIONS: Final = "SELECT handle, decided_by, decision FROM registry.classification ORDER BY handle, decided_by"
QUEUE: Final = "SELECT count(*) FROM registry.queued_order"
OVER: Final = "UPDATE registry.maintenance SET until = clock_timestamp() - interval '1 second'"


def later(hours: float = 1) -> datetime:
    return datetime.now(UTC) + timedelta(hours=hours)


async def open_one(owner: Any, *, is_queue: bool = False) -> Window:
    return await begin(owner, later(), WHY, is_queue=is_queue)


def ignored(_: Applied) -> None:
    """Nobody asks what came of it."""


async def given(owner: Any, order: Order) -> str | Queued:
    return await give(owner, order, IN_FORCE, ignored)


def yes(who: str = "staff:anna", handle: str = FOREIGN) -> ClassifyOrder:
    return ClassifyOrder(who, handle, Decision.YES, EVIDENCE)


def no(who: str = "staff:anna", handle: str = FOREIGN) -> ClassifyOrder:
    return ClassifyOrder(who, handle, Decision.NO, EVIDENCE)


def ran(database: Database, *arguments: str | Path) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a command, in which nothing personal may be."""
    done = run_here(*arguments, settings=settings(database))
    without_personal_data(done.stdout + done.stderr)
    return done.returncode, done.stdout, done.stderr


def carried(database: Database, frame: bytes, folder: Path) -> tuple[int, Answer]:
    """Exit status and answer of an EPP frame."""
    file = folder / "frame.xml"
    file.write_bytes(frame)
    done = run_whoisd("registrant", "classify", "--epp", file, "--by", "ADM", settings=settings(database))
    return done.returncode, read_answer(done.stdout)


# --- what is refused -------------------------------------------------------------------------------------------------

Change = Callable[[Any, RegistryFiles, bool], Awaitable[object]]

# Every way to change the registry.
WRITES: Final[dict[str, Change]] = {
    "classify": lambda owner, _, __: classify(
        owner, FOREIGN, Decision.NO, evidence=EVIDENCE, who="staff:anna", conditions=IN_FORCE
    ),
    "convert": lambda owner, _, dry_run: convert(owner, dry_run=dry_run),
    "take over": lambda owner, _, __: take_over(owner, ACCOUNT, "domain:q-beta.dk"),
    "contacted": lambda owner, _, __: contact(owner, ACCOUNT, who="staff:anna", note="called"),
    "load": lambda owner, files, dry_run: load(owner, files, Options(dry_run=dry_run)),
    "VIES": lambda owner, files, dry_run: update_vat(owner, files, VatOptions(dry_run=dry_run)),
}


@pytest.mark.usefixtures("registry")
async def test_nobody_writes_in_a_window(owner: Any, tmp_path: Path) -> None:
    """In a window nothing changes the registry, whoever asks; it is said until when and why. A dry run is let in."""
    await add_links(owner)
    await add_user(owner, "ADM", "administrator")
    file = tmp_path / "new.jsonl"
    file.write_text(json.dumps({"type": "staff", "name": "ny"}))
    window = await open_one(owner)
    before = await state(owner)
    for write in WRITES.values():
        with pytest.raises(MaintenanceError) as refused:
            await write(owner, RegistryFiles([file]), False)
        assert str(refused.value) == f"{window}; nothing was changed"
        assert await state(owner) == before
    await convert(owner, dry_run=True)
    await load(owner, RegistryFiles([file]), Options(dry_run=True))
    assert await state(owner) == before


COMMANDS: Final[list[tuple[str, ...]]] = [
    ("load", "/nowhere.jsonl"),
    ("cvr", "update", "/dev/null"),
    ("vat", "update", "/nowhere.jsonl"),
    ("portal", "convert"),
    ("portal", "take-over", ACCOUNT, "domain:q-beta.dk"),
    ("portal", "contacted", ACCOUNT, "--by", "staff:anna", "--note", "called"),
    ("registrant", "classify", FOREIGN, "--sole-proprietorship", "no", "--by", "staff:anna", "--evidence", EVIDENCE),
]


async def test_every_command_that_writes_is_refused(registry: Database, owner: Any) -> None:
    """Each command that writes ends with 1, also while a migration runs, and says until when and why; others go on."""
    await add_links(owner)
    until = later().replace(microsecond=0)
    status, said, _ = ran(registry, "maintenance", "begin", "--until", until.isoformat(), "--why", WHY)
    window = f"maintenance until {until:%Y-%m-%d %H:%M:%S} UTC: {WHY}"
    assert (status, said) == (0, f"There is {window}\nEvery command that writes is refused.\n")
    before = await state(owner)
    async with connected(registry.owner) as migrating:
        await lock_registry(migrating)
        for arguments in COMMANDS:
            assert ran(registry, *arguments) == (1, "", f"whoisd: {window}; nothing was changed\n"), arguments
    assert await state(owner) == before
    assert ran(registry, "portal", "affected")[0] == ran(registry, "registrant", "show", FOREIGN)[0] == 0
    assert ran(registry, "maintenance", "show") == (0, f"There is {window}\n", "")
    assert ran(registry, "maintenance", "end") == (0, "The maintenance is over.\n", "")
    assert ran(registry, "maintenance", "show") == (0, "There is no maintenance window.\n", "")
    assert ran(registry, *COMMANDS[-1])[0] == 0


async def test_epp_is_answered_in_a_window(registry: Database, owner: Any, tmp_path: Path) -> None:
    """An EPP frame that is refused in a window gets a response that says until when and why; nothing is changed."""
    await add_user(owner, "ADM", group=Group.ADMINISTRATION)
    window = await open_one(owner)
    status, answer = carried(registry, create(FOREIGN, "true"), tmp_path)
    assert (status, answer.code) == (1, EppCode.FAILED)
    assert answer.message == f"Command failed: {window}; nothing was changed"
    assert await owner.fetchval(QUEUE) == 0


async def test_migrate_and_heartbeat_in_a_window(registry: Database, owner: Any) -> None:
    """What a window is for goes on in it, and what tells standbys that the primary is alive: no email is withheld for it."""
    await open_one(owner)
    assert ran(registry, "migrate")[0] == 0
    assert ran(registry, "heartbeat") == (0, "", "")
    assert await owner.fetchval("SELECT count(*) FROM registry.heartbeat") == 1


async def test_database_that_is_not_migrated(empty_database: Database) -> None:
    """A database from before there were windows has none: it is written as ever, and migrated; a window is refused."""
    older = [it for it in shipped_migrations() if "maintenance" not in it.file and it.number < 14]
    async with connected(empty_database.owner) as owner:
        await migrate(owner, older)
        async with changing(owner, "look"):
            await owner.execute("INSERT INTO portal.staff (name) VALUES ('anna')")
        await settle(owner, IN_FORCE, ignored)
        for ask in (show(owner), end(owner, IN_FORCE, ignored), open_one(owner)):
            with pytest.raises(MaintenanceError, match=r"run `whoisd migrate`$"):
                await ask
        await migrate(owner)
        await open_one(owner)
        with pytest.raises(MaintenanceError):
            async with changing(owner, "look"):
                pass


# --- the window ------------------------------------------------------------------------------------------------------


async def test_window_is_audited(owner: Any) -> None:
    """Beginning, changing and ending a window each leave a row; ending none leaves none."""
    first = await open_one(owner)
    second = await begin(owner, later(2), "more disks", is_queue=True)
    assert await end(owner, IN_FORCE, ignored) == second
    assert await end(owner, IN_FORCE, ignored) is None
    states = [
        {"until": json.loads(json.dumps(it.until.isoformat())), "why": it.why, "queue": it.is_queue}
        for it in (first, second)
    ]
    found = await entries(owner)
    assert [(it["who"], it["command"], it["object"], it["evidence"]) for it in found] == [
        (this_account(), "maintenance begin", "registry", WHY),
        (this_account(), "maintenance begin", "registry", "more disks"),
        (this_account(), "maintenance end", "registry", None),
    ]
    assert [(it["before"], it["after"]) for it in found] == [(None, states[0]), (states[0], states[1]), (states[1], None)]


@pytest.mark.usefixtures("registry")
async def test_window_that_cannot_be(owner: Any) -> None:
    """One that is over already, or would last for more than a week, is refused, and leaves nothing."""
    before = await state(owner)
    for hours in (-1, 24 * 7 + 1):
        with pytest.raises(MaintenanceError, match=r"^--until: must be to come, and in 7 days at most$"):
            await begin(owner, later(hours), WHY, is_queue=False)
    assert await show(owner) == (None, [])
    assert await state(owner) == before


def test_arguments_of_begin(registry: Database) -> None:
    """A time without its offset, a time that is none, and a reason that is no line are the command line's faults."""
    good = later().isoformat()
    for until, why in (("2026-11-26T08:00:00", WHY), ("tomorrow", WHY), (good, " "), (good, "a\tb")):
        assert ran(registry, "maintenance", "begin", "--until", until, "--why", why)[0] == 2


@pytest.mark.usefixtures("registry")
async def test_window_ends_by_itself(owner: Any) -> None:
    """A window that was forgotten is over at its time: everybody writes again, and none is open."""
    await open_one(owner)
    await owner.execute(OVER)
    assert await show(owner) == (None, [])
    assert await owner.fetch("SELECT * FROM whois.maintenance") == []
    assert isinstance(await given(owner, no()), str)


async def test_begin_waits_for_who_is_writing(registry: Database, owner: Any) -> None:
    """A window begins when those who write have ended; who comes meanwhile waits, and is refused then."""
    told = asyncio.Event()
    async with connected(registry.owner) as other, connected(registry.owner) as third:
        async with changing(other, "look"):
            await other.execute("INSERT INTO portal.staff (name) VALUES ('bo')")
            beginning = asyncio.create_task(begin(owner, later(), WHY, is_queue=False, wait=told.set))
            await asyncio.wait_for(told.wait(), PATIENCE)
            coming = asyncio.create_task(contact(third, ACCOUNT, who="staff:anna", note="called"))
            await waits_for_lock(registry, 2)
            assert not beginning.done()
            assert not coming.done()
        assert (await asyncio.wait_for(beginning, PATIENCE)).why == WHY
        with pytest.raises(MaintenanceError):
            await asyncio.wait_for(coming, PATIENCE)
    assert await owner.fetchval("SELECT count(*) FROM portal.staff WHERE name = 'bo'") == 1


_WAITING: Final = "SELECT count(*) FROM pg_sleep(0.05), pg_locks WHERE NOT granted AND relation IS NOT NULL"


async def waits_for_lock(database: Database, number: int) -> None:
    """Wait until so many wait for a lock."""
    async with connected(database.superuser) as watcher, asyncio.timeout(PATIENCE):
        while await watcher.fetchval(_WAITING) < number:
            pass


# --- what is kept ----------------------------------------------------------------------------------------------------


async def test_orders_are_kept_and_carried_out(registry: Database, owner: Any, tmp_path: Path) -> None:
    """With --queue orders about one object are kept and said to be; `end` carries them out in their order."""
    await add_links(owner)
    await add_user(owner, "ADM", group=Group.ADMINISTRATION)
    until = later().replace(microsecond=0)
    assert ran(registry, "maintenance", "begin", "--until", until.isoformat(), "--why", WHY, "--queue")[1].endswith(
        "\nCommands about one object are queued.\n"
    )
    before = (await state(owner))[:-1]
    at = f"{until:%Y-%m-%d %H:%M:%S} UTC"
    kept = f"queued as number {{}}, and carried out when the maintenance is over, by {at}"
    status, said, wrong = ran(registry, *COMMANDS[-1])
    assert (status, said, wrong) == (0, f"{FOREIGN}: {kept.format(1)}\n", "")
    status, answer = carried(registry, create(FOREIGN, "true"), tmp_path)
    assert (status, answer.code) == (0, EppCode.PENDING)
    assert answer.message == f"Command completed successfully; action pending: {kept.format(2)}"
    assert ran(registry, *COMMANDS[4]) == (0, f"domain:q-beta.dk: {kept.format(3)}\n", "")
    assert ran(registry, *COMMANDS[0])[0] == 1
    assert (await state(owner))[:-1] == before
    assert await owner.fetch(DECISIONS) == []
    orders = [
        f"registrant classify {FOREIGN} --sole-proprietorship no, by staff:anna",
        f"EPP contact create {FOREIGN}, by user:ADM, svTRID {answer.server_transaction}",
        f"portal take-over {ACCOUNT} domain:q-beta.dk, by {this_account()}",
    ]
    assert [it[2] for it in (await show(owner))[1]] == orders
    status, said, wrong = ran(registry, "maintenance", "end")
    assert (status, wrong) == (0, "")
    lines = said.splitlines()
    assert [line.partition(" UTC: ")[2] for line in lines[:3]] == [f"{order}: done" for order in orders]
    assert lines[3] == "The maintenance is over."
    assert await owner.fetch(DECISIONS) == [(FOREIGN, ACCOUNT, "yes"), (FOREIGN, "staff", "no")]
    assert len(await owner.fetch("SELECT FROM portal.taken_over_role")) == 2
    assert await owner.fetchval(QUEUE) == 0


async def test_each_order_is_audited(owner: Any) -> None:
    """Being kept leaves a row, with who and on what evidence; and so does what came of it, beside the change's own row."""
    await add_links(owner)
    await open_one(owner, is_queue=True)
    await given(owner, no())
    await given(owner, TakeOverOrder("account:vibe", ACCOUNT, "domain:q-beta.dk"))
    await end(owner, IN_FORCE, ignored)
    who = ["staff:anna", "account:vibe"]
    found = [
        (it["who"], it["command"], it["object"], it["evidence"])
        for it in await entries(owner)
        if it["command"] not in ("maintenance begin", "maintenance end")
    ]
    objects = [f"registrant:{FOREIGN}", "domain:q-beta.dk"]
    assert found == [
        (who[0], "maintenance queue", objects[0], EVIDENCE),
        (who[1], "maintenance queue", objects[1], None),
        (who[0], "registrant classify", objects[0], EVIDENCE),
        (who[0], "maintenance apply", objects[0], None),
        (who[1], "portal take-over", objects[1], None),
        (who[1], "maintenance apply", objects[1], None),
    ]
    last = (await entries(owner))[-1]
    assert (last["before"]["number"], last["after"]) == (2, {"is_done": True, "why": None})


async def test_what_is_no_longer_possible(registry: Database, owner: Any) -> None:
    """An order that is no longer possible is reported with why, audited and gone; those behind it are carried out."""
    await add_user(owner, "PORT", group=Group.PORTFOLIO_MANAGEMENT, account=OTHER)
    await open_one(owner, is_queue=True)
    for order in (yes("user:PORT"), yes(handle=DANISH), yes(handle="NOBODY-1"), no()):
        assert isinstance(await given(owner, order), Queued)
    status, said, wrong = ran(registry, "maintenance", "end")
    assert (status, wrong) == (1, "")
    came = [line.partition(": no longer possible: ")[2] for line in said.splitlines()]
    assert came[0] == f"user:PORT may not classify {FOREIGN}: their account does not manage it (other_account)"
    assert came[1].startswith(f"{DANISH}: is Danish")
    assert came[2].startswith("NOBODY-1: ")
    assert came[3:] == ["", ""]
    assert await owner.fetch(DECISIONS) == [(FOREIGN, "staff", "no")]
    after = [it["after"] for it in await entries(owner) if it["command"] == "maintenance apply"]
    assert [(it["is_done"], it["why"]) for it in after] == [*((False, why) for why in came[:3]), (True, None)]


@pytest.mark.usefixtures("registry")
async def test_what_is_no_order(owner: Any) -> None:
    """An object that is none is refused at once, and not kept."""
    await open_one(owner, is_queue=True)
    with pytest.raises(WhoisdError, match=r"^object: "):
        await given(owner, TakeOverOrder("account:vibe", ACCOUNT, "zone:q"))
    assert await owner.fetchval(QUEUE) == 0


async def test_forgotten_orders_come_first(registry: Database, owner: Any, tmp_path: Path) -> None:
    """Where a window ended by itself, the next command that writes carries out first what it kept, and tells."""
    await open_one(owner, is_queue=True)
    await given(owner, no())
    await owner.execute(OVER)
    status, said, _ = ran(registry, "maintenance", "show")
    assert said.splitlines()[0] == "There is no maintenance window."
    assert said.splitlines()[2] == "They are carried out by the next command that writes, or by `whoisd maintenance end`."
    assert await owner.fetchval(QUEUE) == 1  # who reads writes nothing
    yes_by_staff = (*COMMANDS[-1][:3], "--sole-proprietorship", "yes", *COMMANDS[-1][5:])
    status, said, wrong = ran(registry, *yes_by_staff)
    assert status == 0
    assert said.startswith(f"{FOREIGN}: sole proprietorship by hand: no -> yes;")
    assert wrong.startswith("whoisd: queued in a maintenance window: 1, queued ")
    assert wrong.endswith(f": registrant classify {FOREIGN} --sole-proprietorship no, by staff:anna: done\n")
    made = [it["after"]["decisions"] for it in await entries(owner) if it["command"] == "registrant classify"]
    assert made == [{"staff": "no"}, {"staff": "yes"}]
    await open_one(owner, is_queue=True)
    await given(owner, no())
    await owner.execute(OVER)
    file = tmp_path / "new.jsonl"
    file.write_text(json.dumps({"type": "staff", "name": "ny"}))
    status, _, wrong = ran(registry, "load", file)
    assert (status, wrong.count("queued in a maintenance window")) == (0, 1), wrong
    assert await owner.fetch(DECISIONS) == [(FOREIGN, "staff", "no")]


async def test_nobody_overtakes(owner: Any) -> None:
    """Whoever changes the registry without looking first is refused while orders wait: nothing overtakes them."""
    await add_links(owner)
    await open_one(owner, is_queue=True)
    await given(owner, no())
    await owner.execute(OVER)
    before = await state(owner)
    for write in ("classify", "convert", "take over", "contacted"):
        with pytest.raises(MaintenanceError, match=r"^what was queued in a maintenance window comes first") as refused:
            await WRITES[write](owner, RegistryFiles([]), False)
        assert refused.value.is_over
    assert await state(owner) == before


async def test_window_that_is_changed_keeps_its_orders(owner: Any) -> None:
    """A window that is begun again, also after it ended by itself, keeps what was kept, in its order."""
    await open_one(owner, is_queue=True)
    await given(owner, yes())
    await owner.execute(OVER)
    await open_one(owner, is_queue=True)
    assert isinstance(await given(owner, no()), Queued)
    await open_one(owner)
    with pytest.raises(MaintenanceError):
        await given(owner, yes())
    assert await owner.fetch(DECISIONS) == []
    await end(owner, IN_FORCE, ignored)
    assert await owner.fetch(DECISIONS) == [(FOREIGN, "staff", "no")]


async def test_two_carry_out_at_once(registry: Database, owner: Any) -> None:
    """Two who come when a window is over carry out each order once between them."""
    await open_one(owner, is_queue=True)
    for order in (yes(), no(), yes(), no()):
        await given(owner, order)
    await owner.execute(OVER)
    came: list[Applied] = []
    async with connected(registry.owner) as one, connected(registry.owner) as other:
        await asyncio.gather(*(settle(connection, IN_FORCE, came.append) for connection in (one, other)))
    assert sorted(it.number for it in came) == [1, 2, 3, 4]
    made = [it["after"]["decisions"]["staff"] for it in await entries(owner) if it["command"] == "registrant classify"]
    assert made == ["yes", "no", "yes", "no"]


@pytest.mark.parametrize("refused", ["maintenance apply", "registrant classify"])
async def test_all_of_an_order_or_nothing(registry: Database, owner: Any, refused: str) -> None:
    """Where a row of the audit trail is refused the order is not carried out, and is kept, with those behind it."""
    await open_one(owner, is_queue=True)
    for order in (no(), yes()):
        await given(owner, order)
    await refuse_audit(registry, f"command <> '{refused}'")
    for _ in range(2):
        with pytest.raises(asyncpg.CheckViolationError):
            await end(owner, IN_FORCE, ignored)
        assert await owner.fetch(DECISIONS) == []
        assert await owner.fetchval(QUEUE) == 2


async def test_order_that_somebody_stands_in_the_way_of(
    registry: Database, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An order that waits in vain for who is changing the registrant is kept and told, and carried out later."""
    monkeypatch.setattr(classification, "LOCK_TIMEOUT", 0.05)
    await open_one(owner, is_queue=True)
    await given(owner, no())
    async with connected(registry.owner) as other:
        async with other.transaction():
            await other.execute("SELECT FROM registry.registrant WHERE handle = $1 FOR UPDATE", FOREIGN)
            with pytest.raises(WhoisdError, match="comes first, and cannot be carried out now: "):
                await end(owner, IN_FORCE, ignored)
            with pytest.raises(WhoisdError, match="comes first, and cannot be carried out now: "):
                await given(owner, yes())
        assert await owner.fetchval(QUEUE) == 1
        await given(owner, yes())
    made = [it["after"]["decisions"] for it in await entries(owner) if it["command"] == "registrant classify"]
    assert made == [{"staff": "no"}, {"staff": "yes"}]


async def test_who_may_is_asked_when_it_is_carried_out(owner: Any) -> None:
    """Whether an order may be is decided by the data as they are then: a take-over before it lets its users classify."""
    await add_links(owner)
    await add_user(owner, "PORT", group=Group.PORTFOLIO_MANAGEMENT, account=OTHER)
    await owner.execute(
        "INSERT INTO portal.object_role (holder, object, role) VALUES ('LINK-3', 'domain:q-beta-to.dk', 'proxy')"
    )
    await open_one(owner, is_queue=True)
    await given(owner, TakeOverOrder("account:vibe", OTHER, "domain:q-beta-to.dk"))
    await given(owner, yes("user:PORT"))
    await end(owner, IN_FORCE, ignored)
    assert await owner.fetch(DECISIONS) == [(FOREIGN, OTHER, "yes")]
    with pytest.raises(AccessError):
        await given(owner, no("user:PORT"))


async def test_who_has_begun_before_is_let_in(owner: Any) -> None:
    """Whoever is in a transaction is not asked again: what is kept is carried out so."""
    async with owner.transaction():
        await admit_writer(owner)
        async with changing(owner, "look"):
            await owner.execute("INSERT INTO portal.staff (name) VALUES ('bo')")
