# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl data check``: look at a data set before hours are spent on it."""

import argparse
from collections.abc import Iterable
from pathlib import Path

import cv2
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mtl_perception.commands._options import path_argument
from mtl_perception.datasets.build import DATASETS
from mtl_perception.datasets.check import examine, rows_of
from mtl_perception.datasets.detect_layout import describe
from mtl_perception.datasets.findings import Findings
from mtl_perception.datasets.preview import draw_clips
from mtl_perception.datasets.remarks import remarks_of
from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.evaluation.dataset_evaluation import FIT_SETTINGS
from mtl_perception.files import write_atomically

SHOWN = 10
"""How many of the omitted images are named."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl data``."""
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    text = 'read every file of a data set, count its labels, draw some samples'
    check = actions.add_parser('check', help=text, description=text)
    check.add_argument(
        'config', type=path_argument, metavar='YAML|FOLDER',
        help=f'YAML: dataset (one of {", ".join(DATASETS)}), root, split and the other arguments '
             'of the data set; or several of these, each below a name such as train; or a recipe; '
             'or the folder of a data set, as mtl train takes it')

    check.add_argument(
        '--root', type=path_argument,
        help='folder of the data set in place of that in CONFIG; of a '
        'mixture, with a folder for each name below mix')
    check.add_argument(
        '--mosaic', type=path_argument,
        help='PNG to draw (default: name of CONFIG with .png, here)')
    check.add_argument(
        '--samples', type=int, default=4, help='clips to draw of each data set (default: 4)')


def run(arguments: argparse.Namespace) -> int:
    """Run ``mtl data check``; the exit code is 3 if something is wrong."""
    if arguments.samples < 1:
        raise ConfigurationError(f'--samples is {arguments.samples}; it must be at least 1')

    every = examine({
        name: {key: value for key, value in description.items() if key not in FIT_SETTINGS}
        for name, description in describe(arguments.config, arguments.root).items()}, _progress)
    Console().print(_table(every, arguments.config))
    mosaic = arguments.mosaic or Path(f'{arguments.config.resolve().stem}.png')
    _draw(every, arguments.samples, mosaic)

    # Findings go to the standard output one by one, so that a script can read their paths.
    problems = [(it.name, problem) for it in every for problem in it.problems]
    for it in every:
        for path in (left_out := it.data.incomplete if it.data else [])[:SHOWN]:
            print(f'left out of {it.name}, no earlier image: {path}')
        if len(left_out) > SHOWN:
            print(f'left out of {it.name}: {len(left_out) - SHOWN} more')

        for path in (faint := [*it.data.faint] if it.data else [])[:SHOWN]:
            print(f'almost no contrast in {it.name}: {path}')
        if len(faint) > SHOWN:
            print(f'almost no contrast in {it.name}: {len(faint) - SHOWN} more')

        for remark in remarks_of(it.data) if it.data else []:
            print(f'{it.name}: {remark}')

    for name, problem in problems:
        print(f'{name}: {problem}')
    if problems:
        raise DataError(f'problems: {len(problems)}; each is listed above with its path')
    print('no problem found')
    return 0


def _progress(numbers: Iterable[int], name: str) -> Iterable[int]:
    return track(numbers, name, console=Console(stderr=True), transient=True)


def _table(every: list[Findings], config: Path) -> Table:
    """Return what each data set holds."""
    table = Table(title=str(config))
    for number, name in enumerate(['', *(it.name for it in every)]):
        table.add_column(name, justify='right' if number else 'left')
    for row in rows_of(every):
        table.add_row(*row)
    return table


def _draw(every: list[Findings], samples: int, path: Path) -> None:
    """Write the mosaic, if there is a clip to draw."""
    sets = [(it.name, it.data, it.best()) for it in every if it.data is not None]
    picture = draw_clips(sets, samples)
    if picture is None:
        return
    done, content = cv2.imencode('.png', cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert done
    write_atomically(content.tobytes(), path)
    print(f'samples: {path}')
