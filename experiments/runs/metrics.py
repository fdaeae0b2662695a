"""Figures of merit for a classifier: accuracy, its interval, the confusion matrix.

Labels are integer class indices; or, of clips that may be of several classes, (N, C), nonzero where
a clip is of a class. Probabilities are (N, C): one row a clip, one column a class.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import accuracy_score, average_precision_score
from sklearn.metrics import confusion_matrix as counts

from common.errors import InputError

# 97.5 % quantile of the standard normal distribution.
Z_95 = 1.959963984540054


def accuracy(labels: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Fraction of clips whose predicted class is the true one, in [0, 1]."""
    _require_some(labels)
    return float(accuracy_score(np.asarray(labels), np.asarray(predicted)))


def argmax_accuracy(
    probabilities: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]
) -> float:
    """Fraction of clips whose most probable class is the true one, or one of them, in [0, 1].

    Args:
        probabilities: (N, C).
        labels: (N,) class indices, or (N, C).
    """
    predicted = probabilities.argmax(axis=1)
    if labels.ndim == 2:
        _require_some(labels)
        return float(np.mean(labels[np.arange(len(labels)), predicted] > 0))
    return accuracy(labels, predicted)


def cross_entropy(
    probabilities: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]
) -> float:
    """Mean cross-entropy of the clips: of their classes, or of all classes' yes or no.

    Args:
        probabilities: (N, C).
        labels: (N,) class indices, or (N, C).
    """
    if labels.ndim == 2:
        true = np.where(labels > 0, probabilities, 1 - probabilities)  # (N, C)
    else:
        true = probabilities[np.arange(len(labels)), labels]  # (N,)
    # Clipped as Keras clips in its cross-entropy: one confident mistake stays finite.
    return float(-np.log(np.maximum(true, 1e-7)).mean())


def average_precisions(
    probabilities: npt.NDArray[np.floating], labels: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """Average precision of each class, (C,): of the ranking of the clips by its probability.

    NaN for a class without clips.

    Args:
        probabilities: (N, C).
        labels: (N, C).
    """
    _require_some(labels)
    truth = np.asarray(labels) > 0
    return np.array(
        [
            average_precision_score(column, scores) if column.any() else np.nan
            for column, scores in zip(truth.T, np.asarray(probabilities).T, strict=True)
        ]
    )


def mean_average_precision(
    probabilities: npt.NDArray[np.floating], labels: npt.NDArray[Any]
) -> float:
    """Mean of the classes' average precisions, in [0, 1]; classes without clips are left out.

    Args:
        probabilities: (N, C).
        labels: (N, C).
    """
    found = average_precisions(probabilities, labels)
    return float(found[~np.isnan(found)].mean()) if not np.isnan(found).all() else 0.0


def top_k_accuracy(labels: npt.ArrayLike, probabilities: npt.ArrayLike, *, k: int) -> float:
    """Fraction of clips whose true class is among the `k` most probable, in [0, 1].

    Args:
        labels: (N,) class indices.
        probabilities: (N, C); rows need not sum to one.
        k: at least 1. With k >= C the answer is 1.
    """
    labels, scores = np.asarray(labels), np.asarray(probabilities)
    _require_some(labels)
    # sklearn's top_k_accuracy_score treats two classes as a special case; this does not.
    ranked = np.argsort(-scores, axis=1, kind="stable")[:, :k]  # (N, k)
    return float(np.mean(np.any(ranked == labels[:, None], axis=1)))


def confusion_matrix(
    labels: npt.ArrayLike, predicted: npt.ArrayLike, *, num_classes: int
) -> npt.NDArray[np.int64]:
    """Count clips (C, C) by true class (rows) and predicted class; absent classes keep a row."""
    return np.asarray(counts(labels, predicted, labels=np.arange(num_classes)), dtype=np.int64)


def per_class_recall(confusion: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Fraction of each class's clips that were recognised, (C,); NaN for a class without clips."""
    return _share(np.diag(confusion), confusion.sum(axis=1))


def per_class_precision(confusion: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Fraction of each class's predictions that were right, (C,); NaN if it was never predicted."""
    return _share(np.diag(confusion), confusion.sum(axis=0))


def wilson_interval(num_right: int, total: int, *, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval (low, high) for a fraction, 95 % by default.

    Unlike mean +- z * deviation it stays inside [0, 1] and keeps a width at 0 and at 1.
    """
    if not 0 <= num_right <= total or total == 0:
        raise InputError(
            f"num_right must lie in [0, total] with total > 0. Received {num_right} of {total}."
        )
    share = num_right / total
    scale = 1 + z * z / total
    centre = (share + z * z / (2 * total)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, centre - half), min(1.0, centre + half)


def _share(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    out = np.full(whole.shape, np.nan)
    # NaN stays where the divisor is 0.
    return np.divide(part, whole, out=out, where=whole > 0)


def _require_some(values: npt.ArrayLike) -> None:
    if np.size(values) == 0:
        raise InputError("a figure of merit needs at least one clip. Received none.")
