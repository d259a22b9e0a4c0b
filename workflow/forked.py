"""Run a rule's script in a fork of the study's server, or in this process: SCRIPT ARGUMENT...

See src/vae_ablation/jobs/forkserver.py. With the standard library alone (python -S) this starts in
milliseconds.
"""

import json
import os
import signal
import socket
import sys
import time

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def in_fork(address: str, script: list[str]) -> int | None:
    """The exit status of the script in a fork, negative for a signal; None where there is none."""
    with socket.socket(socket.AF_UNIX) as link:
        try:
            link.connect(address)
            request = {
                "script": script,
                "folder": os.getcwd(),
                "environment": dict(os.environ),
                "ignored": [number for number in SIGNALS if is_ignored(number)],
            }
            body = json.dumps(request).encode()
            socket.send_fds(link, [len(body).to_bytes(8, "big")], [0, 1, 2])
            link.sendall(body)
            pid = int.from_bytes(receive(link), "big")
        except OSError:
            return None
        if not pid:
            return None
        for number in SIGNALS:
            if not is_ignored(number):
                signal.signal(number, lambda received, _: send(pid, received))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        ended = receive(link)
    if ended:
        return int.from_bytes(ended, "big", signed=True)
    for _ in range(100):  # the server is gone, and nothing reports how the job ends
        if not send(pid, signal.SIGKILL):
            break
        time.sleep(0.05)
    return None


def receive(link: socket.socket) -> bytes:
    """Eight bytes, or none where the other side has gone."""
    try:
        return link.recv(8, socket.MSG_WAITALL)
    except ConnectionError:
        return b""


def is_ignored(number: int) -> bool:
    """Whether this process was started to take no notice of a signal."""
    return signal.getsignal(number) is signal.SIG_IGN


def send(pid: int, number: int) -> bool:
    """Send a signal to a process; whether it was still there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def main() -> None:
    """Run the script; this process ends as its process has ended."""
    script = sys.argv[1:]
    status = None
    if sockets := os.environ.get("VAE_ABLATION_FORKSERVER"):
        own = os.path.join(sockets, os.path.basename(script[0]).removesuffix(".py"))
        address = own if os.path.exists(own) else os.path.join(sockets, "jobs")
        # a signal waits until it is known which process it is for
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        status = in_fork(address, script)
        for number in SIGNALS:
            if not is_ignored(number):
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    if status is None:
        os.execv(sys.executable, [sys.executable, *script])
    if status < 0:
        os.kill(os.getpid(), -status)
    sys.exit(abs(status))


if __name__ == "__main__":
    main()
