# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The training loop under every strategy of weighting, none of which it knows by name."""

import ast
import inspect
import json
from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from mtl_perception.errors import ConfigurationError, NumericError
from mtl_perception.manifest import NetworkSpec
from mtl_perception.models.build import build_network
from mtl_perception.tasks import STREET_TASKS
from mtl_perception.training import learner, trainer
from mtl_perception.training.config import (
    Stage,
    load_config,
    to_plain,
    to_yaml,
)
from mtl_perception.training.dataloading import collate
from mtl_perception.training.learner import ClipLearner
from mtl_perception.training.losses import build_losses
from mtl_perception.training.run import check_same_recipe
from mtl_perception.training.trainer import Trainer
from mtl_perception.weighting import WEIGHTINGS, EqualWeights, GradNorm

TASKS = [task.name for task in STREET_TASKS]
ASYNCHRONOUS = {'asynchronous': {'frequencies': {'semantic': 2, 'depth': 3, 'motion': 2}}}


class Never:
    """Nobody asks to stop."""

    received = None


@pytest.fixture
def make(config, boxes, tmp_path, small_network):
    """Return a trainer of so many steps at 32x32 as a function of the weighting."""
    def trainer(weighting, options=None, name='run', steps=6):
        recipe = replace(
            config, weighting=weighting, weighting_options=options or {},
            stages=[Stage(32, 32, steps, 4, 0.02)],
            run=replace(config.run, validate_every=100, checkpoint_every=100))
        return Trainer(recipe, tmp_path / name, STREET_TASKS, boxes, boxes)

    return trainer


def weights_of(module):
    return {name: item.clone() for name, item in module.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(one[key], other[key]) or one[key].isnan().any() for key in one)


def test_the_loop_knows_no_strategy():
    nodes = [node for module in (trainer, learner)
             for node in ast.walk(ast.parse(inspect.getsource(module)))]
    operands = [one for node in nodes if isinstance(node, ast.Compare)
                for side in (node.left, *node.comparators)
                for one in getattr(side, 'elts', [side])]
    compared = {one.value for one in operands if isinstance(one, ast.Constant)}
    named = {node.id for node in nodes if isinstance(node, ast.Name)} | {
        alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}

    assert 'Stepper' in named  # the control
    assert not compared & WEIGHTINGS.keys()
    assert not named & {kind.__name__ for kind in WEIGHTINGS.values()}


@pytest.mark.parametrize('weighting', WEIGHTINGS)
def test_every_strategy_trains_and_resumes_bit_for_bit(make, boxes, weighting):
    if weighting == 'gradient_method':
        pytest.importorskip('torchjd')
    options = ASYNCHRONOUS if weighting == 'asynchronous' else None
    trainer = make(weighting, options)
    stage = trainer.config.stages[0]
    batch = collate([boxes[number].resized(32, 32) for number in range(4)])
    first = {task: loss.item() for task, loss in trainer.learner(batch).items()}

    # six steps; after three, a second training is resumed from the state of the first
    for number in range(6):
        if number == 3:
            trainer.weighting.end_epoch()
            resumed = make(weighting, options)
            resumed.load_state(deepcopy(trainer.state()))
        assert trainer.step(batch, stage) is not None
        trainer.progress.step += 1
    last = {task: loss.item() for task, loss in trainer.learner(batch).items()}

    assert sum(last.values()) < 0.9 * sum(first.values())

    for _ in range(3):
        resumed.step(batch, stage)
        resumed.progress.step += 1
    assert same(weights_of(resumed.weighting), weights_of(trainer.weighting))
    assert resumed.weighting.weights() == trainer.weighting.weights()
    for name, item in trainer.learner.network.named_parameters():
        assert torch.equal(item, resumed.learner.network.get_parameter(name)), name


