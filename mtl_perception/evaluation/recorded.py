# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl evaluate --data``: measure a model on a recorded data set, from its official layout."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import track

from mtl_perception.datasets.build import build_dataset, read_descriptions
from mtl_perception.datasets.names import check_names
from mtl_perception.datasets.recorded import RecordedClips
from mtl_perception.datasets.sample import Sample
from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.evaluation.judges import LOWEST_SCORE, Truth, figures_of, judges_of
from mtl_perception.evaluation.street import table, write
from mtl_perception.frames import Frame
from mtl_perception.inference.engine import Engine
from mtl_perception.inference.stream import CameraStream
from mtl_perception.tasks import NOT_LABELLED

STEP_NS = 100_000_000
"""Time between two images of a clip, where the data set does not say it."""


def evaluate(
        engine: Engine, data: RecordedClips,
        show: Callable[[Sequence[int]], Any] = iter) -> dict[str, Any]:
    """
    Judge the last image of every clip, each after the earlier ones, as the node would see them.

    Labels are judged at their own size. Only tasks are judged that both the model and the data
    know with the same classes.

    :param engine: the deployed network.
    :param data: the data set.
    :param show: wraps the numbers of the clips, for a progress bar.
    :raises ConfigurationError: if no task can be judged, or the classes of one differ.
    :raises DataError: naming the file that is wrong.
    """
    manifest = engine.manifest
    known = {task.name: task for task in data.tasks
             if data.wanted is None or task.name in data.wanted}
    judges = {name: judge for name, judge in judges_of(manifest).items() if name in known}
    for name in judges:
        task = manifest.task(name)
        assert task is not None
        if task.classes != known[name].classes:
            raise ConfigurationError(
                f'{name}: model {manifest.name!r} has the classes {list(task.classes)}, the data '
                f'{list(known[name].classes)}; evaluate on data with the same classes')
    if not judges:
        raise ConfigurationError(
            f'model {manifest.name!r} has the tasks {[task.name for task in manifest.tasks]}, the '
            f'data labels {list(known)}; nothing can be judged')
    data.wanted = list(judges)
    head = getattr(engine, 'motion_head', None)
    stream, still = (CameraStream(engine, motion_head=head) for _ in range(2))
    for number in show(range(len(data))):
        sample = data[number]
        focal = _focal_of(data, number)
        stream.reset('clip')
        still.reset('clip')
        for place, image in enumerate(sample.image, 1):
            found = stream.process(Frame('data', place * STEP_NS, image), focal_px=focal)
        again = found
        if 'motion' in judges:
            for place in (1, 2):
                again = still.process(
                    Frame('data', place * STEP_NS, sample.image[-1]), focal_px=focal)
        truth = _truth_of(sample)
        for judge in judges.values():
            judge.update(truth, found, again)
    return {'frames': len(data), 'images_per_clip': len(data.clips[0]), **figures_of(judges)}


def _with_earlier(description: Mapping[str, Any], part: str, frames: int) -> RecordedClips:
    """Return a data set with as many images per clip as a model takes, if it has them."""
    if frames > 1 and 'frames' not in description and description.get('dataset') != 'nyu':
        try:
            return build_dataset({**description, 'frames': frames}, part)
        except DataError:
            print('there are no earlier images: each is judged by itself')
    return build_dataset(description, part)


def _focal_of(data: RecordedClips, number: int) -> float | None:
    """Return the focal length of a clip in pixels of its images, None if it is not known."""
    camera = getattr(data, 'camera', None)
    if camera is None:
        return None
    try:
        return float(camera(data.clips[number][-1])[0])
    except DataError:
        return None


def _truth_of(sample: Sample) -> Truth:
    """Return the labels of the last image of a clip."""
    labels = {name: label[-1] for name, label in sample.labels().items()}
    boxes = None
    if sample.detection is not None and (sample.detection[-1, :, 4] != NOT_LABELLED).all():
        boxes = sample.detection[-1][sample.detection[-1, :, 4] >= 0]
    return Truth(
        labels.get('semantic'), labels.get('depth'), labels.get('motion'),
        labels.get('instance'), boxes)


def as_markdown(figures: dict[str, Any]) -> str:
    """Return the figures as a table, each beside what can be had without the network."""
    return '\n'.join([
        f'{figures["frames"]} clips of {figures["images_per_clip"]} image(s), {figures["data"]}, '
        f'model {figures["model"]}', '', *table(figures, targets=False)])


def run(arguments: argparse.Namespace) -> int:
    """Run ``mtl evaluate --data``."""
    from mtl_perception.inference.torch_engine import TorchEngine
    described = read_descriptions(arguments.data)
    part = next(iter(described)) if len(described) == 1 else arguments.part
    check_names([part], list(described), f'{arguments.data}: data set')
    description = dict(described[part])
    if arguments.root is not None:
        description['root'] = str(arguments.root)
    engine = TorchEngine.load(
        arguments.model, arguments.device, threads=arguments.threads,
        minimum_score=LOWEST_SCORE)
    data = _with_earlier(description, part, engine.manifest.network.frames)
    figures = evaluate(engine, data, lambda items: track(
        items, 'clips', console=Console(stderr=True), transient=True))
    words = ' '.join(str(description.get(key, '')) for key in ('dataset', 'split')).strip()
    figures = {'model': engine.manifest.name, 'sha256': engine.manifest.sha256, 'data': words,
               **figures}
    text = as_markdown(figures)
    print(text)
    if arguments.output:
        write(arguments.output, 'data', text, figures)
    return 0
