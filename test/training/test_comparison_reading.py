# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a comparison says of its rows, and what it keeps of them."""

from pathlib import Path

import pytest

from mtl_perception.errors import ConfigurationError
from mtl_perception.training.comparison import (
    ComparisonPlan,
    ResultRow,
    Variant,
    collect,
)
from mtl_perception.training.comparison_reading import differences, ranks, reading, settling
from mtl_perception.training.comparison_results import (
    FinishedRun,
    read_results,
    results_text,
    settings_digest,
)


def plan_of(*names, seeds=3, results=None, recipe=Path('recipe.yaml')):
    """Return a plan over the baseline and the reference ``equal`` and some rows."""
    variants = tuple(Variant(name, ('--weighting', name)) for name in ('alone', 'equal', *names))
    return ComparisonPlan(recipe, variants, tuple(range(seeds)), (), ('alone',),
                          reference='equal', results=results)


def row_of(*seeds):
    """Return a row whose mIoU is given per seed and, in a list, per 100 steps."""
    history = {seed: {100 * (number + 1): {'mIoU': value} for number, value in enumerate(values)}
               for seed, values in enumerate(seeds)}
    return ResultRow(
        {seed: steps[max(steps)] for seed, steps in history.items()},
        dict.fromkeys(history, 1.0), history)


def test_only_what_holm_leaves_is_a_difference():
    plan = plan_of('good', 'bad', 'noisy')
    rows = {'alone': row_of([0.5], [0.5], [0.5]), 'equal': row_of([0.50], [0.51], [0.49]),
            'good': row_of([0.60], [0.61], [0.59]), 'bad': row_of([0.40], [0.41], [0.39]),
            'noisy': row_of([0.30], [0.60], [0.75])}
    found = differences(plan, rows)

    # Delta_m: +20, +22, +18 % against 0, +2, -2 %; t = 20 / sqrt(8 / 3) with 4 degrees of freedom
    assert found['good'].gain == pytest.approx(20)
    assert found['good'].p == pytest.approx(2.55e-4, rel=0.01)
    assert found['good'].corrected == pytest.approx(3 * found['good'].p)
    assert {name: each.verdict for name, each in found.items()} == {
        'good': 'better', 'bad': 'worse', 'noisy': 'cannot be told'}


def test_one_seed_tells_nothing():
    plan = plan_of('good', 'absent', seeds=1)
    rows = {'alone': row_of([0.5]), 'equal': row_of([0.5]), 'good': row_of([0.9]),
            'absent': ResultRow()}
    assert {each.verdict for each in differences(plan, rows).values()} == {'cannot be told'}

    text = reading(plan, rows)
    assert '| good | +80.0 | - | - | cannot be told |' in text
    assert 'Whether the order has settled cannot be told' in text
    assert '1 of 4 rows are not complete. The same command trains what is missing: absent.' in text


def test_ranks_over_the_budget_and_whether_they_have_settled():
    plan = plan_of('a', 'b', seeds=1)
    rows = {'alone': row_of([0.5, 0.5, 0.5]), 'equal': row_of([0.3, 0.4, 0.5]),
            'a': row_of([0.4, 0.4, 0.6]), 'b': row_of([0.2, 0.6, 0.7])}
    places = ranks(plan, rows)

    assert places == {100: {'equal': 2, 'a': 1, 'b': 3}, 200: {'equal': 2.5, 'a': 2.5, 'b': 1},
                      300: {'equal': 3, 'a': 2, 'b': 1}}
    # after 200 of 300 steps one of three pairs is tied, two agree
    assert settling(places) == (200, 300, pytest.approx(2 / 3))
    assert 'the order has not settled' in reading(plan, rows)
    assert settling({300: places[300]}) is None
    assert settling({}) is None


def test_what_seeds_move_stands_beside_what_drives_would():
    rows = {'alone': row_of([0.5]), 'equal': row_of([0.50], [0.52], [0.48])}
    rows['equal'].intervals = {0: {'mIoU': [0.4, 0.6]}, 1: {'mIoU': [0.4, 0.8]}}
    text = reading(plan_of(), rows)

    # deviation of 0.48, 0.50, 0.52; mean of half of 0.2 and of 0.4
    assert '| equal | 0.020 / 0.150 |' in text
    assert '| alone | - / - |' in text
    assert 'What seeds move' not in reading(plan_of(), {**rows, 'equal': row_of([0.5])})


def test_results_survive_without_their_folders(tmp_path):
    recipe, results = tmp_path / 'recipe.yaml', tmp_path / 'results.jsonl'
    recipe.write_text('name: a  # a comment\n')
    plan = plan_of(seeds=2, recipe=recipe, results=results)
    assert plan.finished_earlier(plan.variants[0], 0) is None

    run = FinishedRun(
        plan.digest(plan.variants[1]), 2.5, {100: {'mIoU': 0.25}, 200: {'mIoU': 0.5}},
        {'mIoU': [0.4, 0.6], 'AP': [0.1, 0.2]})
    results.write_text(results_text({('equal', 1): run}))
    assert read_results(results) == {('equal', 1): run}
    plan = plan_of(seeds=2, recipe=recipe, results=results)
    assert collect(plan, tmp_path)['equal'].metrics == {1: {'mIoU': 0.5}}
    assert collect(plan, tmp_path)['equal'].intervals == {1: {'mIoU': [0.4, 0.6]}}
    assert collect(plan, tmp_path)['alone'].metrics == {}

    # comments and places are no settings, everything else is
    recipe.write_text('# another comment\nname: a\n')
    same = ('--weighting', 'equal', '--data.cache', '/elsewhere')
    assert settings_digest(recipe, same) == run.settings
    recipe.write_text('name: b\n')
    with pytest.raises(ConfigurationError, match="'equal', seed 1 was trained with other"):
        plan_of(seeds=2, recipe=recipe, results=results).finished_earlier(plan.variants[1], 1)

    results.write_text('{"row": "equal"}\n')
    with pytest.raises(ConfigurationError, match=r'results.jsonl, line 1: is no result'):
        read_results(results)
