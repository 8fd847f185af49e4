# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
The proposition of XTasC-Net (section III-B, appendix A) on random discrete distributions.

It states 0 = error of consistency <= error of alignment <= xi. With f = E[Y | X] and g = E[Z | X]
the first error is E[(E[f | g] - f)^2], the second E[(E[Y | g] - f)^2]. Expected here: they are
equal, and 0 only where g tells f apart; nothing bounds them by xi, the variance of Y given X.
"""

import numpy as np
import pytest


def errors(generator, images, levels):
    """
    Return both errors, xi and whether g has a different value for every image.

    :param images: number of equally likely values of X; Y is 0 or 1 with f = E[Y | X].
    :param levels: number of values that g = E[Z | X] takes, each equally likely to be drawn.
    """
    f = generator.random(images)
    g = generator.integers(0, levels, images) / levels

    # of a million pairs (X, Y): what can be estimated of Y and of f from g alone
    x = generator.integers(0, images, 10 ** 6)
    y = generator.random(x.size) < f[x]
    direct, transferred = np.zeros(images), np.zeros(images)
    for level in np.unique(g):
        chosen = g[x] == level
        direct[g == level] = f[x][chosen].mean()
        transferred[g == level] = y[chosen].mean()

    xi = float(((y - f[x]) ** 2).mean())
    return (float(((direct - f)[x] ** 2).mean()), float(((transferred - f)[x] ** 2).mean()), xi,
            len(np.unique(g)) == images)


@pytest.mark.parametrize('seed', range(5))
def test_consistency_and_alignment_have_the_same_expected_error(seed):
    consistency, alignment, _, _ = errors(np.random.default_rng(seed), 8, 3)
    assert alignment == pytest.approx(consistency, abs=2e-5)
    assert consistency > 0.01  # and not 0, as the proposition says: three levels for eight images


def test_both_are_0_where_the_other_task_tells_all_images_apart():
    generator, found = np.random.default_rng(0), []
    while not found:
        consistency, alignment, _, apart = errors(generator, 4, 1000)
        found += [(consistency, alignment)] if apart else []
    assert found[0] == pytest.approx((0, 0), abs=2e-5)


def test_nothing_bounds_them_by_xi():
    # Y = X in {0, 1} and a constant Z: f = X, so xi = 0, and both guess 1/2
    f, probability = np.array([0.0, 1.0]), np.array([0.5, 0.5])
    guess = float(f @ probability)
    xi = float((f * (1 - f)) @ probability)
    assert float((guess - f) ** 2 @ probability) == 0.25 > xi == 0


def main():
    """Print the table of docs/papers.md."""
    for levels in (1, 2, 4, 16, 1000):
        draws = np.array([errors(np.random.default_rng(seed), 8, levels)[:3]
                          for seed in range(20)])
        means = ' | '.join(f'{value:.4f}' for value in draws.mean(0))
        print(f'| {levels} | {means} | {(draws[:, 1] > draws[:, 2]).sum()} of 20 |')


if __name__ == '__main__':
    main()
