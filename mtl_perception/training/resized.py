# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl export --size``: the same weights for images of another size."""

import math
from dataclasses import replace
from pathlib import Path

import safetensors.torch
from torch import Tensor

from mtl_perception.errors import ConfigurationError
from mtl_perception.inference.motion_head_file import SUFFIX, attach_motion_head
from mtl_perception.manifest import Manifest, find_model, read_model, write_model

STRIDE = 32
"""Width and height are multiples of the encoder's coarsest stride, pixels."""
LARGEST_STRETCH = 0.03
"""By how much rows may grow more than columns, or less: depth grows with both."""
LAST_BIASES = ('upsample.0.bias', 'score.bias')
"""Of depth decoders that end in one: FCN8, and ASPP."""


def export_resized(source: str | Path, width: int, height: int, path: Path) -> str:
    """
    Export a model for images of another size, without training.

    The network is fully convolutional: it runs at any size. What changes is depth, because in an
    image that is k times as large everything looks k times as near. With the logarithm of depth
    as output, that is undone by

        log Z = network + log k

    in the last bias, and the camera that the metres are for has a focal length k times as long.
    The anchors of boxes keep their pixels: what looks larger is larger beside them.

    :param source: name or path of the model.
    :param width: of the images, pixels, a multiple of 32.
    :param height: of the images, pixels, a multiple of 32.
    :param path: ``NAME.safetensors``; a motion head goes with it.
    :return: what was written, in words.
    :raises ConfigurationError: if the network cannot run at that size, or depth or boxes would be
        wrong.
    :raises CheckpointError: if the model cannot be read.
    :raises StorageError: if a file cannot be written.
    """
    if width % STRIDE or height % STRIDE or min(width, height) < STRIDE:
        raise ConfigurationError(
            f'--size is {width}x{height}; width and height must be multiples of {STRIDE}')

    manifest, content = read_model(source)
    right, down = width / manifest.width, height / manifest.height
    if abs(math.log(right / down)) > LARGEST_STRETCH:
        raise ConfigurationError(
            f'--size is {width}x{height}, but model {manifest.name!r} sees images of '
            f'{manifest.width}x{manifest.height}: of other proportions, depth would be wrong. '
            f'Take {width}x{_fitting(manifest, width)}, or train at that size')

    network = replace(manifest.network, anchors=_anchors(manifest, right, down))
    weights = safetensors.torch.load(content)
    if manifest.task('depth') is not None:
        bias = _depth_bias(manifest, weights)
        bias[0] += math.log(right * down) / 2

    # What was measured and fitted was so at the other size.
    resized = replace(
        manifest, name=path.stem, width=width, height=height, network=network,
        focal_px=manifest.focal_px * right,
        focal_y_px=(manifest.focal_y_px or manifest.focal_px) * down,
        motion_head='', metrics={}, precisions={}, semantic_temperature=1.0, depth_confidence=(),
        tasks=tuple(task for task in manifest.tasks if task.name in manifest.network.channels),
        training={**manifest.training, 'resized': {
            'from': manifest.sha256, 'size': f'{manifest.width}x{manifest.height}'}})

    written = write_model(resized, safetensors.torch.save(weights), path)
    if manifest.motion_head:
        attach_motion_head(find_model(source).with_suffix(SUFFIX), path)
    return (f'{source} for images of {width}x{height} in place of {manifest.width}x'
            f'{manifest.height}: {path}, sha256 {written.sha256[:12]}...; mtl evaluate {path} '
            '--calibrate fits its confidence anew')


def _fitting(manifest: Manifest, width: int) -> int:
    """Return the height that fits a width best."""
    rows = width * manifest.height / manifest.width
    return max(STRIDE, round(rows / STRIDE) * STRIDE)


def _anchors(manifest: Manifest, right: float, down: float) -> list[list[float]]:
    """
    Return anchors of as many pixels in images of another size.

    :raises ConfigurationError: if one were larger than the image.
    """
    anchors = [[width / right, height / down] for width, height in manifest.network.anchors]
    largest = max((side for anchor in anchors for side in anchor), default=0.0)
    if largest > 1:
        raise ConfigurationError(
            f'--size is so small that an anchor box of model {manifest.name!r} would be '
            f'{largest:.2f} times as long as the side of the image, wanted at most 1; take a '
            'larger --size, or train at that size')
    return anchors


def _depth_bias(manifest: Manifest, weights: dict[str, Tensor]) -> Tensor:
    """
    Return the bias that is added to the logarithm of depth.

    :raises ConfigurationError: if there is none.
    """
    depth = manifest.task('depth')
    assert depth is not None
    names = [f'decoders.depth.{name}' for name in LAST_BIASES]
    found = [weights[name] for name in names if name in weights]
    if depth.inverse or not found:
        raise ConfigurationError(
            f'the depth decoder of model {manifest.name!r} has no bias for the logarithm of '
            'depth, which grows with the image; train it at that size')
    return found[0]
