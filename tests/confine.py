"""Runs a command under the restrictions that a unit file names, without systemd. On Linux, by root, for tests.

    python confine.py SETTINGS     a JSON object, see `Settings`; its command takes our place

It reads the directives from the unit file itself and does for each what systemd 252 does (its execute.c, namespace.c and
seccomp-util.c). A directive that it does not know ends it: one that is added to the unit is tried too, or says here why
it is not. Three things are not as under systemd: the account is one that exists; `/run` is empty, but for the runtime
directory; and what the command needs from a folder that is hidden (an interpreter below root's home, a socket below /tmp)
is shown there. What is met by the attempts of test_systemd.py is the same as under a systemd 252 that ran the unit.
"""

import ctypes
import errno
import json
import mmap
import os
import resource
import socket
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

try:
    import pyseccomp  # type: ignore[import-untyped]  # it ships no types
except RuntimeError:  # libseccomp is not installed: then a unit can be read, and no more
    pyseccomp = None

Unit = Mapping[str, Sequence[str]]

# Not restrictions of a process, but what systemd does with it.
SERVICE: Final = {
    "Type", "NotifyAccess", "WatchdogSec", "ExecStart", "ExecReload", "EnvironmentFile", "LoadCredential", "Restart",
    "RestartSec", "KillMode", "TimeoutStartSec", "TimeoutStopSec", "OOMPolicy", "LogRateLimitIntervalSec",
    "LogRateLimitBurst", "RuntimeDirectoryPreserve",
}  # fmt: skip
# Restrictions that are not tried here, with the reason.
UNTRIED: Final = {
    "DevicePolicy": "a control group's; /dev holds no other device anyway",
    "RemoveIPC": "systemd's, once the service has ended",
    "KeyringMode": "the filter refuses the calls that reach a keyring",
}
# What each of these is for is done as a whole, below.
APPLIED: Final = {
    "DynamicUser", "User", "UMask", "LimitNOFILE", "LimitCORE", "CapabilityBoundingSet", "AmbientCapabilities",
    "NoNewPrivileges", "PrivateUsers", "PrivateIPC", "PrivateMounts", "ProtectHostname", "ProtectSystem", "ReadOnlyPaths",
    "RuntimeDirectory", "RuntimeDirectoryMode", "ProtectHome", "PrivateTmp", "PrivateDevices", "ProtectProc", "ProcSubset",
    "ProtectControlGroups", "ProtectKernelTunables", "SystemCallArchitectures", "SystemCallFilter", "SystemCallErrorNumber",
    "RestrictAddressFamilies", "RestrictNamespaces", "MemoryDenyWriteExecute", "RestrictRealtime", "RestrictSUIDSGID",
    "LockPersonality", "ProtectClock", "ProtectKernelLogs", "ProtectKernelModules",
}  # fmt: skip
# The only values that are known for directives that have several.
VALUES: Final = {
    "CapabilityBoundingSet": "", "AmbientCapabilities": "", "ProtectSystem": "strict", "ProtectProc": "invisible",
    "ProcSubset": "pid", "SystemCallArchitectures": "native", "SystemCallErrorNumber": "EPERM",
}  # fmt: skip
FREE: Final = {
    "User", "UMask", "LimitNOFILE", "LimitCORE", "ReadOnlyPaths", "RuntimeDirectory", "RuntimeDirectoryMode",
    "SystemCallFilter", "RestrictAddressFamilies",
}  # fmt: skip

# Refused, and asked for all the same: what asks goes on without.
PROBED: Final = {"io_uring_setup": "libuv, which then waits by epoll; a ring would do what the filter refuses"}

_libc: Final = ctypes.CDLL(None, use_errno=True)
_MOUNT_SETATTR: Final = 442  # the number of the system call, the same on every architecture
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_MOUNT_RDONLY, _MOUNT_NOSUID = 1, 2
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
_NEW_NAMESPACES: Final = {  # CLONE_NEW*
    "mount": 0x00020000, "cgroup": 0x02000000, "uts": 0x04000000, "ipc": 0x08000000, "user": 0x10000000, "pid": 0x20000000,
    "net": 0x40000000, "time": 0x80,
}  # fmt: skip
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 24, 38, 47, 4
_FOR_ALL: Final = 0o1777
# Folders that an empty one is mounted over, with its mode.
_COVERED: Final = {
    "ProtectHome": {"/home": 0o711, "/root": 0o711, "/run/user": 0o711},
    "PrivateTmp": {"/tmp": _FOR_ALL, "/var/tmp": _FOR_ALL},  # noqa: S108 - the very folders
    "PrivateDevices": {"/dev": 0o755, "/dev/shm": _FOR_ALL},  # noqa: S108 - the very folder
}
_SHM_EXEC: Final = 0o100000
_FAMILIES: Final = 64  # more than there are families of addresses
_DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty")
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Settings(NamedTuple):
    """What the launcher is told."""

    unit: str  # path of the unit file
    command: list[str]
    account: int  # user and group id to run as
    runtime: str  # folder that becomes the runtime directory
    see: list[str]  # files and folders that must be seen although they are in a hidden folder
    environment: dict[str, str]
    sockets: list[int]  # descriptors to pass on as systemd does
    refuse: str = "errno"  # what a call meets that the filter refuses: the unit's "errno", or "kill" unless it is `PROBED`


