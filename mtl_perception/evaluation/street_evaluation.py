# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl evaluate``: measure a model on streets that neither training nor selection used."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.datasets.seeds import check_seeds
from mtl_perception.evaluation.evaluator import Evaluator
from mtl_perception.evaluation.remembering import RememberingEngine
from mtl_perception.evaluation.street_classes import check_street_classes
from mtl_perception.frames import Frame, FrameRecord, Perception, TrueBoxes, Truth
from mtl_perception.inference.depth_anchor import DepthScale
from mtl_perception.inference.engine import Engine
from mtl_perception.inference.stream import CameraStream, StreamSettings
from mtl_perception.instances import SMALLEST_OBJECT
from mtl_perception.manifest import Manifest, find_model, read_model, write_model
from mtl_perception.parallel import in_processes
from mtl_perception.synthetic import Street
from mtl_perception.synthetic.street import CAMERA_HEIGHTS
from mtl_perception.tasks import LOOKS, STREET_SEMANTIC, UNLABELLED

JudgedFrame = tuple[FrameRecord, Perception]
"""A frame with prediction and truth, and the motion that is found when it comes once more."""
HEAD_FRAMES = 3
"""A model with a motion head sees this many frames before the evaluated one."""


@dataclass(frozen=True)
class SamplingPlan:
    """
    Which frames of each street are evaluated.

    :param frames: per street, spread evenly over the drive.
    :param spacing: time between an evaluated frame and the one before it, seconds.
    :param drive: length of the drive, seconds.
    :param width: columns of the camera's image.
    :param height: rows of the camera's image.
    :param camera_height: of the camera above the ground, metres; drawn by each street if None.
    :param look: of the streets, one of :data:`.LOOKS`.
    :param depth_scale: what the metres stand on, see :class:`.StreamSettings`.
    """

    frames: int = 10
    spacing: float = 0.1
    drive: float = 60.0
    width: int = 384
    height: int = 224
    camera_height: float | None = None
    look: str = LOOKS[0]
    depth_scale: DepthScale = 'network'

    def pairs(self, seed: int) -> list[tuple[int, int]]:
        """Return (previous, evaluated) frame numbers of a street whose rate is 1 / spacing."""
        last = int(self.drive / self.spacing) - 1

        # Evenly spaced with a random start, so that all parts of a drive count alike.
        offset = np.random.default_rng(seed).random()
        chosen = 1 + ((np.arange(self.frames) + offset) / self.frames * last).astype(int)
        return [(int(frame) - 1, int(frame)) for frame in chosen]


def evaluate(
        engine: Engine, seeds: Sequence[int], plan: SamplingPlan,
        show: Callable[[Sequence[int]], Any] = iter,
        street: Callable[..., Any] | None = None, split: str = 'test',
) -> tuple[dict[str, Any], Evaluator]:
    """
    Drive through the streets as the node does and return the metrics and their baselines.

    Every evaluated frame goes through :class:`.CameraStream` after the frame before it, or the
    three before it for a model with a motion head. Then it comes once more, as it is: on these
    identical frames nothing may move.

    The baselines ignore the image: the most frequent class and the mean depth of each pixel over
    the evaluated frames themselves, which flatters them, and all movable objects called moving.

    :param engine: the deployed network.
    :param seeds: street seeds from 20000 on.
    :param plan: which frames to evaluate.
    :param show: wraps the seeds, for a progress bar.
    :param street: class of the street, :class:`.Street` by default.
    :param split: which the seeds must belong to.
    :return: the metrics, and the evaluator, which has pictures of the worst frames.
    :raises ConfigurationError: if a seed may have been used in training, or the model has other
        classes than the streets.
    """
    check_seeds(seeds, split)
    check_street_classes(engine.manifest, plan.look)
    drives = (drive(engine, seed, plan, street or Street) for seed in seeds)
    metrics, evaluator = _judged(engine.manifest, seeds, plan, drives, show)
    return {**metrics, 'engine': engine.setup.what}, evaluator


