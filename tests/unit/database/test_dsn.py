"""A database URL with several hosts: each has a URL of its own, in order; and which servers are wanted, and how much."""

from itertools import product
from typing import Final

import pytest

from whoisd.database.dsn import Dsn, SessionTarget, parse_dsn
from whoisd.errors import DsnError

NO_URL: Final = "is not a URL; what is special in a password is percent-encoded"


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("postgresql://db/whois", ["postgresql://db/whois"]),
        ("postgres://db", ["postgres://db"]),
        ("postgresql://", ["postgresql://"]),
        ("postgresql:///whois", ["postgresql:///whois"]),
        ("postgresql://db:5432/whois", ["postgresql://db:5432/whois"]),
        ("postgresql://reader:secret@db/whois", ["postgresql://reader:secret@db/whois"]),
        ("postgresql://reader:s%40c%2Cr%23t@db/whois", ["postgresql://reader:s%40c%2Cr%23t@db/whois"]),
        ("postgresql://reader@/whois", ["postgresql://reader@/whois"]),
        ("postgresql://a,b:5433,c/whois", ["postgresql://a/whois", "postgresql://b:5433/whois", "postgresql://c/whois"]),
        (
            "postgresql://reader:se,cret@a:1,b:65535/whois?sslmode=require",
            [
                "postgresql://reader:se,cret@a:1/whois?sslmode=require",
                "postgresql://reader:se,cret@b:65535/whois?sslmode=require",
            ],
        ),
        ("postgresql://[::1]:5432,[2001:db8::1]/w", ["postgresql://[::1]:5432/w", "postgresql://[2001:db8::1]/w"]),
        ("postgresql:///w?host=/run/postgresql", ["postgresql:///w?host=%2Frun%2Fpostgresql"]),
        ("postgresql:///w?host=a,b", ["postgresql:///w?host=a", "postgresql:///w?host=b"]),
        ("postgresql:///w?host=a,b&port=1,2", ["postgresql:///w?host=a&port=1", "postgresql:///w?host=b&port=2"]),
        ("postgresql:///w?host=a,b&port=1", ["postgresql:///w?host=a&port=1", "postgresql:///w?host=b&port=1"]),
        ("postgresql:///w?host=a,b&port=1,", ["postgresql:///w?host=a&port=1", "postgresql:///w?host=b"]),
        ("postgresql://reader@/w?host=a,b", ["postgresql://reader@/w?host=a", "postgresql://reader@/w?host=b"]),
        ("postgresql://a,b/w?application_name=x%20y", ["postgresql://a/w?application_name=x%20y", "postgresql://b/w?application_name=x%20y"]),
    ],
)  # fmt: skip
def test_hosts(text: str, hosts: list[str]) -> None:
    """Each host has a URL with its own port, and account, database and options of all, in the order of the hosts."""
    assert parse_dsn(text) == Dsn(tuple(hosts), SessionTarget.ANY)


@pytest.mark.parametrize("target", SessionTarget)
def test_target(target: SessionTarget) -> None:
    """Which servers are wanted is read, and left out of the URLs, where asyncpg would judge by it on its own."""
    found = parse_dsn(f"postgresql://a,b/w?sslmode=require&target_session_attrs={target}")
    assert found == Dsn(("postgresql://a/w?sslmode=require", "postgresql://b/w?sslmode=require"), target)


# How much a standby is wanted, and how much a primary, 0 most.
RANKS: Final = {
    "any": (0, 0),
    "standby": (0, None),
    "prefer-standby": (0, 1),
    "read-only": (0, None),
    "primary": (None, 0),
    "read-write": (None, 0),
}


@pytest.mark.parametrize(("target", "standby"), [*product(RANKS, (True, False))])
def test_rank(target: str, standby: bool) -> None:
    """A server is wanted most, less, or not at all, by whether it is a standby."""
    assert parse_dsn(f"postgresql:///w?target_session_attrs={target}").rank(standby=standby) == RANKS[target][not standby]


