# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl evaluate --data``: measure a model on a recorded data set, from its official layout."""

import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.datasets.build import build_dataset
from mtl_perception.datasets.clips import RecordedClips
from mtl_perception.datasets.detect_layout import describe, is_divided_by_share
from mtl_perception.datasets.sample import Sample
from mtl_perception.errors import ConfigurationError, DataError, FrameError
from mtl_perception.evaluation.evaluator import Evaluator
from mtl_perception.evaluation.judged_classes import JudgedClasses, judged_classes
from mtl_perception.evaluation.remembering import RememberingEngine
from mtl_perception.frames import Frame, FrameRecord, Perception, TrueBoxes, Truth
from mtl_perception.inference.depth_anchor import DepthScale
from mtl_perception.inference.engine import Engine
from mtl_perception.inference.fit import SQUEEZED, Fit, roi_of
from mtl_perception.inference.stream import CameraStream, StreamSettings
from mtl_perception.manifest import Manifest
from mtl_perception.name_checks import check_names
from mtl_perception.reason_codes import ReasonCode
from mtl_perception.tasks import NOT_LABELLED, Task

STEP_NS = 100_000_000
"""Time between two images of a clip; data sets do not tell it."""

FIT_SETTINGS = ('fit', 'roi')
"""What the description of a data set may say about how a model is to see its images."""

LARGEST_BAD = 0.001
"""A larger share of clips that cannot be used is never left out."""


def evaluate(
        engine: Engine, data: RecordedClips,
        show: Callable[[Sequence[int]], Any] = iter,
        skip_bad: bool = False, camera_height: float = 0.0,
        class_map: Mapping[str, Sequence[str]] = MappingProxyType({}), fit: Fit = SQUEEZED,
        depth_scale: DepthScale = 'network',
) -> tuple[dict[str, Any], Evaluator]:
    """
    Evaluate the last image of every clip, each after the earlier ones, as the node would see them.

    Labels are compared at their own size. Only tasks count that the model has and the data labels;
    where their classes differ, they are mapped, see :mod:`mtl_perception.datasets.class_table`.

    :param engine: the deployed network.
    :param data: the data set.
    :param show: wraps the numbers of the clips, for a progress bar.
    :param skip_bad: leave out and count clips that cannot be read or that the stream refuses, if
        they are very few.
    :param camera_height: of the camera above the ground, metres; 0 = that of the training.
    :param class_map: class of the model -> classes of the data, in place of the table.
    :param fit: how images of another shape than the network's are brought to it.
    :param depth_scale: what the metres stand on, see :class:`.StreamSettings`.
    :return: the metrics, and the evaluator, which has pictures of the worst clips.
    :raises ConfigurationError: if model and data have no task in common, or no class of one.
    :raises DataError: naming the file that is wrong, the first of too many with ``skip_bad``; if
        nothing is labelled.
    """
    manifest = engine.manifest
    wanted, judged = _tasks_evaluated(engine, data, class_map)
    evaluator = Evaluator(
        judged.tasks(manifest.tasks), manifest.height, manifest.width, wanted,
        data.points, data.smallest_object)

    # Motion is evaluated by objects, and by the classes that can move.
    tasks = {*evaluator.evaluators}
    needed = {'semantic', 'instance'} if 'motion' in tasks else set()
    data = data.narrowed_to(tasks | needed)
    groups = data.drives
    computed = (tasks | needed - {'instance'}) & {task.name for task in manifest.tasks}
    runner = _Runner(
        engine, StreamSettings(
            camera_height=camera_height, fit=fit, depth_scale=depth_scale), computed, data)

    bad: list[str] = []
    for number in show(range(len(data))):
        try:
            sample = data[number]
            prediction, repeated = runner.run(number, sample)
        except DataError as error:
            if not skip_bad:
                raise

            bad.append(str(error))
            if len(bad) > LARGEST_BAD * len(data):
                raise DataError(_too_bad(bad, len(data)), ReasonCode.TOO_MANY_BAD) from error
            continue

        record = FrameRecord(
            0, sample.image[-1], judged.prediction(prediction),
            judged.truth(truth_of_sample(sample)))
        evaluator.update(
            str(data.clips[number][-1]), record,
            None if repeated is None else judged.prediction(repeated), groups[number])

    unlabelled = [name for name, one in evaluator.evaluators.items() if not one.groups]
    if len(unlabelled) == len(evaluator.evaluators):
        raise DataError(
            f'{data.clips[0][-1]}: neither it nor any other image has a label of '
            f'{" or ".join(unlabelled)}; unpack the archives with the labels')

    metrics = {
        'frames': len(data) - len(bad), 'images_per_clip': len(data.clips[0]), 'bad_samples': bad,
        'intrinsics': dict(runner.intrinsics),
        'fit': dict(runner.layouts) if fit != SQUEEZED else {},
        'depth_scale': depth_scale, 'not_anchored': runner.not_anchored,
        'low_contrast': data.image_range.remark(),
        'unlabelled': unlabelled, 'incomplete': len(data.incomplete),
        'class_map': {name: it.to_dict() for name, it in judged.maps.items()
                      if name not in unlabelled},
        **evaluator.compute(evaluated_only=True)}
    return metrics, evaluator


