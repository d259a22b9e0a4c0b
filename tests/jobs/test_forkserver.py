"""A script in a fork of the server is as if Python had been started for it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vae_ablation.jobs.forkserver import ADDRESS, EMBED, JOBS, server_command, start_forkservers

CLIENT = Path(__file__).parents[2] / "workflow" / "forked.py"
IMPORTED = "xml.dom.minidom"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are used on Linux only")


class Server:
    """A server, and clients that ask it for forks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sockets = Path(tempfile.mkdtemp())
        self.environment = {**os.environ, ADDRESS: str(self.sockets)}
        self.process = subprocess.Popen(
            server_command(self.sockets / JOBS, folder, IMPORTED),
            stdin=subprocess.PIPE,
            env=self.environment,
            start_new_session=True,
        )
        wait_for(lambda: (folder / "costs" / "forkserver" / "jobs.json").exists())

    def start(self, text: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        script = self.folder / "script.py"
        script.write_text(text, encoding="utf-8")
        return subprocess.Popen(
            [sys.executable, "-S", str(CLIENT), str(script), *arguments],
            cwd=self.folder, env={**self.environment, **environment}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, text: str, *arguments: str, **environment: str) -> tuple[int, str, str]:
        client = self.start(text, *arguments, **environment)
        out, err = client.communicate(timeout=60)
        return client.returncode, out, err

    def begun(self, text: str, **environment: str) -> tuple[subprocess.Popen[str], int]:
        """A client whose script has told its process id in the file `begun`."""
        begun = self.folder / "begun"
        begun.unlink(missing_ok=True)
        client = self.start(BEGINS + text, **environment)
        wait_for(begun.exists)
        return client, int(begun.read_text())

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(60)


BEGINS = """
import os, pathlib, signal, sys, time
told = pathlib.Path("telling")
told.write_text(str(os.getpid()))
"""
BEGUN = """
told.rename("begun")
"""
FORKED = f"import os, sys; print({IMPORTED!r} in sys.modules)\n"


def wait_for(happened: Callable[[], object], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = Server(tmp_path)
    yield started
    started.end()
    shutil.rmtree(started.sockets, ignore_errors=True)


def test_a_script_has_what_it_would_have_had(server: Server) -> None:
    text = FORKED + "print(sys.argv[1:], os.getcwd(), os.environ['TMPDIR'], __name__)\n"
    text += "print('told', file=sys.stderr); sys.exit(3)"
    code, out, err = server.run(text, "a b", "", TMPDIR="/somewhere")
    assert out.split("\n")[0] == "True"
    assert out.split("\n")[1] == f"{['a b', '']} {server.folder} /somewhere __main__"
    assert (code, err) == (3, "told\n")


def test_what_a_script_does_to_its_process_is_gone_with_it(server: Server) -> None:
    server.run("import os, sys; os.environ['LEFT'] = '1'; sys.modules['left'] = sys; os.chdir('/')")
    text = FORKED + "print('LEFT' in os.environ, 'left' in sys.modules, os.getcwd())"
    assert server.run(text)[1] == f"True\nFalse False {server.folder}\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("raise ValueError('on purpose')", 1),
        ("import sys; sys.exit('a sentence')", 1),
        ("import os; os._exit(7)", 7),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV),
        ("pass", 0),
    ],
)
def test_an_end_is_passed_on(server: Server, text: str, code: int) -> None:
    assert server.run(text)[0] == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_reaches_the_script(server: Server, number: signal.Signals) -> None:
    text = f"signal.signal({number.value}, lambda *_: sys.exit(40))" + BEGUN + "time.sleep(60)"
    client, _ = server.begun(text)
    client.send_signal(number)
    assert client.wait(30) == 40


def test_without_a_handler_a_signal_ends_the_script_and_its_client(server: Server) -> None:
    client, pid = server.begun(BEGUN + "time.sleep(60)")
    client.send_signal(signal.SIGTERM)
    assert client.wait(30) == -signal.SIGTERM
    assert not is_running(pid)


def test_a_script_dies_with_its_client(server: Server) -> None:
    client, pid = server.begun(BEGUN + "time.sleep(60)")
    client.kill()
    wait_for(lambda: not is_running(pid))
    assert server.run(FORKED)[1] == "True\n"


