"""The disclosure report as one page, for people who do not read tables: bars, sentences, and the rules in words.

Self-contained HTML in Danish or English: no script, nothing of others', and a policy that forbids both. It prints. A bar is
SVG, which a browser prints; a background it leaves out. Takes a `Report`, which has counts and moments, so that no value of
a registrant can be in it. The reasons' words are those of the lookup page (`answers.page`), the rules are the table itself.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from whoisd.answers.disclosure import RULES, Reason
from whoisd.answers.page import STYLE, TEMPLATES, Language, packaged, reason_in, style_source
from whoisd.registry.report import EMAILS, REASONS, SUBJECTS, Email, Report, Subject, figures

_WORDS: Final[Mapping[Language, Mapping[str, str]]] = {
    Language.ENGLISH: {
        "title": "Whose email WHOIS shows",
        "about": "How many emails of registrants are public, how many are withheld, and why. The page has numbers alone:"
        " no name, no email and no domain is in it.",
        "at": "By the rules as they are at {at}",
        "in_force": "The rules on emails are in force since {moment}",
        "not_in_force": "The rules on emails are not yet in force: they will be from {moment}",
        "data": "Data of {made_at}, {age}",
        "charset": "Counted for answers in {charset}",
        "too_old": "The data is older than the operator allows, or its age is not known: every email is withheld.",
        "registrants": "Registrants",
        "domains": "Domains",
        "registrants_sentence": "Of {total} registrants the email of {shown} is shown, and that of {withheld} withheld."
        " One counts by what is shown of an active domain of theirs.",
        "domains_sentence": "Of {total} domains the registrant's email is shown for {shown}, and withheld for {withheld}.",
        "shown": "Shown",
        "withheld": "Withheld",
        "none": "None.",
        "number": "{count} of {total} ({share})",
        "more": "{count} more than before",
        "fewer": "{count} fewer than before",
        "since": "Changes since {moment}",
        "change": "{email}: from {before} to {now}, {difference}",
        "unchanged": "Nothing has changed.",
        "rules": "The rules",
        "order": "They are read from the top, and the first that fits decides. The last one takes whatever is left.",
        "besides": "What withholds besides the rules",
        "unknown_age": "of an age that is not known",
        "new": "less than 2 minutes old",
        "minutes": "{number} minutes old",
        "hours": "{number} hours old",
        "days": "{number} days old",
        "comma": ",",
    },
    Language.DANISH: {
        "title": "Hvis e-mailadresse WHOIS viser",
        "about": "Hvor mange registranters e-mailadresser der er offentlige, hvor mange der tilbageholdes, og hvorfor. Siden"
        " har kun tal: der er ingen navne, ingen e-mailadresser og ingen domæner på den.",
        "at": "Efter reglerne, som de er {at}",
        "in_force": "Reglerne om e-mailadresser har været i kraft siden {moment}",
        "not_in_force": "Reglerne om e-mailadresser er endnu ikke trådt i kraft: det gør de {moment}",
        "data": "Oplysninger fra {made_at}, {age}",
        "charset": "Talt for svar i {charset}",
        "too_old": "Oplysningerne er ældre, end operatøren tillader, eller deres alder er ukendt: alle e-mailadresser"
        " tilbageholdes.",
        "registrants": "Registranter",
        "domains": "Domæner",
        "registrants_sentence": "Af {total} registranter vises e-mailadressen for {shown} og tilbageholdes for"
        " {withheld}. En registrant tælles efter, hvad der vises om et aktivt domæne, vedkommende har.",
        "domains_sentence": "Af {total} domæner vises registrantens e-mailadresse for {shown}"
        " og tilbageholdes for {withheld}.",
        "shown": "Vises",
        "withheld": "Tilbageholdes",
        "none": "Ingen.",
        "number": "{count} af {total} ({share})",
        "more": "{count} flere end før",
        "fewer": "{count} færre end før",
        "since": "Ændringer siden {moment}",
        "change": "{email}: fra {before} til {now}, {difference}",
        "unchanged": "Intet er ændret.",
        "rules": "Reglerne",
        "order": "De læses oppefra, og den første, der passer, afgør sagen. Den sidste tager alt, hvad der er tilbage.",
        "besides": "Hvad der tilbageholder ud over reglerne",
        "unknown_age": "hvis alder er ukendt",
        "new": "mindre end 2 minutter gamle",
        "minutes": "{number} minutter gamle",
        "hours": "{number} timer gamle",
        "days": "{number} dage gamle",
        "comma": ".",
    },
}

# How old data is said to be: from so many seconds on, in units of so many. Each begins at two, so that all are plural.
_UNITS: Final = ((2 * 86_400, 86_400, "days"), (2 * 3_600, 3_600, "hours"), (120, 60, "minutes"))
_FUTURE: Final = -120  # seconds: whose clock is ahead by more tells no age

_LEAST: Final = 0.5  # of 100: no bar is too short to be seen

_PAGE: Final = TEMPLATES.get_template("registry/templates/report.html")
_STYLE: Final = STYLE + packaged("registry/templates/report.css")
_POLICY: Final = f"default-src 'none'; style-src {style_source(_STYLE)}; img-src data:; base-uri 'none'; form-action 'none'"


class Bar(NamedTuple):
    """A reason that occurred: its words, how long its bar is where 100 are all, and how many that is, in words."""

    reason: Reason
    words: str
    width: float
    number: str


class Group(NamedTuple):
    """Those whose email is shown, or withheld."""

    title: str
    shown: bool
    bars: list[Bar]


class Part(NamedTuple):
    """What is said of a subject; `share` is how much of 100 is shown."""

    key: Subject
    title: str
    sentence: str
    share: float
    groups: list[Group]


class Change(NamedTuple):
    """A reason whose count is another than in the earlier report."""

    reason: Reason
    words: str
    number: str


class Changes(NamedTuple):
    """The changes of a subject."""

    title: str
    changes: list[Change]


class Since(NamedTuple):
    """What is between an earlier report and this one."""

    title: str
    facts: list[str]
    parts: list[Changes]


class Rule(NamedTuple):
    """A rule in words: what becomes of the email, and when."""

    email: str
    words: str
    reason: Reason


def to_html(report: Report, before: Report | None, language: Language, operator: str) -> str:
    """Return the page; with an earlier report also what changed since. `operator` is who answers for it."""
    say = _Words(language)
    return _PAGE.render(
        language=language,
        words=_WORDS[language],
        policy=_POLICY,
        style=_STYLE,
        made_at=_moment(report.made_at),
        facts=say.facts(report),
        warning=say("too_old") if report.is_too_old else "",
        parts=[_part(say, report, subject) for subject in SUBJECTS],
        since=_since(say, report, before) if before else None,
        rules=list(_rules(say)),
        besides=[Rule(say("withheld"), reason_in(language, reason), reason) for reason in _BESIDES],
        operator=operator,
        version=f"whoisd {report.version}",
    )


class _Words:
    """What the page says, in one language."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self._sentences = _WORDS[language]

    def __call__(self, key: str, **values: object) -> str:
        """Return a sentence with these in it; whole numbers are written as the language writes them."""
        written = {name: self._number(value) if isinstance(value, int) else value for name, value in values.items()}
        return self._sentences[key].format(**written)

    def _number(self, value: int) -> str:
        return f"{value:,}".replace(",", self._sentences["comma"])

    def facts(self, report: Report) -> list[str]:
        """Return when it was counted, of which data and by which rules."""
        return [
            self("data", made_at=_moment(report.made_at), age=self.age(report.data_age)),
            self("at", at=_moment(report.at)),
            self("in_force" if report.in_force else "not_in_force", moment=_moment(report.in_force_from)),
            self("charset", charset=report.charset.upper()),
        ]

    def age(self, seconds: float | None) -> str:
        """Return how old data is."""
        if seconds is None or seconds < _FUTURE:
            return self("unknown_age")
        for least, unit, name in _UNITS:
            if seconds >= least:
                return self(name, number=int(seconds / unit))
        return self("new")

    def difference(self, change: int) -> str:
        """Return a change in words."""
        return self("more" if change > 0 else "fewer", count=abs(change))


