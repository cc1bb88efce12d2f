"""One timer for many deadlines: what is still there when its time is up is told so, in its order, and nothing else is."""

import asyncio
from collections.abc import Callable
from typing import Any

import uvloop

from whoisd.deadlines import Deadlines

SECONDS = 0.05
ROUNDING = 1e-6  # seconds: what numbers of the size of the loop's clock lose


async def passed(expired: list[str], count: int) -> None:
    """Wait until so many have expired."""
    for _ in range(1000):
        if len(expired) >= count:
            return
        await asyncio.sleep(0.005)
    raise AssertionError(expired)


def queue(expired: list[str]) -> "Deadlines[str]":
    return Deadlines(asyncio.get_running_loop(), SECONDS, expired.append)


async def test_in_their_order_and_never_too_soon() -> None:
    """Each item expires once its time is up, not sooner, in the order in which they came."""
    expired: list[str] = []
    deadlines = queue(expired)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    deadlines.add("first")
    await asyncio.sleep(SECONDS / 2)
    deadlines.add("second")
    await passed(expired, 1)
    assert loop.time() - begun >= SECONDS - ROUNDING
    assert expired == ["first"]
    await passed(expired, 2)
    assert loop.time() - begun >= SECONDS * 1.5 - ROUNDING
    assert expired == ["first", "second"]


async def test_what_is_removed_does_not_expire() -> None:
    """An item that was removed, once or twice, is never told; the others are, whether it stood before or behind them."""
    expired: list[str] = []
    deadlines = queue(expired)
    for item in ("a", "b", "c"):
        deadlines.add(item)
    for item in ("a", "c", "c", "never there"):
        deadlines.remove(item)
    await passed(expired, 1)
    await asyncio.sleep(SECONDS * 2)
    assert expired == ["b"]


async def test_after_a_rest() -> None:
    """A queue that was empty for longer than its time takes items again, and an item may come back with its time anew."""
    expired: list[str] = []
    deadlines = queue(expired)
    deadlines.add("a")
    deadlines.remove("a")
    await asyncio.sleep(SECONDS * 3)
    deadlines.add("a")
    await passed(expired, 1)
    deadlines.add("a")
    await passed(expired, 2)


async def test_an_item_may_act_on_the_queue_when_it_expires() -> None:
    """What expires may add itself again, or remove another that is due in the same moment, which then is not told."""
    told: list[str] = []
    actions: dict[str, Callable[[], None]] = {}

    def expire(item: str) -> None:
        told.append(item)
        actions.pop(item, lambda: None)()

    deadlines: Deadlines[str] = Deadlines(asyncio.get_running_loop(), SECONDS, expire)

    def remove_and_come_back() -> None:
        deadlines.remove("b")
        deadlines.add("a")

    actions["a"] = remove_and_come_back
    deadlines.add("a")
    deadlines.add("b")
    await passed(told, 2)
    await asyncio.sleep(SECONDS * 2)
    assert told == ["a", "a"]


async def test_closed() -> None:
    """Nothing expires after `close`, which may be said twice."""
    expired: list[str] = []
    deadlines = queue(expired)
    deadlines.add("a")
    deadlines.close()
    deadlines.close()
    await asyncio.sleep(SECONDS * 2)
    assert expired == []


def test_thousands_take_one_timer() -> None:
    """However many items come and go, the loop has one timer for them."""

    async def count() -> int:
        loop = asyncio.get_running_loop()
        timers = 0
        call_later = loop.call_later

        class Counting:
            time = loop.time

            def call_later(self, delay: float, callback: Callable[..., object]) -> asyncio.TimerHandle:
                nonlocal timers
                timers += 1
                return call_later(delay, callback)

        deadlines: Deadlines[int] = Deadlines(Counting(), 60, lambda _: None)  # type: ignore[arg-type] # what it takes of a loop
        for number in range(10_000):
            deadlines.add(number)
            deadlines.remove(number - 64)
        deadlines.close()
        return timers

    assert uvloop.run(count()) == 1


async def test_what_comes_back_takes_no_second_timer() -> None:
    """Items that add themselves again when they expire, while others wait, still take one timer at a time.

    And none is looked for again and again within one tick of the clock.
    """
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []

    class Counting:
        time = loop.time
        call_exception_handler = loop.call_exception_handler

        def call_later(self, delay: float, callback: Callable[..., object]) -> asyncio.TimerHandle:
            timers.append(loop.call_later(delay, callback))
            return timers[-1]

    told: list[str] = []

    def come_back(item: str) -> None:
        told.append(item)
        deadlines.add(item)

    deadlines: Deadlines[str] = Deadlines(Counting(), SECONDS, come_back)  # type: ignore[arg-type] # what it takes of a loop
    for item in ("a", "b", "c"):
        deadlines.add(item)
        await asyncio.sleep(SECONDS / 4)
    await passed(told, 30)
    deadlines.close()
    assert len(timers) <= 2 * len(told) + 2  # a timer may fire a moment early, and is set again


async def test_fault_of_one() -> None:
    """An item whose end raises is reported to the loop; those behind it are told in their time all the same."""
    told: list[str] = []
    reported: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    fault = RuntimeError("x")

    def expire(item: str) -> None:
        told.append(item)
        if item == "a":
            raise fault

    deadlines: Deadlines[str] = Deadlines(loop, SECONDS, expire)
    for item in ("a", "b"):
        deadlines.add(item)
    await asyncio.sleep(SECONDS / 2)
    deadlines.add("c")
    await passed(told, 3)
    assert told == ["a", "b", "c"]
    assert [context["exception"] for context in reported] == [fault]
