# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Any convolutional encoder of timm, under the contract of the other encoders."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mtl_perception.models.encoders import STRIDES, Encoder
from mtl_perception.name_checks import nearest_hint
from mtl_perception.preprocessing import check_size

TIMM = 'timm:'
"""What the name of such an encoder starts with in a recipe."""

TRIAL = (128, 192)
"""Rows and columns of the image that shows the strides of an encoder; multiples of 32."""


class TimmEncoder(Encoder):
    """
    An encoder of timm (Wightman, PyTorch Image Models, 2019), through its ``features_only``.

    The weights are random; nothing is downloaded. Parameters carry timm's names below
    ``features.``. The stages are the last outputs at the strides from ``finest_stride`` to 32.

    :param name: of an architecture, one of ``timm.list_models()``.
    :param finest_stride: stride of the finest stage to return, 2, 4, 8, 16 or 32.
    :raises ValueError: if timm is missing or has no such architecture, or if the architecture
        lacks one of the strides or takes images of one size only.
    """

    def __init__(self, name: str, finest_stride: int = 8) -> None:
        if finest_stride not in STRIDES:
            raise ValueError(f'finest_stride is {finest_stride}; it must be one of {STRIDES}')
        self._name = name
        features = _created(name, features_only=True)
        outputs = _tried(name, features)

        # the deepest output of each stride; one that is not channels first has no stride here
        last = dict[int, int]()
        for index, output in enumerate(outputs):
            rows, columns = output.shape[-2:]
            if rows * TRIAL[1] == columns * TRIAL[0]:
                last[TRIAL[0] // rows] = index
        wanted = STRIDES[STRIDES.index(finest_stride):]
        if not set(wanted) <= set(last) or max(last) > STRIDES[-1]:
            raise ValueError(
                f'encoder {TIMM}{name} has stages of the strides {list(last)}, wanted '
                f'{list(wanted)} and none above; choose a larger finest_stride or another encoder')

        super().__init__(
            wanted, [outputs[last[stride]].shape[1] for stride in wanted], range(len(wanted)))
        self._outputs = [last[stride] for stride in wanted]
        self.features = features

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the feature maps from ``finest_stride`` on, see :meth:`.Encoder.forward`."""
        check_size(image.shape[-2], image.shape[-1])
        stages = self.features(image)
        return [stages[index] for index in self._outputs]

    def own_names(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """
        Return the weights of timm's whole model under the names of this encoder.

        ``features_only`` renames ``stages.0`` to ``stages_0`` in some models and puts ``model.``
        before the names in others. Weights of layers that only the whole model has are left out.

        :param weights: name -> tensor; names that the whole model lacks are kept.
        """
        own = {_plain(key.removeprefix('features.')): key for key in self.state_dict()}
        with torch.device('meta'):
            whole = _created(self._name).state_dict()
        return {
            own.get(_plain(key), key): value for key, value in weights.items()
            if _plain(key) in own or key not in whole}


def _plain(key: str) -> str:
    """Return the name of a weight in the form that is the same with and without renaming."""
    return key.removeprefix('model.').replace('.', '_')


def _created(name: str, features_only: bool = False) -> nn.Module:
    """Return a model of timm with random weights; raise a ValueError if there is none."""
    try:
        import timm
    except ImportError as error:
        raise ValueError(
            f"the encoder {TIMM}{name} is built by timm, which is not installed; pip install "
            "'mtl_perception[timm]' brings it, wherever such a model is trained or loaded; a "
            'graph of it (mtl export) runs without') from error

    if name not in timm.list_models():
        tag = (f'; {name.partition(".")[2]!r} names weights, which belong in network.pretrained'
               if name.partition('.')[0] in timm.list_models() else '')
        raise ValueError(
            f'timm {timm.__version__} has no model {name!r}'
            f'{tag or nearest_hint(name, timm.list_models(), 3)}')

    try:
        model: nn.Module = timm.create_model(
            name, pretrained=False, **({'features_only': True} if features_only else {}))
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f'encoder {TIMM}{name}: timm cannot make it with features_only ({error}); choose '
            'another one') from error
    return model


def _tried(name: str, features: nn.Module) -> list[Any]:
    """Return the outputs for a small image; raise a ValueError if it is not accepted."""
    device = next(features.parameters()).device
    features.eval()
    try:
        with torch.no_grad():
            outputs: list[Any] = features(torch.zeros(1, 3, *TRIAL, device=device))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ValueError(
            f'encoder {TIMM}{name} does not take images of any size that is a multiple of 32 '
            f'({error}); choose another one, such as a convolutional one') from error
    features.train()
    return outputs
