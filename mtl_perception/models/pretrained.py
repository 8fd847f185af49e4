# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Weights that an encoder starts from, nothing taken on trust."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models import get_model_weights

from mtl_perception.errors import CheckpointError, ConfigurationError
from mtl_perception.models.encoders import Encoder
from mtl_perception.models.published import read_published

TORCHVISION = ('resnet18', 'resnet34', 'resnet50', 'resnet101', 'mobilenet_v2')
"""Encoders for which torchvision has weights."""

CLASSIFIERS = ('fc.', 'classifier.')
"""What the names of a classifier's last layers start with; an encoder has none."""

OURS = 'encoder.'
"""What the names of an encoder start with in a model of this package."""

SHOWN = 5


def load_encoder(
    encoder: Encoder, name: str, source: str | Path, by_order: bool = False,
) -> None:
    """
    Give an encoder the weights of a classifier, without its last layers.

    :param encoder: changed.
    :param name: its word in :data:`mtl_perception.models.build.ENCODERS`.
    :param source: ``torchvision``, which downloads once and keeps the file in torch's cache;
        ``published``, a package's wheel, see :mod:`mtl_perception.models.published`;
        ``timm:NAME``, the same through timm (Wightman, PyTorch Image Models), whose ResNets have
        the names of torchvision's; or the path of a state dict, ``.safetensors`` or of
        ``torch.save``. Of a model of this package, what it has beside its encoder is left out.
    :param by_order: match the weights by their order instead of by their names, for those of
        another implementation of the same network. Number and shapes must be the same, which does
        not prove that the order is: only for a file whose network is known.
    :raises ConfigurationError: if torchvision has no weights of this encoder.
    :raises CheckpointError: ``M01`` if the file cannot be had, ``M02`` if it is no state dict,
        ``M06`` if it does not fit, ``M08`` if it holds a number that is not finite.
    """
    if str(source) == 'torchvision':
        weights = _downloaded(name)
    elif str(source) == 'published':
        weights = read_published(name)
    elif str(source).startswith('timm:'):
        weights = _from_timm(str(source).removeprefix('timm:'))
    else:
        weights = _read(Path(source))
    wanted = {
        key: value for key, value in encoder.state_dict().items()
        if not key.endswith('num_batches_tracked')}
    if own := {key.removeprefix(OURS): value for key, value in weights.items()
               if key.startswith(OURS)}:
        weights = own
    found = {
        key: value for key, value in weights.items()
        if not key.endswith('num_batches_tracked') and not key.startswith(CLASSIFIERS)}
    if by_order and len(found) == len(wanted):
        found = dict(zip(wanted, found.values()))
    if problems := _misfits(found, wanted, by_order):
        raise CheckpointError(
            f'{source}: the weights do not fit the encoder {name}: {"; ".join(problems)}', 'M06')
    for key, value in found.items():
        if not bool(torch.isfinite(value).all()):
            raise CheckpointError(
                f'{source}: {key} has numbers that are not finite; use another file', 'M08')
    encoder.load_state_dict(found, strict=False)  # only counters of batches can be missing


def _downloaded(name: str) -> Mapping[str, Tensor]:
    """Return torchvision's weights of an encoder."""
    if name not in TORCHVISION:
        raise ConfigurationError(
            f'torchvision has no weights of {name}, only of {list(TORCHVISION)}; choose one of '
            'these, or give the path of a file')
    choice = get_model_weights(name)['DEFAULT']
    try:
        weights: Mapping[str, Tensor] = choice.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network, no space; another hash
        raise CheckpointError(
            f'the weights of {name} could not be downloaded ({error}); without a network, get '
            f'{choice.url} elsewhere and give the path of the file', 'M01') from error
    return weights


def _from_timm(model: str) -> Mapping[str, Tensor]:
    """Return the weights of a model of timm."""
    try:
        import timm
    except ImportError as error:
        raise ConfigurationError(
            f'timm:{model} needs timm, which is not installed: pip install timm') from error
    try:
        weights: Mapping[str, Tensor] = timm.create_model(model, pretrained=True).state_dict()
    except (OSError, RuntimeError) as error:  # no network, no such model
        raise CheckpointError(
            f'timm:{model} could not be had ({error}); without a network, get the file elsewhere '
            'and give its path', 'M01') from error
    return weights


def _read(path: Path) -> Mapping[str, Tensor]:
    """Return the state dict of a file; no code in it is run."""
    path = path.expanduser()
    if not path.is_file():
        raise CheckpointError(
            f'{path}: no such file; give the path of a state dict, or "torchvision" to download',
            'M01')
    try:
        found = (
            load_file(path) if path.suffix == '.safetensors' else
            torch.load(path, map_location='cpu', weights_only=True))
    except OSError as error:
        raise CheckpointError(f'{path}: cannot be read ({error})', 'M01') from error
    except (RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError,
            SafetensorError) as error:
        reason = (str(error).splitlines() or [''])[0]
        raise CheckpointError(
            f'{path}: not a file of weights ({type(error).__name__}: {reason}); wanted is '
            '.safetensors or what torch.save writes of a state dict', 'M02') from error
    if isinstance(found, dict) and isinstance(found.get('state_dict'), dict):
        found = found['state_dict']
    if not isinstance(found, dict) or not found or not all(
            isinstance(value, Tensor) for value in found.values()):
        raise CheckpointError(
            f'{path}: holds {type(found).__name__}, wanted a state dict, name -> tensor', 'M02')
    return found


def _misfits(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], by_order: bool,
) -> list[str]:
    """Return what is missing, unexpected and of another shape, each with some names."""
    if by_order and len(found) != len(wanted):
        return [f'{len(found)} tensors, wanted {len(wanted)}']
    kinds = {
        'missing': [key for key in wanted if key not in found],
        'unexpected': [key for key in found if key not in wanted],
        'of another shape': [
            f'{key} is {tuple(found[key].shape)}, wanted {tuple(wanted[key].shape)}'
            for key in wanted if key in found and found[key].shape != wanted[key].shape]}
    return [
        f'{len(names)} {kind}: {", ".join(names[:SHOWN])}{", ..." if len(names) > SHOWN else ""}'
        for kind, names in kinds.items() if names]
