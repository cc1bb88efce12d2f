"""Makes a server talk: queries of every kind, refusals, reloads, a worker's death; all that it says is heard."""

import os
import random
import signal
import socket
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address
from itertools import count
from json import dumps
from pathlib import Path
from threading import Event
from typing import Final

from leaks.ear import Ear
from leaks.oracle import Question, Way
from leaks.registry import HOSTS, STATUSES, WAITING, Field, Person
from support import PATIENCE, WHOISD, Service, receive, v1, v2

Configuration = dict[str, dict[str, str | float]]

CLIENTS: Final = 4  # that ask all the time
LATER: Final = "2100-01-01T00:00:00Z"
RESET: Final = b"\1\0\0\0\0\0\0\0"  # SO_LINGER: closing resets
# We ask from 127.0.0.1, which is named and may ask what it wants; those to be refused are of 127.66.n.0/24.
_SETTINGS: Final = {
    "WHOISD_LISTEN": dumps(
        [
            {"host": "127.0.0.1", "port": 0},
            {"host": "127.0.0.1", "port": 0, "proxy": True, "trusted": ["127.67.0.0/16"]},
        ]
    ),
    "WHOISD_NETWORK": dumps([{"name": "tests", "cidrs": ["127.0.0.0/24"], "rate": "unlimited", "connections": 1000}]),
    "WHOISD_LIMITS__RATE": "0.001",
    "WHOISD_LIMITS__BURST": "2",
    "WHOISD_LIMITS__CONNECTIONS": "2",
    "WHOISD_SERVER__READ_TIMEOUT": "5",  # a client of ours that is held up is no silent one
    "WHOISD_SERVER__WRITE_TIMEOUT": "10",
}


class Talk(Service):
    """`whoisd serve` by a configuration file, at its most talkative; at its end all that it said is heard."""

    def __init__(self, ear: Ear, dsn: str, folder: Path, configuration: Configuration) -> None:
        self._ear = ear
        self._file = folder / "whoisd.toml"
        self._sources = folder / "sources"
        self._ports: list[int] = []  # of the plain listener and of the balancers'
        self.typed: set[str] = set()  # tokens that clients sent as names
        self._notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notified.bind(str(folder / "notify"))
        self._notified.setblocking(False)
        self.write(configuration)
        self.command = [WHOISD, "serve", "--config", self._file]
        files = {"WHOISD_LIMITS__FILE": str(self._sources), "NOTIFY_SOCKET": str(folder / "notify")}
        super().__init__(dsn, _SETTINGS | files)

    def __exit__(self, *error: object) -> None:
        try:
            if self.process.poll() is None:
                self.listen("at the end")
            super().__exit__(*error)
            self._hear_systemd("at the end")
        finally:
            self._notified.close()
        asked = self._ear.registry.tokens(Field.DOMAIN) | self.typed
        self._ear.hear(Way.LOG, self.log(), asked, where="the server's")
        self._ear.hear(Way.SOURCES, self._sources.read_bytes(), where="as the server left it")

    def write(self, configuration: Configuration) -> None:
        """Write the configuration file."""
        sections = (
            f"[{name}]\n" + "".join(f"{k} = {dumps(v)}\n" for k, v in it.items()) for name, it in configuration.items()
        )
        self._file.write_text("\n".join(sections), encoding="utf-8")

    def reload(self, event: str) -> None:
        """Let it read its configuration anew, and wait for what it says of that."""
        before, serving = len(self.events(event)), len(self.events("server.ready"))
        self.process.send_signal(signal.SIGHUP)
        self.wait_for_event(event, before + 1)
        if event == "config.reloaded":
            self.wait_for_event("server.ready", serving + 1)

    def listen(self, where: str) -> None:
        """Hear what metrics and health checks say now, and what systemd was told."""
        for path in ("/metrics", "/livez", "/readyz", "/else"):
            self._ear.hear(Way.HTTP, self.http(path)[1], where=f"{path} {where}")
        port = self.events("metrics.listening")[0]["port"]
        for sent in (b"HEAD /metrics HTTP/1.0\r\n\r\n", b"POST /readyz HTTP/1.1\r\n\r\n", b"\0\xff\r\n\r\n", b""):
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
                client.sendall(sent)
                client.shutdown(socket.SHUT_WR)
                self._ear.hear(Way.HTTP, receive(client), where=f"{sent!r} {where}")
        self._hear_systemd(where)

    def _hear_systemd(self, where: str) -> None:
        with suppress(BlockingIOError):
            while True:
                self._ear.hear(Way.SYSTEMD, self._notified.recv(65536), where=where)

    def send(self, data: bytes, source: str = "", *, proxied: bool = False) -> bytes:
        """Everything until the server closes; nothing more where it resets."""
        self._ports = self._ports or [event["port"] for event in self.events("server.listening")]
        port = self._ports[proxied]
        with socket.create_connection(("127.0.0.1", port), PATIENCE, (source, 0) if source else None) as client:
            client.sendall(data)
            return receive(client)


