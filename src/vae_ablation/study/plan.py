"""Plan of a study: from a resolved config to runs, and from runs to packs. No torch."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vae_ablation.common.closure import BEYOND, code_digest
from vae_ablation.common.errors import UserError
from vae_ablation.common.files import read_json, replace_link, stable_hash, write_json
from vae_ablation.common.registry import ORIGINS, digests, kind_digests
from vae_ablation.common.settings import counted
from vae_ablation.common.workflow_files import script_file
from vae_ablation.data import SOURCES
from vae_ablation.data.base import Observed
from vae_ablation.data.codes import parts_of
from vae_ablation.data.labels import label_text
from vae_ablation.data.prepare import data_hash, describe_observed, preparing_code, read_observed
from vae_ablation.models.architectures import ARCHITECTURES
from vae_ablation.models.likelihoods import LIKELIHOODS
from vae_ablation.models.posteriors import POSTERIORS
from vae_ablation.models.priors import DEFAULT_PRIOR, PRIORS
from vae_ablation.study.application_settings import Names, check_trajectory
from vae_ablation.study.axes import Level, as_level, is_setting, level_cell
from vae_ablation.study.config import Config
from vae_ablation.study.external import ExternalArm, external_arms
from vae_ablation.study.plugins import model_parts, training_keys
from vae_ablation.study.rounds import check_first, round_path
from vae_ablation.study.run import Run, expand_runs, own_run
from vae_ablation.study.run_files import CELL_FILE, EVALUATION_FILES, TRAIN_FILES
from vae_ablation.study.started import started

TRAINING_VERSION = 2
"""Raised by hand when training code changes what a run's result means: every run trains anew."""

TRAINING_SCRIPTS = ("prepare", "train")
"""Rules whose scripts, with what they import, are the training code."""
BEYOND_TRAINING = BEYOND | {
    "vae_ablation.jobs.tracking",
    "vae_ablation.store.trained",
    "vae_ablation.study.plugins",
    "vae_ablation.study.progress",
}
"""Modules at which the training code ends: they record a trained run and do not change it."""


def chunk_packs(
    runs: Iterable[Run],
    max_runs: Mapping[str, int],
    salt: Mapping[str, str],
    taken: Collection[str],
    begun: Iterable[Collection[str]] = (),
) -> dict[str, list[Run]]:
    """Put runs into new packs of runs that may share one.

    Args:
        runs: runs without a result.
        max_runs: largest pack, by pack key.
        salt: each run's train hash, by path; part of the pack's identity.
        taken: ids that were used before. An id is a hash of members and a generation number, so
            that an emptied pack never comes back under its old id.
        begun: sets of runs (paths) that share a checkpoint: they stay together, without others.

    Returns:
        pack id → its runs, in order.
    """
    packs: dict[str, list[Run]] = {}
    checkpoint = {path: number for number, paths in enumerate(begun) for path in paths}

    def shared(run: Run) -> tuple[str, int]:
        return run.pack_key, checkpoint.get(run.path, -1)

    ordered = sorted(runs, key=lambda run: (shared(run), run.order))
    for (key, _), group in itertools.groupby(ordered, key=shared):
        for members in _even_chunks(list(group), max_runs[key]):
            packs[_free_id(key, members, salt, {*taken, *packs})] = members
    return packs


