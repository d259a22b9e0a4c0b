"""Jobs: a fault that the user can mend is one sentence, with the traceback in the log alone."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import SafetensorError

from vae_ablation.jobs.scripting import machine_fault, prepare_caches

FRAME = """
import errno, sys
from vae_ablation.common.errors import UserError
from vae_ablation.jobs.scripting import job
with job(sys.argv[1]):
    {body}
"""


def run_job(body: str, log: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", FRAME.format(body=body), str(log)],
        capture_output=True, text=True, check=False, env={**os.environ, **env},
    )  # fmt: skip


# --- the frame -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise UserError('study.yaml: a mistake.')", ["study.yaml: a mistake."]),
        (
            "raise OSError(errno.ENOSPC, 'No space left on device', 'results/a.npz')",
            ["results/a.npz", "no space is left on the disk", "vae-ablation prune", "again"],
        ),
        ("raise OSError(errno.EDQUOT, 'Disk quota exceeded', 'x/b.csv')", ["x/b.csv", "quota"]),
        ("raise OSError(errno.EFBIG, 'File too large', 'x')", ["larger than is allowed", "ulimit"]),
        ("raise OSError(errno.EROFS, 'Read-only', 'x/y')", ["x/y", "is read-only"]),
        ("raise PermissionError(errno.EACCES, 'no', 'x/y')", ["x/y", "permission is denied"]),
        ("raise OSError(errno.ESTALE, 'Stale file handle', 'x')", ["network file system"]),
        ("raise OSError(errno.EIO, 'Input/output error', 'x')", ["the disk or the network"]),
        ("raise MemoryError('Unable to allocate 74.5 GiB')", ["memory", "74.5 GiB", "memory_gb"]),
    ],
)
def test_a_fault_is_one_sentence_and_its_traceback_is_in_the_log(
    body: str, words: list[str], tmp_path: Path
) -> None:
    log = tmp_path / "results" / "tiny" / "logs" / "train" / "a.log"
    done = run_job(body, log)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("Error: ")
    assert [word for word in words if word not in done.stderr] == []
    assert ("Traceback" in log.read_text(encoding="utf-8")) == ("UserError" not in body)


def test_a_mistake_in_the_program_keeps_its_traceback(tmp_path: Path) -> None:
    done = run_job("raise KeyError('x')", tmp_path / "a.log")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "KeyError" in (tmp_path / "a.log").read_text(encoding="utf-8")


def test_a_log_on_a_full_disk_is_no_second_fault() -> None:
    done = run_job("raise OSError(errno.ENOSPC, 'No space left on device')", Path("/dev/full"))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "no space is left on the disk" in done.stderr


def test_a_job_that_ends_well_says_nothing(tmp_path: Path) -> None:
    done = run_job("pass", tmp_path / "a.log")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_note_of_the_cost_that_cannot_be_written_does_not_undo_the_job(tmp_path: Path) -> None:
    (tmp_path / "costs").touch()
    done = run_job("pass", tmp_path / "logs" / "train" / "a.log")
    assert (done.returncode, done.stderr) == (0, "")


# --- what faults are called ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            SafetensorError("Error while serializing: No space left on device (os error 28)"),
            "no space",
        ),
        (OSError("Not enough free space to write 24000000 bytes after offset 128"), "no space"),
        (OSError("[('a', 'b', \"[Errno 28] No space left on device: 'b'\")]"), "no space"),
        (OSError("Can't write data (errno = 122, error message = 'Disk quota exceeded')"), "quota"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"), "memory"),
        (RuntimeError("CUDA error: out of memory"), "memory"),
    ],
)
def test_faults_are_known_by_what_libraries_say(error: Exception, words: str) -> None:
    told = machine_fault(error, Path("results/tiny"))
    assert told is not None
    assert words in told
    assert told.endswith("again.")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("No space left on device"),
        OSError(errno.ENOENT, "No such file or directory", "x"),
        RuntimeError("shapes do not match"),
        SafetensorError("invalid header"),
    ],
)
def test_other_errors_are_no_faults_of_the_machine(error: Exception) -> None:
    assert machine_fault(error, Path("results/tiny")) is None


def test_a_file_without_its_own_name_yet_is_named_by_its_folder() -> None:
    error = OSError(errno.EROFS, "Read-only file system", "results/tiny/.plan.json.abcd1234")
    assert str(machine_fault(error, Path("x"))).startswith("results/tiny: ")


def test_without_a_file_the_fullest_disk_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = {str(tmp_path): 5, "/scratch": 7}

    class Usage:
        def __init__(self, folder: object) -> None:
            self.free = free[str(folder)]

    monkeypatch.setattr("vae_ablation.jobs.scripting.shutil.disk_usage", Usage)
    monkeypatch.setattr("vae_ablation.jobs.scripting.tempfile.gettempdir", lambda: "/scratch")
    error = OSError(errno.ENOSPC, "No space left on device")
    assert str(machine_fault(error, tmp_path)).startswith(f"{tmp_path}: ")
    free["/scratch"] = 0
    assert str(machine_fault(error, tmp_path)).startswith("/scratch: ")


# --- caches --------------------------------------------------------------------------------------


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scratch folder, and a HOME that is not there."""
    monkeypatch.setattr("vae_ablation.jobs.scripting.tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr("vae_ablation.jobs.scripting.tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("HOME", "/no/such/home")
    for variable in ("MPLCONFIGDIR", "NUMBA_CACHE_DIR"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    return tmp_path


def test_without_a_home_caches_go_to_a_folder_of_the_users_own(scratch: Path) -> None:
    prepare_caches()
    places = {Path(os.environ[name]) for name in ("MPLCONFIGDIR", "NUMBA_CACHE_DIR")}
    (parent,) = {place.parent for place in places}
    assert parent == scratch / f"vae-ablation-{os.getuid()}"
    assert stat.S_IMODE(parent.stat().st_mode) == 0o700
    assert all(place.is_dir() for place in places)


def test_a_user_who_has_no_home_at_all_is_no_error(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", fail)
    prepare_caches()
    assert Path(os.environ["MPLCONFIGDIR"]).is_dir()


def test_a_folder_that_others_can_write_to_is_not_trusted(scratch: Path) -> None:
    planted = scratch / f"vae-ablation-{os.getuid()}"
    planted.mkdir()
    planted.chmod(0o777)
    prepare_caches()
    assert planted not in Path(os.environ["NUMBA_CACHE_DIR"]).parents


def test_a_planted_link_is_not_followed(
    scratch: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (scratch / f"vae-ablation-{os.getuid()}").symlink_to(elsewhere)
    prepare_caches()
    assert list(elsewhere.iterdir()) == []


def test_caches_that_the_user_has_chosen_stay(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLCONFIGDIR", "/chosen")
    prepare_caches()
    assert os.environ["MPLCONFIGDIR"] == "/chosen"


def test_a_home_that_can_be_written_keeps_the_caches(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(scratch))
    prepare_caches()
    assert "NUMBA_CACHE_DIR" not in os.environ