def test_a_signal_to_the_whole_group_leaves_the_server(server: Server) -> None:
    client, _ = server.begun(BEGUN + "time.sleep(60)")
    os.killpg(server.process.pid, signal.SIGTERM)
    assert client.wait(30) == -signal.SIGTERM
    assert server.run(FORKED)[1] == "True\n"


def test_another_environment_is_not_served(server: Server) -> None:
    assert server.run(FORKED, OMP_NUM_THREADS="7")[:2] == (0, "False\n")
    log = (server.folder / "logs" / "forkserver" / "jobs.log").read_text(encoding="utf-8")
    assert "its environment is another" in log


def test_without_a_server_a_script_runs_as_it_is(tmp_path: Path, server: Server) -> None:
    assert server.run(FORKED, **{ADDRESS: str(tmp_path)})[:2] == (0, "False\n")


def test_a_server_that_dies_takes_its_job_along_which_then_runs_again(server: Server) -> None:
    times = server.folder / "times"
    text = "open('times', 'a').write('x')\n"
    text += f"if {IMPORTED!r} in sys.modules:\n    " + BEGUN.strip() + "\n    time.sleep(60)\n"
    client, pid = server.begun(text)
    server.process.kill()
    out, err = client.communicate(timeout=30)
    assert (client.returncode, out, err) == (0, "", "")
    assert times.read_text() == "xx"
    assert not is_running(pid)


def test_a_server_ends_with_who_started_it_but_not_before_its_jobs(server: Server) -> None:
    client, _ = server.begun(BEGUN + "time.sleep(2); sys.exit(5)")
    assert server.process.stdin
    server.process.stdin.close()
    wait_for(lambda: not server.sockets.exists())
    assert client.wait(30) == 5
    assert server.process.wait(30) == 0
    assert server.run(FORKED)[:2] == (0, "False\n")


def test_a_server_that_compiles_ends_at_once_with_who_started_it(tmp_path: Path) -> None:
    sockets = Path(tempfile.mkdtemp())
    process = subprocess.Popen(
        server_command(sockets / EMBED, tmp_path), stdin=subprocess.PIPE, start_new_session=True
    )
    maps = Path(f"/proc/{process.pid}/maps")
    wait_for(lambda: "llvmlite" in maps.read_text(encoding="utf-8"), seconds=120)
    assert process.poll() is None
    assert process.stdin
    process.stdin.close()
    assert process.wait(5) in {0, -signal.SIGIO}
    shutil.rmtree(sockets)


def test_a_script_takes_no_notice_of_signals_that_its_client_ignores(server: Server) -> None:
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        client, pid = server.begun(BEGUN + "time.sleep(1); sys.exit(7)")
    finally:
        signal.signal(signal.SIGINT, ignored)
    os.kill(pid, signal.SIGINT)
    client.send_signal(signal.SIGINT)
    assert client.wait(30) == 7


def test_what_is_no_request_does_no_harm(server: Server) -> None:
    for sent in (b"", b"\0" * 8, (5).to_bytes(8, "big") + b"wrong", b"abc"):
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(server.sockets / JOBS))
            link.sendall(sent)
    assert server.run(FORKED)[1] == "True\n"
    log = (server.folder / "logs" / "forkserver" / "jobs.log").read_text(encoding="utf-8")
    assert log.count("could not be answered") == 4


def test_servers_end_when_they_are_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADDRESS, "")
    (started,) = start_forkservers(tmp_path, 1, figures=False, embed=False)
    address = Path(os.environ[ADDRESS]) / JOBS
    wait_for(address.exists)
    assert started.stdin
    started.stdin.close()
    assert started.wait(60) == 0
    assert not address.parent.exists()


@pytest.mark.parametrize("missing", ["folder", "python"])
def test_where_no_server_can_be_started_jobs_start_by_themselves(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(ADDRESS, "")
    absent = str(tmp_path / "absent")
    if missing == "folder":
        monkeypatch.setattr(tempfile, "tempdir", absent)
    else:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        monkeypatch.setattr(sys, "executable", absent)
    assert start_forkservers(tmp_path, 1, figures=False, embed=True) == []
    assert "each job starts a process of its own" in caplog.text
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    script = tmp_path / "script.py"
    script.write_text("print('alone')", encoding="utf-8")
    command = [sys.executable, "-S", str(CLIENT), str(script)]
    environment = {**os.environ, ADDRESS: ""}
    assert subprocess.check_output(command, env=environment, text=True) == "alone\n"
