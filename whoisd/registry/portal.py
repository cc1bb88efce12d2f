"""The registrar portal in the database: its users and staff, and what the change from roles to groups does.

Knows `access`, where the groups are decided; knows no command line. An object is managed by an account, through its REG
handle: as the registrar of the domain, or by a role that the REG handle took over from linked users.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from whoisd.answers.names import parse_name
from whoisd.answers.notices import FAULTS
from whoisd.database.audit import record, this_account
from whoisd.database.connect import Connection
from whoisd.database.migrations import lock_registry
from whoisd.database.transaction import changing
from whoisd.errors import InvalidName, PortalError
from whoisd.registry.access import MANAGING_ROLES, OF_OBJECTS, Denial, Group, Operation, Role, User, denial, group_of
from whoisd.registry.records import OBJECTS

_AGAIN: Final = "run it again, which changes nothing if it is in"

# --- who there is ------------------------------------------------------------------------------------------------

_MANAGERS: Final = """
    SELECT registrar AS account FROM registry.domain WHERE registrant = $1 AND registrar IS NOT NULL
    UNION
    SELECT held.account
    FROM portal.taken_over_role AS held
    JOIN registry.domain ON domain.name = held.domain
    WHERE domain.registrant = $1 AND held.role = ANY ($2::text[])
        AND coalesce(domain.registrar, held.account) = held.account  -- not of one who has lost the domain to another
    ORDER BY account"""


async def is_staff(connection: Connection, name: str) -> bool:
    """Whether somebody of this name is of the registry's staff."""
    return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM portal.staff WHERE name = $1)", name))


async def user_of(connection: Connection, handle: str) -> User | None:
    """Return the user of this handle, if there is one."""
    row = await connection.fetchrow("SELECT * FROM portal.portal_user WHERE handle = $1", handle)
    if row is None:
        return None
    group = row["access_group"]
    return User(handle, account=row["account"], linked=row["linked"], group=group and Group(group))


async def managers_of(connection: Connection, registrant: str) -> list[str]:
    """Return the accounts that manage a domain of the registrant of this handle."""
    return [row["account"] for row in await connection.fetch(_MANAGERS, registrant, MANAGING_ROLES)]


async def require_account(connection: Connection, account: str) -> None:
    """Raise `PortalError` unless there is a registrar account of this REG handle."""
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM registry.registrar WHERE handle = $1)", account):
        raise PortalError(f"{account}: there is no registrar account of this handle")


# --- who may do what ---------------------------------------------------------------------------------------------

# The accounts that manage an object, by its kind.
_MANAGERS_OF: Final[Mapping[str, str]] = {
    "registrant": _MANAGERS,
    "domain": """
    SELECT registrar AS account FROM registry.domain WHERE name = $1 AND registrar IS NOT NULL
    UNION
    SELECT held.account
    FROM portal.taken_over_role AS held
    JOIN registry.domain ON domain.name = held.domain
    WHERE held.domain = $1 AND held.role = ANY ($2::text[]) AND coalesce(domain.registrar, held.account) = held.account""",
    "host": "SELECT account FROM portal.taken_over_role WHERE host = $1 AND role = ANY ($2::text[])",
}


async def may(connection: Connection, handle: str, operation: Operation, target: str | None) -> Denial | None:
    """Return why the user of this handle may not do it, or None where they may; by the table that guards `classify`.

    `target` is an object, as `objects_named` takes it, for an operation on objects, and the REG handle of an account for
    the others; without it the user's own account is meant, and what it manages. Raises `PortalError` where there is no such
    thing.
    """
    accounts = await _accounts(connection, operation, target) if target else None
    user = await user_of(connection, handle)
    if user is None:
        return Denial.UNKNOWN_USER
    return denial(user, operation, [user.account] if accounts is None else accounts)


async def _accounts(connection: Connection, operation: Operation, target: str) -> list[str]:
    """Return the accounts whose users an operation on the target is for."""
    if operation not in OF_OBJECTS:
        await require_account(connection, target.upper())
        return [target.upper()]
    candidates = objects_named(target)
    found = [candidate for candidate in candidates if await _exists(connection, candidate)]
    if len(found) != 1:
        either = " or ".join(candidates)
        raise PortalError(
            f"there are two objects of this name: say {either}" if found else f"{either}: there is no such object"
        )
    kind, _, name = found[0].partition(":")
    parameters = [name, MANAGING_ROLES]
    return [row["account"] for row in await connection.fetch(_MANAGERS_OF[kind], *parameters)]


async def _exists(connection: Connection, object_: str) -> bool:
    kind, _, name = object_.partition(":")
    return bool(await connection.fetchval(_EXISTS[kind], name))


# --- from roles to groups ----------------------------------------------------------------------------------------

