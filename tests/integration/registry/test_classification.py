"""`whoisd registrant`: what support sees of a registrant, and the classification of those abroad by hand."""

import asyncio
import json
from datetime import UTC, datetime
from functools import partial
from itertools import chain, product
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from portal_data import (
    ACCOUNT,
    DANISH,
    EVIDENCE,
    FOREIGN,
    OTHER,
    PROTECTED,
    THIRD,
    add_user,
    connected,
    entries,
    ran_without_personal_data,
    refuse_audit,
    settings,
    state,
    without_personal_data,
)
from support import IN_FORCE, NOT_YET, Database, Service, fields, run_whoisd

from whoisd.commands.registrant import registrant_commands
from whoisd.database.migrations import lock_registry
from whoisd.errors import AccessError, RegistrantError
from whoisd.registry import classification
from whoisd.registry.access import SENTENCES, Denial, Group, Role
from whoisd.registry.classification import Decision, classify, show

SHOWN = {"email": "shown", "reason": "vat_registered"}
HIDDEN = {"email": "withheld", "reason": "foreign_sole_proprietorship"}
IN_FORCE_FROM = datetime(2025, 11, 3, 13, tzinfo=UTC)
NOW = datetime(2026, 10, 1, 12, tzinfo=UTC)
QUERY = "--charset=utf-8 --show-handles q-beta.dk"

ran = partial(ran_without_personal_data, "registrant")


def classified(
    database: Database, handle: str, decision: str, who: str = "staff:anna", evidence: str = EVIDENCE
) -> tuple[int, str, str]:
    return ran(database, "classify", handle, "--sole-proprietorship", decision, "--evidence", evidence, "--by", who)


async def decide(owner: Any, decision: Decision = Decision.NO, *, handle: str = FOREIGN, who: str = "staff:anna") -> None:
    await classify(owner, handle, decision, evidence=EVIDENCE, who=who, conditions=IN_FORCE)


# --- who may -----------------------------------------------------------------------------------------------------


async def test_access(owner: Any) -> None:
    """Users in Administration and Portfolio management of an account that manages a domain of the registrant may classify.

    Accounting, users without a group, those of other accounts and linked users may not, and then nothing is changed.
    """
    may = set()
    for number, (group, account, linked) in enumerate(product([*Group, None], [ACCOUNT, OTHER], [False, True])):
        handle = f"USER-{number}"
        await add_user(owner, handle, account=account, linked=linked, group=group)
        before = await state(owner)
        try:
            await decide(owner, Decision.YES, who=f"user:{handle}")
            may.add((group, account, linked))
            assert (await entries(owner))[-1]["who"] == f"user:{handle}"
        except AccessError:
            assert await state(owner) == before
    assert may == {(Group.ADMINISTRATION, ACCOUNT, False), (Group.PORTFOLIO_MANAGEMENT, ACCOUNT, False)}


DENIED = {
    "staff:nobody": Denial.UNKNOWN_STAFF,
    "staff:adm": Denial.UNKNOWN_STAFF,
    "user:NOBODY": Denial.UNKNOWN_USER,
    "user:ANNA": Denial.UNKNOWN_USER,
    "user:LINKED": Denial.LINKED_USER,
    "user:AWAY": Denial.OTHER_ACCOUNT,
    "user:NEW": Denial.NO_GROUP,
    "user:BOOKKEEPER": Denial.GROUP,
}


