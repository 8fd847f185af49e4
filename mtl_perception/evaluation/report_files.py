# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The files of a report: for programs, for people, and as a page with pictures."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtl_perception.evaluation.html_report import as_page
from mtl_perception.evaluation.report import Report, as_markdown
from mtl_perception.files import write_atomically


def write_report(folder: Path, report: Report) -> None:
    """
    Write ``report.json``, ``report.md`` and ``report.html``, each in one step.

    The page has its pictures inside itself and needs neither network nor scripts.

    :raises StorageError: if they cannot be written.
    """
    text = '\n'.join([f'# {report.title}', '', as_markdown(report), '', *report.links])
    write_atomically((text.rstrip('\n') + '\n').encode(), folder / 'report.md')
    write_atomically(as_page(report).encode(), folder / 'report.html')

    write_json(report.metrics, folder / 'report.json')


def write_json(values: Any, path: Path) -> None:
    """
    Write plain values as JSON, with null for numbers that are not finite.

    :raises StorageError: if that is impossible.
    """
    text = json.dumps(_finite(values), indent=2, allow_nan=False) + '\n'
    write_atomically(text.encode(), path)


def _finite(values: Any) -> Any:
    """Return plain values with None for numbers that JSON does not have."""
    if isinstance(values, Mapping):
        return {key: _finite(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values