# --- queries ---------------------------------------------------------------------------------------------------------


def _spelled(person: Person, status: str, charset: str, turn: int) -> bytes:
    """The name of a domain in one of its spellings: as U-labels or A-labels, in capitals or not, with a dot at its end."""
    token = person.domains[status]
    name = token if token.isascii() or turn % 2 else f"xn--{token.encode('punycode').decode()}"
    name = f"{name}.dk{'.' if turn % 3 == 0 else ''}"
    return (name.upper() if turn % 5 == 0 else name).encode(charset)


def questions(person: Person, *, in_force: bool = True, turn: int = 0) -> Iterator[tuple[bytes, Question]]:
    """Every kind of query for the domains of a registrant, each with what it asks."""
    for status in STATUSES:
        utf_8, latin_1 = (_spelled(person, status, charset, turn) for charset in ("utf-8", "iso-8859-1"))
        question = Question(person, status, in_force=in_force)
        yield utf_8 + b"\r\n", question._replace(show_handles=False)
        yield b"--charset=utf-8 --show-handles " + utf_8 + b"\r\n", question
        option = b"" if latin_1.isascii() else b"--charset=latin1 "
        yield option + b"--SHOW-HANDLES " + latin_1 + b"\n", question._replace(utf_8=False)


def ask_everything(ear: Ear, talk: Talk, *, in_force: bool, step: int = 1, ways: int = 3) -> None:
    """Ask for each domain of each `step`th registrant, in so many of three ways; hold each answer to what is public."""

    def ask(turn: int, person: Person) -> None:
        for number, (line, question) in enumerate(questions(person, in_force=in_force, turn=turn), turn):
            if number % 3 < ways:
                ear.hear_answer(talk.send(line), question, where=repr(line))

    with ThreadPoolExecutor(4) as clients:
        [*clients.map(ask, count(), ear.registry.people[::step])]


def ask_otherwise(ear: Ear, talk: Talk) -> None:
    """Ask for hosts, for help, for what is not there, and what is no query, with tokens in it: no answer has any."""
    person = ear.registry.people[0]
    record, handle = person.record, person.handle
    talk.typed.add(handle.lower())
    names = (*HOSTS, "help", WAITING, "findes-ikke.dk", f"www.{HOSTS[0]}", handle, f"--show-handles {handle.lower()}")
    no_names = (
        *(record["email"], record["phone"], record["vat_number"].replace("", "_"), record["name"], record["street"][0]),
        *(f"--charset={record['city']} findes.dk", f"--{record['postal_code']} findes.dk", f"{handle}..dk", f"_{handle}.dk"),
        *(f"{record['email']} " * 100, f"xn--{handle}.dk", f"-{handle}.dk", f"{handle}--{handle}.{record['city']}_.dk"),
    )
    for number, line in enumerate((*names, *no_names)):
        charset = ("utf-8", "iso-8859-1")[number % 2]
        ear.hear(Way.ANSWER, talk.send(line.encode(charset) + b"\r\n"), where=line)