_TO_CONVERT: Final = "SELECT handle, roles FROM portal.portal_user WHERE access_group IS NULL ORDER BY handle"


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a conversion did, or would do: how many users it moves to each group, and who has no role and so stays."""

    moved: Mapping[Group, int]
    staying: Sequence[str]


async def convert(connection: Connection, *, dry_run: bool) -> Conversion:
    """Move each user who has roles and no group to the group that matches the highest access among the roles.

    All of them or none, each with a row in the audit trail; a second time there is none left. A dry run waits for
    nobody and changes nothing.
    """
    if not dry_run:
        await lock_registry(connection)
    async with connection.transaction(readonly=True) if dry_run else changing(connection, _AGAIN):
        rows = await connection.fetch(_TO_CONVERT if dry_run else f"{_TO_CONVERT} FOR UPDATE")
        groups = {row["handle"]: group_of(map(Role, row["roles"])) for row in rows}
        if not dry_run:
            for row in rows:
                if group := groups[row["handle"]]:
                    await _move(connection, row["handle"], row["roles"], group)
    moved = [*groups.values()]
    staying = [handle for handle, group in groups.items() if group is None]
    return Conversion({group: moved.count(group) for group in Group}, staying)


async def _move(connection: Connection, handle: str, roles: list[str], group: Group) -> None:
    await connection.execute("UPDATE portal.portal_user SET access_group = $2 WHERE handle = $1", handle, group)
    await record(
        connection,
        who=this_account(),
        command="portal convert",
        object=f"user:{handle}",
        before={"roles": roles, "access_group": None},
        after={"access_group": group},
    )


# --- taking an object's roles over -------------------------------------------------------------------------------

_HELD_BY_LINKED: Final = """
    SELECT held.object, held.role
    FROM portal.object_role AS held
    JOIN portal.portal_user AS linked_user ON linked_user.handle = held.holder
    WHERE linked_user.linked AND linked_user.account = $1 AND held.object = ANY ($2::text[])
    ORDER BY held.holder, held.object, held.role
    FOR UPDATE OF held"""
_HELD_BY_ACCOUNT: Final = "SELECT role FROM portal.taken_over_role WHERE account = $1 AND object = $2 ORDER BY role"
_TAKE: Final = """
    INSERT INTO portal.taken_over_role (account, object, role) SELECT $1, $2, unnest($3::text[])
    ON CONFLICT DO NOTHING"""
_EXISTS: Final = {
    "domain": "SELECT EXISTS (SELECT FROM registry.domain WHERE name = $1)",
    "host": "SELECT EXISTS (SELECT FROM registry.host WHERE name = $1)",
    "registrant": "SELECT EXISTS (SELECT FROM registry.registrant WHERE handle = $1)",
}

_NORMAL: Final[Mapping[str, Callable[[str], str]]] = {**OBJECTS, "registrant": str.upper}


@dataclass(frozen=True, slots=True)
class TakeOver:
    """The roles on an object that a REG handle holds after a take-over, and those that it had before."""

    object: str
    before: Sequence[str]
    after: Sequence[str]


async def take_over(connection: Connection, account: str, text: str, *, who: str | None = None) -> TakeOver:
    """Give the REG handle of an account the roles that the account's linked users hold on an object.

    `who` is who ordered it, where that is not whoever runs this command.

    Theirs are kept, as history. Where the REG handle has them all already, nothing is changed. Raises `PortalError`;
    `WhoisdError` when the database goes away.
    """
    candidates = objects_named(text)
    await require_account(connection, account)
    async with changing(connection, _AGAIN):
        # Whoever else takes the same roles over waits here, so that the audit trail tells what each of them changed.
        rows = await connection.fetch(_HELD_BY_LINKED, account, candidates)
        held = {row["object"] for row in rows}
        if len(held) != 1:
            raise await _why_not(connection, account, candidates, ambiguous=bool(held))
        found = held.pop()
        before = [row["role"] for row in await connection.fetch(_HELD_BY_ACCOUNT, account, found)]
        after = sorted({row["role"] for row in rows} | {*before})
        if after != before:
            await _take(connection, account, TakeOver(found, before, after), who or this_account())
    return TakeOver(found, before, after)


async def _take(connection: Connection, account: str, change: TakeOver, who: str) -> None:
    await connection.execute(_TAKE, account, change.object, change.after)
    await record(
        connection,
        who=who,
        command="portal take-over",
        object=change.object,
        before={"account": account, "roles": change.before},
        after={"account": account, "roles": change.after},
    )


def objects_named(text: str) -> list[str]:
    """Return the objects that a text may name, each as the database writes it: its kind, a colon and its name.

    A name alone is a registrant's handle where it has no dot; `<label>.dk` may be a domain or a host. Raises `PortalError`.
    """
    kind, colon, name = text.partition(":")
    try:
        if not colon:
            kinds, name = _kinds(text), text
        elif kind in _NORMAL and name:
            kinds = [kind]
        else:
            raise PortalError("object: must be domain:NAME, registrant:HANDLE, host:NAME, or the name or handle alone")
        return [f"{kind}:{_NORMAL[kind](name)}" for kind in kinds]
    except InvalidName as error:
        raise PortalError(f"object: {FAULTS[error.fault]}") from None
    except ValueError as error:  # of `OBJECTS`, in words of ours
        raise PortalError(str(error)) from None


def _kinds(name: str) -> list[str]:
    if "." not in name:
        return ["registrant"]
    return ["domain", "host"] if parse_name(name).is_dk_domain else ["host"]


async def _why_not(connection: Connection, account: str, candidates: list[str], *, ambiguous: bool) -> PortalError:
    either = " or ".join(candidates)
    if ambiguous:
        return PortalError(f"linked users of {account} hold roles on two objects of this name: say {either}")
    for candidate in candidates:
        if await _exists(connection, candidate):
            return PortalError(f"{candidate}: no linked user of {account} holds a role on it; see `whoisd portal affected`")
    return PortalError(f"{either}: there is no such object")