def read_unit(path: Path, section: str = "Service") -> dict[str, list[str]]:
    """The directives of a section, each with its values in order."""
    at, directives = "", dict[str, list[str]]()
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            at = line
        elif at == f"[{section}]" and line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            directives.setdefault(name, []).append(value)
    return directives


def check(unit: Unit) -> None:
    """See to it that every directive is known, with its value."""
    unknown = [name for name in unit if name not in SERVICE and name not in APPLIED and name not in UNTRIED]
    unknown += [
        f"{name}={value}"
        for name, values in unit.items()
        for value in values
        if name in APPLIED and name not in FREE and value != VALUES.get(name, "yes")
    ]
    assert not unknown, f"not known here: {', '.join(unknown)}; teach tests/confine.py to apply it, or why it is not tried"


def confine(settings: Settings) -> None:
    """Become the command, under the restrictions of the unit."""
    unit = read_unit(Path(settings.unit))
    check(unit)
    # The list of what is allowed comes last: it does not hold what loads a filter.
    filters = [*argument_filters(unit), *system_call_filter(unit, settings.refuse)]
    _pass_on(settings.sockets)
    os.setgroups([])
    _separate(unit)
    _mount_all(unit, settings)
    _limit(unit)
    if "PrivateUsers" in unit:
        _own_users(settings.account)
    _drop_privileges(settings.account)
    os.chdir("/")
    os.umask(int(unit.get("UMask", ["022"])[0], 8))
    for each in filters:
        each.load()
    os.execve(settings.command[0], settings.command, _environment(unit, settings))  # noqa: S606 - this is what it is for


def _call(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _environment(unit: Unit, settings: Settings) -> dict[str, str]:
    directory = unit.get("RuntimeDirectory", [""])[0]
    watchdog = int(unit.get("WatchdogSec", ["0"])[0])
    process = str(os.getpid())
    return (
        {"PATH": _PATH, "LANG": "C.UTF-8", "USER": unit["User"][0], "LOGNAME": unit["User"][0]}
        | ({"RUNTIME_DIRECTORY": f"/run/{directory}"} if directory else {})
        | ({"WATCHDOG_USEC": str(watchdog * 1_000_000), "WATCHDOG_PID": process} if watchdog else {})
        | ({"LISTEN_FDS": str(len(settings.sockets)), "LISTEN_PID": process} if settings.sockets else {})
        | settings.environment
    )


def _pass_on(sockets: Sequence[int]) -> None:
    """Give the sockets the descriptors from 3 on."""
    aside = [os.dup(number) for number in sockets]
    aside = [_above(number, 3 + len(sockets)) for number in aside]
    for number, descriptor in enumerate(aside, start=3):
        os.dup2(descriptor, number, inheritable=True)


def _above(descriptor: int, least: int) -> int:
    while descriptor < least:
        descriptor = os.dup(descriptor)
    return descriptor


# --- namespaces and mounts -------------------------------------------------------------------------------------------


def _separate(unit: Unit) -> None:
    """Leave the namespaces of mounts, of IPC and of the host's name."""
    kinds = ["mount"] + ["ipc"] * ("PrivateIPC" in unit) + ["uts"] * ("ProtectHostname" in unit)
    _call(_libc.unshare(sum(_NEW_NAMESPACES[kind] for kind in kinds)), "unshare")


def _mount(source: str | None, target: str | Path, kind: str | None, flags: int, data: str | None = None) -> None:
    arguments = [text and os.fsencode(text) for text in (source, str(target), kind)]
    _call(_libc.mount(*arguments, ctypes.c_ulong(flags), data and data.encode()), f"mount {target}")


def _set_attributes(target: str | Path, *, add: int = 0, remove: int = 0, recursive: bool = False) -> None:
    attributes = (ctypes.c_uint64 * 4)(add, remove, 0, 0)
    flags = _AT_RECURSIVE if recursive else 0
    call = (_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(target), flags, attributes, ctypes.sizeof(attributes))
    _call(_libc.syscall(*call), f"mount_setattr {target}")


def _mount_all(unit: Unit, settings: Settings) -> None:
    """Show the command no more of the file system than the unit does, and let it write where the unit does."""
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    covered = {"/run": 0o755}
    for name in unit:
        covered |= _COVERED.get(name, {})
    covered |= _closed(settings.see)
    devices = [f"/dev/{name}" for name in _DEVICES] if "PrivateDevices" in unit else []
    # Held open before anything is mounted over them; a mount is made of them through /proc/self/fd.
    held = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in [*settings.see, *devices, settings.runtime]}
    _cover(covered)
    for path in sorted([*settings.see, *devices], key=len):  # a folder before what is in it
        if any(Path(path).is_relative_to(folder) for folder in covered):
            _show(held[path], Path(path))
    writable = ["/proc", "/run", *(folder for folder, mode in covered.items() if mode == _FOR_ALL)]
    if "RuntimeDirectory" in unit:
        writable.append(_mount_runtime(unit, held[settings.runtime], settings.account))
    if "ProtectProc" in unit:
        _mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, "hidepid=invisible,subset=pid")
    _set_attributes("/", add=_MOUNT_RDONLY | _MOUNT_NOSUID, recursive=True)
    for target in writable:
        if target not in " ".join(unit.get("ReadOnlyPaths", [])).split():
            _set_attributes(target, remove=_MOUNT_RDONLY)


