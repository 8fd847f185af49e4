# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The node as a process, its images and its answers through DDS; the usual node beside it."""

import dataclasses
import importlib.util
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mtl_perception import topics
from mtl_perception.errors import PerceptionError
from mtl_perception.evaluation.bag_score import percentiles
from mtl_perception.evaluation.benchmark.frames import Drive
from mtl_perception.evaluation.benchmark.memory import Watch, private_mb
from mtl_perception.evaluation.evaluator import Evaluator
from mtl_perception.evaluation.live_recording import parameters
from mtl_perception.evaluation.processes import Program, graph_environment, stop_all
from mtl_perception.evaluation.records import prediction_at
from mtl_perception.frames import FrameRecord, Perception
from mtl_perception.manifest import Manifest

NODES = {'perception_node': 'mtl_perception', 'usual_node': 'usual pattern'}
"""Program -> its name in the report."""
MAPS = ('semantic', 'depth', 'motion')
"""Tasks whose answers are waited for."""
METRICS = (('semantic', 'miou'), ('depth', 'abs_rel'), ('motion', 'balanced_accuracy'))
"""What is compared on the same frames, as far as there is truth."""
TIMEOUT_S = 3600.0
UNANSWERED = 3
"""Exit code of a probe that nobody answered."""
WITHHELD = 6
"""Frame of the control that the probe withholds."""

Progress = Callable[[str], object]


@dataclass(frozen=True)
class NodePlan:
    """
    What is measured.

    :param model: name or path.
    :param drive: the frames.
    :param engine: of the node.
    :param device: of both nodes.
    :param precision: of the node.
    :param threads: CPU threads of both; 0 = each node's own default.
    :param rates: fixed rates, frames per second.
    :param seconds: duration of each of them.
    :param search_seconds: duration of a trial of the highest rate.
    :param trials: of the highest rate, at most.
    :param usual: whether the usual node stands beside.
    :param start_s: how long a node may take until its first answer.
    """

    model: str
    drive: Drive
    engine: str = 'auto'
    device: str = 'auto'
    precision: str = 'fp32'
    threads: int = 0
    rates: Sequence[float] = (10.0, 30.0, 60.0)
    seconds: float = 10.0
    search_seconds: float = 4.0
    trials: int = 9
    usual: bool = True
    start_s: float = 180.0


def measure_nodes(plan: NodePlan, manifest: Manifest, progress: Progress) -> dict[str, Any]:
    """
    Measure the node, and the usual node on the same frames.

    :param plan: what is measured.
    :param manifest: of the model.
    :param progress: is called with what is going on.
    :return: ``frames``, ``nodes`` and ``left_out``, for the report.
    """
    found: dict[str, Any] = {
        'frames': {'what': plan.drive.what, 'sha256': plan.drive.sha256,
                   'size': '{1}x{0}'.format(*plan.drive.images[0].shape)},
        'engine': plan.engine, 'device': plan.device, 'precision': plan.precision,
        'threads': plan.threads, 'seconds': plan.seconds, 'search_seconds': plan.search_seconds,
        'nodes': [], 'left_out': []}
    for program in NODES if plan.usual else list(NODES)[:1]:
        try:
            found['nodes'].append(_measure(plan, manifest, program, progress))
        except PerceptionError as error:
            found['left_out'].append({'node': NODES[program], 'reason': str(error)})
    return found


def missing_library() -> str:
    """Return which library of ROS is not installed, empty if all are."""
    for name in ('rclpy', 'sensor_msgs', 'diagnostic_msgs'):
        if importlib.util.find_spec(name) is None:
            return name
    return ''


def _measure(
    plan: NodePlan, manifest: Manifest, program: str, progress: Progress,
) -> dict[str, Any]:
    """Return the figures of one node."""
    answers = [topics.PREDICTIONS[task.name].name for task in manifest.tasks
               if task.name in MAPS]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / 'images.npy', np.stack(plan.drive.images))
        (folder / 'plan.json').write_text(json.dumps({
            'images': str(folder / 'images.npy'), 'focal_px': plan.drive.focal_px,
            'period_ns': plan.drive.period_ns, 'rates': list(plan.rates),
            'seconds': plan.seconds, 'search_seconds': plan.search_seconds,
            'answers': answers, 'start_s': plan.start_s,
            'trials': plan.trials, 'output': str(folder)}))

        watch, memory = _run(plan, program, folder, progress)
        found = json.loads((folder / 'probe.json').read_text())
        accuracy = _accuracy(plan.drive, manifest, folder, answers)
    return {'node': NODES[program], 'private_memory_mb': memory, 'accuracy': accuracy,
            **summary(found, watch)}


