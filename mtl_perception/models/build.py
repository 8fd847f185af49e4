# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From the words of a :class:`mtl_perception.manifest.NetworkSpec` to a network."""

import difflib
import math

from mtl_perception.manifest import NetworkSpec
from mtl_perception.models.encoders import resnet10, resnet18, resnet50
from mtl_perception.models.fcn8 import FCN8
from mtl_perception.models.pyramid import FeaturePyramid
from mtl_perception.models.siamese import SiameseMultiTaskNetwork

ENCODERS = {
    'resnet10': resnet10,
    'resnet18': resnet18,
    'resnet50': resnet50,
}

INITIAL_OUTPUTS = {'depth': math.log(10.0)}
"""
What a task's output starts around, 0 if not listed.

Depth is the natural logarithm of metres. Starting at ten metres, about the geometric mean of a
street, spares the first steps of a training a loss that only the offset causes.
"""


def build_network(spec: NetworkSpec) -> SiameseMultiTaskNetwork:
    """
    Return a network with random weights.

    :param spec: encoder, frames, finest stride, pyramid and channels per task.
    :raises ValueError: if a name or a number is not one of those that exist.
    """
    if spec.encoder not in ENCODERS:
        nearest = difflib.get_close_matches(spec.encoder, ENCODERS, 1, 0.0)[0]
        raise ValueError(
            f'unknown encoder {spec.encoder!r}; the encoders are {list(ENCODERS)}, the nearest is '
            f'{nearest!r}')
    if spec.frames not in (1, 2):
        raise ValueError(f'frames is {spec.frames!r}; it must be 1 or 2')
    if spec.finest_stride not in (2, 4, 8):
        raise ValueError(f'finest_stride is {spec.finest_stride!r}; it must be 2, 4 or 8')
    if not isinstance(spec.pyramid, int) or spec.pyramid < 0 or spec.pyramid % 2:
        raise ValueError(f'pyramid is {spec.pyramid!r}; it must be 0 (none) or even and positive')
    if not spec.channels:
        raise ValueError('channels is empty; name at least one task, such as {"semantic": 12}')
    for task, count in spec.channels.items():
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= 255:
            raise ValueError(
                f'channels of task {task!r} is {count!r}; it must be a whole number from 1 to 255')
        if task == 'depth' and count != 1:
            raise ValueError(f'channels of task {task!r} is {count}; depth has 1 channel')
        if task == 'motion' and count != 2:
            raise ValueError(f'channels of task {task!r} is {count}; motion has 2 channels')
    encoder = ENCODERS[spec.encoder](spec.finest_stride)
    channels = [spec.frames * count for count in encoder.channels]
    pyramid = None
    if spec.pyramid:
        pyramid = FeaturePyramid(channels, spec.finest_stride, spec.pyramid)
        channels = list(pyramid.channels)
    decoders = {
        task: FCN8(channels, count, spec.finest_stride, INITIAL_OUTPUTS.get(task, 0.0))
        for task, count in spec.channels.items()}
    return SiameseMultiTaskNetwork(encoder, decoders, spec.frames, pyramid)
