"""What answers are made of: values that nobody changes. Knows nothing of what they mean."""

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

Made = TypeVar("Made")


@dataclass_transform(frozen_default=True)
def frozen(made: type[Made]) -> type[Made]:
    """Make a class a slotted dataclass that is frozen: mypy refuses a change, rather than Python when it comes to that.

    A frozen dataclass sets each of its fields through `object.__setattr__`, which took a seventh of the instructions of a
    query (PEP 681 is what tells the type checker). Values that every query makes do without this too: they are dataclasses
    whose fields are `Final` and whose constructor is written out, which mypyc compiles.
    """
    return dataclass(slots=True, unsafe_hash=True)(made)
