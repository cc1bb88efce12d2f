"""Input cut into pieces: in bytes, and at places that are chance but the same each time for the same input."""

import random
import zlib
from collections.abc import Iterator
from itertools import pairwise


def cuts_of(data: bytes) -> Iterator[tuple[bytes, ...]]:
    """The input in pieces of a byte, and a few times in larger ones, none of which is empty."""
    yield tuple(data[at : at + 1] for at in range(len(data)))
    chance = random.Random(zlib.crc32(data))  # noqa: S311 - no secret
    for most in (1, 3, 8):
        inner = {chance.randrange(1, len(data)) for _ in range(most)} if len(data) > 1 else set()
        yield tuple(data[start:end] for start, end in pairwise(sorted({0, *inner, len(data)})))
