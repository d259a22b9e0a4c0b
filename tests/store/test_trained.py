"""Runs on disk: written whole, read back to the last bit, never unpickled."""

from __future__ import annotations

import csv
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vae_ablation
from support import (
    assert_one_sentence,
    make_run,
    model_options,
    trained_model,
    training_settings,
)
from vae_ablation.common.errors import UserError
from vae_ablation.common.files import read_json, write_json
from vae_ablation.data.base import Dataset
from vae_ablation.models.streams import stream
from vae_ablation.store.trained import (
    encode_all,
    load_run,
    read_history,
    run_record,
    save_evaluation,
    save_pack,
)
from vae_ablation.study.run import Run
from vae_ablation.training.pack import TrainingResult, train_pack

RUNS = [make_run(beta=0.5), make_run(kl=False), make_run(posterior="point")]


def record_of(result: TrainingResult, dataset: Dataset) -> dict[str, Any]:
    observed = asdict(dataset.observed) | {"shape": list(dataset.observed.shape)}
    return run_record(result, pack="pack", model=model_options(), observed=observed)


@pytest.fixture
def study(tmp_path: Path, few_digits: Dataset) -> tuple[Path, list[TrainingResult]]:
    """A trained pack on disk."""
    results = train_pack(RUNS, few_digits, model_options(), training_settings())
    save(tmp_path, results, few_digits)
    return tmp_path, results


def save(folder: Path, results: list[TrainingResult], dataset: Dataset, pack: str = "pack") -> None:
    records = [record_of(result, dataset) | {"pack": pack} for result in results]
    save_pack(results, records, folder / "runs", folder / "packs" / pack / "train")


def folder_of(study: Path, run: Run) -> Path:
    return study / "runs" / run.path


def test_a_loaded_run_has_the_trained_weights(study: tuple[Path, list[TrainingResult]]) -> None:
    for result in study[1]:
        loaded = load_run(folder_of(study[0], result.run))
        assert loaded.run == result.run
        state = loaded.model.state_dict()
        assert set(state) == set(result.weights)
        for name, weight in result.weights.items():
            assert torch.equal(state[name], weight)


def test_the_package_offers_load_run(study: tuple[Path, list[TrainingResult]]) -> None:
    loaded = vae_ablation.load_run(str(folder_of(study[0], RUNS[0])))
    assert isinstance(loaded, vae_ablation.TrainedRun)


def test_encode_decode_and_sample_have_the_datas_shapes(
    study: tuple[Path, list[TrainingResult]], few_digits: Dataset
) -> None:
    loaded = load_run(folder_of(study[0], RUNS[0]))
    x = few_digits.observe("test")[:7]
    posterior = loaded.encode(x)
    assert posterior.mean.shape == posterior.std.shape == (7, 2)
    assert not posterior.mean.requires_grad
    flat, images = posterior.mean, loaded.encode(x.reshape(7, 8, 8)).mean
    assert torch.equal(flat, images)
    assert loaded.decode(posterior.mean).mean.shape == (7, 64)
    assert loaded.decode(np.zeros((3, 2))).log_prob(torch.zeros(3, 64)).shape == (3,)
    assert loaded.sample(4).shape == (4, 8, 8)
    assert torch.equal(loaded.sample(4), loaded.sample(4))
    assert not torch.equal(loaded.sample(4), loaded.sample(4, seed=1))
    assert not torch.equal(loaded.sample(4), loaded.sample(4, draw=True))


def test_the_history_comes_back_to_the_last_bit(study: tuple[Path, list[TrainingResult]]) -> None:
    for result in study[1]:
        folder = folder_of(study[0], result.run)
        back = read_history(read_json(folder / "run.json"), folder)
        if result.run.posterior == "point":
            assert np.isnan(back[:, [1, 4]]).all()
            np.testing.assert_array_equal(back[:, [0, 2, 3, 5]], result.history[:, [0, 2, 3, 5]])
        else:
            np.testing.assert_array_equal(back, result.history)


