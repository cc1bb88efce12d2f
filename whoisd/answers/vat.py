"""What a VAT number is, by its text and by the country: right, wrong, a person's, another country's, or not settled.

Forms and check digits are python-stdnum's, its strictness mended: of what may be left out, and of the numbers that persons
in Italy, Turkey and Hungary give. Who has a number is told by a table of ours. Knows no register: a number that is right
may still belong to nobody. CVR numbers are judged here too.
"""

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cache
from importlib import import_module
from typing import Any, Final


class Number(StrEnum):
    """What a CVR number or, abroad, a VAT number is. The last two are said by VIES, and never by the text."""

    NONE = "none"  # blank, or something else in its place
    RIGHT = "right"
    WRONG = "wrong"
    PERSONS = "persons"  # it tells that a person has it
    ANOTHERS = "anothers"  # of another country than the registrant's
    UNSETTLED = "unsettled"
    UNREGISTERED = "unregistered"  # VIES knows no such number
    UNLISTED = "unlisted"  # VIES was not asked, and the operator wants it asked


# --- what a country's numbers are ----------------------------------------------------------------------------------

# python-stdnum's modules, by country; a number is right that one of them takes. The Isle of Man (IM) is of the VAT area of
# the United Kingdom, and its numbers are British.
_MODULES: Final[Mapping[str, str]] = {
    "AD": "ad.nrt", "AL": "al.nipt", "AR": "ar.cuit", "AT": "at.uid", "AU": "au.abn", "AZ": "az.voen", "BE": "be.vat",
    "BG": "bg.vat", "BR": "br.cnpj", "BY": "by.unp", "CA": "ca.bn", "CH": "ch.uid", "CL": "cl.rut", "CN": "cn.uscc",
    "CO": "co.nit", "CR": "cr.cpj", "CY": "cy.vat", "CZ": "cz.dic", "DE": "de.vat", "DK": "dk.cvr", "DO": "do.rnc",
    "DZ": "dz.nif", "EC": "ec.ruc", "EE": "ee.kmkr", "EG": "eg.tn", "ES": "es.nif", "FI": "fi.alv", "FO": "fo.vn",
    "FR": "fr.tva", "GB": "gb.vat", "GH": "gh.tin", "GN": "gn.nifp", "GR": "gr.vat", "GT": "gt.nit", "HR": "hr.oib",
    "HU": "hu.anum", "ID": "id.npwp", "IE": "ie.vat", "IL": "il.hp", "IM": "gb.vat", "IN": "in_.gstin", "IS": "is_.vsk",
    "IT": "it.iva it.codicefiscale", "JP": "jp.cn", "KE": "ke.pin", "KR": "kr.brn", "LT": "lt.pvm", "LU": "lu.tva",
    "LV": "lv.pvn", "MA": "ma.ice", "MC": "mc.tva", "ME": "me.pib", "MK": "mk.edb", "MT": "mt.vat", "MX": "mx.rfc",
    "MZ": "mz.nuit", "NL": "nl.btw", "NO": "no.orgnr", "NZ": "nz.ird", "PE": "pe.ruc", "PL": "pl.nip", "PT": "pt.nif",
    "PY": "py.ruc", "RO": "ro.cf", "RS": "rs.pib", "RU": "ru.inn", "SE": "se.orgnr", "SG": "sg.uen", "SI": "si.ddv",
    "SK": "sk.dph", "SM": "sm.coe", "SN": "sn.ninea", "SV": "sv.nit", "TH": "th.moa", "TN": "tn.mf",
    "TR": "tr.vkn tr.tckimlik", "TW": "tw.ubn", "UY": "uy.rut", "VE": "ve.rif", "VN": "vn.mst",
}  # fmt: skip

# Whose code is no prefix: numbers begin with CHE in Switzerland, GB on the Isle of Man, FR in Monaco. Those and what else
# there is instead of a code (EL in Greece, XI in Northern Ireland) python-stdnum knows.
_WITHOUT_CODE: Final = frozenset({"CH", "IM", "MC"})

# What a number may end in, and may as well lack.
_ENDINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "CH": ("MWST", "TVA", "IVA", "TPV"),
    "NO": ("MVA",),
    "SE": ("01",),
}