def _even_chunks(members: list[Run], limit: int) -> list[list[Run]]:
    """As few chunks as the limit allows, of sizes that differ by one at most."""
    count = -(-len(members) // limit)
    small, larger = divmod(len(members), count)
    sizes = [small + 1] * larger + [small] * (count - larger)
    rest = iter(members)
    return [list(itertools.islice(rest, size)) for size in sizes]


def _free_id(key: str, members: list[Run], salt: Mapping[str, str], taken: Collection[str]) -> str:
    for generation in itertools.count():
        digest = stable_hash([[run.path, salt[run.path]] for run in members] + [generation], 8)
        candidate = f"{key.replace('/', '-')}-{digest}"
        if candidate not in taken:
            return candidate
    raise AssertionError("unreachable: generations do not end")


@dataclass(frozen=True)
class Planned:
    """A run's place in the plan.

    Attributes:
        run: the run.
        pack: the pack that holds it or will train it.
        train_hash: digest of everything that changes its result.
        reason: why it will be trained, or None where its result is held.
    """

    run: Run
    pack: str
    train_hash: str
    reason: str | None


def plan_packs(
    runs: Sequence[Run],
    train_hashes: Mapping[str, str],
    held: Mapping[str, str],
    reasons: Mapping[str, str],
    max_runs: Mapping[str, int],
    taken: Collection[str],
    begun: Iterable[Collection[str]] = (),
) -> list[Planned]:
    """Plan packs: a held run stays in the pack in which it was trained, the others form new packs.

    Pure: it reads no disk. A run's result never depends on the outcome (ORACLES section 6).

    Args:
        runs: the wanted runs.
        train_hashes: train hash by run path.
        held: run path → pack that holds its result.
        reasons: run path → why it is not held.
        max_runs: largest pack, by pack key.
        taken: pack ids that may not be given again.
        begun: sets of runs (paths) that share a checkpoint.
    """
    missing = [run for run in runs if run.path not in held]
    fresh = chunk_packs(missing, max_runs, train_hashes, {*taken, *held.values()}, begun)
    place = {run.path: pack for pack, members in fresh.items() for run in members} | dict(held)
    return [
        Planned(run, place[run.path], train_hashes[run.path], reasons.get(run.path)) for run in runs
    ]


def settings_read(run: Run, config: Mapping[str, Any]) -> set[str]:
    """Dotted keys of the settings that a run's result depends on."""
    training = {*config["training"]} - {"device", "kl_warmup_epochs"}
    training -= training_keys(run.objective)
    model = _model_keys_read(run, run.model_settings(config["model"]))
    return {f"model.{key}" for key in model} | {f"training.{key}" for key in training}


def _model_keys_read(run: Run, model: Mapping[str, Any]) -> set[str]:
    """Keys of the model section that a run reads where the section is this."""
    parts = (ARCHITECTURES[run.architecture], LIKELIHOODS[run.likelihood])
    own = {key for part in parts for key in part.reads(model)}
    return own | {*POSTERIORS[run.posterior].options, *PRIORS[run.prior].options}


def run_size(run: Run, observed: Observed, config: Config) -> tuple[int, int]:
    """Weights of a run, and floats that one example takes on its way through the networks."""
    options = {**run.model_settings(config["model"]), "dispersion": run.dispersion}
    outputs = LIKELIHOODS[run.likelihood].outputs(observed, options)
    return ARCHITECTURES[run.architecture].size(observed, run.latent_dim, outputs, options)


def pack_limit(run: Run, observed: Observed, config: Config) -> int:
    """Largest number of runs in a pack of this shape.

    `auto` divides memory_gb by what one run takes: weights, gradients and Adam's two moments, the
    activations of one batch (forward and backward) and its share of the evaluation's blocks.
    """
    if not ARCHITECTURES[run.architecture].packable:
        return 1
    wanted = config["packs"]["max_runs"]
    if wanted != "auto":
        return int(wanted)
    weights, floats = run_size(run, observed, config)
    batch_size = run.training_settings(config["training"])["batch_size"]
    activations = 3 * batch_size * run.importance_samples * floats
    return max(1, int(config["packs"]["memory_gb"] * 2**30 / (4 * (6 * weights + activations))))


def _unsupported_axes(run: Run, observed: Observed) -> str | None:
    """Reason why a run's levels do not fit one another, or the data; None where they do."""
    batch = "batch" in parts_of(run.condition)
    if batch and not observed.counts:
        there = "tables" if observed.real else "images"
        return f"condition batch needs batches, and {there} have none"
    if batch and observed.batches < 2:
        return f"condition batch needs two batches, and the data have {observed.batches}"
    if run.architecture == "poe" and run.posterior == "fixed":
        return "architecture poe multiplies learned posteriors; posterior fixed has none"
    if run.architecture == "poe" and run.prior != DEFAULT_PRIOR:
        return (
            "architecture poe multiplies its experts by the standard normal prior, and a grid has "
            f"the prior {run.prior}"
        )
    if run.objective == "mvae" and run.architecture != "poe":
        return f"objective mvae needs architecture poe, and a grid has {run.architecture}"
    return None


def _ranges(labels: Sequence[str]) -> str:
    """Labels in few words: "0 to 9", "0 to 2, 7", "cat, dog", "none"."""
    if not all(label.isdecimal() for label in labels):
        return ", ".join([*labels[:5], "…"] if len(labels) > 5 else labels)
    ends: list[list[int]] = []
    for label in sorted(map(int, labels)):
        if ends and label == ends[-1][1] + 1:
            ends[-1][1] = label
        else:
            ends.append([label, label])
    shown = [str(a) if a == b else f"{a} to {b}" for a, b in ends[:5]]
    return ", ".join([*shown, "…"] if len(ends) > 5 else shown) or "none"


@dataclass(frozen=True)
class Study:
    """A resolved config, the folders of its results, its data and its trained runs.

    Attributes:
        config: the resolved config.
        folder: results/<study>.
        data_folder: results/.data.
        added: runs of later rounds of seeds.
    """

    config: Config
    folder: Path
    data_folder: Path
    added: Sequence[Run] = ()

    @cached_property
    def runs(self) -> list[Run]:
        """Every wanted run."""
        if not self.added:
            return self.first_runs
        return sorted({*self.first_runs, *self.added}, key=lambda run: run.order)

    @cached_property
    def first_runs(self) -> list[Run]:
        """Runs of the grids: all of them, or of the first round of seeds."""
        return expand_runs(self.config["grids"], self.config, settings_read)

    def own(self, run: Run) -> Run:
        """A run as the study names it: without levels that are the study's, or not read."""
        return own_run(run, self.config, settings_read)

    @property
    def next_round(self) -> Path | None:
        """File of the round of seeds that follows the wanted runs; None without rounds."""
        if not self.config.get("seeds"):  # frozen configs of earlier versions have none
            return None
        return round_path(self.folder, self.runs, self.config["statistics"]["looks"])

    @cached_property
    def datasets(self) -> list[str]:
        """Datasets that some run uses."""
        return sorted({run.dataset for run in self.runs})

    @cached_property
    def external(self) -> list[ExternalArm]:
        """Arms made elsewhere; a model has the latent dimensions of the grids if it names none."""
        dims = {
            name: sorted({run.latent_dim for run in self.runs if run.dataset == name})
            for name in self.datasets
        }
        return [arm.with_dims(dims.get(arm.dataset, [])) for arm in external_arms(self.config)]

    @cached_property
    def data(self) -> dict[str, Run]:
        """Keys of the prepared data that runs use (see `Run.data`), each with one of its runs."""
        return {run.data: run for run in reversed(self.runs)}

    @cached_property
    def prepared(self) -> dict[str, Path]:
        """Folder of each used dataset's prepared data, and of each split of it that a run uses."""
        return {key: self._folder_of(key) for key in self._data_hashes}

    @cached_property
    def _data_hashes(self) -> dict[str, str]:
        """Hashes of the data, whatever code prepares them."""
        keys = (*self.datasets, *sorted(self.data))
        return {key: data_hash(self.data_options(key)) for key in keys}

    def _folder_of(self, key: str) -> Path:
        """Folder of the prepared data of a key.

        It is another one where other code than is installed prepared those that lie there, and the
        config wants them made again.
        """
        folder, options = self.data_folder / self._data_hashes[key], self.data_options(key)
        if self.config["on_code_change"] == "retrain" and _other_code(folder, options["source"]):
            return self.data_folder / data_hash(options, preparing_code(options["source"]))
        return folder

    @cached_property
    def of_other_code(self) -> list[str]:
        """Datasets whose prepared data other code than is installed has made."""
        return sorted({
            run.dataset for key, run in self.data.items()
            if _other_code(self.prepared[key], self.data_options(key)["source"])
        })  # fmt: skip

    def data_options(self, key: str) -> dict[str, Any]:
        """The section of a dataset as it holds for the data of a key."""
        if key not in self.data:
            return dict(self.config["datasets"][key])
        run = self.data[key]
        options = dict(self.config["datasets"][run.dataset])
        return options if run.split_seed is None else {**options, "split_seed": run.split_seed}

    def unchanged(self, key: str, planned: Path) -> Path:
        """The folder of the data of a key, which a call has planned.

        Raises:
            UserError: the user's files have changed since.
        """
        if self.prepared[key].name != planned.name:
            raise UserError(
                f"dataset {key}: its files have changed since this call planned its jobs; allowed: "
                "files that stay as they are, so run the same command again."
            )
        return self.prepared[key]

    def split_of(self, data: str) -> int:
        """Seed of the split of the data of a key."""
        return int(self.data_options(data)["split_seed"])

    def data_of(self, dataset: str) -> list[str]:
        """Keys of a dataset's prepared data that runs use, by split seed."""
        keys = [key for key, run in self.data.items() if run.dataset == dataset]
        return sorted(keys, key=lambda key: self.data_options(key)["split_seed"])

    @cached_property
    def observed(self) -> dict[str, Observed]:
        """Observed variable of each used dataset that can be read."""
        return {
            name: found for name, found in self._described.items() if not isinstance(found, str)
        }

    @cached_property
    def unreadable(self) -> dict[str, str]:
        """Used datasets whose files cannot be read, each with the reason in a sentence."""
        return {name: found for name, found in self._described.items() if isinstance(found, str)}

    @cached_property
    def _described(self) -> dict[str, Observed | str]:
        described: dict[str, Observed | str] = {}
        for name in self.prepared:
            try:
                described[name] = self._observed(name)
            except UserError as error:
                described[name] = str(error)
        return described

    def _observed(self, name: str) -> Observed:
        """Observed variable as prepared; before that, as the source describes it."""
        path = self.prepared[name] / "dataset.json"
        if path.is_file():
            try:
                return read_observed(read_json(path))
            except (ValueError, KeyError, TypeError):
                raise UserError(
                    f"{path}: damaged; delete its folder to prepare the data again."
                ) from None
        return describe_observed(self.data_options(name))

    @cached_property
    def checksums(self) -> dict[str, str | None]:
        """Checksum of each dataset's prepared data; None before they are prepared."""
        described = {name: path / "dataset.json" for name, path in self.prepared.items()}
        return {
            name: _read_checksum(path) if path.is_file() else None
            for name, path in described.items()
        }

    def check_fit(self, where: str) -> None:
        """Refuse axes, latent dimensions and pairs of labels that the data do not allow.

        Raises:
            UserError: naming the grid's values and the dataset.
        """
        self._check_interpolations(where)
        if self.config["seeds"]:
            check_first(where, self.first_runs, self.config["seeds"]["first"])
        for run in self.runs:
            if run.data in self.unreadable:
                continue
            observed = self.observed[run.data]
            complaint = LIKELIHOODS[run.likelihood].unsupported(observed)
            complaint = complaint or ARCHITECTURES[run.architecture].unsupported(
                observed, run.model_settings(self.config["model"])
            )
            complaint = complaint or _unsupported_axes(run, observed)
            complaint = complaint or self.without_labels(run, observed)
            if complaint:
                raise UserError(f"{where}: dataset {run.dataset}: {complaint}.")
            if run.latent_dim > observed.dims:
                most = observed.dims
                have = (
                    f"{most} dimensions; allowed: 1 to {most}"
                    if most > 1
                    else "1 dimension; allowed: 1"
                )
                raise UserError(
                    f"{where}: latent_dim is {run.latent_dim} for dataset {run.dataset}, whose "
                    f"examples have {have}."
                )

    def without_labels(self, run: Run, observed: Observed) -> str | None:
        """Reason why a run cannot be conditioned on labels; None where it can."""
        if "label" not in parts_of(run.condition) or observed.classes >= 2:
            return None
        options = self.config["datasets"][run.dataset]
        file = options["path"] or options["folder"] or f"source {options['source']}"
        if observed.distinct_labels:
            there = f"each labelled example of {file} has a label of its own"
        else:
            there = f"{file} has {'one class' if observed.classes else 'none'}"
            unnamed = "label" in SOURCES[options["source"]].options and options["label"] is None
            there += " without the option label" if unnamed else ""
        return f"condition label needs labels of at least two classes, and {there}"

    @cached_property
    def _known_labels(self) -> dict[str, Sequence[str] | None]:
        """Labels of each used dataset; None where they are known after preparation only."""
        used = {n: self.config["datasets"][n] for n in self.datasets if n in self.observed}
        return {name: SOURCES[each["source"]].known_labels(each) for name, each in used.items()}

    def _check_interpolations(self, where: str) -> None:
        """Some dataset has, or may have, both labels of each pair."""
        for index, pair in enumerate(self.config["evaluation"]["interpolations"]):
            lacking = self._lacking(pair)
            if label_text(pair[0]) == label_text(pair[1]):
                raise UserError(
                    f"{where}: evaluation.interpolations[{index}] is {pair}; allowed: two "
                    "different labels."
                )
            if lacking and len(lacking) == len(self._drawn):
                there = "; ".join(f"dataset {n}: {_ranges(known)}" for n, known in lacking.items())
                raise UserError(
                    f"{where}: evaluation.interpolations[{index}] is {pair}; "
                    f"allowed: labels of the data ({there})."
                )

    @cached_property
    def _drawn(self) -> list[str]:
        """Datasets of pictures."""
        there = [name for name in self.datasets if name in self.observed]
        return [name for name in there if self.observed[name].is_image]

    def _lacking(self, pair: Sequence[Any]) -> dict[str, Sequence[str]]:
        """Datasets of pictures of which one label of the pair is not, with the labels they have.

        Labels are compared as text, as `Dataset.label_pairs` finds them: true is not 1.
        """
        known = {name: self._known_labels[name] for name in self._drawn}
        return {
            name: labels
            for name, labels in known.items()
            if labels is not None and not set(map(label_text, pair)) <= set(labels)
        }

    def notes(self) -> list[str]:
        """Remarks on the data that a user may not expect, a line each."""
        return [*self._notes_on_code(), *self._notes_on_pairs()]

    def _notes_on_code(self) -> list[str]:
        return [
            f"Dataset {name} was prepared by other code than is installed; on_code_change: keep "
            "accepts it, retrain prepares it again."
            for name in self.of_other_code
        ]

    def _notes_on_pairs(self) -> list[str]:
        """Interpolations that are not drawn."""
        pairs = self.config["evaluation"]["interpolations"]
        if pairs and not self._drawn:
            return ["Interpolations are not drawn: no dataset of this study holds pictures."]
        return [
            f"Interpolation {pair} is not drawn for dataset {name}, whose labels are "
            f"{_ranges(labels)}."
            for pair in pairs
            for name, labels in self._lacking(pair).items()
        ]

    def check_applications(self, where: str) -> None:
        """Refuse settings of applications that name what the data lack, before anything trains.

        Raises:
            UserError: naming the key, what was found and what is there.
        """
        settings = {
            name: found["trajectory"]
            for name in self.datasets
            if name in self.observed
            and self.observed[name].counts
            and "trajectory" in (found := self.application_settings(name))
        }
        if settings:
            block = self.config["applications"]["trajectory"]
            known = {name: self._names(name) for name in settings}
            check_trajectory(where, block, settings, known)

    def _names(self, dataset: str) -> Names:
        """Names in a dataset that settings of applications may use, as far as they are known."""
        options, path = self.config["datasets"][dataset], self.prepared[dataset] / "dataset.json"
        if path.is_file():
            labels = tuple(read_json(path).get("label_names", ()))
        else:
            labels = SOURCES[options["source"]].label_names(options)
        return Names(labels, tuple(options["obs"]))

    def train_hash(self, run: Run, checksum: str | None) -> str:
        """Digest of what changes this run's result: its spec, settings it reads, and its data."""
        training = counted("training", run.training_settings(self.config["training"]))
        unread = {"device", *training_keys(run.objective)}
        training = {key: value for key, value in training.items() if key not in unread}
        training["kl_warmup_epochs"] = run.kl_warmup_epochs
        model = self._model_settings(run)
        # A fresh draw in every epoch is a way of training: the prepared arrays do not show it.
        dynamic = self.config["datasets"][run.dataset]["binarize"] == "dynamic"
        parts = [TRAINING_VERSION, run.path, training, model, checksum]
        further = ["dynamic"] if dynamic else []
        return stable_hash([*parts, *further, *digests(model_parts(run))])

    def _model_settings(self, run: Run) -> dict[str, Any]:
        """Settings of the model that could matter to runs like this; unread, as their default."""
        model = run.model_settings(self.config["model"])
        parts = (ARCHITECTURES[run.architecture], LIKELIHOODS[run.likelihood])
        read = _model_keys_read(run, model)
        named = {key for part in parts for key in part.options} | read
        settings = counted("model", model, model.keys() - read)
        return {key: value for key, value in settings.items() if key in named}

    @cached_property
    def eval_hash(self) -> str:
        """Digest of the evaluation settings and of the code that evaluates."""
        settings = counted("evaluation", self.config["evaluation"])
        outside = kind_digests("metric family")
        return stable_hash([settings, rule_code("evaluate"), *outside], 8)

    @cached_property
    def applied(self) -> list[str]:
        """Names of the applications that the config switches on."""
        return [name for name, block in self.config["applications"].items() if block is not None]

    @cached_property
    def apply_hash(self) -> str:
        """Digest of the applications' settings and of their code."""
        blocks = {name: self.config["applications"][name] for name in self.applied}
        settings = counted("applications", blocks)
        outside = digests(("application", name) for name in self.applied)
        return stable_hash([settings, self._seed, rule_code("apply"), *outside], 8)

    @property
    def _seed(self) -> int:
        """Seed of everything that is drawn after training."""
        return int(self.config["evaluation"]["seed"])

    def application_settings(self, dataset: str) -> dict[str, dict[str, Any]]:
        """Settings of the applications that a dataset's models are used for, by their name.

        What a block says of the dataset takes the place of what it says of all. Applications of the
        package are for cells; those from outside it say themselves what they are for.
        """
        found = {}
        cells = dataset not in self.observed or self.observed[dataset].counts
        for name in self.applied if cells else filter(_from_outside, self.applied):
            block = self.config["applications"][name]
            own = block["datasets"].get(dataset, {})
            if own is not None:
                found[name] = {**block, **own}
                del found[name]["datasets"]
        return found

    def applies(self, run: Run) -> bool:
        """Whether there are applications for the data of a run."""
        cells = run.data in self.observed and self.observed[run.data].counts
        return any(cells or _from_outside(name) for name in self.applied)

    def applications_folder(self, pack: str) -> Path:
        """Folder of a pack's applications under the present settings."""
        return self.folder / "packs" / pack / "applications" / self.apply_hash

    def features_path(self, data: str) -> Path:
        """File of the features in which the data of a key are compared with their samples."""
        parts = [self.prepared[data].name, self._seed, rule_code("features")]
        return self.folder / "features" / data / f"{stable_hash(parts)}.npz"

    @cached_property
    def code_version(self) -> str:
        """Digest of the training code, kept in each run's record."""
        return training_code_version()

    def setting(self, name: str) -> Level:
        """The study's own level of a setting, by its dotted key."""
        section, _, key = name.partition(".")
        return as_level(self.config[section][key])

    @property
    def references(self) -> dict[str, Any]:
        """Cells of the levels that others are compared with, where the config says so.

        Of settings that the study varies it is the study's own, unless statistics.reference names
        another.
        """
        varied = {name for run in self.runs for name in run if is_setting(name)}
        own = {name: self.setting(name) for name in varied}
        wanted = self.config["statistics"]["reference"]
        named = {name: as_level(level) for name, level in wanted.items()}
        return {name: level_cell(level) for name, level in (own | named).items()}

    @cached_property
    def train_sizes(self) -> dict[str, int | None]:
        """Examples in the train split of each used dataset and split; None before preparation."""
        described = {name: path / "dataset.json" for name, path in self.prepared.items()}
        return {
            name: read_json(path)["sizes"]["train"] if path.is_file() else None
            for name, path in described.items()
        }

    def run_folder(self, run: Run) -> Path:
        """Folder of a run below runs/, which links to its pack."""
        return self.folder / "runs" / run.path

    def plan(self) -> Plan:
        """Plan packs from the wanted runs and what lies on disk."""
        held: dict[str, str] = {}
        reasons: dict[str, str] = {}
        hashes: dict[str, str] = {}
        other_code = 0
        self._check_data_code()
        for run in self.runs:
            record = _read_record(self.run_folder(run) / "run.json")
            checksum = self.checksums[run.data] or self._recorded_checksum(run, record)
            hashes[run.path] = self.train_hash(run, checksum)
            reason = self._why_train(run, record, hashes[run.path])
            if reason is None:
                held[run.path] = record["pack"]
                other_code += record["code_version"] != self.code_version
            else:
                reasons[run.path] = reason
        limits = {
            run.pack_key: sys.maxsize
            if run.data in self.unreadable
            else pack_limit(run, self.observed[run.data], self.config)
            for run in self.runs
        }
        limits = {key: min(limit, self._noted_limit(key)) for key, limit in limits.items()}
        packs = self.folder / "packs"
        taken = {path.name for path in packs.iterdir()} if packs.is_dir() else set()
        taken |= self._planned_before()
        begun = [
            {path for path, digest in members.items() if hashes.get(path) == digest}
            for members, _ in started(self.checkpoints, self.code_version)
        ]
        planned = plan_packs(self.runs, hashes, held, reasons, limits, taken, begun)
        return Plan(planned, other_code)

    def _planned_before(self) -> set[str]:
        """Packs of the plan that the last call froze: its jobs may still wait in a queue."""
        try:
            return set(Plan.from_json(read_json(self.folder / "plan.json")).packs)
        except (OSError, ValueError, KeyError, TypeError):
            return set()

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints of packs in training."""
        return self.folder / "checkpoints"

    def note_limit(self, pack_key: str, size: int) -> None:
        """Remember that memory did not suffice for more runs than `size` in a pack."""
        smallest = min(size, self._noted_limit(pack_key))
        write_json(self._limit_path(pack_key), {"pack_key": pack_key, "max_runs": smallest})

    def _noted_limit(self, pack_key: str) -> int:
        try:
            return int(read_json(self._limit_path(pack_key))["max_runs"])
        except (OSError, ValueError, KeyError, TypeError):
            return sys.maxsize

    def _limit_path(self, pack_key: str) -> Path:
        return self.folder / "limits" / f"{pack_key.replace('/', '-')}.json"

    def _recorded_checksum(self, run: Run, record: Mapping[str, Any]) -> str | None:
        """Checksum of the data a run was trained on, if they are what would be prepared again."""
        names = {self.prepared[run.data].name, self._data_hashes[run.data]}
        return record["data_checksum"] if record.get("data_hash") in names else None

    def _why_train(self, run: Run, record: Mapping[str, Any], train_hash: str) -> str | None:
        """Reason why a run has to be trained; None where its result is whole and up to date."""
        folder = self.run_folder(run)
        if not record:
            return "files missing" if folder.is_dir() else "new"
        if record.get("train_hash") != train_hash:
            return self._what_changed(run, record)
        if not all((folder / name).exists() for name in self._expected_files(record)):
            return "files missing"
        if record["status"] == "failed" and self.config["retry_failed"]:
            return "failed before"
        if record["code_version"] != self.code_version:
            return self._code_changed(run)
        return None

    def _what_changed(self, run: Run, record: Mapping[str, Any]) -> str:
        """Reason why a run's train hash differs from the one in its record."""
        checksum = record.get("data_checksum")
        if self.train_hash(run, checksum) == record.get("train_hash"):
            return f"data of {run.dataset} changed"
        present = self.checksums[run.data] or self._recorded_checksum(run, record)
        if checksum == present:
            return "settings changed"
        return f"settings and data of {run.dataset} changed"

    def _expected_files(self, record: Mapping[str, Any]) -> tuple[str, ...]:
        """Links a held run has; those of its evaluation once its pack is evaluated."""
        evaluated = self.evaluation_folder(record["pack"]).is_dir()
        if not evaluated:
            return TRAIN_FILES
        return TRAIN_FILES + (EVALUATION_FILES if record["status"] == "ok" else ("metrics.json",))

    def _check_data_code(self) -> None:
        if self.config["on_code_change"] == "error" and self.of_other_code:
            raise UserError(
                f"{self.data_folder}: dataset {self.of_other_code[0]} was prepared by other code "
                "than is installed; set on_code_change to keep or retrain."
            )

    def _code_changed(self, run: Run) -> str | None:
        if self.config["on_code_change"] == "error":
            raise UserError(
                f"{self.run_folder(run)}: was trained by other training code than is installed; "
                "set on_code_change to keep or retrain."
            )
        return CODE_CHANGED if self.config["on_code_change"] == "retrain" else None

    def evaluation_folder(self, pack: str) -> Path:
        """Folder of a pack's evaluation under the present settings."""
        return self.folder / "packs" / pack / "evaluation" / self.eval_hash


def link_evaluations(study: Study, plan: Plan) -> None:
    """Point every run's links and record at its evaluation under the present settings.

    Evaluation links what it writes; a setting that returns to an earlier value finds its evaluation
    done, and links that still point at another one.
    """
    for item in plan.planned:
        folder = study.run_folder(item.run)
        source = study.evaluation_folder(item.pack) / item.run.path
        for name in (*EVALUATION_FILES, CELL_FILE):
            if (source / name).is_file():
                replace_link(folder / name, source / name)
        path = (folder / "run.json").resolve()
        record = _read_record(path)
        if record and record.get("eval_hash") != study.eval_hash:
            write_json(path, record | {"eval_hash": study.eval_hash})


@dataclass(frozen=True)
class Plan:
    """Packs of every wanted run, trained or to be trained.

    Attributes:
        planned: each wanted run with its pack.
        other_code: how many of the trained ones were trained by other code than is installed.
    """

    planned: list[Planned]
    other_code: int = 0

    @cached_property
    def packs(self) -> dict[str, list[Planned]]:
        """Pack id → its wanted runs."""
        packs: dict[str, list[Planned]] = {}
        for item in self.planned:
            packs.setdefault(item.pack, []).append(item)
        return packs

    @property
    def to_train(self) -> list[Planned]:
        """Runs that will be trained."""
        return [item for item in self.planned if item.reason]

    def summary(self) -> str:
        """One line: how many runs will train, in how many packs, and why."""
        missing = self.to_train
        if not missing:
            return f"{len(self.planned)} runs wanted, all trained"
        reasons: dict[str, int] = {}
        for item in missing:
            reasons[str(item.reason)] = reasons.get(str(item.reason), 0) + 1
        why = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        packs = len({item.pack for item in missing})
        return (
            f"{len(self.planned)} runs wanted, {len(self.planned) - len(missing)} trained, "
            f"{len(missing)} to train in {packs} pack{'s' if packs > 1 else ''} ({why})"
        )

    def code_line(self) -> str:
        """Hint about runs that were trained by other training code; empty without any."""
        if not self.other_code:
            return ""
        return (
            f"Training code: {self.other_code} of the trained runs were trained by other code than "
            "is installed; on_code_change: keep accepts them, retrain trains them again."
        )

    def to_json(self) -> dict[str, Any]:
        """Plain form, for plan.json."""
        return {
            "runs": [
                {
                    "path": item.run.path,
                    "run": item.run.to_json(),
                    "pack": item.pack,
                    "train_hash": item.train_hash,
                    "reason": item.reason,
                }
                for item in self.planned
            ]
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """Read `to_json`'s form back."""
        return cls(
            [
                Planned(Run(**item["run"]), item["pack"], item["train_hash"], item["reason"])
                for item in value["runs"]
            ]
        )


def _from_outside(application: str) -> bool:
    return ("application", application) in ORIGINS


CODE_CHANGED = "training code changed"
"""Reason why a run is trained again that differs in nothing else."""


def _read_checksum(path: Path) -> str:
    try:
        return str(read_json(path)["checksum"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: damaged; delete its folder to prepare the data again.") from None


def _other_code(folder: Path, source: str) -> bool:
    """Presence of data that other code than is installed has prepared."""
    try:
        code = read_json(folder / "dataset.json").get("code_version")
        return bool(code != preparing_code(source))
    except (OSError, ValueError, AttributeError):
        return False


def training_code_version() -> str:
    """Digest of the code that trains and of the code that prepares data."""
    return code_digest(*map(script_file, TRAINING_SCRIPTS), beyond=BEYOND_TRAINING)


def rule_code(rule: str) -> str:
    """Digest of the script that a rule runs and of all that it imports."""
    return code_digest(script_file(rule))


_RECORD_KEYS = {"pack", "status", "train_hash", "code_version"}


def _read_record(path: Path) -> dict[str, Any]:
    """A run's record, empty where there is none that can be read."""
    try:
        record = read_json(path)
    except (OSError, json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return record if isinstance(record, dict) and _RECORD_KEYS.issubset(record) else {}
