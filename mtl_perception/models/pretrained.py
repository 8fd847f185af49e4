# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pretrained weights for an encoder; every file is checked before it is used."""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models import get_model_weights

from mtl_perception.errors import CheckpointError, ConfigurationError
from mtl_perception.models.encoders import Encoder
from mtl_perception.models.published import read_published
from mtl_perception.models.timm_encoder import TIMM, TimmEncoder
from mtl_perception.name_checks import nearest_hint
from mtl_perception.reason_codes import ReasonCode

TORCHVISION = ('resnet18', 'resnet34', 'resnet50', 'resnet101', 'mobilenet_v2')
"""Encoders with weights in torchvision."""

CLASSIFIERS = ('fc.', 'classifier.')
"""Prefixes of the names of a classifier's last layers, which an encoder does not have."""

OURS = 'encoder.'
"""Prefix of the names of an encoder in a model of this package."""

TOLERANCE = 0.5
"""Largest difference of means and deviations that is taken for rounding, 0 to 255."""

SHOWN = 5
"""Largest number of names in an error message."""


def load_encoder(
    encoder: Encoder, name: str, source: str | Path, by_order: bool = False,
) -> None:
    """
    Load the weights of a classifier, without its last layers, into an encoder.

    :param encoder: modified in place.
    :param name: its name in a recipe, see :data:`mtl_perception.models.build.ENCODERS`.
    :param source: ``torchvision``, which downloads once and keeps the file in torch's cache;
        ``published``, a package's wheel, see :mod:`mtl_perception.models.published`;
        ``timm:NAME``, the same through timm (Wightman, PyTorch Image Models), whose ResNets have
        torchvision's names; or the path of a state dict, ``.safetensors`` or of ``torch.save``. Of
        a model of this package only the encoder is used.
    :param by_order: match the weights by their order instead of by their names, for those of
        another implementation of the same network. Number and shapes must be the same, which does
        not prove that the order is: use it only for a file whose network is known.
    :raises ConfigurationError: if torchvision has no weights of this encoder, or timm is missing.
    :raises CheckpointError: ``M01`` if the file is missing, ``M02`` if it is not a state dict,
        ``M06`` if it does not fit, ``M08`` if it holds a number that is not finite.
    """
    if str(source) == 'torchvision':
        weights = _downloaded(name)
    elif str(source) == 'published':
        weights = read_published(name)
    elif str(source).startswith(TIMM):
        weights = _from_timm(str(source).removeprefix(TIMM))
    else:
        weights = _read(Path(source))

    # Compare what both sides name: counters of batches do not matter, a classifier's head and the
    # rest of a model of this package are not needed.
    expected = {
        key: value for key, value in encoder.state_dict().items()
        if not key.endswith('num_batches_tracked')}
    if own := {key.removeprefix(OURS): value for key, value in weights.items()
               if key.startswith(OURS)}:
        weights = own
    elif isinstance(encoder, TimmEncoder):
        weights = encoder.own_names(weights)

    found = {
        key: value for key, value in weights.items()
        if not key.endswith('num_batches_tracked') and not key.startswith(CLASSIFIERS)}
    if by_order and len(found) == len(expected):
        found = dict(zip(expected, found.values()))

    if problems := _misfits(found, expected, by_order):
        raise CheckpointError(
            f'{source}: the weights do not fit the encoder {name}: {"; ".join(problems)}',
            ReasonCode.MODEL_ARCHITECTURE)
    for key, value in found.items():
        if not bool(torch.isfinite(value).all()):
            raise CheckpointError(
                f'{source}: {key} has numbers that are not finite; use another file',
                ReasonCode.WEIGHTS_NOT_FINITE)

    encoder.load_state_dict(found, strict=False)  # only counters of batches can be missing


