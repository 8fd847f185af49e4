# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl demo``: camera, node and recorder in one run, evaluated from the recording."""

import argparse
import dataclasses
import os
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.bags.reader import TRUE, Bag
from mtl_perception.errors import ConfigurationError, DataError, StorageError
from mtl_perception.evaluation.bag_score import BagScore, FrameBalance, balance_frames
from mtl_perception.evaluation.live_recording import LivePlan
from mtl_perception.evaluation.pictures import Painter, evenly_spread
from mtl_perception.evaluation.records import complete_truth, has_prediction
from mtl_perception.evaluation.video_writer import VideoWriter
from mtl_perception.frames import Frame, FrameRecord, Perception
from mtl_perception.manifest import DEFAULT_MODEL, Manifest
from mtl_perception.media.addresses import is_address, local_path, without_password
from mtl_perception.media.picture_folder import is_picture
from mtl_perception.media.pictures import read_rgb
from mtl_perception.media.video import Video
from mtl_perception.reason_codes import ReasonCode
from mtl_perception.topics import PREDICTIONS

if TYPE_CHECKING:
    from mtl_perception.inference.engine import Engine

FIRST_TEST_SEED = 20000
"""Streets from here on are for evaluation only, never for training or choosing a model."""

MOSAIC_ROWS = 5
SAMPLES = 40
"""The number of frames that the network predicts once more, with probabilities of motion."""
HEAD_FRAMES = 3
"""A model with a motion head sees this many frames before a sample."""
LONGEST_GAP_NS = 500_000_000
AHEAD = 100
LARGEST_SIDE = 640
"""Larger videos are shrunk: a recording of full HD with depth takes 200 MB a second."""


def make_plan(arguments: argparse.Namespace) -> LivePlan:
    """
    Return what to run for a command line.

    :raises ConfigurationError: if an argument is out of range.
    """
    for name in ('seconds', 'rate', 'seeds'):
        if not getattr(arguments, name) > 0:
            raise ConfigurationError(
                f'--{name} is {getattr(arguments, name):g}; it must be positive')

    street = arguments.source == 'street'
    frames = max(1, round(arguments.seconds * arguments.rate))

    # Frames are rendered ahead, so that slow rendering does not limit the rate.
    source: dict[str, Any] = {
        'source': _source_of(arguments.source),
        'rate': float(arguments.rate), 'frames': frames, 'width': arguments.width,
        'height': arguments.height, 'ahead': min(frames, AHEAD)}

    if street:
        if arguments.seed < FIRST_TEST_SEED:
            raise ConfigurationError(
                f'--seed is {arguments.seed}; the network may have been trained on streets below '
                f'{FIRST_TEST_SEED}, so metrics on them mean nothing')
        source |= {'seed': arguments.seed, 'seeds': arguments.seeds,
                   'seconds_per_street': arguments.seconds / arguments.seeds}
    else:
        source |= {'focal_px': float(arguments.focal_length)}
        if not (arguments.width or arguments.height):
            source['width'] = _small_width(Path(str(source['source'])))

    node = {
        'model': arguments.model or ('street' if street else DEFAULT_MODEL),
        'engine': arguments.engine, 'device': arguments.device, 'threads': arguments.threads}
    return LivePlan(source, node, truth=street)


@dataclass(eq=False)
class DemoResult:
    """
    What a recording holds.

    :param score: of all frames.
    :param balance: where every frame went.
    :param statuses: the last diagnostics, by name.
    :param mosaic: (H, W, 3) uint8 RGB, some frames one below the other.
    :param samples: some frames, each with the frames before it, for :func:`score_objects`.
    """

    score: BagScore
    balance: FrameBalance
    statuses: dict[str, dict[str, str]]
    mosaic: NDArray[np.uint8]
    samples: list[tuple[list[FrameRecord], FrameRecord]] = field(default_factory=list)


