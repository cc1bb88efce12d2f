"""CVR and VAT numbers: whether their check digits are right. Knows what python-stdnum knows, and no register.

A number that passes may still belong to nobody; that a registrant's does is for the registry to say (`cvr_locked`).
"""

from functools import cache
from typing import Any

from stdnum.dk import cvr
from stdnum.util import get_cc_module

from whoisd.answers.disclosure import CVR_NUMBER


def is_cvr_number(text: str) -> bool:
    """Whether a text is a CVR number as the disclosure rules take it: 8 digits, of which the last is right (modulus 11)."""
    return CVR_NUMBER.fullmatch(text) is not None and bool(cvr.is_valid(text))


def is_vat_number(text: str, country: str) -> bool | None:
    """Whether a text is a VAT number of a country (ISO 3166-1 alpha-2), with or without its prefix; None: cannot be told."""
    if country == "DK":
        return is_cvr_number(text)
    rules = _rules(country)
    return None if rules is None else bool(rules.is_valid(text))


@cache
def _rules(country: str) -> Any:
    """Return python-stdnum's module for a country's VAT numbers; None where it has none."""
    return get_cc_module(country, "vat")