async def test_refused_with_the_reason(registry: Database, owner: Any) -> None:
    """Who may not classify is told why, in a sentence and in a stable word, with exit status 1; nothing is changed."""
    await add_user(owner, "ADM", group=Group.ADMINISTRATION)
    await add_user(owner, "LINKED", linked=True, group=Group.ADMINISTRATION)
    await add_user(owner, "AWAY", account=OTHER, group=Group.ADMINISTRATION)
    await add_user(owner, "NEW", "administrator")
    await add_user(owner, "BOOKKEEPER", group=Group.ACCOUNTING)
    before = await state(owner)
    for who, why in DENIED.items():
        with pytest.raises(AccessError) as refused:
            await decide(owner, Decision.YES, who=who)
        assert str(refused.value) == f"{who} may not classify {FOREIGN}: {SENTENCES[why]} ({why})"
    said = (
        "whoisd: user:LINKED may not classify BETA-1: they are a linked user, and linked users manage no object;"
        " the users of its account do (linked_user)\n"
    )
    assert classified(registry, FOREIGN, "no", "linked") == (1, "", said)
    assert await state(owner) == before


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.ADMINISTRATOR])
async def test_taken_over_domain(owner: Any, role: Role) -> None:
    """An account whose REG handle took a domain over manages it, but not as its billing contact; nor one of another's."""
    await add_user(owner, "ADM-3", account=THIRD, group=Group.ADMINISTRATION)
    take_over = "INSERT INTO portal.taken_over_role (account, role, object) VALUES ($1, $2, $3)"
    await owner.execute(take_over, THIRD, role, "domain:q-dansk.dk")
    await owner.execute(take_over, THIRD, role, "host:ns1.q-beta.dk")
    await owner.execute(take_over, OTHER, role, "domain:q-beta-to.dk")
    with pytest.raises(AccessError, match=r"\(other_account\)$"):
        await decide(owner, Decision.YES, who="user:ADM-3")
    await owner.execute(take_over, THIRD, role, "domain:q-beta-to.dk")
    if role is Role.BILLING_CONTACT:
        with pytest.raises(AccessError, match=r"\(other_account\)$"):
            await decide(owner, Decision.YES, who="user:ADM-3")
    else:
        await decide(owner, Decision.YES, who="user:ADM-3")


async def test_refusal_tells_nothing_of_the_registrant(owner: Any) -> None:
    """A user of another account is refused alike for every registrant, Danish, protected or not there."""
    await add_user(owner, "AWAY", account=THIRD, group=Group.ADMINISTRATION)
    said = []
    for handle in (FOREIGN, DANISH, PROTECTED, "NOBODY"):
        with pytest.raises(AccessError) as refused:
            await decide(owner, handle=handle, who="user:AWAY")
        said.append(str(refused.value).replace(handle, "?"))
    assert len({*said}) == 1


# --- what it does ------------------------------------------------------------------------------------------------


async def test_in_the_very_next_answer(registry: Database) -> None:
    """What was decided is in the very next answer of a running server, each time."""
    with Service(registry.reader) as service:

        def email() -> list[str]:
            return fields(service.ask(QUERY))["Email"]

        assert email() == ["DATA REDACTED"]
        classified(registry, FOREIGN, "no")
        assert email() == ["QSecondary@qmail.example"]
        classified(registry, FOREIGN, "yes")
        assert email() == ["DATA REDACTED"]
        await registry.execute("UPDATE registry.registrant SET sole_proprietorship = false WHERE handle = $1", FOREIGN)
        assert email() == ["DATA REDACTED"]
        classified(registry, FOREIGN, "withdraw")
        assert email() == ["QSecondary@qmail.example"]


async def test_what_it_says(registry: Database) -> None:
    """It says what was decided before and now, what counts, and what becomes of the email, with the reason."""
    no = (
        f"{FOREIGN}: sole proprietorship by hand: undecided -> no; what counts: yes -> no\n"
        "The email: withheld (foreign_sole_proprietorship) -> shown (vat_registered)\n"
        "The registrant is abroad, has a VAT number, and is no sole proprietorship.\n"
    )
    assert classified(registry, FOREIGN, "no") == (0, no, "")
    yes = (
        f"{FOREIGN}: sole proprietorship by hand: no -> yes; what counts: no -> yes\n"
        "The email: shown (vat_registered) -> withheld (foreign_sole_proprietorship)\n"
        "The registrant is abroad, and classified as a sole proprietorship.\n"
    )
    assert classified(registry, FOREIGN.lower(), "YES") == (0, yes, "")


