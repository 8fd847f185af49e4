# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What every evaluation does with a frame, wherever it came from: metrics, and the worst kept."""

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import ConfigurationError
from mtl_perception.evaluation.pictures import Painter
from mtl_perception.evaluation.task_evaluators import (
    DepthEvaluator,
    SemanticEvaluator,
    build_evaluators,
    compute_metrics,
)
from mtl_perception.frames import FrameRecord, Perception
from mtl_perception.instances import SMALLEST_OBJECT
from mtl_perception.metrics.error_map import relative_error
from mtl_perception.tasks import Task

Image = NDArray[np.uint8]

WORST = 3
"""The number of worst frames of a task that are shown."""

LARGEST_ERROR = 1.0
"""Relative error of depth that gets the brightest colour."""

NO_TRUTH_COLOUR = (60, 60, 60)
TILE = 320


@dataclass(frozen=True, eq=False)
class _WorstFrame:
    """One of the worst frames; the lower its value, the worse."""

    value: float
    number: int
    group: Hashable
    caption: str
    picture: Image


class Evaluator:
    """
    Evaluate the frames of one evaluation and keep pictures of the worst.

    :param tasks: of the model.
    :param height: rows of the model's input; the maps of baselines and errors have its size.
    :param width: columns of the same.
    :param wanted: tasks that are evaluated, all if None.
    :param points: whether labels are points, such as those of a lidar.
    :param smallest: fewest labelled pixels of an object whose motion is evaluated.
    :raises ConfigurationError: if no task can be evaluated.
    """

    def __init__(
            self, tasks: Sequence[Task], height: int, width: int,
            wanted: Collection[str] | None = None, points: bool = False,
            smallest: int = SMALLEST_OBJECT) -> None:
        self.tasks = tuple(tasks)
        built = build_evaluators(tasks, height, width, points, smallest)
        self.evaluators = {
            name: evaluator for name, evaluator in built.items()
            if wanted is None or name in wanted}
        if not self.evaluators:
            raise ConfigurationError(
                f'the model has the tasks {[task.name for task in tasks]}'
                + ('' if wanted is None else f', the data labels {sorted(wanted)}')
                + '; they have no task in common')
        self._painter = Painter(tasks, TILE)
        self._worst: dict[str, list[_WorstFrame]] = {}
        self._frames = 0

    def update(
            self, name: str, record: FrameRecord, repeated: Perception | None = None,
            group: Hashable = None) -> None:
        """
        Evaluate one frame.

        :param name: of the frame in the report.
        :param record: with image, truth, and the prediction at the size of the truth.
        :param repeated: prediction for the same image after itself; None if it was not made.
        :param group: frames of a group resemble one another, such as those of a drive.
        """
        assert record.prediction is not None
        assert record.truth is not None
        self._frames += 1
        for evaluator in self.evaluators.values():
            counted = len(evaluator.groups)
            evaluator.update(record.truth, record.prediction, repeated, group)
            if len(evaluator.groups) == counted:
                continue

            # The worst frames of these two show best what goes wrong.
            if isinstance(evaluator, SemanticEvaluator):
                miou = evaluator.metric.last_miou()
                if miou is not None:
                    self._keep('semantic', miou, f'{name}: mIoU {miou:.3f}', record, group)
            elif isinstance(evaluator, DepthEvaluator):
                error = evaluator.metric.last_abs_rel()
                if error is not None:
                    self._keep(
                        'depth', -error,
                        f'{name}: AbsRel {error:.3f}; the errors are below the image', record,
                        group)

    def compute(self, evaluated_only: bool = False) -> dict[str, Any]:
        """
        Return the metrics, see :func:`.compute_metrics`.

        :param evaluated_only: leave out tasks without a single frame that has both prediction and
            truth.
        """
        return compute_metrics({
            name: evaluator for name, evaluator in self.evaluators.items()
            if evaluator.groups or not evaluated_only})

    def pictures(self) -> list[tuple[str, Image]]:
        """Return a caption and an (H, W, 3) uint8 RGB picture each: error map, worst frames."""
        pictures: list[tuple[str, Image]] = []
        for evaluator in self.evaluators.values():
            if isinstance(evaluator, DepthEvaluator) and evaluator.groups:
                pictures.append((
                    'Mean relative error of depth at each pixel position, black 0 to yellow '
                    f'{LARGEST_ERROR:g} and more; grey: never any truth',
                    draw_errors(evaluator.errors.mean())))
        for task, worst in self._worst.items():
            pictures += [(f'Among the worst of {task}: {frame.caption}', frame.picture)
                         for frame in worst]
        return pictures

    def _keep(
            self, task: str, value: float, caption: str, record: FrameRecord, group: Hashable,
    ) -> None:
        """Keep a picture of a frame if it is among the worst; one of each group."""
        worst = self._worst.setdefault(task, [])
        same = [frame for frame in worst if group is not None and frame.group == group]
        if (len(worst) == WORST and value >= worst[-1].value) or any(
                value >= frame.value for frame in same):
            return
        for frame in same:
            worst.remove(frame)

        # Drawn only now: most frames are not among the worst.
        picture = self._painter.draw(record)
        if task == 'depth':
            self._draw_errors_below(picture, record)
        worst.append(_WorstFrame(value, self._frames, group, caption, picture))
        worst.sort(key=lambda frame: (frame.value, frame.number))
        del worst[WORST:]

    def _draw_errors_below(self, picture: Image, record: FrameRecord) -> None:
        """Draw where depth is wrong below the camera's image."""
        task = next(task for task in self.tasks if task.name == 'depth')
        assert record.prediction is not None
        assert record.prediction.depth is not None
        assert record.truth is not None
        assert record.truth.depth is not None
        errors = draw_errors(relative_error(
            record.prediction.depth, record.truth.depth, task.maximum))

        # The picture has two rows; the place below the image is free for this map.
        height = len(picture) // 2
        picture[-height:, :TILE] = cv2.resize(
            errors, (TILE, height), interpolation=cv2.INTER_AREA)


def draw_errors(errors: NDArray[np.float32]) -> Image:
    """
    Return a picture of relative errors, (H, W, 3) uint8 RGB.

    :param errors: (H, W), NaN = unknown.
    """
    known = np.isfinite(errors)
    level = np.clip(np.where(known, errors, 0) / LARGEST_ERROR * 255, 0, 255).astype(np.uint8)
    drawn = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    drawn[~known] = NO_TRUTH_COLOUR
    return np.asarray(drawn, np.uint8)
