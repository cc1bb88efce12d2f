"""What anyone may see, as the registry's RESTful WHOIS (`whois-api` 4.2) has it: JSON, field for field.

Takes the public types alone, so it can print nothing withheld: what is withheld is null, as a value that is not given is.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

from whoisd.answers.dates import midnight
from whoisd.answers.disclosure import PublicDomain, PublicRegistrant, Withheld
from whoisd.answers.model import DomainStatus, Host, RegistrantKind, Registrar
from whoisd.answers.names import unicode_of
from whoisd.answers.response import ID_STATUS, printable

MEDIA_TYPE: Final = "application/json"

OK: Final = "OK"

# The letters of `public_domain_status` and `useridtype`; of the latter the specification's examples have V alone.
STATUS: Final = {
    DomainStatus.ACTIVE: "A",
    DomainStatus.DEACTIVATED: "H",
    DomainStatus.RESERVED: "I",
    DomainStatus.OFFERED_TO_WAITING_LIST: "W",
}
KIND: Final[Mapping[RegistrantKind, str | None]] = {
    RegistrantKind.COMPANY: "V",
    RegistrantKind.INDIVIDUAL: "P",
    RegistrantKind.PUBLIC_ORGANIZATION: "O",
    RegistrantKind.ASSOCIATION: "F",
    RegistrantKind.UNKNOWN: None,
}

Object = dict[str, object]


def render_domain(domain: PublicDomain) -> Object:
    """Return the object for a domain; one that is offered to a waiting list has its name and its status alone."""
    unicode_form, ascii_form = printable(domain.name.unicode), domain.name.ascii
    whole: Object = {"domain": unicode_form, "domain_encoded": ascii_form}
    if domain.status is not DomainStatus.OFFERED_TO_WAITING_LIST:
        whole["createddate"] = _date(domain.registered)
        whole["paiduntildate"] = _date(domain.expires)
        whole["public_deletedate"] = _date(domain.delete_date)
        whole["periodqty"] = str(domain.period_years) if domain.period_years else None
        whole["dnssec"] = "J" if domain.dnssec else "N"
        whole["domain_type"] = "V"
        whole["nameservers"] = {
            printable(host): {
                "domain": unicode_form,
                "domain_encoded": ascii_form,
                "hostname": printable(unicode_of(host)),
                "hostname_encoded": printable(host),
            }
            for host in domain.nameservers
        }
        registrant = domain.registrant
        whole["registrant"] = _registrant(registrant) if isinstance(registrant, PublicRegistrant) else None
        if domain.registrar:
            whole["registrar"] = _registrar(domain.registrar)
    whole["message"] = OK
    whole["public_domain_status"] = STATUS[domain.status]
    whole["status"] = 200
    return whole


def render_host(host: Host) -> Object:
    """Return the object for a name server host."""
    return {
        "hostname": printable(host.name.unicode),
        "hostname_encoded": host.name.ascii,
        "glue_spooled": "J" if host.glue else "N",
        "nameserver_status": "A",
        "message": OK,
        "status": 200,
    }


def render_error(status: int, message: str) -> Object:
    """Return the object of an answer that has no record; `status` is that of HTTP."""
    return {"message": message, "status": status}


def _registrant(who: PublicRegistrant) -> Object:
    first, second, third = _streets(() if isinstance(who.street, Withheld) else who.street)
    return {
        "name": _value(who.name),
        "street1": first,
        "street2": second,
        "street3": third,
        "zipcode": _value(who.postal_code),
        "city": _value(who.city),
        "countryregionid": _value(who.country),
        "phone": _value(who.phone),
        "email": _value(who.email),
        "id_status": ID_STATUS[who.id_status] if who.id_status else None,
        "useridtype": None if isinstance(who.kind, Withheld) else KIND[who.kind],
    }


def _registrar(registrar: Registrar) -> Object:
    if not registrar.public:
        return {"is_public": False}
    first, second, third = _streets(registrar.street)
    return {
        "is_public": True,
        "name": _value(registrar.name),
        "street1": first,
        "street2": second,
        "street3": third,
        "zipcode": _value(registrar.postal_code),
        "city": _value(registrar.city),
        "countryregionid": _value(registrar.country),
        "phone": _value(registrar.phone),
        "url": _value(registrar.url),
        "logo": None,
        "useridtype": KIND[RegistrantKind.COMPANY],
    }


def _streets(lines: Sequence[str]) -> tuple[str | None, str | None, str | None]:
    """Return the three lines of an address; what there is beyond is in the last, so that none is lost."""
    first = _value(lines[0]) if lines else None
    second = _value(lines[1]) if len(lines) > 1 else None
    return first, second, _value(", ".join([line for line in lines[2:] if line]))


def _value(value: str | Withheld | None) -> str | None:
    """Return a value, or null for one that is withheld, not given or blank."""
    return printable(value) if isinstance(value, str) and value.strip() else None


def _date(day: date | None) -> str | None:
    return midnight(day) if day else None
