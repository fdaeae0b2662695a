"""The job as a whole, on work whose speed is given: what is written, said and kept."""

import json

import pytest

from experiments.process.recommendations import find_recommendation
from experiments.process.runtime import Threads, choose_threads
from experiments.threads import job
from experiments.threads.__main__ import main
from experiments.threads.measurement import MeasureError, Runner
from preprocess.system.machine import read_machine
from tests.experiments.threads.machines import machine

FOUR = machine(4)


@pytest.fixture
def measure(monkeypatch, tmp_path):
    """Let runs take no time and have the speed that a function of the task gives."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(job, "read_machine", lambda: FOUR)
    monkeypatch.setattr(job, "prepare", lambda workload, scratch, **options: scratch)

    def install(speed):
        def run(self, task, environment=None):
            self._durations.append(1.0)
            rate = speed(task, dict(environment or {}))
            self._note({"setting": task.setting, "rate": rate})
            return rate

        monkeypatch.setattr(Runner, "measure", run)

    return install


def ridge(task, environment):
    """Best at 4,1; exactly repeatable."""
    intra, inter = task.setting["intra_op"], task.setting["inter_op"]
    rate = 100.0 * intra / (1 + abs(intra * inter - 4))
    return rate * (2 if task.policy == "mixed_bfloat16" else 1)


def test_the_best_is_written_said_and_kept(measure, tmp_path, capsys):
    """Red when the recommendation is not the fastest, or `--threads auto` does not take it."""
    measure(ridge)
    assert main(["--workload", "tt-train"]) == 0
    out = capsys.readouterr().out
    assert "Take intra-op 4, inter-op 1: +300.0 %" in out
    assert "| 4 | 1 | 400 | 0% | 4.00 |" in out  # the default is 1,4
    assert "| mixed_bfloat16 | +100% |" in out
    folder = tmp_path / "runs" / "threads"
    assert (folder / "tt-train.png").read_bytes().startswith(b"\x89PNG")
    assert "Take intra-op 4, inter-op 1: +300.0 %" in (folder / "report.md").read_text()
    (result,) = json.loads((folder / "results.json").read_text())["workloads"]
    assert result["outcome"]["best"] == [4, 1]
    assert len(result["runs"]) > 16 * 3
    kept = find_recommendation("tt-train", FOUR)
    assert kept.setting == {"intra_op": 4, "inter_op": 1}
    assert kept.gain == pytest.approx(3.0)


def test_where_nothing_is_better_the_default_stays(measure, capsys):
    """Red when the luckiest of equals is recommended."""
    measure(lambda task, environment: 50.0)
    assert main(["--workload", "tt-train", "--no-variants"]) == 0
    assert "Nothing is better than the default, intra-op 1, inter-op 4," in capsys.readouterr().out
    assert find_recommendation("tt-train", FOUR).setting == {"intra_op": 1, "inter_op": 4}
    assert find_recommendation("tt-train", FOUR).gain == 0


def test_auto_takes_it_from_then_on(measure, monkeypatch):
    monkeypatch.setattr(job, "read_machine", read_machine)
    measure(lambda task, environment: 10.0 + task.setting["intra_op"])
    assert main(["--workload", "alexnet", "--no-variants"]) == 0
    num_cpus = read_machine().num_cpus
    found = choose_threads("auto", workload="alexnet")
    assert found.intra_op == num_cpus
    assert found.source.startswith("measured")


def test_a_few_settings_are_compared(measure, capsys):
    measure(ridge)
    assert main(["--workload", "tt-train", "--settings", "4,1", "18,36", "--no-variants"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[:2] for row in rows[1:]] == [
        ["| 4", "1"],
        ["| 1", "4"],
        ["| 18", "36"],
    ]


def test_it_can_be_told_to_keep_nothing(measure):
    measure(ridge)
    assert main(["--workload", "tt-train", "--no-keep", "--no-variants"]) == 0
    assert find_recommendation("tt-train", FOUR) is None


def test_settings_and_variants_that_fail_are_rows(measure, capsys):
    """Red when one crash ends everything, or is passed over in silence."""

    def speed(task, environment):
        if task.setting["intra_op"] == 3:
            raise MeasureError("it crashed (SIGSEGV)")
        if "TF_XLA_FLAGS" in environment:
            raise MeasureError("no XLA here")
        return ridge(task, environment)

    measure(speed)
    assert main(["--workload", "tt-train"]) == 0
    out = capsys.readouterr().out
    assert "failed: it crashed (SIGSEGV)" in out
    assert "| XLA for whole graphs | | | failed: no XLA here |" in out


def test_work_that_cannot_be_done_at_all_is_an_error(measure, capsys):
    def speed(task, environment):
        raise MeasureError("exit code 1: no module named tensorflow")

    measure(speed)
    assert main(["--workload", "tt-train"]) == 2
    assert "tt-train cannot be measured: exit code 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--budget-minutes", "0"], "--budget-minutes must be above 0"),
        (["--rounds", "0"], "--rounds must be above 0"),
        (["--seconds=-1"], "--seconds must be above 0"),
        (["--settings", "18"], "--settings must be pairs"),
        (["--confirmations", "1"], "--confirmations must be at least 2"),
        (["--shards", "nowhere"], "--shards must name a folder"),
        (["--out", "a-file"], "a-file"),
    ],
)
def test_wrong_flags_are_told(measure, tmp_path, capsys, args, message):
    measure(ridge)
    (tmp_path / "a-file").touch()
    assert main([*args, "--workload", "tt-train"]) == 2
    assert message in capsys.readouterr().err


def test_what_is_kept_can_be_shown(measure, capsys):
    measure(ridge)
    main(["--workload", "tt-train", "--no-variants"])
    capsys.readouterr()
    assert main(["--show"]) == 0
    out = capsys.readouterr().out
    assert "Fast 9: 4 logical CPUs" in out
    for workload in ("tt-train", "alexnet", "resnet", "extract", "classify"):
        assert f"\n  {workload}: " in out


def test_threads_are_hashable_text():
    """`--threads 18,36` as a log line."""
    assert str(Threads(18, 36)) == "threads intra,inter 18,36 (as given)"


def test_too_small_a_budget_keeps_nothing(measure, capsys):
    """Red when a default that was compared with nothing is called the fastest."""
    measure(ridge)
    assert main(["--workload", "tt-train", "--budget-minutes", "0.01"]) == 0
    assert "no time to compare settings" in capsys.readouterr().out
    assert find_recommendation("tt-train", FOUR) is None
