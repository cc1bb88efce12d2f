"""What the kernel says of processes and of the machine: CPU time, memory, names."""

import os
import platform
from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [pid]
    for one in found:
        for task in (PROC / str(one) / "task").glob("*"):
            found += map(int, (task / "children").read_text().split())
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU time of all threads of these processes so far, in user and kernel mode.

    The scheduler's own accounting, in nanoseconds: that of /proc/PID/stat is in ticks of a hundredth of a second.
    """
    tasks = [task for pid in pids for task in (PROC / str(pid) / "task").glob("*")]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def resident_mib(pid: int) -> float:
    """Return how much of a process's memory is in RAM, what it shares with others included."""
    return int((PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def pin(pids: Iterable[int], cpu: int) -> None:
    """Keep these processes, all their threads, on one CPU."""
    for pid in pids:
        for task in (PROC / str(pid) / "task").glob("*"):
            os.sched_setaffinity(int(task.name), {cpu})


def machine() -> str:
    """Return what figures depend on: processor, memory, kernel, Python."""
    models = [line.partition(":")[2].strip() for line in (PROC / "cpuinfo").read_text().splitlines() if "model name" in line]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    cpus = len(os.sched_getaffinity(0))
    return (
        f"{models[0] if models else platform.machine()}, {cpus} CPUs, {memory:.0f} GiB; {platform.system()} "
        f"{platform.release()}; Python {platform.python_version()}"
    )
