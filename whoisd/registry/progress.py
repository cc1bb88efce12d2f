"""How far a long command has got: a bar on a terminal, else a line every few seconds. On standard error."""

import asyncio
import time
from contextlib import suppress
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

INTERVAL: Final = 5.0  # seconds between two lines where there is no terminal


class Progress:
    """Shows `doing`, and of `total` how much is `done`; both may be set at any time. An asynchronous context manager."""

    def __init__(self) -> None:
        self.doing = ""
        self.done = 0
        self.total: int | None = None
        self._began = time.monotonic()

    def begin(self, doing: str, total: int | None = None) -> None:
        """Say what is being done from now on, and how much of it there is to do, if that is known."""
        self.doing, self.done, self.total = doing, 0, total

    async def __aenter__(self) -> Self:
        console = Console(stderr=True)
        self._teller = asyncio.create_task(self._draw(console) if console.is_terminal else self._tell(console))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._teller.cancel()
        with suppress(asyncio.CancelledError):
            await self._teller

    async def _draw(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[share]}"), TimeElapsedColumn())
        with Bar(*columns, console=console, transient=True) as bar:
            task = bar.add_task(self.doing, total=None, share="")
            while True:
                bar.update(task, description=self.doing, completed=self.done, total=self.total, share=self._share())
                await asyncio.sleep(0.2)

    async def _tell(self, console: Console) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            seconds = time.monotonic() - self._began
            console.print(f"{seconds:.0f} s: {self.doing}{self._share()}", soft_wrap=True, highlight=False, markup=False)

    def _share(self) -> str:
        return f" {self.done / self.total:.0%}" if self.total else ""