async def test_audit(registry: Database, owner: Any) -> None:
    """Each decision leaves a row with who, what, the evidence, and how the registrant stood before and after.

    What becomes public by it is in its row, with why it was withheld.
    """
    await add_user(owner, "ADM", group=Group.ADMINISTRATION)
    begun = datetime.now(UTC)
    classified(registry, FOREIGN, "no")
    classified(registry, FOREIGN, "yes", "adm", "  seen again: ÆØÅ ")
    classified(registry, FOREIGN, "withdraw", "user:ADM")
    by_files: dict[str, Any] = {"classified_by_hand": None, "decisions": {}, "sole_proprietorship": True, **HIDDEN}
    by_hand = {"classified_by_hand": False, "decisions": {"staff": "no"}, "sole_proprietorship": False, **SHOWN}
    by_both = {
        "classified_by_hand": True,
        "decisions": {"REG-1": "yes", "staff": "no"},
        "sole_proprietorship": True,
        **HIDDEN,
    }
    newly_shown = {"newly_shown": {"email": "foreign_sole_proprietorship"}}
    same = {"command": "registrant classify", "object": f"registrant:{FOREIGN}"}
    assert await entries(owner) == [
        {**same, "who": "staff:anna", "evidence": EVIDENCE, "before": by_files, "after": by_hand | newly_shown},
        {**same, "who": "user:ADM", "evidence": "seen again: ÆØÅ", "before": by_hand, "after": by_both},
        {**same, "who": "user:ADM", "evidence": EVIDENCE, "before": by_both, "after": by_hand | newly_shown},
    ]
    at, login = await owner.fetchrow("SELECT at, login FROM audit.entry WHERE command <> 'load' ORDER BY id LIMIT 1")
    assert begun <= at <= datetime.now(UTC)
    assert login == "whoisd_owner"


async def test_a_load_does_not_undo_it(registry: Database, owner: Any, tmp_path: Path) -> None:
    """What was decided by hand stays in force over a load that says otherwise of the same registrant, and tells so."""
    await decide(owner, Decision.NO)
    file = tmp_path / "later.jsonl"
    record = {
        "type": "registrant",
        "handle": FOREIGN,
        "kind": "company",
        "name": "N",
        "country": "FI",
        "email": "n@n.example",
    }
    file.write_text(json.dumps(record | {"vat_number": "FI20774740", "sole_proprietorship": True}) + "\n")
    assert run_whoisd("load", file, settings=settings(registry)).returncode == 0
    assert await owner.fetchval("SELECT sole_proprietorship FROM registry.registrant WHERE handle = $1", FOREIGN)
    assert await owner.fetch(DECISIONS) == [(FOREIGN, "staff", "no")]
    said = ran(registry, "show", FOREIGN)[1]
    assert "By the registry files  yes\nBy hand                no by staff\nWhat counts            no\n" in said
    assert "shown: vat_registered" in said


# --- whose decision it is ----------------------------------------------------------------------------------------

DECISIONS = "SELECT handle, decided_by, decision FROM registry.classification ORDER BY handle, decided_by"


async def test_users_decide_towards_withholding(owner: Any) -> None:
    """A user of an account never decides that it is none, and so shows nothing: that is staff's, who see documentation."""
    await add_user(owner, "ADM", group=Group.ADMINISTRATION)
    await decide(owner, Decision.YES)
    before = await state(owner)
    with pytest.raises(AccessError, match=r"\(staff_alone\)$"):
        await decide(owner, Decision.NO, who="user:ADM")
    with pytest.raises(AccessError, match=r"\(not_theirs\)$"):
        await decide(owner, Decision.WITHDRAW, who="user:ADM")
    assert await state(owner) == before
    await decide(owner, Decision.NO)
    await decide(owner, Decision.YES, who="user:ADM")
    assert await owner.fetch(DECISIONS) == [(FOREIGN, ACCOUNT, "yes"), (FOREIGN, "staff", "no")]


