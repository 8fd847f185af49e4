# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What can be said about a network on images without labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.training.self_training import Teacher

RARE = 0.01
"""Classes with a smaller share of the pixels are left out of the consistency."""
ZOOM = 0.75
"""Part of each side of the image that the enlarged view shows."""
GAMMA = 1.8
"""Exponent of the darker view."""


@dataclass(frozen=True, eq=False)
class SelfCheck:
    """
    The answers of a network on some images, and how steady they are.

    :param classes: (N, H, W) uint8, the most likely class of each pixel.
    :param confidence: mean probability of these classes.
    :param consistency: mean IoU between these answers and those on a darker and on an enlarged
        view of the same images, over the classes that are not rare. A network that guesses
        contradicts itself.
    """

    classes: NDArray[np.uint8]
    confidence: float
    consistency: float

    @property
    def shares(self) -> NDArray[np.float64]:
        """Return the share of the pixels that each of 256 classes has."""
        counts = np.bincount(self.classes.ravel(), minlength=256)
        shares: NDArray[np.float64] = counts / max(1, counts.sum())
        return shares

    def agreement(self, other: 'SelfCheck') -> float:
        """Return the share of the pixels to which both give the same class."""
        return float((self.classes == other.classes).mean())


def self_check(teacher: Teacher, clips: Sequence[NDArray[np.uint8]]) -> SelfCheck:
    """
    Return the answers of a teacher's network on the last image of each clip.

    :param clips: each (T, H, W, 3) uint8 RGB.
    """
    classes, confidences = [], []
    pairs = np.zeros((256, 256), np.int64)

    for images in clips:
        plain, confidence = teacher.answer(images)
        classes.append(plain[-1])
        confidences.append(float(confidence[-1].mean()))

        darker, _ = teacher.answer(_darker(images))
        pairs += _pairs(plain[-1], darker[-1])
        larger, _ = teacher.answer(_enlarged(images))
        pairs += _pairs(_enlarged(plain[..., None], cv2.INTER_NEAREST)[-1, ..., 0], larger[-1])

    return SelfCheck(np.stack(classes), float(np.mean(confidences)), _mean_iou(pairs))


def _pairs(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return (256, 256) how often each class of the one meets each class of the other."""
    both = first.ravel().astype(int) * 256 + second.ravel()
    return np.bincount(both, minlength=256 * 256).reshape(256, 256)


def _mean_iou(pairs: NDArray[np.int64]) -> float:
    """Return the mean IoU of two answers over the classes that are not rare."""
    common = np.diag(pairs)
    union = pairs.sum(0) + pairs.sum(1) - common
    frequent = pairs.sum(1) >= RARE * pairs.sum()
    return float((common[frequent] / union[frequent]).mean())


def _darker(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images of a darker exposure: 255 (v / 255)^gamma."""
    table = (255 * (np.arange(256) / 255) ** GAMMA).round().astype(np.uint8)
    darker: NDArray[np.uint8] = table[images]
    return darker


def _enlarged(
        images: NDArray[np.uint8], interpolation: int = cv2.INTER_LINEAR) -> NDArray[np.uint8]:
    """Return the middle part of (T, H, W, C) images at the size of the whole."""
    height, width = images.shape[1:3]
    top = round((1 - ZOOM) / 2 * height)
    left = round((1 - ZOOM) / 2 * width)
    part = images[:, top:height - top, left:width - left]
    enlarged = [
        cv2.resize(image, (width, height), interpolation=interpolation).reshape(
            height, width, -1) for image in part]
    return np.stack(enlarged).astype(np.uint8)