def test_parameters_of_a_strategy_have_their_own_learning_rate_and_no_weight_decay(make):
    trainer = make('uncertainty', {'uncertainty': {'rate': 5.0}})
    group = trainer.stepper.optimiser.param_groups[-1]
    assert len(group['params']) == 3
    assert group['weight_decay'] == 0.0
    assert trainer.run(Never())
    assert group['lr'] == pytest.approx(5 * trainer.stepper.optimiser.param_groups[0]['lr'])
    assert all(item.item() != 0 for item in trainer.weighting.parameters())


@pytest.mark.parametrize('again', [True, False])
def test_a_strategy_that_wants_them_is_told_the_losses_after_the_step(make, boxes, again):
    trainer = make('famo', {'famo': {'again': again}})
    batch = collate([boxes[number].resized(32, 32) for number in range(4)])
    losses = trainer.step(batch, trainer.config.stages[0])

    assert trainer.weighting.updates.tolist() == [float(again)] * 3
    # what it was told is forgotten, what it was not told waits for the next batch
    waiting = dict(zip(TASKS, trainer.weighting.before.tolist()))
    assert again or waiting == pytest.approx(
        {task: loss.item() for task, loss in losses.items()})
    assert bool(trainer.weighting.before.isnan().all()) == again


def test_a_task_that_is_off_is_not_computed_and_its_decoder_does_not_change(make, boxes):
    trainer = make('asynchronous', ASYNCHRONOUS)
    network = trainer.learner.network
    stage = trainer.config.stages[0]
    batch = collate([boxes[number].resized(32, 32) for number in range(4)])
    runs = []
    for task, decoder in network.decoders.items():
        decoder.register_forward_hook(lambda *_, task=task: runs.append(task))

    expected = [{'semantic', 'depth', 'motion'}, set(), {'semantic', 'motion'}, {'depth'}]
    for number, due in enumerate(expected):
        runs.clear()
        before = weights_of(network)
        updates = trainer.average.updates
        losses = trainer.step(batch, stage)
        trainer.progress.step = number + 1

        # only the decoders of these tasks run, and only they move
        assert set(losses) == set(runs) == due
        moved = {name.split('.')[1] for name, item in network.state_dict().items()
                 if name.startswith('decoders') and not torch.equal(item, before[name])}
        assert moved == due

        if due:
            assert trainer.weighting.weights() == {task: float(task in due) for task in TASKS}
            grads = {task: decoder.weight.grad for task, decoder in network.decoders.items()}
            assert {task for task, grad in grads.items() if grad is not None} == due
        else:  # not even batch normalisation has seen anything
            assert same(before, weights_of(network))
        assert trainer.average.updates == updates + bool(due)

    assert trainer.progress.skipped == 0


def test_a_training_with_steps_without_a_task_finishes(make):
    trainer = make('asynchronous', ASYNCHRONOUS, steps=7)
    assert trainer.run(Never())
    assert trainer.progress.step == 7


def test_steps_without_a_task_do_not_hide_steps_that_are_not_finite(
        make, monkeypatch):
    trainer = make(
        'asynchronous', {'asynchronous': {'frequencies': dict.fromkeys(TASKS, 2)}}, steps=12)
    loss = trainer.learner.losses['depth']
    forward = loss.forward
    monkeypatch.setattr(loss, 'forward', lambda *arguments: forward(*arguments) * float('nan'))

    with pytest.raises(NumericError, match='4 steps in a row'):
        trainer.run(Never())

    dump = json.loads((trainer.folder / 'not_finite.json').read_text())
    batch = trainer.config.stages[0].batch
    assert (dump['first_draw'], dump['draws']) == (0, 7 * batch)


@pytest.mark.parametrize(('frames', 'pyramid', 'sharing'), [
    (2, 0, 'hard'), (1, 0, 'hard'), (2, 8, 'hard'), (1, 8, 'hard'), (1, 8, 'mtan')])
