# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The figure of a benchmark."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtl_perception.evaluation.benchmark.report import engine_name
from mtl_perception.files import replacing

WIDTH = 9.0
"""Of the figure, inches."""
BAR = 0.22
"""Height of a bar, inches."""


def draw(found: Mapping[str, Any], path: Path) -> bool:
    """
    Draw the times of the engines as bars from quartile to quartile, with the median.

    :param found: everything that was measured.
    :param path: of the PNG file.
    :return: False if matplotlib is not installed; without engines nothing is drawn.
    :raises StorageError: if the disk refuses.
    """
    # half a second, and not part of a plain installation
    try:
        import matplotlib
        matplotlib.use('Agg')
        from matplotlib import pyplot
        from matplotlib.patches import Patch
    except ImportError:
        return False

    if 'engine_level' not in found:
        return True
    rows = found['engine_level']['engines'][::-1]
    ways = list(dict.fromkeys(way for row in reversed(rows) for way in row['ways']))
    height = 1.2 + BAR * len(rows) * (len(ways) + 1)

    figure, axes = pyplot.subplots(figsize=(WIDTH, height), layout='constrained')
    for place, row in enumerate(rows):
        for number, way in enumerate(ways):
            if way not in row['ways']:
                continue

            wall = row['ways'][way]['wall_ms']
            middle = place * (len(ways) + 1) + len(ways) - 1 - number
            axes.barh(middle, wall['median'], color=f'C{number}')
            axes.plot([wall['q25'], wall['q75']], [middle, middle], color='black', linewidth=1)
            cpu = row['ways'][way]['cpu_ms']['median']
            axes.plot(cpu, middle, 'o', markersize=4, color='white', markeredgecolor='black')

    axes.set_yticks(
        [place * (len(ways) + 1) + (len(ways) - 1) / 2 for place in range(len(rows))],
        [engine_name(row) for row in rows])
    axes.set_xlabel('wall time, ms: median and quartiles; circle: CPU time of all threads')
    axes.set_title(f'{found["model"]["name"]} on {found["machine"]["cpu"]}')
    axes.legend(handles=[
        Patch(color=f'C{number}', label=way) for number, way in enumerate(ways)])
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=100, format='png')
    pyplot.close(figure)
    return True
