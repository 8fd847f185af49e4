# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl evaluate --bag``: the predictions of a node in a recording, against the truth."""

import copy
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mtl_perception.bags.reader import Bag
from mtl_perception.bags.stamps import match_stamps
from mtl_perception.datasets.clips import RecordedClips
from mtl_perception.errors import DataError, FrameError
from mtl_perception.evaluation.bag_score import BagScore, balance_frames
from mtl_perception.evaluation.dataset_evaluation import check_classes, truth_of_sample
from mtl_perception.evaluation.image_inputs import calibrations_of
from mtl_perception.evaluation.records import complete_truth, has_prediction
from mtl_perception.frames import Frame, FrameRecord, Perception, Truth
from mtl_perception.image_range import Limits, limits_of
from mtl_perception.inference.depth_anchor import SCALES
from mtl_perception.inference.engine import MINIMUM_SCORE, Engine
from mtl_perception.inference.fit import CHOICES, SQUEEZED, Fit, roi_of
from mtl_perception.inference.moving_objects import MINIMUM_MOTION_SCORE
from mtl_perception.inference.stream import (
    CameraStream,
    StreamSettings,
    assumed_focal_length,
)
from mtl_perception.manifest import Manifest
from mtl_perception.reason_codes import ReasonCode
from mtl_perception.topics import PREDICTIONS

LEAST_MATCHED = 0.9
"""A smaller share of matched messages says that two streams do not belong together."""


class Labels:
    """
    The truth in a data set whose images are named by their stamps in nanoseconds.

    :param data: the data set.
    :param stamps: of the images of the recording, nanoseconds, rising.
    :param slop_ns: labels belong to the nearest image at most this far away.
    :raises DataError: if an image of the data set is not named by a stamp.
    """

    def __init__(self, data: RecordedClips, stamps: list[int], slop_ns: int) -> None:
        self._data = data
        numbers: dict[int, int] = {}
        for number, clip in enumerate(data.clips):
            if not clip[-1].stem.isdigit():
                raise DataError(
                    f'{clip[-1]}: its name is not a stamp; name the images of labels for a bag by '
                    'their stamps in nanoseconds, such as 1700000000123456789.png',
                    ReasonCode.BAG_STAMPS)
            numbers[int(clip[-1].stem)] = number

        place = match_stamps(stamps, sorted(numbers), slop_ns)
        self._number_of = {image: numbers[label] for label, image in place.items()}
        self.matched = len(place)
        self.unmatched = len(numbers) - len(place)

    def truth_of(self, stamp_ns: int) -> Truth | None:
        """
        Return the truth of an image of the recording, None if it is not labelled.

        :raises DataError: naming the file that is wrong.
        """
        number = self._number_of.get(stamp_ns)
        return None if number is None else truth_of_sample(self._data[number])


def rerun(
        bag: Bag, engine: Engine, settings: StreamSettings | None = None,
        motion_score: float = MINIMUM_MOTION_SCORE) -> Iterator[FrameRecord]:
    """
    Yield the records of a recording with the predictions that a model makes now.

    The images go through the code that the node runs, in the order of their stamps, with the
    calibration and for the tasks that they were recorded with. Images that the node dropped left
    no trace in its temporal state, so they are left out here too.

    :param bag: the recording.
    :param engine: the model.
    :param settings: of the node; the defaults if None.
    :param motion_score: probability of moving above which a pixel or an object moves.
    """
    calibrations = calibrations_of(bag)
    stream = CameraStream(engine, settings)
    if stream.moving is not None:
        stream.moving.minimum_score = motion_score

    changes = bag.image_range.changes
    for record in bag.records(engine.manifest.tasks):
        if bag.image_range.changes > changes:
            changes = bag.image_range.changes
            stream.reset('image_range')
        image = record.image
        recorded = record.prediction
        if image is None or recorded is None:
            yield record
            continue

        # Depth is withheld where the calibration is for another size, as by the node.
        known, _ = calibrations.intrinsics(record.stamp_ns, image.shape)
        fits = not known.is_of_another_size
        tasks = {task for task in PREDICTIONS if getattr(recorded, task) is not None}
        try:
            prediction = stream.process(
                Frame('bag', record.stamp_ns, image), tasks,
                _output_size(recorded, record),
                intrinsics=known)
        except FrameError as error:  # the node would drop it too
            bag.skipped[bag.camera.image][str(error)] += 1
            continue

        # Topics carry no probabilities of motion; boxes have their scores.
        kept = {task: getattr(prediction, task) for task in tasks if fits or task != 'depth'}
        yield dataclasses.replace(
            record, prediction=Perception(**kept) if kept else None)


def _output_size(
        recorded: Perception, record: FrameRecord,
) -> Literal['camera', 'network']:
    """Return the size that the node was told to publish at."""
    assert record.image is not None
    return 'camera' if recorded.size in (None, record.image.shape[:2]) else 'network'


