# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The settings of ``mtl search``: which numbers evolve, their ranges, and the fitness."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Annotated, Any

from pydantic import Field, NonNegativeFloat, PositiveInt, TypeAdapter

from mtl_perception.errors import ConfigurationError
from mtl_perception.metrics import MAIN_METRICS
from mtl_perception.search.evolution import Gene, Genome
from mtl_perception.settings import FROM_LIST, checked_dataclass, write_yaml

Span = Annotated[tuple[float, float], FROM_LIST]
Steps = Annotated[tuple[PositiveInt, PositiveInt], FROM_LIST]


@checked_dataclass
class SearchConfig:
    """
    The settings of a search. The defaults are those of Leang et al., ITSC 2020, section III.

    :param recipe: recipe of the trainings, relative to the file of the search.
    :param weights: task -> smallest and largest weight, which evolves on a log scale. The weights
        of a genome are divided by their sum.
    :param frequencies: task -> smallest and largest number of steps from one update of the task to
        the next, see ``asynchronous``; empty to train every task at each step. Where all tasks
        with a weight have a frequency too, those of a genome are divided by the smallest: one task
        is trained at each step, as in the paper's table I, and no step is without a task.
    :param overrides: settings of the trainings in place of the recipe's.
    :param figures: metrics of the last validation, such as mIoU and AP50; their geometric mean is
        the fitness, so larger must be better.
    :param transfer: whether a training starts with the weights of the best trial of earlier
        generations.
    :param population: trials of the first generation, and number of the best that can be parents.
    :param offspring: trials of every later generation.
    :param parents: parents of each offspring.
    :param mutation: standard deviation of a mutation as a share of the range.
    :param trials: number of trials.
    :param seed: seed of all random numbers.
    """

    recipe: str
    weights: dict[str, Span] = field(default_factory=dict)
    frequencies: dict[str, Steps] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)
    figures: Annotated[list[str], Field(min_length=1)] = field(
        default_factory=lambda: ['mIoU', 'AP50'])
    transfer: bool = True
    population: PositiveInt = 4
    offspring: PositiveInt = 4
    parents: PositiveInt = 2
    mutation: NonNegativeFloat = 0.15
    trials: PositiveInt = 44
    seed: int = 0

    def __post_init__(self) -> None:
        """
        Check settings that depend on each other.

        :raises ConfigurationError: if nothing evolves, or a range is empty.
        """
        if not self.weights and not self.frequencies:
            raise ConfigurationError(
                'weights and frequencies are both empty; give a range for at least one task')
        self.genes()

    def check_metrics(self, tasks: Sequence[str]) -> None:
        """
        Refuse metrics that these tasks do not have, or of which smaller is better.

        :param tasks: tasks of the trainings.
        :raises ConfigurationError: with the possible metrics.
        """
        known = [metric.label for task in tasks for metric in MAIN_METRICS
                 if metric.task == task and not metric.lower_is_better]
        if wrong := [name for name in self.figures if name not in known]:
            raise ConfigurationError(
                f'figures has {wrong}; the recipe trains {list(tasks)}, choose from their '
                f'metrics {known}')

    def genes(self) -> list[Gene]:
        """Return the numbers that evolve."""
        return [
            *(Gene(f'weight of {task}', 'log', float(low), float(high))
              for task, (low, high) in self.weights.items()),
            *(Gene(f'frequency of {task}', 'integer', low, high)
              for task, (low, high) in self.frequencies.items())]

    def values(self, genome: Genome) -> dict[str, float]:
        """Return name of a gene -> its value; weights of sum 1 and divided frequencies."""
        found = {gene.name: gene.value(number) for gene, number in zip(self.genes(), genome)}
        total = sum(found[f'weight of {task}'] for task in self.weights)
        least = 1
        if self.weights and self.weights.keys() <= self.frequencies.keys():
            least = min(found[f'frequency of {task}'] for task in self.frequencies)

        return {name: value / total if name.startswith('weight of ') else round(value / least)
                for name, value in found.items()}

    def meaning(self, genome: Genome) -> Genome:
        """Return the genome of the values themselves, the same for all that lead to one trial."""
        values = self.values(genome)
        return tuple(
            math.log10(values[gene.name]) if gene.kind == 'log' else values[gene.name]
            for gene in self.genes())

    def fitness_of(self, metrics: Mapping[str, float]) -> float:
        """Return the geometric mean of the metrics of the fitness, NaN if one is missing."""
        found = [metrics.get(name, math.nan) for name in self.figures]
        if not all(value >= 0 for value in found):
            return math.nan

        # (prod_i m_i)^(1 / n), Leang et al., section III
        return float(math.prod(found) ** (1 / len(found)))

    def plain(self) -> dict[str, Any]:
        """Return the settings as plain JSON types."""
        plain: dict[str, Any] = TypeAdapter(SearchConfig).dump_python(self, mode='json')
        return plain


def overrides_of(config: SearchConfig, genome: Genome) -> list[str]:
    """Return the overrides of ``mtl train`` that a genome stands for."""
    values = config.values(genome)
    words = ['--weighting', 'handcrafted']

    # with frequencies, the weights belong to the strategy inside the asynchronous one
    if config.frequencies:
        frequencies = {task: values[f'frequency of {task}'] for task in config.frequencies}
        words = ['--weighting', 'asynchronous', '--weighting_options.asynchronous.frequencies',
                 write_yaml(frequencies, one_line=True).strip()]
        if config.weights:
            words += ['--weighting_options.asynchronous.strategy', 'handcrafted']

    if config.weights:
        weights = {task: values[f'weight of {task}'] for task in config.weights}
        words += ['--weighting_options.handcrafted.weights',
                  write_yaml(weights, one_line=True).strip()]
    return words
