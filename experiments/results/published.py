"""Published figures on UCF11, to set beside ours. `None` is what a source does not give."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedAccuracy:
    """An accuracy on UCF11 as printed by its authors."""

    system: str
    accuracy: str
    source: str
    our_model: str | None = None  # the `model` of the rows that repeat it


@dataclass(frozen=True)
class PublishedCost:
    """One line of the UCF11 reproduction's write-up (Keras on TensorFlow, a Linux server)."""

    maxlen: int  # frames
    stride: int | None
    accuracy: float
    at_epoch: int
    memory_gigabytes: int
    seconds_per_epoch: int
    time_for_100_epochs: str


PAPER = "Yang et al. 2017"

UCF11_ACCURACIES = (
    PublishedAccuracy("GRU", "0.488 (unverified)", PAPER, "gru"),
    PublishedAccuracy("LSTM", "0.492 (unverified)", PAPER, "lstm"),
    PublishedAccuracy("TT-MLP", "0.427 (unverified)", PAPER),
    PublishedAccuracy("TT-GRU", "0.813 (unverified)", PAPER, "tt-gru"),
    PublishedAccuracy("TT-LSTM", "0.796 (unverified)", PAPER, "tt-lstm"),
    PublishedAccuracy("BT-LSTM", "0.853", "later work"),
    PublishedAccuracy("TR-LSTM", "0.869", "later work"),
    PublishedAccuracy("HT-LSTM", "0.872 to 0.879", "later work; two sources differ"),
)

UCF11_COSTS = (
    PublishedCost(200, 2, 0.40, 99, 30, 120, "4 h"),
    PublishedCost(450, None, 0.38, 77, 60, 400, "12 h"),
    PublishedCost(900, None, 0.25, 14, 130, 1700, "2 days"),
)
