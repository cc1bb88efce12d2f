"""`whoisd portal affected` and `contacted`: who loses what, whom to contact, and how far each account is."""

import csv
import subprocess
import tracemalloc
from functools import partial
from io import StringIO
from itertools import islice
from typing import Any

import pytest
from portal_data import (
    ACCOUNT,
    FOREIGN,
    OTHER,
    THIRD,
    add_links,
    add_user,
    entries,
    link,
    ran_without_personal_data,
    refuse_audit,
    settings,
    state,
)
from support import WHOISD, Database, environment

from whoisd.commands import portal as cli_portal
from whoisd.errors import AccessError, PortalError
from whoisd.registry.affected import State, affected, contact, progress
from whoisd.registry.portal import take_over

NOBODY = "No linked user holds a role that the REG handle of the account does not hold too.\n"
HEADING = "account,account_name,user,object,roles,email,phone,state\n"
FIRST = "hej@foerste.example,'+45 33000000"  # the contact of REG-1, as CSV has it

ran = partial(ran_without_personal_data, "portal")


def first_lines(form: str, environ: dict[str, str], number: int) -> list[str]:
    """The first lines of `affected`, whose reader then goes; nothing else may be said."""
    with subprocess.Popen(
        [WHOISD, "portal", "affected", "--format", form],
        env=environment(environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stderr
        lines = [*islice(process.stdout, number)]
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) in (0, 1)
    return lines


# --- who loses what ----------------------------------------------------------------------------------------------

TABLE = f"""\
REG-1  Første Registrator A/S  hej@foerste.example  +45 33000000  not contacted
User     Object              Roles
───────────────────────────────────────────────────
LINK-1   domain:q-beta.dk    billing_contact, proxy
LINK-1   registrant:{FOREIGN}   registrant
LINK-2   domain:q-beta.dk    proxy
REG-2  Anden Registrator [red]  33000001  not contacted
User     Object                  Roles
───────────────────────────────────────────────────────
LINK-3   domain:xn--q-r-zla.dk   name_server_management
REG-3  =Tredje()  not contacted
User     Object               Roles
────────────────────────────────────────────────────
LINK-4   host:ns1.q-beta.dk   name_server_management
`whoisd portal take-over ACCOUNT OBJECT` gives the roles on an object to the REG handle.
"""


async def test_affected(registry: Database, owner: Any) -> None:
    """A table for each account: its linked users, their objects, and the roles that the REG handle does not hold."""
    await add_links(owner)
    before = await state(owner)
    status, said, wrong = ran(registry, "affected")
    assert (status, wrong) == (0, "")
    assert [line.rstrip() for line in said.splitlines()] == TABLE.splitlines()
    assert await state(owner) == before


async def test_a_long_object_stays_whole(registry: Database, owner: Any) -> None:
    """Where it is not a terminal that reads, a name as long as names may be is in one piece."""
    host = ".".join(["x" * 63] * 3 + ["y" * 58, "dk"])
    await add_user(owner, "LINK-1", linked=True)
    await owner.execute("INSERT INTO registry.host (name) VALUES ($1)", host)
    await link(owner, "LINK-1", f"host:{host}", "name_server_management")
    assert f"host:{host}   name_server_management\n" in ran(registry, "affected")[1]


async def test_affected_as_csv(registry: Database, owner: Any) -> None:
    """As CSV it is one row for each user and object, under a heading, and holds no formula for a spreadsheet to run."""
    await add_links(owner)
    status, said, wrong = ran(registry, "affected", "--format", "csv")
    assert (status, wrong) == (0, "")
    assert said == (
        f"{HEADING}"
        f"REG-1,Første Registrator A/S,LINK-1,domain:q-beta.dk,billing_contact proxy,{FIRST},not contacted\n"
        f"REG-1,Første Registrator A/S,LINK-1,registrant:{FOREIGN},registrant,{FIRST},not contacted\n"
        f"REG-1,Første Registrator A/S,LINK-2,domain:q-beta.dk,proxy,{FIRST},not contacted\n"
        "REG-2,Anden Registrator [red],LINK-3,domain:xn--q-r-zla.dk,name_server_management,,33000001,not contacted\n"
        "REG-3,'=Tredje(),LINK-4,host:ns1.q-beta.dk,name_server_management,,,not contacted\n"
    )


async def test_affected_as_csv_in_any_locale(registry: Database, owner: Any) -> None:
    """CSV is UTF-8 whatever the terminal's charset, and a name with a comma and quotes is still one cell."""
    await add_links(owner)
    await owner.execute("""UPDATE registry.registrar SET name = 'Łódź, "æ"' WHERE handle = 'REG-1'""")
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    said = "".join(first_lines("csv", settings(registry) | ascii_alone, 100))
    assert [*csv.reader(StringIO(said))][1][1] == 'Łódź, "æ"'


@pytest.mark.parametrize("form", ["table", "csv"])
async def test_affected_of_one_account(registry: Database, owner: Any, form: str) -> None:
    """With an account, in any case, nobody else is listed; without affected users that is said."""
    await add_links(owner)
    said = ran(registry, "affected", "--account", "reg-2", "--format", form)[1]
    assert ("LINK-3" in said, "LINK-1" in said, "LINK-4" in said) == (True, False, False)
    await owner.execute("DELETE FROM portal.object_role WHERE holder = 'LINK-3'")
    expected = ("", NOBODY) if form == "csv" else (NOBODY, "")
    said, wrong = ran(registry, "affected", "--account", OTHER, "--format", form)[1:]
    assert (said.removeprefix(HEADING), wrong) == expected


async def test_affected_of_no_account(registry: Database) -> None:
    """An account that is not there is named, with exit status 1."""
    said = "whoisd: REG-9: there is no registrar account of this handle\n"
    assert ran(registry, "affected", "--account", "REG-9") == (1, "", said)


async def test_affected_of_nobody(registry: Database) -> None:
    """Where nobody loses anything that is said."""
    assert ran(registry, "affected") == (0, NOBODY, "")


async def test_not_affected_when_the_account_holds_the_role(owner: Any) -> None:
    """What the REG handle of the user's own account holds is not lost; the same role of another's or on another's is."""
    await add_links(owner)
    take = "INSERT INTO portal.taken_over_role (account, object, role) VALUES ($1, $2, $3)"
    await owner.execute(take, ACCOUNT, "domain:q-beta.dk", "proxy")
    await owner.execute(take, THIRD, "domain:xn--q-r-zla.dk", "name_server_management")
    await owner.execute(take, OTHER, "domain:q-dansk.dk", "name_server_management")
    assert [(row.user, row.object, [*row.roles]) async for row in affected(owner, None)] == [
        ("LINK-1", "domain:q-beta.dk", ["billing_contact"]),
        ("LINK-1", f"registrant:{FOREIGN}", ["registrant"]),
        ("LINK-3", "domain:xn--q-r-zla.dk", ["name_server_management"]),
        ("LINK-4", "host:ns1.q-beta.dk", ["name_server_management"]),
    ]


async def add_many(owner: Any, number: int) -> None:
    await add_user(owner, "LINK-1", linked=True)
    await owner.execute(
        "INSERT INTO registry.host (name) SELECT format('h%s.q.example', n) FROM generate_series(1, $1) AS n", number
    )
    await owner.execute(
        "INSERT INTO portal.object_role (holder, object, role)"
        " SELECT 'LINK-1', 'host:' || name, 'proxy' FROM registry.host WHERE name LIKE '%.q.example'"
    )


async def test_affected_in_bounded_memory(owner: Any) -> None:
    """However many objects there are, a few hundred of them are in memory at once."""
    await add_many(owner, 20_000)
    tracemalloc.start()
    try:
        number = sum([1 async for _ in affected(owner, None)])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert number == 20_000
    assert peak < 2_000_000


async def test_a_long_table_is_continued(
    owner: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table has an end, and is continued in another under the same account."""
    monkeypatch.setattr(cli_portal, "LARGEST_TABLE", 10)
    await add_many(owner, 25)
    await cli_portal._affected(owner, None, "table")
    said = capsys.readouterr().out
    assert said.count("REG-1  Første Registrator A/S  ") == said.count("Roles") == 3
    assert said.count("host:h") == 25


@pytest.mark.parametrize("form", ["table", "csv"])
async def test_affected_for_a_reader_who_has_enough(registry: Database, owner: Any, form: str) -> None:
    """A reader who goes, as `head` does, is no fault: nothing is said about it."""
    await add_many(owner, 20_000)
    assert len(first_lines(form, settings(registry), 1)) == 1


# --- whom to contact, and how far they are -----------------------------------------------------------------------------

SAID = ("--by", "staff:anna", "--note", "=Ringet op; de retter det i uge 48")


async def states(owner: Any) -> dict[str, State]:
    return {one.account: one.state for one in await progress(owner, None)}


@pytest.mark.usefixtures("registry")
async def test_state_of_an_account(owner: Any) -> None:
    """An account is contacted once staff say so, and corrected while its REG handle holds all that its linked users do."""
    await add_links(owner)
    assert {*(await states(owner)).values()} == {State.NOT_CONTACTED}
    assert (await contact(owner, OTHER, who="staff:anna", note="skrevet")).state is State.CONTACTED
    await take_over(owner, THIRD, "ns1.q-beta.dk")
    now = {ACCOUNT: State.NOT_CONTACTED, OTHER: State.CONTACTED, THIRD: State.CORRECTED}
    assert await states(owner) == now
    assert {row.account: row.state async for row in affected(owner, None)} == {
        account: how for account, how in now.items() if how is not State.CORRECTED
    }
    await link(owner, "LINK-4", "host:ns1.q-beta.dk", "proxy")
    assert (await states(owner))[THIRD] is State.NOT_CONTACTED
    await take_over(owner, OTHER, "domain:xn--q-r-zla.dk")
    assert (await states(owner))[OTHER] is State.CORRECTED


@pytest.mark.usefixtures("registry")
async def test_objects_left(owner: Any) -> None:
    """What is left is counted by object, however many users and roles; one role that is left leaves the object."""
    await add_links(owner)
    (before,) = await progress(owner, ACCOUNT)
    assert before.objects_left == 2
    await take_over(owner, ACCOUNT, f"registrant:{FOREIGN}")
    await owner.execute(
        "INSERT INTO portal.taken_over_role (account, object, role) VALUES ('REG-1', 'domain:q-beta.dk', 'proxy')"
    )
    (after,) = await progress(owner, ACCOUNT)
    assert after.objects_left == 1


@pytest.mark.usefixtures("registry")
async def test_an_account_that_was_contacted_stays_in_the_list(owner: Any) -> None:
    """One whose linked users are gone since it was contacted is corrected, and not forgotten."""
    await add_links(owner)
    await contact(owner, OTHER, who="staff:anna", note="skrevet")
    await owner.execute("DELETE FROM portal.object_role")
    assert await states(owner) == {OTHER: State.CORRECTED}


async def test_contacted(registry: Database, owner: Any) -> None:
    """A contact is a row of the audit trail with the note, and changes nothing else; the note is not repeated."""
    await add_links(owner)
    *before, entries_before = await state(owner)
    assert ran(registry, "contacted", "reg-1", *SAID) == (0, "REG-1: contacted; 2 objects left to take over\n", "")
    assert await state(owner) == [*before, entries_before + 1]
    assert await entries(owner) == [
        {
            "who": "staff:anna",
            "command": "portal contacted",
            "object": "registrar:REG-1",
            "evidence": SAID[3],
            "before": {"state": "not contacted", "objects_left": 2},
            "after": {"state": "contacted", "objects_left": 2},
        }
    ]


async def test_no_contact_without_its_row(registry: Database, owner: Any) -> None:
    """Where the row for the audit trail is refused nobody was contacted, and nothing of the note is told."""
    await add_links(owner)
    await refuse_audit(registry, "command <> 'portal contacted'")
    said = (1, "", "whoisd: the database refuses: CheckViolationError: 23514\n")
    assert ran(registry, "contacted", "REG-1", *SAID) == said
    assert (await states(owner))[ACCOUNT] is State.NOT_CONTACTED


UNKNOWN = "staff:bo may not say that REG-1 was contacted: the registry has no staff of this name (unknown_staff)"
NOTHING = "REG-3: its linked users hold no role on an object, so that there is nothing to contact it about"


async def test_what_is_no_contact(registry: Database, owner: Any) -> None:
    """Who is no staff, an account that is none or loses nothing, a note that is no line: each is told, and not written."""
    await add_links(owner)
    await owner.execute("DELETE FROM portal.object_role WHERE holder = 'LINK-4'")
    before = await state(owner)
    with pytest.raises(AccessError) as denied:
        await contact(owner, ACCOUNT, who="staff:bo", note="x")
    assert str(denied.value) == UNKNOWN
    for account, said in (("REG-9", "REG-9: there is no registrar account of this handle"), (THIRD, NOTHING)):
        with pytest.raises(PortalError) as refused:
            await contact(owner, account, who="staff:anna", note="x")
        assert str(refused.value).startswith(said)
    for wrong in (
        ("--by", "ADM", *SAID[2:]),
        ("--by", "user:ADM", *SAID[2:]),
        (*SAID[:3], " "),
        (*SAID[:3], "a\nb"),
        SAID[:2],
    ):
        assert ran(registry, "contacted", ACCOUNT, *wrong)[:2] == (2, "")
    assert await state(owner) == before


async def test_progress(registry: Database, owner: Any) -> None:
    """The progress is a line for each account, with its contact, its state and the last note; and how many are how far."""
    await add_links(owner)
    for note in ("forkert nummer", SAID[3]):
        await contact(owner, ACCOUNT, who="staff:anna", note=note)
    await take_over(owner, THIRD, "ns1.q-beta.dk")
    (contacted,) = {one.contacted for one in await progress(owner, ACCOUNT)}
    assert contacted
    status, said, wrong = ran(registry, "affected", "--progress")
    assert (status, wrong) == (0, "")
    lines = [line.split() for line in said.splitlines()]
    at = f"{contacted:%Y-%m-%d %H:%M:%S} UTC".split()
    assert lines[0] == ["Account", "Name", "Email", "Phone", "State", "Left", "Contacted", "By", "Note"]
    assert lines[2][:5] == ["REG-1", "Første", "Registrator", "A/S", "hej@foerste.example"]
    assert lines[2][5:] == ["+45", "33000000", "contacted", "2", *at, "staff:anna", *SAID[3].split()]
    assert lines[3] == ["REG-2", "Anden", "Registrator", "[red]", "33000001", "not", "contacted", "1"]
    assert lines[4] == ["REG-3", "=Tredje()", "corrected", "0"]
    assert said.splitlines()[5] == "1 not contacted, 1 contacted, 1 corrected"


async def test_progress_as_csv(registry: Database, owner: Any) -> None:
    """As CSV the same, in which nothing that others wrote, or staff noted, is a formula; of nobody it is the heading."""
    heading = "account,account_name,email,phone,state,objects_left,contacted,by,note\n"
    assert ran(registry, "affected", "--progress", "--format", "csv") == (0, heading, NOBODY)
    assert ran(registry, "affected", "--progress") == (0, NOBODY, "")
    await add_links(owner)
    await contact(owner, ACCOUNT, who="staff:anna", note=SAID[3])
    (now,) = await progress(owner, ACCOUNT)
    assert now.contacted
    status, said, wrong = ran(registry, "affected", "--progress", "--format", "csv", "--account", "reg-1")
    assert (status, wrong) == (0, "")
    first = f"REG-1,Første Registrator A/S,{FIRST},contacted,2,{now.contacted.isoformat()},staff:anna,'{SAID[3]}\n"
    assert said == heading + first


@pytest.mark.parametrize("begins", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_a_formula(begins: str) -> None:
    """A cell that a spreadsheet could take for a formula, or for one behind a tab or a return, begins with an apostrophe."""
    assert cli_portal._cell(f"{begins}1+cmd") == f"'{begins}1+cmd"
    assert cli_portal._cell(f"1{begins}") == f"1{begins}"
