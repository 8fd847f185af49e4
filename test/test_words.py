# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Private words of earlier versions stay out of public names and of texts that users see."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORDS = re.compile(
    r'\b(shots?|judges?|examiners?|oddit(y|ies)|sensible|merits?)\b'
    r'|without looking|what can be had', re.IGNORECASE)
NAMES = re.compile(
    r'shots?|judges?|examiners?|oddit(y|ies)|sensible|merits?|moments?', re.IGNORECASE)
"""A moment is a word of plain English and of statistics, but not the name of a frame's record."""
KEPT = {'merit'}
"""A key in the manifests of 0.1.0, which stays."""
TEXTS = [path for pattern in ('*.md', '*.rst', 'docs/**/*.md', 'docs/**/*.rst', 'config/**/*.yaml')
         for path in sorted(ROOT.glob(pattern))]
HISTORY = 'CHANGELOG.rst'
"""Lists the old names on purpose."""


def parts_of(name: str) -> list[str]:
    """Return the words of a name in snake_case or CamelCase."""
    return re.findall(r'[A-Z]?[a-z]+|[A-Z]+(?![a-z])', name)


def private_words(source: str) -> set[str]:
    """Return the banned words in public names and in string literals of a file."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
            names = [node.name]
        elif isinstance(node, ast.Name):
            names = [node.id] if node.id.isupper() else []
        elif isinstance(node, ast.arg):
            names = [node.arg]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value not in KEPT:
                found |= {match.group(0) for match in WORDS.finditer(node.value)}
            continue
        else:
            continue
        for name in names:
            if not name.startswith('_'):
                found |= {word for word in parts_of(name) if NAMES.fullmatch(word)}
    return found


@pytest.mark.parametrize(
    'path', sorted((ROOT / 'mtl_perception').rglob('*.py')),
    ids=lambda path: str(path.relative_to(ROOT)))
def test_names_and_texts_use_the_terms_of_the_field(path):
    assert private_words(path.read_text(encoding='utf-8')) == set()


@pytest.mark.parametrize('path', TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_use_the_terms_of_the_field(path):
    if path.name != HISTORY:
        assert {match.group(0) for match in WORDS.finditer(path.read_text('utf-8'))} == set()


def test_the_check_finds_names_and_texts():
    source = ('class MotionJudge:\n    """Judge frames."""\n\n\ndef first_shot(moment): ...\n'
              "\n\nprint('what can be had without looking')\n")
    assert private_words(source) == {
        'Judge', 'shot', 'moment', 'what can be had', 'without looking'}
