# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The node as a process, its images and its answers through DDS; the usual node beside it."""

import dataclasses
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mtl_perception import topics
from mtl_perception.errors import PerceptionError
from mtl_perception.evaluation.bag_score import percentiles
from mtl_perception.evaluation.benchmark.frames import Drive
from mtl_perception.evaluation.benchmark.memory import Watch, cpu_seconds, private_mb
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

ROUND_S, MOST_ROUNDS = 2.0, 10
"""How long a round at a fixed rate is about, and how many there are at most."""
LOOK_S = 0.02
"""How often it is looked whether a phase has ended."""

T = TypeVar('T')
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
    :param seconds: duration of each of them, all rounds together.
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
        'threads': plan.threads, 'seconds': plan.seconds, 'rounds': rounds_of(plan.seconds),
        'search_seconds': plan.search_seconds, 'nodes': [], 'left_out': []}

    pairs: list[NodeAndProbe] = []
    environment = graph_environment()
    with tempfile.TemporaryDirectory() as name:
        np.save(Path(name) / 'images.npy', np.stack(plan.drive.images))

        def attempt(program: str, work: Callable[[], T]) -> T | None:
            """Return what a step gives, or note why the node is left out."""
            try:
                return work()
            except PerceptionError as error:
                found['left_out'].append({'node': NODES[program], 'reason': str(error)})
                return None

        try:
            for program in NODES if plan.usual else list(NODES)[:1]:
                pairs.append(NodeAndProbe(plan, manifest, program, Path(name), environment))
                if attempt(program, partial(pairs[-1].start, progress)) is None:
                    pairs.pop().close()

            # one phase of each, then the next: what slows the machine meets them alike
            going = list(pairs)
            while going:
                for pair in list(going):
                    more = attempt(pair.program, partial(pair.turn, progress))
                    if more is None:
                        pairs.remove(pair)
                        pair.close()
                    if not more:
                        going.remove(pair)

            found['nodes'] = [pair.figures() for pair in pairs]
        finally:
            for pair in pairs:
                pair.close()
    return found


def rounds_of(seconds: float) -> int:
    """Return in how many rounds the seconds at a rate are split."""
    return min(MOST_ROUNDS, max(2, round(seconds / ROUND_S)))


