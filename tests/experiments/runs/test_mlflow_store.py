"""Runs in MLflow's store, read back by MLflow's own client."""

from __future__ import annotations

import importlib.util
import json
import socket

import pytest

from common.extras import MissingExtraError
from experiments.runs.mlflow_store import MlflowTracker
from experiments.runs.run import require_mlflow

ROWS = [
    {"epoch": number, "train_loss": 1 / number, "validation_loss": 2.0, "data_wait_share": 0.25}
    for number in (1, 2, 3)
]


def test_a_run_is_read_back(tmp_path, monkeypatch):
    """Red when an epoch is lost or told twice, also by a resumed run, or anything is sent."""
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def refuse(self, address):
        raise AssertionError(f"a connection to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    run_dir = tmp_path / "a run"
    run_dir.mkdir()
    settings = {"lr": 0.01, "recipe": "tuned", "classes": None} | {f"s{n}": n for n in range(120)}
    (run_dir / "config.json").write_text(json.dumps(settings))
    stopped = MlflowTracker(run_dir)
    stopped.add_epochs(ROWS[:1])
    stopped.add_epochs(ROWS[:2])
    resumed = MlflowTracker(run_dir)
    resumed.add_epochs(ROWS)
    (run_dir / "result.json").write_text(json.dumps({"accuracy": 0.75, "model": "tt-gru"}))
    (run_dir / "report.html").write_text("report")
    (run_dir / "confusion_matrix.png").write_bytes(b"picture")
    resumed.add_test()
    resumed.close()

    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name == "ttrnn"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("a run", "FINISHED")
    assert run.data.params == {name: str(value) for name, value in settings.items()}
    for tag, name in [("loss/train", "train_loss"), ("data_wait_share", "data_wait_share")]:
        history = client.get_metric_history(run.info.run_id, tag)
        assert {m.step: m.value for m in history} == {row["epoch"]: row[name] for row in ROWS}
        assert len(history) == len(ROWS)
    assert run.data.metrics["result/accuracy"] == 0.75
    artifacts = tmp_path / "mlflow-artifacts" / run.info.run_id / "artifacts"
    contents = {path.name: path.read_bytes() for path in artifacts.iterdir()}
    assert contents == {
        "report.html": b"report",
        "confusion_matrix.png": b"picture",
        "result.json": (run_dir / "result.json").read_bytes(),
    }


def test_without_mlflow_its_extra_is_named(monkeypatch):
    """Red when a run without MLflow ends in a traceback, or after its training."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "mlflow" else find_spec(name)
    )
    require_mlflow(False)
    with pytest.raises(MissingExtraError, match=r"pip install 'ttrnn\[mlflow\]'"):
        require_mlflow(True)
