"""`whoisd portal`: from roles to groups, who loses what by that, and the roles that REG handles take over."""

import asyncio
from collections.abc import Sequence
from functools import partial
from itertools import chain, combinations, product
from typing import Any

import pytest
from portal_data import (
    ACCOUNT,
    DANISH,
    FOREIGN,
    OTHER,
    THIRD,
    add_links,
    add_user,
    connected,
    entries,
    link,
    ran_without_personal_data,
    refuse_audit,
    state,
)
from support import Database

from whoisd.database.audit import this_account
from whoisd.database.migrations import lock_registry
from whoisd.errors import PortalError
from whoisd.registry.access import SENTENCES, Denial, Group, Operation, Role, User, denial
from whoisd.registry.portal import convert, managers_of, may, objects_named, take_over, user_of

NOTHING = "There is nothing to convert: every user who has a role has a group.\n"
PORTFOLIO_ROLES = {"registrar", "registrant", "proxy", "name_server_management"}

ran = partial(ran_without_personal_data, "portal")


async def add_users(owner: Any) -> None:
    """One user for each group, one linked, one without a role, and one who has a group already."""
    await add_user(owner, "ADM", "billing_contact", "administrator")
    await add_user(owner, "BILL", "billing_contact")
    await add_user(owner, "LINKED", "proxy", "billing_contact", linked=True)
    await add_user(owner, "NEW")
    await add_user(owner, "DONE", "administrator", account=OTHER, group=Group.ACCOUNTING)


async def groups(owner: Any) -> dict[str, str | None]:
    return dict(await owner.fetch("SELECT handle, access_group FROM portal.portal_user"))


# --- convert -----------------------------------------------------------------------------------------------------


async def test_every_combination_of_roles(owner: Any) -> None:
    """Whatever roles a user has, linked or not, the group is that of the highest access among them; none for none."""
    expected: dict[str, str | None] = {}
    for number, roles in enumerate(chain.from_iterable(combinations(Role, n) for n in range(len(Role) + 1))):
        portfolio = "portfolio_management" if PORTFOLIO_ROLES & {*roles} else "accounting" if roles else None
        expected[f"USER-{number}"] = "administration" if "administrator" in roles else portfolio
        await add_user(owner, f"USER-{number}", *roles, linked=number % 2 == 0)
    await convert(owner, dry_run=False)
    assert await groups(owner) == expected


async def test_convert(registry: Database, owner: Any) -> None:
    """It moves who has roles and no group, says how many to which group, and names who has no role."""
    await add_users(owner)
    said = (
        "Administration: 1 user moved\nPortfolio management: 1 user moved\nAccounting: 1 user moved\n"
        "1 user has no role, and no group: NEW\n"
    )
    assert ran(registry, "convert") == (0, said, "")
    moved = {"ADM": "administration", "BILL": "accounting", "LINKED": "portfolio_management"}
    assert await groups(owner) == {**moved, "NEW": None, "DONE": "accounting"}


async def test_convert_is_audited(owner: Any) -> None:
    """Each user who is moved has a row of the audit trail: roles and no group before, the group after."""
    await add_users(owner)
    await convert(owner, dry_run=False)
    same = {"who": this_account(), "command": "portal convert", "evidence": None}
    before = {
        "ADM": ["billing_contact", "administrator"],
        "BILL": ["billing_contact"],
        "LINKED": ["proxy", "billing_contact"],
    }
    assert await entries(owner) == [
        {
            **same,
            "object": f"user:{handle}",
            "before": {"roles": roles, "access_group": None},
            "after": {"access_group": (await groups(owner))[handle]},
        }
        for handle, roles in before.items()
    ]


async def test_convert_twice(registry: Database, owner: Any) -> None:
    """The second time there is nothing to convert: no row is written, and none is added to the audit trail."""
    await add_users(owner)
    assert ran(registry, "convert")[0] == 0
    before = await state(owner)
    assert ran(registry, "convert") == (0, f"{NOTHING}1 user has no role, and no group: NEW\n", "")
    assert ran(registry, "convert", "--dry-run")[1] == f"{NOTHING}1 user has no role, and no group: NEW\n"
    assert await state(owner) == before


