# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Training samples of a motion head: features of street clips as a robot would have them."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.datasets.synthetic import StreetClips
from mtl_perception.egomotion import (
    RESIDUAL_CHANNELS,
    MotionEstimator,
    MotionTracker,
    Pinhole,
    motion_features,
    residual,
)
from mtl_perception.egomotion.estimate import BELIEVABLE
from mtl_perception.egomotion.pinhole import rotation_of
from mtl_perception.egomotion.static import textured_pixels
from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.files import remove_abandoned, replacing
from mtl_perception.inference.engine import Engine
from mtl_perception.synthetic import Street

TURN_ERROR = np.radians(0.1)
TRAVEL_ERROR = 0.05
"""Errors of a pose chained over short steps: radians, and a share of its length."""


@dataclass(frozen=True, eq=False)
class MotionSamples:
    """
    N pairs of frames.

    :param features: (N, C, h, w) float16, see
        :func:`~mtl_perception.egomotion.residual.motion_features`.
    :param moving: (N, h, w) uint8, 1 where the object moves.
    :param instance: (N, h, w) uint16 ids of objects, 0 = none.
    """

    features: NDArray[np.float16]
    moving: NDArray[np.uint8]
    instance: NDArray[np.uint16]


class MotionSampleCache:
    """
    Samples of a motion head from rendered clips, computed once and kept on disk.

    Depth and semantics are those that the network predicts, not the labels: a head that learned
    from perfect depth would be lost on the robot. The pose starts from the true one with the
    error of a chain of short steps (``TURN_ERROR``), and is refined from flow and depth as
    on the robot. Pairs with an unreliable pose are left out.

    :param folder: of all caches; made if missing.
    :param clips: rendered clips of two frames or more; the last is compared with the first.
    :param engine: the network.
    """

    def __init__(self, folder: Path, clips: StreetClips, engine: Engine) -> None:
        semantic = engine.manifest.task('semantic')
        if semantic is None or engine.manifest.task('depth') is None or not semantic.movable:
            raise ConfigurationError(
                f'model {engine.manifest.name!r} lacks depth, or semantics with movable classes; '
                'a motion head needs both')

        if (clips.plan.height, clips.plan.width) != (
                engine.manifest.height, engine.manifest.width):
            raise ConfigurationError(
                f'the clips are {clips.plan.width}x{clips.plan.height}, model '
                f'{engine.manifest.name!r} takes {engine.manifest.width}x'
                f'{engine.manifest.height}; set plan.width and plan.height to that')

        self.clips = clips
        self.engine = engine
        self.semantic = semantic

        # other weights, features or clips belong in another folder
        key = json.dumps([engine.manifest.sha256, RESIDUAL_CHANNELS, asdict(clips.plan),
                          clips.code])
        self.folder = folder.expanduser() / (
            'motion-' + hashlib.sha256(key.encode()).hexdigest()[:10])

    def compute(self) -> Iterator[int]:
        """
        Compute what is missing and yield each seed as it is done.

        :raises DataError: if a clip has not been rendered.
        :raises StorageError: if the cache cannot be written.
        """
        remove_abandoned(self.folder)
        for place, seed in enumerate(self.clips.seeds):
            path = self._path(seed)
            if not path.is_file():
                samples = self._samples(place, seed)
                with replacing(path) as temporary, open(temporary, 'wb') as stream:
                    np.savez(stream, **vars(samples))
            yield seed

    def read(self, seeds: Sequence[int]) -> MotionSamples:
        """
        Return the samples of some seeds.

        :raises DataError: if one is missing or cannot be read.
        """
        parts: dict[str, list[NDArray[Any]]] = {'features': [], 'moving': [], 'instance': []}
        for seed in seeds:
            try:
                with np.load(self._path(seed), allow_pickle=False) as stored:
                    for name, found in parts.items():
                        found.append(stored[name])
            except (OSError, ValueError, KeyError) as error:
                raise DataError(
                    f'{self._path(seed)}: cannot be read ({error}); remove it and compute it '
                    'again') from error
        return MotionSamples(**{name: np.concatenate(found) for name, found in parts.items()})

    def _path(self, seed: int) -> Path:
        return self.folder / f'seed_{seed:06d}.npz'

    def _samples(self, place: int, seed: int) -> MotionSamples:
        """Return the samples of one seed's clips."""
        plan = self.clips.plan
        street = Street(seed, plan.width, plan.height, plan.rate, plan.antialias)
        camera = Pinhole.from_matrix(street.intrinsics)
        tracker = MotionTracker(camera, self.semantic.movable, self.semantic.sky)
        estimator = MotionEstimator(camera, 'full')

        features, moving, instance = [], [], []
        for clip, indices in enumerate(plan.indices(seed)):
            sample = self.clips[place * plan.clips + clip]
            assert sample.motion is not None
            assert sample.instance is not None
            first, last = (int(indices[i]) for i in (0, -1))

            # what the network says of the newest frame, as on the robot
            outputs, _ = self.engine.step(sample.image[-1], None, ('semantic', 'depth'))
            assert outputs.semantic is not None
            assert outputs.depth is not None

            # x_first = T x_last: the camera's motion between the two frames
            true = np.linalg.inv(street.pose(first)) @ street.pose(last)
            grey = [np.asarray(cv2.cvtColor(sample.image[i], cv2.COLOR_RGB2GRAY), np.uint8)
                    for i in (-1, 0)]

            ego = estimator.estimate(
                grey[0], grey[1], outputs.depth,
                textured_pixels(grey[0], tracker.static(outputs.semantic)),
                _disturbed(true, np.random.default_rng((seed, clip))), keep_flow=True)
            if ego.quality < BELIEVABLE:
                continue

            # the head works at half the resolution of the network
            assert ego.flow is not None
            rest = residual(ego.flow, outputs.depth, ego.pose, camera)
            features.append(motion_features(
                grey[0], grey[1], ego.flow, rest, outputs.depth, outputs.semantic,
                self.semantic.movable, camera, (last - first) / plan.rate))
            moving.append(sample.motion[-1][::2, ::2])
            instance.append(sample.instance[-1][::2, ::2])

        # without a pair, arrays of length 0 keep the shapes
        shape = (0, plan.height // 2, plan.width // 2)
        channels = len(RESIDUAL_CHANNELS) + len(self.semantic.movable)
        return MotionSamples(
            _stack(features, (0, channels, *shape[1:]), np.float16),
            _stack(moving, shape, np.uint8), _stack(instance, shape, np.uint16))


def _disturbed(pose: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a pose with the error of a chained one."""
    result = pose.copy()
    result[:3, :3] = rotation_of(rng.normal(0, TURN_ERROR, 3)) @ pose[:3, :3]
    travel = float(np.linalg.norm(pose[:3, 3]))
    result[:3, 3] += rng.normal(0, TRAVEL_ERROR * travel + 0.005, 3)
    return result


def _stack(arrays: list[NDArray[Any]], empty: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    return np.stack(arrays).astype(dtype) if arrays else np.zeros(empty, dtype)
