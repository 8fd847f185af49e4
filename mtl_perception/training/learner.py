# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From a batch of clips to one loss per task."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from mtl_perception.errors import ConfigurationError
from mtl_perception.inference.torch_engine import cpu_has_bf16
from mtl_perception.inference.weights import load_network
from mtl_perception.losses import CrossTaskLoss, FeatureDistance
from mtl_perception.manifest import NetworkSpec
from mtl_perception.models.build import build_network
from mtl_perception.models.pretrained import load_encoder
from mtl_perception.models.siamese import SiameseMultiTaskNetwork
from mtl_perception.models.streaming import at_height
from mtl_perception.tasks import UNKNOWN_MOTION
from mtl_perception.training.config import TrainingConfig
from mtl_perception.training.dataloading import Batch
from mtl_perception.training.distributed import Ranks
from mtl_perception.weighting.shared import Shared, tapped


class ClipLearner(nn.Module):
    """
    Run a network over clips as it will run over a stream, and compute its losses.

    All frames of a clip are encoded once, in one batch. Frame t is decoded with the features of
    frame t - 1, and of t - 2 and so on if the network takes more frames; before the beginning of
    the clip the first frame is repeated. Frame 0 is decoded with its own features, as after a
    reset. It cannot show motion, so its motion labels are ignored.

    :param network: with task-transfer networks if there is a cross-task loss.
    :param mean: RGB mean that is subtracted from the pixels, 0 to 255.
    :param std: RGB standard deviation that the pixels are divided by, 0 to 255.
    :param losses: task name -> loss.
    :param detached: tasks whose gradient stops at the shared features.
    :param cross_task: replaces the losses of semantics and depth, None for none.
    :param precision: of encoder and pyramid: ``fp32``, ``bf16`` or ``fp16``, see
        :func:`precision_on`; decoders are always fp32.
    :param ranks: the processes that each compute the losses of a part of the batch.
    :param frozen: parts of the network that do not change, including their batch normalisations.
    :param familiar: distance of the encoder's features to its initial ones, None for none.
    """

    mean: Tensor
    std: Tensor

    def __init__(
            self, network: SiameseMultiTaskNetwork, mean: Sequence[float], std: Sequence[float],
            losses: Mapping[str, nn.Module], detached: Collection[str] = (),
            precision: str = 'fp32', cross_task: CrossTaskLoss | None = None,
            ranks: Ranks | None = None, frozen: Sequence[nn.Module] = (),
            familiar: FeatureDistance | None = None) -> None:
        super().__init__()
        self.network = network
        self.familiar = familiar
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
        """The features that all losses of the last batch were computed from."""
        self.unfamiliar: Tensor | None = None
        """Weighted distance of the last batch to the initial features; no strategy weights it."""

    def train(self, mode: bool = True) -> 'ClipLearner':
        """Set the mode of all parts except the frozen ones, which stay in evaluation mode."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def outputs(self, image: Tensor) -> dict[str, Tensor]:
        """
        Return task name -> (B * T, K, H, W) output of every frame, clip after clip.

        :param image: (B, T, H, W, 3) uint8.
        """
        with self._autocast(image):
            return self.network.decode_shared(self.stages(image), self.detached)

    def _autocast(self, image: Tensor) -> AbstractContextManager[Any]:
        """Return the context that gives encoder and pyramid their precision."""
        precision = precision_on(image.device, self.precision)
        return torch.autocast(
            image.device.type, torch.float16 if precision == 'fp16' else torch.bfloat16,
            enabled=precision != 'fp32')

    def stages(self, image: Tensor) -> list[Tensor]:
        """
        Return the features that every decoder reads, each (B * T, C, h, w), clip after clip.

        :param image: (B, T, H, W, 3) uint8.
        """
        clips = len(image)
        pixels = image.flatten(0, 1).permute(0, 3, 1, 2)  # channels last in memory already
        normalised = (pixels.float() - self.mean) / self.std
        features = self.network.encode(normalised)
        if self.familiar is not None and self.training:
            self.unfamiliar = self.familiar(normalised, features)

        # features of the frames before each frame, nearest first
        earlier = [
            [_before(stage, clips, steps) for stage in features]
            for steps in range(1, self.network.frames)]
        previous = earlier[0] if earlier else None
        return list(self.network.share(features, previous, earlier[1:]))

    def forward(self, batch: Batch, tasks: Collection[str] | None = None) -> dict[str, Tensor]:
        """
        Return task name -> 0-dimensional loss; tasks without labels in the batch are left out.

        With several ranks it is the loss over the batches of all of them, see :meth:`.Ranks.mean`.

        :param batch: see :data:`mtl_perception.training.dataloading.Batch`.
        :param tasks: the tasks to compute, all if None; the decoders of the others do not run.
        """
        # Ranks meet in collective calls, so a rank without labels computes the task too.
        several = self._ranks.count > 1
        wanted = [task for task in self.losses
                  if (several or task in batch) and (tasks is None or task in tasks)]

        self.shared = None  # frees the graph of the last batch
        with self._autocast(batch['image']):
            taps = tapped(self.stages(batch['image']))
            outputs = self.network.decode_shared(taps, self.detached, wanted)
            transferred = None
            if self.cross_task is not None and {'semantic', 'depth'} <= set(wanted):
                transferred = self.network.transferred(outputs)

        layer = self.network.last_shared()
        self.shared = None if layer is None else Shared(
            taps, layer, self.network.shared_behind())

        # labels of depth are seen from the height of each clip
        if 'depth' in outputs:
            outputs['depth'] = at_height(outputs['depth'], batch.get('height_ratio'))

        targets = {task: self.target(task, batch[task]) for task in wanted if task in batch}
        losses: dict[str, Tensor] = {}
        if self.cross_task is not None and transferred is not None:
            losses = self.cross_task(outputs, transferred, targets)
        for task, target in targets.items():
            if transferred is not None and task in ('semantic', 'depth'):
                continue  # the cross-task loss includes theirs
            value = self.losses[task](outputs[task], target)
            if value is not None:
                losses[task] = value
        return self._over_ranks(losses, outputs, targets) if several else losses

    def _over_ranks(
            self, losses: Mapping[str, Tensor], outputs: Mapping[str, Tensor],
            targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the losses over all ranks, of this rank's losses; weighted by labelled pixels."""
        own, amounts = dict[str, Tensor](), dict[str, Tensor]()
        for task, output in outputs.items():
            if task in losses:
                own[task] = losses[task]
                amounts[task] = self.losses[task].amount(targets[task])  # type: ignore[operator]
            else:
                # no gradient, but the backward pass makes the same collective calls
                own[task] = 0 * output.float().mean()
                amounts[task] = torch.zeros(())
        return self._ranks.mean(own, amounts)

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


