# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl demo``: the whole thing once, from a camera to a report with figures."""

import argparse
import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mtl_perception.bags.reader import ANSWERS, Bag, Moment
from mtl_perception.errors import ConfigurationError, DataError, StorageError
from mtl_perception.evaluation.bag_score import Account, Score, settle
from mtl_perception.evaluation.live_recording import LivePlan
from mtl_perception.evaluation.pictures import Painter, choose
from mtl_perception.evaluation.video_writer import Film
from mtl_perception.frames import Frame, Outputs
from mtl_perception.manifest import Manifest

if TYPE_CHECKING:
    from mtl_perception.inference.engine import Engine

FIRST_TEST_SEED = 20000
"""Streets from here on are for figures only, never for training or choosing a model."""

MOSAIC_ROWS = 5
OFFLINE_FRAMES = 40
HEAD_FRAMES = 3
"""So many frames before a sample are kept for a model with a motion head."""
LONGEST_GAP_NS = 500_000_000
STEP_NS = 100_000_000
"""Between the frames that are seen again."""
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
    source: dict[str, Any] = {
        'source': arguments.source if street else str(Path(arguments.source).absolute()),
        'rate': float(arguments.rate), 'frames': frames, 'width': arguments.width,
        'height': arguments.height, 'ahead': min(frames, AHEAD)}
    if street:
        if arguments.seed < FIRST_TEST_SEED:
            raise ConfigurationError(
                f'--seed is {arguments.seed}; the network may have been trained on streets below '
                f'{FIRST_TEST_SEED}, so figures on them mean nothing')
        source |= {'seed': arguments.seed, 'seeds': arguments.seeds,
                   'seconds_per_street': arguments.seconds / arguments.seeds}
    else:
        source |= {'focal_px': float(arguments.focal_length)}
        if not (arguments.width or arguments.height):
            source['width'] = _small_width(Path(arguments.source))
    node = {'model': arguments.model, 'device': arguments.device, 'threads': arguments.threads}
    return LivePlan(source, node, truth=street)


@dataclass(eq=False)
class Review:
    """
    What was found in a recording.

    :param score: of all frames.
    :param account: where every frame went.
    :param statuses: the last diagnostics, by name.
    :param mosaic: (H, W, 3) uint8 RGB, some moments one below the other.
    :param samples: some moments, each with the moments before, for :func:`run_offline`.
    """

    score: Score
    account: Account
    statuses: dict[str, dict[str, str]]
    mosaic: NDArray[np.uint8]
    samples: list[tuple[list[Moment], Moment]] = field(default_factory=list)


def examine(path: Path, manifest: Manifest, output: Path, rate: float) -> Review:
    """
    Judge a recording and make its pictures: ``mosaic.png`` and ``demo.mp4`` in the output folder.

    :raises DataError: if it cannot be read, or has no images or no answers.
    """
    score = Score(manifest.tasks, manifest.height, manifest.width)
    painter = Painter(manifest.tasks)
    drawn, samples = [], []
    first_ns, previous = 0, deque[Moment](maxlen=HEAD_FRAMES)
    with Bag(path) as bag:
        tasks = [task.name for task in manifest.tasks if task.name in ANSWERS]
        bag.require(['image', *tasks])
        total = max(bag.count(role) for role in tasks)
        shown, sampled = choose(MOSAIC_ROWS, total), choose(OFFLINE_FRAMES, total)
        with Film(output / 'demo.mp4', rate) as film:
            for number, moment in enumerate(_answered(bag, score)):
                first_ns = first_ns if number else moment.stamp_ns
                picture = painter.draw(moment, _lines(moment, first_ns))
                film.add(picture)
                if number in shown:
                    drawn.append(picture)
                if previous and not 0 < moment.stamp_ns - previous[-1].stamp_ns <= LONGEST_GAP_NS:
                    previous.clear()
                if number in sampled and previous:
                    samples.append((list(previous), moment))
                previous.append(moment)
        if not drawn:
            raise DataError(f'{path}: no answer carries the stamp of an image', 'B04')
        statuses = bag.last_statuses()
        node = next((values for values in statuses.values() if 'in_flight' in values), None)
        account = settle(
            score, {role: bag.count(role) for role in tasks}, node, statuses.get('camera_source'))
        truth = ', prediction over truth' if 'true_semantic' in bag.roles else ''
    title = f'model {manifest.name}: input, {", ".join(painter.columns)}{truth}'
    mosaic = painter.mosaic(drawn, title)
    _save(output / 'mosaic.png', mosaic)
    return Review(score, account, statuses, mosaic, samples)


