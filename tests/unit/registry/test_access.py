"""The registrar portal's groups: what each gives access to, and which of the former roles leads to which."""

from collections.abc import Sequence
from itertools import chain, combinations, product

import pytest

from whoisd.registry.access import (
    ACCESS,
    GROUP_NAMES,
    GROUP_OF,
    MANAGING_ROLES,
    SENTENCES,
    Denial,
    Group,
    Operation,
    Role,
    User,
    denial,
    group_of,
    refuse,
)

OWN, OTHER = "REG-1", "REG-2"

# Written out here once more, as the registry publishes it, so that a slip in the product's own table is seen.
PUBLISHED = {
    (Group.ADMINISTRATION, Operation.REGISTRAR_ACCOUNT): True,
    (Group.ADMINISTRATION, Operation.PORTFOLIO): True,
    (Group.ADMINISTRATION, Operation.ACCOUNTING): True,
    (Group.PORTFOLIO_MANAGEMENT, Operation.REGISTRAR_ACCOUNT): False,
    (Group.PORTFOLIO_MANAGEMENT, Operation.PORTFOLIO): True,
    (Group.PORTFOLIO_MANAGEMENT, Operation.ACCOUNTING): True,
    (Group.ACCOUNTING, Operation.REGISTRAR_ACCOUNT): False,
    (Group.ACCOUNTING, Operation.PORTFOLIO): False,
    (Group.ACCOUNTING, Operation.ACCOUNTING): True,
    (None, Operation.REGISTRAR_ACCOUNT): False,
    (None, Operation.PORTFOLIO): False,
    (None, Operation.ACCOUNTING): False,
}
PORTFOLIO_ROLES = {Role.REGISTRAR, Role.REGISTRANT, Role.PROXY, Role.NAME_SERVER_MANAGEMENT}
COMBINATIONS = [*chain.from_iterable(combinations(Role, number) for number in range(len(Role) + 1))]


def user(group: Group | None, *, linked: bool = False) -> User:
    return User("ANNA-1", account=OWN, linked=linked, group=group)


# --- who may -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "operation", "account", "linked"), [*product([*Group, None], Operation, [OWN, OTHER], [False, True])]
)
def test_access(group: Group | None, operation: Operation, account: str, *, linked: bool) -> None:
    """A user may do what the group includes, at the account that is theirs; on objects, only one who is not linked."""
    may = PUBLISHED[group, operation] and account == OWN and not (linked and operation is Operation.PORTFOLIO)
    assert (denial(user(group, linked=linked), operation, [account]) is None) is may


@pytest.mark.parametrize(
    ("group", "accounts", "linked", "expected"),
    [
        (Group.ADMINISTRATION, [OWN], True, Denial.LINKED_USER),
        (None, [OTHER], True, Denial.LINKED_USER),
        (Group.ADMINISTRATION, [OTHER], False, Denial.OTHER_ACCOUNT),
        (Group.ADMINISTRATION, [], False, Denial.OTHER_ACCOUNT),
        (Group.ACCOUNTING, [OTHER], False, Denial.OTHER_ACCOUNT),
        (None, [OTHER], False, Denial.OTHER_ACCOUNT),
        (None, [OWN], False, Denial.NO_GROUP),
        (Group.ACCOUNTING, [OWN, OTHER], False, Denial.GROUP),
        (Group.PORTFOLIO_MANAGEMENT, [OTHER, OWN], False, None),
    ],
)
def test_reason(group: Group | None, accounts: Sequence[str], expected: Denial | None, *, linked: bool) -> None:
    """The reason is first what no other group would change, then what a conversion would, then the group."""
    assert denial(user(group, linked=linked), Operation.PORTFOLIO, accounts) is expected


def test_a_part_of_an_account_is_not_the_account() -> None:
    """An account is known by its whole handle: neither a part of it nor one that goes on is the same."""
    assert denial(user(Group.ADMINISTRATION), Operation.PORTFOLIO, [f"{OWN}0", "REG", "1"]) is Denial.OTHER_ACCOUNT


def test_every_denial_has_its_sentence() -> None:
    """Every reason has a sentence, no two the same; the error names who, what, the sentence and the reason."""
    assert {*SENTENCES} == {*Denial}
    assert len({*SENTENCES.values()}) == len(Denial)
    for why in Denial:
        assert str(refuse("user:ANNA-1", "classify BETA-FI", why)) == (
            f"user:ANNA-1 may not classify BETA-FI: {SENTENCES[why]} ({why})"
        )


def test_stable_words() -> None:
    """The words for reasons, groups and roles are quoted by messages and stored: they stay as they are."""
    assert [*Denial] == [
        *("unknown_staff", "unknown_user", "linked_user", "other_account", "no_group", "group", "staff_alone", "not_theirs")
    ]
    assert [*Group] == ["administration", "portfolio_management", "accounting"]
    assert [*GROUP_NAMES.values()] == ["Administration", "Portfolio management", "Accounting"]
    assert {*Role} == {"administrator", "registrar", "registrant", "proxy", "billing_contact", "name_server_management"}


# --- from roles to groups ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("roles", COMBINATIONS)
def test_group_of_the_highest_access(roles: Sequence[Role]) -> None:
    """Whatever roles a user had, in whatever order, the group is that of the one with the highest access; none for none."""
    if Role.ADMINISTRATOR in roles:
        expected: Group | None = Group.ADMINISTRATION
    elif PORTFOLIO_ROLES & {*roles}:
        expected = Group.PORTFOLIO_MANAGEMENT
    else:
        expected = Group.ACCOUNTING if roles else None
    assert group_of(roles) is group_of([*reversed(roles)]) is expected


def test_every_role_leads_to_a_group_with_its_access() -> None:
    """Each role has a group, and each group its access, of which the first has all and each has all of the next."""
    assert {*GROUP_OF} == {*Role}
    assert {*ACCESS} == {*GROUP_NAMES} == {*Group}
    assert [len(ACCESS[group]) for group in Group] == [3, 2, 1]
    assert ACCESS[Group.ADMINISTRATION] > ACCESS[Group.PORTFOLIO_MANAGEMENT] > ACCESS[Group.ACCOUNTING]


def test_a_billing_contact_manages_nothing() -> None:
    """A REG handle manages an object through every role that there can be on one but the billing contact's."""
    assert {*MANAGING_ROLES} == PORTFOLIO_ROLES | {Role.ADMINISTRATOR}