async def test_accounts_take_back_their_own(owner: Any) -> None:
    """An account takes back what its users decided, any of them, and neither another account's nor staff's."""
    for handle, account in (("ADM", ACCOUNT), ("PORT", ACCOUNT), ("ADM-3", THIRD)):
        await add_user(owner, handle, account=account, group=Group.PORTFOLIO_MANAGEMENT)
    await owner.execute(
        "INSERT INTO portal.taken_over_role (account, role, object) VALUES ($1, 'proxy', 'domain:q-beta-to.dk')", THIRD
    )
    await decide(owner, Decision.YES, who="user:ADM")
    with pytest.raises(AccessError, match=r"\(not_theirs\)$"):
        await decide(owner, Decision.WITHDRAW, who="user:ADM-3")
    await decide(owner, Decision.YES, who="user:ADM-3")
    await decide(owner, Decision.YES)
    await decide(owner, Decision.WITHDRAW, who="user:PORT")
    assert await owner.fetch(DECISIONS) == [(FOREIGN, THIRD, "yes"), (FOREIGN, "staff", "yes")]
    await decide(owner, Decision.NO)
    assert await owner.fetch(DECISIONS) == [(FOREIGN, "staff", "no")]
    await decide(owner, Decision.YES, who="user:ADM-3")
    await decide(owner, Decision.WITHDRAW)
    assert await owner.fetch(DECISIONS) == []


# --- what is refused ---------------------------------------------------------------------------------------------


async def test_danish(registry: Database, owner: Any) -> None:
    """Of a Danish registrant CVR decides: neither answer is taken, and nothing is changed."""
    before = await state(owner)
    said = f"whoisd: {DANISH}: is Danish: CVR decides, and nobody by hand\n"
    assert classified(registry, DANISH, "yes") == classified(registry, DANISH, "no") == (1, "", said)
    assert await state(owner) == before


async def test_danish_since(registry: Database, owner: Any) -> None:
    """Of one who has become Danish since it was classified nothing can be decided, but the decision can be withdrawn."""
    await decide(owner, Decision.YES)
    await owner.execute(
        "UPDATE registry.registrant SET country = 'DK', sole_proprietorship = false WHERE handle = $1", FOREIGN
    )
    withdraw = "`--sole-proprietorship withdraw` takes back what was decided before"
    with pytest.raises(RegistrantError) as refused:
        await decide(owner)
    assert str(refused.value) == f"{FOREIGN}: is Danish: CVR decides, and nobody by hand; {withdraw}"
    assert classified(registry, FOREIGN, "withdraw")[1].splitlines()[:2] == [
        f"{FOREIGN}: sole proprietorship by hand: yes -> undecided; what counts: yes -> no",
        "The email: withheld (contradictory) -> withheld (not_locked_to_cvr)",
    ]


async def test_nothing_to_withdraw(owner: Any) -> None:
    """Where nobody has decided by hand there is nothing to withdraw."""
    before = await state(owner)
    for handle in (FOREIGN, DANISH, PROTECTED):
        with pytest.raises(RegistrantError) as refused:
            await decide(owner, Decision.WITHDRAW, handle=handle)
        assert str(refused.value) == f"{handle}: nobody has decided by hand, so that there is nothing to withdraw"
    assert await state(owner) == before


@pytest.mark.parametrize("country", ["SE", "DK"])
async def test_protected(registry: Database, owner: Any, country: str) -> None:
    """Of one under name and address protection nothing can be decided, and the refusal does not tell the country."""
    await owner.execute("UPDATE registry.registrant SET country = $2 WHERE handle = $1", PROTECTED, country)
    before = await state(owner)
    with pytest.raises(RegistrantError) as refused:
        await decide(owner, handle=PROTECTED)
    assert str(refused.value) == (
        f"{PROTECTED}: is under name and address protection: nothing of theirs is shown, and nothing to be decided"
    )
    assert await state(owner) == before
    await owner.execute("INSERT INTO registry.classification VALUES ($1, 'staff', 'yes')", PROTECTED)
    withdrawn = (
        f"{PROTECTED}: sole proprietorship by hand: yes -> undecided; what counts: yes -> no\n"
        "The email: withheld (address_protection) -> withheld (address_protection)\n"
        "The registrant has name and address protection: every field is withheld.\n"
    )
    assert classified(registry, PROTECTED, "withdraw") == (0, withdrawn, "")


async def test_no_such_registrant(registry: Database) -> None:
    """A handle that no registrant has is named, with exit status 1."""
    said = "whoisd: NOBODY: there is no such registrant\n"
    assert ran(registry, "show", "nobody") == classified(registry, "NOBODY", "no") == (1, "", said)


