"""The books that a process keeps of what it is asked: counts, and a line of the log for each query, by whatever protocol."""

from datetime import UTC, datetime
from typing import Final

from whoisd.answers.answer import Answer
from whoisd.errors import Outcome
from whoisd.limits.sources import Client, Limit, Refusal
from whoisd.log import ClientNames, Logger, log_query
from whoisd.server.metrics import Tally

_REFUSED: Final = {
    Limit.SOURCE_RATE: Outcome.RATE_EXCEEDED,
    Limit.NETWORK_RATE: Outcome.RATE_EXCEEDED,
    Limit.SOURCE_BAN: Outcome.BANNED,
    Limit.SOURCE_CONNECTIONS: Outcome.TOO_MANY_CONNECTIONS,
    Limit.NETWORK_CONNECTIONS: Outcome.TOO_MANY_CONNECTIONS,
    Limit.ALL_CONNECTIONS: Outcome.TOO_MANY_CONNECTIONS,
}


class Books:
    """The counts and the log of one process; `names` is what the log calls a client."""

    def __init__(self, tally: Tally, names: ClientNames, log: Logger) -> None:
        self._tally = tally
        self._names = names
        self._log = log

    def refusal(self, client: Client, refusal: Refusal) -> Outcome:
        """Count a client that is refused; return the outcome that this is."""
        network = client.network
        self._tally.refusal(refusal.limit, network.number if network else None)
        return _REFUSED[refusal.limit]

    def record(self, client: Client, answer: Answer, seconds: float, status: int | None = None) -> None:
        """Count what came of a query, or of a connection without one, and write its line of the log.

        `seconds` is what the answer took, `status` that of HTTP.
        """
        self._tally.query(answer.outcome, answer.kind, seconds, answer.protocol)
        if reason := answer.email or answer.registrant:
            self._tally.decision(reason)
        network = client.network
        now = datetime.now(UTC)
        facts = answer.facts()
        facts["client"] = self._names.name(client, now)
        facts["network"] = network.name if network else None
        facts["status"] = status
        facts["ms"] = round(seconds * 1e6) / 1000
        log_query(self._log, now, answer.outcome, facts)
