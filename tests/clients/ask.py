"""Asks the `whois` command and Python clients, as their authors ship them, and says what they make of the answers.

Takes calls as JSON, [{way, host, port, name}], and prints a list of what each returned, or {error}. ask.js is the same for
JavaScript. This is a process of its own because these libraries leave sockets open, and processes that they do not wait for.
"""

import asyncio
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import asyncwhois
import whois
from asyncwhois.errors import WhoIsError
from asyncwhois.query import DomainQuery
from whois.exceptions import PywhoisError

OPTIONS: Final = "--charset=utf-8 --show-handles"
TIMEOUT: Final = 60  # seconds; what a busy machine takes is nobody's fault


def ask_whois(host: str, port: int, name: str) -> dict[str, Any]:
    """The text that the command prints, in a UTF-8 locale."""
    command = ["whois", "-h", host, "-p", str(port), "--", f"{OPTIONS} {name}"]
    ended = subprocess.run(command, env={"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"}, capture_output=True, check=True)
    return {"text": ended.stdout.decode().splitlines()}


def ask_python_whois(host: str, port: int, name: str) -> dict[str, Any]:
    """The library over its own socket, which it connects to the registry's port 43: here to our host and port."""

    class ToOurPort(socket.socket):
        def connect(self, address: Any) -> None:
            assert address == (whois.NICClient.DK_HOST, 43)
            super().connect((host, port))

    with patch.object(whois.NICClient, "get_socket", staticmethod(ToOurPort)):
        return whois.whois(name, timeout=TIMEOUT)  # type: ignore[no-any-return]  # the library has no types


def ask_python_whois_by_whois(host: str, port: int, name: str) -> dict[str, Any]:
    """The library over the command, which asks the registry with these options by itself, but no other host."""
    with tempfile.TemporaryDirectory() as folder:
        command = Path(folder, "whois")
        command.write_text(f'#!/bin/sh\nexec whois -h {host} -p {port} -- "{OPTIONS} $1"\n')
        command.chmod(0o755)
        return whois.whois(name, command=True, executable=str(command))  # type: ignore[no-any-return]  # no types


def ask_asyncwhois(host: str, port: int, name: str) -> dict[str, Any]:
    """The library in both of its ways, which must agree, to our host and port."""
    client = asyncwhois.DomainClient(timeout=TIMEOUT)
    with patch.object(DomainQuery, "_get_server_name", lambda *_: host), patch.object(DomainQuery, "whois_port", port):
        _, found = client.whois(name)
        _, found_async = asyncio.run(client.aio_whois(name))
    assert found == found_async
    return {str(key): value for key, value in found.items()}


def ask_asyncwhois_with_options(host: str, port: int, name: str) -> dict[str, Any]:
    """The library's query and its parser, with options before the name."""
    client = asyncwhois.DomainClient(timeout=TIMEOUT)
    with patch.object(DomainQuery, "whois_port", port):
        answer = client.query_obj.run(f"{OPTIONS} {name}", host)[-1]
    return {str(key): value for key, value in client.parse_obj.parse(answer, "dk").items()}


WAYS: Final[Mapping[str, Callable[[str, int, str], dict[str, Any]]]] = {
    "whois": ask_whois,
    "python-whois": ask_python_whois,
    "python-whois by whois": ask_python_whois_by_whois,
    "asyncwhois": ask_asyncwhois,
    "asyncwhois with options": ask_asyncwhois_with_options,
}


def ask(way: str, host: str, port: int, name: str) -> dict[str, Any]:
    """What one call makes of the answer; the libraries' own errors are something that they make of it."""
    try:
        return WAYS[way](host, port, name)
    except (PywhoisError, WhoIsError) as error:
        return {"error": type(error).__name__}


if __name__ == "__main__":
    json.dump([ask(**call) for call in json.loads(sys.argv[1])], sys.stdout, default=lambda moment: f"{moment:%Y-%m-%d}")
