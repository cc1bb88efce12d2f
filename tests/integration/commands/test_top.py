"""`whoisd top` at a running server, through its terminal and without one."""

import os
import pty
import subprocess

from support import WHOISD, Service, environment, run_whoisd, until


def url(service: Service) -> str:
    return f"http://127.0.0.1:{service.wait_for_event('metrics.listening')['port']}/metrics"


def test_once(service: Service) -> None:
    """Without a terminal, one screen is printed, plain, of what came in the interval."""
    service.ask("eksempel.dk")
    ran = run_whoisd("top", "--url", url(service), "--interval", "0.1")
    assert ran.returncode == 0, ran.stderr
    assert "queries a second" in ran.stdout
    assert "\x1b" not in ran.stdout
    assert max(map(len, ran.stdout.splitlines())) <= 80


def test_at_a_terminal(service: Service) -> None:
    """At a terminal the figures are drawn anew at each interval, until Ctrl-C; without colour where none is wanted."""
    ours, theirs = pty.openpty()
    command = (WHOISD, "top", "--url", url(service), "--interval", "0.2")
    process = subprocess.Popen(
        command, env=environment({"NO_COLOR": "1", "TERM": "xterm", "COLUMNS": "80"}), stdout=theirs, start_new_session=True
    )
    os.close(theirs)
    seen = b""

    def counted() -> bool:
        nonlocal seen
        seen += os.read(ours, 65536)
        return seen.count(b"queries a second") >= 3

    try:
        until(counted, "three screens")
        assert b"\x1b[31m" not in seen
        process.send_signal(2)
        until(lambda: os.read(ours, 65536) is None or process.poll() is not None, "it ends")
    except OSError:  # EIO: the terminal's other end is closed
        pass
    assert process.wait(20) == 130
    os.close(ours)


def test_nobody_there() -> None:
    """Where no server tells its figures, the address and the reason are said."""
    ran = run_whoisd("top", "--url", "http://127.0.0.1:1/metrics")
    assert (ran.returncode, ran.stderr) == (1, "whoisd: http://127.0.0.1:1/metrics: gives no metrics: Connection refused\n")
    ran = run_whoisd("top", "--url", "file:///etc/hostname")
    assert ran.stderr == "whoisd: file:///etc/hostname: must be an address that begins with http:// or https://\n"
