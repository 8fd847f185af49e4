# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Learn from images without labels: a teacher labels them, street classes are mixed in."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl_perception.datasets.sample import Sample
from mtl_perception.models.streaming import at_height, metres
from mtl_perception.tasks import UNKNOWN_MOTION, UNLABELLED
from mtl_perception.training.dataloading import Clips
from mtl_perception.training.learner import ClipLearner
from mtl_perception.training.schedule import WeightAverage

BINS = 50
"""Bins of the histograms of confidence, from 0 to 1."""
RARE = 0.05
"""Share of the pixels of a drive below which a class is rare."""


class Teacher:
    """
    The moving average of a network in training; it labels images for that network.

    Mean teacher (Tarvainen and Valpola, 2017) with thresholds per class (Zou et al., 2018): a
    pixel is labelled if the teacher's confidence is among the highest ``share`` of its class, or
    above ``sure``. One threshold for all classes would label the road and nothing that is small.

    :param learner: a second network, which gets the averaged weights.
    :param average: of the network in training.
    :param share: of the pixels of each class that are labelled, 0 to 1.
    :param sure: confidence that is always enough.
    :param refresh: images between two refreshes of the weights.
    """

    def __init__(
            self, learner: ClipLearner, average: WeightAverage, share: float = 0.6,
            sure: float = 0.95, refresh: int = 12) -> None:
        self.learner = learner
        self.average = average
        self.share = share
        self.sure = sure
        self.refresh = refresh
        self._images = 0
        self._histogram: NDArray[np.float64] | None = None

    def label(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """
        Return the classes of a clip, 255 where the teacher is not sure enough.

        :param images: (T, H, W, 3) uint8 RGB.
        :return: (T, H, W) uint8.
        """
        if self._images % self.refresh == 0:
            self.reload()
        self._images += 1

        classes, confidence = self.answer(images)
        thresholds = self._thresholds(classes, confidence)
        return np.where(confidence >= thresholds[classes], classes, np.uint8(UNLABELLED))

    def reload(self) -> None:
        """Take the weights that the average has now."""
        self.learner.network.load_state_dict(self.average.state)
        self.learner.eval()

    @torch.no_grad()
    def answer(
            self, images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """
        Return the most likely class and its probability, averaged with the mirrored image's.

        :param images: (T, H, W, 3) uint8 RGB.
        :return: (T, H, W) uint8 and (T, H, W) float32.
        """
        device = self.learner.mean.device
        clip = torch.from_numpy(np.ascontiguousarray(images)).to(device)[None]
        probability = (self._probability(clip) + self._probability(clip.flip(3)).flip(3)) / 2
        confidence, classes = probability.max(1)
        return classes.to(torch.uint8).cpu().numpy(), confidence.cpu().numpy()

    @torch.no_grad()
    def look(
            self, images: NDArray[np.uint8], inverse: float = 0.0, height_ratio: float = 1.0,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """
        Return the (H, W) uint8 classes and the (H, W) float32 metres of the last image of a clip.

        :param images: (T, H, W, 3) uint8 RGB.
        :param inverse: of the task of depth, see :class:`.Task`.
        :param height_ratio: of the camera, see :class:`.Sample`; the metres are as divided by it.
        """
        clip = torch.from_numpy(np.ascontiguousarray(images)).to(self.learner.mean.device)[None]
        outputs = self.learner.outputs(clip)
        classes = outputs['semantic'][-1].argmax(0).to(torch.uint8)
        output = at_height(outputs['depth'][-1:].float(), torch.tensor([height_ratio]))
        depth = metres(output[0, 0], inverse)
        return classes.cpu().numpy(), depth.cpu().numpy()

    def _probability(self, clip: Tensor) -> Tensor:
        """Return the (T, K, H, W) probabilities of a (1, T, H, W, 3) clip."""
        return self.learner.outputs(clip)['semantic'].float().softmax(1)

    def _thresholds(
            self, classes: NDArray[np.uint8], confidence: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Return the threshold of each class, 256 of them, after counting these pixels."""
        bins = (confidence * BINS).astype(int).clip(0, BINS - 1)
        counts = np.bincount(classes.ravel().astype(int) * BINS + bins.ravel(),
                             minlength=256 * BINS).reshape(256, BINS).astype(float)
        if self._histogram is None:
            self._histogram = np.zeros((256, BINS))
        self._histogram = 0.98 * self._histogram + counts

        # the lowest bin above which at most the share of the class's pixels lies
        above = self._histogram[:, ::-1].cumsum(1)[:, ::-1]
        inside = above <= self.share * above[:, :1]
        first = np.where(inside.any(1), inside.argmax(1), BINS - 1)
        return np.minimum(first / BINS, self.sure).astype(np.float32)


class DriveAndStreet:
    """
    Clips for self-training: half of them street, half images of a drive.

    Into the images of the drive classes of a street clip are pasted, with their labels (ClassMix,
    Olsson et al., 2021): they show objects of known class before real backgrounds.

    A network that learns from its own answers gives up rare classes first. So a pixel that the
    model took for a rare class in the beginning is never labelled as another one. Each class is
    pasted with probability one half: a rare one that always is would be seen everywhere.

    :param street: labelled clips.
    :param drive: clips of the drive, each (T, H, W, 3) uint8 RGB, with as many frames as the
        street's.
    :param teacher: labels the drive; its present weights tell what is rare.
    :param seed: of the choice of clips and classes.
    :param depth: number of a clip -> (H, W) float32 depth of its last image in the network's
        metres, NaN where it is unknown; that of the others is unknown.
    :param height_ratio: of the drive's camera, see :class:`.Sample`, for a network that tells how
        depth follows the height: what is pasted then has no depth, because it was seen from
        another height. None for other networks.
    """

    def __init__(
            self, street: Clips, drive: Sequence[NDArray[np.uint8]], teacher: Teacher,
            seed: int = 0, depth: Mapping[int, NDArray[np.float32]] | None = None,
            height_ratio: float | None = None) -> None:
        self.street = street
        self.drive = drive
        self.teacher = teacher
        self.depth = depth or {}
        self.height_ratio = height_ratio
        self._generator = np.random.default_rng((seed, 7))

        answers = [teacher.answer(images) for images in drive]
        counts = np.bincount(
            np.concatenate([classes.ravel() for classes, _ in answers]), minlength=256)
        self.rare = counts < RARE * counts.sum()
        """(256,) bool, the classes that are rare on the drive."""
        self._kept = [
            np.where(self.rare[classes] & (confidence >= 0.5), classes, np.uint8(UNLABELLED))
            for classes, confidence in answers]

    def __len__(self) -> int:
        """Return the number of clips, one of the street for each of the drive."""
        return 2 * len(self.drive)

    def __getitem__(self, index: int) -> Sample:
        """Return a clip: of the street if the index is even, else of the drive."""
        street = self.street[int(self._generator.integers(len(self.street)))]
        if index % 2 == 0:
            return street

        images = self.drive[index // 2]
        labels = self.teacher.label(images)
        kept = self._kept[index // 2]
        given_up = (kept != UNLABELLED) & (labels != kept)
        labels = np.where(given_up, np.uint8(UNLABELLED), labels)

        depth = np.full(labels.shape, np.nan, np.float32)
        depth[-1] = self.depth.get(index // 2, np.float32(np.nan))

        spare = max(0, len(street.image) - len(images))
        first = int(self._generator.integers(spare + 1))
        return self._pasted(
            images, labels, depth,
            street.lasting(len(images)).window(first, len(images)).resized(*images.shape[1:3]))

    def _pasted(
            self, images: NDArray[np.uint8], labels: NDArray[np.uint8],
            depth: NDArray[np.float32], street: Sample) -> Sample:
        """Return a clip of the drive with some of the classes of a street clip."""
        chosen = self._generator.random(256) < 0.5
        classes = np.full_like(labels, UNLABELLED) if street.semantic is None else street.semantic
        here = chosen[classes] & (classes != UNLABELLED)

        pasted: Any = np.float32(np.nan)
        if street.depth is not None and self.height_ratio is None:
            pasted = street.depth
        return Sample(
            np.where(here[..., None], street.image, images),
            semantic=np.where(here, classes, labels),
            depth=np.where(here, pasted, depth).astype(np.float32),
            motion=np.full(labels.shape, UNKNOWN_MOTION, np.uint8),
            height_ratio=self.height_ratio or 1.0)