def _answered(bag: Bag, score: Score) -> Iterator[Moment]:
    """Yield the moments with an image and an answer; the score sees all of them."""
    for moment in bag.moments():
        score.update(moment)
        if moment.answered and 'image' in moment.arrays:
            yield moment


def run_offline(engine: 'Engine', review: Review) -> None:
    """
    Ask the network itself about the samples, because the masks on the wire have no probabilities.

    Each is seen after the image before it, or those before it by a model with a motion head, and
    then after itself, so that nothing can move between the two.
    """
    from mtl_perception.inference.stream import CameraStream
    manifest, head = engine.manifest, engine.motion_head
    if manifest.task('motion') is None or (manifest.network.frames < 2 and head is None):
        return
    for before, moment in review.samples:
        earlier = before if head is not None else before[-1:]
        answers = []
        for moments in ([*earlier, moment], [moment, moment]):
            stream = CameraStream(engine)
            for number, one in enumerate(moments, 1):
                found = stream.process(
                    Frame('demo', number * STEP_NS, one.arrays['image']), ['motion'], 'network')
            answers.append(Outputs(motion=found.motion, motion_score=found.motion_score))
        review.score.update_offline(answers[0], answers[1], moment)


def collect(review: Review, manifest: Manifest, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what goes into ``report.json``."""
    account = review.account
    ages = next((values for values in review.statuses.values() if 'age_ms.p99' in values), {})
    return {
        'frames_in': account.frames_in,
        'published': account.published,
        'dropped': account.dropped,
        **review.score.compute(),
        'age_at_publish_ms': {
            rank: float(ages[f'age_ms.{rank}']) for rank in ('p50', 'p95', 'p99') if ages},
        'accounting': {'adds_up': not account.problems, 'problems': account.problems},
        'source': str(arguments.source),
        'streets': [arguments.seed, arguments.seeds] if arguments.source == 'street' else None,
        'model': {'name': manifest.name, 'sha256': manifest.sha256},
        'conditions': {
            'cpus': len(os.sched_getaffinity(0)), 'python': sys.version.split()[0],
            'device': arguments.device, 'rate': arguments.rate},
    }


def notes_of(figures: dict[str, Any], arguments: argparse.Namespace) -> list[str]:
    """Return the paragraphs below the tables of the report."""
    conditions, model = figures['conditions'], figures['model']
    notes = [
        f'{figures["frames_in"]} frames at {conditions["rate"]:g} per second on '
        f'{conditions["cpus"]} CPU(s), device {conditions["device"]}; model {model["name"]}, '
        f'sha256 {model["sha256"][:16]}.',
        'Camera, node and recorder were processes of their own on a ROS 2 graph; the figures come '
        'from the recording in `bag/`, and dropped frames from the last diagnostics of the node. '
        + ('Every frame is accounted for.' if figures['accounting']['adds_up'] else
           'The frames do NOT add up: ' + '; '.join(figures['accounting']['problems']) + '.')]
    if figures['streets']:
        notes.append(
            f'Streets {arguments.seed} to {arguments.seed + arguments.seeds - 1}; no street from '
            f'{FIRST_TEST_SEED} on was used in training or to choose a model. The AUC is over '
            f'{figures.get("motion", {}).get("objects", 0)} objects in {OFFLINE_FRAMES} of the '
            'frames, scored by the mean probability of moving; on identical frames (each of these '
            'seen after itself) nothing moves.')
    else:
        notes.append('A real recording: there is no truth to compare with, so look at '
                     '`mosaic.png` and `demo.mp4`. The network was trained on synthetic streets.')
    return notes


def _lines(moment: Moment, first_ns: int) -> Sequence[str]:
    latency = moment.latency_ms
    lines = [f't = {(moment.stamp_ns - first_ns) / 1e9:.1f} s']
    if latency is not None:
        lines.append(f'latency {latency:.0f} ms')
    if 'true_semantic' in moment.arrays:
        lines.append('above: the network; right: the truth')
    return lines


def _save(path: Path, image: NDArray[np.uint8]) -> None:
    if not cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
        raise StorageError(f'{path}: cannot be written')


def _small_width(path: Path) -> int:
    """Return the width that a video's images are to have, 0 to leave them as they are."""
    video = cv2.VideoCapture(str(path)) if path.is_file() else None
    if video is None or not video.isOpened():
        return 0
    width, height = (int(video.get(side)) for side in (
        cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    video.release()
    scale = LARGEST_SIDE / max(width, height, 1)
    return round(width * scale / 2) * 2 if scale < 1 else 0