async def test_longest_evidence(registry: Database, owner: Any) -> None:
    """Evidence of 1000 characters, of any script, is kept whole."""
    evidence = "æ中" * 500
    assert classified(registry, FOREIGN, "no", evidence=evidence)[0] == 0
    assert [entry["evidence"] for entry in await entries(owner)] == [evidence]


LINE = "must be one line, not blank, of at most 1000 characters, none of them a control character"
WHO = "must be staff:NAME, or the handle of a user of the registrar portal"
HANDLE = "must be upper-case letters and digits, in parts joined by hyphens, at most 32 characters"


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        *(
            ("--evidence", value, f"{LINE}; say which document was seen, and where it is kept")
            for value in ("", "  ", "two\nlines", "bell\a", "\x85", "turned \u202e around", "x" * 1001, "\udcff")
        ),
        *(("--by", value, WHO) for value in ("anna@mail", "staff:", "staff:An na", "boss:ANNA", "", f"staff:{'x' * 33}")),
        ("--sole-proprietorship", "maybe", "'maybe' is not one of 'yes', 'no', 'withdraw'."),
        *(("[HANDLE]", value, HANDLE) for value in ("a b", "X" * 33, "mail@beta.example")),
    ],
)
def test_wrong_command_line(option: str, value: str, said: str) -> None:
    """What is no handle, no name, no decision and no evidence is a wrong command line, which says what to give."""
    given = {"--sole-proprietorship": "no", "--evidence": EVIDENCE, "--by": "staff:anna", "[HANDLE]": FOREIGN} | {
        option: value
    }
    handle = given.pop("[HANDLE]")
    done = CliRunner().invoke(registrant_commands, ["classify", handle, *chain(*given.items())])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.endswith(f"Error: Invalid value for '{option}': {said}\n")


@pytest.mark.parametrize("missing", ["--sole-proprietorship", "--evidence", "--by"])
def test_nothing_is_taken_for_granted(missing: str) -> None:
    """Without a decision, its evidence or who makes it nothing is decided."""
    given = {"--sole-proprietorship": "no", "--evidence": EVIDENCE, "--by": "staff:anna"}
    del given[missing]
    done = CliRunner().invoke(registrant_commands, ["classify", FOREIGN, *chain(*given.items())])
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"Error: Missing option '{missing}'" in done.stderr


def test_who_is_decided_on_is_said() -> None:
    """Without a handle nothing is decided."""
    given = ["--sole-proprietorship", "no", "--evidence", EVIDENCE, "--by", "staff:anna"]
    done = CliRunner().invoke(registrant_commands, ["classify", *given])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.endswith("Error: Missing argument '[HANDLE]'.\n")


# --- all of it or nothing ----------------------------------------------------------------------------------------


async def test_no_change_without_its_row(registry: Database, owner: Any) -> None:
    """Where the row for the audit trail is refused, the change is not made either."""
    await refuse_audit(registry, "command <> 'registrant classify'")
    before = await state(owner)
    said = "whoisd: the database refuses: CheckViolationError: 23514\n"
    assert classified(registry, FOREIGN, "no") == (1, "", said)
    assert await state(owner) == before


async def test_no_row_without_its_change(registry: Database, owner: Any) -> None:
    """Where the change is refused at the very end, there is no row for it either."""
    await owner.execute("""
        CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE check_violation; END';
        CREATE CONSTRAINT TRIGGER of_the_test AFTER INSERT ON registry.classification DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION public.refuse()""")
    before = await state(owner)
    assert classified(registry, FOREIGN, "no")[0] == 1
    assert await state(owner) == before


async def test_does_not_wait_for_a_load(registry: Database, owner: Any) -> None:
    """A load that is running, or has changed domains of the registrant, holds no classification up."""
    async with connected(registry.owner) as loading, loading.transaction():
        await lock_registry(loading)
        await loading.execute(
            "INSERT INTO registry.domain (name, status, registered, expires, period_years, registrant)"
            " VALUES ('q-ny.dk', 'reserved', '2020-01-01', '2030-01-01', 1, $1)",
            FOREIGN,
        )
        async with asyncio.timeout(10):
            await decide(owner)
    assert len(await entries(owner)) == 1


