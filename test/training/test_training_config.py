# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import yaml

from mtl_perception.errors import ConfigurationError
from mtl_perception.training.config import from_plain, load_config, to_plain, to_yaml

RECIPES = sorted((Path(__file__).parents[2] / 'config' / 'train').glob('*.yaml'))


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / 'recipe.yaml'
    path.write_text('name: one\noptimiser: {weight_decay: 0.5}\n'
                    'stages:\n  - {height: 64, width: 96, steps: 7}\n')
    return path


@pytest.mark.parametrize('path', RECIPES, ids=lambda path: path.stem)
def test_committed_recipes_are_valid(path):
    assert load_config(path).stages


def test_the_command_line_overrides_the_recipe_and_the_recipe_the_defaults(recipe):
    config = load_config(recipe, ['--optimiser.clip_norm', '2.5', '--seed=3'])
    assert config.weighting == 'geometric'
    assert config.optimiser.weight_decay == 0.5
    assert (config.optimiser.clip_norm, config.seed) == (2.5, 3)
    assert (config.stages[0].width, config.stages[0].batch) == (96, 8)


def test_a_printed_recipe_is_read_back_unchanged(recipe, tmp_path):
    config = load_config(recipe, ['--data.plan.gaps', '[2, 4]'])
    printed = tmp_path / 'printed.yaml'
    printed.write_text(to_yaml(config))
    assert load_config(printed) == config
    assert config.data.plan.gaps == (2, 4)


@pytest.mark.parametrize(('words', 'nearest'), [
    (['--optimizer.clip_norm', '1'], 'optimiser'), (['--optimiser.cilp_norm=1'], 'clip_norm'),
    (['--wieghting', 'equal'], 'weighting')])
def test_an_unknown_override_is_refused_with_the_nearest_name(recipe, words, nearest):
    with pytest.raises(ConfigurationError, match=f"did you mean '{nearest}'"):
        load_config(recipe, words)


@pytest.mark.parametrize(('text', 'message'), [
    ('stages: [{height: 64, width: 96, step: 7}]', "did you mean 'steps'"),
    ('data: {plan: {gap: [1]}}', "did you mean 'gaps'"),
    ('nam: two', "did you mean 'name'"),
    ('seed: many', 'seed'),
    ('seed: -1', 'seed is -1; it must be greater than or equal to 0'),
    ('stages: []', r'stages is \[\]; List should have at least 1 item'),
    ('stages: [{height: 60, width: 96, steps: 7}]',
     r'stages\[0\].height is 60; it must be a multiple of 32'),
    ('stages: [{height: 64, width: 96, steps: 0}]',
     r'stages\[0\].steps is 0; it must be greater than 0'),
    ('data: {plan: {frames: 1}}', 'the clips have 1'),
    ('precision: fp8', "precision is 'fp8'; did you mean 'fp32'"),
    ('loss: {detached: [boxes]}', r"loss.detached\[0\] is 'boxes'; did you mean"),
    ('loss: {detached: [instance]}', r"loss.detached names \['instance'\]"),
    ('optimiser: {betas: [0.9, 1.0]}', r'optimiser.betas\[1\] is 1.0; it must be less than 1'),
    ('optimiser: {lr: .nan}', 'optimiser.lr is nan; it must be greater than 0'),
    ('network: {frames: true}', 'network.frames is True; it must be a valid integer'),
    ('data: 3', 'data is 3; it must be a table of keys and values'),
    ('seed: many\nnam: two', "wrong.yaml: seed is 'many'; .*; nam does not exist; did you mean"),
    ('loss: {detached: [semantic, depth, motion]}', 'the encoder would get no gradient'),
    ('network: {pyramid: -2}', 'pyramid is -2'),
    ('- a list', 'expected keys and values|not a readable'),
])
def test_a_wrong_recipe_is_refused_with_the_reason(recipe, tmp_path, text, message):
    lines = [line for line in recipe.read_text().splitlines(keepends=True)
             if text.split(':')[0] not in ('stages',) or 'stages' not in line]
    if text.startswith('stages'):
        lines = lines[:2]
    wrong = tmp_path / 'wrong.yaml'
    wrong.write_text(text if text.startswith('-') else ''.join(lines) + text + '\n')

    with pytest.raises(ConfigurationError, match=message):
        load_config(wrong)


