"""Finds planted tokens in whatever was said, in disguise too. Knows no registry.

Every disguise is of the token alone, whatever stands around it: so each is made of each token once, and all of them are
looked for in one pass over what was said. Letters are compared in lower case, backslashes however often they are doubled.
"""

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import quote_from_bytes

HEAD: Final = 8  # letters of a disguise by which it is recognised; what is shorter must be a word of its own
# Between marks or spaces: in a text of other letters, or in no text, any two bytes may look like one.
_WORD: Final = re.compile(rb"""(?<![^\s"'=:,(\[>])[a-z]{2}(?![^\s"'.,;)\]<])""")


def _base64(data: bytes) -> Iterator[bytes]:
    """What the middle of a longer text in base64 has of this, wherever in it this begins; but for the bits at its edges."""
    for offset in range(3):
        inner = slice(-(-8 * offset // 6), 8 * (offset + len(data)) // 6)
        for encode in (b64encode, urlsafe_b64encode):
            yield encode(bytes(offset) + data)[inner]


OF_TEXT: Final[Mapping[str, Callable[[str], bytes]]] = {
    "UTF-8": str.encode,
    "ISO 8859-1": lambda text: text.encode("iso-8859-1"),
    "UTF-8 that was taken for ISO 8859-1": lambda text: text.encode().decode("iso-8859-1").encode(),
    "UTF-16": lambda text: text.encode("utf-16-le"),
    "A-label": lambda text: text.lower().encode("punycode").removesuffix(b"-"),
    "repr": lambda text: ascii(text)[1:-1].encode(),
    "JSON": lambda text: json.dumps(text)[1:-1].encode(),
}
OF_BYTES: Final[Mapping[str, Callable[[bytes], Iterable[bytes]]]] = {
    "as they are": lambda data: (data,),
    "repr": lambda data: (repr(data)[2:-1].encode(),),
    "in a URL": lambda data: (quote_from_bytes(data).encode(),),
    "base64": _base64,
    "hexadecimal": lambda data: (data.hex().encode(),),
}


def disguises(token: str) -> set[bytes]:
    """All forms in which a token is looked for, in lower case."""
    cases = {token, token.lower(), token.upper(), token.capitalize()}
    texts = {disguise(case) for disguise in OF_TEXT.values() for case in cases}
    return {form.lower() for text in texts for disguise in OF_BYTES.values() for form in disguise(text)}


class Search:
    """Looks for these tokens: of 8 letters or digits and more, or words of two letters."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._words: dict[bytes, str] = {}
        self._forms: defaultdict[bytes, list[tuple[bytes, str]]] = defaultdict(list)
        for token in tokens:
            if len(token) < HEAD:
                self._words[token.lower().encode()] = token
            else:
                for form in disguises(token):
                    self._forms[form[:HEAD]].append((form, token))

    def find(self, said: bytes) -> set[str]:
        """Return the tokens that are in this; none goes on over the end of a line."""
        return set().union(*map(self._find, said.lower().split(b"\n")))

    def _find(self, line: bytes) -> set[str]:
        line = re.sub(rb"\\+", rb"\\", line)
        heads = self._forms.keys() & {line[at : at + HEAD] for at in range(len(line))}
        found = {token for head in heads for form, token in self._forms[head] if _holds(line, form)}
        return found | {self._words[word] for word in self._words.keys() & set(_WORD.findall(line))}


def _holds(said: bytes, form: bytes) -> bool:
    """Whether a form is in this. One of digits alone must be a number of its own: there are many numbers in a log."""
    if form.isdigit():
        return re.search(rb"(?<![0-9])" + form + rb"(?![0-9])", said) is not None
    return form in said
