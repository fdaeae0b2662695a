"""docs/results.md and README.md's results block, as Markdown made from the recorded rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from experiments import formatting
from experiments.formatting import ABSENT, or_absent
from experiments.published import UCF11_ACCURACIES, UCF11_COSTS, PublishedCost
from experiments.results_groups import Group, Record, accuracy_cell, group_rows

NOT_RUN = "not yet run"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"

_INTRODUCTION = f"""\
# Results

Made by `python -m experiments.results` from `experiments/results.csv`: change rows, not this page.

Accuracy is that of the test fold. Where several folds were run it is their mean ± standard
deviation; with one fold the 95 % interval (Wilson) follows. A fold run twice with one seed counts
once, by its latest row. Chance is one over the number of classes. Rows are numbered as in the CSV.
"(unverified)" marks a published figure that we could not confirm at its source; "{NOT_RUN}" means
that no row exists."""

_ABOUT_DEMO = """\
The built-in demo set: rendered clips, 11 classes that differ by motion alone. These rows show that
the suite works; they compare with no published figure."""


def results_page(rows: Sequence[Record]) -> str:
    """The whole of docs/results.md."""
    groups = group_rows(rows)
    datasets = dict.fromkeys(group["dataset"] for group in groups)
    others = sorted(name for name in datasets if name not in ("ucf11", "demo", None))
    parts = [_INTRODUCTION, *_ucf11([group for group in groups if group["dataset"] == "ucf11"])]
    for name in others:
        parts += [f"## {name}", *_dataset([group for group in groups if group["dataset"] == name])]
    demo = [group for group in groups if group["dataset"] == "demo"]
    parts += ["## demo", _ABOUT_DEMO, *(_dataset(demo) if demo else [f"{NOT_RUN.capitalize()}."])]
    parts += ["## Every row", _details(rows) if rows else "No row was recorded yet."]
    return "\n\n".join(parts) + "\n"


def results_table_markdown(rows: Sequence[Record]) -> str:
    """The short table of README.md: the paper's figures beside ours, then the other data sets."""
    groups = [group for group in group_rows(rows) if not group.failed]
    body: list[Sequence[str]] = []
    for published in UCF11_ACCURACIES:
        if published.our_model is None:
            continue
        ours = [g for g in groups if g["dataset"] == "ucf11" and g["model"] == published.our_model]
        body += [_short_row("UCF11", published.system, published.accuracy, g) for g in ours]
        if not ours:
            body.append(_short_row("UCF11", published.system, published.accuracy, None))
    for group in groups:
        if group["dataset"] != "ucf11":
            model = (group["model"] or ABSENT).upper()
            body.append(_short_row(group["dataset"], model, ABSENT, group))
    header = ("Data", "Model", "Recipe", "Split", "Published", "Ours", "Chance")
    return _table(header, body)


