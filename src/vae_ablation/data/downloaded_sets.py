"""CIFAR-10, SVHN, Omniglot, EMNIST and CelebA as torchvision has them, and dSprites from its file.

Nothing is unpickled: CIFAR-10 is read from its binary version.
"""

from __future__ import annotations

import tempfile
import zipfile
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vae_ablation.common.errors import UserError
from vae_ablation.common.files import UNREADABLE_NPZ
from vae_ablation.common.registry import register
from vae_ablation.data.base import TEST, TRAIN, VALIDATION, Observed, Options, RawData, Source
from vae_ablation.data.base import generator as random_stream
from vae_ablation.data.images import decoded_pictures
from vae_ablation.data.kinds import check_is_file
from vae_ablation.data.labels import read_labels
from vae_ablation.data.torchvision_sets import DOWNLOADS, read_idx

_DIGITS = tuple(map(str, range(10)))


class Downloaded(Source):
    """A set whose files lie below `root`, or are downloaded where it is null.

    Attributes:
        folder: folder of the files below the root.
    """

    folder: ClassVar[str]
    shared_options = frozenset({"root"})

    @abstractmethod
    def files(self, options: Options) -> list[str]:
        """Files and folders that must be there, relative to `folder`."""

    @abstractmethod
    def download(self, root: Path, options: Options) -> None:
        """Download and unpack the set below a root."""

    @abstractmethod
    def read(self, place: Path, options: Options) -> RawData:
        """Read the set from its folder."""

    def check_options(self, where: str, options: Options) -> None:
        """All files must be below `root` where it is given: nothing is put there."""
        if options["root"]:
            self._check_root(f"{where}.root is {options['root']!r}", Path(options["root"]), options)

    def _check_root(self, what: str, root: Path, options: Options) -> None:
        missing = self._missing(root, options)
        if missing:
            raise UserError(
                f"{what}, and {root / self.folder} has no {', '.join(missing)}; allowed: a folder "
                f"with {self.folder} as torchvision unpacks it."
            )

    def _missing(self, root: Path, options: Options) -> list[str]:
        return [name for name in self.files(options) if not (root / self.folder / name).exists()]

    def load(self, options: Options) -> RawData:
        """Read the files; without `root` they are downloaded first where they are absent."""
        root = Path(options["root"]) if options["root"] else DOWNLOADS / self.name
        if options["root"]:
            self._check_root(f"root is {options['root']!r}", root, options)
        elif self._missing(root, options):
            self._fetch(root, options)
        return self.read(root / self.folder, options)

    def _fetch(self, root: Path, options: Options) -> None:
        """Download into a temporary folder, so that one that is cut off leaves no half set."""
        try:
            root.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=root.parent, prefix=".download.") as temporary:
                self.download(Path(temporary), options)
                root.mkdir(exist_ok=True)
                for path in Path(temporary).iterdir():
                    path.replace(root / path.name)
        except Exception as error:
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise UserError(
                f"{self.name}: the files are not in {root / self.folder} and could not be "
                f"downloaded ({reason[:200]}); put them there, or point root: at a folder that has "
                "them."
            ) from None


@contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    """Errors of a damaged file as one sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()).split(". ")[0].rstrip(".") or type(error).__name__
        raise UserError(f"{path}: not readable as {what} ({reason[:200]}).") from None


def _refuse_labels(path: Path, labels: NDArray[Any], low: int, high: int) -> None:
    if len(labels) and not low <= int(labels.min()) <= int(labels.max()) <= high:
        wrong = labels[(labels < low) | (labels > high)][0]
        raise UserError(f"{path}: holds the label {wrong}; allowed: {low} to {high}.")


def _two_parts(x: NDArray[Any], labels: NDArray[Any], train: int, **further: Any) -> RawData:
    """A set whose first `train` examples are its train split."""
    official = np.arange(len(x)) >= train
    return RawData(x, labels.astype(np.int64), 256, official_test=official, **further)


@register
class Cifar10(Downloaded):
    """60,000 colour photographs of 32×32 in ten classes (Krizhevsky 2009), its binary version."""

    name = "cifar10"
    folder = "cifar-10-batches-bin"
    url = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    md5 = "c32a1d4ab5d03f1284b67883e8d87530"
    classes = (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    )

    def files(self, options: Options) -> list[str]:
        """Five batches to train on, one to test."""
        return [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]

    def known_labels(self, options: Options) -> tuple[str, ...]:
        """Names of the classes."""
        return self.classes

    def label_names(self, options: Options) -> tuple[str, ...]:
        """Names of the classes."""
        return self.classes

    def describe(self, options: Options) -> Observed:
        """32×32 with three channels."""
        return Observed((32, 32, 3), 256, classes=10)

    def download(self, root: Path, options: Options) -> None:
        """Through torchvision's download."""
        from torchvision.datasets.utils import download_and_extract_archive

        download_and_extract_archive(self.url, str(root), md5=self.md5, remove_finished=True)

    def read(self, place: Path, options: Options) -> RawData:
        """Each record is a label and the planes of red, green and blue."""
        parts = [self._batch(place / name) for name in self.files(options)]
        x = np.concatenate([pictures for pictures, _ in parts])
        labels = np.concatenate([found for _, found in parts])
        train = len(x) - len(parts[-1][0])
        return _two_parts(x, labels, train, label_names=self.classes)

    def _batch(self, path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        with _reading(path, "a binary batch of CIFAR-10"):
            content = np.fromfile(path, np.uint8)
        if not len(content) or len(content) % 3073:
            raise UserError(
                f"{path}: holds {len(content)} bytes, which is not a multiple of the 3073 of a "
                "record; the file is truncated or damaged."
            )
        records = content.reshape(-1, 3073)
        _refuse_labels(path, records[:, 0], 0, 9)
        return records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), records[:, 0]


