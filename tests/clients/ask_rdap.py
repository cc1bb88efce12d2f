"""Asks Python clients of RDAP, as their authors ship them, and says what they make of the answers.

Takes calls as JSON, [{way, url, name}], and prints a list of what each returned, or {error}. ask_rdap.mjs is the same for
JavaScript. Each finds its server in IANA's list, of which there is ours alone here. A process of its own, as ask.py is.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import asyncwhois
import whodap
import whoisit
from whodap.errors import WhodapError
from whoisit.errors import WhoisItError


def services(url: str) -> dict[str, Any]:
    """IANA's list of the servers of domains (RFC 9224), as it would be with ours alone."""
    return {"version": "1.0", "publication": "2026-01-01T00:00:00Z", "services": [[["dk"], [url]]]}


def ask_whoisit(url: str, name: str) -> dict[str, Any]:
    """The library, which wants the lists of networks too."""
    lists = {
        "timestamp": int(time.time()),
        "dns": services(url),
        "asn": {"services": [[["1-2"], [url]]]},
        "ipv4": {"services": [[["192.0.2.0/24"], [url]]]},
        "ipv6": {"services": [[["2001:db8::/32"], [url]]]},
        "object": {"services": [[["x"], ["TEST"], [url]]]},
    }
    whoisit.clear_bootstrapping()
    whoisit.load_bootstrap_data(json.dumps(lists), allow_insecure=True)
    found: dict[str, Any] = whoisit.domain(name)
    return found


def _whodap(url: str) -> whodap.DNSClient:
    client = whodap.DNSClient(whodap.DNSClient._get_default_httpx_client())  # noqa: SLF001 - as it makes its own
    client._set_iana_info(services(url))  # noqa: SLF001 - it reads the list from IANA's server alone
    return client


def ask_whodap(url: str, name: str) -> dict[str, Any]:
    """The library, as a flat record such as WHOIS gives."""
    core, _, tld = name.rpartition(".")
    record: Mapping[Any, Any] = _whodap(url).lookup(core, tld).to_whois_dict()
    return {str(key): value for key, value in record.items()}


def ask_asyncwhois(url: str, name: str) -> dict[str, Any]:
    """The library, which uses whodap."""
    _, found = asyncwhois.DomainClient(whodap_client=_whodap(url)).rdap(name)
    return {str(key): value for key, value in found.items()}


async def _ask_asyncwhois_async(url: str, name: str) -> dict[str, Any]:
    client = whodap.DNSClient(whodap.DNSClient._get_default_httpx_client(aio=True))  # noqa: SLF001 - as above
    client._set_iana_info(services(url))  # noqa: SLF001 - as above
    try:
        _, found = await asyncwhois.DomainClient(whodap_client=client).aio_rdap(name)
    finally:
        await client.aio_close()
    return {str(key): value for key, value in found.items()}


WAYS: Final[Mapping[str, Callable[[str, str], dict[str, Any]]]] = {
    "whoisit": ask_whoisit,
    "whodap": ask_whodap,
    "asyncwhois": ask_asyncwhois,
    "asyncwhois, asyncio": lambda url, name: asyncio.run(_ask_asyncwhois_async(url, name)),
}


def ask(way: str, url: str, name: str) -> dict[str, Any]:
    """What one call makes of the answer; the libraries' own errors are something that they make of it."""
    try:
        return WAYS[way](url, name)
    except (WhodapError, WhoisItError) as error:
        return {"error": type(error).__name__}


if __name__ == "__main__":
    json.dump([ask(**call) for call in json.loads(sys.argv[1])], sys.stdout, default=str)