def score_bag(
        bag: Bag, records: Iterable[FrameRecord], manifest: Manifest,
        labels: Labels | None = None) -> BagScore:
    """
    Compare the predictions of a recording with the truth.

    :param bag: the recording.
    :param records: of it, or what :func:`rerun` makes of them.
    :param manifest: of the model that predicted.
    :param labels: the truth, None takes that of the recording.
    :raises DataError: if no image has a prediction.
    """
    score = BagScore(manifest.tasks, manifest.height, manifest.width, bag.stamps_of('image'))
    for record in records:
        if has_prediction(record):
            record = (
                complete_truth(record, manifest.tasks) if labels is None else
                dataclasses.replace(record, truth=labels.truth_of(record.stamp_ns)))
        score.update(record)
    if score.answered == score.undecoded:
        raise _nothing_scored(bag, score)
    return score


def _nothing_scored(bag: Bag, score: BagScore) -> DataError:
    """Return why no prediction of a recording could be compared."""
    reasons = [f'{topic}: {count} messages left out: {reason}'
               for topic, counts in bag.skipped.items() for reason, count in counts.items()]
    if score.orphans or not reasons:
        return DataError(
            f'{bag.path}: no prediction carries the stamp of an image', ReasonCode.BAG_STAMPS)
    return DataError(f'{bag.path}: no prediction can be evaluated: {"; ".join(reasons)}')


def bag_metrics(
        bag: Bag, score: BagScore, manifest: Manifest, labels: Labels | None = None,
) -> dict[str, Any]:
    """Return what goes into ``report.json``."""
    low_contrast = bag.image_range.remark()  # before an image is looked at again
    before, node = _counters(bag)
    source = bag.last_statuses().get('camera_source', {})
    balance = balance_frames(
        score, {task: bag.count(task) for task in PREDICTIONS if task in bag.roles}, node,
        source if source.get('published', '').isdigit() else None,
        len(bag.stamps_of('image')), before)

    streams = {role: (bag.matched[role], bag.unmatched[role]) for role in sorted(bag.matched)
               if bag.matched[role] + bag.unmatched[role]}
    if labels is not None:
        streams['labels'] = labels.matched, labels.unmatched

    return {
        'bag': str(bag.path), 'model': {'name': manifest.name, 'sha256': manifest.sha256},
        'frames_in': balance.frames_in, 'published': balance.published,
        'dropped': balance.dropped,
        'accounting': {'adds_up': not balance.problems, 'problems': balance.problems},
        'incomplete': bool(bag.damage), 'damage': bag.damage,
        'intrinsics': recorded_intrinsics(bag, manifest),
        'matched': sum(one for one, _ in streams.values()),
        'unmatched': sum(one for _, one in streams.values()),
        'streams': {role: {'matched': one, 'unmatched': other}
                    for role, (one, other) in streams.items()},

        # What began before the recording, and who answered.
        'early': sum(bag.early.values()), 'recorded_model': recorded_model(bag),

        # What the reader left out, and how old predictions were when the node published them.
        'duplicates': bag.duplicates, 'remarks': list(bag.camera.remarks),
        'low_contrast': low_contrast,
        'skipped': {topic: dict(reasons) for topic, reasons in bag.skipped.items()},
        'age_at_publish_ms': {
            rank: float(node[f'age_ms.{rank}']) for rank in ('p50', 'p95', 'p99')
            if node and f'age_ms.{rank}' in node},
        **score.compute()}


def recorded_intrinsics(bag: Bag, manifest: Manifest) -> dict[str, Any]:
    """Return what is known of the camera by the calibration of the first image, in words too."""
    # Looking at it must not count messages as left out a second time.
    skipped = copy.deepcopy(bag.skipped)
    first = next((record for record in bag.records(roles=['image'])
                  if record.image is not None), None)
    bag.skipped = skipped
    if first is None or first.image is None:
        return {}
    known, _ = calibrations_of(bag).intrinsics(first.stamp_ns, first.image.shape)
    assumed = assumed_focal_length(manifest, first.image.shape[1])
    return {'state': str(known.state), 'focal_px': known.focal_px or assumed,
            'reason': known.reason, 'text': known.text(assumed)}


def recorded_model(bag: Bag) -> dict[str, str]:
    """Return ``name`` and ``sha256`` of the model that the node ran, empty if nobody tells one."""
    found = {(values['model'], values['sha256']) for values in bag.last_statuses().values()
             if values.get('model') and values.get('sha256')}
    return dict(zip(('name', 'sha256'), *found)) if len(found) == 1 else {}


def recorded_settings(bag: Bag) -> StreamSettings:
    """
    Return the settings of the node that made a recording, as its diagnostics tell them.

    What they do not tell, or the recording has no diagnostics, is the default.
    """
    _, node = _counters(bag)
    default = StreamSettings()
    if node is None:
        return default
    return StreamSettings(
        float(node.get('max_gap', default.max_gap_s)),
        float(node.get('depth.camera_height', default.camera_height)),
        'network' if node.get('motion.head') == 'network' else 'auto',
        'off' if node.get('rectify') == 'off' else 'auto',
        depth_scale=next((one for one in SCALES if one == node.get('depth.scale')), 'network'),
        fit=_recorded_fit(node))


