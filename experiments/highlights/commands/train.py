"""`train`: trains a scorer, from labels and shards to a run's directory with its report."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Any

from common.files import remove_partials
from experiments.clips.scorer import require_scorer
from experiments.highlights.commands.arguments import next_step
from experiments.highlights.training.augmentation import build_change
from experiments.highlights.training.data import describe, read_training_data
from experiments.highlights.training.recipes import (
    TrainOptions,
    check_options,
    config_of,
    describe_change,
    describe_score,
    recipe_of,
    run_name,
    settled,
    with_least_steps,
)
from experiments.process import runtime
from experiments.runs.run import choose_run_dir, threads_of_run, write_config

_REMEDY = "Label clips of more groups; until then `run` takes the best of a recording by --share."


def run(options: TrainOptions) -> int:
    """Train and print the result. Returns the exit code."""
    result = train_scorer(options)
    wanted = result["wanted_precision"]
    if not result["wanted_precision_reached"]:
        print(f"No threshold reaches the precision {wanted:g} on the validation clips.")
    for doubt in result["doubts"]:
        print(f"Warning: the threshold is not to be trusted, because {doubt}. {_REMEDY}")
    if "change" in result:
        print(describe_change(result))
    print(
        f"{describe_score(result)}\n"
        f"Single pictures: average precision {result['average_precision']:.3f}, accuracy "
        f"{result['accuracy']:.3f}. Suggested threshold {result['threshold']:.2f}: precision "
        f"{result['precision']:.3f}, recall {result['recall']:.3f}.\n"
        f"Report: {result['run_dir'] / 'report.html'}"
    )
    print(next_step("To score a recording", "run", "RECORDING", "--model", result["run_dir"]))
    return 0


def train_scorer(options: TrainOptions) -> dict[str, Any]:
    """Train a scorer, choose the best epoch, evaluate it and write the report.

    Returns:
        The contents of result.json, and the run's directory as `run_dir`.

    Raises:
        PreprocessError, ValueError, OSError: if labels, shards, directory or a flag are not what
            they should be; the message says what to do.
    """
    started = time.perf_counter()
    check_options(options)
    if options.before is not None:
        require_scorer(options.before)
    recipe = recipe_of(options)
    runtime.choose_threads(options.threads)  # a wrong flag is reported before anything is read
    data = read_training_data(
        options.labels,
        options.shards,
        validation_share=options.validation_share,
        seed=options.seed,
        allow_failures=options.allow_failures,
    )
    build_change(recipe, data.settings)  # checks the recipe
    options = settled(options, data.settings)
    recipe = with_least_steps(recipe, options, len(data.train))
    run_dir = choose_run_dir(run_name(options), out=options.out, resume=options.resume)
    threads = threads_of_run(run_dir) if options.threads == "auto" else None
    threads = threads or runtime.choose_threads(options.threads)
    remove_partials(run_dir)
    config = config_of(options, recipe, data) | {"threads_used": asdict(threads)}
    finished = run_dir / "result.json"
    if finished.exists():
        write_config(run_dir, config)  # refuses a directory of another run
        print(f"{run_dir} is finished; nothing to resume.")
        return json.loads(finished.read_text()) | {"run_dir": run_dir}
    for line in (*data.notes, *(describe(name, subset) for name, subset in data.subsets.items())):
        print(line)
    print(f"keeping all in {run_dir}; {threads}")
    runtime.configure(threads, seed=options.seed)
    # It imports TensorFlow, whose thread pools are set above.
    from experiments.highlights.training.fit import Job, fit

    return fit(Job(options, recipe, data, run_dir), config, started) | {"run_dir": run_dir}
