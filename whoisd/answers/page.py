"""The page to look a name up: HTML for a person with a browser, in Danish or English, with no script and nothing of others'.

What it shows of a name is the text of port 43, line by line; beside a value that is withheld stands why, and below whom to
write to. Takes the public types alone, so it can show nothing withheld.
"""

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from enum import StrEnum
from hashlib import sha256
from importlib.resources import files
from typing import Final, NamedTuple

import jinja2

from whoisd.answers.disclosure import PublicDomain, PublicRegistrant, Reason, Withheld
from whoisd.answers.explain import SENTENCES
from whoisd.answers.model import Host, Registrar
from whoisd.answers.response import mailto, printable, render_domain, render_host
from whoisd.errors import NameFault, QueryFault, RequestFault
from whoisd.values import frozen

MEDIA_TYPE: Final = "text/html; charset=utf-8"


class Language(StrEnum):
    """The languages of the page."""

    DANISH = "da"
    ENGLISH = "en"


# Every reason in plain Danish; `explain.SENTENCES` has the English.
DANISH: Final[Mapping[Reason, str]] = {
    Reason.LOCKED_TO_CVR: "Registranten er dansk, låst til CVR og ikke i en kategori, der tilbageholdes.",
    Reason.VAT_REGISTERED: "Registranten er udenlandsk, har et momsnummer og er ikke en enkeltmandsvirksomhed.",
    Reason.NOT_IN_FORCE: "Reglerne, der gør e-mailadresser offentlige, er endnu ikke trådt i kraft.",
    Reason.ADDRESS_PROTECTION: "Registranten har navne- og adressebeskyttelse: alle felter tilbageholdes.",
    Reason.INDIVIDUAL: "Registranten er en privatperson, hvis e-mailadresse altid tilbageholdes.",
    Reason.CONTRADICTORY: "Oplysningerne modsiger hinanden, og for en sikkerheds skyld tilbageholdes adressen.",
    Reason.NOT_LOCKED_TO_CVR: "Registranten er dansk og ikke låst til CVR.",
    Reason.NO_CVR_NUMBER: "Registranten skulle være låst til CVR, men der er intet CVR-nummer på 8 cifre.",
    Reason.BANKRUPTCY_ESTATE: "Registranten er i CVR et konkursbo under kuratorbehandling.",
    Reason.SOLE_PROPRIETORSHIP: "Registranten er i CVR en enkeltmandsvirksomhed.",
    Reason.SMALL_BUSINESS: "Registranten er i CVR en personligt ejet mindre virksomhed.",
    Reason.DECEASED_ESTATE: "Registranten er i CVR et dødsbo.",
    Reason.CVR_FORM_UNSTATED: "CVR oplyser ikke registrantens virksomhedsform.",
    Reason.CVR_FORM_UNKNOWN: "Registrantens virksomhedsform i CVR mangler eller er ukendt.",
    Reason.FOREIGN_SOLE_PROPRIETORSHIP: "Registranten er udenlandsk og klassificeret som enkeltmandsvirksomhed.",
    Reason.NO_VAT_NUMBER: "Registranten er udenlandsk, og der er intet momsnummer.",
    Reason.VAT_DOCUMENTED: "Registranten er udenlandsk og har dokumenteret ikke at være en enkeltmandsvirksomhed.",
    Reason.DATA_TOO_OLD: "Oplysningerne er for gamle, og for en sikkerheds skyld tilbageholdes adressen.",
    Reason.CEASED_IN_CVR: "Registranten er ophørt i CVR.",
    Reason.NOT_IN_CVR: "Registrantens nummer findes ikke i CVR.",
    Reason.WRONG_VAT_NUMBER: "Registranten er udenlandsk, og momsnummeret er forkert efter landets regler.",
    Reason.VAT_NUMBER_OF_A_PERSON: "Registranten er udenlandsk, og momsnummeret er af en slags, som personer har.",
    Reason.VAT_NUMBER_OF_ANOTHER_COUNTRY: "Registranten er udenlandsk, og momsnummeret er fra et andet land.",
    Reason.VAT_NUMBER_NOT_SETTLED: "Registranten er udenlandsk, og momsnummeret siger ikke, om det er en persons.",
    Reason.VAT_NUMBER_NOT_REGISTERED: "Registranten er udenlandsk, og VIES kender ikke momsnummeret.",
    Reason.VAT_NUMBER_NOT_LISTED: "Registranten er udenlandsk, og VIES har ikke bekræftet momsnummeret.",
    Reason.NOT_SETTLED: "Det er ikke afgjort, om oplysningen må vises, og for en sikkerheds skyld tilbageholdes den.",
    Reason.NEEDS_UTF_8: "Delen før @ er ikke ASCII: den vises kun i et svar i UTF-8.",
    Reason.NOT_ASKED: "Der er ikke spurgt om registranten.",
    Reason.NO_REGISTRATION: "Domænet er tilbudt en venteliste: der er ingen registrering og ingen registrant.",
    Reason.DEACTIVATED: "Domænet er suspenderet, og registranten af et suspenderet domæne vises ikke.",
    Reason.ID_NOT_CONFIRMED: "Registrantens identitet er ikke bekræftet.",
    Reason.NEVER_SHOWN: "Handles vises aldrig.",
}

