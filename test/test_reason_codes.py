# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
import ast
import re
from pathlib import Path

import pytest

from mtl_perception import cli
from mtl_perception.code_page import as_markdown
from mtl_perception.reason_codes import ReasonCode, code_in, explain

ROOT = Path(__file__).parents[1]
PATTERN = re.compile(r'[A-Z]\d{2}(_[a-z0-9_]+)?')
LITERAL = re.compile(rf'{PATTERN.pattern}|\[{PATTERN.pattern}\].*', re.DOTALL)


def literals(source: str) -> list[str]:
    """Return the reason codes that a file writes as text: alone, or in brackets at the start."""
    return [node.value for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            and LITERAL.fullmatch(node.value)]


def test_codes_are_unique_also_without_what_follows_the_number():
    values = [code.value for code in ReasonCode]
    assert len(set(values)) == len(values)

    # T05 is one group: too old and too new; the rest has one code a number
    numbers = [value.split('_')[0] for value in values if not value.startswith('T05')]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize('code', ReasonCode)
def test_each_code_has_a_form_a_meaning_a_cause_and_a_cure(code):
    assert PATTERN.fullmatch(code.value)
    for text in (code.meaning, code.cause, code.cure):
        assert re.fullmatch(r'.{5,}\.', text)


def test_no_file_writes_a_code_as_text():
    found = {str(path.relative_to(ROOT)): codes
             for path in sorted((ROOT / 'mtl_perception').rglob('*.py'))
             if path.name != 'reason_codes.py' and (codes := literals(path.read_text()))}
    assert found == {}


def test_every_code_is_used():
    text = '\n'.join(path.read_text() for path in (ROOT / 'mtl_perception').rglob('*.py')
                     if path.name != 'reason_codes.py')
    assert [code.name for code in ReasonCode if f'ReasonCode.{code.name}' not in text] == []


def test_the_check_finds_codes_written_as_text():
    source = "raise DataError('x', 'B01')\nlog(f'[T03] no frame for {s}')\nname = 'I03_short'\n"
    assert sorted(literals(source)) == ['B01', 'I03_short', '[T03] no frame for ']


def test_the_page_of_codes_is_made_from_the_code():
    assert (ROOT / 'docs/codes.md').read_text(encoding='utf-8') == as_markdown(), (
        'run: python -m mtl_perception.code_page > docs/codes.md')


def test_a_code_is_found_in_a_message_and_explained_with_its_cure():
    assert code_in('[B01] drive: cannot be read') is ReasonCode.BAG_UNREADABLE
    assert code_in('frames are dropped, the last one as T05_stale') is ReasonCode.TIME_STALE
    assert code_in('10.0 frames/s in, B99 out') is None
    assert ReasonCode.TIME_STALE.cure in explain('T05')
    assert ReasonCode.TIME_FUTURE.cure in explain('T05')
    assert explain('T99') is None


def test_the_doctor_explains_a_code(capsys):
    assert cli.main(['doctor', '[M03]']) == 0
    assert ReasonCode.MODEL_CHANGED.cure in capsys.readouterr().out

    assert cli.main(['doctor', 'X01']) == 2
    assert 'docs/codes.md' in capsys.readouterr().err