def evaluate_in_processes(
    make_engine: Callable[[], Engine], manifest: Manifest, seeds: Sequence[int],
    plan: SamplingPlan, workers: int, show: Callable[[Sequence[int]], Any] = iter,
    street: Callable[..., Any] | None = None,
) -> tuple[dict[str, Any], Evaluator]:
    """
    Do what :func:`evaluate` does in several processes; their number does not change a digit.

    :param make_engine: loads the network in each process; it travels there.
    :param manifest: of the network.
    :param seeds: street seeds from 20000 on.
    :param plan: which frames to evaluate.
    :param workers: number of processes, at least 1.
    :param show: wraps the seeds, for a progress bar.
    :param street: class of the street, :class:`.Street` by default.
    :raises ConfigurationError: if a seed may have been used in training, or the model has other
        classes than the streets.
    :raises WorkerError: naming the street of a process that died.
    """
    check_seeds(seeds, 'test')
    check_street_classes(manifest, plan.look)
    drives = in_processes(
        partial(_drive_of, plan=plan, street=street or Street), seeds, min(workers, len(seeds)),
        partial(_single_threaded, make_engine), lambda seed: f'street {seed}')
    ran: list[str] = []

    def frames() -> Iterator[list[JudgedFrame]]:
        for what, judged in drives:
            ran.append(what)
            yield judged

    metrics, evaluator = _judged(manifest, seeds, plan, frames(), show)
    return {**metrics, 'engine': ' and '.join(dict.fromkeys(ran))}, evaluator


def _single_threaded(make_engine: Callable[[], Engine]) -> Engine:
    """Return an engine in a process whose neighbours have the other CPUs."""
    cv2.setNumThreads(1)  # optical flow depends on the number in its last digits
    return make_engine()


def _drive_of(
    engine: Engine, seed: int, plan: SamplingPlan, street: Callable[..., Any],
) -> tuple[str, list[JudgedFrame]]:
    """Return what runs the network, and what :func:`drive` yields."""
    return engine.setup.what, list(drive(engine, seed, plan, street))


def _judged(
    manifest: Manifest, seeds: Sequence[int], plan: SamplingPlan,
    drives: Iterator[Iterable[JudgedFrame]], show: Callable[[Sequence[int]], Any],
) -> tuple[dict[str, Any], Evaluator]:
    """Return the metrics of drives, one for each seed, in this order."""
    evaluator = Evaluator(manifest.tasks, manifest.height, manifest.width)
    frames = 0
    for seed in show(seeds):
        for number, (record, repeated) in enumerate(next(drives), 1):
            frames += 1
            evaluator.update(f'street {seed}, frame {number}', record, repeated, seed)

    metrics: dict[str, Any] = {
        'seeds': [min(seeds), max(seeds)], 'streets': len(seeds), 'frames': frames,
        'spacing_s': plan.spacing, 'size': [plan.width, plan.height],
        'camera_height': plan.camera_height, 'look': plan.look,
        'depth_scale': plan.depth_scale}
    return {**metrics, **evaluator.compute()}, evaluator


