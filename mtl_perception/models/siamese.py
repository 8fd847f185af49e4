# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the tasks share, one decoder per task, any number of frames."""

import typing
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from mtl_perception.models.aspp import ASPP
from mtl_perception.models.attention import TaskAttention
from mtl_perception.models.cross_stitch import CrossStitchEncoder
from mtl_perception.models.encoders import Encoder
from mtl_perception.models.pyramid import FeaturePyramid
from mtl_perception.models.ttnet import TTNet

Stages = Sequence[Tensor]
"""One (N, C_s, H / t_s, W / t_s) per stage, finest first."""


def concatenate(frames: Sequence[Stages]) -> list[Tensor]:
    """Return the stages of all frames concatenated along the channels, current frame first."""
    return [torch.cat(stages, dim=1) for stages in zip(*frames)]


def add(frames: Sequence[Stages]) -> list[Tensor]:
    """Return the sum of the frames' stages."""
    return [torch.stack(stages).sum(0) for stages in zip(*frames)]


AGGREGATIONS = {'concatenate': concatenate, 'sum': add}
"""Name in a recipe -> how the features of several frames are joined."""

SHARING = ('hard', 'cross_stitch', 'mtan')
"""
What the tasks share: the whole encoder (hard sharing), joined features of one encoder per task
(:class:`.CrossStitchEncoder`), or the encoder behind masks of each task (:class:`.TaskAttention`).
"""


