"""Make the reference from the code: the settings, the commands, both man pages and the picture of the packages.

`make man` writes them; tests hold that what is written is what the code says. The prose of the man pages is that of the
pages beside this file, so that nothing is said twice.
"""

import re
import sys
import tomllib
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args, get_origin

import click
import grimp
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from whoisd.commands.cli import main
from whoisd.config import DEFAULT_TERMS, IN_FORCE_FROM, Settings
from whoisd.limits.counters import MOST_NAMED

DOCS: Final = Path(__file__).parent
ROOT: Final = DOCS.parent
LISTEN: Final = "`0.0.0.0` and `::`, port 43"
LISTS: Final = {
    "listen": FieldInfo(default=LISTEN, description="address to listen on; may be repeated"),
    "network": FieldInfo(default=None, description=f"a network with limits of its own; up to {MOST_NAMED}"),
}
# Where the manual says more of a command.
MORE: Final = {
    "serve": "[Reload and stop](operate.md#reload-and-stop)",
    "explain": "[Why a field is withheld](disclosure.md#why-a-field-is-withheld)",
    "bans": "[Who may ask how much](limits.md)",
    "probe": "[The probe](monitor.md#the-probe)",
    "load": "[Registry files](registry-files.md)",
    "cvr": "[CVR's own data](registry-files.md#cvrs-own-data)",
    "registrant": "[Decisions by hand](registry-office.md#decisions-by-hand)",
    "portal": "[The registrar portal](registry-office.md#the-registrar-portal)",
    "maintenance": "[Maintenance](registry-office.md#maintenance)",
    "report": "[Accounting for disclosure](disclosure.md#accounting-for-disclosure)",
}


def table(head: list[str], body: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(line)} |\n".replace(" --- ", "---") for line in lines)


# --- settings --------------------------------------------------------------------------------------------------------


def settings() -> Iterator[tuple[str, FieldInfo]]:
    """Yield each setting by its name, `section.key` or `[[section]] key`."""
    for section, info in Settings.model_fields.items():
        model: Any = info.annotation
        if get_origin(model) is tuple:
            yield f"[[{section}]]", LISTS[section]
            yield from ((f"[[{section}]] {name}", field) for name, field in get_args(model)[0].model_fields.items())
        else:
            for name, field in model.model_fields.items():
                yield f"{section}.{name}", field
                if inner := _sections_in(field):
                    yield from ((f"[[{section}.{name}]] {key}", part) for key, part in inner.model_fields.items())


def _sections_in(field: FieldInfo) -> type[BaseModel] | None:
    """Return what a setting is a list of, where that has keys of its own."""
    first = next(iter(get_args(field.annotation)), None)
    return first if isinstance(first, type) and issubclass(first, BaseModel) else None


def default(field: FieldInfo) -> str:
    """Return what holds when a setting is not given."""
    if field.default is PydanticUndefined:
        return "required"
    if field.default == LISTEN:
        return LISTEN
    if field.default == DEFAULT_TERMS:
        return "three lines, which the sandbox's answers begin with"
    if field.default == IN_FORCE_FROM:
        return f"`{IN_FORCE_FROM.isoformat()}`"
    if field.default in (None, ()):
        return "none"
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def meaning(field: FieldInfo) -> str:
    """Return what a setting is, after the values that it may have where they are few."""
    choices = get_args(field.annotation) if get_origin(field.annotation) is not types.UnionType else ()
    values = " or ".join(f"`{choice}`" for choice in choices if isinstance(choice, str))
    return f"{values}: {field.description}" if values else str(field.description)


def settings_table() -> str:
    """Return the table of settings."""
    body = [[f"`{name}`", default(field), meaning(field)] for name, field in settings()]
    return table(["key", "default", "what it is"], body)


# --- commands --------------------------------------------------------------------------------------------------------


def commands(group: click.Group = main, before: str = "whoisd") -> Iterator[tuple[str, click.Command]]:
    """Yield each command by the words that call it."""
    for name in sorted(group.commands):
        command = group.commands[name]
        if isinstance(command, click.Group):
            yield from commands(command, f"{before} {name}")
        else:
            yield f"{before} {name}", command


def synopsis(words: str, command: click.Command) -> str:
    """Return how a command is called, as its `--help` says."""
    pieces = command.collect_usage_pieces(click.Context(command, info_name=words))
    return " ".join([words, *pieces])