def _closed(paths: Sequence[str]) -> dict[str, int]:
    """The outermost folder above each path that others may not enter: it is covered, so that what is in it can be shown."""
    folders = [
        next((each for each in (*Path(path).parents,)[::-1] if not each.stat().st_mode & 0o001), None) for path in paths
    ]
    return {str(folder): 0o711 for folder in folders if folder}


def _cover(folders: Mapping[str, int]) -> None:
    """Mount an empty folder over each."""
    for folder, mode in folders.items():
        if folder.startswith(("/run/", "/dev/")):
            Path(folder).mkdir()
        if Path(folder).is_dir():
            _mount("tmpfs", folder, "tmpfs", _MS_NOSUID, f"mode={mode:o}")


def _mount_runtime(unit: Unit, folder: int, account: int) -> str:
    """Make a folder that is held open the runtime directory."""
    os.chown(f"/proc/self/fd/{folder}", account, account)
    Path(f"/proc/self/fd/{folder}").chmod(int(unit["RuntimeDirectoryMode"][0], 8))
    target = Path("/run") / unit["RuntimeDirectory"][0]
    target.mkdir()
    _mount(f"/proc/self/fd/{folder}", target, None, _MS_BIND)
    return str(target)


def _show(descriptor: int, target: Path) -> None:
    """Show what is held open at its path, where an empty folder was mounted over it."""
    if target.exists():
        return  # in a folder that is shown already
    target.parent.mkdir(parents=True, exist_ok=True)
    if Path(f"/proc/self/fd/{descriptor}").is_dir():
        target.mkdir()
    else:
        target.touch()
    _mount(f"/proc/self/fd/{descriptor}", target, None, _MS_BIND | _MS_REC)


# --- privileges ------------------------------------------------------------------------------------------------------


def _limit(unit: Unit) -> None:
    """Set the limits; one that is above ours is lowered to it, as systemd does without CAP_SYS_RESOURCE."""
    for name, kind in (("LimitNOFILE", resource.RLIMIT_NOFILE), ("LimitCORE", resource.RLIMIT_CORE)):
        if name in unit:
            hard = resource.getrlimit(kind)[1]
            wanted = int(unit[name][0])
            least = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(kind, (least, least))


def _own_users(account: int) -> None:
    """Move to a user namespace that knows root and the account, and nobody else."""
    told, tell = os.pipe()
    process = os.getpid()
    child = os.fork()
    if not child:  # stays outside, with the right to write the map
        os.close(tell)
        os.read(told, 1)
        try:
            for which in ("uid_map", "gid_map"):
                Path(f"/proc/{process}/{which}").write_text(f"0 0 1\n{account} {account} 1\n", encoding="ascii")
        finally:
            os._exit(0)
    _call(_libc.unshare(_NEW_NAMESPACES["user"]), "unshare")
    os.close(tell)
    os.waitpid(child, 0)
    os.close(told)


