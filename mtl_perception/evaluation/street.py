# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl evaluate``: measure a model on streets that neither training nor selection ever saw."""

import argparse
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from mtl_perception.datasets.seeds import check_seeds, parse_seeds
from mtl_perception.errors import ConfigurationError, StorageError
from mtl_perception.evaluation.judges import (
    LOWEST_SCORE,
    DepthJudge,
    DetectionJudge,
    InstanceJudge,
    Judge,
    MotionJudge,
    SemanticJudge,
    rows,
)
from mtl_perception.frames import Frame, Perception
from mtl_perception.inference.engine import Engine
from mtl_perception.inference.stream import CameraStream
from mtl_perception.manifest import Manifest, find_model, read_model, write_model
from mtl_perception.synthetic import Street
from mtl_perception.synthetic.street import CAMERA_HEIGHTS
from mtl_perception.tasks import STREET_SEMANTIC


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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``mtl evaluate``."""
    parser.add_argument(
        'model', nargs='?', default='street', help='shipped name or .safetensors file (street)')
    parser.add_argument(
        '--seeds', default='20000:20040',
        help='street seeds FIRST:END, from 20000 on (default: 20000:20040)')
    parser.add_argument(
        '--frames', type=int, default=Moments.frames,
        help='judged frames per street, spread over its drive (default: 10)')
    parser.add_argument(
        '--spacing', type=float, default=Moments.spacing,
        help='seconds between a frame and the one before (default: 0.1; up to 0.5)')
    parser.add_argument(
        '--camera-height', type=float, metavar='METRES',
        help='drive with a camera at this height, told to the model (default: each street draws '
        'one near that of the training, and the model is not told)')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda (default: auto)')
    parser.add_argument('--threads', type=int, default=0, help='threads of torch, 0 = automatic')
    parser.add_argument(
        '--output', type=Path, help='folder for street.json and street.md')
    parser.add_argument(
        '--record', action='store_true', help="write the figures into the model's manifest")


def run(arguments: argparse.Namespace) -> int:
    """Run ``mtl evaluate``."""
    from mtl_perception.inference.torch_engine import TorchEngine
    seeds = parse_seeds(arguments.seeds)
    if arguments.frames < 1 or not 0 < arguments.spacing <= 0.5:
        raise ConfigurationError(
            f'--frames is {arguments.frames} and --spacing {arguments.spacing} s; frames must be '
            'at least 1, the spacing above 0 and at most 0.5 s')
    if arguments.camera_height is not None and not 0.3 <= arguments.camera_height <= 3.0:
        raise ConfigurationError(
            f'--camera-height is {arguments.camera_height} m; it must be 0.3 to 3.0')
    check_seeds(seeds, 'test')
    engine = TorchEngine.load(
        arguments.model, arguments.device, threads=arguments.threads,
        minimum_score=LOWEST_SCORE)
    manifest = engine.manifest
    moments = Moments(
        arguments.frames, arguments.spacing, width=manifest.width, height=manifest.height,
        camera_height=arguments.camera_height)
    figures = evaluate(engine, seeds, moments, lambda items: track(
        items, 'streets', console=Console(stderr=True), transient=True))
    figures = {'model': manifest.name, 'sha256': manifest.sha256, **figures}
    text = as_markdown(figures)
    print(text)
    if arguments.output:
        try:
            arguments.output.mkdir(parents=True, exist_ok=True)
            (arguments.output / 'street.md').write_text(text + '\n', encoding='utf-8')
            (arguments.output / 'street.json').write_text(
                json.dumps(figures, indent=2) + '\n', encoding='utf-8')
        except OSError as error:
            raise StorageError(f'{arguments.output}: cannot be written ({error})') from error
    if arguments.record:
        record(arguments.model, figures)
    return 0


def evaluate(
        engine: Engine, seeds: Sequence[int], moments: Moments,
        show: Callable[[Sequence[int]], Any] = iter,
        street: Callable[..., Any] | None = None) -> dict[str, Any]:
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
    :raises ConfigurationError: if a seed may have been trained on.
    """
    check_seeds(seeds, 'test')
    judges = _judges(engine.manifest, moments)
    frames = 0
    for seed in show(seeds):
        for truth, found, again in _drive(engine, seed, moments, street or Street):
            frames += 1
            for judge in judges.values():
                judge.update(truth, found, again)
    figures: dict[str, Any] = {
        'seeds': [min(seeds), max(seeds)], 'streets': len(seeds), 'frames': frames,
        'spacing_s': moments.spacing, 'size': [moments.width, moments.height],
        'camera_height': moments.camera_height}
    baseline: dict[str, Any] = {'from': 'the judged frames themselves'}
    for name, judge in judges.items():
        figures[name] = judge.metric.compute()
        if (guess := judge.guess()) is not None:
            baseline[name] = guess
    return {**figures, 'baseline': baseline}


