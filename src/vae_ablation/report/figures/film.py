"""How reconstructions come about: the same examples after more and more epochs, as a film."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from vae_ablation.report.figures import style
from vae_ablation.report.figures.layout import (
    TOP,
    Sheet,
    heading,
    image_aspect,
    left_out,
    mosaic,
    plain_log,
    show_mosaic,
)
from vae_ablation.report.figures.registry import figure
from vae_ablation.report.figures.results import Arrays, StudyResults
from vae_ablation.report.figures.selection import Selection, contrast_arms, first_runs
from vae_ablation.study.axes import ArmName

MAX_FRAMES = 16
MIN_FRAMES = 6
MAX_PIXELS = 1_000_000
"""Pixels of the runs' own pictures in a film: large ones get fewer frames, down to MIN_FRAMES."""
MAX_STILLS = 6
MAX_IMAGES = 10
_SECONDS = (0.4, 2.5)
_LABELS = 1.15
_LARGEST = 0.68

Images = NDArray[np.uint8]


@figure(scope="likelihood", category="Training", per_latent_dim=True)
def training_film(results: StudyResults, selection: Selection) -> style.Film | None:
    """Reconstructions of the same examples over the epochs of training, KL on above KL off."""
    rows = selection.ok_rows(results)
    runs = first_runs(rows)
    found = {
        arm: snapshots
        for arm in contrast_arms(runs)
        if (snapshots := results.snapshots(runs[arm])) is not None and len(snapshots["epochs"])
    }
    if not found:
        return None
    title = heading("Training, epoch by epoch", selection, rows)
    note = left_out(selection.rows(results))
    epochs = np.unique(np.concatenate([snapshots["epochs"] for snapshots in found.values()]))
    shown = evenly(epochs, affordable_frames([found[arm]["images"] for arm in found]))
    seconds = np.full(len(shown), _SECONDS[0])
    seconds[-1] = _SECONDS[1]
    curves = {arm: _curve(results, runs[arm]) for arm in found}
    return style.Film(
        _still(found, evenly(epochs, MAX_STILLS), title, note),
        _frames(found, shown, curves, title, note),
        seconds,
    )


