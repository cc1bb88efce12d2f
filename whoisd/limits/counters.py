"""How many connections each client has open, over all workers.

For each counter there is a row of cells, one for each worker, its only writer. Sources and networks share counters by
hash: one is refused wrongly when it falls on the counter of another that is at its limit, one in 65,536 for each such, and
nobody can aim at it. A cap is never missed.
"""

import math
from typing import Final

from whoisd.limits.keys import Key
from whoisd.limits.ledger import Secret, hash_of

COUNTER_BITS: Final = 16  # how many counters the sources share by hash, as a power of two
_ALL: Final = 1 << COUNTER_BITS  # behind them: the counter of all unnamed clients, and one for each named network
MOST_NAMED: Final = 64
_CELL: Final = 4  # bytes


class Counters:
    """The counters, in `memory` of `size` bytes, as the worker sees them whose row is `mine`; `sharing` count at a time."""

    __slots__ = ("_cells", "_mine", "_rows", "_secret", "_sharing")

    def __init__(self, memory: memoryview, rows: int, mine: int, secret: Secret, sharing: int = 1) -> None:
        self._cells = memory.cast("I")
        self._rows = rows
        self._mine = mine
        self._secret = secret
        self._sharing = sharing

    @staticmethod
    def size(rows: int) -> int:
        """Return how many bytes of memory this many workers need."""
        return (_ALL + 1 + MOST_NAMED) * rows * _CELL

    def slot(self, key: Key) -> int:
        """Return the counter of a source or network."""
        return hash_of(key, self._secret, COUNTER_BITS)

    @staticmethod
    def slot_of_all(number: int | None) -> int:
        """Return the counter of all clients of a named network, by its number, or of all others."""
        return _ALL if number is None else _ALL + 1 + number

    def count(self, slot: int) -> int:
        """Return how many connections a counter counts over all workers."""
        first = slot * self._rows
        return sum(self._cells[first : first + self._rows])

    def excess(self, slot: int) -> int:
        """Return how many more than its part of all that a counter counts are this worker's."""
        return self._cells[slot * self._rows + self._mine] - math.ceil(self.count(slot) / self._sharing)

    def add(self, slot: int, change: int) -> None:
        """Count a connection in (1) or out (-1)."""
        at = slot * self._rows + self._mine
        self._cells[at] += change

    def clear(self, row: int) -> None:
        """Forget what a worker that is gone had open."""
        cells = self._cells
        for at in range(row, len(cells), self._rows):
            if cells[at]:
                cells[at] = 0
