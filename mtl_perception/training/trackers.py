# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Experiment trackers: MLflow and Weights & Biases, each an optional package."""

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import ConfigurationError
from mtl_perception.files import write_atomically
from mtl_perception.training.callbacks import Callback, Run, flat

EXPERIMENT = 'mtl_perception'
"""Name of the experiment in MLflow, and of the project in Weights & Biases."""

LONGEST = 6000
"""Characters of a parameter's value that MLflow takes."""


class MlflowTracker(Callback):
    """
    Write a training to MLflow; needs ``pip install 'mtl_perception[mlflow]'``.

    Where it is kept follows MLflow's own settings, such as ``MLFLOW_TRACKING_URI``; the experiment
    is ``MLFLOW_EXPERIMENT_NAME``, else ``mtl_perception``. A resumed training continues its run,
    whose id is in ``mlflow.json`` of the run folder.

    :raises ConfigurationError: if MLflow is not installed.
    """

    def __init__(self) -> None:
        try:
            import mlflow
        except ImportError as error:
            raise _missing('mlflow') from error
        self._client: Any = mlflow.MlflowClient()
        self._run = ''

    def start(self, run: Run) -> None:
        """Begin a run with all settings as parameters, or continue the one of the folder."""
        note = run.folder / 'mlflow.json'
        if run.done and note.is_file():
            self._run = json.loads(note.read_text(encoding='utf-8'))['run']
            self._client.update_run(self._run, 'RUNNING')
            return

        name = os.environ.get('MLFLOW_EXPERIMENT_NAME', EXPERIMENT)
        experiment = self._client.get_experiment_by_name(name)
        number = self._client.create_experiment(name) if experiment is None else (
            experiment.experiment_id)
        self._run = self._client.create_run(
            number, run_name=run.name, tags={'command': run.command}).info.run_id
        for key, value in _settings(run.recipe).items():
            self._client.log_param(self._run, key, value)
        write_atomically(json.dumps({'run': self._run}).encode(), note)

    def step(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Write a report."""
        self._log(step, flat(metrics, 'train/'))

    def validation(
            self, step: int, metrics: Mapping[str, Any], picture: NDArray[np.uint8] | None,
    ) -> None:
        """Write the metrics."""
        self._log(step, flat(metrics, 'validation/'))

    def end(self, state: str) -> None:
        """End the run: a stopped one is killed, in MLflow's words."""
        if self._run:
            self._client.set_terminated(
                self._run, {'finished': 'FINISHED', 'stopped': 'KILLED'}.get(state, 'FAILED'))

    def _log(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._client.log_metric(self._run, _plain(name), value, step=step)


class WandbTracker(Callback):
    """
    Write a training to Weights & Biases; needs ``pip install 'mtl_perception[wandb]'``.

    Its own variables say where: ``WANDB_MODE=offline`` keeps it on the disk, ``WANDB_PROJECT``
    names the project, else ``mtl_perception``. A resumed training continues its run.

    :raises ConfigurationError: if it is not installed.
    """

    def __init__(self) -> None:
        try:
            import wandb
        except ImportError as error:
            raise _missing('wandb') from error
        self._wandb: Any = wandb
        self._run: Any = None

    def start(self, run: Run) -> None:
        """Begin a run with all settings, or continue the one of the folder."""
        note = run.folder / 'wandb.json'
        number = None
        if run.done and note.is_file():
            number = json.loads(note.read_text(encoding='utf-8'))['run']
        self._run = self._wandb.init(
            project=os.environ.get('WANDB_PROJECT', EXPERIMENT), name=run.name,
            id=number, resume='allow' if number else None, dir=str(run.folder),
            config=dict(run.recipe))
        write_atomically(json.dumps({'run': self._run.id}).encode(), note)

    def step(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Write a report."""
        if metrics:
            self._run.log(flat(metrics, 'train/'), step=step)

    def validation(
            self, step: int, metrics: Mapping[str, Any], picture: NDArray[np.uint8] | None,
    ) -> None:
        """Write the metrics and the picture."""
        numbers: dict[str, Any] = dict(flat(metrics, 'validation/'))
        if picture is not None:
            numbers['validation/picture'] = self._wandb.Image(picture)
        self._run.log(numbers, step=step)

    def end(self, state: str) -> None:
        """End the run."""
        if self._run is not None:
            self._run.finish(exit_code=0 if state == 'finished' else 1)


TRACKERS: dict[str, type[MlflowTracker | WandbTracker]] = {
    'mlflow': MlflowTracker, 'wandb': WandbTracker}
"""Name in ``run.track`` -> tracker."""


def _missing(package: str) -> ConfigurationError:
    return ConfigurationError(
        f'run.track names {package}, which is not installed: pip install '
        f"'mtl_perception[{package}]'")


def _settings(recipe: Mapping[str, Any], prefix: str = '') -> dict[str, str]:
    """Return the settings as key -> text, ``a.b`` for nested ones."""
    found: dict[str, str] = {}
    for key, value in recipe.items():
        if isinstance(value, Mapping) and value:
            found |= _settings(value, f'{prefix}{key}.')
        else:
            found[_plain(f'{prefix}{key}')] = str(value)[:LONGEST]
    return found


def _plain(name: str) -> str:
    """Return a name with only the characters that MLflow takes."""
    return ''.join(one if one.isalnum() or one in '_-./ ' else '_' for one in name)
