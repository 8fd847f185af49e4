# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Build a network from a :class:`mtl_perception.manifest.NetworkSpec`."""

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from mtl_perception.manifest import DEPTH_CHANNELS, NetworkSpec
from mtl_perception.models.aspp import ASPP, TwoLayerDecoder
from mtl_perception.models.attention import TaskAttention
from mtl_perception.models.cross_stitch import CrossStitchEncoder
from mtl_perception.models.detection_head import DetectionHead
from mtl_perception.models.efficientnet import (
    efficientnet_lite0,
    efficientnet_lite1,
    efficientnet_lite2,
)
from mtl_perception.models.encoders import (
    Encoder,
    mobilenet_v2,
    resnet10,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
)
from mtl_perception.models.fcn8 import FCN8
from mtl_perception.models.pyramid import FeaturePyramid
from mtl_perception.models.siamese import AGGREGATIONS, SHARING, SiameseMultiTaskNetwork
from mtl_perception.models.timm_encoder import TIMM, TimmEncoder
from mtl_perception.models.ttnet import TTNet
from mtl_perception.models.unet import UNetDecoder
from mtl_perception.name_checks import did_you_mean


@dataclass(frozen=True)
class DecoderSpec:
    """
    Inputs and outputs of a decoder.

    :param channels: channels of each stage, finest first.
    :param strides: stride of each stage.
    :param best: index of the stage for decoders that read a single one: the finest of a pyramid,
        else the coarsest.
    :param outputs: output channels of the task; for detection the number of classes.
    :param initial: initial value of the outputs.
    :param anchors: number of anchor boxes.
    :param width: channels inside the decoder, 0 for the paper's.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    best: int
    outputs: int
    initial: float
    anchors: int
    width: int


def fcn8(spec: DecoderSpec) -> FCN8:
    """Return the FCN8 of MultiNet++ and Leang et al., on all stages."""
    return FCN8(spec.channels, spec.outputs, spec.strides[0], spec.initial)


def two_layer(spec: DecoderSpec) -> TwoLayerDecoder:
    """Return the decoder of Kendall et al., on a single stage."""
    index = spec.best
    return TwoLayerDecoder(
        spec.channels[index], spec.outputs, spec.strides[index], index, spec.initial,
        spec.width or TwoLayerDecoder.WIDTH)


def unet(spec: DecoderSpec) -> UNetDecoder:
    """Return the decoder of XTasC-Net, on all stages."""
    return UNetDecoder(
        spec.channels, spec.outputs, spec.strides[0], spec.initial,
        spec.width or UNetDecoder.WIDTH)


def yolo(spec: DecoderSpec) -> DetectionHead:
    """Return the box decoder of Leang et al., on the coarsest stage."""
    return _detection_head(spec, spec.strides[-1])


def yolo16(spec: DecoderSpec) -> DetectionHead:
    """Return a box decoder on the stage of stride 16, for small objects."""
    return _detection_head(spec, 16)


def yolo8(spec: DecoderSpec) -> DetectionHead:
    """Return a box decoder on the stage of stride 8, for very small objects."""
    return _detection_head(spec, 8)


ENCODERS = {
    'resnet10': resnet10,
    'resnet18': resnet18,
    'resnet34': resnet34,
    'resnet50': resnet50,
    'resnet101': resnet101,
    'mobilenet_v2': mobilenet_v2,
    'efficientnet_lite0': efficientnet_lite0,
    'efficientnet_lite1': efficientnet_lite1,
    'efficientnet_lite2': efficientnet_lite2,
}
"""Name in a recipe -> encoder; ``timm:NAME`` is one of timm, see :class:`.TimmEncoder`."""

DECODERS: dict[str, Callable[[DecoderSpec], nn.Module]] = {
    'fcn8': fcn8,
    'two_layer': two_layer,
    'unet': unet,
    'yolo': yolo,
    'yolo16': yolo16,
    'yolo8': yolo8,
}
"""Name in a recipe -> decoder."""

BOX_DECODERS = ('yolo', 'yolo16', 'yolo8')
"""The decoders of detection. Detection takes no other decoder, and no other task takes these."""

FIXED_CHANNELS = {'depth': tuple(DEPTH_CHANNELS.values()), 'motion': (2,), 'instance': (2,)}
"""Tasks with fixed numbers of output channels."""

INITIAL_OUTPUTS = {'depth': math.log(10.0)}
"""
Initial output of a task if the spec does not set it; 0 for tasks that are not listed.

