"""UCF11 on the results page: published figures beside ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from experiments.results.groups import Group, accuracy_cell
from experiments.results.markdown import table, text
from experiments.results.published import UCF11_ACCURACIES, UCF11_COSTS, PublishedCost
from experiments.runs import formatting
from experiments.runs.formatting import ABSENT, or_absent

NOT_RUN = "not yet run"


def ucf11_section(groups: Sequence[Group]) -> list[str]:
    """The paper's accuracies and the reproduction's costs, each beside our rows."""
    return [
        "## UCF11",
        "Published accuracies beside ours. The paper splits single clips at random, so scenes are "
        "shared by training and test, and its validation clips are the test fold. Ours are of "
        "recipes as they are, with their own epochs, on all clips; other rows are in the table "
        "that follows.",
        _accuracies(groups),
        "The reproduction's costs (Keras on TensorFlow, a Linux server) beside those of our TT-GRU "
        "at the same length. Our seconds an epoch are the whole run's, extraction and tests too.",
        _costs(groups),
    ]


def _accuracies(groups: Sequence[Group]) -> str:
    body = []
    for published in UCF11_ACCURACIES:
        ours = [ABSENT, ABSENT]
        if published.our_model is not None:
            same = [group for group in groups if group["model"] == published.our_model]
            ours = [_ours(same, recipe) for recipe in ("paper", "tuned")]
        body.append((published.system, published.source, published.accuracy, *ours))
    header = ("System", "Source", "Published", "Ours, recipe `paper`", "Ours, recipe `tuned`")
    return table(header, body)


def _ours(groups: Iterable[Group], recipe: str) -> str:
    found = [
        f"{accuracy_cell(group)}, {group['split']} split, maxlen {group['maxlen']}"
        for group in groups
        if group["recipe"] == recipe and group.is_whole
    ]
    return "<br>".join(found) or NOT_RUN


def _costs(groups: Sequence[Group]) -> str:
    body: list[Sequence[str]] = []
    for cost in UCF11_COSTS:
        body.append(_published_cost(cost))
        ours = [
            group
            for group in groups
            if group["model"] == "tt-gru"
            and group.has_whole_data
            and group["maxlen"] == cost.maxlen
            and cost.stride in (None, group["stride"])
        ]
        body += [_our_cost(group) for group in ours] or [("", "ours", NOT_RUN, *[ABSENT] * 4)]
    header = ("Input", "Who", "Accuracy", "Epochs", "Memory", "Seconds an epoch", "Time")
    return table(header, body)


def _published_cost(cost: PublishedCost) -> Sequence[str]:
    every = f", every {cost.stride}nd frame" if cost.stride else ""
    return (
        f"at most {cost.maxlen} frames{every}",
        "reproduction",
        f"{cost.accuracy:.2f}",
        f"at {cost.at_epoch}",
        f"{cost.memory_gigabytes} GB",
        f"{cost.seconds_per_epoch:,}",
        f"{cost.time_for_100_epochs} for 100",
    )


def _our_cost(group: Group) -> Sequence[str]:
    wall, epochs = group.mean("wall_seconds"), group["epochs"]
    per_epoch = wall / epochs if wall and epochs else None
    return (
        "",
        f"ours, {group['recipe']}, {group['split']} split, stride {group['stride']}",
        accuracy_cell(group),
        text(epochs),
        or_absent(group.mean("peak_rss_bytes"), formatting.size),
        or_absent(per_epoch, lambda seconds: f"{seconds:.1f}"),
        or_absent(wall, formatting.duration),
    )
