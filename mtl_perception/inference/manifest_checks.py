# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Refuse a manifest that cannot be true, whatever library runs the network."""

import math
from collections.abc import Sequence

from mtl_perception.errors import CheckpointError
from mtl_perception.inference.confidence import FEATURES
from mtl_perception.manifest import DEPTH_CHANNELS, Manifest
from mtl_perception.preprocessing import check_size
from mtl_perception.reason_codes import ReasonCode
from mtl_perception.tasks import UNLABELLED, Task

MAX_PIXELS = 2 ** 25
KINDS = {
    'semantic': 'classes', 'depth': 'regression', 'motion': 'classes', 'instance': 'offsets',
    'detection': 'boxes'}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_manifest(manifest: Manifest) -> None:
    """
    Refuse a manifest that contradicts itself or holds impossible values.

    :raises CheckpointError: ``M05``, ``M06`` or ``M07``.
    """
    _check_input(manifest)
    _check_camera(manifest)
    _check_tasks(manifest)
    for task in manifest.tasks:
        _check_classes(manifest, task)
        _check_values(manifest.name, task)
    _check_confidence(manifest)


def _check_input(manifest: Manifest) -> None:
    """Check the size of the input and its normalisation."""
    name = manifest.name
    for field, value in (('height', manifest.height), ('width', manifest.width)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise CheckpointError(
                f'{name}: {field} is {value!r}, wanted a whole number',
                ReasonCode.MANIFEST_INVALID)

    stride = manifest.network.output_stride
    if isinstance(stride, bool) or stride not in (8, 16, 32):
        raise CheckpointError(
            f'{name}: network.output_stride is {stride!r}, wanted 8, 16 or 32',
            ReasonCode.MANIFEST_INVALID)
    try:
        check_size(manifest.height, manifest.width, stride)
    except ValueError as error:
        raise CheckpointError(f'{name}: {error}', ReasonCode.MODEL_ARCHITECTURE) from error

    if manifest.height * manifest.width > MAX_PIXELS:
        raise CheckpointError(
            f'{name}: the input is {manifest.height} x {manifest.width}, wanted at most '
            f'{MAX_PIXELS} pixels', ReasonCode.MODEL_TOO_BIG)

    for field, values, lowest in (('mean', manifest.mean, -math.inf), ('std', manifest.std, 0.0)):
        _check_numbers(name, field, values, 3, lowest)


def _check_numbers(
        name: str, field: str, values: Sequence[float], count: int, lowest: float) -> None:
    """Check the number of values, and that each is finite and above a limit."""
    if len(values) != count or not all(
            _is_number(value) and math.isfinite(value) and value > lowest for value in values):
        raise CheckpointError(
            f'{name}: {field} is {values}, wanted {count} finite number(s)'
            f'{" above 0" if lowest == 0 else ""}', ReasonCode.MANIFEST_INVALID)


def _check_camera(manifest: Manifest) -> None:
    """Check focal lengths and height of the camera."""
    name = manifest.name
    _check_numbers(name, 'focal_px', (manifest.focal_px,), 1, 0.0)
    if not _is_number(manifest.focal_y_px) or not 0 <= manifest.focal_y_px < math.inf:
        raise CheckpointError(
            f'{name}: focal_y_px is {manifest.focal_y_px!r}, wanted pixels, 0 = as focal_px',
            ReasonCode.MANIFEST_INVALID)
    if not _is_number(manifest.camera_height) or not 0 <= manifest.camera_height < math.inf:
        raise CheckpointError(
            f'{name}: camera_height is {manifest.camera_height!r}, wanted metres, 0 = unknown',
            ReasonCode.MANIFEST_INVALID)
    if not _is_number(manifest.height_exponent) or not 0 <= manifest.height_exponent <= 1:
        raise CheckpointError(
            f'{name}: height_exponent is {manifest.height_exponent!r}, wanted a number from 0 to '
            '1', ReasonCode.MANIFEST_INVALID)


def _check_confidence(manifest: Manifest) -> None:
    """Check the numbers that make probabilities of scores."""
    name = manifest.name
    _check_numbers(name, 'semantic_temperature', (manifest.semantic_temperature,), 1, 0.0)
    if manifest.depth_confidence:
        semantic = manifest.task('semantic')
        count = FEATURES + (semantic.channels if semantic else 0)
        _check_numbers(name, 'depth_confidence', manifest.depth_confidence, count, -math.inf)


def _check_tasks(manifest: Manifest) -> None:
    """Check that tasks and network agree."""
    name = manifest.name
    channels = manifest.network.channels
    if not isinstance(channels, dict):
        raise CheckpointError(
            f'{name}: network.channels is {channels!r}, wanted a table',
            ReasonCode.MANIFEST_INVALID)

    # motion may come from the motion head, which is not a decoder of the network
    tasks = {task.name: task.channels for task in manifest.tasks}
    decoded = dict(tasks)
    if manifest.motion_head and 'motion' not in channels:
        decoded.pop('motion', None)
    if 'depth' in decoded:
        decoded['depth'] = DEPTH_CHANNELS[manifest.network.height_exponents]
    if list(decoded.items()) != list(channels.items()) or len(tasks) != len(manifest.tasks):
        raise CheckpointError(
            f'{name}: the tasks say channels {tasks}, the network says {channels}; the manifest '
            'belongs to other weights', ReasonCode.MANIFEST_INVALID)

    for task in manifest.tasks:
        if KINDS.get(task.name) != task.kind:
            raise CheckpointError(
                f'{name}: task {task.name!r} of kind {task.kind!r} is not one of {KINDS}',
                ReasonCode.MANIFEST_INVALID)
    if 'instance' in tasks and 'semantic' not in tasks:
        raise CheckpointError(
            f'{name}: there are instances without semantics, which say what the objects are',
            ReasonCode.MANIFEST_INVALID)


def _check_classes(manifest: Manifest, task: Task) -> None:
    """Check names and colours of classes, and that ids are those of classes."""
    where = f'{manifest.name}: task {task.name!r}: '
    count = len(task.classes)
    if not all(isinstance(name, str) for name in task.classes):
        raise CheckpointError(
            f'{where}classes is {list(task.classes)}, wanted names', ReasonCode.MANIFEST_INVALID)
    if not all(0 <= part <= 255 for colour in task.palette for part in colour):
        raise CheckpointError(
            f'{where}palette is {list(task.palette)}, wanted colours of 0 to 255',
            ReasonCode.MANIFEST_INVALID)

    if not _are_ids(task.movable, count):
        raise CheckpointError(
            f'{where}movable is {list(task.movable)}, wanted ids of its {count} classes',
            ReasonCode.MANIFEST_INVALID)
    if not -1 <= task.sky < count:
        raise CheckpointError(
            f'{where}sky is {task.sky}, wanted the id of one of its {count} classes, -1 = none',
            ReasonCode.MANIFEST_INVALID)

    # A model of boxes alone may tell which ids their classes have elsewhere.
    semantic = manifest.task('semantic')
    known = UNLABELLED if semantic is None else len(semantic.classes)
    ids = task.semantic_ids
    if ids and not (len(ids) == count and _are_ids(ids, known)):
        raise CheckpointError(
            f'{where}semantic_ids is {list(ids)}, wanted the semantic class, below {known}, of '
            f'each of its {count} classes, or none at all', ReasonCode.MANIFEST_INVALID)


def _are_ids(values: Sequence[object], count: int) -> bool:
    """Return whether values are different ids of so many classes."""
    return all(
        isinstance(value, int) and not isinstance(value, bool) and 0 <= value < count
        for value in values) and len(set(values)) == len(values)


def _check_values(name: str, task: Task) -> None:
    """Check what the values of a regression mean."""
    if not 0 <= task.maximum < math.inf:
        raise CheckpointError(
            f'{name}: task {task.name!r}: maximum is {task.maximum}, wanted the largest value of '
            'the training, 0 = no limit', ReasonCode.MANIFEST_INVALID)
    if task.inverse not in (0, -1) and not 0 < task.inverse < math.inf:
        raise CheckpointError(
            f'{name}: task {task.name!r}: inverse is {task.inverse}, wanted 0 for the logarithm '
            'of metres, -1 for metres, or depth times output, above 0',
            ReasonCode.MANIFEST_INVALID)