def test_every_target_has_its_row() -> None:
    """The table of this file holds every word there is for which servers are wanted."""
    assert {*RANKS} == {*SessionTarget}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "must begin with postgresql://"),
        ("mysql://db/w", "must begin with postgresql://"),
        ("postgresql:/db/w", "must begin with postgresql://"),
        ("host=db dbname=w", "must begin with postgresql://"),
        ("postgresqls://db/w", "must begin with postgresql://"),
        ("postgresql://reader:hunter2#x@db/w", NO_URL),
        ("postgresql://db/w#x", NO_URL),
        ("postgresql://reader:hun/ter2@db/w", NO_URL),
        ("postgresql://db:port/w", NO_URL),
        ("postgresql://db:0/w", NO_URL),
        ("postgresql://db:65536/w", NO_URL),
        ("postgresql://a:1,b:x/w", NO_URL),
        ("postgresql://a,/w", NO_URL),
        ("postgresql://,a/w", NO_URL),
        ("postgresql://a,,b/w", NO_URL),
        ("postgresql://:5432/w", NO_URL),
        ("postgresql://[::1/w", NO_URL),
        ("postgresql://db/w?sslmode", NO_URL),
        ("postgresql:///w?host=a,b,c&port=1,2", "must have one port, or one for each host"),
        ("postgresql:///w?host=a&port=1,2", "must have one port, or one for each host"),
        (
            "postgresql://db/w?target_session_attrs=hunter2",
            "target_session_attrs must be one of any, standby, prefer-standby, read-only, primary, read-write",
        ),
    ],
)
def test_faults(text: str, fault: str) -> None:
    """What is no database URL is refused with the reason, which quotes nothing of it."""
    with pytest.raises(DsnError) as refused:
        parse_dsn(text)
    assert str(refused.value) == fault
    assert "hunter" not in str(refused.value)
    assert refused.value.__cause__ is None


UNDERSTOOD: Final = (
    "host, port, dbname, user, password, passfile, sslmode, sslcert, sslkey, sslpassword, sslrootcert, sslcrl,"
    " sslnegotiation, ssl_min_protocol_version, ssl_max_protocol_version, application_name, options, target_session_attrs"
)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ("connect_timeout=10", "connect_timeout is not for this: database.deadline bounds a lookup, connecting included"),
        ("keepalives_idle=30", "keepalives_idle is not for this: keepalives are always on"),
        ("keepalives=0", "keepalives must be one of 1"),
        ("tcp_user_timeout=1000", "tcp_user_timeout is not for this: keepalives are always on"),
        ("channel_binding=require", "channel_binding must be one of prefer, disable"),
        ("gssencmode=require", "gssencmode must be one of prefer, disable"),
        ("service=whois", "service is not supported; write host, user and database into the URL"),
        ("krbsrvname=x", "krbsrvname is not supported; leave it out"),
        ("sslmode=full", "sslmode must be one of disable, allow, prefer, require, verify-ca, verify-full"),
        ("sslmode=", "sslmode must be one of disable, allow, prefer, require, verify-ca, verify-full"),
        ("ssl_min_protocol_version=SSLv3", "ssl_min_protocol_version must be one of TLSv1, TLSv1.1, TLSv1.2, TLSv1.3"),
        ("sslnegotiation=direct", "sslnegotiation=direct needs sslmode=require, verify-ca or verify-full"),
        ("host=a&port=x", "port must be a number from 1 to 65535"),
        ("host=a&port=65536", "port must be a number from 1 to 65535"),
        ("statement_timeout=100", f"has an option that is none of {UNDERSTOOD}"),
        ("hunter2=x", f"has an option that is none of {UNDERSTOOD}"),
    ],
)
def test_option_that_is_refused(options: str, fault: str) -> None:
    """An option that nothing is made of is refused by its name, and so is a wrong value; the unknown is not quoted."""
    with pytest.raises(DsnError) as refused:
        parse_dsn(f"postgresql://db/w?{options}")
    assert str(refused.value) == fault


@pytest.mark.parametrize(
    "options", ["channel_binding=prefer", "gssencmode=disable", "keepalives=1", "client_encoding=UTF8", "sslcompression=0"]
)
def test_option_that_changes_nothing(options: str) -> None:
    """An option that says what is so anyway is left out: the server would refuse it."""
    assert parse_dsn(f"postgresql://db/w?{options}&sslmode=require").hosts == ("postgresql://db/w?sslmode=require",)


@pytest.mark.parametrize("text", ["postgresql://u:a+b@db/w?password=c+d", "postgresql://u:a+b@db/w?password=c%2Bd"])
def test_plus(text: str) -> None:
    """A plus is a plus, in the account as in the options."""
    assert parse_dsn(text).hosts == ("postgresql://u:a+b@db/w?password=c%2Bd",)


@pytest.mark.parametrize("text", ["postgresql://u:hunter@2@db/w", "postgresql://u:hunter%002@db/w", "postgresql://db/w%00"])
def test_what_asyncpg_would_misread(text: str) -> None:
    """A second @ and a NUL are refused: asyncpg would connect elsewhere, or not at all."""
    with pytest.raises(DsnError, match=NO_URL):
        parse_dsn(text)


def test_files() -> None:
    """The files that connecting needs are told, each with its option."""
    assert parse_dsn("postgresql://db/w?sslrootcert=/etc/ca.pem&sslcert=a+b").files == (
        ("sslcert", "a+b"),
        ("sslrootcert", "/etc/ca.pem"),
    )
