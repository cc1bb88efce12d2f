"""What processes do about themselves: who goes first when memory runs out, no core, orphans, signals that mean nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest
from support import PATIENCE, WHOISD, Database, Service, environment, until

from whoisd.answers import notices
from whoisd.server.process import OOM_SCORE

QUERY: Final = b"eksempel.dk\r\n"
ENDS_WITH: Final = notices.FOOT.replace("\n", "\r\n").encode()
by_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")


def oom(pid: int) -> tuple[int, int]:
    """How much is added to a process's score, and what the score comes to."""
    score, total = (int(Path(f"/proc/{pid}/{name}").read_text()) for name in ("oom_score_adj", "oom_score"))
    return score, total


# --- memory and cores ------------------------------------------------------------------------------------------------


def test_supervisor_is_the_last_to_be_killed_for_want_of_memory(service: Service) -> None:
    """The kernel kills each child before the supervisor: they have raised their scores, and it has not."""
    added, least = oom(service.process.pid)
    assert added < OOM_SCORE
    for pid in service.pids().values():
        until(lambda pid=pid: oom(pid)[0] == OOM_SCORE)  # type: ignore[misc] # a lambda with a default
        assert oom(pid)[1] > least


_CRASH: Final = """
import ctypes, os, resource, sys
from pathlib import Path
from whoisd.server import process
resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
if sys.argv[1] == "nobody":
    os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # dumpable, as a program is that was started by the account
if sys.argv[2] == "hardened":
    process.go_first()
    process.leave_no_core()
    dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
    print(Path("/proc/self/oom_score_adj").read_text(), *resource.getrlimit(resource.RLIMIT_CORE), dumpable, flush=True)
os.abort()
"""


