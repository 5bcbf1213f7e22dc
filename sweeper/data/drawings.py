"""Pictures of a data set, PNG bytes from plain values: for files, and for whatever page shows them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
import numpy.typing as npt

from sweeper.data.manifest import Pixels, Split

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

_DPI: Final = 120
_INK, _QUIET = "#222222", "#767676"
_GROUP_COLOURS: Final = {"head": "#0072b2", "middle": "#56b4e9", "tail": "#e69f00"}  # Okabe and Ito's palette
_HELD_OUT: Final[dict[Split, tuple[str, str]]] = {"val": ("#222222", "_"), "test": ("#cc79a7", "x")}
_MOST_NAMES: Final = 130
"""More class names than this cannot be read below a histogram."""
_LOG_FROM: Final = 10.0
"""Largest class over smallest from which the counts have a logarithmic axis."""
_CELL: Final = 150
"""Side of an image on a contact sheet, in pixels."""


@dataclass(frozen=True, eq=False)
class SheetRow:
    """One image of a contact sheet."""

    title: str
    images: Sequence[Pixels]
    """The image, then variants of it; of any size."""


def draw_classes(
    names: Sequence[str], counts: Mapping[Split, npt.NDArray[np.int64]], *, head_above: int, tail_below: int
) -> bytes:
    """Draws how many images each class has, the largest first, as a PNG.

    Args:
        names: of the C classes.
        counts: (C,) images of each class, by split; `train` is the bars, the others are marks.
        head_above: classes with more training images are the head.
        tail_below: classes with fewer are the tail.
    """
    train = counts["train"]
    order = np.argsort(-train, kind="stable")
    figure, axes = _figure(width=min(18.0, max(7.0, 0.16 * len(names) + 2.0)), height=5.2)
    groups = np.where(train > head_above, "head", np.where(train < tail_below, "tail", "middle"))[order]
    places = np.arange(len(names))
    legends = {
        "head": f"more than {head_above} images",
        "middle": f"{tail_below} to {head_above}",
        "tail": f"fewer than {tail_below}",
    }
    for group, colour in _GROUP_COLOURS.items():
        chosen = groups == group
        if chosen.any():
            label = f"{group} ({legends[group]}): {chosen.sum():,} of {len(names):,} classes"
            axes.bar(places[chosen], train[order][chosen], width=0.82, color=colour, label=label)
    for split, (colour, marker) in _HELD_OUT.items():
        if split in counts and counts[split].any():
            held_out = np.ma.masked_equal(counts[split][order], 0)
            label = f"{split}: {int(counts[split].sum()):,} images"
            axes.scatter(places, held_out, s=26, color=colour, marker=marker, linewidths=1.4, label=label, zorder=3)
    if train.max() >= _LOG_FROM * max(1, train.min()):
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.7)
        axes.yaxis.set_major_formatter(_plain_numbers())
    axes.set_xlim(-0.8, len(names) - 0.2)
    _name_classes(axes, [names[row] for row in order])
    axes.set_ylabel("images")
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    title = f"{int(train.sum()):,} training images in {len(names)} classes"
    axes.set_title(f"{title}: {train.max():,} in the largest, {train.min():,} in the smallest", loc="left")
    axes.legend(frameon=False, loc="upper right", fontsize=9)
    return _png(figure)


def draw_sizes(sizes: npt.NDArray[np.int64], *, stored: int) -> bytes:
    """Draws how large the images are, as a PNG.

    Args:
        sizes: (N, 2): width and height in pixels.
        stored: the short side that images are stored with; smaller ones are enlarged.
    """
    from matplotlib.colors import LogNorm

    figure, axes = _figure(width=7.6, height=6.0)
    low = max(1.0, min(sizes.min(), stored) / 1.25)
    high = max(sizes.max(), stored) * 1.25
    edges = np.geomspace(low, high, 64)
    *_, drawn = axes.hist2d(sizes[:, 0], sizes[:, 1], bins=(edges, edges), norm=LogNorm(vmin=1), cmap="viridis_r")
    figure.colorbar(drawn, ax=axes, label="images", pad=0.02, format=_plain_numbers())
    for ratio, name in ((1.0, "1:1"), (4 / 3, "4:3"), (16 / 9, "16:9"), (3 / 4, "3:4")):
        span = np.array([low * max(1.0, ratio), high * min(1.0, ratio)])
        axes.plot(span, span / ratio, color="#bbbbbb", linewidth=0.8, zorder=0)
        axes.annotate(name, (span[1], span[1] / ratio), color=_QUIET, fontsize=8, ha="right", va="top")
    axes.plot([stored, stored, high], [high, stored, stored], color="#d55e00", linewidth=1.3, linestyle="--")
    axes.annotate(f" stored: short side {stored} px", (stored, high / 1.02), color="#d55e00", fontsize=8, va="top")
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), xlabel="width, px", ylabel="height, px")
    for axis in (axes.xaxis, axes.yaxis):
        _round_pixels(axis, low, high)
    enlarged = float((sizes.min(axis=1) < stored).mean())
    width, height = np.median(sizes, axis=0)
    middle = f"{width:.0f} x {height:.0f} px at the median"
    axes.set_title(f"{len(sizes):,} images, {middle}; {_percent(enlarged)} are smaller than stored", loc="left")
    return _png(figure)


def draw_sheet(rows: Sequence[SheetRow], *, title: str, columns: Sequence[str]) -> bytes:
    """Draws rows of images side by side, as a PNG.

    Args:
        rows: each as long as `columns`.
        title: above all.
        columns: what stands above each column.
    """
    gap = 6
    step = _CELL + gap
    sheet = np.full((len(rows) * step - gap, len(columns) * step - gap, 3), 255, np.uint8)
    for number, row in enumerate(rows):
        for column, image in enumerate(row.images):
            cell = _fitted(image)
            top, left = number * step + (_CELL - len(cell)) // 2, column * step + (_CELL - cell.shape[1]) // 2
            sheet[top : top + len(cell), left : left + cell.shape[1]] = cell
    height, width = sheet.shape[:2]
    left, above = 150, 70  # pixels for names of rows and of columns
    across, down = left + width + gap, above + height + gap
    figure, axes = _figure(width=across / _DPI, height=down / _DPI)
    figure.set_layout_engine("none")
    axes.set_position((left / across, gap / down, width / across, height / down))
    axes.imshow(sheet, interpolation="none")
    axes.set_axis_off()
    for column, name in enumerate(columns):
        axes.text(column * step + _CELL / 2, -8, name, ha="center", va="bottom", color=_QUIET, fontsize=8)
    for number, row in enumerate(rows):
        axes.text(-10, number * step + _CELL / 2, _shortened(row.title, 20), ha="right", va="center", fontsize=9)
    figure.text(10 / across, 1 - 12 / down, title, va="top", fontsize=10.5, color=_INK)
    return _png(figure)


def _figure(*, width: float, height: float) -> tuple[Figure, Axes]:
    """Returns a figure of that many inches; made without pyplot, which would keep it and ask for a display."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK, labelsize=8)
    axes.title.set_fontsize(10.5)
    axes.title.set_color(_INK)
    return figure, axes