def paragraphs(command: click.Command) -> list[str]:
    """Return the paragraphs of a command's help, a line each."""
    return [" ".join(part.split()) for part in (command.help or "").split("\n\n")]


def options(command: click.Command) -> Iterator[tuple[str, str]]:
    """Yield each option with what it means, as `--help` says; `--help` itself is left out."""
    context = click.Context(command)
    for option in command.params:
        record = option.get_help_record(context) if isinstance(option, click.Option) else None
        if record:
            yield record[0], " ".join(record[1].split())


def cell(text: str) -> str:
    """Return a text as it stands in a cell of a table."""
    return text.replace("|", "\\|")


def commands_text() -> str:
    """Return a section for each command."""
    parts = []
    for words, command in commands():
        part = f"## {words}\n\n```\n{synopsis(words, command)}\n```\n\n" + "\n\n".join(paragraphs(command)) + "\n"
        body = [[f"`{cell(option)}`", cell(text)] for option, text in options(command)]
        more = MORE.get(words.split()[1])
        part += f"\n{table(['option', 'meaning'], body)}" if body else ""
        part += f"\nMore: {more}.\n" if more else ""
        parts.append(part)
    return "\n".join(parts)


# --- man pages -------------------------------------------------------------------------------------------------------


def roff(text: str) -> str:
    """Return a line of Markdown in the language of man pages: bold, code and links; nothing is taken for a request."""
    text = text.replace("\\", "\\e")
    text = re.sub(r"\[([^][]+)\]\([^)]+\)", r"\1", text)
    text = re.sub(r"\*\*(.+?)\*\*|`(.+?)`", lambda found: f"\\fB{found[1] or found[2]}\\fR", text)
    text = text.replace("-", "\\-").replace("'", "\\(aq")
    return re.sub(r"^([.])", r"\\&\1", text, flags=re.MULTILINE)


def prose(page: str) -> str:
    """Return the text of a page up to its first heading of the second rank or part from the code, for a man page."""
    text = re.split(r"^(?:##|<!--)", page, flags=re.MULTILINE)[0].partition("\n\n")[2]
    parts = []
    for part in text.strip().split("\n\n"):
        lines = part.splitlines()
        if lines[0].startswith("```"):
            parts.append(".EX\n" + "\n".join(map(roff, lines[1:-1])) + "\n.EE")
        else:
            parts.append(roff(part))
    return "\n.PP\n".join(parts)


def man(name: str, section: int, what: str, parts: Mapping[str, str]) -> str:
    """Return a man page of these sections."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    day = re.findall(r"^## [0-9.]+, (.*)$", changes, re.MULTILINE)[0]
    text = f'.\\" Made by docs/reference.py.\n.TH {name.upper()} {section} "{day}" "whoisd {project["version"]}" "whoisd"\n'
    text += f".SH NAME\n{name} \\- {roff(what)}\n"
    return text + "".join(f".SH {head}\n{body}\n" for head, body in parts.items())


def man_commands() -> str:
    """Return whoisd(8)."""
    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    sections = []
    for words, command in commands():
        called = roff(synopsis(words, command).removeprefix("whoisd "))
        said = "\n.PP\n".join(map(roff, paragraphs(command)))
        listed = "".join(f"\n.TP\n.B {roff(option)}\n{roff(text)}" for option, text in options(command))
        sections.append(f".SS {called}\n{said}{listed}")
    return man(
        "whoisd",
        8,
        "WHOIS server for the .dk registry",
        {
            "SYNOPSIS": ".B whoisd\n.I command\n[options] [arguments]",
            "DESCRIPTION": prose(page),
            "COMMANDS": "\n".join(sections),
            "FILES": ".TP\n.I /etc/whoisd/whoisd.toml\nThe configuration.\n.TP\n.I /run/whoisd/sources\nRates and bans.",
            "SEE ALSO": ".BR whois (1),\n.BR whoisd.toml (5)",
        },
    )


def man_configuration() -> str:
    """Return whoisd.toml(5)."""
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    listed = "\n".join(
        f".TP\n.B {roff(name)}\n{roff(meaning(field))}.\nDefault: {roff(default(field))}."
        if default(field) != "required"
        else f".TP\n.B {roff(name)}\n{roff(meaning(field))}.\nRequired."
        for name, field in settings()
    )
    return man(
        "whoisd.toml",
        5,
        "configuration of whoisd",
        {"DESCRIPTION": prose(page), "SETTINGS": listed, "SEE ALSO": ".BR whoisd (8)"},
    )


# --- the picture of the packages -------------------------------------------------------------------------------------

BOX, GAP, WIDTH = (150, 34), 26, 640
LEFT, MIDDLE, RIGHT, GROUND = 120, 230, 320, 520
# Where each stands in its row, so that no line goes behind another's box; the single modules stand in a column of their own.
COLUMNS: Final = {
    "commands": MIDDLE,
    "sandbox": MIDDLE,
    "server": LEFT,
    "registry": RIGHT,
    "config": GROUND,
    "database": MIDDLE,
    "log": GROUND,
    "answers": LEFT,
    "limits": RIGHT,
    "deadlines": GROUND,
    "errors": MIDDLE,
    "values": GROUND,
    "build": GROUND,
}


def layers() -> list[list[str]]:
    """Return the layers of import-linter's contract, from the top, without the entry point."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    return [layer.split(" | ") for layer in contracts[0]["layers"] if layer != "__main__"]


