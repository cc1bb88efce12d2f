"""Punycode of any text."""

from hypothesis import given, settings
from hypothesis import strategies as st

from whoisd.answers.punycode import punycode


@settings(max_examples=500, deadline=None)
@given(st.text("ab0-æøåß") | st.text(st.characters(exclude_categories=["Cs"]), max_size=63))
def test_as_python_writes_it(label: str) -> None:
    """Any label is written as by Python's own codec, which decodes it again."""
    written = punycode(label)
    assert written == label.encode("punycode").decode("ascii")
    assert written.encode("ascii").decode("punycode") == label
