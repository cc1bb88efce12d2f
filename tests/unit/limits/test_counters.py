"""The counters of open connections: apart, of all workers, and each worker's own."""

from dataclasses import replace
from ipaddress import ip_address

import pytest
from limits_data import ADDRESS, LIMITS, NARROW, NOW, SECRET, STRANGER, counters, ledger, several

from whoisd.limits.counters import MOST_NAMED, Counters
from whoisd.limits.ledger import Secret
from whoisd.limits.sources import Sources


def test_the_secret_decides() -> None:
    """Where a key is kept depends on the secret, so that nobody can aim at an entry or counter."""
    other = Counters(memoryview(bytearray(Counters.size(1))), 1, 0, Secret.of(bytes(range(16, 32))))
    keys = several(100)
    assert sum(other.slot(key) == counters().slot(key) for key in keys) < 5
    assert len({counters().slot(key) for key in keys}) > 95


def test_counters_are_apart() -> None:
    """All others and each named network have a counter of their own, behind those that sources share by hash."""
    slots = [Counters.slot_of_all(None), *map(Counters.slot_of_all, range(MOST_NAMED))]
    assert slots == [*range(1 << 16, (1 << 16) + 1 + MOST_NAMED)]
    assert Counters.size(3) == (slots[-1] + 1) * 3 * 4
    for key in several(1000):
        mixed = ((key.prefix ^ SECRET.salt) + key.scope) * SECRET.factor % 2**64
        assert counters().slot(key) == mixed >> 48


def test_excess_is_over_a_part_of_all() -> None:
    """A worker's excess is what it counts beyond its part of all, which is rounded up; whoever counts less has none."""
    cells = memoryview(bytearray(Counters.size(3)))
    one, two = (Counters(cells, 3, row, SECRET, sharing=2) for row in (1, 2))
    for first, second, excess in ((0, 0, (0, 0)), (1, 0, (0, -1)), (9, 0, (4, -5)), (9, 9, (0, 0)), (9, 10, (-1, 0))):
        one.add(5, first)
        two.add(5, second)
        assert (one.excess(5), two.excess(5)) == excess
        one.add(5, -first)
        two.add(5, -second)
    assert one.excess(4) == 0


def test_clear_is_of_one_row() -> None:
    """What a worker that is gone had open is forgotten, of every client, and nothing of the others'."""
    cells = memoryview(bytearray(Counters.size(3)))
    workers = [Sources(replace(LIMITS, named=(NARROW,)), ledger(), counters(3, row, cells)) for row in range(3)]
    addresses = [ADDRESS, STRANGER, ip_address("2001:db8::"), ip_address("198.51.100.64")]
    clients = [workers[0].client(address) for address in addresses]
    for worker in workers[:2]:
        for client in clients:
            assert worker.connect(client, NOW) is None
    gone = counters(3, 0, cells)
    before = cells.tobytes()
    counters(3, 2, cells).clear(2)
    assert cells.tobytes() == before
    counters(3, 2, cells).clear(0)
    assert not any(cells.cast("I")[0::3])
    assert sum(cells.cast("I")[1::3]) == 10
    for client in clients:
        assert all(gone.count(cap.slot) for cap in client.caps)
        workers[1].disconnect(client)
    assert not any(cells)


def test_no_counter_goes_below_zero() -> None:
    """A connection that was not counted in is not counted out: that is a fault, and the counter stays as it was."""
    mine = counters()
    with pytest.raises(ValueError, match="invalid value"):
        mine.add(7, -1)
    assert mine.count(7) == 0
    mine.add(7, 1)
    mine.add(7, -1)
    assert mine.count(7) == 0
