"""What anyone may see, as the text of a .dk answer. Takes the public types alone, so it can print nothing withheld.

A field line is its label, a colon and spaces up to column 23, then the value. Client libraries read the first six
registrant lines by position: each of the six is always there, once, in that order.
"""

import re
from datetime import date
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from whoisd.answers.disclosure import PublicDomain, PublicRegistrant, Reason, Withheld
from whoisd.answers.model import DomainStatus, Host, IdStatus
from whoisd.answers.notices import FOOT

REDACTED: Final = "DATA REDACTED"
NOT_GIVEN: Final = "***N/A***"

STATUS: Final = {
    DomainStatus.ACTIVE: "Active",
    DomainStatus.DEACTIVATED: "Deactivated",
    DomainStatus.RESERVED: "Reserved",
    DomainStatus.OFFERED_TO_WAITING_LIST: "Offered to waiting list",
}
ID_STATUS: Final = {
    IdStatus.ELECTRONIC_ID: "ID verified via electronic ID",
    IdStatus.DOCUMENTATION: "ID verified by submission of documentation",
    IdStatus.REGISTRAR: "ID checked by registrar",
    IdStatus.RISK_ASSESSMENT: "Registrant approved after a risk assessment",
}

# What could add a line to an answer, or turn its text around: control characters, Unicode's own line ends, the
# bidirectional overrides, lone surrogates.
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def render_domain(domain: PublicDomain, *, omit_withheld_email: bool) -> str:
    """Return the body of a domain answer, and the foot when the query did not ask for the registrant.

    `omit_withheld_email` leaves the Email line out when the email is withheld, instead of printing that it is.
    """
    if domain.status is DomainStatus.OFFERED_TO_WAITING_LIST:
        return _waiting_list_section(domain)
    sections = [_domain_section(domain)]
    if isinstance(domain.registrant, PublicRegistrant):
        sections.append(_registrant_section(domain.registrant, omit_withheld_email=omit_withheld_email))
    if domain.nameservers:
        sections.append(_nameservers_section(domain.nameservers))
    section = domain.registrant
    not_asked = isinstance(section, Withheld) and section.reason is Reason.NOT_ASKED
    return "\n".join(sections) + (FOOT if not_asked else "")


def render_host(host: Host) -> str:
    """Return the body of an answer for a name server host."""
    return f"""\
Nameserver:           {_shown(host.name.ascii)}
Glue:                 {"Being spooled" if host.glue else "Not being spooled"}
"""


def printable(value: str) -> str:
    """Return a value with nothing in it that could add a line, or turn a text around."""
    return value if value.isprintable() else UNPRINTABLE.sub("?", value)


def mailto(email: str) -> str:
    """Return the URI that writes to an email (RFC 6068), with nothing in it that could add a field to the message."""
    return "mailto:" + quote(printable(email), safe="@")


def _domain_section(domain: PublicDomain) -> str:
    registrar = f"Registrar:            {_shown(domain.registrar.name)}\n" if domain.registrar else ""
    delete_date = f"Delete date:          {_date(domain.delete_date)}\n" if domain.delete_date else ""
    return f"""\
Domain:               {_shown(domain.name.unicode)}
DNS:                  {_shown(domain.name.ascii)}
Registered:           {_date(domain.registered)}
Expires:              {_date(domain.expires)}
{registrar}{delete_date}\
Registration period:  {_period(domain.period_years)}
VID:                  {"yes" if domain.vid else "no"}
DNSSEC:               {"Signed delegation" if domain.dnssec else "Unsigned delegation"}
Status:               {STATUS[domain.status]}
"""


def _waiting_list_section(domain: PublicDomain) -> str:
    return f"""\
Domain:               {_shown(domain.name.unicode)}
DNS:                  {_shown(domain.name.ascii)}
Registered:           {NOT_GIVEN}
Expires:              {NOT_GIVEN}
Registration period:  {NOT_GIVEN}
VID:                  {NOT_GIVEN}
DNSSEC:               {NOT_GIVEN}
Status:               {STATUS[domain.status]}
"""


def _registrant_section(registrant: PublicRegistrant, *, omit_withheld_email: bool) -> str:
    phone = f"Phone:                {_shown(registrant.phone)}\n" if registrant.phone else ""
    omit_email = omit_withheld_email and isinstance(registrant.email, Withheld)
    email = "" if omit_email else f"Email:                {_shown(registrant.email)}\n"
    id_status = f"ID status:            {ID_STATUS[registrant.id_status]}\n" if registrant.id_status else ""
    return f"""\
Registrant
Handle:               {_shown(registrant.handle)}
Name:                 {_shown(registrant.name)}
Address:              {_shown(registrant.address)}
Postalcode:           {_shown(registrant.postal_code)}
City:                 {_shown(registrant.city)}
Country:              {_shown(registrant.country)}
{phone}{email}{id_status}"""


@lru_cache(maxsize=4096)  # of a pure function: a few name servers serve most domains
def _nameservers_section(hosts: tuple[str, ...]) -> str:
    return "Nameservers\n" + "".join([f"Hostname:             {_shown(host)}\n" for host in hosts])


def _shown(value: str | Withheld | None) -> str:
    """Return a value fit for its line: withheld, not given when blank, and with nothing in it that could forge a line."""
    if isinstance(value, Withheld):
        return REDACTED
    if value is None or is_blank(value):
        return NOT_GIVEN
    return printable(value)


# What nobody sees: Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt), white space, and Braille's blank.
_BLANK: Final = re.compile(
    "[\\s\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)


def is_blank(text: str) -> bool:
    """Whether there is nothing to be seen of a text: it is empty, or white space and invisible characters alone."""
    return not text.strip() or (not text.isascii() and _BLANK.fullmatch(text) is not None)


@lru_cache(maxsize=1 << 14)  # of a pure function: many domains are registered, or expire, on one day
def _date(day: date | None) -> str:
    return day.isoformat() if day else NOT_GIVEN


def _period(years: int | None) -> str:
    if not years:
        return NOT_GIVEN
    return "1 year" if years == 1 else f"{years} years"