def test_gradients_cut_at_the_taps_equal_those_of_one_backward_pass(
        boxes, frames, pyramid, sharing):
    spec = NetworkSpec(
        'resnet10', frames, 4, {task.name: task.channels for task in STREET_TASKS}, pyramid,
        sharing=sharing)
    torch.manual_seed(0)
    network = build_network(spec).eval()
    one = ClipLearner(
        network, (90, 90, 90), (50, 50, 50), build_losses(STREET_TASKS),
        ['motion'])
    batch = collate([boxes[number].resized(32, 32) for number in (1, 2)])

    # equal weights: one backward pass; GradNorm: the gradient of each task, cut at the taps
    found = []
    strategies = EqualWeights(TASKS), GradNorm(TASKS)
    for strategy in strategies:
        network.zero_grad()
        strategy(one(batch), one.shared).backward()
        found.append({
            name: item.grad.clone() for name, item in network.named_parameters()
            if item.grad is not None})

    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)
    assert network.last_shared().shape == ((8, 8, 3, 3) if pyramid else (512, 512, 3, 3))
    assert strategies[1].current[2] == 1.0  # motion is detached
    assert strategies[1].current[0] != 1.0


def test_options_come_from_the_recipe_and_the_command_line(tmp_path):
    path = tmp_path / 'recipe.yaml'
    path.write_text(
        'name: one\nweighting: gradnorm\nweighting_options: {gradnorm: {alpha: 1e-1, steps: 3}, '
        'dwa: {temperature: 1}}\nstages:\n  - {height: 64, width: 96, steps: 7}\n')
    config = load_config(path, [
        '--weighting_options.gradnorm.alpha', '0.5', '--weighting_options.gradnorm.rate=0.1'])

    assert config.weighting_options['gradnorm'] == {'alpha': 0.5, 'steps': 3, 'rate': 0.1}
    assert config.weighting_options['dwa'] == {'temperature': 1}

    printed = tmp_path / 'printed.yaml'
    printed.write_text(to_yaml(config))
    assert load_config(printed) == config
    assert load_config(path).weighting_options['gradnorm']['alpha'] == 0.1
    assert load_config(path, ['--weighting', 'equal']).weighting == 'equal'


def test_options_missing_from_an_old_checkpoint_count_as_a_change_only_if_set(config):
    before = to_plain(config)
    del before['weighting_options']
    check_same_recipe(config, before)
    changed = replace(config, weighting_options={'dwa': {'temperature': 1}})

    with pytest.raises(ConfigurationError, match=r'options\.dwa\.temperature: None -> 1'):
        check_same_recipe(changed, before)


@pytest.mark.parametrize(('words', 'message'), [
    (['--weighting_options.gradnorn.alpha', '1'], "did you mean 'gradnorm'"),
    (['--weighting_options.gradnorm.alhpa', '1'], "did you mean 'alpha'"),
    (['--weighting_options.gradnorm.alpha', 'high'], "gradnorm.alpha is 'high'"),
    (['--weighting_options.dwa.temperature', '0'], 'temperature is 0.0; it must be positive'),
    (['--weighting_options.asynchronous.frequencies', '{dept: 2}'], 'unknown tasks'),
])
def test_wrong_options_are_refused_whether_their_strategy_is_chosen_or_not(
        tmp_path, words, message):
    path = tmp_path / 'recipe.yaml'
    path.write_text('name: one\nstages:\n  - {height: 64, width: 96, steps: 7}\n')
    with pytest.raises(ConfigurationError, match=message):
        load_config(path, words)


@pytest.mark.parametrize(('words', 'instead'), [
    (['--weighting', 'dwa'], '--weighting handcrafted'),
    (['--weighting', 'asynchronous'], '--weighting_options.asynchronous.strategy handcrafted')])
def test_an_override_of_a_strategy_that_is_not_used_is_refused(tmp_path, words, instead):
    path = tmp_path / 'recipe.yaml'
    path.write_text('name: one\nstages:\n  - {height: 64, width: 96, steps: 7}\n')
    weights = ['--weighting_options.handcrafted.weights', '{semantic: 1, depth: 3, motion: 1}']
    with pytest.raises(ConfigurationError, match=f'would change nothing: .* set {instead} too'):
        load_config(path, [*words, *weights])

    used = load_config(path, [*words, *weights, *instead.split()])
    assert used.weighting_options['handcrafted']['weights']['depth'] == 3
