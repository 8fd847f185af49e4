# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl evaluate --data``: measure a model on a recorded data set, from its official layout."""

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.datasets.build import build_dataset, read_descriptions
from mtl_perception.datasets.clips import RecordedClips
from mtl_perception.datasets.sample import Sample
from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.evaluation.evaluator import Evaluator
from mtl_perception.frames import Frame, FrameRecord, Perception, TrueBoxes, Truth
from mtl_perception.inference.engine import Engine
from mtl_perception.inference.stream import CameraStream, StreamSettings
from mtl_perception.manifest import Manifest
from mtl_perception.name_checks import check_names
from mtl_perception.reason_codes import ReasonCode
from mtl_perception.tasks import NOT_LABELLED, Task

STEP_NS = 100_000_000
"""Time between two images of a clip; data sets do not tell it."""

LARGEST_BAD = 0.001
"""A larger share of clips that cannot be read is never left out."""


def evaluate(
        engine: Engine, data: RecordedClips,
        show: Callable[[Sequence[int]], Any] = iter,
        skip_bad: bool = False, camera_height: float = 0.0) -> tuple[dict[str, Any], Evaluator]:
    """
    Evaluate the last image of every clip, each after the earlier ones, as the node would see them.

    Labels are compared at their own size. Only tasks count that both the model and the data know
    with the same classes.

    :param engine: the deployed network.
    :param data: the data set.
    :param show: wraps the numbers of the clips, for a progress bar.
    :param skip_bad: leave out and count clips that cannot be read, if they are very few.
    :param camera_height: of the camera above the ground, metres; 0 = that of the training.
    :return: the metrics, and the evaluator, which has pictures of the worst clips.
    :raises ConfigurationError: if model and data have no task in common, or the classes of one
        differ.
    :raises DataError: naming the file that is wrong, the first of too many with ``skip_bad``.
    """
    manifest = engine.manifest
    known = {task.name: task for task in data.tasks}
    evaluator = Evaluator(manifest.tasks, manifest.height, manifest.width, known)
    check_classes(manifest, known)
    data = data.narrowed_to(evaluator.evaluators)
    groups = drives_of([clip[-1] for clip in data.clips], data.filmed)

    # The second stream gets each image twice: nothing may move then.
    bad: list[str] = []
    settings = StreamSettings(camera_height=camera_height)
    stream = CameraStream(engine, settings)
    repeating = CameraStream(engine, settings)

    for number in show(range(len(data))):
        try:
            sample = data[number]
        except DataError as error:
            if not skip_bad:
                raise

            bad.append(str(error))
            if len(bad) > LARGEST_BAD * len(data):
                raise DataError(_too_bad(bad, len(data)), ReasonCode.TOO_MANY_BAD) from error
            continue

        focal = _focal_of(data, number)
        prediction = _predict(stream, sample.image, focal)
        repeated = None
        if 'motion' in evaluator.evaluators:
            repeated = _predict(repeating, [sample.image[-1]] * 2, focal)
        record = FrameRecord(0, sample.image[-1], prediction, truth_of_sample(sample))
        evaluator.update(str(data.clips[number][-1]), record, repeated, groups[number])

    metrics = {'frames': len(data) - len(bad), 'images_per_clip': len(data.clips[0]),
               'bad_samples': bad, **evaluator.compute()}
    return metrics, evaluator


def _predict(
        stream: CameraStream, images: Iterable[NDArray[np.uint8]], focal_px: float | None,
) -> Perception:
    """Return the prediction for the last of some consecutive images."""
    stream.reset('clip')
    for place, image in enumerate(images, 1):
        prediction = stream.process(Frame('data', place * STEP_NS, image), focal_px=focal_px)
    return prediction


def _too_bad(bad: Sequence[str], count: int) -> str:
    """Return the message about too many clips that cannot be read."""
    return (f'{len(bad)} of {count} clips cannot be read, at most {LARGEST_BAD:.1%} may be left '
            f'out; the first: {bad[0]}')


def drives_of(images: Sequence[Path], filmed: bool = False) -> list[Hashable]:
    """
    Return the drive of each image: its folder and its name up to the number at the end.

    Where that is the same for all, each image stands for itself, unless they were filmed.

    :param images: paths.
    :param filmed: whether the frames of a folder are known to be of one drive.
    """
    # frame_000123.png and frame_000124.png are of one drive, named "frame_".
    drives = [(image.parent, re.sub(r'\d+$', '', image.stem)
               if image.stem[-1:].isdigit() else '') for image in images]

    # One name for all says nothing about drives.
    return list(drives) if filmed or len(set(drives)) > 1 else [None] * len(images)


def check_classes(manifest: Manifest, known: Mapping[str, Task]) -> None:
    """
    Refuse labels of other classes than the model has.

    :param known: tasks of the labels by name.
    :raises ConfigurationError: if the classes of a task differ.
    """
    for name, labels in known.items():
        task = manifest.task(name)
        if task is not None and task.classes != labels.classes:
            raise ConfigurationError(
                f'{name}: model {manifest.name!r} has the classes {list(task.classes)}, the data '
                f'{list(labels.classes)}; evaluate on data with the same classes')


def _with_earlier(description: Mapping[str, Any], part: str, frames: int) -> RecordedClips:
    """Return a data set with as many images per clip as a model takes, if it has them."""
    if frames > 1 and 'frames' not in description and description.get('dataset') != 'nyu':
        try:
            return build_dataset({**description, 'frames': frames}, part)
        except DataError:
            print('there are no earlier images: each image is evaluated by itself')
    return build_dataset(description, part)


def _focal_of(data: RecordedClips, number: int) -> float | None:
    """Return the focal length of a clip in pixels of its images, None if unknown."""
    try:
        return data.focal_length(data.clips[number][-1])
    except DataError:
        return None


def truth_of_sample(sample: Sample) -> Truth:
    """Return the labels of the last image of a clip."""
    labels = {name: label[-1] for name, label in sample.labels().items()}
    detection = None
    if sample.detection is not None:
        rows = sample.detection[-1]
        if (rows[:, 4] != NOT_LABELLED).all():
            # Rows with a negative class only fill the array up.
            boxes = rows[rows[:, 4] >= 0]
            detection = TrueBoxes(
                boxes[:, :4], boxes[:, 4].astype(np.int64), np.zeros(len(boxes), bool))
    return Truth(
        labels.get('semantic'), labels.get('depth'), labels.get('motion'),
        labels.get('instance'), detection)


def title_of(metrics: Mapping[str, Any]) -> str:
    """Return in one line what was evaluated."""
    return (f'{metrics["frames"]} clips of {metrics["images_per_clip"]} image(s), '
            f'{metrics["data"]}, model {metrics["model"]}')


def open_data(
        path: Path, part: str, root: Path | None, frames: int) -> tuple[RecordedClips, str]:
    """
    Return a data set and its name.

    :param path: YAML file with one data set or several.
    :param part: which of several.
    :param root: folder in place of that in the file.
    :param frames: wanted images per clip.
    """
    described = read_descriptions(path)
    part = next(iter(described)) if len(described) == 1 else part
    check_names([part], list(described), f'{path}: data set')

    description = dict(described[part])
    if root is not None:
        description['root'] = str(root)
    words = ' '.join(str(description.get(key, '')) for key in ('dataset', 'split')).strip()
    return _with_earlier(description, part, frames), words