# Whose numbers tell nothing by their form: they are so many digits and no more or, in Guatemala, of nearly any length.
_LOOSE: Final = frozenset({"DZ", "EG", "FO", "GT", "IS", "KR", "SM"})

_BY_PREFIX: Final = {code: code for code in _MODULES} | {"EL": "GR", "XI": "GB"}

# Countries without VAT numbers of their own whose companies may be registered in another.
_SHARED: Final[Mapping[str, str]] = {
    "AX": "FI", "BL": "FR", "GF": "FR", "GG": "GB", "GL": "DK", "GP": "FR", "JE": "GB", "MF": "FR", "MQ": "FR", "RE": "FR",
    "YT": "FR",
}  # fmt: skip


# Numbers that tell that a person has them: whoever has one trades as a person. First those that the registry withholds, by
# the European Commission's table of VAT numbers (VIES, question 11) and each country's tax authority; then those of
# countries outside of the Union, by the pages that python-stdnum's modules name.
_PERSONS: Final[Mapping[str, re.Pattern[str]]] = {
    "BG": re.compile("[0-9]{10}"),  # the personal number (EGN, PNF), or one like it
    "CY": re.compile("[09].*"),
    "CZ": re.compile("[0-9]{10}|[0-57-9][0-9]{8}"),  # the birth number (rodné číslo)
    "ES": re.compile("[0-9KLMXYZ].*"),  # DNI, NIE, and what stands for them
    "HU": re.compile("8[0-9]{9}"),  # the tax number of a person (adóazonosító jel)
    "IE": re.compile("[0-9]{7}[A-Z][AW]"),  # A is for individuals; W was for wives
    "IT": re.compile(".{16}"),  # the codice fiscale of a person
    "LV": re.compile("[0-3].*"),  # the personal number
    "PT": re.compile("[1238].*|45.*|7[045].*"),
    "RO": re.compile("[0-9]{13}"),  # the personal number (CNP)
    "SE": re.compile("..[01].*"),  # the personal number, whose third digit begins a month
    "SK": re.compile("[13].*"),
    "TR": re.compile("[0-9]{11}"),  # the personal number (T.C. kimlik)
    "AD": re.compile("[EF].*"),  # OECD's page: individuals who live abroad, and in Andorra
    "AR": re.compile("2.*"),  # 20, 23, 24 and 27
    "AZ": re.compile(".*2"),
    "BY": re.compile("[A-Z].*"),
    "CL": re.compile("[0-9]{7}.|[0-4][0-9]{7}."),  # the personal number (RUN); companies have 50 million and more
    "EC": re.compile("..[0-5].*"),
    "GH": re.compile("P.*"),
    "ID": re.compile("[1-9][0-9]{15}"),  # the personal number (NIK)
    "IN": re.compile(".{5}[HP].*"),  # the fourth letter of the PAN: a person, a Hindu family
    "KE": re.compile("A.*"),
    "MX": re.compile(".{13}"),
    "PE": re.compile("1.*"),
    "RU": re.compile("[0-9]{12}"),
    "VE": re.compile("[EPV].*"),
}
# Numbers of which none is given out, as far as is known: neither a person's nor an organisation's.
_NOBODYS: Final[Mapping[str, re.Pattern[str]]] = {"LV": re.compile("[678].*")}

# --- what is no number ---------------------------------------------------------------------------------------------

_MARKS: Final = re.compile(r"[\s.\u2010-\u2015\u2212-]")  # \s has no-break spaces too
_FORM: Final = re.compile("(?=.*[1-9])[A-Z0-9][A-Z0-9/+*,:]{1,23}")
_LONG_ENOUGH: Final = 4  # for a number of a country whose numbers we do not know
# A date, or a personal number in the Nordic way: with marks that make it one.
_MONTH, _DAY = "(?:0?[1-9]|1[0-2])", "(?:0?[1-9]|[12][0-9]|3[01])"
_DATE: Final = re.compile(
    f"(?:18|19|20)[0-9]{{2}}([-./ ]){_MONTH}\\1{_DAY}|{_DAY}([-./ ]){_MONTH}\\2(?:18|19|20)[0-9]{{2}}"
    "|(?:18|19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[-+ ][0-9]{4}"
)
_CVR_FORM: Final = re.compile("(?:DK)? ?(?!0{8})[0-9]{8}")


# --- judging -------------------------------------------------------------------------------------------------------