def evaluate_recording(path: Path, manifest: Manifest, output: Path, rate: float) -> DemoResult:
    """
    Evaluate a recording and make its pictures: ``mosaic.png`` and ``demo.mp4``.

    :param path: the bag.
    :param manifest: of the model.
    :param output: folder of the pictures.
    :param rate: of the video, frames per second.
    :raises DataError: if it cannot be read, or has no images or no predictions.
    """
    painter = Painter(manifest.tasks)
    with Bag(path) as bag:
        score = BagScore(
            manifest.tasks, manifest.height, manifest.width, bag.stamps_of('image'))
        tasks = [task.name for task in manifest.tasks if task.name in PREDICTIONS]
        bag.require(['image', *tasks])

        counts = {task: bag.count(task) for task in tasks}
        with VideoWriter(output / 'demo.mp4', rate) as video:
            drawn, samples = _draw(
                _predicted(bag, manifest, score), painter, video, max(counts.values()))
        if not drawn:
            raise DataError(
                f'{path}: no prediction carries the stamp of an image', ReasonCode.BAG_STAMPS)

        # The counters of the last diagnostics cover every frame.
        statuses = bag.last_statuses()
        node = next((values for values in statuses.values() if 'in_flight' in values), None)
        balance = balance_frames(score, counts, node, statuses.get('camera_source'))
        truth = ', prediction over truth' if f'{TRUE}semantic' in bag.roles else ''

    title = f'model {manifest.name}: input, {", ".join(painter.columns)}{truth}'
    mosaic = painter.mosaic(drawn, title)
    _save(output / 'mosaic.png', mosaic)
    return DemoResult(score, balance, statuses, mosaic, samples)


def _draw(
        records: Iterator[FrameRecord], painter: Painter, video: VideoWriter, total: int,
) -> tuple[list[NDArray[np.uint8]], list[tuple[list[FrameRecord], FrameRecord]]]:
    """
    Draw every frame into a video.

    :param total: expected number of frames.
    :return: pictures for the mosaic, and samples with the frames before them.
    """
    shown = evenly_spread(MOSAIC_ROWS, total)
    sampled = evenly_spread(SAMPLES, total)
    drawn: list[NDArray[np.uint8]] = []
    samples: list[tuple[list[FrameRecord], FrameRecord]] = []
    previous = deque[FrameRecord](maxlen=HEAD_FRAMES)
    first_ns = 0

    for number, record in enumerate(records):
        first_ns = first_ns if number else record.stamp_ns
        picture = painter.draw(record, _lines(record, first_ns))
        video.add(picture, (record.stamp_ns - first_ns) / 1e9)
        if number in shown:
            drawn.append(picture)

        # Frames of another street are not the past of this one.
        if previous and not 0 < record.stamp_ns - previous[-1].stamp_ns <= LONGEST_GAP_NS:
            previous.clear()
        if number in sampled and previous:
            samples.append((list(previous), record))
        previous.append(record)
    return drawn, samples


def _predicted(bag: Bag, manifest: Manifest, score: BagScore) -> Iterator[FrameRecord]:
    """Yield the frames with an image and a prediction; the score sees all of them."""
    for record in bag.records(manifest.tasks):
        if has_prediction(record):
            record = complete_truth(record, manifest.tasks)
        score.update(record)
        if has_prediction(record):
            yield record


def score_objects(engine: 'Engine', result: DemoResult) -> None:
    """
    Run the network on the samples, because the masks of a recording have no probabilities.

    Each is processed after the frame before it, or after several by a model with a motion head,
    and then after itself, so that nothing can move between the two.
    """
    manifest = engine.manifest
    if manifest.task('motion') is None or (
            manifest.network.frames < 2 and engine.motion_head is None):
        return
    for before, record in result.samples:
        earlier = before if engine.motion_head is not None else before[-1:]
        step_ns = record.stamp_ns - before[-1].stamp_ns
        again = dataclasses.replace(record, stamp_ns=record.stamp_ns + step_ns)
        result.score.update_objects(
            record, _motion(engine, [*earlier, record]), _motion(engine, [record, again]))


