# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The committed recipes: they load, and their networks are those of the papers."""

import json
from pathlib import Path

import pytest

from mtl_perception.errors import ConfigurationError
from mtl_perception.training.config import load_config, to_plain
from mtl_perception.training.data_sources import check_network, tasks_of
from mtl_perception.training.describe import as_json, describe
from mtl_perception.training.schedule import learning_rate

RECIPES = Path(__file__).parents[2] / 'config' / 'train'
PARAMETERS = {
    # of the papers: methods that print a count, or whose count follows from the text
    'kendall_cityscapes': {'total': 58_697_302, 'encoder': 42_500_160, 'instance': 328_706},
    'multinetpp_cityscapes': {
        'total': 23_508_032 + 258_680 + 7_462, 'encoder': 23_508_032, 'semantic': 258_680},
    'multinetpp_kitti': {'semantic': 258_680, 'depth': 7_462, 'motion': 15_500},
    'multinetpp_synthia': {'semantic': 141_934, 'depth': 7_462},
    'xtasc_cityscapes': {'total': 31_553_344, 'semantic': 3_250_688},
    'xtasc_nyu': {'total': 31_557_952},
    'leang_cityscapes': {'encoder': 4_905_792},
    'leang_kitti': {'encoder': 4_905_792},
    'leang_woodscape': {'encoder': 4_905_792, 'semantic': 8_216},
    # of the architectures to compare with, see test/models/test_sharing.py
    'street_cross_stitch': {'encoder': 2 * 4_905_792 + 4 * 1024},
    'street_mtan': {'encoder': 4_905_792, 'attention': 2 * 1_046_144 + 1_550_976},
}


def described(name, *overrides):
    config = load_config(RECIPES / f'{name}.yaml', overrides)
    check_network(config)
    spec = config.network.spec(
        tasks_of(config), transfer=config.loss.cross_task.kind != 'none')
    last = config.stages[-1]
    return as_json(describe(spec, last.height, last.width), spec, last.height, last.width)


@pytest.mark.parametrize('path', sorted(RECIPES.glob('*.yaml')), ids=lambda path: path.stem)
def test_every_recipe_loads_and_its_network_can_be_built(path):
    config = load_config(path)
    check_network(config)
    assert config.name == path.stem
    assert to_plain(config)['tasks'] == list(config.tasks)


@pytest.mark.parametrize('name', PARAMETERS)
def test_the_networks_of_the_papers_recipes_are_those_of_the_papers(name):
    found = described(name)['parameters']
    assert {part: found[part] for part in PARAMETERS[name]} == PARAMETERS[name]
    assert found['total'] == sum(count for part, count in found.items() if part != 'total')


def test_the_description_has_shapes_operations_and_what_the_paper_prints():
    found = described('multinetpp_cityscapes')
    assert found['shapes']['semantic'] == [(20, 224, 384)]
    assert found['shapes']['encoder'] == [(512, 28, 48), (1024, 14, 24), (2048, 7, 12)]
    assert found['papers']['semantic'].startswith('0.26 M')
    assert found['paper'].startswith('23.86 M')
    # A convolution's operations by hand: the last 1x1 of layer 4 has 512 x 2048 weights, used at
    # each of 7 x 12 places; a multiplication and an addition are two.
    assert found['flops']['encoder'] > 2 * 512 * 2048 * 7 * 12
    assert json.loads(json.dumps(found))['parameters']['total'] == found['parameters']['total']
    assert described('xtasc_cityscapes')['paper'].startswith('3.15e7')
    assert described('street_xtasc')['paper'] == ''


@pytest.mark.parametrize('path', sorted(RECIPES.glob('*.yaml')), ids=lambda path: path.stem)
def test_one_task_of_a_recipe_alone_needs_no_hidden_option(path):
    whole = load_config(path)
    for task in whole.tasks:
        if task != 'instance':  # needs the classes of semantics
            alone(path, whole, task)


def alone(path, whole, task):
    """Check a recipe with one of its tasks."""
    words = ['--tasks', f'[{task}]', '--weighting', 'equal']
    if whole.loss.cross_task.kind != 'none':
        words += ['--loss.cross_task.kind', 'none']
    if whole.loss.detached:
        words += ['--loss.detached', '[]']
    if whole.network.frozen:  # parts of other tasks
        words += ['--network.frozen', '[]']

    config = load_config(path, words)
    check_network(config)
    assert [one.name for one in tasks_of(config)] == [task]


def test_a_single_task_of_xtasc_net_has_the_parameters_of_one_decoder():
    found = described('xtasc_cityscapes', '--tasks', '[semantic]', '--weighting', 'equal',
                      '--loss.cross_task.kind', 'none')
    assert found['parameters']['total'] == 24_535_360


def test_tasks_that_the_data_cannot_label_are_refused():
    config = load_config(RECIPES / 'multinetpp_cityscapes.yaml', ['--tasks', '[motion]'])
    with pytest.raises(ConfigurationError, match='cannot be learned from'):
        tasks_of(config)
    with pytest.raises(ConfigurationError, match='belong together'):
        load_config(RECIPES / 'multinetpp_kitti.yaml', ['--data.validation', '{}'])


def test_the_learning_rates_of_the_papers():
    polynomial = [learning_rate(step, 100, 2.0, 0.0, 0.0, 'polynomial') for step in (0, 50, 99)]
    assert polynomial == pytest.approx([2.0, 2 * 0.5 ** 0.9, 2 * 0.01 ** 0.9])

    halving = [learning_rate(step, 250, 1.0, 0.0, 0.0, 'halving', halve_every=0.32)
               for step in (0, 79, 80, 159, 160, 249)]
    assert halving == [1, 1, 0.5, 0.5, 0.25, 0.125]
    assert learning_rate(7, 10, 3.0, 0.0, schedule='constant') == 3.0
