"""Hears whatever leaves the process, and holds it to what may: an answer to just what is public, all else to nothing."""

from collections import Counter
from collections.abc import Collection
from typing import Final

from leaks.oracle import MAY_HOLD, Question, Way, visible
from leaks.registry import Field, Registry
from leaks.search import Search

EMAILS: Final = (Field.EMAIL, Field.SECONDARY_EMAIL)
FAILURE: Final = b"WHOIS time limit exceeded. Temporary failure, please try again later.\r\n"


class Ear:
    """All that was found to be wrong is in `wrong`; `heard` is how many bytes came by each way."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.wrong: list[str] = []
        self.heard: Counter[Way] = Counter()
        self.emails = 0  # answers that showed one
        self.failures = 0  # answers that were temporary failures
        self.lost = 0  # answers that were nothing at all
        self._search = Search(registry.fields)

    def expect(self, fulfilled: object, what: object) -> None:
        """Note what is not as it must be, and go on: what is said of it is of interest too."""
        if not fulfilled:
            self.wrong.append(f"not as it must be: {what}")

    def hear(self, way: Way, said: bytes | str, known: Collection[str] = (), *, where: str) -> set[str]:
        """Hold what was said to what may leave by this way; `known` are the tokens that whoever reads it has already."""
        data = said.encode() if isinstance(said, str) else said
        found = self._search.find(data)
        self.heard[way] += len(data)
        fields = self.registry.fields
        for token in sorted(found):
            if token not in known or fields[token] not in MAY_HOLD[way]:
                self.wrong.append(f"{way}, {where}: says the {fields[token]} {token}")
        return found

    def hear_answer(self, said: bytes, question: Question, *, where: str, sound: bool = True) -> None:
        """Hold an answer to what is public, which it must say too; where the database is not `sound` it may say less."""
        if said == FAILURE:
            self.failures += 1
            return
        if not said:
            self.lost += sound
            return
        public = visible(question)
        found = self.hear(Way.ANSWER, said, public, where=f"{where} about {question.person.handle}")
        self.emails += any(self.registry.fields[token] in EMAILS for token in found)
        if missing := sound and public - found:
            self.wrong.append(f"{where}: does not say {missing} of {question.person.handle}, but {said[-200:]!r}")
