"""A fork server: imports the libraries once and forks a process for each job on this machine.

A job's own start, torch and scikit-learn or matplotlib, takes as long as the work of many jobs. The
server imports them while the first jobs run. `workflow/forked.py` asks it for a fork, in which a
rule's script runs as if Python had been started for it: the same arguments, folder, environment,
standard streams and signals. Where the server is not there, refuses or dies, that client starts
Python itself, so that nothing depends on the server but time.

`start_forkservers` is all that a call of the workflow needs; the rest is what the server does.
"""

from __future__ import annotations

import fcntl
import gc
import json
import logging
import os
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

from vae_ablation.jobs.scripting import prepare_caches
from vae_ablation.study.costs import CostNote

log = logging.getLogger(__name__)

ADDRESS = "VAE_ABLATION_FORKSERVER"
"""The environment variable in which jobs find the folder of the servers' sockets."""
JOBS, EMBED = "jobs", "embed"
"""Sockets: of the server of any job, and of one for the script embed.py."""

_EVALUATION = ("vae_ablation.jobs.train", "vae_ablation.jobs.evaluate")
_FIGURES = ("vae_ablation.report.figures.draw",)

_OF_THE_CALL = frozenset({"_", "SHLVL", "PWD", "OLDPWD", "TMPDIR", "TMP", "TEMPDIR", "TEMP"})
"""Environment variables that no library reads when it is imported."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that jobs may be sent; the server, in the same process group, takes no notice."""
_INPUT = 0
_THREADS = (
    *(f"{name}_NUM_THREADS" for name in ("OMP", "GOTO", "OPENBLAS", "MKL", "NUMEXPR")),
    "VECLIB_MAXIMUM_THREADS",
)
"""Variables that Snakemake sets to the number of a job's threads."""
_TIMEOUT = 10.0


def start_forkservers(
    study: Path, threads: int, *, figures: bool, embed: bool
) -> list[subprocess.Popen[bytes]]:
    """Start servers of this process and its jobs.

    Args:
        study: results/<study>, to whose logs and costs the servers add their own.
        threads: CPU threads of a job; jobs with another number start by themselves.
        figures: whether figures will be drawn.
        embed: whether UMAP will have to be compiled.

    Returns:
        The servers, to be kept: they end when their standard input is closed, with this process at
        the latest. Without a server every job starts a process of its own: where processes with
        loaded libraries cannot be forked (not Linux), or no server can be started.
    """
    if sys.platform != "linux":
        return []
    imports = {JOBS: [*_EVALUATION, *(_FIGURES if figures else ())]}
    if embed:
        imports[EMBED] = []  # what compiles UMAP imports it
    servers: list[subprocess.Popen[bytes]] = []
    try:
        os.environ[ADDRESS] = sockets = tempfile.mkdtemp(prefix="vae-ablation-")
        for kind, modules in imports.items():
            servers.append(_start(server_command(Path(sockets) / kind, study, *modules), threads))
    except OSError as error:
        log.warning("no fork server: %s; each job starts a process of its own", error)
        if not servers and ADDRESS in os.environ:
            shutil.rmtree(os.environ.pop(ADDRESS), ignore_errors=True)
    return servers


def _start(command: list[str], threads: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,  # who reads ours need not wait for the server's end
        stderr=subprocess.DEVNULL,
        env={**os.environ, **dict.fromkeys(_THREADS, str(threads))},
    )


def server_command(address: Path, study: Path, *modules: str) -> list[str]:
    """The command that runs `main` with these arguments."""
    code = "import sys; from vae_ablation.jobs.forkserver import main; main(*sys.argv[1:])"
    return [sys.executable, "-c", code, str(address), str(study), *modules]


@dataclass(frozen=True)
class _Request:
    """A script to run in a fork.

    Attributes:
        script: its path, then its arguments.
        folder: the working directory.
        environment: every environment variable.
        streams: file descriptors of stdin, stdout and stderr.
        ignored: signals of which it takes no notice.
    """

    script: list[str]
    folder: str
    environment: dict[str, str]
    streams: list[int]
    ignored: frozenset[int]

    @classmethod
    def receive(cls, link: socket.socket) -> _Request:
        """Read what `workflow/forked.py` sends.

        Raises:
            OSError, ValueError, KeyError: it is cut short or something else.
        """
        header, streams, _, _ = socket.recv_fds(link, 8, 3)
        size, body = int.from_bytes(header, "big"), b""
        while len(body) < size and (part := link.recv(size - len(body))):
            body += part
        message = json.loads(body)
        ignored = frozenset(message["ignored"])
        script, folder, environment = (message[key] for key in ("script", "folder", "environment"))
        return cls(script, folder, environment, streams, ignored)

    def close(self) -> None:
        """Close what was received."""
        for stream in self.streams:
            os.close(stream)

    def run(self) -> None:
        """Run the script in this process, as its main program."""
        runpy.run_path(self.script[0], run_name="__main__")

    def enter(self) -> None:
        """Make this process the script's: its streams, folder, environment and arguments."""
        for number, stream in enumerate(self.streams):
            os.dup2(stream, number)
        self.close()
        os.chdir(self.folder)
        os.environ.update(self.environment)
        sys.argv = list(self.script)
        sys.path[0] = str(Path(self.script[0]).parent)