class SiameseMultiTaskNetwork(nn.Module):
    """
    Predict every task from the current frame and, if there are several, the frames before it.

    MultiNet++ (Chennupati et al., MultiNet++: Multi-Stream Feature Aggregation and Geometric Loss
    Strategy for Multi-Task Learning, CVPRW 2019): all frames share the encoder, and each decoder
    sees the concatenation of their features, current first. A sum needs no more parameters than
    one frame, but cannot tell the frames apart.

    With one frame it is the network of the other papers: Kendall et al. (ASPP and two-layer
    decoders), Leang et al. (detection head and FCN8), XTasC-Net (U-Net decoders and TTNets). Two
    architectures to compare with stand beside hard sharing, see :data:`SHARING`.

    In training the encoder is called once on all frames together, so batch normalisation takes its
    statistics from all of them. Two calls would normalise each frame by its own statistics and
    update the running ones twice. In evaluation there is no difference.

    Shapes, for stage ``s`` with stride ``t_s`` and ``C_s`` channels:

    - image: (N, 3, H, W) float32, normalised; H and W divisible by the largest stride
    - features: list of (N, C_s, H / t_s, W / t_s), finest first; of a cross-stitch network those
      of the first task, then those of the second, and so on
    - output of a task with K channels: (N, K, H, W) float32, unnormalised; for depth one channel,
      the natural logarithm of metres; for instances two, x and y from the pixel to the centroid
      of its object in pixels; for detection (N, A (5 + C), H / t, W / t), see
      :mod:`mtl_perception.models.boxes`

    :param encoder: maps an image to features.
    :param decoders: one per task; each takes the joined stages, or those of the neck.
    :param frames: number of frames that the network takes.
    :param pyramid: neck between the features of all frames and the decoders, or None.
    :param aggregation: a key of :data:`AGGREGATIONS`.
    :param aspp: another neck, or None.
    :param transfer: ``semantic`` and ``depth`` -> network that predicts it from the other; the
        outputs do not depend on them.
    :param attention: masks of the tasks between the neck and the decoders, or None.
    """

    def __init__(
        self, encoder: Encoder, decoders: Mapping[str, nn.Module], frames: int = 2,
        pyramid: FeaturePyramid | None = None, aggregation: str = 'concatenate',
        aspp: ASPP | None = None, transfer: Mapping[str, TTNet] | None = None,
        attention: TaskAttention | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.pyramid = pyramid
        self.aspp = aspp
        self.attention = attention
        self.decoders = nn.ModuleDict(decoders)
        self.transfer = nn.ModuleDict(transfer) if transfer else None
        self.frames = frames
        self.aggregation = aggregation

    def encode(self, image: Tensor) -> list[Tensor]:
        """Return the features of a batch of images."""
        stages: list[Tensor] = self.encoder(image)
        return stages

    def decode(
        self, current: Stages, previous: Stages | None = None, detached: Collection[str] = (),
        earlier: Sequence[Stages] = (),
    ) -> dict[str, Tensor]:
        """
        Return every task's output.

        :param current: features of the current frame.
        :param previous: features of the previous frame; None for a network of one frame.
        :param detached: tasks whose gradients stop at the decoder, without reaching the encoder.
        :param earlier: features of the frames before the previous one, newest first, for a
            network of more than two.
        :raises ValueError: if the number of frames is not the network's.
        """
        return self.decode_shared(self.share(current, previous, earlier), detached)

    def share(
        self, current: Sequence[Tensor], previous: Sequence[Tensor] | None = None,
        earlier: Sequence[Sequence[Tensor]] = (),
    ) -> Stages:
        """
        Return the joined features, after the neck if there is one: what :meth:`read` begins with.

        :param current: features of the current frame.
        :param previous: features of the previous frame; None for a network of one frame.
        :param earlier: features of the frames before the previous one, newest first.
        :raises ValueError: if the number of frames is not the network's.
        """
        frames = [current, *([] if previous is None else [previous]), *earlier]
        self._check_frames(len(frames))
        stages = frames[0] if self.frames == 1 else AGGREGATIONS[self.aggregation](frames)
        return self.neck(stages)

    def decode_shared(
        self, stages: Sequence[Tensor], detached: Collection[str] = (),
        tasks: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        """
        Return the tasks' outputs.

        :param stages: from :meth:`share`.
        :param detached: tasks whose gradients stop at the decoder, without reaching the encoder.
        :param tasks: the tasks to compute; all if None.
        """
        fixed = [stage.detach() for stage in stages] if detached else stages
        return {
            task: decoder(self.read(task, fixed if task in detached else stages))
            for task, decoder in self.decoders.items() if tasks is None or task in tasks}

    def read(self, task: str, stages: Stages) -> Stages:
        """
        Return what the decoder of a task reads: all stages, its own, or those behind its masks.

        :param task: its name.
        :param stages: from :meth:`share`.
        """
        if isinstance(self.encoder, CrossStitchEncoder):
            count = len(self.encoder.strides)
            first = list(self.decoders).index(task) * count
            return stages[first:first + count]
        return stages if self.attention is None else self.attention(task, stages)

    def plain_encoders(self) -> list[Encoder]:
        """Return the shared encoder, or those of the tasks."""
        encoder = self.encoder
        return encoder.plain() if isinstance(encoder, CrossStitchEncoder) else [encoder]

    def joins_linearly(self) -> bool:
        """Return whether the decoders read the joined features of the frames as they are."""
        return (self.pyramid is None and self.aspp is None and self.attention is None
                and not isinstance(self.encoder, CrossStitchEncoder))

    def shared_behind(self) -> list[nn.Parameter]:
        """Return the parameters that several tasks share behind :meth:`share`."""
        return [] if self.attention is None else list(self.attention.extract.parameters())

    def last_shared(self) -> nn.Parameter | None:
        """
        Return the weight of the last convolution that all tasks share.

        A cross-stitch network has none: its tasks share features of all their encoders.

        With a pyramid that is the 3x3 convolution of its coarsest stage, from which every finer
        one is computed. Without one it is the last convolution of the encoder, which only the
        coarsest stage depends on. The branches of an ASPP are parallel: none of them is the last.
        """
        if isinstance(self.encoder, CrossStitchEncoder):
            return None
        if self.pyramid is not None:
            weight: nn.Parameter = self.pyramid.smooth[-1][0].weight  # type: ignore[index]
            return weight
        *_, last = (
            module for name, module in self.encoder.named_modules()
            if isinstance(module, nn.Conv2d) and 'downsample' not in name)
        return typing.cast(nn.Parameter, last.weight)

    def neck(self, stages: Stages) -> Stages:
        """Return the joined features after the pyramid or the ASPP, if there is one."""
        if self.pyramid is not None:
            stages = self.pyramid(stages)
        if self.aspp is not None:
            stages = self.aspp(stages)
        return stages

    def forward(self, image: Tensor, *previous: Tensor) -> dict[str, Tensor]:
        """
        Return every task's output.

        :param image: the current frame.
        :param previous: the frames before it, newest first; none for a network of one frame.
        :raises ValueError: if the number of frames is not the network's, or the size does not fit.
        """
        self._check_frames(1 + len(previous))
        if not previous:
            return self.decode(self.encode(image))

        # one call on all frames: they share the statistics of batch normalisation
        features = self.encode(torch.cat((image, *previous)))
        current, before, *earlier = zip(
            *(torch.split(stage, len(image)) for stage in features))
        return self.decode(current, before, (), earlier)

    def transferred(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """
        Return semantics predicted from depth and depth predicted from semantics.

        As in the authors' code of XTasC-Net, one reads the logarithms of the class probabilities,
        the other the unchanged depth output. Gradients pass through both into the decoder whose
        output is read.

        :param outputs: of :meth:`forward`.
        :return: ``semantic`` and ``depth``, each of the shape of its output.
        :raises ValueError: if the network was built without task-transfer networks.
        """
        if self.transfer is None:
            raise ValueError('the network has no task-transfer networks; build it with transfer')
        return {
            'semantic': self.transfer['semantic'](outputs['depth']),
            'depth': self.transfer['depth'](outputs['semantic'].log_softmax(1))}

    def _check_frames(self, found: int) -> None:
        """Raise a ValueError if the number of frames is not the network's."""
        if found != self.frames:
            raise ValueError(
                f'the network takes {self.frames} frame(s), but {found} were given')