def precision_on(device: torch.device, precision: str) -> str:
    """
    Return the precision to train in: fp32 in place of bf16 on a CPU that only emulates it.

    There, on an AMD EPYC without AVX-512, a product of large matrices takes 80 times as long.

    :param device: of the training.
    :param precision: of the recipe.
    """
    emulated = precision == 'bf16' and device.type == 'cpu' and not cpu_has_bf16()
    return 'fp32' if emulated else precision


def _before(stage: Tensor, clips: int, steps: int = 1) -> Tensor:
    """
    Return the features of the frame some steps before each frame, or of the first frame.

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


def initial_features(spec: NetworkSpec, config: TrainingConfig) -> FeatureDistance | None:
    """
    Return the distance to the features of the weights that the encoder starts from.

    These are of the model in ``network.start``, or else the pretrained ones.

    :param spec: the architecture.
    :param config: the recipe.
    :return: None if the recipe does not ask for it.
    :raises CheckpointError: if the weights do not fit.
    """
    if not config.loss.feature_distance:
        return None
    settings = config.network
    if settings.start:
        encoder = load_network(settings.start)[1].encoder
    else:
        encoder = build_network(spec).encoder
        load_encoder(encoder, settings.encoder, settings.pretrained, settings.pretrained_by_order)
    return FeatureDistance(
        encoder.to(memory_format=torch.channels_last), config.loss.feature_distance)


def parts_of(network: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """
    Return the parts of a network that ``network.frozen`` names.

    :raises ConfigurationError: if the network has no such part.
    """
    known = dict(network.named_modules())
    for name in names:
        if name not in known or not name:
            top = [one for one in known if one and one.count('.') < 2]
            raise ConfigurationError(
                f'network.frozen names {name!r}, but the network has no such part; its parts, '
                f'and theirs, are {top}')
    return [known[name] for name in names]