class _ForkServer:
    """Forks this process for one request after the other.

    Args:
        address: the socket to listen at, in a folder of this user's own.
    """

    def __init__(self, address: Path) -> None:
        self.address = address
        self.environment = dict(os.environ)
        self._jobs: dict[int, socket.socket] = {}  # by process
        self._open = True
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(address))
        self._listener.listen(64)
        self._ended, ended = socket.socketpair()
        for end in (self._ended, ended):
            end.setblocking(False)
        self._wakes = ended
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(ended.fileno(), warn_on_full_buffer=False)
        self._selector = selectors.DefaultSelector()
        for source in (self._listener, self._ended, _INPUT):
            self._selector.register(source, selectors.EVENT_READ)

    @property
    def needed(self) -> bool:
        """Whether the process that started the server is there, or a job still runs."""
        return self._open or bool(self._jobs)

    def serve(self, timeout: float | None) -> _Request | None:
        """Answer what has come, or comes within `timeout` seconds; None waits for something.

        Returns:
            In a fork, what it is to run; None in the server.
        """
        while events := self._selector.select(timeout):
            timeout = 0
            for key, _ in events:
                if key.fileobj is self._listener:
                    if self._open and (request := self._accept()):
                        return request
                elif key.fileobj is self._ended:
                    self._reap()
                elif key.fileobj == _INPUT:
                    self._leave()
                else:
                    self._abandon(key.data)
        return None

    def _accept(self) -> _Request | None:
        link, _ = self._listener.accept()
        link.settimeout(_TIMEOUT)
        try:
            request = _Request.receive(link)
            if self._fits(request.environment):
                return self._fork(request, link)
            request.close()
            log.warning("refused, since its environment is another: %s", request.script)
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("a request could not be answered: %r", error)
        link.close()
        return None

    def _fits(self, environment: Mapping[str, str]) -> bool:
        """Whether the libraries would have been imported under the same settings."""
        names = (self.environment.keys() | environment.keys()) - _OF_THE_CALL
        return all(self.environment.get(name) == environment.get(name) for name in names)

    def _fork(self, request: _Request, link: socket.socket) -> _Request | None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # until the fork has its own handlers
        try:
            pid = os.fork()
            if not pid:
                self._become(request, link)
                return request
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        request.close()
        self._jobs[pid] = link
        self._selector.register(link, selectors.EVENT_READ, pid)
        with suppress(OSError):
            link.sendall(pid.to_bytes(8, "big"))
        return None

    def _become(self, request: _Request, link: socket.socket) -> None:
        """Make this fork the job's process; nothing of the server stays open in it."""
        link.close()
        self.close()
        request.enter()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in _SIGNALS:
            ours = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, signal.SIG_IGN if number in request.ignored else ours)

    def close(self) -> None:
        """In a fork: leave the server's ends of everything to the server."""
        signal.set_wakeup_fd(-1)
        self._selector.close()
        for end in (self._listener, self._ended, self._wakes, *self._jobs.values()):
            end.close()
        _log_to(None)

    def _reap(self) -> None:
        """Tell the clients of jobs that have ended how they ended."""
        with suppress(BlockingIOError):
            self._ended.recv(4096)
        while self._jobs:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            link = self._jobs.pop(pid)
            self._forget(link)
            with suppress(OSError):
                link.sendall(os.waitstatus_to_exitcode(status).to_bytes(8, "big", signed=True))
            link.close()

    def _abandon(self, pid: int) -> None:
        """A client was killed: its job ends with it, as if they were one process."""
        if pid in self._jobs:
            self._forget(self._jobs[pid])
            os.kill(pid, signal.SIGKILL)

    def _forget(self, link: socket.socket) -> None:
        with suppress(KeyError):
            self._selector.unregister(link)

    def _leave(self) -> None:
        """The process that started the server is gone: no further jobs."""
        self._open = False
        for source in (_INPUT, self._listener):
            self._selector.unregister(source)
        self._listener.close()
        with suppress(OSError):
            self.address.unlink()
            self.address.parent.rmdir()


def main(address: str, study: str, *modules: str) -> None:
    """Serve until the process that started this one has ended, and all jobs have.

    Args:
        address: the socket to listen at, in a folder of this user's own; its name is the kind.
        study: results/<study>.
        modules: what to import, in the order in which the study needs it.
    """
    socket_path, cost = Path(address), CostNote()
    notes = Path(study) / "logs" / "forkserver" / f"{socket_path.name}.log"
    _log_to(notes)
    server = _ForkServer(socket_path)
    prepare_caches()
    steps: list[Callable[[], object]] = [partial(import_module, name) for name in modules]
    if socket_path.name == EMBED:
        steps.append(_compile_umap)
    else:
        steps.append(_read_code)
    steps.append(partial(cost.write, notes))
    for step in steps:
        if request := server.serve(0):
            return request.run()
        if not server.needed:
            return None
        try:
            step()
        except Exception as error:  # the job that needs it says so better
            log.warning("%s is left to the jobs: %r", step, error)
        gc.freeze()  # what has been imported stays shared with the forks
    while server.needed:
        if request := server.serve(None):
            return request.run()
    return None


def _read_code() -> None:
    """Read the code whose digests jobs ask for, once for all of them."""
    from vae_ablation.study.plan import rule_code, training_code_version

    training_code_version()
    rule_code("evaluate")


def _compile_umap() -> None:
    from vae_ablation.report.embedding import compile_umap

    with _ended_with_starter():
        compile_umap()


@contextmanager
def _ended_with_starter() -> Iterator[None]:
    """Let the end of standard input end this process, even in the middle of compiled code."""
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(_INPUT, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(_INPUT, fcntl.F_GETFL)
    fcntl.fcntl(_INPUT, fcntl.F_SETFL, flags | os.O_ASYNC)
    try:
        yield
    finally:
        fcntl.fcntl(_INPUT, fcntl.F_SETFL, flags)


def _log_to(file: Path | None) -> None:
    """Log to a file of the server's own; None for no longer."""
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    log.propagate = False
    if file:
        with suppress(OSError):  # without a log it serves as well
            file.parent.mkdir(parents=True, exist_ok=True)
            log.addHandler(logging.FileHandler(file, mode="w", encoding="utf-8"))
