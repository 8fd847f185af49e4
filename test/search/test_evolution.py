# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The evolution of a few numbers."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_perception.errors import ConfigurationError
from mtl_perception.search.evolution import Evolution, Gene

WEIGHT, FREQUENCY = Gene('weight', 'log', 0.1, 1000.0), Gene('frequency', 'integer', 1, 10)
WIDE, OTHER = (Gene(name, 'log', 1e-300, 1e300) for name in ('wide', 'other'))
CHOICE = Gene('choice', 'choice', choices=('a', 'b', 'c'))


def evolved(evolution, trials, fitness):
    """Do trials one after the other."""
    for _ in range(trials):
        trial = evolution.ask()
        if trial is None:
            break
        evolution.tell(trial.number, fitness(evolution.values(trial.genome)))
    return evolution


def test_values_are_what_the_numbers_stand_for():
    assert WEIGHT.span == (-1.0, 3.0)
    assert WEIGHT.value(2.0) == 100.0
    assert FREQUENCY.value(6.7) == 7
    assert CHOICE.value(1.2) == 'b'
    assert (WEIGHT.key(0.116), FREQUENCY.key(2.4), CHOICE.key(2.0)) == (0.12, 2, 2)


def test_it_finds_the_optimum_of_a_known_function():
    """The best of two weights on a log scale: 40 and 0.5, in the paper's 44 trials."""
    def fitness(values):
        far = [math.log10(values[name]) - best for name, best in (('a', 1.6), ('b', -0.3))]
        return math.exp(-far[0] ** 2 - far[1] ** 2)

    genes = [Gene('a', 'log', 0.1, 1000.0), Gene('b', 'log', 0.1, 100.0)]
    found = []
    for seed in range(10):
        evolution = evolved(Evolution(genes, seed=seed), 44, fitness)
        found.append(evolution.fitness[evolution.best().number])
        # the control: what is drawn blindly, the first population, is farther away
        assert evolution.fitness[evolution.best(before=1).number] <= found[-1]

    assert sorted(found)[2] > 0.9  # eight of ten come within a third of a decade

    blind = [Evolution(genes, 44, seed=seed) for seed in range(10)]
    drawn = sorted(max(fitness(one.values(trial.genome)) for trial in one.trials)
                   for one in blind)
    assert sum(found) > sum(drawn)


def test_it_finds_the_optimum_of_whole_numbers_and_choices():
    def fitness(values):
        return -abs(values['frequency'] - 7) - (values['choice'] != 'c')

    for seed in range(5):
        evolution = evolved(Evolution([FREQUENCY, CHOICE], seed=seed), 30, fitness)
        assert evolution.values(evolution.best().genome) == {'frequency': 7, 'choice': 'c'}


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2 ** 31), st.integers(1, 6), st.integers(1, 6), st.floats(0.01, 3),
       st.lists(st.one_of(st.floats(-5, 5), st.just(math.nan)), min_size=25, max_size=25))
def test_genomes_keep_their_ranges_and_none_is_tried_twice(
        seed, population, offspring, mutation, told):
    evolution = Evolution([WEIGHT, FREQUENCY, CHOICE], population, offspring,
                          min(2, population), mutation, seed)
    told = iter(told)
    evolved(evolution, 25, lambda values: next(told))
    keys = set()
    for trial in evolution.trials:
        values = evolution.values(trial.genome)
        assert 0.1 * (1 - 1e-9) <= values['weight'] <= 1000 * (1 + 1e-9)
        assert values['frequency'] in range(1, 11)
        assert values['choice'] in 'abc'
        keys.add(tuple(gene.key(number)
                       for gene, number in zip(evolution.genes, trial.genome)))

    assert len(keys) == len(evolution.trials)

    sizes = [sum(trial.generation == number for trial in evolution.trials)
             for number in range(evolution.trials[-1].generation + 1)]
    assert sizes[0] == population
    assert set(sizes[1:]) <= {offspring}


def test_offspring_have_the_genes_of_the_best_but_for_mutation():
    """Without mutation to speak of, each gene is that of one of the best two."""
    evolution = Evolution([WEIGHT, Gene('other', 'log', 0.1, 100.0)], 6, 8, 2, 1e-9, 0)
    for trial in [evolution.ask() for _ in range(6)]:
        evolution.tell(trial.number, -abs(trial.number - 2.4))  # 2 and 3 are the best
    pool = {place: {trial.genome[place] for trial in evolution.trials[:6]} for place in (0, 1)}
    evolution.population = 2
    child = evolution.ask()

    assert child.generation == 1

    best = [evolution.trials[number].genome for number in (2, 3)]
    for place in (0, 1):
        assert min(abs(child.genome[place] - one[place]) for one in best) < 1e-6
        assert len(pool[place]) == 6