def crashed(folder: Path, account: str, how: str) -> tuple[bool, str]:
    """Whether a process that aborts, and may leave a core of any size, leaves one; and what it says."""
    with subprocess.Popen(
        [sys.executable, "-c", _CRASH, account, how],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        said = process.stdout.read()
        _, status = os.waitpid(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == -signal.SIGABRT
    return os.WCOREDUMP(status), said.strip()


@by_root
@pytest.mark.parametrize("account", ["root", "nobody"])
def test_no_core(tmp_path: Path, account: str) -> None:
    """A process that crashes leaves no core though its limit allows one; before that it could raise its score."""
    assert crashed(tmp_path, account, "hardened") == (False, f"{OOM_SCORE}\n 0 0 0")
    assert [*tmp_path.iterdir()] == []


@by_root
def test_core_without_it(tmp_path: Path) -> None:
    """Without that the same process leaves a core, where the machine lets any: the test above would see it."""
    tmp_path.chmod(0o777)
    if not Path("/proc/sys/kernel/core_pattern").read_text().strip():
        pytest.skip("this machine keeps no cores")
    assert crashed(tmp_path, "root", "bare")[0]


def test_children_may_leave_no_core(service: Service) -> None:
    """The limit on cores is 0 in every child, whatever it is in the supervisor."""
    for pid in service.pids().values():
        limits = Path(f"/proc/{pid}/limits").read_text()
        [core] = [line.split() for line in limits.splitlines() if line.startswith("Max core file size")]
        assert core[-3:-1] == ["0", "0"]


# --- signals ---------------------------------------------------------------------------------------------------------


def test_signals_that_mean_nothing(own_service: Service) -> None:
    """SIGUSR1, SIGUSR2 and SIGALRM do not end the supervisor, nor any process of it."""
    before = own_service.pids()
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM):
        own_service.process.send_signal(number)
    time.sleep(1)
    assert own_service.exchange(QUERY).endswith(ENDS_WITH)
    assert own_service.process.poll() is None
    assert own_service.pids() == before


def holds_back(pid: int, number: int) -> bool:
    """Whether a process lets a signal wait."""
    [mask] = [line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigBlk")]
    return bool(int(mask, 16) >> number - 1 & 1)


@pytest.mark.parametrize("after", [0.0, 0.1, 0.3])
def test_reload_during_the_start(sandbox_database: Database, tmp_path: Path, after: float) -> None:
    """SIGHUP while the server starts, from its first line on, does not end it: it is done as soon as it can be."""

    class Hasty(Service):
        def _start(self) -> None:
            super()._start()
            until(lambda: holds_back(self.process.pid, signal.SIGHUP))
            time.sleep(after)
            self.process.send_signal(signal.SIGHUP)

    file = tmp_path / "whoisd.toml"
    file.touch()
    service = Hasty(sandbox_database.reader)
    service.command = (WHOISD, "serve", "--config", file)
    with service:
        assert service.exchange(QUERY).endswith(ENDS_WITH)
        service.wait_for_event("config.reloaded")


# --- PID 1 -----------------------------------------------------------------------------------------------------------


def zombies_of(parent: int) -> int:
    """How many processes of this parent have ended and were not let go."""
    count = 0
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, mother, *_ = file.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        count += state == "Z" and int(mother) == parent
    return count


@by_root
def test_first_process_of_a_container(sandbox_database: Database) -> None:
    """As PID 1 the supervisor lets go whatever orphans end, replaces its own processes, and stops when it is told to."""
    service = Service(sandbox_database.reader)
    service.command = ("unshare", "--pid", "--fork", "--kill-child", WHOISD, "serve")
    with service:
        unshare = service.process.pid
        [first] = map(int, Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split())
        for _ in range(5):
            subprocess.run(
                ["nsenter", "--target", str(first), "--pid", "sh", "-c", "sleep 0.3 & sleep 0.2 &"],
                check=True,
                timeout=PATIENCE,
                stdout=subprocess.DEVNULL,
            )
        time.sleep(0.5)
        until(lambda: zombies_of(first) == 0, "orphans stay")
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        assert len(children) == 3
        os.kill(int(children[-1]), signal.SIGKILL)
        service.wait_for_event("process.died")
        service.wait_for_figure(2, "whoisd_workers")
        assert service.exchange(QUERY).endswith(ENDS_WITH)
        os.kill(first, signal.SIGTERM)
        assert service.process.wait(PATIENCE) == 0
        assert service.events()[-1]["event"] == "server.stopped"


# --- a resolver that hangs -------------------------------------------------------------------------------------------

# In a network of its own, in which a resolver takes every question and answers none.
_DEAF: Final = """
import os, socket, subprocess, sys
from pathlib import Path
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
resolver.bind(("127.0.0.1", 53))
resolver.set_inheritable(True)
Path(sys.argv[1]).write_text("nameserver 127.0.0.1\\noptions timeout:30 attempts:5\\n")
subprocess.run(["mount", "--bind", sys.argv[1], "/etc/resolv.conf"], check=True)
os.execv(sys.argv[2], sys.argv[2:])
"""


@by_root
@pytest.mark.alone
@pytest.mark.parametrize("deadline", ["1", "30"])
def test_stop_while_the_resolver_hangs(tmp_path: Path, deadline: str) -> None:
    """A stop while the resolver of the database's name hangs ends within the grace period, also while the workers start."""
    settings = {"WHOISD_SERVER__GRACE": "3", "WHOISD_DATABASE__DEADLINE": deadline, "WHOISD_METRICS__ENABLED": "false"}
    service = Service("postgresql://nobody@db.whoisd.example/nothing", settings)
    service.command = (
        *("unshare", "--net", "--mount", sys.executable, "-c", _DEAF, str(tmp_path / "resolv.conf"), WHOISD, "serve"),
    )
    service.awaits = "process.started" if deadline == "30" else "server.ready"
    with service:
        begun = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(PATIENCE) == 0
        assert time.monotonic() - begun < 3
        assert service.events()[-1]["event"] == "server.stopped"
