# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The cross-task losses of XTasC-Net, which tie semantics and depth together."""

from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.losses.depth import DepthInUnit, DepthL1Loss, HuberLoss, LogDepthLoss
from mtl_perception.losses.masking import mean_per_image, precise
from mtl_perception.losses.segmentation import PixelCrossEntropy


class CrossTaskLoss(nn.Module):
    r"""
    The losses of XTasC-Net: each task's own, and one on what it predicts about the other task.

    Nakano, Chen and Demachi, Cross-Task Consistency Learning Framework for Multi-Task Learning,
    2021, equations 11 to 15:

    .. math:: L_t = (1 - \lambda_t)\, l_t(\hat y_t, y_t)
        + \lambda_t\, l_{t \to s}(\hat y_{t \to s}, \hat y_s)

    (equation 11 prints the last :math:`\hat y_s` as :math:`\hat y_t`; equations 13 and 15 and the
    authors' code have it as here). The second term is a cross-entropy or an absolute difference.
    Its target, the other task's direct prediction, gets no gradient; the input of the
    task-transfer network does. The alignment loss (equation 8) compares with the label in place of
    the direct prediction.

    Only pixels where the other task has a label count, as in the authors' code. That code divides
    the cross-entropy by the number of all pixels (``legacy_mean``), which weakens it where labels
    are sparse. A task without any label keeps the term that does not need it.

    >>> import torch
    >>> from mtl_perception.losses import DepthL1Loss
    >>> loss = CrossTaskLoss(PixelCrossEntropy(), DepthL1Loss(), depth_share=0.25)
    >>> direct = {'semantic': torch.zeros(1, 2, 1, 1), 'depth': torch.full((1, 1, 1, 1), 2.0)}
    >>> transferred = {'semantic': torch.zeros(1, 2, 1, 1), 'depth': torch.ones(1, 1, 1, 1)}
    >>> found = loss(direct, transferred, {'depth': torch.full((1, 1, 1), 5.0)})
    >>> float(found['depth'])  # 0.75 |2 - 5|; the consistency needs a semantic label
    2.25

    :param semantic: loss of the semantic output.
    :param depth: loss of the depth output.
    :param semantic_share: lambda of the semantic task, 0 to 1; 0.01 for Cityscapes, 0.0001 for
        NYU.
    :param depth_share: lambda of the depth task, 0 to 1.
    :param kind: ``consistency`` or ``alignment``.
    :param target: of the consistency's cross-entropy: ``hard``, the most probable class, as in the
        authors' code, or ``soft``, the probabilities, as equation 13 reads.
    :param legacy_mean: whether the consistency's cross-entropy is divided by all pixels.
    :raises ValueError: if a share is not between 0 and 1, or a word is unknown.
    """

    def __init__(
        self, semantic: PixelCrossEntropy,
        depth: LogDepthLoss | DepthL1Loss | HuberLoss | DepthInUnit,
        semantic_share: float = 0.01, depth_share: float = 0.01,
        kind: Literal['consistency', 'alignment'] = 'consistency',
        target: Literal['hard', 'soft'] = 'hard', legacy_mean: bool = False,
    ) -> None:
        super().__init__()
        for name, share in (('semantic_share', semantic_share), ('depth_share', depth_share)):
            if not 0 <= share <= 1:
                raise ValueError(f'{name} is {share}; it must be from 0 to 1')
        if kind not in ('consistency', 'alignment'):
            raise ValueError(f"kind is {kind!r}; it must be 'consistency' or 'alignment'")
        if target not in ('hard', 'soft'):
            raise ValueError(f"target is {target!r}; it must be 'hard' or 'soft'")

        self.semantic = semantic
        self.depth = depth
        self.semantic_share = semantic_share
        self.depth_share = depth_share
        self.kind = kind
        self.target = target
        self.legacy_mean = legacy_mean

    def forward(
        self, outputs: Mapping[str, Tensor], transferred: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """
        Return task -> 0-dimensional loss; a task with no labelled pixel to learn from is left out.

        :param outputs: ``semantic`` (N, K, H, W) unnormalised and ``depth`` (N, 1, H, W), of the
            decoders.
        :param transferred: the same two of the task-transfer networks: ``semantic`` predicted from
            depth and ``depth`` predicted from semantics.
        :param targets: ``semantic`` (N, H, W) uint8 ids and ``depth`` (N, H, W) as the depth loss
            takes it; either may be missing.
        """
        direct: dict[str, Tensor | None] = {'semantic': None, 'depth': None}
        cross: dict[str, Tensor | None] = {'semantic': None, 'depth': None}

        # semantics predicted from depth are a loss of depth, and the other way round
        if (labels := targets.get('semantic')) is not None:
            direct['semantic'] = self.semantic(outputs['semantic'], labels)
            cross['depth'] = (
                self.semantic(transferred['semantic'], labels) if self.kind == 'alignment' else
                self._semantic_consistency(
                    transferred['semantic'], outputs['semantic'].detach(),
                    self.semantic.valid(labels)))

        if (depth := targets.get('depth')) is not None:
            direct['depth'] = self.depth(outputs['depth'], depth)
            cross['semantic'] = (
                self.depth(transferred['depth'], depth) if self.kind == 'alignment' else
                mean_per_image(
                    (precise(transferred['depth'][:, 0]) - outputs['depth'][:, 0].detach()).abs(),
                    self.depth.valid(depth)))

        # L_t = (1 - lambda_t) direct + lambda_t cross (equation 11)
        losses = {}
        for task, share in (('semantic', self.semantic_share), ('depth', self.depth_share)):
            parts = [
                part * value for part, value in ((1 - share, direct[task]), (share, cross[task]))
                if part > 0 and value is not None]
            if parts:
                losses[task] = sum(parts[1:], parts[0])
        return losses

    def _semantic_consistency(
        self, transferred: Tensor, direct: Tensor, valid: Tensor,
    ) -> Tensor | None:
        """Return the cross-entropy to the direct prediction, None if no pixel is valid."""
        if not bool(valid.any()):
            return None
        target = direct.argmax(1) if self.target == 'hard' else precise(direct).softmax(1)
        transferred = precise(transferred)
        if target.is_floating_point():
            target = target.to(transferred.dtype)
        each = functional.cross_entropy(transferred, target, reduction='none')
        return each[valid].sum() / (valid.numel() if self.legacy_mean else valid.sum())