def test_a_generation_depends_on_what_was_told_and_not_on_its_order():
    def told(order):
        evolution = Evolution([WEIGHT, FREQUENCY], seed=3)
        trials = [evolution.ask() for _ in range(4)]
        assert evolution.ask() is None  # all are under way

        for number in order:
            evolution.tell(number, float(number % 3))
        return [evolution.ask() for _ in trials]

    assert told([0, 1, 2, 3]) == told([3, 1, 0, 2])

    other = Evolution([WEIGHT, FREQUENCY], seed=4)  # the control
    assert [other.ask() for _ in range(4)] != told([0, 1, 2, 3])[:4]


def children(*genes, mutation=0.15):
    """Return the only parent and 1000 children of it."""
    evolution = Evolution(genes, 1, 1000, 1, mutation, 0)
    evolution.tell(evolution.ask().number, 1.0)
    return evolution.trials[0].genome, [evolution.ask().genome for _ in range(1000)]


def share(values):
    values = [*values]
    return sum(values) / len(values)


def test_a_mutation_is_a_share_of_the_range():
    parent, drawn = children(WIDE)
    # of a normal deviate 68 % lie within its standard deviation, here 0.15 of 600 decades
    assert abs(parent[0]) < 210
    assert share(abs(child[0] - parent[0]) < 90 for child in drawn) == pytest.approx(
        0.683, abs=0.04)


def test_integers_mutate_by_at_least_half_a_step_and_choices_are_redrawn():
    # the wide ones make all genomes differ
    parent, drawn = children(Gene('whole', 'integer', 1, 101), WIDE, OTHER, mutation=4e-3)
    assert 1 < parent[0] < 101
    # more than half a step from the middle of a step: two standard deviations of 0.5 are 32 %
    assert share(child[0] != parent[0] for child in drawn) == pytest.approx(0.317, abs=0.04)

    parent, drawn = children(CHOICE, WIDE)
    # drawn anew with 0.15, and then another one in two of three cases
    assert share(child[0] != parent[0] for child in drawn) == pytest.approx(0.10, abs=0.03)


def test_whole_numbers_are_first_drawn_with_equal_shares():
    first = Evolution([Gene('whole', 'integer', 1, 4), WIDE], 2000)
    for value in range(1, 5):
        assert share(trial.genome[0] == value for trial in first.trials) == pytest.approx(
            0.25, abs=0.03)


def test_of_equal_trials_the_earlier_is_the_better():
    evolution = Evolution([WEIGHT])
    trials = [evolution.ask() for _ in range(4)]
    for trial in reversed(trials):
        evolution.tell(trial.number, 0.5)
    assert evolution.best() == trials[0]


def test_the_best_is_never_lost_and_failures_are_never_parents():
    evolution = Evolution([WEIGHT], 2, 2, 1, 1e-9, 0)
    first, second = evolution.ask(), evolution.ask()
    evolution.tell(first.number, math.nan)
    evolution.tell(second.number, 0.5)
    for _ in range(3):
        children = [evolution.ask(), evolution.ask()]
        for child in [child for child in children if child]:
            assert abs(child.genome[0] - second.genome[0]) < 0.02
            evolution.tell(child.number, math.inf)  # not finite is failed too

    assert evolution.best() == second


def test_it_ends_where_everything_has_been_tried():
    evolution = Evolution([Gene('two', 'integer', 1, 2)], 4, 4, 2)
    assert len(evolution.trials) == 2
    evolved(evolution, 10, lambda values: values['two'])
    assert len(evolution.trials) == 2
    assert evolution.ask() is None


@pytest.mark.parametrize('make', [
    lambda: Gene('x', 'log', 0.0, 1.0), lambda: Gene('x', 'log', 2.0, 1.0),
    lambda: Gene('x', 'linear', 1.0, 2.0), lambda: Gene('x', 'choice', choices=('a',)),
    lambda: Evolution([]), lambda: Evolution([WEIGHT, WEIGHT]),
    lambda: Evolution([WEIGHT], 2, 2, 3), lambda: Evolution([WEIGHT], mutation=0.0)])
def test_what_cannot_be_is_refused(make):
    with pytest.raises(ConfigurationError):
        make()


def test_telling_twice_or_of_nothing_is_refused():
    evolution = Evolution([WEIGHT])
    with pytest.raises(ValueError, match='was not asked for'):
        evolution.tell(0, 1.0)

    trial = evolution.ask()
    evolution.tell(trial.number, 1.0)
    with pytest.raises(ValueError, match='told already'):
        evolution.tell(trial.number, 1.0)