def affordable_frames(images: Sequence[Images]) -> int:
    """How many frames keep a film of these pictures [frames, k, H, W], one array per arm, small."""
    each = sum(of[0, :MAX_IMAGES].size for of in images)
    return int(np.clip(MAX_PIXELS // each, MIN_FRAMES, MAX_FRAMES))


def evenly(epochs: NDArray[np.int64], cap: int) -> NDArray[np.int64]:
    """At most `cap` of the epochs, the first and the last among them."""
    take = np.linspace(0, len(epochs) - 1, min(len(epochs), cap)).round().astype(int)
    return epochs[take]


def images_after(snapshots: Arrays, epoch: int) -> Images:
    """The last pictures taken until an epoch, [k, H, W]: a run that has stopped keeps its last."""
    last = np.searchsorted(snapshots["epochs"], epoch, side="right") - 1
    images: Images = snapshots["images"][max(int(last), 0)][:MAX_IMAGES]
    return images


def _frames(
    found: Mapping[ArmName, Arrays],
    epochs: NDArray[np.int64],
    curves: Mapping[ArmName, NDArray[np.float64]],
    title: tuple[str, str],
    note: str,
) -> Images:
    """All frames [frames, height, width, 4]; only what moves is drawn more than once."""
    originals = next(iter(found.values()))["originals"][:MAX_IMAGES]
    pictures = [mosaic(_rows(found, originals, epoch)) for epoch in epochs.tolist()]
    # A whole number of pixels for each of the picture's: resampling every frame would take longer
    # than all the rest.
    free = min(style.FULL_WIDTH - _LABELS - 0.15, _LARGEST * len(originals)) * style.DPI
    factor = max(1, int(free // pictures[0].shape[1]))
    height, width = (factor * size / style.DPI for size in pictures[0].shape)
    top = TOP + 0.1
    sheet = Sheet(_LABELS + width + 0.15, top + height + 1.85, title, note=note)
    _name_rows(sheet, top, list(found), height / (len(found) + 1))
    below = sheet.axes(_LABELS, top + height + 0.3, width, 1.05)
    hand = _draw_curves(below, curves, int(epochs[-1]))
    clock = sheet.figure.text(
        1 - 0.15 / sheet.width, 1 - 0.38 / sheet.height, "", ha="right", va="center", size=10.5,
        weight="bold",
    )  # fmt: skip
    left = round(_LABELS * style.DPI)
    down = round(top * style.DPI)
    frames = []
    draw = _over_background(sheet.figure, (clock, hand))
    for epoch, picture in zip(epochs.tolist(), pictures, strict=True):
        clock.set_text(f"after epoch {epoch}")
        hand.set_xdata([epoch, epoch])
        frame = draw()
        large = picture.repeat(factor, axis=0).repeat(factor, axis=1)
        frame[down : down + len(large), left : left + large.shape[1], :3] = large[..., None]
        frames.append(frame)
    return np.stack(frames)


def _over_background(fig: Figure, moving: Sequence[Artist]) -> Callable[[], Images]:
    """Draw everything else once; give what draws the moving parts over it: [height, width, 4]."""
    for artist in moving:
        artist.set_animated(True)
    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    background = canvas.copy_from_bbox(fig.bbox)

    def draw() -> Images:
        canvas.restore_region(background)
        for artist in moving:
            artist.draw(canvas.get_renderer())
        return np.array(canvas.buffer_rgba())

    return draw


def _rows(found: Mapping[ArmName, Arrays], originals: Images, epoch: int) -> Images:
    """Originals above each arm's pictures after an epoch: [rows, k, H, W]."""
    return np.stack([originals, *(images_after(snapshots, epoch) for snapshots in found.values())])


def _name_rows(sheet: Sheet, y: float, names: list[ArmName], row: float) -> None:
    """The originals, then arms in their colours."""
    sheet.text(0.1, y + 0.5 * row, "originals")
    for i, name in enumerate(names, 1):
        middle = y + (i + 0.5) * row
        sheet.text(0.1, middle, style.short(name.label, 16))
        sheet.bar(_LABELS - 0.1, middle - row / 2 + 0.03, 0.06, row - 0.06, style.arm_color(name))


def _curve(results: StudyResults, run: str) -> NDArray[np.float64]:
    """Epochs and distortion of the validation split, [2, epochs]; no columns without a history."""
    history = results.history(run)
    if history is None:
        return np.zeros((2, 0))
    rows = history[history["split"] == "validation"]
    return rows[["epoch", "distortion"]].dropna().to_numpy(float).T


def _draw_curves(ax: Axes, curves: Mapping[ArmName, NDArray[np.float64]], last: int) -> Line2D:
    """Distortion over epochs, and the upright line that moves with the film."""
    for arm, (epochs, values) in curves.items():
        ax.plot(epochs, values, color=style.arm_color(arm))
    plain_log(ax, "x", 1, last)
    ticks = [n * 10**power for power in range(6) for n in (1, 2, 5) if n * 10**power <= last]
    ax.set_xticks([0, *ticks])
    ax.set_xlim(0, last * 1.05)
    ax.set(xlabel="epoch", ylabel="validation\ndistortion (nats)")
    return ax.axvline(0, color="#222222", linewidth=1.2)


def _still(
    found: Mapping[ArmName, Arrays], epochs: NDArray[np.int64], title: tuple[str, str], note: str
) -> Figure:
    """Some of the frames on one page: a block per arm, a row per epoch, the originals below."""
    originals = next(iter(found.values()))["originals"][:MAX_IMAGES]
    cell = min((style.FULL_WIDTH - _LABELS - 0.15) / len(originals), 0.5)
    row = cell * image_aspect(originals)
    block = row * (len(epochs) + 1) + 0.4
    sheet = Sheet(style.FULL_WIDTH, TOP + block * len(found) + 0.1, title, note=note)
    names = [f"epoch {epoch}" for epoch in epochs] + ["originals"]
    for i, (arm, snapshots) in enumerate(found.items()):
        y = TOP + 0.28 + i * block
        color = style.arm_color(arm)
        sheet.text(_LABELS, y - 0.14, arm.label, weight="bold", color=color)
        images = [images_after(snapshots, int(epoch)) for epoch in epochs] + [originals]
        show_mosaic(
            sheet.axes(_LABELS, y, cell * len(originals), row * len(images)), np.stack(images)
        )
        for j, name in enumerate(names):
            sheet.text(0.1, y + (j + 0.5) * row, name)
    return sheet.figure
