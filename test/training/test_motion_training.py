# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
import os
import signal
import types

import numpy as np
import pytest
import torch

from mtl_perception import cli
from mtl_perception.commands import train_motion
from mtl_perception.datasets.synthetic import ClipPlan, StreetClips
from mtl_perception.egomotion import RESIDUAL_CHANNELS
from mtl_perception.errors import CheckpointError, ConfigurationError, DataError
from mtl_perception.frames import Outputs
from mtl_perception.tasks import STREET_DEPTH, STREET_SEMANTIC
from mtl_perception.training.callbacks import Callback
from mtl_perception.training.checkpoint import CheckpointFolder
from mtl_perception.training.motion_samples import MotionSampleCache, MotionSamples
from mtl_perception.training.motion_training import (
    MIRRORED,
    MotionTrainer,
    MotionTraining,
    evaluate_head,
    object_weights,
)
from mtl_perception.training.recipe import build_recipe, load_recipe

CHANNELS = len(RESIDUAL_CHANNELS) + 3
ACROSS = RESIDUAL_CHANNELS.index('across_sigma')


def make_samples(count, seed=0):
    """Return pairs with one square each, whose residual across the epipolar line says it all."""
    rng = np.random.default_rng(seed)
    features = rng.normal(0, 0.1, (count, CHANNELS, 16, 24)).astype(np.float16)
    instance = np.zeros((count, 16, 24), np.uint16)
    instance[:, 4:12, 8:16] = 1
    moves = np.arange(count) % 2
    features[:, ACROSS][instance > 0] = 0
    sign = rng.choice([-2.0, 2.0], count)
    features[:, ACROSS] += (instance > 0) * (moves * sign)[:, None, None].astype(np.float16)
    return MotionSamples(features, (instance * moves[:, None, None]).astype(np.uint8), instance)


def trained(samples, settings):
    trainer = MotionTrainer(samples, settings)
    while trainer.done < settings.steps:
        trainer.step()
    return trainer.head.eval()


class StopAfter(Callback):
    """Ask to stop once so many steps are done, and remember what happened."""

    def __init__(self, last=None):
        self.last, self.received = last, None
        self.seen = []

    def start(self, run):
        self.seen.append(('start', run.done))

    def step(self, step, metrics):
        if metrics:
            self.seen.append(('report', step))
        if step == self.last:
            self.received = 'SIGTERM'

    def checkpoint(self, step, path):
        assert path.is_file()
        self.seen.append(('checkpoint', step))

    def end(self, state):
        self.seen.append(('end', state))


def test_a_resumed_training_equals_an_uninterrupted_one_bit_for_bit(tmp_path):
    settings = MotionTraining(width=4, steps=9, batch=3, checkpoint_every=4, log_every=3)
    whole = MotionTrainer(make_samples(7), settings)
    told = StopAfter()
    assert whole.run(tmp_path / 'whole', told)
    assert told.seen == [
        ('start', 0), ('report', 3), ('checkpoint', 4), ('report', 6), ('checkpoint', 8),
        ('report', 9), ('checkpoint', 9), ('end', 'finished')]

    part = MotionTrainer(make_samples(7), settings)
    told = StopAfter(5)
    assert not part.run(tmp_path / 'part', told, stop=told)
    assert told.seen[-2:] == [('checkpoint', 5), ('end', 'stopped')]

    resumed = MotionTrainer(make_samples(7), settings)
    resumed.load_state(CheckpointFolder(tmp_path / 'part' / 'checkpoints').load_newest())
    assert resumed.done == 5
    assert resumed.run(tmp_path / 'part', told := StopAfter())
    assert told.seen[0] == ('start', 5)
    wanted = whole.head.state_dict()
    for name, item in resumed.head.state_dict().items():
        assert torch.equal(item, wanted[name]), name

    # the control: without the state of the random numbers it ends elsewhere
    other = MotionTrainer(make_samples(7), settings)
    other.head.load_state_dict(part.head.state_dict())
    other.done = 5
    other.run(tmp_path / 'other', Callback())
    assert not torch.equal(other.head.score.weight, wanted['score.weight'])


def test_another_recipe_other_data_and_other_checkpoints_are_not_resumed():
    state = MotionTrainer(make_samples(4), MotionTraining(steps=5)).state()
    MotionTrainer(make_samples(4), MotionTraining(steps=5, threads=1)).load_state(state)
    with pytest.raises(ConfigurationError, match=r'since the checkpoint: lr: 0\.01 -> 0\.02'):
        MotionTrainer(make_samples(4), MotionTraining(steps=5, lr=0.02)).load_state(state)
    with pytest.raises(ConfigurationError, match='pairs of frames: 4 -> 5'):
        MotionTrainer(make_samples(5), MotionTraining(steps=5)).load_state(state)
    with pytest.raises(CheckpointError, match=r"not a checkpoint of a motion head .*'pairs'"):
        MotionTrainer(make_samples(4), MotionTraining(steps=5)).load_state(
            {'config': state['config']})


def test_a_residual_that_tells_movers_apart_is_learned_in_a_few_steps():
    settings = MotionTraining(width=4, steps=60, batch=8, lr=0.02)
    head = trained(make_samples(16), settings)
    assert evaluate_head(head, make_samples(8, seed=1)) == {'auc': 1.0, 'balanced_accuracy': 1.0}


