# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The schema of recipes: it takes what ``mtl train`` takes, and refuses what that refuses."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from mtl_perception import cli
from mtl_perception.errors import ConfigurationError
from mtl_perception.models.build import DECODERS
from mtl_perception.tasks import TASK_NAMES
from mtl_perception.training.config import TrainingConfig, build_recipe, load_config, to_plain
from mtl_perception.training.data_sources import check_network
from mtl_perception.training.schema import recipe_schema
from mtl_perception.weighting import WEIGHTINGS

RECIPES = sorted((Path(__file__).parents[2] / 'config' / 'train').glob('*.yaml'))
SMALL = {'name': 'one', 'stages': [{'height': 64, 'width': 96, 'steps': 7}]}


@pytest.fixture(scope='module')
def check():
    schema = recipe_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize('path', RECIPES, ids=lambda path: path.stem)
def test_the_committed_recipes_and_all_their_settings_are_valid(check, path):
    check.validate(yaml.safe_load(path.read_text()))
    check.validate(to_plain(load_config(path)))


@pytest.mark.parametrize('change', [
    {'wieghting': 'equal'}, {'weighting': 'eqaul'}, {'tasks': ['depht']}, {'seed': 'many'},
    {'network': {'encoder': 'resnet19'}}, {'network': {'mean': [1.0, 2.0]}},
    {'network': {'decoders': {'semantic': 'fnc8'}}}, {'optimiser': {'cilp_norm': 1}},
    {'augmentation': {'preset': 'mtan'}}, {'loss': {'cross_task': {'kind': 'both'}}},
    {'weighting_options': {'dwa': {'temprature': 1}}},
    {'stages': [{'height': 64, 'width': 96}]}, {'run': {'log_every': 2.5}},
    {'data': {'train': {'dataset': 'cityscape', 'root': 'x'}}},
    {'data': {'train': {'dataset': 'camvid', 'root': 'x', 'plane': 1}}},
    {'data': {'train': {'mix': {'a': {'dataset': 'camvid', 'root': 'x', 'share': 0}}}}},
], ids=str)
def test_the_schema_refuses_what_the_loader_refuses(check, change):
    check.validate(SMALL)
    with pytest.raises(jsonschema.ValidationError):
        check.validate(SMALL | change)

    if 'data' not in change:  # whether data sets are as described is seen when they are opened
        with pytest.raises(ConfigurationError):
            check_network(build_recipe(SMALL | change, TrainingConfig, 'test'))


def test_every_setting_is_explained_with_its_range_and_default():
    schema = recipe_schema()

    def walk(entry, path=''):
        if '$ref' in entry:
            entry = schema['$defs'][entry['$ref'].rpartition('/')[2]]
        for name, inner in entry.get('properties', {}).items():
            yield f'{path}{name}', inner
            yield from walk(inner.get('items', inner), f'{path}{name}.')

    found = dict(walk(schema))
    parts = {'network', 'data', 'augmentation', 'loss', 'optimiser', 'run'}
    options = {f'weighting_options.{name}' for name in WEIGHTINGS}

    assert options <= set(found)
    assert {path for path, entry in found.items() if not entry.get('description')} <= (
        parts | options)

    assert found['network.encoder']['default'] == 'resnet10'
    names, timm = found['network.encoder']['anyOf']
    assert 'resnet101' in names['enum']
    assert timm['pattern'] == '^timm:'
    assert found['tasks']['items']['enum'] == list(TASK_NAMES)
    assert found['network.decoders']['additionalProperties']['enum'] == list(DECODERS)
    assert found['network.frozen']['default'] == []
    assert found['optimiser.momentum']['exclusiveMinimum'] == 0
    assert found['optimiser.momentum']['exclusiveMaximum'] == 1
    assert found['stages.height']['multipleOf'] == 32
    assert '``' not in json.dumps(schema)


def test_the_command_prints_it_without_a_recipe(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(['train', '--print-schema'])
    assert not ended.value.code
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(recipe_schema()))
