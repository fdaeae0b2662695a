"""Runs in MLflow's store: a database beside the runs, or the user's own server.

MLflow sends statistics of its use to its makers unless it is told not to, which this file does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.extras import OptionalModule
from common.files import write_text
from experiments.runs.files import PAGE, read_object
from experiments.runs.run import CONFIG, RESULT
from experiments.runs.tensorboard import tag_of

os.environ.update(MLFLOW_DISABLE_TELEMETRY="true")  # read when it is imported, below
mlflow: Any = OptionalModule("mlflow")

EXPERIMENT = "ttrnn"
DATABASE, ARTIFACTS = "mlflow.db", "mlflow-artifacts"
RUN_ID = "mlflow_run_id.txt"
_FILES = (PAGE, RESULT, "confusion_matrix.png", "curves.png", "predictions.csv")
_MAX_PARAMS = 100  # in a request
_MAX_CHARACTERS = 6000  # of a parameter


class MlflowTracker:
    """Run of MLflow: parameters, scalars of the epochs, figures and files of the test.

    The store is `mlflow.db` beside the run's directory, or what MLFLOW_TRACKING_URI names. A
    resumed run goes on in the run that it began.

    Args:
        run_dir: directory of the run, with its config.json.

    Raises:
        MissingExtraError: if MLflow is not installed.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        store = run_dir.absolute().parent
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        self._client = mlflow.MlflowClient(tracking_uri=uri or f"sqlite:///{store / DATABASE}")
        known = run_dir / RUN_ID
        if known.exists():
            run = self._client.get_run(known.read_text("utf-8").strip())
            # Metrics of a run are the last ones; an epoch is kept before it is added here.
            self._num_epochs = int(run.data.metrics.get("epoch", 0))
            self._run_id = run.info.run_id
            return
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        # A server knows itself where its files go.
        place = None if uri else (store / ARTIFACTS).as_uri()
        experiment_id = (
            experiment.experiment_id
            if experiment
            else self._client.create_experiment(EXPERIMENT, artifact_location=place)
        )
        self._num_epochs = 0
        self._run_id = self._client.create_run(experiment_id, run_name=run_dir.name).info.run_id
        write_text(known, f"{self._run_id}\n")
        params = [
            mlflow.entities.Param(name, str(value)[:_MAX_CHARACTERS])
            for name, value in read_object(run_dir / CONFIG).items()
        ]
        for first in range(0, len(params), _MAX_PARAMS):
            self._client.log_batch(self._run_id, params=params[first : first + _MAX_PARAMS])

    def add_epochs(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Add the epochs that are not there yet.

        Args:
            rows: all epochs so far, as rows of metrics.csv.
        """
        for row in rows[self._num_epochs :]:
            self._add({tag_of(name): value for name, value in row.items()}, int(row["epoch"]))
        self._num_epochs = max(self._num_epochs, len(rows))

    def add_test(self) -> None:
        """Add the figures of result.json as result/NAME, and the report with its pictures."""
        figures = {
            f"result/{name}": float(value)
            for name, value in read_object(self._run_dir / RESULT).items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        self._add(figures, self._num_epochs)
        for name in _FILES:
            if (self._run_dir / name).exists():
                self._client.log_artifact(self._run_id, str(self._run_dir / name))

    def _add(self, values: Mapping[str, float], step: int) -> None:
        now = int(1000 * time.time())
        metrics = [
            mlflow.entities.Metric(name, float(value), now, step) for name, value in values.items()
        ]
        self._client.log_batch(self._run_id, metrics=metrics)

    def close(self) -> None:
        """Mark the run as finished."""
        self._client.set_terminated(self._run_id)