def _png(figure: Figure) -> bytes:
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})
    return written.getvalue()


def _name_classes(axes: Axes, names: Sequence[str]) -> None:
    """Names the classes below their bars as far as there is room."""
    if len(names) > _MOST_NAMES:
        axes.set_xticks([])
        axes.set_xlabel(f"{len(names):,} classes, from `{names[0]}` to `{names[-1]}`")
        return
    size = 9 if len(names) <= 30 else 6.5
    rotation, align = (0.0, "center") if len(names) <= 10 else (90.0, "center")
    shown = [_shortened(name, 24) for name in names]
    axes.set_xticks(np.arange(len(names)), shown, rotation=rotation, ha=align, fontsize=size)
    axes.tick_params(axis="x", length=0, pad=2)


def _round_pixels(axis: Axis, low: float, high: float) -> None:
    """Puts ticks of a logarithmic axis at round numbers of pixels."""
    round_ = [base * 10**power for power in range(5) for base in (1, 2, 3, 5)]
    shown = [tick for tick in round_ if low <= tick <= high]
    axis.set_ticks(shown, labels=[f"{tick:,}" for tick in shown])
    axis.set_ticks([], minor=True)


def _plain_numbers() -> FuncFormatter:
    """Writes 1,000 and not 10^3."""
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, _: f"{value:,.0f}")


def _fitted(image: Pixels) -> Pixels:
    """Returns the whole image, shrunk or enlarged into a cell."""
    scale = _CELL / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    fitted: Pixels = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    return fitted


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _percent(share: float) -> str:
    return "none" if share == 0.0 else f"{max(share, 0.001):.1%}" if share < 0.1 else f"{share:.0%}"
