# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Keep the features of an encoder near those that it started with."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

STAGES = 2
"""Coarsest stages that are compared; the finer ones hold edges, which any training keeps."""


class FeatureDistance(nn.Module):
    """
    Distance of an encoder's features to those of its initial weights.

    A network that is trained on drawn images alone forgets the real textures that its encoder
    knew from ImageNet. Hoyer et al. (DAFormer, CVPR 2022) therefore add the distance to the
    features of the frozen initial encoder, on things. Here it is taken everywhere, as 1 - cosine
    over the channels of each position, which does not depend on the scale of the features.

    :param encoder: with the initial weights; it is frozen.
    :param weight: factor on the distance.
    """

    def __init__(self, encoder: nn.Module, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight
        self.encoder = encoder.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> 'FeatureDistance':
        """Stay in evaluation mode, whatever the mode of the network around it."""
        return super().train(False)

    def forward(self, image: Tensor, features: Sequence[Tensor]) -> Tensor:
        """
        Return the weighted mean distance, 0-dimensional; 0 for the same direction, 2 for the
        opposite one.

        :param image: (N, 3, H, W) float, normalised.
        :param features: of the encoder in training for this image, finest first.
        """
        with torch.no_grad():
            initial = self.encoder(image)

        distances = [
            1 - functional.cosine_similarity(mine.float(), theirs.float()).mean()
            for mine, theirs in zip(features[-STAGES:], initial[-STAGES:])]
        return self.weight * torch.stack(distances).mean()
