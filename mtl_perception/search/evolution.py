# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Evolution of a few numbers with an ask-and-tell interface.

The meta-learning of Leang et al., Dynamic Task Weighting Methods for Multi-task Networks in
Autonomous Driving Systems, ITSC 2020, section III: genomes on a log scale, recombined from several
parents, mutated, and never tried twice.

Not here: section IV-C says that gradient information is exploited "similar to Natural Evolution
Strategies", without an equation. This evolution uses the ranks of the trials alone, and its step
size does not change.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mtl_perception.errors import ConfigurationError

ATTEMPTS = 1000
"""Genomes that are drawn before the search space counts as exhausted."""

Genome = tuple[float, ...]
"""One number per gene: log10 of a weight, a whole number, or the index of a choice."""


@dataclass(frozen=True)
class Gene:
    """
    What one number stands for.

    :param name: of the gene.
    :param kind: ``log`` for a positive number whose log10 evolves, ``integer``, or ``choice``.
    :param low: smallest value.
    :param high: largest value.
    :param choices: for ``choice``, the values; low and high are not used.
    :raises ConfigurationError: if the range is empty or not positive.
    """

    name: str
    kind: str
    low: float = 0.0
    high: float = 0.0
    choices: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in ('log', 'integer', 'choice'):
            raise ConfigurationError(
                f'gene {self.name}: kind is {self.kind!r}; it must be log, integer or choice')
        if self.kind == 'choice' and len(set(self.choices)) < 2:
            raise ConfigurationError(f'gene {self.name}: give at least two choices')
        if self.kind != 'choice' and not 0 < self.low < self.high < math.inf:
            raise ConfigurationError(
                f'gene {self.name}: the range is {self.low:g} to {self.high:g}; both must be '
                'positive, and the first the smaller one')

    @property
    def span(self) -> tuple[float, float]:
        """Return the smallest and the largest number of the genome."""
        if self.kind == 'choice':
            return 0.0, float(len(self.choices) - 1)
        if self.kind == 'log':
            return math.log10(self.low), math.log10(self.high)
        return math.ceil(self.low), math.floor(self.high)

    def value(self, number: float) -> Any:
        """Return what a number of the genome stands for."""
        if self.kind == 'log':
            return 10.0 ** number
        return self.choices[round(number)] if self.kind == 'choice' else round(number)

    def key(self, number: float) -> float:
        """Return the number rounded, to tell whether a genome has been tried before."""
        return round(number, 2) if self.kind == 'log' else round(number)


@dataclass(frozen=True)
class Trial:
    """
    A genome to try.

    :param number: from 0.
    :param generation: 0 for the first population.
    :param genome: see :data:`Genome`.
    """

    number: int
    generation: int
    genome: Genome


