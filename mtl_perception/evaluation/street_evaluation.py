# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl evaluate``: measure a model on streets that neither training nor selection ever saw."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.datasets.seeds import check_seeds
from mtl_perception.evaluation.evaluator import Examiner
from mtl_perception.evaluation.records import SMALLEST_OBJECT, Truth
from mtl_perception.frames import Frame, Perception
from mtl_perception.inference.engine import Engine
from mtl_perception.inference.stream import CameraStream, StreamSettings
from mtl_perception.manifest import Manifest, find_model, read_model, write_model
from mtl_perception.synthetic import Street
from mtl_perception.synthetic.street import CAMERA_HEIGHTS

HEAD_FRAMES = 3
"""So many frames before the judged one are shown to a model with a motion head."""


@dataclass(frozen=True)
class Moments:
    """
    When to look at each street.

    :param frames: judged frames per street, spread evenly over the drive.
    :param spacing: time between a judged frame and the one before it, seconds.
    :param drive: length of the drive, seconds.
    :param width: columns of the camera's image.
    :param height: rows of the camera's image.
    :param camera_height: of the camera above the ground, metres; drawn by each street if None.
    """

    frames: int = 10
    spacing: float = 0.1
    drive: float = 60.0
    width: int = 384
    height: int = 224
    camera_height: float | None = None

    def pairs(self, seed: int) -> list[tuple[int, int]]:
        """Return (previous, judged) frame numbers of a street whose rate is 1 / spacing."""
        last = int(self.drive / self.spacing) - 1
        offset = np.random.default_rng(seed).random()
        judged = 1 + ((np.arange(self.frames) + offset) / self.frames * last).astype(int)
        return [(int(frame) - 1, int(frame)) for frame in judged]


def evaluate(
        engine: Engine, seeds: Sequence[int], moments: Moments,
        show: Callable[[Sequence[int]], Any] = iter,
        street: Callable[..., Any] | None = None) -> tuple[dict[str, Any], Examiner]:
    """
    Drive through the streets as the node does and return the figures and their baselines.

    Every judged frame goes through :class:`CameraStream` after the frame before it, or the three
    before it for a model with a motion head. It is also shown twice to a stream of its own: on
    these identical frames nothing may move.

    The baselines do not look at the image: the most frequent class and the mean depth of each
    pixel over the judged frames themselves, which flatters them, and all movable objects called
    moving.

    :param engine: the deployed network.
    :param seeds: street seeds from 20000 on.
    :param moments: when to look.
    :param show: wraps the seeds, for a progress bar.
    :param street: class of the street, :class:`Street` by default.
    :return: the figures, and what has pictures of the worst frames.
    :raises ConfigurationError: if a seed may have been trained on.
    """
    check_seeds(seeds, 'test')
    manifest = engine.manifest
    examiner = Examiner(manifest.tasks, manifest.height, manifest.width)
    frames = 0
    for seed in show(seeds):
        for number, (image, truth, found, again) in enumerate(
                _drive(engine, seed, moments, street or Street), 1):
            frames += 1
            examiner.add(f'street {seed}, frame {number}', image, truth, found, again, seed)
    figures: dict[str, Any] = {
        'seeds': [min(seeds), max(seeds)], 'streets': len(seeds), 'frames': frames,
        'spacing_s': moments.spacing, 'size': [moments.width, moments.height],
        'camera_height': moments.camera_height}
    return {**figures, **examiner.figures()}, examiner


def _drive(
        engine: Engine, seed: int, moments: Moments, street: Callable[..., Any],
) -> Iterator[tuple[NDArray[np.uint8], Truth, Perception, Perception]]:
    """Yield image, truth, prediction and that on identical frames of one street's moments."""
    drive = street(
        seed, width=moments.width, height=moments.height, rate=1 / moments.spacing,
        camera_height=moments.camera_height)
    focal = float(drive.focal_px)
    settings = StreamSettings(camera_height=moments.camera_height or 0.0)
    stream, still = CameraStream(engine, settings), CameraStream(engine, settings)
    step_ns = round(moments.spacing * 1e9)
    for before, judged in moments.pairs(seed):
        stream.reset('moment')
        still.reset('moment')
        truth = drive.render(judged)
        first = max(0, judged - HEAD_FRAMES) if engine.motion_head is not None else before
        for number in range(first, judged + 1):
            image = truth.image if number == judged else drive.render(number).image
            found = stream.process(
                Frame('street', (number + 1) * step_ns, image), focal_px=focal)
        for number in (judged, judged + 1):
            again = still.process(
                Frame('street', (number + 1) * step_ns, truth.image), focal_px=focal)
        yield truth.image, _truth_of(truth, engine.manifest), found, again


def _truth_of(frame: Any, manifest: Manifest) -> Truth:
    """Return what a frame of the street says of itself, in the classes of the model."""
    task = manifest.task('detection')
    if task is None:
        return Truth(frame.semantic, frame.depth, frame.motion, frame.instance)
    ids, visible = list(task.semantic_ids), np.bincount(frame.instance.ravel())
    boxes = np.array([
        (box.x_min, box.y_min, box.x_max + 1, box.y_max + 1, ids.index(box.class_id))
        for box in frame.boxes], np.float64).reshape(-1, 5)
    hidden = np.array([visible[box.instance] < SMALLEST_OBJECT for box in frame.boxes], bool)
    return Truth(frame.semantic, frame.depth, frame.motion, frame.instance, boxes, hidden)


def title_of(figures: dict[str, Any]) -> str:
    """Return in one line what was judged."""
    return (
        f'{figures["frames"]} frames of {figures["streets"]} streets (seeds '
        f'{figures["seeds"][0]} to {figures["seeds"][1]}), previous frame '
        f'{figures["spacing_s"]:g} s before, {figures["size"][0]}x{figures["size"][1]}, '
        f'{_height(figures.get("camera_height"))}, model {figures.get("model", "")}')


def record(model: str | Path, figures: dict[str, Any]) -> Manifest:
    """
    Write the main figures into the manifest of a model; its weights stay what they are.

    :raises CheckpointError: if the model cannot be read.
    :raises StorageError: if it cannot be written.
    """
    manifest, content = read_model(model)
    kept = {
        key: value for key, value in figures.items()
        if key not in ('model', 'sha256', 'size', 'camera_height')}
    if 'semantic' in kept:
        kept['semantic'] = {
            key: value for key, value in kept['semantic'].items() if key != 'confusion'}
    metrics = {**manifest.metrics, 'street': kept}
    return write_model(
        dataclasses.replace(manifest, metrics=metrics), content, find_model(model))


def _height(metres: float | None) -> str:
    low, high = CAMERA_HEIGHTS
    if metres is None:
        return f'camera at {low} to {high} m, not known'
    return f'camera at {metres:g} m, known'