# What may be wrong with what was typed, in plain Danish; `notices` has the English, and what only a program can do wrong.
DANISH_FAULTS: Final[Mapping[object, str]] = {
    RequestFault.NO_SUCH_PATH: "Siden findes ikke.",
    QueryFault.NOT_TEXT: "Det er ikke tekst i UTF-8.",
    NameFault.EMPTY_LABEL: "Det er ikke et domænenavn: en del mellem to punktummer er tom.",
    NameFault.LONG_LABEL: "Det er ikke et domænenavn: en del er længere end 63 tegn.",
    NameFault.LONG_NAME: "Det er ikke et domænenavn: det er længere end 253 tegn.",
    NameFault.OUTER_HYPHEN: "Det er ikke et domænenavn: en del begynder eller slutter med bindestreg.",
    NameFault.RESERVED_HYPHENS: "Det er ikke et domænenavn: en del har bindestreg som tredje og fjerde tegn.",
    NameFault.CHARACTER: "Det er ikke et domænenavn: en del har et tegn, som .dk-navne ikke har.",
    NameFault.A_LABEL: "Det er ikke et domænenavn: en del, der begynder med xn--, er ikke gyldig i IDNA2008.",
}

# What the page says, by language.
WORDS: Final[Mapping[Language, Mapping[str, str]]] = {
    Language.ENGLISH: {
        "title": "Look a .dk name up",
        "label": "Domain or name server host",
        "hint": "for example eksempel.dk or ns1.eksempel.dk",
        "button": "Look up",
        "result": "What WHOIS says of",
        "no_name": "There is no such name",
        "bad_name": "This name cannot be looked up",
        "not_found": "No entries found for the selected source.",
        "refused": "You have asked too often. Ask again in {seconds} seconds.",
        "refused_title": "Too many requests",
        "failed": "The data cannot be reached at the moment. Ask again in a little while.",
        "failed_title": "Temporary failure",
        "registrar": "Registrar",
        "write": "An email that is withheld is with the registrar, who can pass a message on.",
        "email": "Email",
        "phone": "Phone",
        "url": "Web",
        "abuse": "Report abuse",
        "terms": "Terms of use",
    },
    Language.DANISH: {
        "title": "Slå et .dk-navn op",
        "label": "Domænenavn eller navneserver",
        "hint": "for eksempel eksempel.dk eller ns1.eksempel.dk",
        "button": "Slå op",
        "result": "Det siger WHOIS om",
        "no_name": "Navnet findes ikke",
        "bad_name": "Navnet kan ikke slås op",
        "not_found": "Der er ingen oplysninger om navnet.",
        "refused": "Du har spurgt for ofte. Prøv igen om {seconds} sekunder.",
        "refused_title": "For mange forespørgsler",
        "failed": "Oplysningerne kan ikke hentes lige nu. Prøv igen om lidt.",
        "failed_title": "Midlertidig fejl",
        "registrar": "Registrator",
        "write": "En e-mailadresse, der tilbageholdes, kendes af registratoren, som kan give en besked videre.",
        "email": "E-mail",
        "phone": "Telefon",
        "url": "Web",
        "abuse": "Anmeld misbrug",
        "terms": "Vilkår",
    },
}

# The field of `PublicRegistrant` that a line of the Registrant section prints.
_FIELDS: Final = {
    "Handle": "handle",
    "Name": "name",
    "Address": "street",
    "Postalcode": "postal_code",
    "City": "city",
    "Country": "country",
    "Phone": "phone",
    "Email": "email",
}
_LINE: Final = re.compile("([A-Za-z ]+): +(.*)")


class Row(NamedTuple):
    """A line of the answer: its label, its value and, of one that is withheld, why."""

    label: str
    value: str
    reason: str = ""


