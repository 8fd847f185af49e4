# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Load a network from the files of a model; everything in them is checked."""

import itertools
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mtl_perception.errors import CheckpointError
from mtl_perception.inference.manifest_checks import check_manifest
from mtl_perception.manifest import Manifest, read_model
from mtl_perception.models.build import build_network
from mtl_perception.models.siamese import SiameseMultiTaskNetwork
from mtl_perception.models.timm_encoder import TimmEncoder
from mtl_perception.reason_codes import ReasonCode

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
    Fold every batch normalisation of our encoders and pyramids into the convolution before it.

    The results differ only by rounding.

    :param module: in evaluation mode; changed. An encoder of timm stays as it is: what it calls
        ``bn1`` may come before ``conv1``, or hold an activation.
    """
    if isinstance(module, TimmEncoder):
        return
    children = dict(module.named_children())
    for child in children.values():
        fuse_batch_norm(child)

    pairs = [('conv1', 'bn1'), ('conv2', 'bn2'), ('conv3', 'bn3'),
             *((name, f'{name}_norm') for name in children)]
    if isinstance(module, nn.Sequential):
        pairs += itertools.pairwise(children)
    for first, second in pairs:
        convolution, norm = children.get(first), children.get(second)
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, first, fuse_conv_bn_eval(convolution, norm))
            setattr(module, second, nn.Identity())