class Evolution:
    """
    A (mu/rho + lambda) evolution strategy with a tabu list.

    :meth:`ask` returns the next trial, :meth:`tell` takes its fitness. A generation is drawn when
    every trial of the one before has a fitness, and depends only on the seed, its number and the
    fitness values so far. So the trials of one generation can run in parallel and end in any
    order, and a resumed search draws the same trials again.

    Selection is by rank among all trials so far ("plus"): a tiny population must not lose its
    best. Each gene of an offspring is that of one of its parents, plus a normal deviate; a choice
    is drawn again with the probability ``mutation``.

    Choices of ours, where the paper is silent: the standard deviation is ``mutation`` times the
    span of a gene, for whole numbers at least one half; genomes whose meanings agree to two digits
    of the log10 count as the same; values are clipped to their range.

    :param genes: at least one.
    :param population: mu, trials of the first generation, and number of possible parents.
    :param offspring: lambda, trials of every later generation.
    :param parents: rho, of each offspring.
    :param mutation: standard deviation of a gene as a share of its span.
    :param seed: of all draws.
    :param meaning: returns one genome for all that lead to the same trial, such as weights of
        which only the ratio counts; None if each genome has a meaning of its own.
    :raises ConfigurationError: if a number is out of range.
    """

    def __init__(
            self, genes: Sequence[Gene], population: int = 4, offspring: int = 4,
            parents: int = 2, mutation: float = 0.15, seed: int = 0,
            meaning: Callable[[Genome], Genome] | None = None) -> None:
        names = [gene.name for gene in genes]
        if not genes or len(set(names)) != len(names):
            raise ConfigurationError(f'genes are {names}; wanted at least one, each only once')

        if min(population, offspring, parents) < 1 or parents > population:
            raise ConfigurationError(
                f'population is {population}, offspring {offspring} and parents {parents}; all '
                'must be at least 1, and parents at most population')
        if not 0 < mutation < math.inf:
            raise ConfigurationError(f'mutation is {mutation}; it must be positive')

        self.genes = tuple(genes)
        self.population = population
        self.offspring = offspring
        self.parents = parents
        self.mutation = mutation
        self.seed = seed
        self._meaning = meaning

        self.trials: list[Trial] = []
        """All trials that were drawn, in their order."""
        self.fitness: dict[int, float] = {}
        """Number of a trial -> its fitness; NaN if it failed."""

        self._asked = 0
        self._draw()

    def ask(self) -> Trial | None:
        """
        Return the next trial.

        :return: None if results of running trials are missing; or, if no trial is running,
            because everything has been tried.
        """
        if self._asked == len(self.trials) and len(self.fitness) == len(self.trials):
            self._draw()
        if self._asked == len(self.trials):
            return None
        self._asked += 1
        return self.trials[self._asked - 1]

    def tell(self, number: int, fitness: float) -> None:
        """
        Note how good a trial was.

        :param number: of the trial.
        :param fitness: larger is better; a trial whose fitness is not finite is never a parent.
        :raises ValueError: if the trial was not asked for or was told already.
        """
        if number in self.fitness or not 0 <= number < self._asked:
            raise ValueError(f'trial {number} was not asked for, or was told already')
        self.fitness[number] = fitness if math.isfinite(fitness) else math.nan

    def best(self, before: int | None = None) -> Trial | None:
        """
        Return the best trial, the earlier one of equals; None if there is none.

        :param before: only of the generations before this one.
        """
        ranked = self._ranked(before)
        return ranked[0] if ranked else None

    def values(self, genome: Genome) -> dict[str, Any]:
        """Return name of a gene -> what its number stands for."""
        return {gene.name: gene.value(number) for gene, number in zip(self.genes, genome)}

    def _ranked(self, before: int | None = None) -> list[Trial]:
        """Return the trials that have not failed, the best first."""
        known = [trial for trial in self.trials
                 if (before is None or trial.generation < before)
                 and not math.isnan(self.fitness.get(trial.number, math.nan))]
        return sorted(known, key=lambda trial: -self.fitness[trial.number])

    def _draw(self) -> None:
        """Draw the next generation."""
        generation = self.trials[-1].generation + 1 if self.trials else 0
        for genome in self._new(generation):
            self.trials.append(Trial(len(self.trials), generation, genome))

    def _new(self, generation: int) -> list[Genome]:
        """Return the genomes of a generation; fewer, or none, if there are no more."""
        random = np.random.default_rng((self.seed, generation))
        tabu = {self._key(trial.genome) for trial in self.trials}
        pool = self._ranked()[:self.population]  # "plus": parents come from all generations

        # rejection: a genome that was tried before is drawn again
        found: list[Genome] = []
        for _ in range(self.offspring if generation else self.population):
            for _ in range(ATTEMPTS):
                genome = self._child(pool, random) if pool else self._random(random)
                if (key := self._key(genome)) not in tabu:
                    tabu.add(key)
                    found.append(genome)
                    break
        return found

    def _key(self, genome: Genome) -> Genome:
        """Return the form in which two genomes that count as one are equal."""
        meaning = self._meaning(genome) if self._meaning else genome
        return tuple(gene.key(number) for gene, number in zip(self.genes, meaning))

    def _random(self, random: np.random.Generator) -> Genome:
        """Return a random genome."""
        return tuple(self._fitting(gene, random.uniform(*_borders(gene))) for gene in self.genes)

    def _child(self, pool: Sequence[Trial], random: np.random.Generator) -> Genome:
        """Return a genome recombined from several parents, and mutated."""
        chosen = random.choice(len(pool), min(self.parents, len(pool)), replace=False)
        genome = []
        for place, gene in enumerate(self.genes):
            # recombination: each gene comes from one of the chosen parents
            number = pool[int(random.choice(chosen))].genome[place]
            low, high = gene.span
            if gene.kind == 'choice':
                if random.random() < self.mutation:
                    number = random.uniform(*_borders(gene))
            else:
                # a deviate of less than half a step would never change a whole number
                least = 0.5 if gene.kind == 'integer' else 0.0
                number += random.normal(0, max(self.mutation * (high - low), least))
            genome.append(self._fitting(gene, number))
        return tuple(genome)

    @staticmethod
    def _fitting(gene: Gene, number: float) -> float:
        """Return a number within the range of its gene."""
        low, high = gene.span
        number = min(max(float(number), low), high)
        return number if gene.kind == 'log' else float(round(number))


def _borders(gene: Gene) -> tuple[float, float]:
    """Return the interval of a uniform draw that gives each whole number an equal share."""
    low, high = gene.span
    # rounding gives the first and last whole number only half an interval without this
    half = 0.0 if gene.kind == 'log' else 0.499
    return low - half, high + half
