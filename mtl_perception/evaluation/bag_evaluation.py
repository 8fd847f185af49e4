# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl evaluate --bag``: what the node answered in a recording, against the truth."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mtl_perception.bags.reader import ANSWERS, Bag, Moment
from mtl_perception.bags.stamps import match_stamps
from mtl_perception.datasets.clips import RecordedClips
from mtl_perception.errors import DataError, FrameError
from mtl_perception.evaluation.bag_score import Score, settle
from mtl_perception.evaluation.dataset_evaluation import check_classes, truth_of_sample
from mtl_perception.evaluation.image_inputs import Calibrations
from mtl_perception.evaluation.records import Truth, moment_of
from mtl_perception.frames import Frame
from mtl_perception.inference.engine import Engine
from mtl_perception.inference.stream import CameraStream
from mtl_perception.manifest import Manifest
from mtl_perception.media.calibration import focal_length, image_size

LEAST_MATCHED = 0.9
"""A smaller share of matched messages says that two streams do not belong together."""


class Labels:
    """
    The truth in a data set whose images are named by their stamps in nanoseconds.

    :param data: the data set.
    :param stamps: of the images of the recording, nanoseconds, rising.
    :param slop_ns: labels belong to the nearest image at most so far away.
    :raises DataError: if an image of the data set is not named by a stamp.
    """

    def __init__(self, data: RecordedClips, stamps: list[int], slop_ns: int) -> None:
        self._data = data
        numbers: dict[int, int] = {}
        for number, clip in enumerate(data.clips):
            if not clip[-1].stem.isdigit():
                raise DataError(
                    f'{clip[-1]}: its name is no stamp; name the images of labels for a bag by '
                    'their stamps in nanoseconds, such as 1700000000123456789.png', 'B04')
            numbers[int(clip[-1].stem)] = number
        place = match_stamps(stamps, sorted(numbers), slop_ns)
        self._number_of = {image: numbers[label] for label, image in place.items()}
        self.matched, self.unmatched = len(place), len(numbers) - len(place)

    def truth_of(self, stamp_ns: int) -> Truth:
        """
        Return what is true of an image of the recording.

        :raises DataError: naming the file that is wrong.
        """
        number = self._number_of.get(stamp_ns)
        return Truth() if number is None else truth_of_sample(self._data[number])


def again(bag: Bag, engine: Engine) -> Iterator[Moment]:
    """
    Yield what a model says now to the images that were answered in a recording.

    The images go through the code that the node runs, in the order of their stamps, with the
    calibration that they were recorded with. Images that the node dropped left no trace in it and
    leave none here.

    :param bag: the recording.
    :param engine: the model.
    """
    tasks, calibrations = engine.manifest.tasks, Calibrations(bag)
    stream = CameraStream(engine)
    for moment in bag.moments():
        if 'image' not in moment.arrays or not moment.answered:
            yield moment
            continue
        image = moment.arrays['image']
        info = calibrations.at(moment.stamp_ns)
        fits = info is None or image_size(info) == image.shape[:2]
        focal = focal_length(info) if fits and info is not None else None
        try:
            found = stream.process(
                Frame('bag', moment.stamp_ns, image), _asked(moment), focal_px=focal)
        except FrameError:  # the node dropped it too
            continue
        said = moment_of(moment.stamp_ns, image, found, tasks).arrays
        for role in ANSWERS:
            recorded = moment.arrays.pop(role, None)
            if recorded is not None and role in said and (fits or role != 'depth'):
                moment.arrays[role] = said[role]
        yield moment


def judge(
        bag: Bag, moments: Iterable[Moment], manifest: Manifest,
        labels: Labels | None = None) -> Score:
    """
    Compare the answers of some moments with the truth.

    :param bag: the recording.
    :param moments: of it, or what :func:`again` makes of them.
    :param manifest: of the model that answered.
    :param labels: the truth, None takes that of the recording.
    :raises DataError: if there is not one answered image.
    """
    score = Score(manifest.tasks, manifest.height, manifest.width)
    for moment in moments:
        score.update(
            moment, None if labels is None else labels.truth_of(moment.stamp_ns))
    if score.answered == score.orphans:
        raise DataError(f'{bag.path}: no answer carries the stamp of an image', 'B04')
    return score


