"""Makes registry data of any size, the same for the same seed: `bench/registry.py --domains 1300000 registry.jsonl`.

The names are drawn so that no two runs over the same seed differ and every kind of registrant that the disclosure rules
tell apart is there, in about the shares of a national registry. Nobody in it exists: emails end in .example, CVR and VAT
numbers are of ranges made up here with valid check digits. `--changed 1` makes a later export of the same registry, in
which one line in a hundred is another.
"""

import argparse
import gzip
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson

Fields = dict[str, Any]

DOMAINS_A_REGISTRANT: Final = 2  # of a registry of 1.3 million domains, on average
DOMAINS_A_HOST: Final = 50
REGISTRARS: Final = 300
_SYLLABLES: Final = (
    *("ba", "de", "fi", "go", "hu", "ja", "ke", "li", "mo", "nu", "pa", "re", "si", "to", "va"),
    *("by", "do", "fo", "gi", "hy", "jo", "ka", "lo", "må", "ny", "po", "ro", "sø", "ti", "vi"),
)
_CITIES: Final = (
    ("1050", "København K"),
    ("5000", "Odense C"),
    ("8000", "Aarhus C"),
    ("9000", "Aalborg"),
    ("6700", "Esbjerg"),
)
_ID_STATUS: Final = (None, "electronic_id", "electronic_id", "documentation", "registrar", "risk_assessment")

# Kinds of registrants: how many in a hundred, and what makes them.
_MIX: Final = (
    (45, {"kind": "individual"}),
    (25, {"kind": "company", "cvr_locked": True, "cvr_form": 80}),
    (8, {"kind": "company", "cvr_locked": True, "cvr_form": 60}),
    (5, {"kind": "company", "cvr_locked": True, "cvr_form": 10}),
    (2, {"kind": "company", "cvr_locked": True, "cvr_form": 15}),
    (1, {"kind": "company", "cvr_locked": True, "cvr_form": 80, "cvr_bankruptcy": True}),
    (1, {"kind": "company", "cvr_locked": True, "cvr_form": 999}),
    (4, {"kind": "company"}),
    (2, {"kind": "association", "cvr_locked": True, "cvr_form": 110}),
    (1, {"kind": "public_organization", "cvr_locked": True, "cvr_form": 250}),
    (1, {"kind": "individual", "address_protection": True}),
    (3, {"kind": "company", "country": "DE"}),
    (1, {"kind": "company", "country": "DE", "sole_proprietorship": True}),
    (1, {"kind": "company", "country": "US"}),
)
_KINDS: Final = [made for share, made in _MIX for _ in range(share)]
_STATUS: Final = ["active"] * 96 + ["deactivated"] * 2 + ["reserved"] + ["offered_to_waiting_list"]