def _drop_privileges(account: int) -> None:
    last = int(Path("/proc/self/status").read_text().partition("CapBnd:")[2].split()[0], 16).bit_length()
    for capability in range(max(last, 1)):
        _call(_libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0), "PR_CAPBSET_DROP")
    os.setresgid(account, account, account)
    os.setresuid(account, account, account)
    _call(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "PR_CAP_AMBIENT")
    _call(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS")


# --- system calls ----------------------------------------------------------------------------------------------------


def system_call_filter(unit: Unit, refuse: str = "errno") -> list[Any]:
    """The list of system calls that are allowed; every other meets EPERM, or kills."""
    names: set[str] = set()
    for value in unit.get("SystemCallFilter", []):
        found = {name for word in value.lstrip("~").split() for name in expand(word)}
        names = names - found if value.startswith("~") else names | found
    if not names:
        return []
    allowed = pyseccomp.SyscallFilter(pyseccomp.KILL_PROCESS if refuse == "kill" else pyseccomp.ERRNO(errno.EPERM))
    for name in names | expand("@default"):
        _add(allowed, pyseccomp.ALLOW, name)
    for name in PROBED.keys() - names if refuse == "kill" else ():
        _add(allowed, pyseccomp.ERRNO(errno.EPERM), name)
    return [allowed]


def expand(name: str) -> set[str]:
    """The system calls of a set, as systemd knows it, and of the sets in it."""
    if not name.startswith("@"):
        return {name}
    listed = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager", name], capture_output=True, text=True, check=True
    ).stdout
    words = [line.strip() for line in listed.splitlines()[1:]]
    return {call for word in words if word and not word.startswith("#") for call in expand(word)}


def argument_filters(unit: Unit) -> list[Any]:
    """What is refused by its arguments, a filter for each directive: as systemd has it in seccomp-util.c."""
    filters = []
    for directive, rules in _refusals(unit).items():
        if directive in unit:
            refused = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
            for name, number, *arguments in rules:
                _add(refused, pyseccomp.ERRNO(number), name, *arguments)
            filters.append(refused)
    return filters


def _add(to: Any, action: int, name: str, *arguments: Any) -> None:
    if pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) >= 0:  # else this architecture has no such call
        to.add_rule(action, name, *arguments)


def _refusals(unit: Unit) -> dict[str, list[tuple[Any, ...]]]:
    def has(argument: int, bits: int) -> Any:
        return pyseccomp.Arg(argument, pyseccomp.MASKED_EQ, bits, bits)

    def over(argument: int, value: int) -> Any:
        return pyseccomp.Arg(argument, pyseccomp.GT, value)

    def equals(argument: int, value: int) -> Any:
        return pyseccomp.Arg(argument, pyseccomp.EQ, value)

    families = {getattr(socket, name) for value in unit.get("RestrictAddressFamilies", []) for name in value.split()}
    special = (stat.S_ISUID, stat.S_ISGID)
    writable_code, code = mmap.PROT_WRITE | mmap.PROT_EXEC, mmap.PROT_EXEC
    return {
        "MemoryDenyWriteExecute": [
            ("mmap", errno.EPERM, has(2, writable_code)),
            ("mprotect", errno.EPERM, has(2, code)),
            ("pkey_mprotect", errno.EPERM, has(2, code)),
            ("shmat", errno.EPERM, has(2, _SHM_EXEC)),
        ],
        "RestrictAddressFamilies": [
            ("socket", errno.EAFNOSUPPORT, equals(0, family)) for family in range(_FAMILIES) if family not in families
        ]
        + [("socket", errno.EAFNOSUPPORT, over(0, _FAMILIES - 1))],
        "RestrictNamespaces": [
            ("clone3", errno.ENOSYS),
            ("setns", errno.EPERM),
            *(("unshare", errno.EPERM, has(0, flag)) for flag in _NEW_NAMESPACES.values()),
            *(("clone", errno.EPERM, has(0, flag)) for kind, flag in _NEW_NAMESPACES.items() if kind != "time"),
        ],
        "RestrictRealtime": [
            ("sched_setscheduler", errno.EPERM, equals(1, os.SCHED_FIFO)),
            ("sched_setscheduler", errno.EPERM, equals(1, os.SCHED_RR)),
            ("sched_setattr", errno.ENOSYS),
        ],
        "RestrictSUIDSGID": [
            ("openat2", errno.ENOSYS),
            *(("chmod", errno.EPERM, has(1, bit)) for bit in special),
            *(("fchmod", errno.EPERM, has(1, bit)) for bit in special),
            *(("fchmodat", errno.EPERM, has(2, bit)) for bit in special),
            *(("mkdir", errno.EPERM, has(1, bit)) for bit in special),
            *(("mkdirat", errno.EPERM, has(2, bit)) for bit in special),
            *(("open", errno.EPERM, has(1, os.O_CREAT), has(2, bit)) for bit in special),
            *(("openat", errno.EPERM, has(2, os.O_CREAT), has(3, bit)) for bit in special),
        ],
        "LockPersonality": [("personality", errno.EPERM, over(0, 0))],
        "ProtectHostname": [("sethostname", errno.EPERM), ("setdomainname", errno.EPERM)],
        "ProtectKernelLogs": [("syslog", errno.EPERM)],
        "ProtectKernelModules": [(name, errno.EPERM) for name in expand("@module")],
        "ProtectClock": [(name, errno.EPERM) for name in expand("@clock")],
    }


if __name__ == "__main__":
    confine(Settings(**json.loads(sys.argv[1])))