def figures_of_bag(
        bag: Bag, score: Score, manifest: Manifest, labels: Labels | None = None,
) -> dict[str, Any]:
    """Return what goes into ``report.json``."""
    tasks = [role for role in ANSWERS if role in bag.roles]
    before, node = _counters(bag)
    source = bag.last_statuses().get('camera_source', {})
    account = settle(
        score, {role: bag.count(role) for role in tasks}, node,
        source if source.get('published', '').isdigit() else None,
        len(bag.stamps_of('image')), before)
    streams = {role: (bag.matched[role], bag.unmatched[role]) for role in sorted(bag.matched)
               if bag.matched[role] + bag.unmatched[role]}
    if labels is not None:
        streams['labels'] = labels.matched, labels.unmatched
    return {
        'bag': str(bag.path), 'model': {'name': manifest.name, 'sha256': manifest.sha256},
        'frames_in': account.frames_in, 'published': account.published,
        'dropped': account.dropped,
        'accounting': {'adds_up': not account.problems, 'problems': account.problems},
        'incomplete': bool(bag.damage), 'damage': bag.damage,
        'matched': sum(one for one, _ in streams.values()),
        'unmatched': sum(one for _, one in streams.values()),
        'streams': {role: {'matched': one, 'unmatched': other}
                    for role, (one, other) in streams.items()},
        'duplicates': bag.duplicates,
        'skipped': {topic: dict(reasons) for topic, reasons in bag.skipped.items()},
        'age_at_publish_ms': {
            rank: float(node[f'age_ms.{rank}']) for rank in ('p50', 'p95', 'p99')
            if node and f'age_ms.{rank}' in node},
        **score.compute()}


def _counters(bag: Bag) -> tuple[dict[str, str] | None, dict[str, str] | None]:
    """
    Return the first and the last counters of the node's camera, None if there are none.

    Of several cameras it is the one whose topic the images come from.
    """
    found = [pair for pair in bag.statuses().values() if all(
        values.get(key, '').isdigit() for values in pair
        for key in ('received', 'published', 'in_flight'))]
    mine = [pair for pair in found if pair[1].get('topic') in bag.image_topics]
    first, last = next(iter(mine or (found if len(found) == 1 else [])), (None, None))
    return first, last


def labels_for(bag: Bag, manifest: Manifest, data: RecordedClips, slop_ns: int) -> Labels:
    """Return the ground truth of a data set for the images of a recording."""
    check_classes(manifest, {task.name: task for task in data.tasks})
    data = data.narrowed_to([task.name for task in manifest.tasks])
    return Labels(data, bag.stamps_of('image'), slop_ns)


def check_matched(figures: dict[str, Any], path: Path) -> None:
    """
    Refuse a recording whose streams do not belong together.

    :raises DataError: ``B04``, if too few messages have the stamp of an image.
    """
    for role, stream in figures['streams'].items():
        matched, unmatched = stream['matched'], stream['unmatched']
        if matched < LEAST_MATCHED * (matched + unmatched):
            raise DataError(
                f'{path}: {matched} of {matched + unmatched} messages of {role} have the stamp '
                f'of an image, wanted {LEAST_MATCHED:.0%}; allow more time between them with '
                '--slop, or look at the clocks that stamped them', 'B04')


def notes_of(figures: dict[str, Any]) -> list[str]:
    """Return what has to be said about a recording."""
    notes = [f'{figures["matched"]} answers and labels have the stamp of an image, '
             f'{figures["unmatched"]} have not; {figures["duplicates"]} duplicates.']
    notes += [f'{role}: {stream["unmatched"]} of {stream["matched"] + stream["unmatched"]} have '
              'no image.' for role, stream in figures['streams'].items() if stream['unmatched']]
    if (latency := figures['latency_ms']['p50']) is not None and latency < 0:
        notes.append('The latencies mean NOTHING: the answers were recorded before the images '
                     'were stamped, so the two clocks disagree.')
    if figures['incomplete']:
        notes.append(f'The recording is INCOMPLETE: {figures["damage"]}.')
    if not figures['accounting']['adds_up']:
        notes.append('The frames do NOT add up: '
                     + '; '.join(figures['accounting']['problems']) + '.')
    for topic, reasons in figures['skipped'].items():
        notes += [f'{topic}: {count} messages left out: {reason}.'
                  for reason, count in reasons.items()]
    return notes


def _asked(moment: Moment) -> set[str]:
    """Return the tasks that were answered: what nobody listened to was not computed."""
    return {role for role in ANSWERS if role in moment.arrays}