def _moment(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M %Z}"


def _share(count: int, total: int) -> str:
    """Return a share in whole percents, of which none is rounded to nothing or to all."""
    percent = 100 * count / total
    if 0 < percent < 1:
        return "< 1 %"
    return "> 99 %" if 99 < percent < 100 else f"{percent:.0f} %"  # noqa: PLR2004 - percents


def _part(say: _Words, report: Report, subject: Subject) -> Part:
    counts = {place[1:]: count for place, count in figures(report).items() if place[0] == subject}
    total = sum(counts.values())
    sums = {email: sum(count for (of, _), count in counts.items() if of == email) for email in EMAILS}
    groups = [Group(say(email), email == "shown", list(_bars(say, counts, email, total))) for email in EMAILS]
    sentence = say(f"{subject}_sentence", total=total, shown=sums["shown"], withheld=sums["withheld"])
    return Part(subject, say(subject), sentence, round(100 * sums["shown"] / (total or 1), 2), groups)


def _bars(say: _Words, counts: Mapping[tuple[Email, Reason], int], email: Email, total: int) -> Iterator[Bar]:
    """Yield the bars of an email's reasons, the longest first."""
    found = [(count, reason) for (of, reason), count in counts.items() if of == email and count]
    for count, reason in sorted(found, key=lambda one: -one[0]):
        number = say("number", count=count, total=total, share=_share(count, total))
        yield Bar(reason, reason_in(say.language, reason), max(_LEAST, round(100 * count / total, 2)), number)


def _since(say: _Words, report: Report, before: Report) -> Since:
    parts = [Changes(say(subject), list(_changes(say, report, before, subject))) for subject in SUBJECTS]
    return Since(say("since", moment=_moment(before.made_at)), say.facts(before), parts)


def _changes(say: _Words, report: Report, before: Report, subject: Subject) -> Iterator[Change]:
    """Yield what changed of a subject, the largest change first."""
    was = figures(before)
    found = [(place, now, was[place]) for place, now in figures(report).items() if place[0] == subject and now != was[place]]
    for (_, email, reason), now, then in sorted(found, key=lambda one: -abs(one[1] - one[2])):
        number = say("change", email=say(email), before=then, now=now, difference=say.difference(now - then))
        yield Change(reason, reason_in(say.language, reason), number)


# --- The rules ---------------------------------------------------------------------------------------------------

_OF_RULES: Final = {*(rule.reason for rule in RULES), Reason.NOT_SETTLED}
_BESIDES: Final = tuple(reason for reason in REASONS["domains", "withheld"] if reason not in _OF_RULES)


def _rules(say: _Words) -> Iterator[Rule]:
    """Yield the rules in their order, those beside each other with one reason as one; last, what no rule matches."""
    said = None
    for rule in RULES:
        if rule.reason is not said:
            said = rule.reason
            yield Rule(say("shown" if rule.shown else "withheld"), reason_in(say.language, said), said)
    yield Rule(say("withheld"), reason_in(say.language, Reason.NOT_SETTLED), Reason.NOT_SETTLED)