async def test_two_conversions_at_once(registry: Database, owner: Any) -> None:
    """Of two conversions at once one moves all users, and the other none."""
    await add_users(owner)
    async with connected(registry.owner) as one, connected(registry.owner) as other:

        async def converted(connection: Any) -> int:
            done = await convert(connection, dry_run=False)
            await connection.close()  # its lock is held until then
            return sum(done.moved.values())

        assert sorted(await asyncio.gather(converted(one), converted(other))) == [0, 3]
    assert len(await entries(owner)) == 3


async def test_convert_nobody(registry: Database) -> None:
    """Where there are no users there is nothing to convert."""
    assert ran(registry, "convert") == (0, NOTHING, "")


async def test_dry_run(registry: Database, owner: Any) -> None:
    """A dry run says what would be moved, changes nothing, and does not wait for a load."""
    await add_users(owner)
    await add_user(owner, "NEW-2")
    before = await state(owner)
    async with connected(registry.owner) as loading:
        await lock_registry(loading)
        said = (
            "Administration: 1 user would be moved\nPortfolio management: 1 user would be moved\n"
            "Accounting: 1 user would be moved\n2 users have no role, and no group: NEW, NEW-2\n"
        )
        assert ran(registry, "convert", "--dry-run") == (0, said, "")
    assert await state(owner) == before


async def test_convert_waits_for_a_load(registry: Database, owner: Any) -> None:
    """A load that is running is waited for: it may be changing the users."""
    await add_users(owner)
    async with connected(registry.owner) as loading:
        await lock_registry(loading)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await convert(owner, dry_run=False)
    assert await entries(owner) == []


async def test_all_users_or_none(registry: Database, owner: Any) -> None:
    """Where one user's row of the audit trail is refused, nobody is moved, and no row is left of the others'."""
    await add_users(owner)
    await refuse_audit(registry, "object <> 'user:LINKED'")
    before = await state(owner)
    assert ran(registry, "convert") == (1, "", "whoisd: the database refuses: CheckViolationError: 23514\n")
    assert await state(owner) == before


async def test_linked_users_manage_nothing_afterwards(owner: Any) -> None:
    """After the conversion a linked user manages no object, not even one taken over; a user of the account then does."""
    await add_users(owner)
    await add_user(owner, "PORT", "proxy", account=THIRD)
    await add_user(owner, "LINKED-3", "registrant", account=THIRD, linked=True)
    await link(owner, "LINKED-3", "domain:q-beta-to.dk", "registrant")
    await convert(owner, dry_run=False)

    async def why_not(handle: str) -> Denial | None:
        user = await user_of(owner, handle)
        assert user
        return denial(user, Operation.PORTFOLIO, await managers_of(owner, FOREIGN))

    assert await why_not("LINKED-3") is Denial.LINKED_USER
    assert await why_not("PORT") is Denial.OTHER_ACCOUNT
    await take_over(owner, THIRD, "q-beta-to.dk")
    assert await why_not("LINKED-3") is Denial.LINKED_USER
    assert await why_not("PORT") is None


async def test_user_of(owner: Any) -> None:
    """A user is read as they are, with a group or without."""
    await add_users(owner)
    assert await user_of(owner, "DONE") == User("DONE", account=OTHER, linked=False, group=Group.ACCOUNTING)
    assert await user_of(owner, "LINKED") == User("LINKED", account=ACCOUNT, linked=True, group=None)
    assert await user_of(owner, "NOBODY") is None


# --- take-over ---------------------------------------------------------------------------------------------------


async def test_take_over(registry: Database, owner: Any) -> None:
    """The REG handle gets every role that linked users of its account hold on the object; theirs are kept, as history."""
    await add_links(owner)
    kept = await owner.fetch("SELECT * FROM portal.object_role ORDER BY 1, 2, 3")
    assert ran(registry, "take-over", ACCOUNT, "domain:q-beta.dk") == (
        0,
        "domain:q-beta.dk: REG-1 now holds: billing_contact, proxy\n",
        "",
    )
    held = await owner.fetch("SELECT account, object, role FROM portal.taken_over_role ORDER BY role")
    assert [*map(tuple, held)] == [
        (ACCOUNT, "domain:q-beta.dk", "billing_contact"),
        (ACCOUNT, "domain:q-beta.dk", "proxy"),
    ]
    assert await owner.fetch("SELECT * FROM portal.object_role ORDER BY 1, 2, 3") == kept
    assert "domain:q-beta.dk" not in ran(registry, "affected")[1]


