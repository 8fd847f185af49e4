# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Tables and numbers in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

Found = Mapping[str, Any]
"""Figures of a benchmark."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table in Markdown, followed by an empty line."""
    lines = [head, ['---'] * len(head), *rows]
    return [f'| {" | ".join(line)} |' for line in lines] + ['']


def number_text(value: float | None, digits: int = 1) -> str:
    """Return a number, or what stands for one that is unknown."""
    return 'unknown' if value is None else f'{value:.{digits}f}'