def _judges(manifest: Manifest, moments: Moments) -> dict[str, Judge]:
    """
    Return task name -> what judges it.

    :raises ConfigurationError: if the model has no task that the street can judge.
    """
    semantic = manifest.task('semantic')
    judges: dict[str, Judge] = {}
    for task in manifest.tasks:
        if task.name == 'semantic':
            judges[task.name] = SemanticJudge(task, moments.height, moments.width)
        elif task.name == 'depth':
            judges[task.name] = DepthJudge(task, moments.height, moments.width)
        elif task.name == 'motion':
            judges[task.name] = MotionJudge(semantic or STREET_SEMANTIC)
        elif task.name == 'instance' and semantic is not None:
            judges[task.name] = InstanceJudge(semantic)
        elif task.name == 'detection':
            judges[task.name] = DetectionJudge(task)
    if not judges:
        raise ConfigurationError(
            f'model {manifest.name!r} has the tasks {[task.name for task in manifest.tasks]}; '
            'the street can judge none of them')
    return judges


def _drive(
        engine: Engine, seed: int, moments: Moments, street: Callable[..., Any],
) -> Iterator[tuple[Any, Perception, Perception]]:
    """Yield (truth, prediction, prediction on identical frames) of one street's moments."""
    drive = street(
        seed, width=moments.width, height=moments.height, rate=1 / moments.spacing,
        camera_height=moments.camera_height)
    focal = float(drive.focal_px)
    head = getattr(engine, 'motion_head', None)
    stream, still = (
        CameraStream(engine, camera_height=moments.camera_height or 0.0, motion_head=head)
        for _ in range(2))
    step_ns = round(moments.spacing * 1e9)
    for before, judged in moments.pairs(seed):
        stream.reset('moment')
        still.reset('moment')
        truth = drive.render(judged)
        first = max(0, judged - HEAD_FRAMES) if head is not None else before
        for number in range(first, judged + 1):
            image = truth.image if number == judged else drive.render(number).image
            found = stream.process(
                Frame('street', (number + 1) * step_ns, image), focal_px=focal)
        for number in (judged, judged + 1):
            again = still.process(
                Frame('street', (number + 1) * step_ns, truth.image), focal_px=focal)
        yield truth, found, again


def as_markdown(figures: dict[str, Any]) -> str:
    """Return the figures as a table, each beside what can be had without the network."""
    base = figures['baseline']
    lines = [
        f'{figures["frames"]} frames of {figures["streets"]} streets (seeds '
        f'{figures["seeds"][0]} to {figures["seeds"][1]}), previous frame '
        f'{figures["spacing_s"]:g} s before, {figures["size"][0]}x{figures["size"][1]}, '
        f'{_height(figures.get("camera_height"))}, model {figures.get("model", "")}',
        '',
        '| | model | without looking | target |', '|---|---|---|---|',
        *(f'| {name} | {_number(value)} | {_number(guess)} | {target} |'
          for name, value, guess, target in rows(figures)),
        '',
        'Without looking: the most frequent class and the mean depth of each pixel of '
        f'{base["from"]}; for motion, every movable object called moving; for instances, each '
        'connected region of a class in the true mask called one object; no boxes.']
    if absent := figures.get('semantic', {}).get('absent'):
        lines.append(f'Classes that never occur and are not in the mean: {", ".join(absent)}.')
    return '\n'.join(lines)


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
    metrics = {**manifest.metrics, 'street': kept}
    return write_model(
        dataclasses.replace(manifest, metrics=metrics), content, find_model(model))


def _height(metres: float | None) -> str:
    low, high = CAMERA_HEIGHTS
    if metres is None:
        return f'camera at {low} to {high} m, not known'
    return f'camera at {metres:g} m, known'


def _number(value: float | None) -> str:
    return 'n/a' if value is None else f'{value:.3f}'