def registry(domains: int, seed: int) -> Iterator[Fields]:
    """Return the records of a registry with so many domains: registrars, hosts, registrants, domains."""
    chance = random.Random(seed)
    registrants = max(1, domains // DOMAINS_A_REGISTRANT)
    hosts = max(4, domains // DOMAINS_A_HOST)
    for number in range(REGISTRARS):
        yield {"type": "registrar", "handle": registrar_handle(number), "name": f"Registrator {number} A/S"}
    for number in range(hosts):
        yield {"type": "host", "name": host_name(number)}
    for number in range(registrants):
        yield _registrant(number, chance)
    for number in range(domains):
        yield _domain(number, registrants, hosts, chance)


def changed(records: Iterator[Fields], percent: float, seed: int) -> Iterator[Fields]:
    """Return the same records, of which so many in a hundred have a new name, phone number or expiry."""
    chance = random.Random(f"changed {seed}")
    for record in records:
        if chance.random() * 100 < percent:
            if record["type"] == "registrant":
                record["phone"] = f"+45 {chance.randrange(10**8):08}"
            elif record.get("expires"):
                record["expires"] = f"{2030 + chance.randrange(5)}-06-30"
        yield record


def registrar_handle(number: int) -> str:
    """Return the REG handle of a registrar by its number."""
    return f"REG-{100000 + number}"


def registrant_handle(number: int) -> str:
    """Return the handle of a registrant by its number."""
    return f"R{number}"


def host_name(number: int) -> str:
    """Return a host's name: most under .dk names of the registry itself, every tenth elsewhere."""
    return f"ns{number % 4}.host{number // 4}.{'net' if number % 10 == 9 else 'dk'}"


def domain_name(number: int) -> str:
    """Return a domain's name, with national letters in about a fifth of them."""
    rest, word = number, ""
    for _ in range(3):
        rest, syllable = divmod(rest, len(_SYLLABLES))
        word += _SYLLABLES[syllable]
    return f"{word}{number % 9973}.dk" if rest == 0 else f"{word}{rest}-{number % 97}.dk"


def _registrant(number: int, chance: random.Random) -> Fields:
    made = chance.choice(_KINDS)
    country = made.get("country", "DK")
    postal_code, city = chance.choice(_CITIES)
    record: Fields = {
        "type": "registrant",
        "handle": registrant_handle(number),
        "name": f"Navn Nummer {number}" if made["kind"] == "individual" else f"Firma {number} & Søn ApS",
        "street": [
            f"Ørevej {chance.randrange(1, 200)}",
            *([f"{chance.randrange(1, 9)}. sal"] if chance.random() < 0.3 else []),
        ],
        "postal_code": postal_code,
        "city": city,
        "country": country,
        "phone": f"+45 {chance.randrange(10**8):08}" if chance.random() < 0.7 else None,
        "email": f"post{number}@firma{number % 1000}.example",
        "id_status": chance.choice(_ID_STATUS),
        **made,
    }
    if chance.random() < 0.2:
        record["secondary_email"] = f"kontakt{number}@firma{number % 1000}.example"
    if chance.random() < 0.01:
        record["id_confirmed"] = False
    if made["kind"] != "individual" and country != "US":
        record["vat_number"] = cvr_number(number) if country == "DK" else vat_number(number)
    return record


def _domain(number: int, registrants: int, hosts: int, chance: random.Random) -> Fields:
    record: Fields = {"type": "domain", "name": domain_name(number), "status": chance.choice(_STATUS)}
    if record["status"] == "offered_to_waiting_list":
        return record
    first = chance.randrange(hosts - 3)
    return record | {
        "registered": f"{chance.randrange(1998, 2026)}-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}",
        "expires": f"2027-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}",
        "period_years": chance.choice((1, 1, 1, 2, 3, 5)),
        "dnssec": chance.random() < 0.6,
        "registrar": registrar_handle(chance.randrange(REGISTRARS)) if chance.random() < 0.8 else None,
        "registrant": registrant_handle(chance.randrange(registrants)),
        "nameservers": [host_name(first + step) for step in range(chance.choice((2, 2, 2, 3, 4)))],
    }


def cvr_number(number: int) -> str:
    """Return a CVR number with a valid check digit (modulus 11), of a range that begins with 9."""
    while True:
        digits = f"{9_000_000 + number % 999_999:07}"
        rest = sum(weight * int(digit) for weight, digit in zip((2, 7, 6, 5, 4, 3, 2), digits, strict=True)) % 11
        if rest != 1:
            return digits + str(-rest % 11)
        number += 7


def vat_number(number: int) -> str:
    """Return a German VAT number with a valid check digit (ISO 7064, mod 11, 10)."""
    digits, check = f"{90_000_000 + number % 9_999_999:08}", 5
    for digit in digits:
        check = (((check or 10) * 2) % 11 + int(digit)) % 10
    return f"DE{digits}{(1 - (((check or 10) * 2) % 11)) % 10}"


def main() -> None:
    """Write a registry as the command line asks."""
    options = argparse.ArgumentParser(description="Make registry data of any size; the same seed makes the same data.")
    options.add_argument("--domains", type=int, default=1_300_000, help="how many domains (default: 1,300,000)")
    options.add_argument("--seed", type=int, default=1, help="what decides on everything else (default: 1)")
    options.add_argument("--changed", type=float, default=0, metavar="PERCENT", help="how many lines differ (default: 0)")
    options.add_argument("file", nargs="?", help="where to write; .gz compresses (default: standard output)")
    asked = options.parse_args()
    records = registry(asked.domains, asked.seed)
    if asked.changed:
        records = changed(records, asked.changed, asked.seed)
    lines = (orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records)
    if asked.file is None:
        sys.stdout.buffer.writelines(lines)
    else:
        with (gzip.open if asked.file.endswith(".gz") else open)(Path(asked.file), "wb") as out:
            out.writelines(lines)


if __name__ == "__main__":
    main()
