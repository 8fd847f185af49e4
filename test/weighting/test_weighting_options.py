# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Names and options from a recipe."""

import inspect
from pathlib import Path

import pytest
from batch_of_losses import TASKS

from mtl_perception.errors import ConfigurationError
from mtl_perception.weighting import (
    WEIGHTINGS,
    Asynchronous,
    EqualWeights,
    GradNorm,
    build_weighting,
)

PAGE = Path(__file__).parents[2] / 'docs' / 'weighting.md'


def test_options_reach_the_constructor_and_those_of_other_strategies_are_ignored():
    weighting = build_weighting('gradnorm', TASKS, {
        'gradnorm': {'alpha': 0.16, 'steps': 1}, 'dwa': {'temprature': 1}})

    assert isinstance(weighting, GradNorm)
    assert (weighting.alpha, weighting.initial.steps) == (0.16, 1)


def test_a_nested_strategy_is_given_by_name_and_has_its_own_options():
    weighting = build_weighting('asynchronous', TASKS, {
        'asynchronous': {'strategy': 'gradnorm', 'frequencies': {'depth': 7}},
        'gradnorm': {'alpha': 0.5}})

    assert weighting.frequencies == {'semantic': 1, 'depth': 7, 'motion': 1}
    assert weighting.strategy.alpha == 0.5
    assert isinstance(build_weighting('asynchronous', TASKS).strategy, EqualWeights)


@pytest.mark.parametrize(('name', 'options', 'message'), [
    ('geometrik', {}, "weighting 'geometrik' does not exist; did you mean 'geometric'"),
    ('gradnorm', {'alhpa': 1}, "gradnorm: alhpa does not exist; did you mean 'alpha'"),
    ('equal', {'alpha': 1}, 'there are none'),
    ('gradnorm', {'tasks': ['depth']}, 'gradnorm: tasks does not exist'),
    ('gradnorm', {'alpha': 'high'}, "gradnorm: alpha is 'high'; it must be a valid number"),
    ('gradnorm', {'steps': 1.5}, 'gradnorm: steps is 1.5; it must be a valid integer'),
    ('focused', {'normalise': 1}, 'focused: normalise is 1; it must be a valid boolean'),
    ('focused', {'focus': 'depth'}, "focused: focus is 'depth'; it must be a list"),
    ('gradnorm', {'alpha': -1}, 'alpha is -1.0; it must be 0 or more'),
    ('gradnorm', {'rate': 0.0}, 'rate is 0.0'),
    ('gradnorm', {'steps': 0}, 'steps is 0; average the losses of at least 1'),
    ('dwa', {'temperature': 0.0}, 'temperature is 0.0; it must be positive'),
    ('focused', {'focus': ['dept']}, r"focus of unknown tasks \['dept'\]"),
    ('handcrafted', {'reference': 'dept'}, r"reference of unknown tasks \['dept'\]"),
    ('dynamic_scaling', {'reference': 'dept'}, r"reference of unknown tasks \['dept'\]"),
    ('handcrafted', {'weights': {'depth': 2.0}}, r"none for \['semantic', 'motion'\]"),
    ('handcrafted', {'weights': dict.fromkeys(TASKS, 0.0)}, 'all must be positive'),
    ('handcrafted', {'steps': 0}, 'steps is 0'),
    ('uncertainty', {'forms': {'depth': 'gauss'}}, "is 'gauss'; it must be one of"),
    ('uncertainty', {'forms': {'dept': 'laplace'}}, 'forms of unknown tasks'),
    ('uncertainty', {'initial': {'depth': 11}}, "initial of 'depth' is 11"),
    ('uncertainty', {'initial': {'depth': 'low'}}, 'weighting uncertainty: '),
    ('uncertainty', {'initial': {'dept': 1}}, 'initial of unknown tasks'),
    ('uncertainty', {'rate': 0}, 'rate is 0'),
    ('weight_learning', {'smallest': 0.4}, 'smallest is 0.4; it must be at least 0 and below'),
    ('rlw', {'seed': -1}, 'seed is -1; it must be 0 or more'),
    ('imtl_l', {'initial': {'dept': 1}}, 'initial of unknown tasks'),
    ('uw_so', {'temperature': 0.0}, 'temperature is 0.0; it must be positive'),
    ('stch', {'mu': 0.0}, 'mu is 0.0; it must be positive'),
    ('stch', {'warm_up': 0}, 'warm_up is 0; the nadir takes at least 1 epoch'),
    ('famo', {'rate': 0.0}, 'rate is 0.0; it must be positive'),
    ('famo', {'decay': -1.0}, 'decay is -1.0; it must be 0 or more'),
    ('asynchronous', {'frequencies': {'depth': 0}}, "frequency of 'depth' is 0"),
    ('asynchronous', {'frequencies': {'depth': 1.5}},
     'frequencies.depth is 1.5; it must be a valid integer'),
    ('asynchronous', {'frequencies': {'dept': 2}}, 'frequencies of unknown tasks'),
    ('asynchronous', {'unit': 'batch'}, "unit is 'batch'; it must be one of"),
    ('asynchronous', {'strategy': 'dva'}, "strategy is 'dva'; did you mean 'dwa'"),
    ('asynchronous', {'strategy': 'asynchronous'}, 'cannot wrap itself'),
])
def test_wrong_names_and_options_are_refused_with_the_reason(name, options, message):
    with pytest.raises(ConfigurationError, match=message):
        build_weighting(name, TASKS, {name: options})


def test_a_strategy_within_another_must_weight_the_same_tasks():
    with pytest.raises(ValueError, match='it must have the tasks'):
        Asynchronous(TASKS, strategy=EqualWeights(['depth']))


def test_the_tables_of_the_page_have_every_strategy_with_its_class_and_options():
    rows = [[cell.strip() for cell in line.split('|')[1:-1]]
            for line in PAGE.read_text(encoding='utf-8').splitlines() if line.startswith('| `')]
    options = {
        name.strip('`'): (kind.strip('`'), sorted(words.strip('`').split()))
        for name, kind, _, words in (row for row in rows if len(row) == 4)}

    assert options == {
        name: (kind.__name__, sorted(inspect.signature(kind).parameters.keys() - {'tasks'}))
        for name, kind in WEIGHTINGS.items()}
    assert {row[0].strip('`') for row in rows if len(row) == 5} == set(WEIGHTINGS)
