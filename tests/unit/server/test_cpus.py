"""How many workers there are when nobody says: by affinity, the quotas of cgroups of both versions, and a number."""

import math
import os
from pathlib import Path

import pytest

from whoisd.server import cpus
from whoisd.server.cpus import MOST_BY_DEFAULT, default_workers, least_quota

UNIFIED = "30 24 0:26 {top} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
LEGACY = "31 24 0:27 {top} /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct"
OTHER = "32 24 0:28 {top} /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory"


def machine(root: Path, groups: str, mounts: list[str], files: dict[str, str]) -> Path:
    """A file system in which a process is in these cgroups, and these of their files are."""
    proc = root / "proc/self"
    proc.mkdir(parents=True)
    (proc / "cgroup").write_text(groups)
    (proc / "mountinfo").write_text("".join(f"{line}\n" for line in mounts))
    for name, text in files.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    return root


@pytest.mark.parametrize(
    ("top", "files", "quota"),
    [
        ("/", {"a/b/cpu.max": "150000 100000"}, 1.5),
        ("/", {"a/b/cpu.max": "max 100000"}, math.inf),
        ("/", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3.0),
        ("/", {"a/b/cpu.max": "400000 100000", "a/cpu.max": "50000 100000"}, 0.5),
        ("/", {"a/b/cpu.max": "not a number"}, math.inf),
        ("/", {}, math.inf),
        ("/a", {"b/cpu.max": "200000 100000"}, 2.0),
        ("/host/path", {"cpu.max": "200000 100000"}, 2.0),
    ],
)
def test_version_2(tmp_path: Path, top: str, files: dict[str, str], quota: float) -> None:
    """The least quota of a group and of those around it counts, as far as they are mounted."""
    assert least_quota(machine(tmp_path, "0::/a/b\n", [UNIFIED.format(top=top)], files)) == quota


@pytest.mark.parametrize(
    ("quota", "period", "expected"), [("250000", "100000", 2.5), ("-1", "100000", math.inf), ("50000", "0", math.inf)]
)
def test_version_1(tmp_path: Path, quota: str, period: str, expected: float) -> None:
    """In version 1 the controller of the CPU is a hierarchy of its own, and a quota of -1 is none."""
    folder = "cpu,cpuacct/docker/1"
    files = {f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": period, "memory/docker/1/cpu.max": "1 1"}
    groups = "9:memory:/docker/1\n2:cpu,cpuacct:/docker/1\n0::/\n"
    mounts = [LEGACY.format(top="/"), OTHER.format(top="/")]
    assert least_quota(machine(tmp_path, groups, mounts, files)) == expected


def test_no_cgroups(tmp_path: Path) -> None:
    """Where nothing can be read there is no limit."""
    assert least_quota(tmp_path) == math.inf


@pytest.mark.parametrize(
    ("affinity", "quota", "workers"),
    [(4, math.inf, 4), (64, math.inf, MOST_BY_DEFAULT), (64, 2.0, 2), (64, 2.1, 3), (4, 0.2, 1), (2, 8.0, 2)],
)
def test_default(monkeypatch: pytest.MonkeyPatch, affinity: int, quota: float, workers: int) -> None:
    """There are as many workers as the least of the CPUs that we may run on, our quota rounded up, and a number."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)))
    monkeypatch.setattr(cpus, "least_quota", lambda _: quota)
    assert default_workers() == workers