def is_cvr_form(text: str) -> bool:
    """Whether a text has the form of a CVR number: no remark ("none", "applied for 2024-05-01", "0") passes for one."""
    return _CVR_FORM.fullmatch(text) is not None


def is_cvr_number(text: str) -> bool:
    """Whether a text is a CVR number: 8 digits, of which the last is right (modulus 11)."""
    return is_cvr_form(text) and _right(text, "DK") is not None


def judge(text: str, country: str) -> Number:
    """Judge the text that a registrant of a country (ISO 3166-1 alpha-2) other than Denmark gives for a VAT number.

    Spaces, hyphens, dots and lower case make no number wrong, and its prefix may be missing. Of a country that has no VAT,
    or whose numbers nobody told us of, nothing is settled.
    """
    bare = _MARKS.sub("", text)
    number = bare.upper()  # which makes ASCII of some letters that are none, where VIES would not find the number
    if not bare.isascii() or not _FORM.fullmatch(number) or _DATE.fullmatch(text.strip()):
        return Number.NONE
    if country not in _MODULES:
        return _judge_by_others(number, country)
    own = _right(number, country)
    if own is None:
        return _judge_wrong(number)
    if country in _LOOSE or is_cvr_number(number):
        return Number.UNSETTLED  # right here and in CVR: it may be left from before the registrant moved
    return _judge_right(own, country)


def _judge_by_others(number: str, country: str) -> Number:
    """Judge a number of whose country there are no rules."""
    other = _country_of(number)
    if other and other != _SHARED.get(country):
        return Number.ANOTHERS
    return Number.NONE if _is_remark(number) or len(number) < _LONG_ENOUGH else Number.UNSETTLED


def _judge_wrong(number: str) -> Number:
    """Judge a number that is none of its country's."""
    if _country_of(number) or is_cvr_number(number):  # who moves abroad leaves a Danish one, which has no prefix
        return Number.ANOTHERS
    return Number.NONE if _is_remark(number) else Number.WRONG


def _judge_right(number: str, country: str) -> Number:
    """Judge a right number, without its prefix, by who has it."""
    if country == "NL":
        return Number.RIGHT if _passes_the_11_test(number) else Number.PERSONS
    for holders, judgement in ((_PERSONS, Number.PERSONS), (_NOBODYS, Number.UNSETTLED)):
        if country in holders and holders[country].fullmatch(number):
            return judgement
    return Number.RIGHT


def _passes_the_11_test(number: str) -> bool:
    """Whether a Dutch number may be an organisation's: those of persons have passed modulus 97 alone since 2020."""
    return bool(import_module("stdnum.nl.bsn").is_valid(number[:9]))


def _country_of(number: str) -> str | None:
    """Return the country whose prefix a number has and by whose rules it is right, if there is one."""
    country = _BY_PREFIX.get(number[:2])
    return country if country and _right(number, country) else None


def _is_remark(number: str) -> bool:
    """Whether a text is a word with a date in it rather than a number."""
    return sum(map(str.isdigit, number)) < sum(map(str.isalpha, number))


def _right(number: str, country: str) -> str | None:
    """Return a number without its prefix and ending where it is right by its country's rules, else None."""
    for bare in _bare(number, country):
        if country == "HU" and _PERSONS["HU"].fullmatch(bare):  # which python-stdnum does not know
            return bare
        for rules in _rules(country):
            try:
                return str(rules.validate(bare))
            except ValueError:  # python-stdnum's, which is imported when a number is judged, and its own of an odd text
                continue
    return None


def _bare(number: str, country: str) -> Iterator[str]:
    """Yield a number without its prefix and its ending: each way in which it may be meant."""
    for prefix in ("",) if country in _WITHOUT_CODE else (country, ""):
        if number.startswith(prefix):
            rest = number.removeprefix(prefix)
            yield from (rest.removesuffix(ending) for ending in (*_ENDINGS.get(country, ()), "") if rest.endswith(ending))


@cache
def _rules(country: str) -> tuple[Any, ...]:
    """Return python-stdnum's modules for the numbers of a country."""
    return tuple(import_module(f"stdnum.{name}") for name in _MODULES[country].split())


def prepare() -> None:
    """Import the rules of every country now, rather than while a client waits for an answer."""
    for country in _MODULES:
        _rules(country)
