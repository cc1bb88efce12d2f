"""Who may do what at the registrar portal: six former roles, three groups, three operations, as tables.

Knows no database. A user has a group at one account, and what they may do there is in `ACCESS`; an object is managed by
accounts, through their REG handles. A linked user, who has a handle of their own, manages no object whatever the group.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from whoisd.errors import AccessError


class Role(StrEnum):
    """What a user had before there were groups: on an account or, but for the administrator, on an object."""

    ADMINISTRATOR = "administrator"
    REGISTRAR = "registrar"
    REGISTRANT = "registrant"
    PROXY = "proxy"
    BILLING_CONTACT = "billing_contact"
    NAME_SERVER_MANAGEMENT = "name_server_management"


class Group(StrEnum):
    """A privilege group; the highest access comes first."""

    ADMINISTRATION = "administration"
    PORTFOLIO_MANAGEMENT = "portfolio_management"
    ACCOUNTING = "accounting"


class Operation(StrEnum):
    """What a group gives access to. To classify a registrant belongs to the portfolio."""

    REGISTRAR_ACCOUNT = "registrar_account"
    PORTFOLIO = "portfolio"
    ACCOUNTING = "accounting"


GROUP_OF: Final[Mapping[Role, Group]] = {
    Role.ADMINISTRATOR: Group.ADMINISTRATION,
    Role.REGISTRAR: Group.PORTFOLIO_MANAGEMENT,
    Role.REGISTRANT: Group.PORTFOLIO_MANAGEMENT,
    Role.PROXY: Group.PORTFOLIO_MANAGEMENT,
    Role.NAME_SERVER_MANAGEMENT: Group.PORTFOLIO_MANAGEMENT,
    Role.BILLING_CONTACT: Group.ACCOUNTING,
}

ACCESS: Final[Mapping[Group, frozenset[Operation]]] = {
    Group.ADMINISTRATION: frozenset({Operation.REGISTRAR_ACCOUNT, Operation.PORTFOLIO, Operation.ACCOUNTING}),
    Group.PORTFOLIO_MANAGEMENT: frozenset({Operation.PORTFOLIO, Operation.ACCOUNTING}),
    Group.ACCOUNTING: frozenset({Operation.ACCOUNTING}),
}

# The operations on objects, which nobody has through a link.
OF_OBJECTS: Final = frozenset({Operation.PORTFOLIO})

# The roles through which a REG handle manages the object that it holds them on.
MANAGING_ROLES: Final = tuple(role for role in Role if Operation.PORTFOLIO in ACCESS[GROUP_OF[role]])

GROUP_NAMES: Final[Mapping[Group, str]] = {
    Group.ADMINISTRATION: "Administration",
    Group.PORTFOLIO_MANAGEMENT: "Portfolio management",
    Group.ACCOUNTING: "Accounting",
}


class Denial(StrEnum):
    """Why somebody may not do what they ask for. Messages quote these words: they are never changed."""

    UNKNOWN_STAFF = "unknown_staff"
    UNKNOWN_USER = "unknown_user"
    LINKED_USER = "linked_user"
    OTHER_ACCOUNT = "other_account"
    NO_GROUP = "no_group"
    GROUP = "group"
    STAFF_ALONE = "staff_alone"
    NOT_THEIRS = "not_theirs"


SENTENCES: Final[Mapping[Denial, str]] = {
    Denial.UNKNOWN_STAFF: "the registry has no staff of this name",
    Denial.UNKNOWN_USER: "the registrar portal has no user of this handle",
    Denial.LINKED_USER: "they are a linked user, and linked users manage no object; the users of its account do",
    Denial.OTHER_ACCOUNT: "their account does not manage it",
    Denial.NO_GROUP: "they are in no group; `whoisd portal convert` moves each user with a role to one",
    Denial.GROUP: "their group does not include it",
    Denial.STAFF_ALONE: "that it is none only the registry's staff decide, who have seen documentation",
    Denial.NOT_THEIRS: "their account has not decided on it, and what others decided they cannot take back",
}


@dataclass(frozen=True, slots=True)
class User:
    """A user of a registrar's account at the portal; `group` is None before the conversion, and for one without roles."""

    handle: str
    account: str
    linked: bool
    group: Group | None


def group_of(roles: Iterable[Role]) -> Group | None:
    """Return the group that matches the highest access among the roles; None where there is no role."""
    groups = {GROUP_OF[role] for role in roles}
    return next((group for group in Group if group in groups), None)


def denial(user: User, operation: Operation, accounts: Collection[str]) -> Denial | None:
    """Return why a user may not do it to what these accounts manage, or None where they may.

    For the registrar account and its accounting `accounts` is that account. What no other group would change comes first.
    """
    if user.linked and operation in OF_OBJECTS:
        return Denial.LINKED_USER
    if user.account not in accounts:
        return Denial.OTHER_ACCOUNT
    if user.group is None:
        return Denial.NO_GROUP
    return None if operation in ACCESS[user.group] else Denial.GROUP


def refuse(who: str, what: str, why: Denial) -> AccessError:
    """Return the error for a denial: `who` asked for `what`, which is a verb and its object."""
    return AccessError(f"{who} may not {what}: {SENTENCES[why]} ({why})")