class NodeAndProbe:
    """
    A node, and the probe that sends it frames: two processes in a ROS namespace of their own.

    :param plan: what is measured.
    :param manifest: of the model.
    :param program: of the node, one of :data:`NODES`.
    :param folder: holds ``images.npy``.
    :param environment: of the processes.
    """

    def __init__(
        self, plan: NodePlan, manifest: Manifest, program: str, folder: Path,
        environment: Mapping[str, str],
    ) -> None:
        self.program = program
        self._plan = plan
        self._manifest = manifest
        self._folder = folder / program
        self._environment = environment
        self._answers = [topics.PREDICTIONS[task.name].name for task in manifest.tasks
                         if task.name in MAPS]
        self._cpu_s: list[float | None] = []
        self._memory: float | None = None
        self._deadline = time.monotonic() + TIMEOUT_S
        self._programs: list[Program] = []
        self._watch: Watch | None = None

        self._folder.mkdir()
        (self._folder / 'plan.json').write_text(json.dumps({
            'images': str(folder / 'images.npy'), 'focal_px': plan.drive.focal_px,
            'period_ns': plan.drive.period_ns, 'rates': list(plan.rates),
            'seconds': plan.seconds, 'rounds': rounds_of(plan.seconds),
            'search_seconds': plan.search_seconds, 'answers': self._answers,
            'start_s': plan.start_s, 'trials': plan.trials, 'output': str(self._folder)}))

    def start(self, progress: Progress) -> bool:
        """
        Start both and wait until the node answers.

        :raises ProgramError: if it does not.
        """
        plan = self._plan
        values: dict[str, str | int | bool] = {
            'model': plan.model, 'device': plan.device, 'threads': plan.threads}
        if self.program == 'perception_node':
            values |= {'engine': plan.engine, 'precision': plan.precision, 'autostart': True}

        namespace = ('-r', f'__ns:=/{self.program}')
        probe_words = ['--plan', str(self._folder / 'plan.json'), '--ros-args']
        for name, words in ((self.program, parameters(values)), ('probe', probe_words)):
            self._programs.append(Program(
                name, 'mtl_perception.programs', (name, *words, *namespace), self._folder,
                self._environment, listens=name == 'probe'))

        node, probe = self._programs
        self._watch = Watch(node.pid)
        self._wait_for_turn(1, progress)
        if 'refused' in probe.counts:
            raise node.failure(f'cannot start: {probe.counts["refused"]}')
        if not probe.running and probe.wait(0) == UNANSWERED:
            raise node.failure(f'gave no answer in {plan.start_s:g} s')
        probe.check()
        return True

    def turn(self, progress: Progress) -> bool:
        """
        Do one phase; return whether there are more.

        :raises ProgramError: if a process ended with an error.
        """
        node, probe = self._programs
        number = int(probe.counts['turn'])
        if 'control' in str(probe.counts['phase']):
            self._memory = private_mb(node.pid)

        before = cpu_seconds(node.pid)
        probe.say('go')
        self._wait_for_turn(number + 1, progress)
        after = cpu_seconds(node.pid)
        self._cpu_s.append(None if before is None or after is None else after - before)
        probe.check()
        return probe.running

    def figures(self) -> dict[str, Any]:
        """Return the figures of the node, once it had all its turns."""
        assert self._watch is not None
        found = json.loads((self._folder / 'probe.json').read_text())
        for phase, cpu_s in zip(found['phases'], self._cpu_s, strict=True):
            phase['cpu_s'] = cpu_s
        return {
            'node': NODES[self.program], 'private_memory_mb': self._memory,
            'accuracy': _accuracy(
                self._plan.drive, self._manifest, self._folder, self._answers),
            **summary(found, self._watch)}

    def close(self) -> None:
        """End both processes."""
        stop_all(self._programs[::-1])
        if self._watch is not None:
            self._watch.close()

    def _wait_for_turn(self, number: int, progress: Progress) -> None:
        """Wait until the probe asks for a turn, or ends."""
        node, probe = self._programs
        while probe.running and int(probe.counts.get('turn', 0)) < number:
            if not node.running:
                raise node.failure()
            if time.monotonic() > self._deadline:
                raise probe.failure(f'did not end in {TIMEOUT_S:.0f} s')
            progress(f'{NODES[self.program]}: {probe.counts.get("phase", "loading")}')
            time.sleep(LOOK_S)


def summary(found: Mapping[str, Any], watch: Watch) -> dict[str, Any]:
    """
    Return the figures of a node from what the probe wrote.

    :param found: content of ``probe.json``, with the CPU time of the node in ``cpu_s`` of each
        phase, None if unknown.
    :param watch: of the node.
    :return: ``rates``, ``highest_rate``, ``memory``, ``control`` and ``accounting``.
    """
    phases = found['phases']
    fixed = [one for one in phases if one['kind'] == 'rate']
    rates = [_of_rate([one for one in fixed if one['rate'] == rate])
             for rate in dict.fromkeys(one['rate'] for one in fixed)]

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


def _of_rate(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures of a fixed rate from those of its rounds."""
    def joined(name: str) -> list[float]:
        return [value for one in rounds for value in one[name]]

    sent = sum(one['sent'] for one in rounds)
    lost = sum(len(one['lost']) for one in rounds)
    seconds = sum(one['sent'] / (one['sent_rate'] or one['rate']) for one in rounds)
    used = [one['cpu_s'] for one in rounds]
    cpu_s = None if None in used else sum(used)
    return {
        'rate': rounds[0]['rate'], 'sent_rate': sent / seconds, 'sent': sent, 'lost': lost,
        'latency_ms': percentiles(joined('latency_ms')), 'age_ms': percentiles(joined('age_ms')),
        'p50_of_rounds_ms': [percentiles(one['latency_ms'])['p50'] for one in rounds],
        'cores': None if cpu_s is None else cpu_s / sum(one['busy_s'] for one in rounds),
        'cpu_ms_per_answer': None if cpu_s is None or lost == sent else (
            1e3 * cpu_s / (sent - lost))}


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
