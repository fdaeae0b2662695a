"""Find the learning rate at which a model learns fastest, by trying rising rates."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from common.errors import InputError
from experiments.runs.plots import LIGHT, Theme, dress, new_figure, png_bytes

if TYPE_CHECKING:
    from experiments.training.loop import Classifier

DIVERGED = 4.0
"""Factor of the lowest smoothed loss above which the loss counts as diverged."""
# With fewer steps there is no slope to speak of.
_SHORTEST = 10
# Standard deviations of the losses about their mean: a smaller fall may be chance.
_LEAST_FALL = 2.0


@dataclass(frozen=True)
class RateCurve:
    """Losses at rising learning rates, and the rate that they suggest.

    Args:
        rates: learning rate of each step, rising, (num_steps,).
        losses: loss of each step, before its update, (num_steps,).
        smoothed: means of each loss with its neighbours on both sides, (num_steps,).
        suggested: the rate at which the smoothed loss falls most steeply with the logarithm of
            the rate, before its lowest point; None where it falls by less than twice the
            standard deviation of the losses about it.
        diverged: whether the loss rose so far, or to infinity, that the highest rates were not
            tried.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    smoothed: NDArray[np.float64]
    suggested: float | None
    diverged: bool

    def __str__(self) -> str:
        tried = f"{self.rates[0]:.1e} to {self.rates[-1]:.1e}"
        if self.suggested is None:
            return f"learning rates {tried}: the loss falls at none of them; suggests none"
        return f"learning rates {tried}: the loss falls fastest at {self.suggested:.1e}"


def find_rate(
    classifier: Classifier,
    train_batches: Callable[[int], Iterable[Any]],
    *,
    lowest: float = 1e-7,
    highest: float = 1.0,
    num_steps: int = 100,
    smoothing: float = 0.8,
) -> RateCurve:
    """Train with rising learning rates, then restore the classifier bit for bit.

    Weights, optimizer state and generator states are copied before and set again afterwards, also
    after an error. Meanwhile they take twice the memory.

    Args:
        classifier: the model and an optimizer without a schedule.
        train_batches: batches of epoch e (from 0), as `experiments.training.loop.train_and_test`
            takes them.
        lowest: learning rate of the first step.
        highest: learning rate of the last step; the rates form a geometric sequence.
        num_steps: number of steps.
        smoothing: decay of the weight in a mean for each step of distance. It applies to the mean
            of the steps so far, which tells divergence, and to the smoothed loss.

    Raises:
        InputError: if an option is out of its range, the optimizer has a schedule, or the loss is
            not finite from the beginning.

    Reference: Smith, Cyclical Learning Rates for Training Neural Networks, WACV 2017, section 3.3;
        the exponential rise, the smoothing and the steepest point are fastai's.
    """
    if not 0 < lowest < highest or num_steps < _SHORTEST or not 0 <= smoothing < 1:
        raise InputError(
            f"find_rate needs 0 < lowest < highest, num_steps of {_SHORTEST} or more and smoothing "
            f"in [0, 1). Received {lowest}, {highest}, {num_steps} and {smoothing}."
        )
    # Geometric: what matters is the magnitude of a rate.
    rates = np.geomspace(lowest, highest, num_steps)
    losses: list[float] = []
    with _restored(classifier):
        for loss in _losses(classifier, train_batches, rates):
            losses.append(loss)
            if _has_diverged(losses, smoothing):
                break
    if not math.isfinite(losses[-1]):
        # A last loss of NaN or infinity says that the rate is too high, and has no place in a mean.
        losses.pop()
    if len(losses) < 2:
        raise InputError(
            "The loss of the first two steps must be finite. Received NaN or infinity; look at "
            f"the clips and the weights, or try lower rates than {lowest:g}."
        )
    return _curve(rates[: len(losses)], np.array(losses), smoothing, len(losses) < num_steps)


