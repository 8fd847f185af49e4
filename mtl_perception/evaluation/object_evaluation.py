# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl evaluate --objects``: how well ids and velocities of objects hold."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl_perception.datasets.clips import RecordedClips
from mtl_perception.datasets.seeds import check_seeds
from mtl_perception.errors import ConfigurationError, DataError
from mtl_perception.evaluation.dataset_evaluation import STEP_NS, naming
from mtl_perception.evaluation.street_evaluation import SamplingPlan
from mtl_perception.frames import Frame
from mtl_perception.inference.engine import Engine
from mtl_perception.inference.fit import Layout
from mtl_perception.inference.stream import CameraStream, StreamSettings
from mtl_perception.metrics.point_tracks import PointTracks
from mtl_perception.metrics.tracking import TrackingMetrics
from mtl_perception.synthetic import Street


def evaluate_objects(
    engine: Engine, seeds: Sequence[int], plan: SamplingPlan,
    show: Callable[[Sequence[int]], Any] = iter,
) -> dict[str, Any]:
    """
    Drive through the streets as the node does and return the metrics of objects in time.

    The frames of a street follow one another, from a random one on.

    :param engine: the deployed network.
    :param seeds: street seeds from 20000 on.
    :param plan: how many frames of each street, and how far apart they are.
    :param show: wraps the seeds, for a progress bar.
    :return: those of :class:`.TrackingMetrics`.
    :raises ConfigurationError: if a seed may have been used in training.
    """
    check_seeds(seeds, 'test')
    manifest = engine.manifest
    metrics = TrackingMetrics()

    for seed in show(seeds):
        street = Street(
            seed, manifest.width, manifest.height, 1 / plan.spacing,
            camera_height=plan.camera_height, look=plan.look)
        stream = CameraStream(
            engine, StreamSettings(camera_height=plan.camera_height or 0.0))

        last = int(plan.drive / plan.spacing) - plan.frames
        first = int(np.random.default_rng(seed).integers(0, max(1, last)))
        for number in range(first, first + plan.frames):
            shown = street.render(number)

            stamp_ns = round((number + 1) * plan.spacing * 1e9)
            found = stream.process(
                Frame('street', stamp_ns, shown.image), ['objects'], 'network',
                focal_px=street.focal_px).objects

            assert found is not None  # stamps rise
            metrics.update(seed, found, shown.instance, street.velocities(number))
    return metrics.compute()


def evaluate_recorded_objects(
    engine: Engine, data: RecordedClips, settings: StreamSettings | None = None,
    show: Callable[[Sequence[int]], Any] = iter,
) -> dict[str, Any]:
    """
    Show recorded drives to a model as the node does and return how often ids change.

    :param engine: the deployed network.
    :param data: the data set, with objects at points and their names.
    :param settings: of the stream; the defaults if None.
    :param show: wraps the numbers of the images, for a progress bar.
    :return: those of :class:`.PointTracks`.
    :raises ConfigurationError: if the data does not tell which object is which.
    :raises DataError: naming the file that is wrong.
    """
    stream = CameraStream(engine, settings or StreamSettings())
    tracks = PointTracks()
    last: Path | None = None
    drives = 0

    for number in show(range(len(data))):
        path = data.clips[number][-1]
        names = data.object_names(path)
        if names is None:
            raise ConfigurationError(
                f'--objects needs data that tells which object is which in every frame, as '
                f'PandaSet does; {type(data).__name__} does not')
        if last is None or last != data.find_earlier(path, data.spacing):
            stream.reset('clip')
            drives += 1
        last = path

        # Data sets do not tell the time between two images.
        image = data.read_image(path)
        with naming(path):
            found = stream.process(
                Frame('data', (number + 1) * STEP_NS, image), ['objects'], 'network',
                focal_px=data.focal_length(path)).objects
        true = data.read_instances(path, image.shape[:2])
        assert found is not None  # stamps rise
        assert stream.layout is not None
        assert true is not None  # it has names

        if (highest := int(true.max(initial=0))) > len(names):
            raise DataError(
                f'{path}: a point is of object {highest - 1}, counted from 0, but only '
                f'{len(names)} objects of the image have a name')

        rows, columns = np.nonzero(true > 0)
        own, ids = true[rows, columns], _at_points(found.mask, stream.layout, rows, columns)
        tracks.update(
            drives, {names[one - 1]: ids[own == one] for one in np.unique(own).tolist()})
    return tracks.compute()


def _at_points(
    mask: NDArray[np.uint32], layout: Layout, rows: NDArray[np.intp], columns: NDArray[np.intp],
) -> NDArray[np.uint32]:
    """
    Return the ids at pixels of the camera's image; 0 where the network does not see it.

    :param mask: (h, w) of the picture that the network saw.
    :param layout: of that picture.
    :param rows: (N,) of the pixels.
    :param columns: (N,) of the pixels.
    """
    window = layout.window
    down, right = rows - window.top, columns - window.left
    seen = (down >= 0) & (down < window.height) & (right >= 0) & (right < window.width)

    # The middle of a pixel lies half a pixel inside.
    ids = np.zeros(len(rows), np.uint32)
    y = ((down[seen] + 0.5) * mask.shape[0] / window.height).astype(np.intp)
    x = ((right[seen] + 0.5) * mask.shape[1] / window.width).astype(np.intp)
    ids[seen] = mask[y, x]
    return ids


def recorded_as_markdown(metrics: dict[str, Any]) -> str:
    """Return the metrics of recorded drives as a table."""
    return '\n'.join([
        '| largest objects | seen | frames with points | found | changes of id | with the id '
        'they have most often |', '|---|---|---|---|---|---|',
        f'| {metrics["objects"]} | {metrics["seen"]} | {metrics["frames"]} | {metrics["found"]} '
        f'| {metrics["changes"]} | {_text(metrics["kept"])} |'])


def as_markdown(metrics: dict[str, Any]) -> str:
    """Return the metrics as tables."""
    velocity = metrics['velocity']
    lines = [
        '| objects | found | false | IDF1 | MOTA | changes of id |', '|---|---|---|---|---|---|',
        f'| {metrics["objects"]} | {metrics["found"]} | {metrics["false"]} | '
        f'{_text(metrics["idf1"])} | {_text(metrics["mota"])} | {metrics["changes"]} |', '',
        '| velocity of | objects | median error (m/s) | of the mean velocity |',
        '|---|---|---|---|']
    lines += [
        f'| {name} | {row["count"]} | {_text(row["median_error"])} | {_text(row["baseline"])} |'
        for name, row in (('those found', velocity['all']),
                          ('those of them that move', velocity['moving']))]
    return '\n'.join([*lines, '', f'velocity unknown: {velocity["unknown"]}'])


def _text(value: float | None) -> str:
    """Return a number with three digits, or ``n/a``."""
    return 'n/a' if value is None else f'{value:.3f}'
