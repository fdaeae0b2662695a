"""Make docs/results.md and README.md's results block from the recorded rows, as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from common import formatting
from common.errors import InputError
from common.formatting import ABSENT, code, markdown_table, or_absent, text
from experiments.clips.ucf11 import FormatName
from experiments.results.groups import (
    SETTING_COLUMNS,
    Group,
    Record,
    accuracy_cell,
    describe_differences,
    epochs_cell,
    group_rows,
    shared_command,
)
from preprocess.sources.catalog import DATASETS

NOT_RUN = "not yet run"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"

_INTRODUCTION = f"""\
# Results

Made by `python -m experiments.results` from `experiments/results.csv`: change rows, not this page.

- **Accuracy** is that of the test fold: the mean ± standard deviation of several folds, or with one
  fold its 95 % interval (Wilson). A fold run twice with one seed counts once, by its latest row.
- **Settings** are chosen by validation accuracy on a part of the training clips, save in the recipe
  `paper`, which validates on the test fold. **Chance** is one over the number of classes.
- "(unverified)" marks a published figure that we could not confirm at its source; "{NOT_RUN}"
  means that no row exists. Rows are numbered as in the CSV."""

_ABOUT_ROWS = """\
A line is a command without `--fold`, `--seed`, `--out`, `--record` and `--resume`; the CSV has each
command as it was typed."""
_NO_ROW = "No row was recorded yet."

# Columns that say what a configuration is, as opposed to what came of it.
_SETTINGS = ("Model", "Recipe", "Clips", "Classes", "Epochs", "Split", "Frames", "Policy")

# Values of README's command, which its table need not state.
_UCF11_INPUT = {"maxlen": 450, "stride": 1}

# Data sets that are not in the tables of real videos.
_OTHER_SECTIONS = ("ucf11", "demo", None)
_SPLITS = ("group", "random")
# The one change of a recipe that is shown: what is held out for validation is trained on as well.
_ALL_FOLDS, _ALL_FOLDS_IN_WORDS = "validation=test", ", four folds"
_REAL_HEADER = (
    *("Model", "Recipe", "Accuracy by scene", "At random", "Parameters"),
    *("Time of a run", "Memory"),
)
_ABOUT_SPLITS = """\
By scene (`--split group`) no test clip has a sibling in training. At random most have one:
what is gained there is a leak. "four folds" trains on the validation clips as well and tests the
last weights, so that the test clips choose nothing (`--set validation=test`). Parameters are those
of the model without a frozen network."""

_ABOUT_DEMO = """\
The built-in demo set: rendered clips, 11 classes that differ by motion alone. These rows show that
the suite works; they compare with no published figure."""


# Published figures on UCF11, to set beside ours. `None` is what a source does not give.


@dataclass(frozen=True)
class PublishedAccuracy:
    """Accuracy on UCF11 as printed by its authors."""

    system: str
    accuracy: str
    source: str
    # The `model` of the rows that repeat it.
    our_model: str | None = None


@dataclass(frozen=True)
class PublishedCost:
    """Line of the UCF11 reproduction's write-up (Keras on TensorFlow, a Linux server)."""

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

# A recurrent network or a mean on the features of a frozen network. The format of the kernel goes
# before the cell, that of the recurrent matrix behind it; one of both is called joint.
_FORMAT = f"(?:{'|'.join(name for name in get_args(FormatName) if name != 'dense')})"
# Parts of a model's name that stand for nothing longer.
_WHOLE = ("mean", "low", "rank", "joint")
_HEAD = re.compile(
    rf"(?!(?:joint-)?{_FORMAT}-)(?P<network>.+?)-"
    rf"(?P<head>(?:(?:joint-)?{_FORMAT}-)?(?:gru|lstm|rnn|mlp|mean)(?:-{_FORMAT})?)"
)


def results_page(rows: Sequence[Record]) -> str:
    """Make the whole text of docs/results.md."""
    groups = group_rows(rows)
    datasets = dict.fromkeys(group["dataset"] for group in groups)
    # Real videos side by side, the papers' data set, all rows of other videos, the demo set last.
    others = sorted(name for name in datasets if name not in _OTHER_SECTIONS)
    ucf11 = _of(groups, "ucf11")
    real = _real_videos(groups)
    parts = [_INTRODUCTION, *(["## Real videos", *real] if real else [])]
    parts += [*ucf11_section(ucf11), *(_dataset(ucf11) if ucf11 else [])]
    for name in others:
        parts += [f"## {name}", *_dataset(_of(groups, name))]
    demo = _of(groups, "demo")
    parts += ["## demo", _ABOUT_DEMO, *(_dataset(demo) if demo else [f"{NOT_RUN.capitalize()}."])]
    parts += ["## Every row", *([_ABOUT_ROWS, *_details(rows)] if rows else [_NO_ROW])]
    return "\n\n".join(parts) + "\n"


