# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What one step of the optimiser does under each setting."""

import math
from dataclasses import replace

import pytest
import torch

from mtl_perception.errors import ConfigurationError, NumericError
from mtl_perception.tasks import STREET_TASKS
from mtl_perception.training.config import RunSettings, Stage
from mtl_perception.training.dataloading import collate
from mtl_perception.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures('small_network')


def make(config, folder, boxes):
    return Trainer(config, folder, STREET_TASKS, boxes, boxes, None, {'street_code': 'x'})


def batch_of(boxes, numbers):
    return collate([boxes[number] for number in numbers])


def gradients(trainer):
    return [item.grad.clone() for item in trainer.learner.network.parameters()]


def test_a_batch_in_parts_has_the_mean_gradient_of_its_parts(config, tmp_path, boxes):
    still = replace(config, weighting='equal', optimiser=replace(
        config.optimiser, clip_norm=1e9, accumulate=2))
    trainer = make(still, tmp_path / 'parts', boxes)
    parts = [make(replace(still, optimiser=replace(still.optimiser, accumulate=1)),
                  tmp_path / str(number), boxes) for number in range(2)]
    stage = Stage(64, 64, 10, 4)
    found = trainer.step(batch_of(boxes, (0, 1, 2, 3)), stage)
    losses = [part.step(batch_of(boxes, numbers), stage)
              for part, numbers in zip(parts, ((0, 1), (2, 3)))]

    for task, loss in found.items():
        torch.testing.assert_close(loss, (losses[0][task] + losses[1][task]) / 2)
    for whole, one, other in zip(gradients(trainer), *map(gradients, parts)):
        torch.testing.assert_close(whole, (one + other) / 2, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('limit', [0, 1e9, 1e-3])
def test_the_norm_of_the_gradient_is_that_before_it_is_cut(config, tmp_path, boxes, limit):
    trainer = make(replace(config, optimiser=replace(config.optimiser, clip_norm=limit)),
                   tmp_path / 'run', boxes)
    uncut = make(replace(config, optimiser=replace(config.optimiser, clip_norm=1e9)),
                 tmp_path / 'uncut', boxes)
    for one in (trainer, uncut):
        one.step(batch_of(boxes, (0, 1)), Stage(64, 64, 10, 2))
    wanted = math.sqrt(sum(float((item ** 2).sum()) for item in gradients(uncut)))

    assert trainer.stepper.gradient_norm == pytest.approx(wanted, rel=1e-4)

    left = math.sqrt(sum(float((item ** 2).sum()) for item in gradients(trainer)))
    assert left == pytest.approx(min(wanted, limit or math.inf), rel=1e-3)


def test_frozen_parts_stay_and_the_rest_learns(config, tmp_path, boxes):
    frozen = replace(config, network=replace(config.network, frozen=['encoder']))
    trainer = make(frozen, tmp_path / 'run', boxes)
    before = {name: item.clone() for name, item in trainer.learner.network.state_dict().items()}
    trainer.learner.train()
    for _ in range(3):
        trainer.step(batch_of(boxes, (0, 1)), Stage(64, 64, 10, 2, lr=0.1))
    after = trainer.learner.network.state_dict()

    for name, item in after.items():  # also the running means of its batch normalisations
        assert torch.equal(item, before[name]) == name.startswith('encoder'), name


def test_a_weighting_that_needs_the_gradient_of_a_frozen_layer_is_refused(config, tmp_path, boxes):
    frozen = replace(config, weighting='gradnorm',
                     network=replace(config.network, frozen=['encoder']))
    with pytest.raises(ConfigurationError, match='freezes it'):
        make(frozen, tmp_path / 'run', boxes)


def test_fp16_scales_the_loss_and_lowers_the_scale_when_it_overflows(config, tmp_path, boxes):
    trainer = make(replace(config, precision='fp16'), tmp_path / 'run', boxes)
    scaler, stage = trainer.stepper.scaler, Stage(64, 64, 10, 2)
    weight = next(trainer.learner.network.parameters())
    assert scaler.get_scale() == 65536

    trainer.learner.train()
    before = weight.detach().clone()
    while trainer.step(batch_of(boxes, (0, 1)), stage) is None:  # too large a scale at first
        assert torch.equal(weight, before)
        assert trainer.stepper.overflowed

    assert scaler.get_scale() <= 65536
    assert not torch.equal(weight, before)

    weight.grad = None
    skipped, scale = trainer.progress.skipped, scaler.get_scale()
    handle = weight.register_hook(lambda gradient: gradient * math.inf)
    assert trainer.step(batch_of(boxes, (0, 1)), stage) is None

    handle.remove()
    assert scaler.get_scale() == scale / 2
    assert trainer.progress.skipped == skipped + 1

    state = trainer.state()
    other = make(replace(config, precision='fp16'), tmp_path / 'other', boxes)
    other.load_state(state)
    assert other.stepper.scaler.get_scale() == scale / 2


def test_a_skipped_step_does_not_change_the_state_of_the_weighting(
        config, tmp_path, boxes):
    trainer = make(replace(config, weighting='dwa'), tmp_path / 'run', boxes)
    weight = next(trainer.learner.network.parameters())
    trainer.step(batch_of(boxes, (0, 1)), Stage(64, 64, 10, 2))
    before = {name: item.clone() for name, item in trainer.weighting.state_dict().items()}
    handle = weight.register_hook(lambda gradient: gradient * math.nan)

    assert trainer.step(batch_of(boxes, (2, 3)), Stage(64, 64, 10, 2)) is None

    handle.remove()
    torch.testing.assert_close(
        dict(trainer.weighting.state_dict()), before, rtol=0, atol=0, equal_nan=True)

    # the control: a step that is done is remembered
    trainer.step(batch_of(boxes, (2, 3)), Stage(64, 64, 10, 2))
    assert any(not torch.equal(item, before[name])
               for name, item in trainer.weighting.state_dict().items())


def test_a_compiled_network_has_the_same_parameters_and_learns(
        config, tmp_path, boxes, monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.nn.Module, 'compile', lambda module: chosen.append(module))
    trainer = make(replace(config, run=RunSettings(compile=True)), tmp_path / 'run', boxes)
    network = trainer.learner.network

    assert chosen == [network.encoder, *network.decoders.values()]

    plain = make(config, tmp_path / 'plain', boxes)
    assert network.state_dict().keys() == plain.learner.network.state_dict().keys()


@pytest.mark.slow
def test_torch_compile_gives_the_losses_of_the_plain_network(config, tmp_path, boxes):
    stage = Stage(64, 64, 10, 2, lr=1e-3)
    losses = []
    for compiled in (False, True):
        trainer = make(replace(config, run=RunSettings(compile=compiled)),
                       tmp_path / str(compiled), boxes)
        losses.append([trainer.step(batch_of(boxes, (0, 1)), stage) for _ in range(3)])

    for plain, compiled in zip(*losses):
        for task, loss in plain.items():
            torch.testing.assert_close(loss, compiled[task], rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs CUDA')
@pytest.mark.parametrize('precision', ['fp32', 'fp16'])
def test_a_training_runs_on_the_gpu(config, tmp_path, boxes, precision):
    from mtl_perception.training.distributed import Ranks
    trainer = Trainer(
        replace(config, precision=precision), tmp_path / 'run', STREET_TASKS, boxes, boxes,
        None, {}, '', Ranks(device=torch.device('cuda')))

    class Never:
        received = None

    assert trainer.run(Never())
    assert next(trainer.learner.network.parameters()).is_cuda


def test_with_fp16_a_loss_that_is_not_finite_still_ends_the_training(
        config, tmp_path, boxes, monkeypatch):
    trainer = make(replace(config, precision='fp16'), tmp_path / 'run', boxes)
    forward = trainer.learner.losses['depth'].forward
    monkeypatch.setattr(trainer.learner.losses['depth'], 'forward',
                        lambda *arguments: forward(*arguments) * math.nan)

    class Never:
        received = None

    with pytest.raises(NumericError, match='4 steps in a row'):
        trainer.run(Never())


def test_a_resumed_training_does_not_load_the_encoder_again(
        config, tmp_path, boxes, monkeypatch):
    loaded = []

    def load(encoder, *_):
        loaded.append(1)
        with torch.no_grad():
            for item in encoder.parameters():
                item.fill_(0.5)

    monkeypatch.setattr('mtl_perception.training.trainer.load_encoder', load)
    begun = make(replace(config, network=replace(config.network, pretrained='some.safetensors')),
                 tmp_path / 'run', boxes)

    assert loaded == []

    begun.start()
    assert loaded == [1]
    # what is validated and exported starts there too, not at the random weights
    assert float(begun.average.state['encoder.0.weight'].min()) == 0.5

    begun.step(batch_of(boxes, (0, 1)), Stage(64, 64, 10, 2))
    resumed = make(begun.config, tmp_path / 'run', boxes)
    resumed.load_state(begun.state())
    assert loaded == [1]


def test_the_encoder_of_a_whole_model_to_start_from_is_kept(config, tmp_path, boxes, monkeypatch):
    """As in a search, whose trials go on from one another and whose recipe names an encoder."""
    def fill(value):
        def load(module, *_):
            with torch.no_grad():
                for item in module.parameters():
                    item.fill_(value)
        return load

    monkeypatch.setattr('mtl_perception.training.trainer.load_encoder', fill(0.5))
    monkeypatch.setattr('mtl_perception.training.trainer.load_start', fill(0.25))
    monkeypatch.setattr('mtl_perception.training.trainer.in_words', lambda *_: '')
    network = replace(config.network, pretrained='some.safetensors', start='other.safetensors')
    trainer = make(replace(config, network=network), tmp_path / 'run', boxes)
    trainer.start()

    assert {float(item.detach().min()) for item in trainer.learner.network.parameters()} == {
        0.25}
    assert float(trainer.average.state['encoder.0.weight'].min()) == 0.25


def test_a_resumed_training_takes_the_settings_of_its_recipe(config, tmp_path, boxes):
    """Those of the checkpoint's optimiser are another's where the recipe was changed by force."""
    before = make(replace(config, optimiser=replace(config.optimiser, weight_decay=0.1)),
                  tmp_path / 'before', boxes)
    before.step(batch_of(boxes, (0, 1)), Stage(64, 64, 10, 2))
    after = make(replace(config, optimiser=replace(
        config.optimiser, weight_decay=0.5, betas=(0.8, 0.9))), tmp_path / 'after', boxes)
    after.load_state(before.state())

    groups = after.stepper.optimiser.param_groups
    assert {group['weight_decay'] for group in groups} == {0.5, 0.0}
    assert {tuple(group['betas']) for group in groups} == {(0.8, 0.9)}
    assert len(after.stepper.optimiser.state) == len(before.stepper.optimiser.state) > 0
