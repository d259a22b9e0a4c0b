"""MNIST and its two drop-in relatives, through torchvision."""

from __future__ import annotations

import gzip
import struct
import tempfile
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vae_ablation.common.errors import UserError
from vae_ablation.common.registry import register
from vae_ablation.data.base import Observed, Options, RawData, Source

DOWNLOADS = Path("results/.data/downloads")
_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_IDX_UINT8 = 8
_MOST_FOLDERS = 100


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes (LeCun's format: magic, sizes, values), plain or gzipped.

    Raises:
        UserError: the file is not an IDX file of bytes, or is truncated or too long.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, gzip.zlib.error) as error:  # type: ignore[attr-defined]
        raise UserError(f"{path}: not readable ({error}).") from None
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _IDX_UINT8:
        raise UserError(f"{path}: not an IDX file of unsigned bytes (first bytes {content[:4]!r}).")
    dims = content[3]
    start = 4 + 4 * dims
    if len(content) < start:
        raise UserError(f"{path}: truncated inside its header ({len(content)} bytes).")
    shape = struct.unpack(f">{dims}I", content[4:start])
    expected = start + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        raise UserError(
            f"{path}: holds {len(content)} bytes where its header {shape} announces {expected}; "
            "the file is truncated or damaged."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


@register
class MNIST(Source):
    """28×28 images with 256 grey levels and their own test split (LeCun, Cortes, Burges)."""

    name = "mnist"
    shared_options = frozenset({"root"})  # they have their own test split
    dataset_class: ClassVar[str] = "MNIST"

    def check_options(self, where: str, options: Options) -> None:
        """All four files must be below `root` where it is given: nothing is put there."""
        if options["root"]:
            self._check_root(f"{where}.root is {options['root']!r}", Path(options["root"]))

    def _check_root(self, what: str, root: Path) -> None:
        """Refuse a root without one of the files, saying where they were looked for.

        Args:
            what: file, key and value, to begin the error with.
            root: the folder.
        """
        folder = root / self.dataset_class / "raw"
        missing = self._missing(folder)
        if missing:
            raise UserError(
                f"{what}, and {folder} has no {', '.join(missing)} (plain or .gz); allowed: a "
                f"folder with all four files in {self.dataset_class}/raw{self._hint(root, folder)}."
            )

    def _missing(self, folder: Path) -> list[str]:
        names = [name for pair in _FILES.values() for name in pair]
        return [name for name in names if not self._find(folder, name)]

    def _hint(self, root: Path, folder: Path) -> str:
        """The place of all four files, if it is near the root."""
        inner = (root, root / "raw", root / self.dataset_class, *_folders(root))
        for place in (root.parent, root.parent.parent, *inner):
            candidate = place / self.dataset_class / "raw"
            if not self._missing(candidate):
                return f" (root: {place} has them)"
        near = next((place for place in inner if not self._missing(place)), None)
        return "" if near is None else f" ({near} has them; move them to {folder})"

    def raw_folder(self, options: Options) -> Path:
        """Folder in which torchvision keeps the original files: ROOT/<class>/raw."""
        root = Path(options["root"]) if options["root"] else DOWNLOADS
        return root / self.dataset_class / "raw"

    def known_labels(self, options: Options) -> tuple[str, ...]:
        """Ten classes."""
        return tuple("0123456789")

    def describe(self, options: Options) -> Observed:
        """Always 28×28 with 256 grey levels."""
        return Observed(shape=(28, 28), levels=256, classes=10)

    def load(self, options: Options) -> RawData:
        """Read the IDX files; without `root` they are downloaded first where they are absent."""
        folder = self.raw_folder(options)
        if options["root"]:
            self._check_root(f"root is {options['root']!r}", Path(options["root"]))
        elif self._missing(folder):
            self._download(folder)
        train_x, train_y = self._read_split(folder, "train")
        test_x, test_y = self._read_split(folder, "test")
        official_test = np.arange(len(train_x) + len(test_x)) >= len(train_x)
        return RawData(
            np.concatenate([train_x, test_x]),
            np.concatenate([train_y, test_y]),
            levels=256,
            official_test=official_test,
        )

    def _find(self, folder: Path, name: str) -> Path | None:
        dotted = name.replace("-idx", ".idx")  # as some archives spell them
        candidates = (folder / f"{stem}{end}" for stem in (name, dotted) for end in ("", ".gz"))
        return next((path for path in candidates if path.is_file()), None)

    def _download(self, folder: Path) -> None:
        from torchvision import datasets

        try:
            folder.mkdir(parents=True, exist_ok=True)
            # a download that is cut off leaves no half file under the name of a whole one
            with tempfile.TemporaryDirectory(dir=folder, prefix=".download.") as temporary:
                getattr(datasets, self.dataset_class)(temporary, download=True)
                for path in (Path(temporary) / self.dataset_class / "raw").iterdir():
                    path.replace(folder / path.name)
        except (RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"{self.name}: the files are not in {folder} and could not be "
                f"downloaded ({reason}); "
                "put them there, or point root: at a folder that has them."
            ) from None

    def _read_split(self, folder: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        paths = [self._find(folder, name) or folder / name for name in _FILES[split]]
        images, labels = (read_idx(path) for path in paths)
        if images.shape[1:] != (28, 28):
            raise UserError(f"{paths[0]}: images of shape {images.shape[1:]}; expected (28, 28).")
        if labels.shape != images.shape[:1]:
            raise UserError(
                f"{paths[1]}: {len(labels)} labels for {len(images)} images in {paths[0].name}."
            )
        if labels.max(initial=0) > 9:
            raise UserError(f"{paths[1]}: holds the label {labels.max()}; allowed: 0 to 9.")
        return images, labels.astype(np.int64)


def _folders(root: Path) -> list[Path]:
    """Folders right below a folder, as far as they can be listed."""
    try:
        return sorted(path for path in root.iterdir() if path.is_dir())[:_MOST_FOLDERS]
    except OSError:
        return []


@register
class FashionMNIST(MNIST):
    """Zalando's clothing images."""

    name = "fashion-mnist"
    dataset_class = "FashionMNIST"


@register
class KMNIST(MNIST):
    """Kuzushiji characters."""

    name = "kmnist"
    dataset_class = "KMNIST"