def _motion(engine: 'Engine', records: Sequence[FrameRecord]) -> Perception:
    """Return the motion in the last of some consecutive frames, at the network's size."""
    # torch takes seconds to import, which the live recording before this must not pay
    from mtl_perception.inference.stream import CameraStream

    stream = CameraStream(engine)
    for record in records:
        assert record.image is not None
        prediction = stream.process(
            Frame('demo', record.stamp_ns, record.image), ['motion'], 'network')
    return prediction


def demo_metrics(
        result: DemoResult, manifest: Manifest, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what goes into ``report.json``."""
    balance = result.balance
    ages = next((values for values in result.statuses.values() if 'age_ms.p99' in values), {})
    return {
        'frames_in': balance.frames_in,
        'published': balance.published,
        'dropped': balance.dropped,
        **result.score.compute(),
        'age_at_publish_ms': {
            rank: float(ages[f'age_ms.{rank}']) for rank in ('p50', 'p95', 'p99') if ages},
        'accounting': {'adds_up': not balance.problems, 'problems': balance.problems},

        'source': without_password(arguments.source),
        'streets': [arguments.seed, arguments.seeds] if arguments.source == 'street' else None,
        'model': {'name': manifest.name, 'sha256': manifest.sha256},
        'conditions': {
            'cpus': len(os.sched_getaffinity(0)), 'python': sys.version.split()[0],
            'device': arguments.device, 'rate': arguments.rate},
    }


def notes_of(metrics: Mapping[str, Any], arguments: argparse.Namespace) -> list[str]:
    """Return the paragraphs below the tables of the report."""
    conditions = metrics['conditions']
    model = metrics['model']
    notes = [
        f'{metrics["frames_in"]} frames at {conditions["rate"]:g} per second on '
        f'{conditions["cpus"]} CPU(s), device {conditions["device"]}; model {model["name"]}, '
        f'sha256 {model["sha256"][:16]}.',
        'Camera, node and recorder were separate processes on a ROS 2 graph; the metrics come '
        'from the recording in `bag/`, and dropped frames from the last diagnostics of the node. '
        + ('Every frame is accounted for.' if metrics['accounting']['adds_up'] else
           'The frames do NOT add up: ' + '; '.join(metrics['accounting']['problems']) + '.')]

    if not metrics['streets']:
        notes.append('A real recording: there is no truth to compare with, so look at '
                     '`mosaic.png` and `demo.mp4`. The network was trained on synthetic streets.')
        return notes
    notes.append(
        f'Streets {arguments.seed} to {arguments.seed + arguments.seeds - 1}; no street from '
        f'{FIRST_TEST_SEED} on was used in training or to choose a model. The AUC is over '
        f'{metrics.get("motion", {}).get("objects", 0)} objects in {SAMPLES} of the '
        'frames, ranked by the mean probability of moving; on identical frames (each of these '
        'after itself) nothing moves.')
    return notes


def _lines(record: FrameRecord, first_ns: int) -> Sequence[str]:
    lines = [f't = {(record.stamp_ns - first_ns) / 1e9:.1f} s']
    if record.latency_ms is not None:
        lines.append(f'latency {record.latency_ms:.0f} ms')
    if record.truth is not None and record.truth.semantic is not None:
        lines.append('above: prediction; right: truth')
    return lines


def _save(path: Path, image: NDArray[np.uint8]) -> None:
    """
    Write an image.

    :raises StorageError: if that is impossible.
    """
    if not cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
        raise StorageError(f'{path}: cannot be written')


def _source_of(source: str) -> str:
    """Return a source for a program that runs in another folder."""
    if source == 'street' or is_address(source):
        return source
    return str(local_path(source).absolute())


def _small_width(path: Path) -> int:
    """Return the width to shrink a video's images to, 0 if they are small enough."""
    if not path.is_file():
        return 0
    if is_picture(path):
        height, width = read_rgb(path).shape[:2]
    else:
        # the first frame, because a header does not know of rotations
        first = next(Video(path).frames(strict=False), None)
        height, width = (0, 0) if first is None else first.read().shape[:2]
    scale = LARGEST_SIDE / max(width, height, 1)
    return round(width * scale / 2) * 2 if scale < 1 else 0
