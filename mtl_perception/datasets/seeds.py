# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Which street seeds belong to which split, so that no model is tested on a street it has seen.

Seeds 0 to 9999 are for training, 10000 to 10999 for choosing between models, 20000 and up for
published metrics. A seed of another split is refused.
"""

from collections.abc import Sequence

from mtl_perception.errors import ConfigurationError

SPLITS = {
    'train': range(0, 10_000),
    'validation': range(10_000, 11_000),
    'test': range(20_000, 2 ** 31),
}
"""Name of a split -> the seeds that it may use."""


def check_seeds(seeds: Sequence[int], split: str) -> None:
    """
    Refuse seeds of another split.

    :raises ConfigurationError: if there is no seed, a seed is listed twice, or one belongs to
        another split.
    """
    allowed = SPLITS[split]
    if not seeds:
        raise ConfigurationError(f'no street seed for {split}; expected some of {allowed}')
    if len(set(seeds)) != len(seeds):
        raise ConfigurationError(f'a street seed for {split} is listed twice')

    if wrong := [seed for seed in seeds if seed not in allowed]:
        raise ConfigurationError(
            f'street seed {wrong[0]} is not for {split}: that may use {allowed.start} to '
            f'{allowed.stop - 1} (training 0 to 9999, validation 10000 to 10999, tests from '
            '20000 on), so that no model is tested on a street it has seen')


def parse_seeds(text: str) -> list[int]:
    """
    Return the seeds of ``first:end`` (end excluded) or of a list such as ``3,5,8``.

    :raises ConfigurationError: if the text is neither.
    """
    try:
        if ':' in text:
            first, end = text.split(':')
            return list(range(int(first), int(end)))
        return [int(word) for word in text.split(',')]
    except ValueError:
        raise ConfigurationError(
            f'seeds are {text!r}; write FIRST:END (END excluded) or a list such as 3,5,8',
        ) from None