@register
class Svhn(Downloaded):
    """House numbers in colour, 32×32, ten digits (Netzer et al. 2011); without the extra part."""

    name = "svhn"
    folder = "."

    def files(self, options: Options) -> list[str]:
        """Two MATLAB files."""
        return ["train_32x32.mat", "test_32x32.mat"]

    def known_labels(self, options: Options) -> tuple[str, ...]:
        """The digits."""
        return _DIGITS

    def describe(self, options: Options) -> Observed:
        """32×32 with three channels."""
        return Observed((32, 32, 3), 256, classes=10)

    def download(self, root: Path, options: Options) -> None:
        """Through torchvision."""
        from torchvision import datasets

        for split in ("train", "test"):
            datasets.SVHN(str(root), split, download=True)

    def read(self, place: Path, options: Options) -> RawData:
        """X is [32, 32, 3, n]; the label 10 is the digit 0."""
        parts = [self._part(place / name) for name in self.files(options)]
        x, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return _two_parts(x, labels, len(parts[0][0]))

    def _part(self, path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        from scipy.io import loadmat

        with _reading(path, "a MATLAB file"):
            arrays = loadmat(path, variable_names=["X", "y"])
            x, y = np.asarray(arrays["X"]), np.asarray(arrays["y"]).ravel().astype(np.int64)
        if x.ndim != 4 or x.shape[:3] != (32, 32, 3) or x.dtype != np.uint8 or len(y) != x.shape[3]:
            raise UserError(
                f"{path}: X has shape {x.shape} and type {x.dtype}, y has {len(y)} labels; "
                "allowed: bytes of shape (32, 32, 3, n), and n labels."
            )
        _refuse_labels(path, y, 0, 10)
        return x.transpose(3, 0, 1, 2), y % 10


@register
class Emnist(Downloaded):
    """Handwritten letters and digits, 28×28 (Cohen et al. 2017); `variant` chooses the classes."""

    name = "emnist"
    folder = "EMNIST/raw"
    own_options = frozenset({"variant"})

    def files(self, options: Options) -> list[str]:
        """Images and labels of both parts."""
        kinds = ("images-idx3-ubyte", "labels-idx1-ubyte")
        variant = options["variant"]
        return [f"emnist-{variant}-{part}-{kind}" for part in ("train", "test") for kind in kinds]

    def known_labels(self, options: Options) -> None:
        """Known once they are read."""
        return

    def describe(self, options: Options) -> Observed:
        """28×28 in grey."""
        return Observed((28, 28), 256, classes=len(_EMNIST[options["variant"]]))

    def label_names(self, options: Options) -> tuple[str, ...]:
        """The letters and digits."""
        return tuple(_EMNIST[options["variant"]])

    def download(self, root: Path, options: Options) -> None:
        """Through torchvision, which unpacks every variant."""
        from torchvision import datasets

        datasets.EMNIST(str(root), options["variant"], download=True)

    def read(self, place: Path, options: Options) -> RawData:
        """Pictures are stored with rows and columns exchanged."""
        names = self.files(options)
        arrays = [read_idx(place / name) for name in names]
        first = 1 if options["variant"] == "letters" else 0
        symbols = _EMNIST[options["variant"]]
        for name, pictures, labels in zip(names[::2], arrays[::2], arrays[1::2], strict=True):
            if pictures.shape[1:] != (28, 28) or labels.shape != pictures.shape[:1]:
                raise UserError(
                    f"{place / name}: images of shape {pictures.shape} and {labels.shape} labels; "
                    "allowed: [n, 28, 28] and [n]."
                )
            _refuse_labels(place / name, labels, first, first + len(symbols) - 1)
        x = np.concatenate(arrays[::2]).transpose(0, 2, 1)
        classes = np.concatenate(arrays[1::2]).astype(np.int64) - first
        return _two_parts(x, classes, len(arrays[0]), label_names=tuple(symbols))


_UPPER, _LOWER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
_EMNIST = {
    "balanced": [*_DIGITS, *_UPPER, *"abdefghnqrt"],
    "bymerge": [*_DIGITS, *_UPPER, *"abdefghnqrt"],
    "byclass": [*_DIGITS, *_UPPER, *_LOWER],
    "letters": [*_LOWER],
    "digits": [*_DIGITS],
    "mnist": [*_DIGITS],
}


@register
class Omniglot(Downloaded):
    """Characters of 50 alphabets (Lake et al. 2015), ink white; the evaluation alphabets test.

    The label is the alphabet. `image_size` [28, 28] is the usual one; null keeps 105×105.
    """

    name = "omniglot"
    folder = "omniglot-py"
    own_options = frozenset({"image_size"})
    parts = ("images_background", "images_evaluation")

    def files(self, options: Options) -> list[str]:
        """A folder of each part."""
        return list(self.parts)

    def known_labels(self, options: Options) -> None:
        """Known once they are read."""
        return

    def describe(self, options: Options) -> Observed:
        """Grey where pictures are scaled down, else binary."""
        return Observed(tuple(options["image_size"] or (105, 105)), 256, classes=50)

    def download(self, root: Path, options: Options) -> None:
        """Through torchvision."""
        from torchvision import datasets

        for background in (True, False):
            datasets.Omniglot(str(root), background, download=True)

    def read(self, place: Path, options: Options) -> RawData:
        """Decode every character."""
        names = [
            [str(path.relative_to(place)) for path in sorted((place / part).glob("*/*/*.png"))]
            for part in self.parts
        ]
        if not all(names):
            raise UserError(f"{place}: holds no characters (ALPHABET/CHARACTER/*.png) in a part.")
        every = [*names[0], *names[1]]
        size = tuple(options["image_size"] or (105, 105))
        x = 255 - decoded_pictures(place, every, (int(size[0]), int(size[1])), 1, "stretch")[..., 0]
        alphabets = np.array([Path(name).parts[1] for name in every])
        labels, known = read_labels(alphabets, f"{place}: alphabets")
        assert labels is not None
        return _two_parts(x, labels, len(names[0]), label_names=known)


@register
class CelebA(Downloaded):
    """202,599 faces (Liu et al. 2015) with their own three splits.

    `image_size` brings the 218×178 pixels to size, cut around the centre (fit: crop); `label` names
    one of the 40 attributes.
    """

    name = "celeba"
    folder = "celeba"
    own_options = frozenset({"image_size", "fit", "label"})

    def files(self, options: Options) -> list[str]:
        """The aligned pictures, splits and attributes."""
        return ["img_align_celeba", "list_eval_partition.txt", "list_attr_celeba.txt"]

    def known_labels(self, options: Options) -> tuple[str, ...]:
        """Absent and present, where an attribute is chosen."""
        return self.label_names(options)

    def label_names(self, options: Options) -> tuple[str, ...]:
        """Names of the two classes."""
        return (f"not {options['label']}", options["label"]) if options["label"] else ()

    def describe(self, options: Options) -> Observed:
        """Three channels."""
        size = tuple(options["image_size"] or (218, 178))
        return Observed((*size, 3), 256, classes=2 if options["label"] else 0)

    def download(self, root: Path, options: Options) -> None:
        """Through torchvision, which needs gdown."""
        from torchvision import datasets

        datasets.CelebA(str(root), "all", download=True)

    def read(self, place: Path, options: Options) -> RawData:
        """Decode every face; pictures in no split are left out."""
        split = _columns(place / "list_eval_partition.txt", 0)
        codes = {"0": TRAIN, "1": VALIDATION, "2": TEST}
        wrong = next((row for row in split.values() if row[:1] not in ([k] for k in codes)), None)
        if wrong is not None:
            raise UserError(
                f"{place / 'list_eval_partition.txt'}: holds {wrong}; allowed: 0, 1, 2."
            )
        names = list(split)
        labels = self._labels(place / "list_attr_celeba.txt", names, options["label"])
        size = tuple(options["image_size"] or (218, 178))
        wanted = (int(size[0]), int(size[1]))
        x = decoded_pictures(place / "img_align_celeba", names, wanted, 3, options["fit"])
        parts = np.array([codes[split[name][0]] for name in names], np.int8)
        return RawData(x, labels, 256, label_names=self.label_names(options), split=parts)

    def _labels(
        self, path: Path, names: list[str], attribute: str | None
    ) -> NDArray[np.int64] | None:
        if attribute is None:
            return None
        with _reading(path, "a list of attributes"):
            known = path.read_text(encoding="utf-8").splitlines()[1].split()
        if attribute not in known:
            raise UserError(f"{path}: has no attribute {attribute!r}; there: {', '.join(known)}.")
        rows, column = _columns(path, 2), known.index(attribute)
        with _reading(path, "a list of attributes"):
            return np.array([int(rows[name][column]) > 0 for name in names]).astype(np.int64)


def _columns(path: Path, skipped: int) -> dict[str, list[str]]:
    """Rows of a list of CelebA by the picture's name."""
    with _reading(path, "a list of CelebA"):
        lines = path.read_text(encoding="utf-8").splitlines()[skipped:]
    rows = {line.split()[0]: line.split()[1:] for line in lines if line.strip()}
    if not rows:
        raise UserError(f"{path}: has no rows; the file is truncated or damaged.")
    return rows


@register
class DSprites(Source):
    """dSprites (Matthey et al. 2017) from its .npz at `path`: binary, 64×64, five factors.

    `examples` of its 737,280 pictures are drawn with split_seed; the file is read in blocks.
    """

    name = "dsprites"
    shared_options = frozenset({"path", "test"})
    own_options = frozenset({"examples"})
    factors = ("shape", "scale", "orientation", "x", "y")

    def check_options(self, where: str, options: Options) -> None:
        """There must be a path, and a file at it."""
        if not options["path"]:
            raise UserError(
                f"{where}.path is null; source dsprites needs the path of "
                "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz."
            )
        check_is_file(f"{where}.path", options["path"], "an .npz file")

    def content(self, options: Options) -> list[Path]:
        """The file."""
        return [Path(options["path"])]

    def known_labels(self, options: Options) -> tuple[str, ...]:
        """The shapes."""
        return tuple("012")

    def describe(self, options: Options) -> Observed:
        """64×64 and binary."""
        return Observed((64, 64), 2, binary=True, classes=3)

    def load(self, options: Options) -> RawData:
        """Factors as a whole, then the pictures that are drawn."""
        path = Path(options["path"])
        try:
            with zipfile.ZipFile(path) as archive:
                with archive.open("latents_classes.npy") as stream:
                    classes = np.lib.format.read_array(stream, allow_pickle=False)
                if classes.ndim != 2 or classes.shape[1] != 6 or classes.dtype.kind not in "iu":
                    raise ValueError(f"latents_classes has shape {classes.shape}")
                rows = self._drawn(path, len(classes), options)
                x = _rows_of(archive, "imgs.npy", rows, (len(classes), 64, 64))
        except (*UNREADABLE_NPZ, RuntimeError) as error:
            reason = " ".join(str(error).split()).split(". ")[0].rstrip(".")
            reason = reason.strip("'\"") or type(error).__name__
            raise UserError(f"{path}: not readable as the file of dSprites ({reason}).") from None
        if x.max(initial=0) > 1:
            raise UserError(f"{path}: imgs holds {x.max()}; allowed: 0 and 1.")
        factors = classes[rows, 1:].astype(np.int64)
        return RawData(x, factors[:, 0], 2, factors=factors, factor_names=self.factors)

    def _drawn(self, path: Path, count: int, options: Options) -> NDArray[np.int64]:
        wanted = options["examples"]
        if wanted > count:
            raise UserError(f"{path}: holds {count} pictures, and examples is {wanted}.")
        random = random_stream(options["split_seed"], "draw")
        return np.sort(random.choice(count, wanted, replace=False))


_BLOCK = 4096


def _rows_of(
    archive: zipfile.ZipFile, name: str, rows: NDArray[np.int64], shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    """Some rows, ascending, of an array of bytes, of which a block is held at a time."""
    with archive.open(name) as stream:
        version = np.lib.format.read_magic(stream)
        header = (
            np.lib.format.read_array_header_1_0(stream)
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0(stream)
        )
        if header != (shape, False, np.dtype(np.uint8)):
            raise ValueError(f"{name} has shape {header[0]} and type {header[2]}")
        size, parts = int(np.prod(shape[1:])), []
        for start in range(0, shape[0], _BLOCK):
            count = min(_BLOCK, shape[0] - start)
            content = stream.read(count * size)
            if len(content) != count * size:
                raise ValueError(f"{name} is truncated")
            inside = rows[(rows >= start) & (rows < start + count)] - start
            parts.append(np.frombuffer(content, np.uint8).reshape(count, *shape[1:])[inside])
    return np.concatenate(parts)