async def test_take_over_twice(registry: Database, owner: Any) -> None:
    """A second time it says what is held already, and changes nothing; a role that came since is added, and audited."""
    await add_links(owner)
    ran(registry, "take-over", OTHER, "domain:xn--q-r-zla.dk")
    before = await state(owner)
    said = "domain:xn--q-r-zla.dk: REG-2 holds its roles already: name_server_management\n"
    assert ran(registry, "take-over", OTHER, "domain:xn--q-r-zla.dk") == (0, said, "")
    assert await state(owner) == before
    await link(owner, "LINK-3", "domain:xn--q-r-zla.dk", "billing_contact")
    assert ran(registry, "take-over", OTHER, "domain:xn--q-r-zla.dk")[0] == 0
    same = {"who": this_account(), "command": "portal take-over", "object": "domain:xn--q-r-zla.dk", "evidence": None}
    held = [[], ["name_server_management"], ["billing_contact", "name_server_management"]]
    states = [{"account": OTHER, "roles": roles} for roles in held]
    assert await entries(owner) == [
        {**same, "before": states[0], "after": states[1]},
        {**same, "before": states[1], "after": states[2]},
    ]


async def test_two_take_overs_at_once(registry: Database, owner: Any) -> None:
    """Who takes over what another is just taking over waits, and finds it held: there is one row in the audit trail."""
    await add_links(owner)
    async with connected(registry.owner) as other:
        async with owner.transaction():
            await take_over(owner, ACCOUNT, "domain:q-beta.dk")
            waiting = asyncio.create_task(take_over(other, ACCOUNT, "domain:q-beta.dk"))
            await asyncio.sleep(0.3)
            assert not waiting.done()
        assert (await waiting).before == ["billing_contact", "proxy"]
    assert len(await entries(owner)) == 1


async def test_no_take_over_without_its_row(registry: Database, owner: Any) -> None:
    """Where the row for the audit trail is refused, nothing is taken over."""
    await add_links(owner)
    await refuse_audit(registry, "command <> 'portal take-over'")
    before = await state(owner)
    assert ran(registry, "take-over", ACCOUNT, "domain:q-beta.dk")[:2] == (1, "")
    assert await state(owner) == before


NAMES = [
    (OTHER, "domain:q-ær.dk", "domain:xn--q-r-zla.dk"),
    (OTHER, "Q-ÆR.DK.", "domain:xn--q-r-zla.dk"),
    (OTHER, "XN--Q-R-ZLA.dk", "domain:xn--q-r-zla.dk"),
    (ACCOUNT, f"registrant:{FOREIGN.lower()}", f"registrant:{FOREIGN}"),
    (ACCOUNT, FOREIGN.lower(), f"registrant:{FOREIGN}"),
    (ACCOUNT, "q-beta.dk", "domain:q-beta.dk"),
    (THIRD, "host:NS1.q-beta.dk", "host:ns1.q-beta.dk"),
    (THIRD, "ns1.Q-beta.dk.", "host:ns1.q-beta.dk"),
]


async def test_an_object_by_any_of_its_names(owner: Any) -> None:
    """An object is named with its kind or, where one alone can be meant, without; in either form, in any case."""
    await add_links(owner)
    assert [(await take_over(owner, account, text)).object for account, text, _ in NAMES] == [found for *_, found in NAMES]


async def test_a_domain_or_a_host(registry: Database, owner: Any) -> None:
    """A name on which linked users hold roles both as a domain and as a host is refused until its kind is said."""
    await add_links(owner)
    await link(owner, "LINK-2", "host:q-beta.dk", "proxy")
    before = await state(owner)
    said = "whoisd: linked users of REG-1 hold roles on two objects of this name: say domain:q-beta.dk or host:q-beta.dk\n"
    assert ran(registry, "take-over", ACCOUNT, "q-beta.dk") == (1, "", said)
    assert await state(owner) == before
    assert ran(registry, "take-over", ACCOUNT, "host:q-beta.dk")[1] == "host:q-beta.dk: REG-1 now holds: proxy\n"


