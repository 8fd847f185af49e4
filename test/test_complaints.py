# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The page of complaints names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_complaint_names_tests_that_exist():
    page = (ROOT / 'docs' / 'complaints.md').read_text(encoding='utf-8')
    rows = [row for row in page.splitlines() if re.match(r'\| \d+ \|', row)]
    assert len(rows) == 15
    for row in rows:
        named = re.findall(r'`(test/[\w/]+\.py)::(\w+)`', row)
        assert named, row
        for file, name in named:
            assert f'def {name}(' in (ROOT / file).read_text(encoding='utf-8'), (file, name)