@frozen
class Section:
    """A part of the answer; a Registrant section that is left out has no rows but why."""

    title: str
    rows: tuple[Row, ...]
    reason: str = ""


@frozen
class Frame:
    """What stands on every page: in which language, who publishes it by which terms, and what was typed."""

    language: Language
    operator: str
    terms: str
    typed: str = ""


def packaged(name: str) -> str:
    """Return the text of a file of the package, such as a template."""
    return files("whoisd").joinpath(name).read_text(encoding="utf-8")


def _environment() -> jinja2.Environment:
    loader = jinja2.FunctionLoader(packaged)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["mailto"] = mailto
    return environment


TEMPLATES: Final = _environment()
_PAGE: Final = TEMPLATES.get_template("answers/templates/page.html")
STYLE: Final = packaged("answers/templates/page.css")


def style_source(style: str) -> str:
    """Return what a Content-Security-Policy admits the one style sheet of a page by: its hash."""
    return f"'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'"


# Nothing may be loaded, run, framed or sent elsewhere; the one style sheet is in the page, and known by its hash.
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        f"style-src {style_source(STYLE)}",
        "img-src data:",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


def render_form(frame: Frame) -> str:
    """Return the page that asks for a name."""
    return _page(frame)


def render_domain_page(frame: Frame, domain: PublicDomain) -> str:
    """Return the page about a domain."""
    text = render_domain(domain, omit_withheld_email=False)
    sections = tuple(_sections(frame, domain.registrant, text))
    return _page(frame, name=domain.name.unicode, sections=sections, registrar=domain.registrar)


def render_host_page(frame: Frame, host: Host) -> str:
    """Return the page about a name server host."""
    return _page(frame, name=host.name.unicode, sections=(Section("", tuple(_rows(render_host(host)))),))


def render_notice(frame: Frame, title: str, text: str) -> str:
    """Return the page that has no record to show, with the reason; `title` is of `WORDS`."""
    return _page(frame, notice=(WORDS[frame.language][title], text))


def _page(
    frame: Frame,
    *,
    name: str = "",
    sections: tuple[Section, ...] = (),
    registrar: Registrar | None = None,
    notice: tuple[str, str] | None = None,
) -> str:
    return _PAGE.render(
        frame=frame,
        words=WORDS[frame.language],
        style=STYLE,
        name=printable(name),
        sections=sections,
        registrar=registrar,
        notice=notice,
        typed=printable(frame.typed),
    )


def _sections(frame: Frame, who: PublicRegistrant | Withheld, text: str) -> Iterator[Section]:
    """Yield the sections of an answer, with a Registrant section that is left out in its place, and why it is."""
    for number, section in enumerate(text.split("\n\n")):
        title = section.partition("\n")[0]
        title = "" if ":" in title else title
        yield Section(title, tuple(_rows(section, frame.language, who if title == "Registrant" else None)))
        if not number and isinstance(who, Withheld):
            yield Section("Registrant", (), reason_in(frame.language, who.reason))


def _rows(text: str, language: Language = Language.ENGLISH, who: PublicRegistrant | Withheld | None = None) -> Iterator[Row]:
    for line in text.splitlines():
        if found := _LINE.fullmatch(line):
            label, value = found.groups()
            field = getattr(who, _FIELDS[label]) if who and label in _FIELDS else None
            yield Row(label, value, reason_in(language, field.reason) if isinstance(field, Withheld) else "")


def reason_in(language: Language, reason: Reason) -> str:
    """Return a reason in the words of a language."""
    return DANISH[reason] if language is Language.DANISH else SENTENCES[reason]


def language_of(accepted: str) -> Language:
    """Return the language to answer in, by an `Accept-Language` (RFC 9110, 12.5.4): English unless Danish is preferred."""
    if not accepted:  # as programs have it
        return Language.ENGLISH
    weights = dict.fromkeys(Language, 0.0)
    for part in accepted[:200].split(","):
        tag, _, parameter = part.strip().lower().partition(";")
        language = tag.partition("-")[0].strip()
        if language in weights:
            weights[Language(language)] = max(weights[Language(language)], _weight(parameter))
    return Language.DANISH if weights[Language.DANISH] > weights[Language.ENGLISH] else Language.ENGLISH


def _weight(parameter: str) -> float:
    """Return the weight that a parameter gives: 1 where it gives none, and 0 for what is no weight."""
    if not parameter.strip():
        return 1.0
    found = re.fullmatch(r"\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*", parameter)
    return float(found[1]) if found else 0.0
