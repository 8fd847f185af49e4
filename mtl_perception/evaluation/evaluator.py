# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What every evaluation does with a frame, wherever it came from: judge it, keep the worst."""

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.bags.reader import Moment
from mtl_perception.errors import ConfigurationError
from mtl_perception.evaluation.evaluators import DepthJudge, SemanticJudge, figures_of, judges_of
from mtl_perception.evaluation.pictures import Painter
from mtl_perception.evaluation.records import Truth, moment_of
from mtl_perception.frames import Perception
from mtl_perception.metrics.error_map import relative_error
from mtl_perception.tasks import Task

Image = NDArray[np.uint8]

WORST = 3
"""So many of the worst frames of a task are shown."""

LARGEST_ERROR = 1.0
"""Relative error of depth that gets the brightest colour."""

NO_TRUTH_COLOUR = (60, 60, 60)
TILE = 320


@dataclass(frozen=True, eq=False)
class _Bad:
    """One of the worst frames; the lower its value, the worse."""

    value: float
    number: int
    group: Hashable
    caption: str
    picture: Image


class Examiner:
    """
    Judge the frames of one evaluation and keep pictures of the worst.

    :param tasks: of the model.
    :param height: rows of the model's input; the maps of baselines and errors have its size.
    :param width: columns of the same.
    :param wanted: tasks that are judged, all if None.
    :raises ConfigurationError: if no task can be judged.
    """

    def __init__(
            self, tasks: Sequence[Task], height: int, width: int,
            wanted: Collection[str] | None = None) -> None:
        self.tasks = tuple(tasks)
        self.judges = {
            name: judge for name, judge in judges_of(tasks, height, width).items()
            if wanted is None or name in wanted}
        if not self.judges:
            raise ConfigurationError(
                f'the model has the tasks {[task.name for task in tasks]}'
                + ('' if wanted is None else f', the data labels {sorted(wanted)}')
                + '; nothing can be judged')
        self._painter = Painter(tasks, TILE)
        self._worst: dict[str, list[_Bad]] = {}
        self._frames = 0

    def add(
            self, name: str, image: Image, truth: Truth, found: Perception,
            again: Perception | None = None, group: Hashable = None) -> None:
        """
        Judge one frame.

        :param name: what it is called in the report.
        :param image: (H, W, 3) uint8 RGB.
        :param truth: what is true.
        :param found: what was answered, at the size of the truth.
        :param again: what the network said to the same frame after itself, if it was asked.
        :param group: frames of a group resemble one another, such as those of a drive.
        """
        self._frames += 1
        for judge in self.judges.values():
            counted = len(judge.groups)
            judge.update(truth, found, again, group)
            if len(judge.groups) == counted:
                continue
            if isinstance(judge, SemanticJudge):
                miou = judge.metric.last_miou()
                if miou is not None:
                    self._keep(
                        'semantic', miou, f'{name}: mIoU {miou:.3f}', image, truth, found, group)
            elif isinstance(judge, DepthJudge):
                error = judge.metric.last_abs_rel()
                if error is not None:
                    self._keep(
                        'depth', -error, f'{name}: AbsRel {error:.3f}; where, is below the '
                        'image', image, truth, found, group)

    def figures(self, judged_only: bool = False) -> dict[str, Any]:
        """
        Return the figures, see :func:`figures_of`.

        :param judged_only: leave out tasks that not a single frame had both answer and truth of.
        """
        return figures_of({name: judge for name, judge in self.judges.items()
                           if judge.groups or not judged_only})

    def pictures(self) -> list[tuple[str, Image]]:
        """Return a caption and an (H, W, 3) uint8 RGB picture each: error map, worst frames."""
        found: list[tuple[str, Image]] = []
        for judge in self.judges.values():
            if isinstance(judge, DepthJudge) and judge.groups:
                found.append((
                    'Mean relative error of depth at each pixel position, black 0 to yellow '
                    f'{LARGEST_ERROR:g} and more; grey: never any truth',
                    draw_errors(judge.errors.mean())))
        for task, worst in self._worst.items():
            found += [(f'Among the worst of {task}: {bad.caption}', bad.picture)
                      for bad in worst]
        return found

    def _keep(
            self, task: str, value: float, caption: str, image: Image, truth: Truth,
            found: Perception, group: Hashable) -> None:
        """Keep a picture of a frame if there are not enough worse ones, one of a group."""
        worst = self._worst.setdefault(task, [])
        same = [bad for bad in worst if group is not None and bad.group == group]
        if (len(worst) == WORST and value >= worst[-1].value) or any(
                value >= bad.value for bad in same):
            return
        for bad in same:
            worst.remove(bad)
        moment = moment_of(0, image, found, self.tasks, truth)
        picture = self._painter.draw(moment)
        if task == 'depth' and found.depth is not None and truth.depth is not None:
            self._draw_errors_below(picture, moment)
        worst.append(_Bad(value, self._frames, group, caption, picture))
        worst.sort(key=lambda bad: (bad.value, bad.number))
        del worst[WORST:]

    def _draw_errors_below(self, picture: Image, moment: Moment) -> None:
        """Draw where depth is wrong below the camera's image."""
        task = next(task for task in self.tasks if task.name == 'depth')
        errors = draw_errors(relative_error(
            moment.arrays['depth'], moment.arrays['true_depth'], task.maximum))
        height = len(picture) // 2
        picture[-height:, :TILE] = cv2.resize(
            errors, (TILE, height), interpolation=cv2.INTER_AREA)


def draw_errors(errors: NDArray[np.float32]) -> Image:
    """
    Return a picture of relative errors, (H, W, 3) uint8 RGB.

    :param errors: (H, W), NaN = not known.
    """
    known = np.isfinite(errors)
    level = np.clip(np.where(known, errors, 0) / LARGEST_ERROR * 255, 0, 255).astype(np.uint8)
    drawn = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    drawn[~known] = NO_TRUTH_COLOUR
    return np.asarray(drawn, np.uint8)