def fill_block(text: str, block: str) -> str:
    """`text` with what stands between the results marks replaced by `block`."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(
            f"README.md needs the marks {BEGIN} and {END}, in this order, to hold the results "
            "table. Received a file without them; add both on lines of their own."
        )
    return f"{before}{BEGIN}\n{block}\n{END}{after}"


def _ucf11(groups: Sequence[Group]) -> list[str]:
    parts = [
        "## UCF11",
        "Published accuracies beside ours. The paper splits single clips at random, so scenes are "
        "shared by training and test, and it chooses its epoch on the test fold.",
        _accuracies(groups),
        "The reproduction's costs (Keras on TensorFlow, a Linux server) beside those of our TT-GRU "
        "at the same length. Our seconds an epoch are the whole run's, extraction and tests too.",
        _costs(groups),
    ]
    return [*parts, *_dataset(groups)] if groups else parts


def _accuracies(groups: Sequence[Group]) -> str:
    body = []
    for published in UCF11_ACCURACIES:
        ours = [ABSENT, ABSENT]
        if published.our_model is not None:
            same = [group for group in groups if group["model"] == published.our_model]
            ours = [_ours(same, recipe) for recipe in ("paper", "tuned")]
        body.append((published.system, published.source, published.accuracy, *ours))
    header = ("System", "Source", "Published", "Ours, recipe `paper`", "Ours, recipe `tuned`")
    return _table(header, body)


def _ours(groups: Iterable[Group], recipe: str) -> str:
    found = [
        f"{accuracy_cell(group)}, {group['split']} split, maxlen {group['maxlen']}"
        for group in groups
        if group["recipe"] == recipe
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
            and group["maxlen"] == cost.maxlen
            and cost.stride in (None, group["stride"])
        ]
        body += [_our_cost(group) for group in ours] or [("", "ours", NOT_RUN, *[ABSENT] * 4)]
    header = ("Input", "Who", "Accuracy", "Epochs", "Memory", "Seconds an epoch", "Time")
    return _table(header, body)


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
        _text(epochs),
        or_absent(group.mean("peak_rss_bytes"), formatting.size),
        or_absent(per_epoch, lambda seconds: f"{seconds:.1f}"),
        or_absent(wall, formatting.duration),
    )


def _dataset(groups: Sequence[Group]) -> list[str]:
    """A sentence on the data and the table of all configurations, failed attempts included."""
    sizes = dict.fromkeys(_size(group) for group in groups)
    header = (
        *("Model", "Recipe", "Split", "Input", "Accuracy", "Chance", "Train accuracy", "Epochs"),
        *("Parameters", "Compression: layer", "Kernel", "Frames/s", "Memory", "Time", "Rows"),
    )
    return [f"Data: {'; '.join(sizes)}.", _table(header, [_configuration(g) for g in groups])]


def _configuration(group: Group) -> Sequence[str]:
    recipe = f"{_text(group['recipe'])} {_code(group.other_flags)}".strip()
    return (
        (group["model"] or ABSENT).upper(),
        recipe,
        _split(group),
        _input(group),
        accuracy_cell(group),
        or_absent(group["chance"], formatting.share),
        or_absent(group.mean("train_accuracy"), formatting.share),
        _text(group["epochs"]),
        or_absent(group["params"], formatting.count),
        or_absent(group["compression_layer"], formatting.times),
        or_absent(group["compression_kernel"], formatting.times),
        or_absent(group.mean("frames_per_second"), formatting.count),
        or_absent(group.mean("peak_rss_bytes"), formatting.size),
        or_absent(group.mean("wall_seconds"), formatting.duration),
        ", ".join(map(str, group.numbers)),
    )


def _details(rows: Sequence[Record]) -> str:
    header = ("Row", "Date", "Data", "Model", "Fold", "Seed", "Accuracy", "Commit", "Command")
    body = [
        (
            str(number),
            _text(row["date"])[:10],
            _text(row["dataset"]),
            _text(row["model"]),
            _text(row["fold"]),
            _text(row["seed"]),
            or_absent(row["accuracy"], formatting.share) if _ok(row) else row["status"],
            _text(row["commit"]),
            _code(row["command"] or ""),
            _machine(row),
        )
        for number, row in enumerate(rows, start=1)
    ]
    return _table((*header, "Machine"), body)


def _short_row(data: str, model: str, published: str, group: Group | None) -> Sequence[str]:
    if group is None:
        return (data, model, ABSENT, ABSENT, published, NOT_RUN, ABSENT)
    recipe = f"{_text(group['recipe'])} {_code(group.other_flags)}".strip()
    chance = or_absent(group["chance"], formatting.share)
    return (data, model, recipe, _text(group["split"]), published, accuracy_cell(group), chance)


def _size(group: Group) -> str:
    clips, classes = group["num_clips"], group["num_classes"]
    return f"{or_absent(clips, formatting.count)} clips of {_text(classes)} classes"


def _split(group: Group) -> str:
    clips, siblings = group["num_test_clips"], group["num_test_clips_with_sibling"]
    if not clips or siblings is None:
        return _text(group["split"])
    return f"{_text(group['split'])} ({formatting.percent(siblings / clips)} with a sibling)"


def _input(group: Group) -> str:
    stride = group["stride"] or 1
    every = f", stride {stride}" if stride > 1 else ""
    return f"maxlen {_text(group['maxlen'])}{every}, {_text(group['policy'])}"


def _machine(row: Record) -> str:
    cores = row["machine.cores"]
    memory = or_absent(row["machine.memory_bytes"], formatting.size)
    return f"{_text(row['machine.cpu'])}, {_text(cores)} cores, {memory}"


def _ok(row: Record) -> bool:
    return row["status"] in (None, "ok")


def _text(value: Any) -> str:
    return ABSENT if value is None else str(value)


def _code(text: str) -> str:
    return f"`{text.replace('`', chr(39))}`" if text else ""


def _table(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *body]
    return "\n".join(f"| {' | '.join(map(_escape, cells))} |" for cells in lines)


def _escape(cell: str) -> str:
    return " ".join(cell.split()).replace("|", "\\|")
