# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Experiment trackers, against a store in a folder."""

import sys

import pytest

from mtl_perception.errors import ConfigurationError
from mtl_perception.training.callbacks import Run, flat
from mtl_perception.training.trackers import TRACKERS, MlflowTracker

REPORT = {'loss': {'depth': 0.5}, 'lr': 0.01, 'gradient_norm': None}


def test_the_numbers_of_nested_metrics_get_their_paths():
    assert flat({'a': {'b': 1, 'c': {'d': 2.5}}, 'e': None, 'f': 'x', 'g': True}, 'p/') == {
        'p/a/b': 1.0, 'p/a/c/d': 2.5}


def test_mlflow_gets_settings_metrics_and_the_end_and_a_resumed_training_goes_on(
        tmp_path, monkeypatch):
    mlflow = pytest.importorskip('mlflow')
    monkeypatch.setenv('MLFLOW_ALLOW_FILE_STORE', 'true')
    mlflow.set_tracking_uri((tmp_path / 'store').as_uri())
    recipe = {'name': 'tiny', 'network': {'encoder': 'resnet10', 'frozen': []}}

    tracker = MlflowTracker()
    tracker.start(Run('tiny', tmp_path, recipe, 'mtl train tiny.yaml', 10))
    tracker.step(1, {})
    tracker.step(2, REPORT)
    tracker.validation(2, {'semantic': {'miou': 0.25}, 'score': 0.3}, None)
    tracker.end('stopped')
    tracker = MlflowTracker()
    tracker.start(Run('tiny', tmp_path, recipe, 'mtl train tiny.yaml', 10, 2))
    tracker.step(4, {'loss': {'depth': 0.25}})
    tracker.end('finished')

    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name('mtl_perception')
    run, = client.search_runs([experiment.experiment_id])
    assert run.info.status == 'FINISHED'
    assert run.data.tags['command'] == 'mtl train tiny.yaml'
    assert run.data.params == {
        'name': 'tiny', 'network.encoder': 'resnet10', 'network.frozen': '[]'}
    assert run.data.metrics == {
        'train/loss/depth': 0.25, 'train/lr': 0.01, 'validation/semantic/miou': 0.25,
        'validation/score': 0.3}
    history = client.get_metric_history(run.info.run_id, 'train/loss/depth')
    assert [(item.step, item.value) for item in history] == [(2, 0.5), (4, 0.25)]


@pytest.mark.parametrize('name', TRACKERS)
def test_a_tracker_that_is_not_installed_is_refused_with_the_command(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigurationError, match=rf"pip install 'mtl_perception\[{name}\]'"):
        TRACKERS[name]()
