# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From a batch of clips to one loss per task."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from mtl_perception.errors import ConfigurationError
from mtl_perception.inference.weights import load_network
from mtl_perception.losses import CrossTaskLoss
from mtl_perception.tasks import UNKNOWN_MOTION
from mtl_perception.training.dataloading import Batch
from mtl_perception.training.distributed import Ranks
from mtl_perception.weighting.shared import Shared, tapped


class ClipLearner(nn.Module):
    """
    Run a network over clips as it will be run over a stream, and measure its losses.

    All frames of a clip are encoded once, in one batch. Frame t is decoded with the features of
    frame t - 1, and of t - 2 and so on if the network looks at more; where there is none, the
    first frame stands for it. Frame 0 is decoded with its own, as after a reset, where nothing
    can be said about motion: its motion labels are ignored.

    :param network: has ``frames``, ``encode``, ``share``, ``decode_shared``, ``last_shared``, and
        ``transferred`` for a cross-task loss.
    :param mean: RGB mean that is subtracted from the pixels, 0 to 255.
    :param std: RGB standard deviation that they are divided by, 0 to 255.
    :param losses: task name -> loss.
    :param detached: tasks that learn from the features without changing them.
    :param cross_task: takes the place of the losses of semantics and depth if it is given.
    :param precision: of encoder and pyramid: ``fp32``, ``bf16`` or ``fp16``; decoders are always
        fp32.
    :param ranks: the processes that each compute the losses of a part of the batch.
    :param frozen: parts of the network that stay what they are, also their batch normalisations.
    """

    mean: Tensor
    std: Tensor

    def __init__(
            self, network: nn.Module, mean: Sequence[float], std: Sequence[float],
            losses: Mapping[str, nn.Module], detached: Collection[str] = (),
            precision: str = 'fp32', cross_task: CrossTaskLoss | None = None,
            ranks: Ranks | None = None, frozen: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.network = network
        self.detached = tuple(detached)
        self.precision = precision
        self.register_buffer('mean', torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.losses = nn.ModuleDict(losses)
        self.cross_task = cross_task
        self._ranks = ranks or Ranks()
        self._frozen = tuple(frozen)
        for part in self._frozen:
            part.requires_grad_(False)
        self.shared: Shared | None = None
        """What the losses of the last batch have in common."""

    def train(self, mode: bool = True) -> 'ClipLearner':
        """Set the mode of all parts but the frozen ones, which stay in that of evaluation."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def outputs(self, image: Tensor) -> dict[str, Tensor]:
        """
        Return task name -> (B * T, K, H, W) output of every frame, clip after clip.

        :param image: (B, T, H, W, 3) uint8.
        """
        network: Any = self.network
        with self._autocast(image):
            outputs: dict[str, Tensor] = network.decode_shared(self.stages(image), self.detached)
        return outputs

    def _autocast(self, image: Tensor) -> AbstractContextManager[Any]:
        """Return the context that encoder and pyramid compute in."""
        return torch.autocast(
            image.device.type, torch.float16 if self.precision == 'fp16' else torch.bfloat16,
            enabled=self.precision != 'fp32')

    def stages(self, image: Tensor) -> list[Tensor]:
        """
        Return what every decoder sees, each (B * T, C, h, w), clip after clip.

        :param image: (B, T, H, W, 3) uint8.
        """
        clips = len(image)
        pixels = image.flatten(0, 1).permute(0, 3, 1, 2)  # channels last in memory already
        network: Any = self.network
        features = network.encode((pixels.float() - self.mean) / self.std)
        earlier = [
            [_before(stage, clips, steps) for stage in features]
            for steps in range(1, network.frames)]
        stages: list[Tensor] = network.share(features, *earlier[:1], earlier=earlier[1:])
        return stages

    def forward(self, batch: Batch, tasks: Collection[str] | None = None) -> dict[str, Tensor]:
        """
        Return task name -> 0-dimensional loss; a task without labels in the batch is left out.

        With several ranks it is the loss of all their batches, see :meth:`Ranks.mean`.

        :param batch: see :data:`mtl_perception.training.dataloading.Batch`.
        :param tasks: the tasks to compute; all if None. The decoders of the others do not run.
        """
        several = self._ranks.count > 1  # whoever has no labels waits for those who have
        wanted = [task for task in self.losses
                  if (several or task in batch) and (tasks is None or task in tasks)]
        network: Any = self.network
        self.shared = None  # what the last batch has left is not needed any more
        with self._autocast(batch['image']):
            taps = tapped(self.stages(batch['image']))
            outputs = network.decode_shared(taps, self.detached, wanted)
            transferred = None
            if self.cross_task is not None and {'semantic', 'depth'} <= set(wanted):
                transferred = network.transferred(outputs)
        self.shared = Shared(taps, network.last_shared())
        targets = {task: self.target(task, batch[task]) for task in wanted if task in batch}
        losses: dict[str, Tensor] = {}
        if self.cross_task is not None and transferred is not None:
            losses = self.cross_task(outputs, transferred, targets)
        for task, target in targets.items():
            if transferred is not None and task in ('semantic', 'depth'):
                continue
            value = self.losses[task](outputs[task], target)
            if value is not None:
                losses[task] = value
        if not several:
            return losses
        amounts = {}
        for task in wanted:
            amounts[task] = torch.zeros(())
            if task in losses:
                amounts[task] = self.losses[task].amount(targets[task])  # type: ignore[operator]
            else:  # without gradient, but with the collectives of its backward pass
                losses[task] = 0 * outputs[task].float().mean()
        return self._ranks.mean({task: losses[task] for task in wanted}, amounts)

    @staticmethod
    def target(task: str, label: Tensor) -> Tensor:
        """
        Return the label of every frame, (B * T, ...).

        :param task: its name.
        :param label: (B, T, ...) of clips.
        """
        if task == 'motion':
            label = label.clone()
            label[:, 0] = UNKNOWN_MOTION
        return label.flatten(0, 1)


def _before(stage: Tensor, clips: int, steps: int = 1) -> Tensor:
    """
    Return the features of the frame so many steps before each; of the first where there is none.

    Indexing would do the same, but its gradient takes a sixth of a training step on a CPU.

    :param stage: (clips * T, C, h, w), clip after clip.
    :param clips: number of clips.
    :param steps: at least 1.
    """
    pixels = stage.permute(0, 2, 3, 1)
    pixels = pixels.reshape(clips, -1, *pixels.shape[1:])
    frames = pixels.shape[1]
    shifted = torch.cat(
        [pixels[:, :1]] * min(steps, frames) + [pixels[:, :max(frames - steps, 0)]], dim=1)
    return shifted.flatten(0, 1).permute(0, 3, 1, 2)


def load_start(network: nn.Module, model: str) -> None:
    """
    Give a network the weights of a model; its transfer networks, which no model has, keep theirs.

    :param network: changed.
    :param model: name of a shipped model or path of a ``.safetensors`` file.
    :raises ConfigurationError: if the model has other parts.
    :raises CheckpointError: if it cannot be trusted.
    """
    _, given = load_network(model)
    weights = {name: item for name, item in network.state_dict().items()
               if name.startswith('transfer')} | dict(given.state_dict())
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ConfigurationError(
            f'network.start is {model}, whose parts are not those of the recipe ({error}); take '
            'the model of such a recipe') from error
