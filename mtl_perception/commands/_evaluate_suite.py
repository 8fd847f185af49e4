# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl evaluate --suite``: several models on several data sets."""

import argparse
import sys
from pathlib import Path
from typing import Any

from mtl_perception.commands._options import load_engine, progress
from mtl_perception.evaluation.report_files import write_json
from mtl_perception.evaluation.suite import as_table, read_suite, run_suite
from mtl_perception.evaluation.task_evaluators import LOWEST_SCORE
from mtl_perception.files import write_atomically
from mtl_perception.inference.engine import Engine

PARTIAL = 'suite.partial.json'
"""What is evaluated before the end; a suite may take hours, and an earlier result stays."""


def on_suite(arguments: argparse.Namespace) -> int:
    """Evaluate several models on several data sets."""
    suite = read_suite(arguments.suite)
    output: Path | None = arguments.output
    kept: list[Path] = []

    def load(name: str) -> Engine:
        given = argparse.Namespace(**{**vars(arguments), 'model': name})
        return load_engine(given, arguments.precision, LOWEST_SCORE)

    def keep(results: list[dict[str, Any]]) -> None:
        if output is not None:
            write_json(results, output / PARTIAL)
            kept[:] = [output / PARTIAL]

    try:
        results = run_suite(
            suite, arguments.suite, arguments.root or Path(), load, progress, keep)
    except BaseException:
        for path in kept:
            print(f'the evaluations before it are kept in {path}', file=sys.stderr)
        raise

    table = as_table(suite, results)
    print(table)
    if output is not None:
        write_atomically(f'{table}\n'.encode(), output / 'suite.md')
        write_json(results, output / 'suite.json')
        (output / PARTIAL).unlink(missing_ok=True)
    return 0