def results_table_markdown(rows: Sequence[Record]) -> str:
    """Make the short tables of README.md: real videos, then the paper's figures beside ours.

    They hold unchanged recipes only, with their own epochs, the second one on whole data sets;
    docs/results.md has all rows. Settings that gave the same figures share a row, which names both.
    """
    grouped = group_rows(rows)
    groups = [group for group in grouped if group.is_whole]
    differences = describe_differences(
        groups,
        lambda group: (group["dataset"], group["model"], group["recipe"], group["split"]),
        usual={"policy": "float32", **_UCF11_INPUT},
    )
    # By identity, for groups hold dictionaries and cannot be keys.
    difference_of = dict(zip(map(id, groups), differences, strict=True))
    # Rows of equal cells, with the words that tell their settings apart.
    found: dict[tuple[str, ...], list[str]] = {}
    for published in UCF11_ACCURACIES:
        if published.our_model is None:
            continue
        ours = [g for g in _of(groups, "ucf11") if g["model"] == published.our_model]
        for group in ours:
            row = _short_row("UCF11", published.system, published.accuracy, group)
            found.setdefault(row, []).append(difference_of[id(group)])
        # A line that says so is more honest than a missing one.
        if not ours:
            row = ("UCF11", published.system, *[ABSENT] * 5, published.accuracy, NOT_RUN, ABSENT)
            found[row] = []
    for group in groups:
        if group["dataset"] != "ucf11":
            row = _short_row(group["dataset"], _model_cell(group), ABSENT, group)
            found.setdefault(row, []).append(difference_of[id(group)])
    body = [
        (data, model, recipe + _in_brackets("; ".join(filter(None, notes))), *rest)
        for (data, model, recipe, *rest), notes in found.items()
    ]
    header = (
        *("Data", "Model", "Recipe", "Clips", "Classes", "Epochs", "Split"),
        *("Published", "Ours", "Chance"),
    )
    real = _real_videos(grouped, one_arithmetic=True)
    return "\n\n".join([*real, markdown_table(header, body)])


def _real_videos(groups: Sequence[Group], *, one_arithmetic: bool = False) -> list[str]:
    """Make tables of parts of known data sets but UCF11's, the splits of a setting side by side.

    They hold unchanged recipes with their own epochs; nothing if there are none.

    Args:
        groups: the rows, by their settings.
        one_arithmetic: show each model and recipe once, in the arithmetic with most runs.
    """
    # Setting -> its groups by their split.
    found: dict[tuple[Any, ...], dict[str, Group]] = {}
    for group in groups:
        is_own_length = group["epochs"] == group.recipe_epochs
        is_known = group["dataset"] in DATASETS and group["dataset"] not in _OTHER_SECTIONS
        _, _, changes = (group["recipe"] or "").partition(" ")
        # Accuracy says little about clips of several classes.
        is_known = is_known and group["mean_average_precision"] is None
        if not is_known or group.failed or group.other_flags or changes not in ("", _ALL_FOLDS):
            continue
        if is_own_length and group["split"] in _SPLITS:
            setting = tuple(group[column] for column in SETTING_COLUMNS if column != "split")
            found.setdefault(setting, {})[group["split"]] = group
    if one_arithmetic:
        found = _with_most_runs(found)
    parts = []
    by_data: dict[tuple[Any, ...], list[dict[str, Group]]] = {}
    for splits in found.values():
        any_split = next(iter(splits.values()))
        data = tuple(any_split[name] for name in ("dataset", "num_clips", "num_classes", "chance"))
        by_data.setdefault(data, []).append(splits)
    for (dataset, num_clips, num_classes, chance), settings in by_data.items():
        body = [_real_row(splits) for splits in sorted(settings, key=_descending)]
        clips = or_absent(num_clips, formatting.count)
        parts += [
            f"{dataset}: {clips} real clips of {text(num_classes)} classes, chance "
            f"{or_absent(chance, formatting.share)}.",
            markdown_table(_REAL_HEADER, body),
        ]
    return [*parts, _ABOUT_SPLITS] if parts else []


def _with_most_runs(
    found: Mapping[tuple[Any, ...], dict[str, Group]],
) -> dict[tuple[Any, ...], dict[str, Group]]:
    """Keep one of the settings that differ only in arithmetic: that with most runs by scene.

    Equal numbers are decided by the runs at random, then by what was recorded later.
    """
    policy = [column for column in SETTING_COLUMNS if column != "split"].index("policy")

    def num_runs(splits: Mapping[str, Group]) -> list[int]:
        return [len(splits[name].rows) if name in splits else 0 for name in _SPLITS]

    kept: dict[tuple[Any, ...], dict[str, Group]] = {}
    for setting, splits in found.items():
        key = setting[:policy] + setting[policy + 1 :]
        if key not in kept or num_runs(splits) >= num_runs(kept[key]):
            kept[key] = splits
    return kept