def drive(
        engine: Engine, seed: int, plan: SamplingPlan, street: Callable[..., Any],
) -> Iterator[JudgedFrame]:
    """
    Yield the evaluated frames of one street, and the prediction on identical frames.

    :param engine: the deployed network.
    :param seed: of the street.
    :param plan: which frames to evaluate.
    :param street: its class.
    """
    drawn = street(
        seed, width=plan.width, height=plan.height, rate=1 / plan.spacing,
        camera_height=plan.camera_height,
        **({} if plan.look == LOOKS[0] else {'look': plan.look}))
    focal = float(drawn.focal_px)
    settings = StreamSettings(
        camera_height=plan.camera_height or 0.0, depth_scale=plan.depth_scale)
    remembering = RememberingEngine(engine)
    stream = CameraStream(remembering, settings)

    # A network of two frames knows of the earlier one only; a motion head looks farther back.
    apart = engine.motion_head is not None or engine.manifest.network.frames > 2
    repeating = CameraStream(remembering, settings) if apart else stream
    step_ns = round(plan.spacing * 1e9)

    def true_motion(earlier_ns: int, later_ns: int) -> NDArray[np.float64]:
        first, second = (drawn.pose(stamp // step_ns - 1) for stamp in (earlier_ns, later_ns))
        return np.asarray(np.linalg.inv(first) @ second)

    moved = true_motion if plan.depth_scale == 'odometry' else None
    for before, evaluated in plan.pairs(seed):
        stream.reset('clip')
        shown = drawn.render(evaluated)

        # The frames before it fill the temporal state.
        first = max(0, evaluated - HEAD_FRAMES) if engine.motion_head is not None else before
        for number in range(first, evaluated + 1):
            image = shown.image if number == evaluated else drawn.render(number).image
            prediction = stream.process(
                Frame('street', (number + 1) * step_ns, image), focal_px=focal, odometry=moved)
        with remembering.recalling():
            if apart:
                repeating.reset('clip')
                repeating.process(
                    Frame('street', (evaluated + 1) * step_ns, shown.image), focal_px=focal)
            repeated = repeating.process(
                Frame('street', (evaluated + 2) * step_ns, shown.image), focal_px=focal)

        stamp_ns = (evaluated + 1) * step_ns
        truth = _truth_of(shown, engine.manifest)
        record = FrameRecord(stamp_ns, shown.image, prediction, truth)
        yield record, Perception(motion=repeated.motion)


def _truth_of(frame: Any, manifest: Manifest) -> Truth:
    """Return the truth of a frame of the street, in the classes of the model."""
    # A class that the model does not have, such as the fences of ``roads``, is not judged.
    known = manifest.task('semantic')
    semantic = frame.semantic
    if known is not None and int(semantic.max()) >= len(known.classes):
        semantic = np.where(semantic < len(known.classes), semantic, np.uint8(UNLABELLED))

    task = manifest.task('detection')
    if task is None:
        return Truth(semantic, frame.depth, frame.motion, frame.instance)

    # The street gives inclusive corners; an object may be hidden behind another.
    visible = np.bincount(frame.instance.ravel())
    corners = [(box.x_min, box.y_min, box.x_max + 1, box.y_max + 1) for box in frame.boxes]
    classes = [task.classes.index(STREET_SEMANTIC.classes[box.class_id]) for box in frame.boxes]
    hidden = [visible[box.instance] < SMALLEST_OBJECT for box in frame.boxes]
    return Truth(semantic, frame.depth, frame.motion, frame.instance, TrueBoxes(
        np.array(corners, np.float32).reshape(-1, 4), np.array(classes, np.int64),
        np.array(hidden, bool)))


def title_of(metrics: dict[str, Any]) -> str:
    """Return in one line what was evaluated."""
    return (
        f'{metrics["frames"]} frames of {metrics["streets"]} streets ('
        f'{_look(metrics)}seeds '
        f'{metrics["seeds"][0]} to {metrics["seeds"][1]}), previous frame '
        f'{metrics["spacing_s"]:g} s before, {metrics["size"][0]}x{metrics["size"][1]}, '
        f'{_height(metrics.get("camera_height"))}, model {metrics.get("model", "")}')


def record_metrics(model: str | Path, metrics: dict[str, Any]) -> Manifest:
    """
    Write the main metrics into the manifest of a model; its weights are not touched.

    :raises CheckpointError: if the model cannot be read.
    :raises StorageError: if it cannot be written.
    """
    manifest, content = read_model(model)

    # A manifest holds what a reader compares, not what a program needs.
    kept = {
        key: value for key, value in metrics.items()
        if key not in ('model', 'sha256', 'size', 'camera_height', 'depth_scale')}
    if 'semantic' in kept:
        kept['semantic'] = {
            key: value for key, value in kept['semantic'].items() if key != 'confusion'}
    return write_model(
        dataclasses.replace(manifest, metrics={**manifest.metrics, 'street': kept}), content,
        find_model(model))


def _look(metrics: dict[str, Any]) -> str:
    """Return the look of the streets in words, nothing for the classic one."""
    look = metrics.get('look', LOOKS[0])
    return '' if look == LOOKS[0] else f'look {look}, '


def _height(metres: float | None) -> str:
    """Return the height of the camera in words, None for one that the model does not know."""
    low, high = CAMERA_HEIGHTS
    if metres is None:
        return f'camera at {low} to {high} m, unknown to the model'
    return f'camera at {metres:g} m, known to the model'
