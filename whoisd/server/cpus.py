"""For how many CPUs a server may start workers: those that it may run on, as far as its cgroup gives it time on them.

Knows cgroups of both versions (kernel, Documentation/admin-guide: cgroup-v2.rst "cpu.max"; scheduler/sched-bwc.rst). A quota
holds for a group and all below it, so the least on the way to the root counts. What cannot be read sets no limit.
"""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Final

MOST_BY_DEFAULT: Final = 16  # workers: each has a connection to PostgreSQL, which has 100 of them by default


def default_workers() -> int:
    """Return how many workers there are when nobody says."""
    return max(1, min(len(os.sched_getaffinity(0)), MOST_BY_DEFAULT, *_whole(least_quota(Path("/")))))


def _whole(quota: float) -> tuple[int, ...]:
    """Return a quota in whole CPUs, rounded up; nothing for none."""
    return () if math.isinf(quota) else (math.ceil(quota),)


def least_quota(root: Path) -> float:
    """Return how many CPUs' time our cgroups have; infinity for no limit. `root` is that of the file system."""
    return min(_quotas(root), default=math.inf)


def _quotas(root: Path) -> Iterator[float]:
    with suppress(OSError, ValueError):
        mounts = [line.split() for line in (root / "proc/self/mountinfo").read_text(encoding="utf-8").splitlines()]
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            number, controllers, path = line.split(":", 2)
            unified = number == "0" and not controllers
            if unified or "cpu" in controllers.split(","):
                for folder in _folders(mounts, path, unified=unified):
                    yield from _quota(root / folder.relative_to("/"), unified=unified)


def _folders(mounts: list[list[str]], path: str, *, unified: bool) -> Iterator[PurePosixPath]:
    """Return the folders of a cgroup and of those around it, as far as they are mounted (proc(5), mountinfo)."""
    for fields in mounts:
        kind, options = fields[fields.index("-") + 1], fields[-1].split(",")
        if kind != ("cgroup2" if unified else "cgroup") or not (unified or "cpu" in options):
            continue
        top, mounted = PurePosixPath(fields[3]), PurePosixPath(fields[4])
        group = PurePosixPath(path)
        # In a container the path may be that of the host, which is not mounted: then the mount is the group itself.
        within = group.relative_to(top) if group.is_relative_to(top) else PurePosixPath()
        yield mounted / within
        yield from (mounted / around for around in within.parents)


def _quota(folder: Path, *, unified: bool) -> Iterator[float]:
    """Return the quota of one group, if it has one."""
    with suppress(OSError, ValueError, ZeroDivisionError):
        if unified:
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii")
            period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii")
        if quota != "max" and int(quota) > 0:
            yield int(quota) / int(period)