def test_numbers_that_are_keys_of_a_description_stay_numbers(recipe):
    described = '{dataset: folder, root: x, description: {ids: {7: road}}}'
    config = load_config(recipe, ['--data.train', described, '--data.validation', described])
    assert to_plain(config)['data']['train']['description'] == {'ids': {7: 'road'}}
    assert from_plain(to_plain(config)) == config


def test_a_missing_recipe_names_itself():
    with pytest.raises(ConfigurationError, match=r'nowhere\.yaml'):
        load_config('nowhere.yaml')


def test_an_override_changes_one_entry_of_a_table():
    path = RECIPES[[recipe.stem for recipe in RECIPES].index('street_kendall')]
    config = load_config(path, [
        '--weighting_options.uncertainty.forms.depth', 'regression',
        '--weighting_options.uncertainty.rate=3', '--network.decoders.depth', 'fcn8',
        '--seed', '4'])
    options = to_plain(config)['weighting_options']

    assert options['uncertainty']['forms'] == {'instance': 'laplace', 'depth': 'regression'}
    assert options['uncertainty']['rate'] == 3
    assert config.network.decoders == {
        'semantic': 'two_layer', 'instance': 'two_layer', 'depth': 'fcn8'}
    assert config.seed == 4
    with pytest.raises(ConfigurationError, match='a value is missing'):
        load_config(path, ['--weighting_options.dwa.temperature'])
    with pytest.raises(ConfigurationError, match=r'depth is .* not a table'):
        load_config(path, ['--network.decoders.depth.width', '3'])


def test_a_recipe_overrides_its_preset_but_not_one_on_the_command_line(recipe, tmp_path):
    content = yaml.safe_load(recipe.read_text())
    content['augmentation'] = {'preset': 'xtasc', 'blur': 0.1}
    path = tmp_path / 'preset.yaml'
    path.write_text(yaml.safe_dump(content))
    found = load_config(path).augmentation

    assert (found.zooms, found.nearer, found.noise, found.blur) == ([1.0, 1.2, 1.5], False, 0, 0.1)

    for words in (['--augmentation.preset', 'leang'], ['--augmentation.preset=leang']):
        found = load_config(path, [*words, '--augmentation.tint', '0.2']).augmentation
        assert (found.zooms, found.nearer, found.noise, found.blur) == ([], True, 0, 0)
        assert found.tint == 0.2
    again = from_plain(to_plain(load_config(path)))

    assert again == load_config(path)
    with pytest.raises(ConfigurationError, match=r"'mtan'; .* There are \['', 'none',"):
        load_config(path, ['--augmentation.preset', 'mtan'])


@pytest.mark.parametrize(('overrides', 'message'), [
    (['{height: 128, width: 256, steps: 1, crop_height: 96, crop_width: 100}'],
     'crop_width is 100; it must be a multiple of 32'),
    (['{height: 128, width: 256, steps: 1, crop_height: 96}'], 'multiples of 32'),
    (['{height: 128, width: 256, steps: 1, crop_height: 160, crop_width: 160}'],
     'shows 160x160 of images of 256x128'),
    (['{height: 128, width: 256, steps: 1, crop_height: 96, crop_width: 96}',
      '--augmentation.zoom_out', '0.3'], 'as small as 0.7'),
    (['{height: 128, width: 256, steps: 1}', '--augmentation.zoom_out', '0.3'], 'as small as 0.7'),
    (['{height: 128, width: 256, steps: 1, crop_height: 96, crop_width: 96}',
      '--tasks', '[semantic, detection]'], 'anchors are fractions'),
])
def test_crops_larger_than_the_image_are_refused(recipe, overrides, message):
    stage, *others = overrides
    with pytest.raises(ConfigurationError, match=message):
        load_config(recipe, ['--stages', f'[{stage}]', *others])

    load_config(recipe, [
        '--stages', '[{height: 128, width: 256, steps: 1, crop_height: 96, crop_width: 128}]',
        '--augmentation.zoom_out', '0.25'])