NO_ROLE = "no linked user of REG-1 holds a role on it; see `whoisd portal affected`"


REFUSED = [
    ("REG-9", "domain:q-beta.dk", "REG-9: there is no registrar account of this handle"),
    (ACCOUNT, "domain:q-dansk.dk", f"domain:q-dansk.dk: {NO_ROLE}"),
    (ACCOUNT, "q-dansk.dk", f"domain:q-dansk.dk: {NO_ROLE}"),
    (ACCOUNT, "domain:xn--q-r-zla.dk", f"domain:xn--q-r-zla.dk: {NO_ROLE}"),
    (ACCOUNT, DANISH, f"registrant:{DANISH}: {NO_ROLE}"),
    (ACCOUNT, "host:ns1.q-beta.dk", f"host:ns1.q-beta.dk: {NO_ROLE}"),
    (ACCOUNT, "ukendt.dk", "domain:ukendt.dk or host:ukendt.dk: there is no such object"),
    (ACCOUNT, "registrant:ukendt", "registrant:UKENDT: there is no such object"),
    (ACCOUNT, "domain:ns1.q-beta.dk", "object: must be one label and .dk"),
    (ACCOUNT, "host:q", "object: must have at least two labels"),
    (ACCOUNT, "q-beta..dk", "object: This is not a domain name, for a label is empty."),
    (ACCOUNT, "zone:q.dk", "object: must be domain:NAME, registrant:HANDLE, host:NAME, or the name or handle alone"),
]


async def test_what_cannot_be_taken_over(registry: Database, owner: Any) -> None:
    """What is no object, or is not there, or has no role of a linked user of that account's, is told; nothing is changed."""
    await add_links(owner)
    before = await state(owner)
    for account, text, said in REFUSED:
        with pytest.raises(PortalError) as refused:
            await take_over(owner, account, text)
        assert str(refused.value) == said
    said = f"whoisd: domain:q-dansk.dk: {NO_ROLE}\n"
    assert ran(registry, "take-over", ACCOUNT.lower(), "domain:q-dansk.dk") == (1, "", said)
    assert await state(owner) == before


@pytest.mark.parametrize(
    ("text", "objects"),
    [
        ("abc-1", ["registrant:ABC-1"]),
        ("x.dk", ["domain:x.dk", "host:x.dk"]),
        ("ns.x.dk", ["host:ns.x.dk"]),
        ("x.example", ["host:x.example"]),
        ("domain:Q-ÆR.dk", ["domain:xn--q-r-zla.dk"]),
        ("host:x.dk", ["host:x.dk"]),
    ],
)
def test_objects_named(text: str, objects: Sequence[str]) -> None:
    """A text names a registrant where it has no dot, and a host or a .dk domain where it has; its kind settles it."""
    assert objects_named(text) == objects


@pytest.mark.parametrize("text", [":", "domain:", "registrant:", "host:", "a:b:c", "DOMAIN:x.dk", "x .dk", "."])
def test_what_names_no_object(text: str) -> None:
    """What is no kind and no name is refused; nothing of what was typed is in the message."""
    with pytest.raises(PortalError, match=r"^object: "):
        objects_named(text)


# --- who may do what ---------------------------------------------------------------------------------------------

ACCESS = {
    Group.ADMINISTRATION: {Operation.REGISTRAR_ACCOUNT, Operation.PORTFOLIO, Operation.ACCOUNTING},
    Group.PORTFOLIO_MANAGEMENT: {Operation.PORTFOLIO, Operation.ACCOUNTING},
    Group.ACCOUNTING: {Operation.ACCOUNTING},
    None: set(),
}


@pytest.mark.usefixtures("registry")
async def test_may_by_group(owner: Any) -> None:
    """A user may do just what their group gives access to, at their own account; a linked user manages no object at all."""
    for group, linked in product(ACCESS, (False, True)):
        await add_user(owner, "SOME", group=group, linked=linked)
        for operation in Operation:
            why = await may(owner, "SOME", operation, None)
            allowed = operation in ACCESS[group] and not (linked and operation is Operation.PORTFOLIO)
            assert (why is None) is allowed, (group, linked, operation)
            assert (
                await may(owner, "SOME", operation, {Operation.PORTFOLIO: "domain:q-beta.dk"}.get(operation, ACCOUNT)) is why
            )
        await owner.execute("DELETE FROM portal.portal_user")


