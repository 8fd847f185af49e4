# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics of semantic masks: intersection over union and pixel accuracy."""

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.metrics.bootstrap import Interval, Statistic, bootstrap_intervals


class SegmentationMetrics:
    """
    Intersection over union and pixel accuracy, accumulated over frames.

    The confusion matrix is that of all frames together. ``miou_per_image`` is the mean of each
    image's own mIoU, as MTAN's and XTasC-Net's code have it; it is shown because the two differ by
    several points. It is over the classes in an image's ground truth or prediction, and a
    prediction on an unlabelled pixel counts against its class.

    A class without a pixel of ground truth has no IoU: it is None, listed in ``absent`` and not
    part of the mean. Pixels wrongly assigned to it still count against their true classes. A
    ground truth of fewer than two classes tells nothing: then every metric is None.

    >>> metrics = SegmentationMetrics(['road', 'car'])
    >>> metrics.update(np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 0, 0, 1]], np.uint8))
    >>> found = metrics.compute()
    >>> {name: round(iou, 3) for name, iou in found['iou'].items()}
    {'road': 0.667, 'car': 0.5}
    >>> found['pixel_accuracy']
    0.75

    :param classes: class names, the index is the id.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        # One more column than rows: an id outside the classes is a wrong prediction for its row.
        self.confusion = np.zeros((len(self.classes), len(self.classes) + 1), np.int64)
        self._frames: list[NDArray[np.int64]] = []
        self._image_mious: list[float | None] = []

    def update(self, prediction: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
        """
        Count one frame, or a batch of frames as one.

        :param prediction: (..., H, W) uint8 class ids; an id outside the classes is wrong.
        :param truth: the same shape, uint8 class ids; 255 or any id outside the classes is
            ignored.
        :raises ValueError: if the shapes differ.
        """
        if prediction.shape != truth.shape:
            raise ValueError(
                f'prediction has shape {prediction.shape}, the truth {truth.shape}; resize one '
                'of them (nearest neighbour) before they are compared')
        count = len(self.classes)
        known = truth < count

        # one number per cell of the confusion matrix turns it into a histogram
        columns = np.minimum(prediction[known], count).astype(np.int64)
        cells = truth[known].astype(np.int64) * (count + 1) + columns
        confusion = np.bincount(cells, minlength=count * (count + 1)).reshape(count, count + 1)
        self.confusion += confusion
        self._frames.append(confusion)

        predicted = np.bincount(prediction.ravel(), minlength=count)[:count]
        self._image_mious.append(_image_miou(confusion, predicted) if known.any() else None)

    def merge(self, other: 'SegmentationMetrics') -> None:
        """Append the frames of another accumulator."""
        self.confusion += other.confusion
        self._frames += other._frames
        self._image_mious += other._image_mious

    def compute(self) -> dict[str, Any]:
        """
        Return the metrics so far; a metric without data is None.

        :return: ``miou``, ``miou_per_image``, ``pixel_accuracy`` (0 to 1), ``iou`` (class name to
            IoU or None), ``absent`` (class names without ground truth), ``pixels``.
        """
        _, present = _ious(self.confusion)
        return {
            'miou': _miou(self.confusion),
            'miou_per_image': _mean(self._sum_of_images()),
            'pixel_accuracy': _pixel_accuracy(self.confusion),
            'iou': {name: _iou(number, self.confusion)
                    for number, name in enumerate(self.classes)},
            'absent': [name for name, known in zip(self.classes, present) if not known],
            'pixels': int(self.confusion.sum()),
        }

    def last_miou(self) -> float | None:
        """Return the mean IoU of the last frame alone, of one class too, None without labels."""
        if not self._frames:
            return None
        ious, present = _ious(self._frames[-1])
        return float(ious[present].mean()) if present.any() else None

    def _sum_of_images(self) -> NDArray[np.float64]:
        """Return (2,): the sum of the images' own mean IoUs and their number."""
        total: NDArray[np.float64] = sum(map(_counted, self._image_mious), np.zeros(2))
        return total if _told_apart(self.confusion) else np.zeros(2)

    def intervals(
            self, level: float = 0.95, groups: Sequence[Hashable] | None = None,
    ) -> dict[str, Any]:
        """
        Return the bootstrap intervals.

        :param level: share of the resampled values inside.
        :param groups: group of each update, such as its drive; see :func:`.bootstrap_interval`.
        :return: ``miou``, ``pixel_accuracy``, ``miou_per_image`` -> (low, high), None without an
            interval; ``iou`` the same per class name.
        """
        statistics: dict[str, Statistic] = {'miou': _miou, 'pixel_accuracy': _pixel_accuracy}
        for number, name in enumerate(self.classes):
            statistics[f'iou {name}'] = partial(_iou, number)
        found: dict[str, Any] = dict(bootstrap_intervals(self._frames, statistics, level, groups))
        ious: dict[str, Interval | None] = {
            name: found.pop(f'iou {name}') for name in self.classes}

        told = _told_apart(self.confusion)
        counts = [_counted(mean if told else None) for mean in self._image_mious]
        return {**found, 'iou': ious, **bootstrap_intervals(
            counts, {'miou_per_image': _mean}, level, groups)}


def _image_miou(
        confusion: NDArray[np.int64], predicted: NDArray[np.int64]) -> float | None:
    """
    Return the mean IoU of one image as MTAN's code has it, None if it shows no class.

    :param confusion: (K, K + 1).
    :param predicted: (K,) pixels predicted as each class, labelled or not.
    """
    hits = np.diagonal(confusion)
    union = confusion.sum(axis=1) + predicted - hits
    return float((hits[union > 0] / union[union > 0]).mean()) if union.any() else None


def _counted(mean: float | None) -> NDArray[np.float64]:
    """Return (2,): a mean and 1, or zeros if it is None."""
    return np.array([mean or 0.0, mean is not None], np.float64)


def _mean(total: NDArray[np.float64]) -> float | None:
    return float(total[0] / total[1]) if total[1] else None


def _told_apart(confusion: NDArray[np.int64]) -> bool:
    """Return whether the ground truth has at least two classes."""
    return int((confusion.sum(axis=1) > 0).sum()) > 1


def _iou(number: int, confusion: NDArray[np.int64]) -> float | None:
    """Return the IoU of one class, None without ground truth of it or of another."""
    ious, present = _ious(confusion)
    return float(ious[number]) if present[number] and _told_apart(confusion) else None


def _ious(confusion: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return (K,) IoUs, NaN for a class without ground truth, and (K,) which classes have it."""
    # IoU = TP / (TP + FN + FP); the last column holds predictions outside the classes
    truth = confusion.sum(axis=1)
    hits = np.diagonal(confusion)
    union = truth + confusion[:, :-1].sum(axis=0) - hits
    present = truth > 0
    ious = np.where(present, hits / np.maximum(union, 1), np.nan)
    return ious, present


def _miou(confusion: NDArray[np.int64]) -> float | None:
    """Return the mean IoU of the classes with ground truth, None without two of them."""
    ious, present = _ious(confusion)
    return float(ious[present].mean()) if _told_apart(confusion) else None


def _pixel_accuracy(confusion: NDArray[np.int64]) -> float | None:
    """Return the share of the pixels that are right, None without two classes."""
    if not _told_apart(confusion):
        return None
    return float(np.trace(confusion) / int(confusion.sum()))
