"""The picture of a search for a learning rate."""

from __future__ import annotations

from experiments.runs.plots import LIGHT, Theme, dress, new_figure, png_bytes
from experiments.training.finetuning.rate_finder import RateCurve


def rate_finder_png(curve: RateCurve, *, theme: Theme = LIGHT) -> bytes:
    """The loss against the learning rate, the suggested one marked; 1200 x 600 px."""
    figure = new_figure(8, 4, theme)
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.plot(curve.rates, curve.losses, "o", color=theme.grid, markersize=3.5, label="of a batch")
    axes.plot(
        *(curve.rates, curve.smoothed, "-"), color=theme.train, linewidth=1.8, label="smoothed"
    )
    if curve.suggested is not None:
        axes.axvline(
            curve.suggested,
            color=theme.validation,
            linestyle="--",
            linewidth=1.6,
            label=f"falls fastest: {curve.suggested:.1e}",
        )
    # What diverges after the lowest loss would press all before it flat.
    lowest = int(curve.losses.argmin())
    low, high = float(curve.losses[lowest]), float(curve.losses[: lowest + 1].max())
    margin = 0.1 * (high - low) or 0.1
    axes.set_ylim(low - margin, high + margin)
    axes.set_xlabel("learning rate")
    axes.set_title("Loss", fontsize=11, loc="left", fontweight="bold")
    dress(axes, theme)
    axes.grid(axis="y", color=theme.grid, linewidth=0.8)
    axes.legend(fontsize=9, frameon=False, labelcolor=theme.text)
    return png_bytes(figure)