@pytest.mark.parametrize(
    ("operation", "target", "why"),
    [
        (Operation.PORTFOLIO, "q-dansk.dk", None),
        (Operation.PORTFOLIO, f"registrant:{DANISH}", None),  # of whom the account manages one of two domains
        (Operation.PORTFOLIO, "domain:xn--q-r-zla.dk", Denial.OTHER_ACCOUNT),
        (Operation.PORTFOLIO, "q-beta-to.dk", Denial.OTHER_ACCOUNT),  # under registrant management
        (Operation.PORTFOLIO, "host:q-beta.dk", Denial.OTHER_ACCOUNT),
        (Operation.REGISTRAR_ACCOUNT, OTHER, Denial.OTHER_ACCOUNT),
        (Operation.ACCOUNTING, OTHER.lower(), Denial.OTHER_ACCOUNT),
        (Operation.ACCOUNTING, ACCOUNT.lower(), None),
    ],
)
async def test_may_by_object(registry: Database, owner: Any, operation: Operation, target: str, why: Denial | None) -> None:
    """Of what another account manages, and of what nobody manages, a user may do nothing."""
    await add_user(owner, "ADM", group=Group.ADMINISTRATION)
    assert await may(owner, "ADM", operation, target) is why
    said = "yes\n" if why is None else f"no: {SENTENCES[why]} ({why})\n"
    assert ran(registry, "may", "adm", operation, target) == (0 if why is None else 1, said, "")


@pytest.mark.parametrize(("kind", "target"), [("domain", "q-beta-to.dk"), ("host", "q-beta.dk")])
@pytest.mark.parametrize(("role", "why"), [("proxy", None), ("billing_contact", Denial.OTHER_ACCOUNT)])
@pytest.mark.usefixtures("registry")
async def test_may_after_a_take_over(owner: Any, kind: str, target: str, role: str, why: Denial | None) -> None:
    """What the REG handle took over its users manage, but for a billing contact's role; the linked user still may not."""
    await add_user(owner, "PORT", group=Group.PORTFOLIO_MANAGEMENT)
    await add_user(owner, "LINKED", role, linked=True, group=Group.PORTFOLIO_MANAGEMENT)
    await link(owner, "LINKED", f"{kind}:{target}", role)
    assert await may(owner, "PORT", Operation.PORTFOLIO, f"{kind}:{target}") is Denial.OTHER_ACCOUNT
    await take_over(owner, ACCOUNT, f"{kind}:{target}")
    assert await may(owner, "PORT", Operation.PORTFOLIO, f"{kind}:{target}") is why
    assert await may(owner, "LINKED", Operation.PORTFOLIO, f"{kind}:{target}") is Denial.LINKED_USER


TWO = "there are two objects of this name: say domain:q-beta.dk or host:q-beta.dk"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("nobody", "portfolio"), 1, "no: the registrar portal has no user of this handle (unknown_user)\n"),
        (
            ("adm", "portfolio", "q-beta.dk"),
            1,
            "whoisd: there are two objects of this name: say domain:q-beta.dk or host:q-beta.dk\n",
        ),
        (("adm", "portfolio", "q-none.dk"), 1, "whoisd: domain:q-none.dk or host:q-none.dk: there is no such object\n"),
        (("adm", "accounting", "REG-9"), 1, "whoisd: REG-9: there is no registrar account of this handle\n"),
        (("adm", "portfolio", "user:ADM"), 1, None),
        (("adm", "gardening"), 2, None),
        (("a d m", "portfolio"), 2, None),
    ],
)
async def test_may_questions(
    registry: Database, owner: Any, arguments: tuple[str, ...], status: int, said: str | None
) -> None:
    """Whoever is unknown may nothing; a question that cannot be answered says why, and is never a yes."""
    await add_user(owner, "ADM", group=Group.ADMINISTRATION)
    ended = ran(registry, "may", *arguments)
    assert ended[0] == status
    assert "yes" not in ended[1]
    assert said in (None, ended[1] + ended[2])
