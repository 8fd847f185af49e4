# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Validate the outputs of a network before anything is built on them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.errors import FrameError
from mtl_perception.frames import Detections, Outputs
from mtl_perception.manifest import Manifest
from mtl_perception.reason_codes import ReasonCode

MAPS = {'semantic': np.uint8, 'depth': np.float32, 'motion': np.uint8, 'motion_score': np.float32,
        'semantic_confidence': np.float32, 'height_exponent': np.float32}
"""Outputs with one value per pixel, and their types."""


def check_outputs(outputs: Outputs, manifest: Manifest) -> None:
    """
    Refuse outputs of a wrong shape, type or range.

    :raises FrameError: ``M09_nonfinite`` or ``M10_output``.
    """
    size = (manifest.height, manifest.width)
    for name, dtype in MAPS.items():
        values: NDArray[Any] | None = getattr(outputs, name)
        if values is not None:
            _check_array(name, values, size, dtype)
            task = manifest.task(name)
            if task is not None and task.kind == 'classes':
                _check_ids(name, 'id', values, task.channels)

    if outputs.instance is not None:
        _check_array('instance', outputs.instance, (2, *size), np.float32)
    if outputs.detection is not None:
        _check_boxes(outputs.detection, manifest)


def _check_array(name: str, values: NDArray[Any], shape: tuple[int, ...], dtype: type) -> None:
    """Refuse an array of another shape or type, or without a single finite value."""
    if values.shape != shape or values.dtype != dtype:
        raise FrameError(
            f'{name} is {values.dtype} {values.shape}, wanted {np.dtype(dtype)} {shape}',
            ReasonCode.OUTPUT_INVALID)
    if values.dtype == np.float32 and not np.isfinite(values).any():
        raise FrameError(f'{name} has no finite value', ReasonCode.OUTPUT_NOT_FINITE)


def _check_ids(name: str, kind: str, ids: NDArray[Any], count: int) -> None:
    """Refuse ids of classes that the model does not have."""
    if ids.size and ids.max() >= count:
        raise FrameError(
            f'{name} has the {kind} {ids.max()}, wanted less than {count}',
            ReasonCode.OUTPUT_INVALID)


def _check_boxes(found: Detections, manifest: Manifest) -> None:
    """Refuse boxes whose arrays do not belong together, or with numbers that are not finite."""
    count = len(found.scores)
    if found.corners.shape != (count, 4) or found.classes.shape != (count,):
        raise FrameError(
            f'detection has corners of shape {found.corners.shape} and classes of shape '
            f'{found.classes.shape} for {count} scores', ReasonCode.OUTPUT_INVALID)
    if not (np.isfinite(found.corners).all() and np.isfinite(found.scores).all()):
        raise FrameError('detection has numbers that are not finite', ReasonCode.OUTPUT_NOT_FINITE)

    task = manifest.task('detection')
    if task is not None:
        _check_ids('detection', 'class', found.classes, task.channels)