def _descending(splits: Mapping[str, Group]) -> tuple[float, ...]:
    """Key that sorts settings by their accuracies, the highest first."""
    means = [splits[name].mean("accuracy") if name in splits else None for name in _SPLITS]
    return tuple(-(mean or 0.0) for mean in means)


def _real_row(splits: Mapping[str, Group]) -> list[str]:
    group = splits.get("group") or next(iter(splits.values()))
    recipe = text(group["recipe"]).replace(f" {_ALL_FOLDS}", _ALL_FOLDS_IN_WORDS)
    return [
        _model_cell(group),
        # Two rows of one model may differ in their arithmetic alone.
        recipe if group["policy"] in (None, "float32") else f"{recipe}, {group['policy']}",
        *(accuracy_cell(splits[name]) if name in splits else ABSENT for name in _SPLITS),
        or_absent(group["params"], formatting.count),
        or_absent(group.mean("wall_seconds"), formatting.duration),
        or_absent(group.mean("peak_rss_bytes"), formatting.size),
    ]


def fill_block(page: str, block: str) -> str:
    """Replace the text between the results marks of `page` by `block`."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise InputError(
            f"README.md needs the marks {BEGIN} and {END}, in this order, to hold the results "
            "table. Received a file without them; add both on lines of their own."
        )
    return f"{before}{BEGIN}\n{block}\n{END}{after}"


def _dataset(groups: Sequence[Group]) -> list[str]:
    """Make a table of all configurations, failed attempts included, after what all share."""
    ordered = sorted(groups, key=lambda g: (g["model"] or "", g["recipe"] or "", g.numbers))
    differences = describe_differences(
        ordered, lambda g: [_configuration(g)[name] for name in _SETTINGS]
    )
    rows = [
        _configuration(group, difference)
        for group, difference in zip(ordered, differences, strict=True)
    ]
    return _table(rows, may_be_shared=(*_SETTINGS[2:], "Chance"))


def _table(rows: Sequence[Mapping[str, str]], *, may_be_shared: Iterable[str]) -> list[str]:
    """Make a table from cells by the heads of their columns.

    A column that may be shared, and is the same in all rows, becomes part of a sentence before the
    table.
    """
    shared = {
        name: rows[0][name] for name in may_be_shared if len({row[name] for row in rows}) == 1
    }
    header = [name for name in rows[0] if name not in shared]
    table = markdown_table(header, [[row[name] for name in header] for row in rows])
    facts = "; ".join(f"{name.lower()} {cell}" for name, cell in shared.items())
    return [f"The same in all rows: {facts}.", table] if shared else [table]


def _model_cell(group: Group) -> str:
    """Name of a group's model; of a head on a frozen network, "TT-GRU on efficientnet-lite0"."""
    name = group["model"] or ABSENT
    found = _HEAD.fullmatch(name)
    if found is None:
        return _in_capitals(name)
    return f"{_in_capitals(found['head'])} on {found['network']}"


def _in_capitals(name: str) -> str:
    """Model name with its abbreviations in capitals: "TT-GRU", "Tucker-GRU", "low-rank-GRU"."""
    names = [
        part.capitalize() if part == "tucker" else part if part in _WHOLE else part.upper()
        for part in name.split("-")
    ]
    return "-".join(names)


def _in_brackets(note: str) -> str:
    return f" ({note})" if note else ""


def _of(groups: Iterable[Group], dataset: str) -> list[Group]:
    return [group for group in groups if group["dataset"] == dataset]


def _configuration(group: Group, difference: str = "") -> dict[str, str]:
    """Cells of a configuration by the heads of their columns; `difference` follows the recipe."""
    return {
        "Model": _model_cell(group),
        "Recipe": f"{text(group['recipe'])} {code(group.other_flags)}".strip()
        + _in_brackets(difference),
        "Clips": or_absent(group["num_clips"], formatting.count),
        "Classes": text(group["num_classes"]),
        "Epochs": epochs_cell(group),
        "Split": _split(group),
        "Frames": _frames(group),
        "Policy": text(group["policy"]),
        "Accuracy": accuracy_cell(group),
        "Chance": or_absent(group["chance"], formatting.share),
        "Validation": or_absent(group.mean("validation_accuracy"), formatting.share),
        "Train": or_absent(group.mean("train_accuracy"), formatting.share),
        "Parameters": or_absent(group["params"], formatting.count),
        "Compression: layer": or_absent(group["compression_layer"], formatting.times),
        "Kernel": or_absent(group["compression_kernel"], formatting.times),
        "Frames/s": or_absent(group.mean("frames_per_second"), formatting.count),
        "Memory": or_absent(group.mean("peak_rss_bytes"), formatting.size),
        "Time": or_absent(group.mean("wall_seconds"), formatting.duration),
        "Rows": _ranges(group.numbers),
    }


