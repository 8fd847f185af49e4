# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Fixtures of tiny trainings."""

import pytest
import torch
from tiny_training import Boxes, TinyNetwork

from mtl_perception.training.config import (
    DataSettings,
    NetworkSettings,
    OptimiserSettings,
    RunSettings,
    Stage,
    TrainingConfig,
)


@pytest.fixture
def small_network(monkeypatch):
    monkeypatch.setattr('mtl_perception.training.trainer.build_network', TinyNetwork)


@pytest.fixture
def boxes():
    return Boxes()


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def config(tmp_path):
    return TrainingConfig(
        name='tiny', output=str(tmp_path), stages=[
            Stage(32, 32, steps=10, batch=4, lr=2e-2), Stage(64, 64, steps=10, batch=2, lr=1e-2)],
        network=NetworkSettings(encoder='resnet10'),
        data=DataSettings(loaders=0), optimiser=OptimiserSettings(average=0.8),
        run=RunSettings(log_every=5, validate_every=7, checkpoint_every=4))
