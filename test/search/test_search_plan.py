# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What ``mtl search`` is told."""

import math
from pathlib import Path

import pytest
import yaml

from mtl_perception.search.plan import SearchConfig, overrides_of
from mtl_perception.training.config import load_config
from mtl_perception.training.recipe import load_recipe

CONFIGS = sorted((Path(__file__).parents[2] / 'config' / 'search').glob('*.yaml'))


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_the_committed_searches_train_what_their_recipe_says(path):
    config = load_recipe(path, [], SearchConfig)
    words = overrides_of(config, tuple(sum(gene.span) / 2 for gene in config.genes()))
    recipe = load_config(path.parent / config.recipe, [*config.overrides, *words])
    weights = recipe.weighting_options['handcrafted']['weights']

    assert sum(weights.values()) == pytest.approx(1)
    assert set(weights) == set(recipe.tasks)


def test_a_genome_becomes_weights_of_sum_1_and_frequencies():
    config = SearchConfig(
        'recipe.yaml', {'semantic': [0.1, 1000.0], 'detection': [0.1, 100.0]},
        {'semantic': [1, 10], 'detection': [1, 10]})
    genome = (math.log10(30.0), math.log10(10.0), 7.0, 1.0)

    assert config.values(genome) == pytest.approx({
        'weight of semantic': 0.75, 'weight of detection': 0.25, 'frequency of semantic': 7,
        'frequency of detection': 1})

    words = overrides_of(config, genome)
    assert words[:2] == ['--weighting', 'asynchronous']

    values = {key: yaml.safe_load(value) for key, value in zip(words[::2], words[1::2])}
    assert values['--weighting_options.asynchronous.frequencies'] == {
        'semantic': 7, 'detection': 1}
    assert values['--weighting_options.asynchronous.strategy'] == 'handcrafted'
    assert values['--weighting_options.handcrafted.weights'] == pytest.approx(
        {'semantic': 0.75, 'detection': 0.25})


def test_fitness_is_the_geometric_mean_and_nan_if_a_metric_is_missing():
    config = SearchConfig('recipe.yaml', {'semantic': [0.1, 1.0]})
    assert config.fitness_of({'mIoU': 0.8, 'AP50': 0.2}) == pytest.approx(0.4)
    assert math.isnan(config.fitness_of({'mIoU': 0.8}))
    assert math.isnan(config.fitness_of({'mIoU': -0.8, 'AP50': -0.2}))

    of_three = SearchConfig('recipe.yaml', {'semantic': [0.1, 1.0]}, figures=['a', 'b', 'c'])
    assert of_three.fitness_of({'a': 0.1, 'b': 0.4, 'c': 0.2}) == pytest.approx(0.2)


def test_the_defaults_are_those_of_the_paper():
    config = SearchConfig('recipe.yaml', {'semantic': [0.1, 1000.0]})
    assert (config.population, config.offspring, config.parents, config.trials) == (4, 4, 2, 44)
    assert (config.figures, config.transfer) == (['mIoU', 'AP50'], True)