def _tasks_evaluated(
        engine: Engine, data: RecordedClips, class_map: Mapping[str, Sequence[str]],
) -> tuple[set[str], JudgedClasses]:
    """
    Return the names of the tasks that model and data share, and the classes that are evaluated.

    :raises ConfigurationError: if the data has labels of a task, but of none of its classes.
    """
    known = {task.name: task for task in data.tasks}
    try:
        return {*known}, judged_classes(engine.manifest.tasks, known, class_map)
    except ConfigurationError:
        # Labels that are not there cannot be of other classes, such as those of an archive that
        # was not unpacked.
        there = {task.name for task in data.tasks if _labels(data, task.name)}
        if there == {*known}:
            raise
        known = {name: task for name, task in known.items() if name in there}
        return {*known}, judged_classes(engine.manifest.tasks, known, class_map)


def _labels(data: RecordedClips, task: str) -> bool:
    """Return whether the first clip has labels of a task."""
    sample = data.narrowed_to([task])[0]
    return task in sample.labels() or (task == 'detection' and sample.detection is not None)


class _Runner:
    """
    Runs a model on the clips of a data set, in order.

    Clips that follow one another in a drive are one stream, as for the node.

    :param engine: the deployed network.
    :param settings: of the streams.
    :param tasks: that are computed.
    :param data: the data set.
    :raises ConfigurationError: if the odometry is wanted and the data does not have one.
    """

    def __init__(
            self, engine: Engine, settings: StreamSettings, tasks: Collection[str],
            data: RecordedClips) -> None:
        if settings.depth_scale == 'odometry' and data.pose(data.clips[0][-1]) is None:
            raise ConfigurationError(
                f"depth.scale is 'odometry', but {type(data).__name__} does not tell where the "
                "camera was; use 'height' or 'network'")

        self._tasks = tasks
        self._data = data
        self._engine = RememberingEngine(engine)
        self._stream = CameraStream(self._engine, settings)
        self._repeating = CameraStream(self._engine, settings)
        self._last: Path | None = None
        self._seen = 0

        self._poses: dict[int, NDArray[np.float64] | None] = {}
        self.not_anchored = 0
        """In how many clips the scale of depth could not be measured."""
        self.intrinsics: Counter[str] = Counter()
        """How many clips have which state of their focal length."""
        self.layouts: Counter[str] = Counter()
        """How many clips were shown to the network in which way."""

    def run(self, number: int, sample: Sample) -> tuple[Perception, Perception | None]:
        """
        Return the prediction for the last image of a clip, and for that image after itself.

        :param number: of the clip.
        :param sample: the same clip.
        :return: the second is None if motion is not asked for.
        :raises DataError: naming the image, if the stream refuses one of the clip.
        """
        # The stream may have seen a part of a clip that is refused: the next one starts anew.
        image = self._data.clips[number][-1]
        last, self._last = self._last, None
        with naming(image):
            found = self._run(number, sample, last)
        self._last = image
        return found

    def _run(
            self, number: int, sample: Sample, last: Path | None,
    ) -> tuple[Perception, Perception | None]:
        """Return what :meth:`run` does; the stream has seen the clip of ``last`` before."""
        image = self._data.clips[number][-1]
        focal = _focal_of(self._data, number)

        images = sample.image
        if self._data.filmed and last is not None and last == self._data.find_earlier(
                image, self._data.spacing):
            images = images[-1:]  # the stream has seen the others
        else:
            self._stream.reset('clip')
            self._seen = 0
            self._poses.clear()

        if self._stream.settings.depth_scale == 'odometry':
            for place, path in enumerate(self._data.clips[number][-len(images):], self._seen + 1):
                self._poses[place * STEP_NS] = self._data.pose(path)
        prediction = self._process(self._stream, images, self._seen, focal)
        self._seen += len(images)

        # The second stream gets each image twice: nothing may move then.
        repeated = None
        if 'motion' in self._tasks:
            self._repeating.reset('clip')
            with self._engine.recalling():
                repeated = self._process(self._repeating, [sample.image[-1]] * 2, 0, focal)

        # Clips that are refused do not count.
        self.intrinsics['assumed' if focal is None else 'calibrated'] += 1
        if self._stream.layout is not None:
            self.layouts[self._stream.layout.text()] += 1
        if self._stream.anchor is not None:
            self.not_anchored += not self._stream.anchor.anchored
        return prediction, repeated

    def _process(
            self, stream: CameraStream, images: Iterable[NDArray[np.uint8]], seen: int,
            focal_px: float | None) -> Perception:
        """Return the prediction for the last of some images that follow those seen before."""
        for place, image in enumerate(images, seen + 1):
            prediction = stream.process(
                Frame('data', place * STEP_NS, image), self._tasks, focal_px=focal_px,
                odometry=self._moved if self._poses and stream is self._stream else None)
        return prediction

    def _moved(self, earlier_ns: int, later_ns: int) -> NDArray[np.float64] | None:
        """Return how the camera moved, see :data:`.Odometry`."""
        earlier, later = self._poses.get(earlier_ns), self._poses.get(later_ns)
        if earlier is None or later is None:
            return None
        return np.asarray(np.linalg.inv(earlier) @ later)


