"""Runs one worker alone, in the process that is started: `bench/alone.py CONFIG`.

A tool that watches a process, as valgrind is, follows no fork of it; all else is as in the server that ships.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

from whoisd.config import Listen, load_settings
from whoisd.limits.counters import Counters
from whoisd.limits.memory import anonymous, open_ledger
from whoisd.limits.sources import Sources
from whoisd.log import ClientNames, open_log
from whoisd.server.context import WorkerContext
from whoisd.server.metrics import Board
from whoisd.server.sockets import Room, open_listeners
from whoisd.server.worker import run


def main() -> None:
    """Serve until told to end."""
    settings = load_settings(Path(sys.argv[1]))
    log = open_log(settings.log.level, settings.log.format)
    ledger = open_ledger(settings.limits.file, create=True)
    room = Room(settings.server.max_connections, settings.server.max_connections)
    counters = Counters(anonymous(Counters.size(1)), 1, 0, ledger.secret)
    tally = Board(anonymous(Board.size(1)), 1).tally(0)
    names = ClientNames(settings.log.client, bytes(32), datetime.now(UTC).date())
    numbers = {network.name: number for number, network in enumerate(settings.network)}
    sources = Sources(settings.quotas(numbers), ledger, counters)
    with open_listeners(settings.listen) as opened:
        listeners = [listener for listener in opened if isinstance(listener.listen, Listen)]
        run(lambda: WorkerContext(settings, listeners, room, sources, tally, names, log))


if __name__ == "__main__":
    main()
