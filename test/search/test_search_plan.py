# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What ``mtl search`` is told."""

import math
from pathlib import Path

import pytest
import yaml

from mtl_perception.search.evolution import Evolution
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


@pytest.mark.parametrize(('drawn', 'wanted'), [
    ((7, 5), (1, 1)), ((9, 3), (3, 1)), ((2, 5), (1, 2)), ((10, 10), (1, 1)), ((1, 8), (1, 8))])
def test_one_task_is_trained_at_each_step(drawn, wanted):
    weights = {'semantic': [0.1, 1000.0], 'detection': [0.1, 100.0]}
    frequencies = {'semantic': [1, 10], 'detection': [1, 10]}
    values = SearchConfig('recipe.yaml', weights, frequencies).values((0.0, 0.0, *drawn))
    assert (values['frequency of semantic'], values['frequency of detection']) == wanted

    # another task is trained at each step already
    three = SearchConfig('recipe.yaml', {**weights, 'depth': [0.1, 10.0]}, frequencies)
    values = three.values((0.0, 0.0, 0.0, *drawn))
    assert (values['frequency of semantic'], values['frequency of detection']) == drawn


def test_genomes_with_the_same_ratios_have_one_meaning():
    config = SearchConfig(
        'recipe.yaml', {'semantic': [0.1, 1000.0], 'detection': [0.1, 100.0]},
        {'semantic': [1, 10], 'detection': [1, 10]})
    one, other = config.meaning((1.0, 0.0, 6, 2)), config.meaning((2.0, 1.0, 3, 1))

    assert one == pytest.approx(other)
    assert one == pytest.approx((math.log10(10 / 11), math.log10(1 / 11), 3, 1))
    assert one != pytest.approx(config.meaning((2.0, 0.0, 3, 1)))  # the control


def test_a_ratio_is_not_tried_twice():
    config = SearchConfig('recipe.yaml', {'a': [0.1, 1000.0], 'b': [0.1, 100.0]})
    again = 0
    for seed in range(20):
        for meaning in (config.meaning, None):
            evolution = Evolution(config.genes(), seed=seed, meaning=meaning)
            for _ in range(44):
                trial = evolution.ask()
                evolution.tell(trial.number, -abs(trial.genome[0] - trial.genome[1] - 1.0))
            keys = {tuple(round(number, 2) for number in config.meaning(trial.genome))
                    for trial in evolution.trials}
            if meaning is None:
                again += len(evolution.trials) - len(keys)
            else:
                assert len(keys) == len(evolution.trials)

    assert again > 0  # the control


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