def be_refused(ear: Ear, talk: Talk) -> None:
    """Be refused for everything that a client may be refused for."""
    person = ear.registry.people[0]
    line = b"--charset=utf8 --show-handles " + person.domain().encode() + b"\r\n"
    question = Question(person)
    token = person.token(Field.NAME).encode()
    for _ in range(2):  # the burst; then an excess, and tries during the ban
        ear.hear_answer(talk.send(line, "127.66.1.1"), question, where="the burst")
    for _ in range(3):
        ear.hear(Way.ANSWER, talk.send(line, "127.66.1.1"), where="the rate and the ban")
    with talk.connect("127.66.2.1") as first, talk.connect("127.66.2.1") as second:
        ear.hear(Way.ANSWER, talk.send(b"", "127.66.2.1"), where="too many connections")
        ear.hear(Way.ANSWER, receive(first), where="no line in time")
        second.sendall(token)
        ear.hear(Way.ANSWER, receive(second), where="half a line")
    with talk.connect("127.66.3.1") as client:
        client.shutdown(socket.SHUT_WR)
        ear.hear(Way.ANSWER, receive(client), where="no line")
    with talk.connect("127.66.4.1") as gone:
        gone.sendall(token)
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    for header in (v1("203.0.113.7"), v2(IPv4Address("203.0.113.8")), v1("2001:db8::7", "::1")):
        ear.hear_answer(talk.send(header + line, "127.67.0.1", proxied=True), question, where="by a balancer")
    ear.hear(Way.ANSWER, talk.send(v1("203.0.113.9") + line, "127.66.5.1", proxied=True), where="an untrusted balancer")
    for header in (b"PROXY TCP4 " + token, v2(IPv4Address("203.0.113.9"))[:12] + token, token * 1000):
        ear.hear(Way.ANSWER, talk.send(header + b"\r\n" + line, "127.67.0.2", proxied=True), where="a bad header")


# --- reloads ---------------------------------------------------------------------------------------------------------


def reload_badly(ear: Ear, talk: Talk, sound: Configuration) -> None:
    """Reload configurations that are none, with tokens as their values, and the registry file in the place of one."""
    person = ear.registry.people[0]
    record = person.record
    faults = {
        "log": {"level": record["email"], "client": record["name"]},
        "disclosure": {"in_force_from": record["phone"], "withheld_email": record["city"]},
        "answer": {"operator": f"{record['name']}\n", "terms": f"{record['email']}: not found"},
    }
    talk.write(faults)
    talk.reload("config.rejected")
    talk._file.write_bytes(ear.registry.file()[:5000])
    talk.reload("config.rejected")
    talk.write(sound)


def lose_a_worker(talk: Talk) -> None:
    """Kill a worker, which the log tells of."""
    died = len(talk.events("process.died"))
    os.kill(talk.pids()["worker 1"], signal.SIGKILL)
    talk.wait_for_event("process.died", died + 1)


# --- trouble ---------------------------------------------------------------------------------------------------------


@contextmanager
def asking(ear: Ear, talk: Talk, people: Iterable[Person], *, in_force: bool = True) -> Iterator[None]:
    """Ask about these all the time, while something happens to the database: each answer is right, or a failure."""
    over = Event()
    asked = [it for turn, person in enumerate(people) for it in questions(person, in_force=in_force, turn=turn)]

    def ask(seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - no secret
        while not over.wait(0.002):
            line, question = chance.choice(asked)
            with suppress(ConnectionError):  # of a worker that was killed
                ear.hear_answer(talk.send(line), question, where=repr(line))

    with ThreadPoolExecutor(CLIENTS) as clients:
        asking = [clients.submit(ask, seed) for seed in range(CLIENTS)]
        try:
            yield
        finally:
            over.set()
    for it in asking:
        it.result()
