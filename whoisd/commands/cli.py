"""The commands. Each reads its settings, calls one function of the package, and says what came of it.

Exit status: 0 when it is done, 1 when it cannot be, 2 when the command line or the configuration is wrong.

A command's module is imported when the command is run: nobody waits for what they do not use, as a probe every few
seconds would, and no server holds it in memory.
"""

from collections.abc import Iterator, Mapping
from pkgutil import resolve_name
from typing import Final

import click

from whoisd.build import build_of

_WHERE: Final = {
    "bans": "whoisd.commands.bans:bans_commands",
    "check": "whoisd.commands.serve:check_command",
    "cvr": "whoisd.commands.cvr:cvr_commands",
    "explain": "whoisd.commands.query:explain_command",
    "load": "whoisd.commands.load:load_command",
    "heartbeat": "whoisd.commands.load:heartbeat_command",
    "maintenance": "whoisd.commands.maintenance:maintenance_commands",
    "migrate": "whoisd.commands.load:migrate_command",
    "portal": "whoisd.commands.portal:portal_commands",
    "probe": "whoisd.commands.probe:probe_command",
    "query": "whoisd.commands.query:query_command",
    "registrant": "whoisd.commands.registrant:registrant_commands",
    "report": "whoisd.commands.report:report_commands",
    "sandbox": "whoisd.commands.sandbox:sandbox_command",
    "serve": "whoisd.commands.serve:serve_command",
    "top": "whoisd.commands.top:top_command",
    "vat": "whoisd.commands.vat:vat_commands",
}


class _Commands(Mapping[str, click.Command]):
    """The commands by their names; one is imported when it is taken."""

    def __getitem__(self, name: str) -> click.Command:
        command: click.Command = resolve_name(_WHERE[name])
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(_WHERE)

    def __len__(self) -> int:
        return len(_WHERE)


@click.group(commands=_Commands(), context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="whoisd", prog_name="whoisd", message=f"%(prog)s, version %(version)s, {build_of()}")
def main() -> None:
    """Run and operate a WHOIS server for the .dk registry."""
