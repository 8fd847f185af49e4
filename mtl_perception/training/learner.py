# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From a batch of clips to one loss per task."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from mtl_perception.losses import LogDepthLoss, MotionCrossEntropy, PixelCrossEntropy
from mtl_perception.tasks import UNKNOWN_MOTION, Task
from mtl_perception.training.batches import Batch
from mtl_perception.weighting.shared import Shared, tapped


class ClipLearner(nn.Module):
    """
    Run a network over clips as it will be run over a stream, and measure its losses.

    All frames of a clip are encoded once, in one batch. Frame t is decoded with the features of
    frame t - 1; frame 0 has none and is decoded with its own, as after a reset, where nothing can
    be said about motion: its motion labels are ignored.

    :param network: has ``frames``, ``encode``, ``share``, ``decode_shared``, ``last_shared``.
    :param mean: RGB mean that is subtracted from the pixels, 0 to 255.
    :param std: RGB standard deviation that they are divided by, 0 to 255.
    :param losses: task name -> loss.
    :param detached: tasks that learn from the features without changing them.
    :param precision: of encoder and pyramid: ``fp32`` or ``bf16``; decoders are always fp32.
    """

    mean: Tensor
    std: Tensor

    def __init__(
            self, network: nn.Module, mean: Sequence[float], std: Sequence[float],
            losses: Mapping[str, nn.Module], detached: Collection[str] = (),
            precision: str = 'fp32') -> None:
        super().__init__()
        self.network = network
        self.detached = tuple(detached)
        self.precision = precision
        self.register_buffer('mean', torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.losses = nn.ModuleDict(losses)
        self.shared: Shared | None = None
        """What the losses of the last batch have in common."""

    def outputs(self, image: Tensor) -> dict[str, Tensor]:
        """
        Return task name -> (B * T, K, H, W) output of every frame, clip after clip.

        :param image: (B, T, H, W, 3) uint8.
        """
        network: Any = self.network
        with self._autocast(image):
            outputs: dict[str, Tensor] = network.decode_shared(self._stages(image), self.detached)
        return outputs

    def _autocast(self, image: Tensor) -> AbstractContextManager[Any]:
        """Return the context that encoder and pyramid compute in."""
        return torch.autocast(
            image.device.type, torch.bfloat16, enabled=self.precision == 'bf16')

    def _stages(self, image: Tensor) -> list[Tensor]:
        """Return what every decoder sees of (B, T, H, W, 3) uint8 clips."""
        clips = len(image)
        pixels = image.flatten(0, 1).permute(0, 3, 1, 2)  # channels last in memory already
        network: Any = self.network
        features = network.encode((pixels.float() - self.mean) / self.std)
        previous = None
        if network.frames == 2:
            previous = [_before(stage, clips) for stage in features]
        stages: list[Tensor] = network.share(features, previous)
        return stages

    def forward(self, batch: Batch, tasks: Collection[str] | None = None) -> dict[str, Tensor]:
        """
        Return task name -> 0-dimensional loss; a task without labels in the batch is left out.

        :param batch: see :data:`mtl_perception.training.batches.Batch`.
        :param tasks: the tasks to compute; all if None. The decoders of the others do not run.
        """
        wanted = [task for task in self.losses
                  if task in batch and (tasks is None or task in tasks)]
        network: Any = self.network
        self.shared = None  # what the last batch has left is not needed any more
        with self._autocast(batch['image']):
            taps = tapped(self._stages(batch['image']))
            outputs = network.decode_shared(taps, self.detached, wanted)
        self.shared = Shared(taps, network.last_shared())
        losses = {}
        for task in wanted:
            loss = self.losses[task]
            target = batch[task]
            if task == 'motion':
                target = target.clone()
                target[:, 0] = UNKNOWN_MOTION
            value = loss(outputs[task], target.flatten(0, 1))
            if value is not None:
                losses[task] = value
        return losses


def _before(stage: Tensor, clips: int) -> Tensor:
    """
    Return the features of each frame's predecessor; the first of a clip is its own.

    Indexing would do the same, but its gradient takes a sixth of a training step on a CPU.

    :param stage: (clips * T, C, h, w), clip after clip.
    """
    pixels = stage.permute(0, 2, 3, 1)
    pixels = pixels.reshape(clips, -1, *pixels.shape[1:])
    shifted = torch.cat((pixels[:, :1], pixels[:, :-1]), dim=1)
    return shifted.flatten(0, 1).permute(0, 3, 1, 2)


def build_losses(
        tasks: Sequence[Task], class_weights: Sequence[float] | None, depth_beta: float,
        moving_weight: float) -> dict[str, nn.Module]:
    """
    Return task name -> loss.

    :param tasks: tasks of the network.
    :param class_weights: weight of each semantic class, None for ones.
    :param depth_beta: width of the quadratic part of the depth loss.
    :param moving_weight: weight of a moving pixel.
    """
    losses: dict[str, nn.Module] = {}
    for task in tasks:
        if task.name == 'semantic':
            losses[task.name] = PixelCrossEntropy(class_weights)
        elif task.name == 'depth':
            losses[task.name] = LogDepthLoss(task.maximum, depth_beta)
        elif task.name == 'motion':
            losses[task.name] = MotionCrossEntropy(moving_weight)
        else:
            raise ValueError(f'no loss for task {task.name!r}')
    return losses