def _details(rows: Sequence[Record]) -> list[str]:
    """Make a table with a line for each command, commit and day, and the accuracies of its runs."""
    lines: dict[tuple[str, ...], list[tuple[int, Record]]] = {}
    for number, row in enumerate(rows, start=1):
        key = (
            text(row["date"])[:10],
            text(row["commit"]),
            code(shared_command(row["command"] or "")),
            _machine(row),
        )
        lines.setdefault(key, []).append((number, row))
    body = [
        {
            "Rows": _ranges([number for number, _ in found]),
            "Accuracy": _runs([row for _, row in found]),
            "Date": date,
            "Commit": commit,
            "Command": command,
            "Machine": machine,
        }
        for (date, commit, command, machine), found in lines.items()
    ]
    return _table(body, may_be_shared=("Date", "Machine"))


def _runs(rows: Sequence[Record]) -> str:
    """Format the accuracies of runs: "fold 0: 0.300, fold 1: 0.150", with any seed but 0."""
    results = []
    for row in sorted(rows, key=lambda row: (row["seed"] or 0, row["fold"] or 0)):
        seed = f" seed {row['seed']}" if row["seed"] else ""
        result = or_absent(row["accuracy"], formatting.share) if _ok(row) else row["status"]
        results.append(f"fold {text(row['fold'])}{seed}: {result}")
    return ", ".join(results)


def _ranges(numbers: Sequence[int]) -> str:
    """Format ascending numbers: "51, 52, 64 to 66"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(
        f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs
    )


def _short_row(data: str, model: str, published: str, group: Group) -> tuple[str, ...]:
    one_fold = f", 1 of {group['num_folds']} folds" if len(group.rows) == 1 else ""
    return (
        data,
        model,
        text(group["recipe"]),
        or_absent(group["num_clips"], formatting.count),
        text(group["num_classes"]),
        epochs_cell(group),
        text(group["split"]),
        published,
        accuracy_cell(group) + one_fold,
        or_absent(group["chance"], formatting.share),
    )


def _split(group: Group) -> str:
    clips, siblings = group["num_test_clips"], group["num_test_clips_with_sibling"]
    if not clips or siblings is None:
        return text(group["split"])
    return f"{text(group['split'])} ({formatting.percent(siblings / clips)} with a sibling)"


def _frames(group: Group) -> str:
    stride = group["stride"] or 1
    step = f", stride {stride}" if stride > 1 else ""
    return f"maxlen {text(group['maxlen'])}{step}"


def _machine(row: Record) -> str:
    cores = row["machine.cores"]
    memory = or_absent(row["machine.memory_bytes"], formatting.size)
    return f"{text(row['machine.cpu'])}, {text(cores)} cores, {memory}"


def _ok(row: Record) -> bool:
    return row["status"] in (None, "ok")


def ucf11_section(groups: Sequence[Group]) -> list[str]:
    """Make the section with the paper's accuracies and the reproduction's costs beside ours."""
    return [
        "## UCF11",
        "The paper splits single clips at random, so that training and test share scenes, and "
        "validates on the test fold. Ours are whole runs: a recipe as it is, with its own epochs, "
        "on all clips.",
        _accuracies(groups),
        "Costs of the reproduction (Keras on TensorFlow, a Linux server) and of our TT-GRU. Our "
        "seconds an epoch are the whole run's, extraction and tests too.",
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
    return markdown_table(header, body)


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
    return markdown_table(header, body)


def _published_cost(cost: PublishedCost) -> Sequence[str]:
    step = f", every {cost.stride}nd frame" if cost.stride else ""
    return (
        f"at most {cost.maxlen} frames{step}",
        "reproduction",
        f"{cost.accuracy:.2f}",
        f"at {cost.at_epoch}",
        f"{cost.memory_gigabytes} GB",
        f"{cost.seconds_per_epoch:,}",
        f"{cost.time_for_100_epochs} for 100",
    )


def _our_cost(group: Group) -> Sequence[str]:
    wall, epochs = group.mean("wall_seconds"), group["epochs"]
    # Wall time of the whole run: extraction and tests are in it, as the page says.
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