def test_the_history_file_has_the_contracts_columns_and_sums(
    study: tuple[Path, list[TrainingResult]],
) -> None:
    for result in study[1]:
        with (folder_of(study[0], result.run) / "history.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert list(rows[0]) == ["epoch", "split", "distortion", "rate", "objective", "elbo"]
        assert [row["split"] for row in rows] == ["train", "validation"] * 3
        assert [row["epoch"] for row in rows] == ["1", "1", "2", "2", "3", "3"]
        for row in rows:
            if result.run.posterior == "point":
                assert row["rate"] == row["elbo"] == ""
                assert row["objective"] == row["distortion"]
                continue
            distortion, rate = float(row["distortion"]), float(row["rate"])
            assert float(row["objective"]) == pytest.approx(distortion + result.run.beta * rate)
            assert float(row["elbo"]) == pytest.approx(-(distortion + rate))


def test_a_runs_folder_is_made_of_relative_links_into_its_pack(
    study: tuple[Path, list[TrainingResult]],
) -> None:
    folder = folder_of(study[0], RUNS[0])
    assert not folder.is_symlink()
    assert {path.name for path in folder.iterdir()} == {
        "run.json", "model.safetensors", "history.csv", "snapshots.npz"
    }  # fmt: skip
    for path in folder.iterdir():
        assert path.is_symlink()
        assert not path.readlink().is_absolute()
        assert path.resolve().is_relative_to(study[0] / "packs" / "pack" / "train")
    moved = study[0].rename(study[0].with_name("moved"))
    load_run(folder_of(moved, RUNS[0]))


def test_writing_the_same_results_twice_gives_the_same_weight_bytes(
    study: tuple[Path, list[TrainingResult]], few_digits: Dataset
) -> None:
    weights = folder_of(study[0], RUNS[0]) / "model.safetensors"
    before = weights.read_bytes()
    save(study[0], study[1], few_digits)
    assert weights.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"x", b"{}", b"\xff" * 64, pickle.dumps({"a": 1})])
def test_weights_that_are_no_safetensors_are_one_sentence(
    content: bytes, study: tuple[Path, list[TrainingResult]]
) -> None:
    folder = folder_of(study[0], RUNS[0])
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_run(folder)
    text = str(caught.value)
    assert str(folder / "model.safetensors") in text
    assert "\n" not in text
    assert text.endswith(".")


class _Boom:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("pickle-was-run"),))


