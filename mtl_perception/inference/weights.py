# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Load a network from the files of a model; everything in them is checked."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mtl_perception.errors import CheckpointError
from mtl_perception.manifest import Manifest, read_model
from mtl_perception.models.build import build_network
from mtl_perception.models.encoders import check_size
from mtl_perception.models.siamese import SiameseMultiTaskNetwork
from mtl_perception.reason_codes import ReasonCode

MAX_PIXELS = 2 ** 25
KINDS = {
    'semantic': 'classes', 'depth': 'regression', 'motion': 'classes', 'instance': 'offsets',
    'detection': 'boxes'}
SHOWN = 5


def load_network(model: str | Path) -> tuple[Manifest, SiameseMultiTaskNetwork]:
    """
    Return a network with the weights of a model, and its manifest.

    The weights must match their sha256, be finite and fit exactly the architecture in the
    manifest. They may be stored in half precision; they are float32 afterwards.

    :param model: name of a shipped model or path of a ``.safetensors`` file.
    :raises CheckpointError: with the codes ``M01`` to ``M08`` if the model cannot be trusted or
        used.
    """
    manifest, content = read_model(model)
    check_manifest(manifest)

    try:
        weights = load(content)
    except (SafetensorError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise CheckpointError(
            f'{manifest.name}: not a safetensors file ({error}); export the model again',
            ReasonCode.MODEL_FOREIGN) from error

    # tensors that share bytes can claim more memory than the file has
    size = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    if size > 4 * len(content):
        raise CheckpointError(
            f'{manifest.name}: {len(content)} bytes claim tensors of {size} bytes; refusing to '
            'load', ReasonCode.MODEL_TOO_BIG)

    # on the meta device, random weights take neither time nor memory
    try:
        with torch.device('meta'):
            network = build_network(manifest.network)
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f'{manifest.name}: the manifest names a network that cannot be built: {error}',
            ReasonCode.MODEL_ARCHITECTURE) from error

    network.load_state_dict(
        _fitting(weights, network.state_dict(), manifest.name), strict=True, assign=True)
    return manifest, network.requires_grad_(False)


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


def _fitting(
    weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor], name: str,
) -> dict[str, Tensor]:
    """
    Return the weights in float32, one for every entry of the network.

    Counters of batches play no part in inference and may be missing.
    """
    counters = {key for key in wanted if key.endswith('num_batches_tracked')}
    missing = [key for key in wanted if key not in weights and key not in counters]
    unexpected = [key for key in weights if key not in wanted]
    reshaped = [
        f'{key} is {tuple(weights[key].shape)}, wanted {tuple(wanted[key].shape)}'
        for key in wanted if key in weights and weights[key].shape != wanted[key].shape]

    # one message with everything that does not fit
    problems = [
        f'{len(found)} {kind}: {", ".join(found[:SHOWN])}{", ..." if len(found) > SHOWN else ""}'
        for kind, found in (
            ('missing', missing), ('unexpected', unexpected), ('of another shape', reshaped))
        if found]
    if problems:
        raise CheckpointError(
            f'{name}: the weights do not fit the network of the manifest: '
            f'{"; ".join(problems)}', ReasonCode.MODEL_ARCHITECTURE)

    fitting: dict[str, Tensor] = {}
    for key in wanted:
        if key in counters:
            fitting[key] = torch.zeros((), dtype=torch.int64)
            continue

        tensor = weights[key].to(torch.float32)
        if not bool(torch.isfinite(tensor).all()):
            count = int((~torch.isfinite(tensor)).sum())
            raise CheckpointError(
                f'{name}: {count} of {tensor.numel()} numbers of {key} are not finite; the '
                'training diverged, use an earlier checkpoint', ReasonCode.WEIGHTS_NOT_FINITE)
        fitting[key] = tensor
    return fitting


def fuse_batch_norm(module: nn.Module) -> None:
    """
    Fold every batch normalisation of a ResNet or a pyramid into the convolution before it.

    Saves 3 to 4 % of the time on the CPU; the results differ only by rounding.

    :param module: in evaluation mode; changed.
    """
    children = dict(module.named_children())
    for child in children.values():
        fuse_batch_norm(child)
    for first, second in (('conv1', 'bn1'), ('conv2', 'bn2'), ('conv3', 'bn3'), ('0', '1')):
        convolution, norm = children.get(first), children.get(second)
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, first, fuse_conv_bn_eval(convolution, norm))
            setattr(module, second, nn.Identity())
