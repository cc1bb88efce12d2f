"""The hunt for leaks in its parts: what is asked, ordered and broken; what was heard is judged at the end."""

from itertools import cycle, islice
from pathlib import Path
from typing import Final

from leaks import orders, talk
from leaks.breaks import SLOW, column_replaced, disturb, every_break, prepare, value
from leaks.ear import Ear
from leaks.forks import Commands
from leaks.oracle import Way
from leaks.orders import Orders
from leaks.registry import Field, Person
from leaks.talk import LATER, Configuration, Talk
from support import Database

SOUND: Final[Configuration] = {"database": {"deadline": 10}}  # seconds: a busy machine is no reason to answer less
BEFORE: Final = SOUND | {"disclosure": {"in_force_from": LATER, "withheld_email": "omitted"}, "log": {"client": "hash"}}
HURRIED: Final[Configuration] = {"database": {"deadline": 0.6}}


class Hunt:
    """A hunt in a database that is not yet migrated, through a registry."""

    def __init__(self, ear: Ear, commands: Commands, database: Database, folder: Path) -> None:
        self.ear = ear
        self.people = ear.registry.people
        self.orders = Orders(ear, commands, database, folder)
        self._database = database
        self._folder = folder
        abroad = (it for it in self.people if it.record["country"] != "DK" and it.record["kind"] == "company")
        self._abroad = next(abroad)
        self._protected = next(it for it in self.people if it.record["address_protection"])

    def load(self) -> None:
        """Migrate, and load the registry."""
        self.orders.give(Way.LOAD, "migrate")
        prepare(self._database)
        file = self._folder / "registry.jsonl"
        file.write_bytes(self.ear.registry.file())
        self.orders.give(Way.LOAD, "load", file)

    def talk(self, configuration: Configuration = SOUND) -> Talk:
        """A server over the database."""
        return Talk(self.ear, self._database.reader, self._folder, configuration)

    # --- the server ---------------------------------------------------------------------------------------------------

    def ask(self, server: Talk, ways: int = 3) -> None:
        """Ask the server for everything, be refused, reload badly and lose a worker."""
        talk.ask_everything(self.ear, server, in_force=True, ways=ways)
        assert self.ear.emails > 30  # answers that show one
        assert self.ear.failures == 0
        talk.ask_otherwise(self.ear, server)
        talk.be_refused(self.ear, server)
        self.orders.give(Way.LOAD, "bans", "list")
        orders.probe(self.orders, server.port, self.people[0])
        talk.reload_badly(self.ear, server, SOUND)
        talk.lose_a_worker(server)
        server.listen("when all was asked")

    def ask_before_the_rules(self, server: Talk, step: int = 1) -> None:
        """Reload as before the rules entered into force, and ask for everything of each `step`th again."""
        server.write(BEFORE)
        server.reload("config.reloaded")
        emails = self.ear.emails
        failures = self.ear.failures
        talk.ask_everything(self.ear, server, in_force=False, step=step)
        assert (self.ear.emails, self.ear.failures) == (emails, failures)
        server.listen("before the rules")

    # --- the database -------------------------------------------------------------------------------------------------

    def trouble(self, server: Talk, person: Person, *, orders_of_each: int) -> None:
        """Break what is read, in every way; ask the server meanwhile, and give so many of the orders that read."""
        readers = cycle(orders.in_trouble(self.orders, person))
        for name, fault in every_break(self._database):
            with fault:
                self._ask_in_trouble(server, person, name)
                for order in islice(readers, orders_of_each):
                    order()
        assert self.ear.failures > 50

    def hurry(self, server: Talk) -> None:
        """Let a lookup end in its statement timeout."""
        server.write(HURRIED)
        server.reload("config.reloaded")
        failures = self.ear.failures
        with column_replaced(self._database, SLOW):
            self._ask_in_trouble(server, self.people[0], "slow")
        assert self.ear.failures > failures

    def _ask_in_trouble(self, server: Talk, person: Person, name: str) -> None:
        for line, question in talk.questions(person):
            self.ear.hear_answer(server.send(line), question, where=name, sound=False)
        server.listen(name)

    def disturb(self, server: Talk, seconds: float) -> None:
        """Cancel lookups and end connections, at any moment, while clients ask; for so many seconds each."""
        for function in ("pg_cancel_backend", "pg_terminate_backend"):
            with talk.asking(self.ear, server, self.people[:5]):
                disturb(self._database, function, seconds)

    # --- the commands -------------------------------------------------------------------------------------------------

    def order(self, people: int) -> None:
        """Give every order that reads, about so many people, and those that cannot be."""
        orders.look(self.orders, self.people[:: len(self.people) // people])
        orders.misuse(self.orders, self.people[0])

    def write(self) -> None:
        """Give every order that writes: sound ones, bad ones, and in trouble."""
        orders.load_badly(self.orders)
        orders.update_badly(self.orders, self.people[0])
        orders.decide(self.orders, self._abroad, [self.people[0], self._protected])
        orders.decide_by_epp(self.orders, self._abroad, [self.people[0], self._protected])
        orders.maintain(self.orders, self._abroad, [self.people[0], self._protected])
        orders.less_protected(self.orders, self._abroad, self._protected)
        orders.write_in_trouble(self.orders, self._database, self._abroad)
        trail = value(self._database, "SELECT string_agg(entry::text, ' ') FROM audit.entry")
        known = self.ear.registry.tokens(Field.HANDLE, Field.DOMAIN)
        self.ear.hear(Way.AUDIT, trail, known, where="all of it")

    def judge(self, *silent: Way, lost: int = 0) -> None:
        """Nothing was said that may not be, and something by each way but these; so many answers at most were lost."""
        assert self.ear.lost <= lost
        assert not self.ear.wrong, "\n".join(it[:400] for it in self.ear.wrong[:20])
        assert {*self.ear.heard} == {*Way} - {*silent}
