# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A tiny world to train on, and a tiny network. Processes of a training import them by name."""

from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from mtl_perception.datasets.sample import Sample

STREET_RECIPE = """
name: tiny
data:
  train_seeds: '0:3'
  validation_seeds: '10000:10001'
  workers: 0
  plan: {width: 64, height: 32, clips: 2, frames: 2, drive: 50}
"""
"""The name and the data of a recipe that trains on :class:`GreyStreet`."""


class Boxes:
    """N clips of two frames; the box of odd clips moves."""

    def __init__(self, count=8, height=64, width=64):
        self.count, self.height, self.width = count, height, width

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        generator = np.random.default_rng(number)
        shape = (2, self.height, self.width)
        image = np.full((*shape, 3), (90, 90, 90), np.uint8)
        semantic = np.zeros(shape, np.uint8)
        motion = np.zeros(shape, np.uint8)
        depth = np.full(shape, 20, np.float16)

        # sky above the horizon
        image[:, :20] = (120, 170, 230)
        semantic[:, :20] = 11
        depth[:, :20] = np.inf

        # a red car, which moves in every other clip
        row, column = generator.integers(20, 40), generator.integers(0, 36)
        for frame in range(2):
            left = column + 8 * frame * (number % 2)
            box = (frame, slice(row, row + 20), slice(left, left + 20))
            image[box], semantic[box], depth[box] = (200, 30, 30), 8, 6
            motion[box] = number % 2

        image = np.clip(image + generator.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
        return Sample(image, semantic, depth, motion)


class GreyStreet:
    """Road below, sky above, a car that is somewhere else in every frame."""

    def __init__(self, seed, width, height, rate, antialias):
        self.seed, self.shape = seed, (height, width)

    def render(self, index):
        image = np.full((*self.shape, 3), 100 + self.seed % 7, np.uint8)
        semantic, motion = np.zeros(self.shape, np.uint8), np.zeros(self.shape, np.uint8)
        depth = np.full(self.shape, 10, np.float32)
        image[:10], semantic[:10], depth[:10] = 220, 11, np.inf
        car = (slice(14, 24), slice(index % 40, index % 40 + 12))
        image[car], semantic[car], depth[car], motion[car] = 30, 8, 5, 1
        instance = np.zeros(self.shape, np.uint16)
        instance[car] = 5
        rows, columns = np.nonzero(instance)
        box = SimpleNamespace(
            instance=5, class_id=8, x_min=columns.min(), y_min=rows.min(), x_max=columns.max(),
            y_max=rows.max())
        return SimpleNamespace(
            image=image, semantic=semantic, depth=depth, motion=motion, instance=instance,
            boxes=[box])


class TinyNetwork(nn.Module):
    """A siamese network of two convolutions, with the interface of the real one."""

    def __init__(self, spec):
        super().__init__()
        self.frames = spec.frames
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 24, 7, 4, 3), nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 24, 3, 1, 1),
            nn.BatchNorm2d(24), nn.ReLU())
        self.decoders = nn.ModuleDict({
            task: nn.Conv2d(24 * spec.frames, count, 1) for task, count in spec.channels.items()})

    def plain_encoders(self):
        return [self.encoder]

    def encode(self, image):
        return [self.encoder(image)]

    def share(self, current, previous, earlier=()):
        return [torch.cat([current[0], previous[0]], 1)]

    def decode_shared(self, stages, detached, tasks=None):
        return {task: functional.interpolate(decoder(stages[0]), scale_factor=4)
                for task, decoder in self.decoders.items() if tasks is None or task in tasks}

    def shared_behind(self):
        return []

    def last_shared(self):
        return self.encoder[3].weight