def imports() -> set[tuple[str, str]]:
    """Return which package imports which, without what follows from the rest: a line there goes by way of another."""
    graph = grimp.build_graph("whoisd")
    names = [name for layer in layers() for name in layer]
    direct: dict[str, set[str]] = {name: set() for name in names}
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            pair = [module.split(".")[1] if "." in module else "" for module in (importer, imported)]
            if pair[0] in direct and pair[1] in direct and pair[0] != pair[1]:
                direct[pair[0]].add(pair[1])

    def reached(name: str) -> set[str]:
        return {name}.union(*(reached(lower) for lower in direct[name]))

    return {
        (upper, lower)
        for upper, lowers in direct.items()
        for lower in lowers
        if not any(lower in reached(other) for other in lowers - {lower})
    }


def picture() -> str:
    """Return the packages as an SVG: a row for each layer, and a line from each to what it imports."""
    rows = layers()
    places = {
        name: (COLUMNS.get(name, RIGHT), GAP + row * (BOX[1] + GAP)) for row, names in enumerate(rows) for name in names
    }
    height = GAP + len(rows) * (BOX[1] + GAP)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
        '<g font-family="sans-serif" font-size="15" text-anchor="middle">',
        "<title>The packages of whoisd: each imports only what is below it</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
    ]
    for upper, lower in sorted(imports(), key=lambda pair: (places[pair[0]][1], pair)):
        (x1, y1), (x2, y2) = places[upper], places[lower]
        lines.append(f'<path d="M{x1:g} {y1 + BOX[1]}L{x2:g} {y2}" stroke="#789" stroke-width="1.5"/>')
    for name, (x, y) in places.items():
        package = (ROOT / "whoisd" / name).is_dir()
        lines.append(
            f'<rect x="{x - BOX[0] / 2:g}" y="{y}" width="{BOX[0]}" height="{BOX[1]}" rx="4"'
            f' fill="{"#dce9f5" if package else "#eee"}" stroke="#345"/>'
        )
        lines.append(f'<text x="{x:g}" y="{y + 22}">{name}{"/" if package else ""}</text>')
    return "\n".join([*lines, "</g>", "</svg>"]) + "\n"


# --- writing ---------------------------------------------------------------------------------------------------------


def with_part(page: Path, name: str, text: str) -> str:
    """Return a page with what stands between the marks of a part made anew."""
    before, mark, rest = page.read_text(encoding="utf-8").partition(f"<!-- {name} -->\n")
    if not mark:
        raise ValueError(f"{page}: it has no part {name!r}")
    return before + mark + text + rest[rest.index(f"<!-- /{name} -->") :]


MADE: Final[Mapping[str, Callable[[], str]]] = {
    "docs/configuration.md": lambda: with_part(DOCS / "configuration.md", "settings", settings_table()),
    "docs/commands.md": lambda: with_part(DOCS / "commands.md", "commands", commands_text()),
    "docs/packages.svg": picture,
    "man/whoisd.8": man_commands,
    "man/whoisd.toml.5": man_configuration,
}


if __name__ == "__main__":
    for name, make in MADE.items():
        (ROOT / name).write_text(make(), encoding="utf-8")
        sys.stdout.write(f"{name}\n")
