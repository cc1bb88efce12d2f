"""Names from any text."""

from hypothesis import given, settings
from hypothesis import strategies as st

from whoisd.answers.names import REPERTOIRE, DomainName, ascii_domain, parse_name
from whoisd.errors import InvalidName

few = settings(max_examples=200, deadline=None)

LETTERS = st.sampled_from("aZ09-æÆøåöäüéÉßẞ\u0301\u030a\u212a\u0130ﬁ٣п。_ ")
PLAIN = st.text(st.sampled_from("ab0æøåß"), min_size=1, max_size=60)
A_LABELS = st.text(st.sampled_from("aæøéßñпק日\u200d"), min_size=1, max_size=8).map(
    lambda label: "xn--" + label.encode("punycode").decode()
)
ODD = st.text(LETTERS, max_size=70) | st.text(st.characters(), max_size=8) | st.text("az09-").map("xn--{}".format)
TEXTS = st.lists(PLAIN | A_LABELS | ODD, max_size=6).map(".".join) | st.lists(PLAIN | A_LABELS, max_size=3).map(
    lambda labels: ".".join([*labels, "dk"])
)


def parse(text: str) -> DomainName | None:
    """Return the name that a text makes, or None; any exception but InvalidName fails the test."""
    try:
        return parse_name(text)
    except InvalidName:
        return None


@few
@given(TEXTS)
def test_any_text_makes_a_name_or_is_invalid(text: str) -> None:
    """A name's ASCII form is in lower case, has at most 253 characters in labels of 1 to 63, and makes the name again."""
    if name := parse(text):
        assert name.ascii.isascii()
        assert name.ascii == name.ascii.lower()
        assert len(name.ascii) <= 253
        assert all(1 <= len(label) <= 63 for label in name.ascii.split("."))
        assert parse_name(name.ascii) == name


@few
@given(TEXTS)
def test_unicode_form_makes_the_name_again(text: str) -> None:
    """A name in the letters of .dk is the same name when it is asked for by its U-label form."""
    name = parse(text)
    if name and REPERTOIRE.issuperset(name.unicode.replace(".", "")):
        assert parse_name(name.unicode) == name


@few
@given(PLAIN.filter(lambda label: len(label) < 30))
def test_case_and_trailing_dot_do_not_matter(label: str) -> None:
    """A domain is the same in upper case and with a trailing dot."""
    capitals = label.replace("ß", "ẞ").upper()
    assert parse_name(f"{capitals}.DK.") == parse_name(f"{label}.dk")


@few
@given(TEXTS)
def test_registrable_label_has_the_letters_of_dk(text: str) -> None:
    """The registrable label of a .dk name has no letter but those that .dk allows, in whichever form it came."""
    name = parse(text)
    if name and name.ascii.endswith(".dk"):
        assert REPERTOIRE.issuperset(name.unicode.split(".")[-2])


@few
@given(TEXTS)
def test_any_mail_domain_is_ascii_or_invalid(text: str) -> None:
    """A mail domain's A-label form is ASCII, or it is no name."""
    try:
        assert ascii_domain(text).isascii()
    except InvalidName:
        assert not text.isascii()
