# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The examples in the docstrings do what they say."""

import doctest
import importlib
import pkgutil

import pytest

import mtl_perception

ROOMS = ('losses', 'metrics', 'weighting')


def modules_of(room):
    package = importlib.import_module(f'{mtl_perception.__name__}.{room}')
    files = pkgutil.iter_modules(package.__path__, f'{package.__name__}.')
    return [package, *(importlib.import_module(file.name) for file in files)]


@pytest.mark.parametrize('room', ROOMS)
def test_every_example_of_a_room_gives_what_it_shows(room):
    results = {module.__name__: doctest.testmod(module) for module in modules_of(room)}

    assert {name: result.failed for name, result in results.items() if result.failed} == {}
    assert sum(result.attempted for result in results.values()) > 0, f'{room} has no example'


def test_a_wrong_example_fails():
    """The control: doctest sees a result that differs."""
    example = doctest.DocTestParser().get_doctest('>>> 1 + 1\n3\n', {}, 'wrong', None, 0)

    runner = doctest.DocTestRunner(verbose=False)
    result = runner.run(example, out=lambda text: None)

    assert (result.failed, result.attempted) == (1, 1)