class LowestScores(NamedTuple):
    """
    From which scores on the node believes its network.

    :param motion: probability of moving above which a pixel or an object moves.
    :param boxes: lowest score of a box that is published.
    """

    motion: float = MINIMUM_MOTION_SCORE
    boxes: float = MINIMUM_SCORE


def recorded_scores(bag: Bag) -> LowestScores:
    """Return the lowest scores of the node at the end of a recording, by default the usual."""
    node = _counters(bag)[1] or {}
    return LowestScores(
        _score(node, 'motion.min_score', MINIMUM_MOTION_SCORE),
        _score(node, 'detection.min_score', MINIMUM_SCORE))


def _score(node: Mapping[str, str], name: str, default: float) -> float:
    """Return a score of the diagnostics, the default if they have none between 0 and 1."""
    try:
        score = float(node.get(name, default))
    except ValueError:
        return default
    return score if 0 <= score <= 1 else default


def _recorded_fit(node: Mapping[str, str]) -> Fit:
    """Return how the node was told to show its images to the network."""
    how = next((how for how in CHOICES if how == node.get('input.fit')), SQUEEZED.how)
    try:
        return Fit(how, roi_of(node.get('input.roi', '')))
    except ValueError:
        return Fit(how)


def recorded_range(bag: Bag) -> Limits | None:
    """Return the range of 16-bit images that the node was told; None if it found one itself."""
    _, node = _counters(bag)
    try:
        return limits_of((node or {}).get('image.range', 'auto'))
    except ValueError:
        return None


def _counters(bag: Bag) -> tuple[dict[str, str] | None, dict[str, str] | None]:
    """
    Return the first and the last counters of the node's camera, None if there are none.

    Of several cameras it is the one whose topic the images come from.
    """
    # Several nodes report to one topic; counters of frames tell those of a camera.
    found = [pair for pair in bag.statuses.values() if all(
        values.get(key, '').isdigit() for values in pair
        for key in ('received', 'published', 'in_flight'))]

    mine = [pair for pair in found if pair[1].get('topic') in bag.camera.names]
    first, last = next(iter(mine or (found if len(found) == 1 else [])), (None, None))
    return first, last


def labels_for(bag: Bag, manifest: Manifest, data: RecordedClips, slop_ns: int) -> Labels:
    """Return the ground truth of a data set for the images of a recording."""
    check_classes(manifest, {task.name: task for task in data.tasks})
    data = data.narrowed_to([task.name for task in manifest.tasks])
    return Labels(data, bag.stamps_of('image'), slop_ns)


def check_matched(metrics: dict[str, Any], path: Path) -> None:
    """
    Refuse a recording whose streams do not belong together.

    :raises DataError: ``B04``, if too few messages have the stamp of an image.
    """
    for role, stream in metrics['streams'].items():
        matched = stream['matched']
        unmatched = stream['unmatched']
        if matched < LEAST_MATCHED * (matched + unmatched):
            raise DataError(
                f'{path}: {matched} of {matched + unmatched} messages of {role} have the stamp '
                f'of an image, wanted {LEAST_MATCHED:.0%}; allow more time between them with '
                '--slop, or look at the clocks that stamped them', ReasonCode.BAG_STAMPS)


def notes_of(metrics: dict[str, Any], again: bool = False) -> list[str]:
    """
    Return the paragraphs below the tables of the report.

    :param metrics: those of :func:`bag_metrics`.
    :param again: whether the model was run again.
    """
    notes = [f'{metrics["matched"]} predictions and labels have the stamp of an image, '
             f'{metrics["unmatched"]} have not; {metrics["duplicates"]} duplicates.']
    ran = metrics['recorded_model']
    if ran and ran['sha256'] != metrics['model']['sha256'] and not again:
        notes.append(
            f'The node ran the model {ran["name"]} (sha256 {ran["sha256"][:16]}), classes and '
            f'tasks here are those of {metrics["model"]["name"]}: name the file of the other one '
            'if they differ.')
    if metrics['early']:
        notes.append(f'{metrics["early"]} more belong to images from before the recording.')
    notes += [f'{role}: {stream["unmatched"]} of {stream["matched"] + stream["unmatched"]} have '
              'no image.' for role, stream in metrics['streams'].items() if stream['unmatched']]

    if text := metrics.get('intrinsics', {}).get('text'):
        notes.append(f'Calibration of the recording: {text}.')
    notes += [f'Without being named: {remark}.' for remark in metrics.get('remarks', ())]

    # Warnings first, then what was left out.
    if (latency := metrics['latency_ms']['p50']) is not None and latency < 0:
        notes.append('The latencies mean NOTHING: the predictions were recorded before the images '
                     'were stamped, so the two clocks disagree.')
    if metrics['low_contrast']:
        notes.append(metrics['low_contrast'])

    # What is not as it was when it was recorded.
    if metrics['incomplete']:
        notes.append(f'The recording is INCOMPLETE: {metrics["damage"]}.')
    if not metrics['accounting']['adds_up']:
        notes.append('The frames do NOT add up: '
                     + '; '.join(metrics['accounting']['problems']) + '.')
    for topic, reasons in metrics['skipped'].items():
        notes += [f'{topic}: {count} messages left out: {reason}.'
                  for reason, count in reasons.items()]
    return notes