@contextlib.contextmanager
def naming(image: Path) -> Iterator[None]:
    """
    Name the image of a data set that a stream refuses.

    :raises DataError: in place of the error of the frame.
    """
    try:
        yield
    except FrameError as error:
        raise DataError(f'{image}: {error}') from error


def _too_bad(bad: Sequence[str], count: int) -> str:
    """Return the message about too many clips that cannot be read."""
    return (f'{len(bad)} of {count} clips cannot be used, at most {LARGEST_BAD:.1%} may be left '
            f'out; the first: {bad[0]}')


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


def notes_of(metrics: Mapping[str, Any]) -> list[str]:
    """Return what a reader of the report must know besides the metrics, in sentences."""
    notes = []
    for task, found in metrics['class_map'].items():
        parts = '; '.join(f'{name}: {", ".join(ours)}'
                          for name, ours in found['classes'].items() if ours)
        notes.append(f"{task.capitalize()} in the classes of the data, of the model's: {parts}.")
        if found['lacking']:
            notes.append(
                f'The model lacks {", ".join(found["lacking"])}: counted as never found.')
        if found['unmatched']:
            notes.append(f'The data has no {", ".join(found["unmatched"])}; where the model says '
                         'so on a labelled pixel, it is wrong.')

    if 'depth' in metrics and (unknown := metrics['intrinsics'].get('assumed')):
        notes.append(f'The focal length of {unknown} of {metrics["frames"]} images is unknown: '
                     'their depth stands on an assumed one, that of the training; focal_px in the '
                     'description of a folder gives it.')

    # what the model saw, and what was left out
    notes += [f'{text[0].upper()}{text[1:]} ({times} frames). What is unknown counts as wrong.'
              for text, times in metrics.get('fit', {}).items()]
    if missing := metrics.get('not_anchored'):
        notes.append(
            f'[{ReasonCode.NOT_ANCHORED}] The depth of {missing} of {metrics["frames"]} images is '
            f'not anchored by the {metrics["depth_scale"]}: it could not be measured there.')

    notes += [f'Left out: {text}.' for text in metrics['bad_samples']]
    if metrics['low_contrast']:
        notes.append(metrics['low_contrast'])
    if metrics['incomplete']:
        notes.append(f'Left out: {metrics["incomplete"]} image(s) without an earlier one; frames: '
                     '1 in the description takes each image by itself.')
    if metrics['unlabelled']:
        notes.append(
            f'Not evaluated, since no image has such a label: {", ".join(metrics["unlabelled"])}. '
            'What is evaluated can be named: --tasks, or tasks: in the description.')
    return notes


def open_data(
        path: Path, part: str, root: Path | None, frames: int, tasks: Sequence[str] = (),
        undivided: bool = False) -> tuple[RecordedClips, str]:
    """
    Return a data set and its name.

    :param path: a folder, or a YAML file with one data set or several.
    :param part: which of several.
    :param root: folder in place of that in the file.
    :param frames: wanted images per clip.
    :param tasks: the only tasks to evaluate, in place of those of the description; all if empty.
    :param undivided: whether a folder that would be divided into training and validation by
        shares is taken whole.
    """
    part, description = _description(path, part)
    if undivided and path.is_dir() and description['dataset'] == 'folder' \
            and is_divided_by_share(path):
        description['split'] = 'all'
    for name in FIT_SETTINGS:
        description.pop(name, None)
    if root is not None:
        description['root'] = str(root)
    if tasks:
        description['tasks'] = list(tasks)
    words = ' '.join(str(description.get(key, '')) for key in ('dataset', 'split')).strip()
    return _with_earlier(description, part, frames), words


def described_fit(path: Path, part: str) -> Fit:
    """
    Return how the description of a data set wants its images to be shown to a model.

    :param path: a folder, or a YAML file with one data set or several.
    :param part: which of several.
    :raises ConfigurationError: if it says what does not exist.
    """
    part, description = _description(path, part)
    try:
        return Fit(description.get('fit', 'squeeze'), roi_of(description.get('roi') or ''))
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f'{path}: {part}: {error}') from error


def _description(path: Path, part: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the description of one of the data sets in a file, or of a folder."""
    described = describe(path)
    part = next(iter(described)) if len(described) == 1 else part
    check_names([part], list(described), f'{path}: data set')
    return part, dict(described[part])