def check_normalisation(
    source: str, mean: Sequence[float], std: Sequence[float],
) -> None:
    """
    Refuse weights of timm for images that are normalised in another way; nothing is downloaded.

    :param source: as in :func:`load_encoder`; other sources than timm have ImageNet's constants or
        are not known, and pass.
    :param mean: RGB mean that is subtracted from the pixels, 0 to 255.
    :param std: RGB standard deviation that the pixels are divided by, 0 to 255.
    :raises ConfigurationError: if the constants differ, or timm is missing or has no such model.
    """
    if not source.startswith(TIMM):
        return
    timm = _timm(source)
    model = source.removeprefix(TIMM)

    if not timm.is_model(model):
        raise ConfigurationError(
            f'network.pretrained is {source}, but timm {timm.__version__} has no such model'
            f'{nearest_hint(model, timm.list_models(), 3)}')
    tags = timm.list_pretrained(model.partition('.')[0] + '.*')
    if model not in tags and ('.' in model or not tags):
        raise ConfigurationError(
            f'network.pretrained is {source}, but timm has no such weights; it has {tags}')
    known = timm.get_pretrained_cfg(model)

    # timm's constants are those of images from 0 to 1
    wanted_mean = [round(255 * value, 3) for value in known.mean]
    wanted_std = [round(255 * value, 3) for value in known.std]
    differences = [abs(one - other) for one, other in zip(
        (*wanted_mean, *wanted_std), (*mean, *std))]
    if max(differences) > TOLERANCE:
        raise ConfigurationError(
            f'network.mean is {list(mean)} and network.std {list(std)}, but {source} learned from '
            f'images with {wanted_mean} and {wanted_std}; set --network.mean "{wanted_mean}" '
            f'--network.std "{wanted_std}"')


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
            f'{choice.url} elsewhere and give the path of the file',
            ReasonCode.MODEL_UNREADABLE) from error
    return weights


def _from_timm(model: str) -> Mapping[str, Tensor]:
    """Return the weights of a model of timm."""
    timm = _timm(f'{TIMM}{model}')
    try:
        weights: Mapping[str, Tensor] = timm.create_model(model, pretrained=True).state_dict()
    except (OSError, RuntimeError) as error:  # no network, no such model
        raise CheckpointError(
            f'timm:{model} could not be downloaded ({error}); without a network, get the file '
            'elsewhere and give its path', ReasonCode.MODEL_UNREADABLE) from error
    return weights


def _timm(source: str) -> Any:
    """Return the module timm; raise a ConfigurationError if it is not installed."""
    try:
        import timm
    except ImportError as error:
        raise ConfigurationError(
            f'network.pretrained is {source}, which needs timm, and timm is not installed; '
            "pip install 'mtl_perception[timm]' brings it") from error
    return timm


def _read(path: Path) -> Mapping[str, Tensor]:
    """Return the state dict of a file, without running code from it."""
    path = path.expanduser()
    if not path.is_file():
        raise CheckpointError(
            f'{path}: no such file; give the path of a state dict, or "torchvision" to download',
            ReasonCode.MODEL_UNREADABLE)

    try:
        found = (
            load_file(path) if path.suffix == '.safetensors' else
            torch.load(path, map_location='cpu', weights_only=True))
    except OSError as error:
        raise CheckpointError(
            f'{path}: cannot be read ({error})', ReasonCode.MODEL_UNREADABLE) from error

    # torch and safetensors raise many kinds for a file that is something else
    except (RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError,
            SafetensorError) as error:
        reason = (str(error).splitlines() or [''])[0]
        raise CheckpointError(
            f'{path}: not a file of weights ({type(error).__name__}: {reason}); wanted '
            '.safetensors or a state dict written by torch.save',
            ReasonCode.MODEL_FOREIGN) from error

    # checkpoints of other projects keep the weights one level down
    if isinstance(found, dict) and isinstance(found.get('state_dict'), dict):
        found = found['state_dict']
    if not isinstance(found, dict) or not found or not all(
            isinstance(value, Tensor) for value in found.values()):
        raise CheckpointError(
            f'{path}: holds {type(found).__name__}, wanted a state dict, name -> tensor',
            ReasonCode.MODEL_FOREIGN)
    return found


def _misfits(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], by_order: bool,
) -> list[str]:
    """Return messages on missing and unexpected names and on wrong shapes."""
    if by_order and len(found) != len(expected):
        return [f'{len(found)} tensors, wanted {len(expected)}']

    kinds = {
        'missing': [key for key in expected if key not in found],
        'unexpected': [key for key in found if key not in expected],
        'of another shape': [
            f'{key} is {tuple(found[key].shape)}, wanted {tuple(expected[key].shape)}'
            for key in expected if key in found and found[key].shape != expected[key].shape]}
    return [
        f'{len(names)} {kind}: {", ".join(names[:SHOWN])}{", ..." if len(names) > SHOWN else ""}'
        for kind, names in kinds.items() if names]
