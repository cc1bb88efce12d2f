"""What anyone may see, as the text of a .dk answer. Takes the public types alone, so it can print nothing withheld.

A field line is its label, a colon and spaces up to column 23, then the value. Client libraries read the first six
registrant lines by position: each of the six is always there, once, in that order.
"""

import re
from datetime import date
from typing import Final

from whoisd.disclosure import PublicDomain, PublicRegistrant, Reason, Withheld
from whoisd.model import DomainStatus, Host, IdStatus
from whoisd.notices import FOOT

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
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


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
        sections.append("Nameservers\n" + "".join(_line("Hostname", host) for host in domain.nameservers))
    foot = FOOT if domain.registrant == Withheld(Reason.NOT_ASKED) else ""
    return "\n".join(sections) + foot


def render_host(host: Host) -> str:
    """Return the body of an answer for a name server host."""
    return _line("Nameserver", host.name.ascii) + _line("Glue", "Being spooled" if host.glue else "Not being spooled")


def _domain_section(domain: PublicDomain) -> str:
    return (
        _line("Domain", domain.name.unicode)
        + _line("DNS", domain.name.ascii)
        + _line("Registered", _date(domain.registered))
        + _line("Expires", _date(domain.expires))
        + (_line("Registrar", domain.registrar) if domain.registrar else "")
        + (_line("Delete date", _date(domain.delete_date)) if domain.delete_date else "")
        + _line("Registration period", _period(domain.period_years))
        + _line("VID", "yes" if domain.vid else "no")
        + _line("DNSSEC", "Signed delegation" if domain.dnssec else "Unsigned delegation")
        + _line("Status", STATUS[domain.status])
    )


def _waiting_list_section(domain: PublicDomain) -> str:
    return (
        _line("Domain", domain.name.unicode)
        + _line("DNS", domain.name.ascii)
        + "".join(_line(label, None) for label in ("Registered", "Expires", "Registration period", "VID", "DNSSEC"))
        + _line("Status", STATUS[domain.status])
    )


def _registrant_section(registrant: PublicRegistrant, *, omit_withheld_email: bool) -> str:
    omit_email = omit_withheld_email and isinstance(registrant.email, Withheld)
    return (
        "Registrant\n"
        + _line("Handle", registrant.handle)
        + _line("Name", registrant.name)
        + _line("Address", registrant.address)
        + _line("Postalcode", registrant.postal_code)
        + _line("City", registrant.city)
        + _line("Country", registrant.country)
        + (_line("Phone", registrant.phone) if registrant.phone else "")
        + ("" if omit_email else _line("Email", registrant.email))
        + (_line("ID status", ID_STATUS[registrant.id_status]) if registrant.id_status else "")
    )


def _line(label: str, value: str | Withheld | None) -> str:
    return f"{label + ':':<22}{REDACTED if isinstance(value, Withheld) else _printable(value)}\n"


def _printable(value: str | None) -> str:
    """Return a value fit for its line: not given when blank, and with nothing in it that could forge a line."""
    if value is None or not value.strip():
        return NOT_GIVEN
    return value if value.isprintable() else UNPRINTABLE.sub("?", value)


def _date(day: date | None) -> str | None:
    return day.isoformat() if day else None


def _period(years: int | None) -> str | None:
    if not years:
        return None
    return "1 year" if years == 1 else f"{years} years"
