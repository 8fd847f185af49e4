# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``docs/inputs.md``: each row names tests that exist, and no test holds two answers."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / 'docs' / 'inputs.md'
NAME = re.compile(r'`([\w/.]+\.py)::(test_\w+(?:\[\w+\])?)`')


def rows(text):
    """Return the cells of each row of the tables of inputs, answers and tests."""
    blocks = re.split(r'\n\n', text)
    lines = [line for block in blocks if not block.startswith('| input | difference | reason |')
             for line in block.splitlines() if line.startswith('| ')]
    cells = [[cell.strip() for cell in re.split(r'(?<!\\)\|', line)[1:-1]] for line in lines]
    return [row for row in cells if row != ['input', 'answer', 'test']]


def names_in(path):
    """Return the names of the tests in a file."""
    return {node.name for node in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
            if isinstance(node, ast.FunctionDef) and node.name.startswith('test_')}


def problems(text, root=ROOT / 'test'):
    """Return what is wrong with a page."""
    found = []
    answers = defaultdict(set)
    for row in rows(text):
        names = NAME.findall(row[-1])
        if len(row) != 3 or not names or not all(row):
            found.append(f'wanted input | answer | test: {row}')
        for file, name in names:
            paths = [path for path in root.rglob(Path(file).name)
                     if path.as_posix().endswith(f'/{file}')]
            if not any(name.partition('[')[0] in names_in(path) for path in paths):
                found.append(f'there is no {file}::{name}')
            answers[file, name].add(row[1])
    return found + [f'{file}::{name} is named for {len(said)} answers'
                    for (file, name), said in answers.items() if len(said) > 1]


def test_every_row_names_tests_that_exist_and_no_test_has_two_answers():
    text = PAGE.read_text(encoding='utf-8')

    assert problems(text) == []
    assert len(rows(text)) > 40


@pytest.mark.parametrize(('row', 'wanted'), [
    ('| a | b | `test_inputs_page.py::test_nothing` |', 'there is no'),
    ('| a | b | `nowhere.py::test_nothing` |', 'there is no'),
    ('| a | b | |', 'wanted input | answer | test'), ('| a | `x.py::test_y` |', 'wanted input'),
    ('| a | b | `{0}` |\n| c | d | `{0}` |', 'is named for 2 answers')])
def test_the_check_finds_what_is_wrong(row, wanted):
    name = 'test_inputs_page.py::test_the_check_finds_what_is_wrong'

    assert any(wanted in text for text in problems(row.format(name)))


def test_the_check_accepts_what_is_right():
    name = 'test_inputs_page.py::test_the_check_accepts_what_is_right'

    assert problems(f'| input | answer | test |\n|---|---|---|\n| a \\| b | c | `{name}` |') == []
