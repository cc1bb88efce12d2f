"""The command that serves without a registry of one's own."""

from pathlib import Path

import click

from whoisd.commands.terminal import command, file_path
from whoisd.config import canonical_address
from whoisd.sandbox.sandbox import HTTP_PORT, run_sandbox


def _address(_context: click.Context, _option: click.Parameter, value: str) -> str:
    try:
        return canonical_address(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command("sandbox")
@click.option("--host", default="127.0.0.1", show_default=True, callback=_address, help="IPv4 or IPv6 address to listen on.")
@click.option("--port", default=4343, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes any.")
@click.option(
    "--http-port", type=click.IntRange(0, 65535), metavar="PORT",
    help="Port of the page, RESTful WHOIS and RDAP; 0 takes any.  [default: 8080, or any where --port 0 is given]",
)  # fmt: skip
@click.option("--data", multiple=True, type=file_path, metavar="FILE", help="Registry file to load too; may be repeated.")
@click.option(
    "--directory", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="Folder to keep and use again.  [default: a temporary one, removed at exit]",
)  # fmt: skip
@command
def sandbox_command(host: str, port: int, http_port: int | None, data: tuple[Path, ...], directory: Path | None) -> None:
    """Serve a small predefined registry from a PostgreSQL of its own."""
    if http_port is None:
        http_port = HTTP_PORT if port else 0
    run_sandbox(host, (port, http_port), data, directory)