@contextmanager
def _restored(classifier: Classifier) -> Iterator[None]:
    kept = [np.array(variable.numpy()) for variable in classifier.variables]
    try:
        yield
    finally:
        for variable, value in zip(classifier.variables, kept, strict=True):
            variable.assign(value)


def _losses(
    classifier: Classifier,
    train_batches: Callable[[int], Iterable[Any]],
    rates: NDArray[np.float64],
) -> Iterator[float]:
    """Yield the loss of one training step at each rate."""
    # Epoch after epoch, for as many steps as there are rates.
    batches = itertools.chain.from_iterable(map(train_batches, itertools.count()))
    interval = 0.1 if sys.stderr.isatty() else 30
    with tqdm(rates, desc="learning rates", unit="step", mininterval=interval) as bar:
        for rate in bar:
            _set_rate(classifier, float(rate))
            loss, _ = classifier.train_batch(*next(batches))
            yield loss


def _set_rate(classifier: Classifier, rate: float) -> None:
    try:
        classifier.set_learning_rate(rate)
    except TypeError as error:  # Keras's, of an optimizer with a schedule
        raise InputError(
            "Learning rates can be tried with an optimizer without a schedule only. Received "
            "one with a schedule; build it with a constant rate."
        ) from error


def _has_diverged(losses: list[float], smoothing: float) -> bool:
    if not math.isfinite(losses[-1]):
        return True
    means = _exponential_mean(np.array(losses), smoothing)
    return bool(means[-1] > DIVERGED * means.min())


def _exponential_mean(values: NDArray[np.float64], smoothing: float) -> NDArray[np.float64]:
    """Means of the values so far, each `smoothing` times as heavy as the next one, (N,)."""
    total, weight, means = 0.0, 0.0, np.empty(len(values))
    for place, value in enumerate(values.tolist()):
        # Divided by the sum of weights, the mean is unbiased from the first value on.
        total, weight = smoothing * total + value, smoothing * weight + 1
        means[place] = total / weight
    return means


def _curve(
    rates: NDArray[np.float64], losses: NDArray[np.float64], smoothing: float, diverged: bool
) -> RateCurve:
    # Losses after the lowest one are cut to the highest before it.
    # Losses that diverge after the lowest one would hide the fall before it.
    ordinary = np.minimum(losses, losses[: losses.argmin() + 1].max())
    smoothed = _smoothed(ordinary, smoothing)
    lowest = int(smoothed.argmin())
    scatter = float(np.std((ordinary - smoothed)[: lowest + 1]))
    suggested = None
    if smoothed[0] - smoothed[lowest] > max(_LEAST_FALL * scatter, 1e-6 * smoothed[0]):
        slopes = np.gradient(smoothed, np.log(rates))
        suggested = float(rates[slopes[: lowest + 1].argmin()])
    return RateCurve(rates, losses, smoothed, suggested, diverged)


def _smoothed(values: NDArray[np.float64], smoothing: float) -> NDArray[np.float64]:
    """Means of all values, whose weights fall by `smoothing` for each step of distance, (N,).

    Unlike a mean of the values so far, it does not shift the curve to the right.
    """
    places = np.arange(len(values))
    weights = smoothing ** np.abs(places[:, None] - places)  # (N, N)
    return weights @ values / weights.sum(axis=1)


def rate_finder_png(curve: RateCurve, *, theme: Theme = LIGHT) -> bytes:
    """Plot of the loss against the learning rate, the suggested one marked; 1200 x 600 px."""
    figure = new_figure(8, 4, theme)
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.plot(curve.rates, curve.losses, "o", color=theme.grid, markersize=3.5, label="of a batch")
    axes.plot(curve.rates, curve.smoothed, "-", color=theme.train, linewidth=1.8, label="smoothed")
    if curve.suggested is not None:
        axes.axvline(
            curve.suggested,
            color=theme.validation,
            linestyle="--",
            linewidth=1.6,
            label=f"falls fastest: {curve.suggested:.1e}",
        )
    # Losses that diverge after the lowest one would press all before it flat.
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
