# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One shared encoder, one decoder per task, one or two frames."""

import typing
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from mtl_perception.models.encoders import ResNetEncoder
from mtl_perception.models.fcn8 import FCN8
from mtl_perception.models.pyramid import FeaturePyramid, join_frames


class SiameseMultiTaskNetwork(nn.Module):
    """
    Predict every task from the current frame and, with two frames, the previous one.

    MultiNet++ (Chennupati et al., MultiNet++: Multi-Stream Feature Aggregation and Geometric Loss
    Strategy for Multi-Task Learning, CVPRW 2019): both frames share the encoder, and each decoder
    sees the concatenation of their features, current first.

    In training the encoder is called once, on both frames together: batch normalisation takes
    its statistics from all of them, whereas two calls would normalise each frame by its own
    statistics and move the running ones twice. In evaluation the two are the same.

    Shapes, for stage ``s`` with stride ``t_s`` and ``C_s`` channels:

    - image: (N, 3, H, W) float32, normalised; H and W divisible by 32
    - features: list of (N, C_s, H / t_s, W / t_s), finest first
    - output of a task with K channels: (N, K, H, W) float32, unnormalised; for depth one channel,
      the natural logarithm of metres

    :param encoder: maps an image to features.
    :param decoders: one per task; each takes stages of frames * C_s channels, or those of the
        pyramid.
    :param frames: 1 or 2.
    :param pyramid: between the features of all frames and the decoders, None for none.
    """

    def __init__(
        self, encoder: ResNetEncoder, decoders: Mapping[str, FCN8], frames: int = 2,
        pyramid: FeaturePyramid | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.pyramid = pyramid
        self.decoders = nn.ModuleDict(decoders)
        self.frames = frames

    def encode(self, image: Tensor) -> list[Tensor]:
        """Return the features of a batch of images."""
        stages: list[Tensor] = self.encoder(image)
        return stages

    def decode(
        self, current: Sequence[Tensor], previous: Sequence[Tensor] | None = None,
        detached: Collection[str] = (),
    ) -> dict[str, Tensor]:
        """
        Return every task's output.

        :param current: features of the current frame.
        :param previous: features of the previous frame; None for a network of one frame.
        :param detached: tasks whose decoder learns from the features without changing them.
        :raises ValueError: if the number of frames is not the network's.
        """
        return self.decode_shared(self.share(current, previous), detached)

    def share(
        self, current: Sequence[Tensor], previous: Sequence[Tensor] | None = None,
    ) -> list[Tensor]:
        """
        Return what every decoder sees: the features of all frames, or the pyramid over them.

        :param current: features of the current frame.
        :param previous: features of the previous frame; None for a network of one frame.
        :raises ValueError: if the number of frames is not the network's.
        """
        self._check_frames(previous is not None)
        stages = list(current)
        if previous is not None:
            stages = join_frames(current, previous)
        if self.pyramid is not None:
            stages = self.pyramid(stages)
        return stages

    def decode_shared(
        self, stages: Sequence[Tensor], detached: Collection[str] = (),
        tasks: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        """
        Return the tasks' outputs.

        :param stages: from :meth:`share`.
        :param detached: tasks whose decoder learns from the features without changing them.
        :param tasks: the tasks to compute; all if None.
        """
        fixed = [stage.detach() for stage in stages] if detached else stages
        return {
            task: decoder(fixed if task in detached else stages)
            for task, decoder in self.decoders.items() if tasks is None or task in tasks}

    def last_shared(self) -> nn.Parameter:
        """
        Return the weight of the last convolution that all tasks share.

        That is the last 3x3 convolution of the pyramid's coarsest stage, from which every finer
        one comes, or, without a pyramid, the last convolution of the encoder, which only the
        coarsest stage comes from.
        """
        if self.pyramid is not None:
            weight: nn.Parameter = self.pyramid.smooth[-1][0].weight  # type: ignore[index]
            return weight
        *_, last = (
            module for name, module in self.encoder.named_modules()
            if isinstance(module, nn.Conv2d) and 'downsample' not in name)
        return typing.cast(nn.Parameter, last.weight)

    def forward(self, image: Tensor, previous: Tensor | None = None) -> dict[str, Tensor]:
        """
        Return every task's output.

        :param image: the current frame.
        :param previous: the previous frame; None for a network of one frame.
        :raises ValueError: if the number of frames is not the network's, or the size does not fit.
        """
        self._check_frames(previous is not None)
        if previous is None:
            return self.decode(self.encode(image))
        both = self.encode(torch.cat((image, previous)))
        count = image.shape[0]
        return self.decode([stage[:count] for stage in both], [stage[count:] for stage in both])

    def _check_frames(self, has_previous: bool) -> None:
        """Refuse one frame for a network of two and the other way round."""
        if has_previous != (self.frames == 2):
            raise ValueError(
                f'the network takes {self.frames} frame(s), but the previous frame '
                f'{"was" if has_previous else "was not"} given')
