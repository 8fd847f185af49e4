# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Record a bag with camera, node and recorder as three processes."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mtl_perception import topics
from mtl_perception.errors import ConfigurationError, StorageError
from mtl_perception.evaluation.processes import Program, graph_environment, stop_all

START_TIMEOUT_S = 120.0
DRAIN_TIMEOUT_S = 10.0
TOPICS = {topic.below(''): topic.kind for topic in (
    topics.IMAGE, topics.CAMERA_INFO, *topics.PREDICTIONS.values(), topics.DEPTH_INFO,
    *topics.LABELS.values(), topics.DIAGNOSTICS)}
TOPICS[topics.TIMING.below('perception_node')] = topics.TIMING.kind
"""Name -> type of what is always recorded; the recorder need not wait to learn either."""

TRUTH = {topic.below(''): topic.kind for topic in topics.TRUTH.values()}

IMAGES, REPORTS = topics.IMAGE.below(''), topics.DIAGNOSTICS.below('')
PREDICTIONS = tuple(topic.below('') for topic in topics.PREDICTIONS.values())

Value = str | int | float | bool
Progress = Callable[[str, int, int], None]
"""Is called with the current stage, the number of images and the number of predictions."""


@dataclass(frozen=True)
class LivePlan:
    """
    What to run.

    :param source: parameters of ``camera_source``; ``frames`` must be among them.
    :param node: parameters of ``perception_node``.
    :param truth: whether the source publishes ground truth.
    """

    source: Mapping[str, Value]
    node: Mapping[str, Value] = field(default_factory=dict)
    truth: bool = False


def record_live(plan: LivePlan, folder: Path, progress: Progress) -> Path:
    """
    Run camera, node and recorder until the camera is at its end, then stop them in order.

    The first frame is sent once the node and the recorder have subscribed.

    :param folder: gets the bag and the logs of the programs; an earlier bag is replaced.
    :param progress: see :data:`Progress`.
    :return: the bag.
    :raises PerceptionError: if a program ends early, or with an error.
    """
    bag = folder / 'bag'
    logs = folder / 'logs'
    _clear(bag)
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f'{logs}: cannot be made: {error}') from error

    environment = graph_environment()
    recorded = {**TOPICS, **(TRUTH if plan.truth else {})}
    programs: list[Program] = []

    def start(name: str, *arguments: str) -> Program:
        programs.append(Program(
            name, 'mtl_perception.programs', (name, *arguments), logs, environment))
        return programs[-1]

    try:
        recorder = start(
            'recorder', '--output', str(bag), '--progress',
            '--topics', *(f'{name}:{kind}' for name, kind in recorded.items()))
        node = start('perception_node', *parameters({**plan.node, 'autostart': True}))
        camera = start('camera_source', *parameters({**plan.source, 'wait_for_subscribers': 2}))

        _watch(camera, node, recorder, progress)
        _drain(recorder, progress)
        for program in (node, recorder):
            if program.stop() != 0:
                raise program.failure()
    finally:
        stop_all(programs[::-1])  # the camera first, the recorder last
    return bag


def _watch(camera: Program, node: Program, recorder: Program, progress: Progress) -> None:
    """Wait until the camera is at its end."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while camera.running:
        for program in (recorder, node):
            if not program.running:
                raise program.failure()

        # loading the network may take long; after the first image only programs can fail
        images, predictions = _counts(recorder)
        if not images and time.monotonic() > deadline:
            raise node.failure(f'did not become active within {START_TIMEOUT_S:.0f} s')

        progress('running' if images else 'loading the network', images, predictions)
        time.sleep(0.1)
    camera.check()


def _drain(recorder: Program, progress: Progress) -> None:
    """Wait for the last predictions, and for the diagnostics that count them."""
    deadline = time.monotonic() + DRAIN_TIMEOUT_S
    quiet_since = time.monotonic()
    last = (-1, -1)

    # predictions have ended when nothing came for a second
    while time.monotonic() < deadline and time.monotonic() - quiet_since < 1.0:
        counts = _counts(recorder)
        if counts != last:
            quiet_since = time.monotonic()
            last = counts
        progress('running', *counts)
        time.sleep(0.1)

    # two more reports: the first may have been made before the last prediction
    reports = recorder.counts.get(REPORTS, 0)
    while time.monotonic() < deadline and recorder.counts.get(REPORTS, 0) < reports + 2:
        time.sleep(0.1)


def _counts(recorder: Program) -> tuple[int, int]:
    """Return how many images were recorded, and how many predictions."""
    counts = recorder.counts
    return counts.get(IMAGES, 0), max(counts.get(topic, 0) for topic in PREDICTIONS)


def parameters(values: Mapping[str, Value]) -> list[str]:
    """Return ROS arguments that set parameters."""
    words = ['--ros-args']
    for name, value in values.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        words += ['-p', f'{name}:={_quoted(text) if isinstance(value, str) else text}']
    return words


def _quoted(text: str) -> str:
    """Return text that the YAML parser of rcl reads as a string, also "1" or "yes"."""
    return "'" + text.replace("'", "''") + "'"


def _clear(bag: Path) -> None:
    """Remove an earlier bag, and nothing else."""
    ours = {bag / f'{bag.name}.mcap', bag / 'metadata.yaml'}
    try:
        if not bag.exists():
            return

        # never delete what a recording did not write
        foreign = sorted(path.name for path in set(bag.iterdir()) - ours)
        if foreign:
            raise ConfigurationError(
                f'{bag} holds {foreign[0]!r}, which is not part of an earlier recording; choose '
                'another output folder')
        for path in ours:
            path.unlink(missing_ok=True)
        bag.rmdir()
    except OSError as error:
        raise StorageError(f'{bag}: cannot be replaced: {error}') from error
