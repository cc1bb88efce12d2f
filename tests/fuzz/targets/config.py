"""A configuration file and the environment to settings.

The input is the file; what follows a NUL in it is a variable, NAME=VALUE, of which WHOISD_ is left out.
"""

import os
import random
import re
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel

from whoisd.answers.answer import Policy
from whoisd.answers.notices import PHRASES_FOR_FREE, about_lines
from whoisd.answers.wire import Charset, encode
from whoisd.config import ENV_PREFIX, Settings, load_settings
from whoisd.errors import ConfigError

LONGEST: Final = 6000
SECRET: Final = "hunter2"  # noqa: S105 - the password of nobody


def _names(model: Any) -> Iterator[str]:
    """The name of every section and of every key in it."""
    for name, field in model.model_fields.items():
        yield name
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from _names(inner)


_NAMES: Final = sorted({*_names(Settings)})
WORDS: Final = (
    *(f"{name} = ".encode() for name in _NAMES),
    *(f"[{name}]\n".encode() for name in Settings.model_fields),
    *(f"\0{name.upper()}=".encode() for name in Settings.model_fields),
    *(f"__{name.upper()}=".encode() for name in _NAMES),
    *(b"[[listen]]\n", b"[[network]]\n", b"'unlimited'", b"'127.0.0.1'", b"'::1'", b"['192.0.2.0/24']", b"true", b"inf"),
    *(b"2025-11-03T14:00:00+01:00", b"'postgresql://a:hunter2@h/d'", b"target_session_attrs=standby", b'"""', b"'''", b"\n"),
    *(b'[{"', b'"}]', b'{"', b'": "', b"not found", b"\\u0000", b"\\u2028"),
)  # fmt: skip
_VALUES: Final = (
    *("true", "false", "0", "1", "2", "43", "0.5", "-1", "3600", "1e6", "inf", "nan", "1_0", "99999999999999", "[]", "{}"),
    *('"unlimited"', '"a"', '"other"', '"debug"', '"json"', '"hash"', '"redacted"', '"127.0.0.1"', '"::1"', '"a\\u0000b"'),
    *('["192.0.2.0/24"]', '["10.0.0.0/7", "::/8"]', '["::/0"]', '"postgresql://a:hunter2@h,i:1/d"', '"postgres://@/d?host=a,b"'),
    *('"2026-01-01T00:00:00Z"', "2026-01-01T00:00:00", '""', '"Æ\\nB"', '"No Match"', '"\\u2028"', '"/"', '"/tmp/x"'),
)  # fmt: skip

_FOLDER: Final = tempfile.TemporaryDirectory(prefix="whoisd-fuzz-")
_FILE: Final = Path(_FOLDER.name, "whoisd.toml")
_ORIGIN: Final = re.compile(rf"({re.escape(str(_FILE))}|{ENV_PREFIX}.*): ", re.IGNORECASE)


def check(data: bytes) -> None:
    """Settings are taken, and then good for an answer, or refused in lines that name origin and key and quote no value."""
    text, *variables = data.split(b"\0")
    _FILE.write_bytes(text)
    with _environment(variables) as names:
        try:
            settings = load_settings(_FILE)
        except ConfigError as error:
            _check_faults(str(error))
            assert SECRET not in str(error) or SECRET in names or SECRET in _keys(text)
        else:
            _check_policy(settings.policy)
            assert settings.database.hosts.hosts
            assert b"\0" not in os.fsencode(settings.limits.file)
            assert settings.database.dsn.get_secret_value() not in repr(settings.database)
            assert load_settings(_FILE) == settings


def mutate(data: bytes, chance: random.Random) -> bytes:
    """Add a setting to the file or to the environment."""
    section = chance.choice(sorted(Settings.model_fields))
    model = Settings.model_fields[section].annotation
    inner = next((it for it in (model, *get_args(model)) if isinstance(it, type) and issubclass(it, BaseModel)), Settings)
    key, value = chance.choice(sorted(inner.model_fields)), chance.choice(_VALUES)
    if chance.random() < 0.5:
        return data + f"\0{section}__{key}={value}".upper().encode()
    brackets = ("[[", "]]") if section in {"listen", "network"} else ("[", "]")
    text, *variables = data.split(b"\0")
    return b"\0".join([text + f"\n{section.join(brackets)}\n{key} = {value}\n".encode(), *variables])


@contextmanager
def _environment(variables: list[bytes]) -> Iterator[str]:
    """Set these variables, and no other of ours; their names are given."""
    before = dict(os.environ)
    given = [variable.partition(b"=")[::2] for variable in variables if b"=" in variable]
    try:
        for name in [name for name in os.environ if name.upper().startswith(ENV_PREFIX)]:
            del os.environ[name]
        for key, value in given:
            os.environb[ENV_PREFIX.encode() + key] = value
        yield os.fsdecode(b" ".join(key for key, _ in given))
    finally:
        os.environ.clear()
        os.environ.update(before)


def _keys(text: bytes) -> str:
    """All keys of a file, which a fault may name; of one that is not TOML, all of it, for its fault may name any."""
    try:
        return repr([*_walk(tomllib.loads(text.decode()))])
    except (ValueError, RecursionError):
        return repr(text)


def _walk(value: object) -> Iterator[str]:
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield str(key)
        yield from _walk(inner)


def _check_faults(said: str) -> None:
    """Each fault is one line of printable text, and begins with the file or the variable."""
    assert said
    for line in said.split("\n"):
        assert _ORIGIN.match(line), said
        assert line.isprintable(), said
        assert len(line) < 2 * LONGEST


def _check_policy(policy: Policy) -> None:
    """What the operator says in every answer is comment lines, and no client takes them for an unregistered name."""
    text = about_lines(policy.operator, policy.version, policy.terms, 2026, policy.notice)
    assert all(line == "#" or (line.startswith("# ") and line.isprintable()) for line in text.removesuffix("\n").split("\n"))
    assert not any(phrase in text.lower() for phrase in PHRASES_FOR_FREE)
    assert all(encode(text, charset).endswith(b"\r\n") for charset in Charset)