async def test_waits_for_who_is_changing_the_registrant(registry: Database, owner: Any) -> None:
    """What another is changing of the registrant is waited for, and then decided on as it is by then."""
    async with connected(registry.owner) as loading:
        async with loading.transaction():
            await loading.execute("UPDATE registry.registrant SET country = 'DK', sole_proprietorship = false")
            deciding = asyncio.create_task(decide(owner))
            await asyncio.sleep(0.3)
            assert not deciding.done()
        with pytest.raises(RegistrantError, match="is Danish"):
            await deciding
        assert await entries(loading) == []


async def test_does_not_wait_for_ever(registry: Database, owner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it takes too long, the command ends with what to do, and nothing is changed."""
    monkeypatch.setattr(classification, "LOCK_TIMEOUT", 0.1)
    async with connected(registry.owner) as loading, loading.transaction():
        await loading.execute("UPDATE registry.registrant SET phone = NULL")
        with pytest.raises(RegistrantError) as refused:
            async with asyncio.timeout(10):
                await decide(owner)
    assert str(refused.value) == (
        f"{FOREIGN}: something else, such as a load, has been changing this registrant for 0.1 seconds;"
        " nothing was changed, try again when it is done"
    )
    assert await entries(owner) == []


# --- show --------------------------------------------------------------------------------------------------------

STANDING = """
Sole proprietorship

By the registry files  yes
By hand                {by_hand}
What counts            {counts}
"""
DOMAINS = """
Domains

Status                   Number
Active                   1
Deactivated              1
Reserved                 0
Offered to waiting list  0

Accounts that manage them

REG-1  Første Registrator A/S
REG-3  =Tredje()
"""


async def test_show(registry: Database, owner: Any) -> None:
    """It says what is shown of the registrant and by which rule, what counts, how many domains there are and whose."""
    await owner.execute(
        "INSERT INTO portal.taken_over_role (account, role, object) VALUES ($1, 'proxy', 'domain:q-beta-to.dk')", THIRD
    )
    said = without_personal_data(await show(owner, FOREIGN, now=NOW, in_force_from=IN_FORCE_FROM, conditions=IN_FORCE))
    assert said.startswith(
        f"Registrant {FOREIGN}\n"
        "As answered at 2026-10-01T12:00:00+00:00 about an active domain of theirs, with --charset=utf-8 --show-handles\n"
        "The rules on emails are in force since 2025-11-03T13:00:00+00:00\n"
    )
    assert "\nwithheld: foreign_sole_proprietorship (rule 20 of 31)\n" in said
    assert said.endswith(STANDING.format(by_hand="undecided", counts="yes") + DOMAINS)
    assert ran(registry, "show", FOREIGN.lower())[1].endswith(said[said.index("\nSole") :])


async def test_data_that_is_too_old(registry: Database, owner: Any) -> None:
    """Where the data is older than `database.max_age`, support and whoever decides is told what the server answers."""
    await owner.execute("INSERT INTO registry.heartbeat (at, branch) VALUES (clock_timestamp() - interval '1 hour', 'x')")
    held_to = settings(registry) | {"WHOISD_DATABASE__MAX_AGE": "300"}
    with Service(registry.reader, {"WHOISD_DATABASE__MAX_AGE": "300"}) as service:
        assert fields(service.ask(QUERY))["Email"] == ["DATA REDACTED"]
    said = run_whoisd("registrant", "show", FOREIGN, settings=held_to).stdout
    assert "withheld: data_too_old (rule 3 of " in said
    order = ("registrant", "classify", FOREIGN, "--sole-proprietorship", "no", "--by", "staff:anna", "--evidence", EVIDENCE)
    said = run_whoisd(*order, settings=held_to).stdout
    assert "The email: withheld (data_too_old) -> withheld (data_too_old)\n" in said
    said = run_whoisd("registrant", "show", FOREIGN, settings=settings(registry)).stdout
    assert "shown: vat_registered" in said  # nobody holds the server to an age


async def test_show_history(owner: Any) -> None:
    """Every decision by hand is told, with when, who, what and on which evidence; control characters of it are replaced.

    Nothing else is: neither that roles on the registrant were taken over nor that a load removed them.
    """
    await add_user(owner, "ADM", group=Group.ADMINISTRATION)
    await decide(owner, Decision.NO)
    await decide(owner, Decision.YES, who="user:ADM")
    await decide(owner, Decision.WITHDRAW)
    other = "INSERT INTO audit.entry (who, command, object, account) VALUES ('x', $1, $2, 'x')"
    await owner.execute(other, "registrant classify", f"registrant:{DANISH}")
    await owner.execute(other, "portal take-over", f"registrant:{FOREIGN}")
    await owner.execute(
        "INSERT INTO audit.entry (who, command, object, before, account) VALUES"
        " ('account:x', 'load', $1, '{\"account\": \"REG-1\", \"roles\": [\"proxy\"]}', 'x')",
        f"registrant:{FOREIGN}",
    )
    await owner.execute(
        "INSERT INTO audit.entry (who, command, object, evidence, before, after, account) VALUES"
        " ('staff:anna', 'registrant classify', $1, E'a\\nb', '{}', '{}', 'x')",
        f"registrant:{FOREIGN}",
    )
    said = without_personal_data(await show(owner, FOREIGN, now=NOW, in_force_from=IN_FORCE_FROM, conditions=IN_FORCE))
    head, *lines = said[said.index("When ") : said.index("\nDomains")].splitlines()
    assert head.split() == ["When", "Who", "By", "hand", "Evidence"]
    assert [line.partition(" UTC  ")[2] for line in lines] == [
        f"staff:anna  undecided -> no         {EVIDENCE}",
        f"user:ADM    no -> yes               {EVIDENCE}",
        f"staff:anna  yes -> undecided        {EVIDENCE}",
        "staff:anna  undecided -> undecided  a?b",
    ]


async def test_show_of_one_who_became_danish(owner: Any) -> None:
    """A decision by hand on one who is Danish by now is told to be of no use, with what takes it back."""
    await decide(owner, Decision.YES)
    await owner.execute(
        "UPDATE registry.registrant SET country = 'DK', sole_proprietorship = false WHERE handle = $1", FOREIGN
    )
    said = without_personal_data(await show(owner, FOREIGN, now=NOW, in_force_from=IN_FORCE_FROM, conditions=IN_FORCE))
    assert "CVR decides: `registrant classify --sole-proprietorship withdraw` takes the rest back.\n" in said
    assert "\nwithheld: contradictory" in said


async def test_show_of_one_under_protection(registry: Database, owner: Any) -> None:
    """Of one under name and address protection that is told, and neither a fact, nor a decision, nor a domain, nor whose."""
    await owner.execute("INSERT INTO registry.classification VALUES ($1, 'staff', 'yes')", PROTECTED)
    status, said, _ = ran(registry, "show", PROTECTED)
    assert status == 0
    assert said.endswith("Name and address protection  yes\n\nNo other fact decides, and none is told.\n")
    for telling in ("Domains", ACCOUNT, "Registrator", "Sole proprietorship", "abroad", "Danish", "VAT"):
        assert telling not in said


async def test_show_of_one_without_a_domain(owner: Any) -> None:
    """A registrant of no domain is nobody's."""
    await owner.execute("DELETE FROM registry.domain WHERE registrant = $1", FOREIGN)
    said = await show(owner, FOREIGN, now=NOW, in_force_from=IN_FORCE_FROM, conditions=IN_FORCE)
    assert said.endswith("\nAccounts that manage them\n\nnone\n")


async def test_show_is_of_one_moment(owner: Any) -> None:
    """Before the rules are in force, `show` says so, as `explain` does."""
    said = await show(owner, FOREIGN, now=IN_FORCE_FROM.replace(year=2024), in_force_from=IN_FORCE_FROM, conditions=NOT_YET)
    assert "\nwithheld: not_in_force" in said