def _run(
    plan: NodePlan, program: str, folder: Path, progress: Progress,
) -> tuple[Watch, float | None]:
    """Run node and probe until the probe is done; return what was seen of the node."""
    values: dict[str, str | int | bool] = {
        'model': plan.model, 'device': plan.device, 'threads': plan.threads}
    if program == 'perception_node':
        values |= {'engine': plan.engine, 'precision': plan.precision, 'autostart': True}

    environment = graph_environment()
    programs: list[Program] = []
    watch = None
    try:
        for name, words in ((program, parameters(values)),
                            ('probe', ['--plan', str(folder / 'plan.json')])):
            programs.append(Program(
                name, 'mtl_perception.programs', (name, *words), folder, environment))

        node, probe = programs
        watch = Watch(node.pid)

        memory = None
        deadline = time.monotonic() + TIMEOUT_S
        while probe.running and time.monotonic() < deadline:
            if not node.running:
                raise node.failure()
            progress(f'{NODES[program]}: {probe.counts.get("phase", "loading")}')
            memory = private_mb(node.pid) if 'control' in str(probe.counts) else memory
            time.sleep(0.2)

        if not probe.running and probe.wait(0) == UNANSWERED:
            raise node.failure(f'gave no answer in {plan.start_s:g} s')
        probe.check()
        if probe.running:
            raise probe.failure(f'did not end in {TIMEOUT_S:.0f} s')
    finally:
        stop_all(programs[::-1])
        if watch is not None:
            watch.close()
    return watch, memory


def summary(found: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
    """
    Return the figures of a node from what the probe wrote.

    :param found: content of ``probe.json``.
    :param watch: of the node.
    :return: ``rates``, ``highest_rate``, ``memory``, ``control`` and ``accounting``.
    """
    phases = found['phases']
    rates = [{
        'rate': one['rate'], 'sent_rate': one['sent_rate'], 'sent': one['sent'],
        'lost': len(one['lost']), 'latency_ms': percentiles(one['latency_ms']),
        'age_ms': percentiles(one['age_ms']),
        'cores': watch.cores(one['began_ns'], one['ended_ns']),
    } for one in phases if one['kind'] == 'rate']

    good = [one for one in phases if one['kind'] == 'search' and one['kept_up']]
    best = max(good, key=lambda one: float(one['rate']), default=None)
    control = next(one for one in phases if one['kind'] == 'control')
    measured = [one for one in phases if one['kind'] in ('rate', 'search')]
    memory = watch.memory(measured[0]['began_ns'], measured[-1]['ended_ns'])

    return {
        'rates': rates,
        'highest_rate': None if best is None else {
            'rate': best['rate'], 'sent': best['sent'], 'latency_ms': percentiles(
                best['latency_ms'])},
        'memory': None if memory is None else {
            'median_mb': memory[0], 'slope_mb_per_minute': memory[1],
            'seconds': (measured[-1]['ended_ns'] - measured[0]['began_ns']) / 1e9},
        'control': {'withheld': [WITHHELD], 'lost': control['lost'],
                    'found': control['lost'] == [WITHHELD]},
        'counters': found['counters']}


def _accuracy(
    drive: Drive, manifest: Manifest, folder: Path, answers: Sequence[str],
) -> dict[str, Any] | None:
    """Return metrics on the frames that were sent one by one; None without truth."""
    predictions: dict[int, dict[str, Any]] = {}
    for task, topic in zip((one.name for one in manifest.tasks if one.name in MAPS), answers):
        with np.load(folder / f'{topic.replace("/", "_")}.npz') as file:
            for number, values in zip(file['numbers'].tolist(), file['maps']):
                predictions.setdefault(number, {})[task] = values

    known = [number for number in sorted(predictions) if drive.truths[number] is not None]
    if not known:
        return None
    evaluator = Evaluator(manifest.tasks, manifest.height, manifest.width)
    for number in known:
        truth = drive.truths[number]
        assert truth is not None
        record = FrameRecord(
            number, drive.images[number], Perception(**predictions[number]), truth)
        if truth.size is not None:
            record = dataclasses.replace(record, prediction=prediction_at(record, *truth.size))
        evaluator.update(f'frame {number}', record)

    metrics = evaluator.compute(evaluated_only=True)
    return {'frames': len(known), 'sent': len(drive.images), 'metrics': {
        f'{task}.{name}': metrics[task][name] for task, name in METRICS
        if metrics.get(task, {}).get(name) is not None}}