def test_a_residual_that_says_nothing_leaves_chance():
    blind = make_samples(16)
    blind.features[:, ACROSS] = 0
    settings = MotionTraining(width=4, steps=20, batch=8)
    hidden = make_samples(8, seed=1)
    hidden.features[:] = 0

    assert evaluate_head(trained(blind, settings), hidden)['auc'] == 0.5


def test_the_same_seed_gives_the_same_head():
    settings = MotionTraining(width=4, steps=3, batch=4)
    first, second = (trained(make_samples(4), settings) for _ in range(2))
    assert torch.equal(first.score.weight, second.score.weight)


def test_an_object_counts_by_a_low_power_of_its_area():
    instance = np.array([[0, 1, 1, 1], [2, 1, 0, 0]], np.uint16)
    weights = object_weights(instance, background=0.5)
    assert weights[1, 0] == pytest.approx(1.0)
    assert weights[0, 1] == pytest.approx(4 ** -0.6)
    assert weights[instance == 0].sum() == pytest.approx(0.5 * (1 + 4 ** 0.4), rel=1e-5)


def test_only_the_flow_across_the_epipolar_line_changes_sign_in_a_mirror():
    assert [RESIDUAL_CHANNELS[number] for number in MIRRORED] == ['across_sigma', 'across_px']


def test_no_samples_and_settings_out_of_range_are_refused():
    with pytest.raises(DataError, match='no pair of frames'):
        MotionTrainer(make_samples(0), MotionTraining())
    for steps in (0, 2):
        with pytest.raises(ConfigurationError, match=f'steps is {steps}'):
            build_recipe({'steps': steps}, MotionTraining, 'test')
        with pytest.raises(ConfigurationError, match=f'MotionTraining: steps is {steps}'):
            MotionTraining(steps=steps)


@pytest.mark.parametrize('steps', [3, 10, 11])
def test_a_very_short_training_comes_to_its_end(steps):
    trained(make_samples(4), MotionTraining(steps=steps, batch=2))


def test_the_recipe_is_read_and_a_wrong_key_is_refused():
    path = 'config/motion/street_motion.yaml'
    settings = load_recipe(path, ['--steps', '5'], MotionTraining)
    assert (settings.name, settings.steps, settings.data.plan.clips) == ('street_motion', 5, 6)
    with pytest.raises(ConfigurationError, match="did you mean 'steps'"):
        load_recipe(path, ['--stepz', '5'], MotionTraining)


@pytest.mark.parametrize(
    ('owner', 'method'), [(StreetClips, 'render'), (MotionSampleCache, 'compute')])
def test_a_signal_before_the_first_step_stops_with_75(
        tmp_path, monkeypatch, capsys, owner, method):
    def signalled(self, workers=0):
        for seed in range(3):
            if seed == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            yield seed

    monkeypatch.setattr(StreetClips, 'render', lambda self, workers: iter(self.seeds))
    monkeypatch.setattr(owner, method, signalled)
    engine = types.SimpleNamespace(manifest=types.SimpleNamespace(
        name='true', sha256='0', height=224, width=384,
        task={'semantic': STREET_SEMANTIC, 'depth': STREET_DEPTH}.get))
    monkeypatch.setattr(train_motion.TorchEngine, 'load', lambda *_, **__: engine)

    previous = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # outside, it would end the tests
    try:
        assert cli.main([
            'train-motion', 'config/motion/street_motion.yaml', '--data.train_seeds', '0:3',
            '--data.cache', str(tmp_path), '--output', str(tmp_path / 'runs')]) == 75
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert 'SIGTERM: stopped after 2 of 3 seeds; the same command goes on' in (
        capsys.readouterr().out)


@pytest.mark.slow
def test_features_are_computed_once_and_read_back(tmp_path):
    plan = ClipPlan(clips=1, frames=2, gaps=(1,))
    clips = StreetClips(tmp_path, [3], 'train', plan)
    list(clips.render(0))
    sample = clips[0]

    # an engine whose predictions are the labels
    shape = (224, 384)
    outputs = Outputs(
        semantic=sample.semantic[-1],
        depth=np.minimum(sample.depth[-1], 80).astype(np.float32))
    manifest = types.SimpleNamespace(
        name='true', sha256='0', height=shape[0], width=shape[1],
        task={'semantic': STREET_SEMANTIC, 'depth': STREET_DEPTH}.get)
    engine = types.SimpleNamespace(manifest=manifest, step=lambda *_: (outputs, None))
    cache = MotionSampleCache(tmp_path, clips, engine)

    assert list(cache.compute()) == [3]

    found = cache.read([3])
    assert found.features.shape == (1, CHANNELS, 112, 192)
    assert np.array_equal(found.instance[0], sample.instance[-1][::2, ::2])
    with pytest.raises(DataError, match='cannot be read'):
        cache.read([4])

    other = dataclasses.replace(plan, width=192)
    with pytest.raises(ConfigurationError, match='takes 384x224'):
        MotionSampleCache(tmp_path, StreetClips(tmp_path, [3], 'train', other), engine)