Depth is the natural logarithm of metres. It starts at ten metres, about the geometric mean of a
street: otherwise the first steps of a training would only learn this offset.
"""

MAX_FRAMES = 16
"""A larger number of frames is taken for a mistake."""


def build_network(spec: NetworkSpec) -> SiameseMultiTaskNetwork:
    """
    Return a network with random weights.

    :param spec: names and sizes of its parts.
    :raises ValueError: if a name is unknown, a number is out of range, or parts do not fit.
    """
    _check_sizes(spec)
    names = _decoder_names(spec)

    # Encoder. Frames joined by concatenation multiply the channels that the rest sees.
    encoder = _encoder(spec, names)
    times = spec.frames if spec.aggregation == 'concatenate' else 1
    channels = tuple(times * count for count in encoder.channels)
    strides = encoder.strides

    # Neck: a pyramid keeps all stages, an ASPP leaves one.
    pyramid, aspp = None, None
    best = len(channels) - 1
    if spec.pyramid:
        pyramid = FeaturePyramid(channels, spec.finest_stride, spec.pyramid)
        channels = pyramid.channels
        best = 0
    elif spec.aspp:
        aspp = ASPP(channels[-1], spec.aspp)
        channels = (aspp.channels,)
        strides = strides[-1:]
        best = 0

    # Task-transfer networks, for the losses of a training only.
    transfer = None
    if spec.transfer:
        if missing := {'semantic', 'depth'} - set(spec.channels):
            raise ValueError(
                f'transfer is between semantic and depth, but there is no task {sorted(missing)}')
        classes = spec.channels['semantic']
        width = spec.decoder_width // 2 or TTNet.WIDTH
        transfer = {'semantic': TTNet(1, classes, width), 'depth': TTNet(classes, 1, width)}

    initial = {**INITIAL_OUTPUTS, **spec.initial}
    decoders = {
        task: DECODERS[name](DecoderSpec(
            channels, strides, best, spec.channels[task], initial.get(task, 0.0),
            len(spec.anchors), spec.decoder_width)) for task, name in names.items()}
    attention = None
    if spec.sharing == 'mtan':
        attention = TaskAttention(channels, {
            task: _stages_read(decoder, len(channels)) for task, decoder in decoders.items()})
    return SiameseMultiTaskNetwork(
        encoder, decoders, spec.frames, pyramid, spec.aggregation, aspp, transfer, attention)


def _stages_read(decoder: nn.Module, count: int) -> int:
    """Return how many stages a decoder needs, the finest included, out of so many."""
    if isinstance(decoder, DetectionHead):
        return decoder.reads[0] + 1
    return decoder.stage + 1 if isinstance(decoder, TwoLayerDecoder) else count


def _check_sizes(spec: NetworkSpec) -> None:
    """Raise a ValueError for an unknown name, or a size that does not exist."""
    if not str(spec.encoder).startswith(TIMM):
        _check_name('encoder', spec.encoder, [*ENCODERS, f'{TIMM}NAME'])
    _check_name('sharing', spec.sharing, SHARING)
    _check_name('aggregation', spec.aggregation, AGGREGATIONS)
    if not _whole(spec.frames, MAX_FRAMES):
        raise ValueError(
            f'frames is {spec.frames!r}; it must be a whole number from 1 to {MAX_FRAMES}')

    if spec.finest_stride not in (2, 4, 8):
        raise ValueError(f'finest_stride is {spec.finest_stride!r}; it must be 2, 4 or 8')
    if not isinstance(spec.pyramid, int) or spec.pyramid < 0 or spec.pyramid % 2:
        raise ValueError(f'pyramid is {spec.pyramid!r}; it must be 0 (none) or even and positive')
    if not isinstance(spec.decoder_width, int) or spec.decoder_width < 0 or spec.decoder_width % 2:
        raise ValueError(
            f'decoder_width is {spec.decoder_width!r}; it must be 0 (that of the paper) or even '
            'and positive')

    if spec.pyramid and spec.aspp:
        raise ValueError('pyramid and aspp are both set; a network has one of them or none')
    if spec.sharing == 'cross_stitch' and (spec.pyramid or spec.aspp):
        raise ValueError(
            f'sharing is cross_stitch with pyramid {spec.pyramid} and aspp {spec.aspp}, which all '
            'tasks would share, but each task has its own features; set both to 0')


def _encoder(spec: NetworkSpec, tasks: Collection[str]) -> Encoder:
    """Return the encoder, or one per task; raise a ValueError if there is none like that."""
    if spec.sharing == 'cross_stitch':
        if spec.encoder.startswith(TIMM):
            raise ValueError(
                f'sharing is cross_stitch and encoder {spec.encoder}: encoders are joined after '
                f'every stage, but those of timm run as a whole; choose one of {list(ENCODERS)}')
        hard = dataclasses.replace(spec, sharing='hard')
        return CrossStitchEncoder({task: _encoder(hard, ()) for task in tasks})

    if not spec.encoder.startswith(TIMM):
        return ENCODERS[spec.encoder](spec.finest_stride, spec.output_stride)
    if spec.output_stride != 32:
        raise ValueError(
            f'output_stride is {spec.output_stride}; {spec.encoder} has 32 only, a ResNet 8, 16 '
            'or 32')
    return TimmEncoder(spec.encoder.removeprefix(TIMM), spec.finest_stride)


def without_transfer(
    spec: NetworkSpec, weights: Mapping[str, Tensor],
) -> tuple[NetworkSpec, dict[str, Tensor]]:
    """
    Return the spec and the weights without the task-transfer networks, which are not deployed.

    :param spec: of the trained network.
    :param weights: its state dict.
    """
    kept = {name: value for name, value in weights.items() if not name.startswith('transfer.')}
    return dataclasses.replace(spec, transfer=False), kept


def _decoder_names(spec: NetworkSpec) -> dict[str, str]:
    """Return task -> name of its decoder; raise a ValueError for what does not fit its task."""
    if not spec.channels:
        raise ValueError('channels is empty; name at least one task, such as {"semantic": 12}')
    if not isinstance(spec.decoders, dict):
        raise ValueError(f'decoders is {spec.decoders!r}; it must be a table, task -> decoder')
    if unknown := sorted(set(spec.decoders) - set(spec.channels)):
        raise ValueError(
            f'decoders names {unknown}; the tasks in channels are {list(spec.channels)}')

    names = {}
    for task, count in spec.channels.items():
        if not _whole(count, 255):
            raise ValueError(
                f'channels of task {task!r} is {count!r}; it must be a whole number from 1 to 255')
        if count not in (fixed := FIXED_CHANNELS.get(task, (count,))):
            raise ValueError(
                f'channels of task {task!r} is {count}; it must be '
                f'{" or ".join(map(str, fixed))}')

        # boxes need a decoder with anchors, everything else one with a map
        boxes = task == 'detection'
        name = spec.decoders.get(task, 'yolo' if boxes else 'fcn8')
        _check_name(f'decoder of task {task!r}', name, DECODERS)
        if (name in BOX_DECODERS) != boxes:
            fitting = [known for known in DECODERS if (known in BOX_DECODERS) == boxes]
            raise ValueError(f'decoder of task {task!r} is {name!r}; it must be one of {fitting}')
        names[task] = name

    if unknown := sorted(set(spec.initial) - set(spec.channels)):
        raise ValueError(
            f'initial names {unknown}; the tasks in channels are {list(spec.channels)}')
    _check_anchors(spec)
    return names


def _check_anchors(spec: NetworkSpec) -> None:
    """Raise a ValueError unless detection, and it alone, has anchors of a valid size."""
    if ('detection' in spec.channels) != bool(spec.anchors):
        raise ValueError(
            f'there are {len(spec.anchors)} anchors and the tasks are {list(spec.channels)}; '
            'detection needs anchors, see mtl_perception.losses.anchors, other tasks have none')
    for anchor in spec.anchors:
        if len(anchor) != 2 or not all(0 < side <= 1 for side in anchor):
            raise ValueError(
                f'an anchor is {anchor}; it must be [width, height] as fractions of the image, '
                'above 0 and at most 1')


def _detection_head(spec: DecoderSpec, stride: int) -> DetectionHead:
    """Return a detection head on the stage of a stride."""
    if stride not in spec.strides:
        raise ValueError(
            f'there is no stage of stride {stride} for the detection; the strides are '
            f'{list(spec.strides)}, see finest_stride and output_stride')
    index = spec.strides.index(stride)
    return DetectionHead(spec.channels[index], spec.anchors, spec.outputs, stride, index)


def _check_name(kind: str, name: str, table: Collection[str]) -> None:
    """Raise a ValueError for a name that is not in a table."""
    if name not in table:
        raise ValueError(f'unknown {kind} {name!r}{did_you_mean(name, list(table))}')


def _whole(value: object, highest: int) -> bool:
    """Return whether a value is a whole number from 1 to the highest."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= highest