def test_a_pickle_in_place_of_the_weights_is_refused_and_not_run(
    study: tuple[Path, list[TrainingResult]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = folder_of(study[0], RUNS[0])
    torch.save({"state": _Boom()}, folder / "model.safetensors")
    with pytest.raises(UserError) as caught:
        load_run(folder)
    assert "not the weights of this run" in str(caught.value)
    assert not Path("pickle-was-run").exists()


def test_weights_of_another_shape_are_one_sentence(
    study: tuple[Path, list[TrainingResult]], few_digits: Dataset
) -> None:
    folder = folder_of(study[0], RUNS[0])
    record = read_json(folder / "run.json")
    write_json(folder / "run.json", record | {"model": model_options(hidden=[9])})
    with pytest.raises(UserError) as caught:
        load_run(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"run": 3}', "null", '{"run": {"dataset": 1}}']
)
def test_a_folder_that_holds_no_run_is_one_sentence(content: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(content)
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError) as caught:
            load_run(folder)
        assert str(folder) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_failed_run_says_why_it_has_no_weights(tmp_path: Path, few_digits: Dataset) -> None:
    failed = TrainingResult(RUNS[0], "failed", "MemoryError: none left")
    save(tmp_path, [failed], few_digits)
    with pytest.raises(UserError) as caught:
        load_run(folder_of(tmp_path, RUNS[0]))
    assert_one_sentence(caught.value, "failed", "MemoryError: none left", "no weights")


def test_a_run_trained_anew_loses_what_its_former_self_was_evaluated_to(
    study: tuple[Path, list[TrainingResult]], few_digits: Dataset
) -> None:
    metrics = {run.path: {"mse": 1.0} for run in RUNS}
    target = study[0] / "packs" / "pack" / "evaluation" / "hash"
    save_evaluation(metrics, None, study[0] / "runs", target)
    link = folder_of(study[0], RUNS[0]) / "metrics.json"
    assert read_json(link) == {"mse": 1.0}
    save(study[0], study[1][:1], few_digits, pack="later")
    assert not link.exists()
    # the old pack is evaluated again: the run is no longer its own
    save_evaluation(metrics, None, study[0] / "runs", target)
    assert not link.exists()
    assert read_json(folder_of(study[0], RUNS[1]) / "metrics.json") == {"mse": 1.0}


def test_a_crash_while_writing_leaves_the_old_pack(
    study: tuple[Path, list[TrainingResult]], few_digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    import vae_ablation.store.trained as trained

    before = (folder_of(study[0], RUNS[1]) / "model.safetensors").read_bytes()

    def full_disk(*arguments: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(trained, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        save(study[0], study[1], few_digits)
    assert (folder_of(study[0], RUNS[1]) / "model.safetensors").read_bytes() == before


def test_a_centred_run_comes_back_with_its_centre(few_digits: Dataset, tmp_path: Path) -> None:
    options = model_options(center=True)
    (result,) = train_pack([RUNS[0]], few_digits, options, training_settings(epochs=1))
    record = record_of(result, few_digits) | {"model": options}
    save_pack([result], [record], tmp_path / "runs", tmp_path / "packs" / "pack" / "train")
    loaded = load_run(folder_of(tmp_path, RUNS[0]))
    x = torch.from_numpy(few_digits.observe("test"))
    with torch.no_grad():
        truth = trained_model(result, few_digits, options).encoder(x).mean
    assert torch.equal(loaded.encode(x).mean, truth)


def test_a_run_on_counts_comes_back_and_is_told_library_and_condition(
    cells: Dataset, tmp_path: Path
) -> None:
    run = make_run("poisson", architecture="poe", objective="mvae", condition="batch")
    (result,) = train_pack([run], cells, model_options(), training_settings(epochs=2))
    record = record_of(result, cells) | {"observed": cells.observed.to_json()}
    save_pack([result], [record], tmp_path / "runs", tmp_path / "packs" / "pack" / "train")
    loaded = load_run(folder_of(tmp_path, run))
    assert loaded.model.encoder.observed == cells.observed
    rows = cells.rows("test")
    x, context = cells.x[rows], cells.context(rows, "batch")
    model = trained_model(result, cells, model_options())
    with torch.no_grad():
        truth = model.encoder(torch.from_numpy(x), torch.from_numpy(context))
    mean = loaded.encode(x, context).mean
    assert torch.equal(mean, truth.mean)
    assert not torch.equal(mean, loaded.encode(x, context, (True, False)).mean)
    unknown = np.column_stack([context[:, :1], np.zeros_like(context[:, 1:])])
    assert torch.equal(loaded.encode(x, unknown).mean, loaded.encode(x).mean)
    expected = loaded.decode(mean, context).mean
    np.testing.assert_allclose(expected[:, :30].sum(1), context[:, 0], rtol=1e-4)
    np.testing.assert_allclose(loaded.decode(mean).mean[:, :30].sum(1), 10_000, rtol=1e-4)
    assert loaded.sample(4, draw=True).shape == (4, 35)


def test_samples_of_a_label_are_asked_for_by_its_name(few_digits: Dataset, tmp_path: Path) -> None:
    runs = [make_run(condition="label"), make_run()]
    names = [str(10 * label + 5) for label in range(10)]
    for run in runs:
        (result,) = train_pack([run], few_digits, model_options(), training_settings(epochs=2))
        for folder, further in (("plain", {}), ("named", {"label_names": names})):
            record = record_of(result, few_digits) | further
            place = tmp_path / folder
            save_pack([result], [record], place / "runs", place / "packs" / run.condition)
    plain, named = (load_run(folder_of(tmp_path / name, runs[0])) for name in ("plain", "named"))
    three = named.sample(4, label=35)
    assert torch.equal(three, plain.sample(4, label=3))
    assert torch.equal(three, named.sample(4, label="35"))
    assert not torch.equal(three, named.sample(4, label=45))
    z = torch.randn(4, 2, generator=stream(0, "user samples"))
    told = torch.eye(10)[[3]].expand(4, -1)
    assert torch.equal(three, named.decode(z, told).mean.reshape(4, 8, 8))
    with pytest.raises(UserError) as caught:
        named.sample(4, label=3)
    assert_one_sentence(caught.value, "label is 3", "5, 15, 25")
    with pytest.raises(UserError) as caught:
        load_run(folder_of(tmp_path / "plain", runs[1])).sample(4, label=3)
    assert_one_sentence(caught.value, "condition none")


def test_all_cells_are_encoded_with_their_own_context(
    cells: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import vae_ablation.store.trained as trained

    run = make_run("negative_binomial", condition="batch", dispersion="gene_cell")
    (result,) = train_pack([run], cells, model_options(), training_settings(epochs=1))
    record = record_of(result, cells) | {"observed": cells.observed.to_json()}
    save_pack([result], [record], tmp_path / "runs", tmp_path / "packs" / "pack" / "train")
    loaded = load_run(folder_of(tmp_path, run))
    everything = np.arange(len(cells.split))
    truth = loaded.encode(cells.x[everything], cells.context(everything, "batch"))
    monkeypatch.setattr(trained, "ENCODED_AT_ONCE", 70)
    found = encode_all(loaded, cells)
    np.testing.assert_allclose(found.mean, truth.mean, atol=1e-5)
    np.testing.assert_allclose(found.std, truth.std, rtol=1e-4)
