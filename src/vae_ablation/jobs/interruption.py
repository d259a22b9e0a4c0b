"""Interruption of a call: its processes end at once, and one line says how to resume. No torch.

Ctrl-C in a terminal, SIGTERM and SIGHUP do the same. Snakemake alone would wait for jobs that run,
give an account of each as of a failure, and then go on as after one.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from types import FrameType, TracebackType

import psutil

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LINE = "Interrupted: finished results are kept; run the same command again to resume."
STATUS = 130
"""Exit status of an interrupted call, as after Ctrl-C, whatever the signal."""
GRACE = 2.0
"""Seconds in which training may write a checkpoint before its process is killed."""
PATIENCE = 3.2
"""Seconds after which the call ends even where Snakemake does not."""


class Interruption:
    """Ends a call of the workflow when a signal asks for it.

    Args:
        servers: processes that ignore signals and are killed once their jobs have ended.
        unlock: what a call that cannot end as usual has to undo.
    """

    def __init__(
        self, servers: Collection[subprocess.Popen[bytes]], unlock: Callable[[], object]
    ) -> None:
        self.received: int | None = None
        self.remote = False
        """Whether jobs run elsewhere, too: Snakemake cancels those, which may take its time."""
        self._servers, self._unlock = servers, unlock
        self._known: dict[int, psutil.Process] = {}
        self._noted = False
        self._ended = threading.Event()

    def listen(self) -> None:
        """Take the signals, but those that this process was started to ignore (nohup)."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            return
        self.received = number
        logging.disable()  # Snakemake's account of jobs that it takes for failed
        sys.excepthook = self._end_quietly
        with suppress(OSError):  # the terminal may be closed
            os.write(sys.stderr.fileno(), f"\n{LINE}\n".encode())
        self._note_processes()
        threading.Thread(target=self._end, daemon=True).start()
        raise KeyboardInterrupt

    def leave(self) -> None:
        """End this process, once every other one has ended, if it was interrupted."""
        if self.received is not None:
            self._ended.wait(PATIENCE)
            raise SystemExit(STATUS)

    def _end_quietly(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        """In place of the traceback of an interruption that Snakemake has not caught."""
        self._ended.wait(PATIENCE)
        os._exit(STATUS)

    def _end(self) -> None:
        """End the processes, and then this one where Snakemake does not."""
        try:
            self._end_processes()
        finally:
            self._ended.set()
        if not self.remote:
            time.sleep(PATIENCE - GRACE)  # by then Snakemake has ended, and this thread with it
            self._unlock()
            os._exit(STATUS)

    def _end_processes(self) -> None:
        """Ask every job to end, kill those that do not, and then the servers that they came from.

        A job's client would start it again if its server were killed before it.
        """
        until = time.monotonic() + GRACE
        asked: set[int] = set()
        while (left := self._jobs()) and time.monotonic() < until:
            for process in left:
                if process.pid not in asked:
                    asked.add(process.pid)
                    _send(process, signal.SIGTERM)
            if all(map(_waits_for_server, left)):
                break
            time.sleep(0.1)
        for process in self._jobs():
            _send(process, signal.SIGKILL)
        for process in list(self._known.values()):
            _send(process, signal.SIGKILL)

    def _note_processes(self) -> None:
        """Remember all that this process has started, directly or not.

        Snakemake starts commands that cancel jobs elsewhere: those are not to be ended.
        """
        if self.remote and self._noted:
            return
        self._noted = True
        with suppress(psutil.Error):
            for process in psutil.Process().children(recursive=True):
                self._known.setdefault(process.pid, process)

    def _jobs(self) -> list[psutil.Process]:
        """The processes that still run, but the servers."""
        self._note_processes()
        servers = {server.pid for server in self._servers}
        return [one for one in self._known.values() if one.pid not in servers and is_running(one)]


def is_running(process: psutil.Process) -> bool:
    """Whether a process is there and has not ended yet."""
    with suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _waits_for_server(process: psutil.Process) -> bool:
    """Whether a process does nothing but wait for a server's reply about its job."""
    with suppress(psutil.Error):
        return any(word.endswith("/forked.py") for word in process.cmdline())
    return True


def _send(process: psutil.Process, number: int) -> None:
    with suppress(psutil.Error):
        process.send_signal(number)
