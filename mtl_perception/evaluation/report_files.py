# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The files of a report: for programs, for people, and as a page with pictures."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtl_perception.errors import StorageError
from mtl_perception.evaluation.html_report import as_page
from mtl_perception.evaluation.report import Report, as_markdown


def write_report(folder: Path, report: Report) -> None:
    """
    Write ``report.json``, ``report.md`` and ``report.html``, each in one step.

    The page has its pictures inside itself and needs neither network nor scripts.

    :raises StorageError: if they cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f'{folder}: cannot be made: {error}') from error
    text = '\n'.join([f'# {report.title}', '', as_markdown(report), '', *report.links])
    _write(folder / 'report.md', text.rstrip('\n') + '\n')
    _write(folder / 'report.html', as_page(report))
    _write(folder / 'report.json',
           json.dumps(_finite(report.figures), indent=2, allow_nan=False) + '\n')


def _finite(values: Any) -> Any:
    """Return plain values with None for numbers that JSON does not have."""
    if isinstance(values, Mapping):
        return {key: _finite(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def _write(path: Path, text: str) -> None:
    """Put a file in its place in one step, so that nobody ever reads half of it."""
    partial = path.with_name(path.name + '.part')
    try:
        partial.write_text(text, encoding='utf-8')
        os.replace(partial, path)
    except OSError as error:
        raise StorageError(f'{path}: cannot be written: {error}') from error
