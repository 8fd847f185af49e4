# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
The node ``probe``: a camera from memory that also times the answers, for ``mtl benchmark``.

It publishes images that it holds in memory and notes when each answer was published and received,
by the middleware's own time stamps, which no busy thread delays. A frame is lost if one of its
answers never came. The plan of :class:`ProbePlan` is done in phases: until the node answers; one
frame after the other, whose answers are kept; fixed rates, in rounds; the highest rate without a
lost frame; and a frame that is withheld on purpose, as a control. Before each phase but the first
it asks for its turn, by a line of JSON, and waits for a line on its standard input, so that probes
of several nodes can take turns.
"""

import argparse
import json
import select
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from mtl_perception import topics
from mtl_perception.errors import DataError, PerceptionError
from mtl_perception.image_codec import decode_array
from mtl_perception.ros.calibration import centred_info
from mtl_perception.ros.messages import image_message
from mtl_perception.ros.process import run_node
from mtl_perception.signals import StopRequest

QOS = QoSProfile(depth=10)
"""Reliable and volatile, as camera drivers and most subscribers have it."""
STAMP = struct.Struct('<iI')
"""Of a header at the beginning of a message, after four bytes of its encoding."""
WARM_UP = 5
"""Answers before anything is measured."""
ANSWER_S = 5.0
"""How long an answer may take while frames are sent one by one."""
QUIET_S = 0.7
"""No answer for this long ends a phase, or for three times what an answer takes."""
WITHHELD, CONTROL_FRAMES = 6, 12
"""Which frame of the control is not sent, and of how many."""
GROWTH, NEAR = 1.5, 1.08
"""The search for the highest rate: its first steps, and the bracket that ends it."""
FEWEST = 10
"""Frames of a trial at least."""
TURN_S = 0.1
"""While it waits for its turn, the probe looks this often whether to stop."""
NODE_STATUS = ': node'
"""How the name of the status of a node by itself ends."""
REPORTS_S = 2.5
"""In this time the node has reported its last counters."""


@dataclass(frozen=True)
class ProbePlan:
    """
    What the probe does.

    :param images: ``.npy`` file of (N, H, W, 3) uint8 RGB.
    :param focal_px: focal length of the camera, pixels.
    :param period_ns: between the images by themselves; the stamps of the first phase.
    :param rates: frames per second of each phase of a fixed rate.
    :param seconds: duration of each of them, all rounds together.
    :param rounds: in how many parts each of them is done.
    :param search_seconds: duration of a trial of the highest rate.
    :param trials: of the highest rate, at most.
    :param answers: relative names of the topics that answer a frame.
    :param start_s: how long the node may take until its first answer.
    :param output: folder of ``probe.json`` and the kept answers.
    """

    images: str
    focal_px: float
    period_ns: int
    rates: Sequence[float]
    seconds: float
    rounds: int
    search_seconds: float
    trials: int
    answers: Sequence[str]
    start_s: float
    output: str


@dataclass
class Sent:
    """
    A frame that was sent, or withheld.

    :param stamp_ns: of the image.
    :param number: of the image.
    :param published_ns: topic -> when its answer was published.
    :param received_ns: topic -> when its answer was received.
    """

    stamp_ns: int
    number: int
    published_ns: dict[str, int] = field(default_factory=dict)
    received_ns: dict[str, int] = field(default_factory=dict)

    def times(self, count: int) -> tuple[float, float] | None:
        """Return age at publishing and latency, ms; None if some of the answers are missing."""
        if len(self.received_ns) < count:
            return None
        return ((max(self.published_ns.values()) - self.stamp_ns) / 1e6,
                (max(self.received_ns.values()) - self.stamp_ns) / 1e6)


class Probe(Node):  # type: ignore[misc]
    """
    Send the frames of a plan and note their answers.

    :param plan: what is done.
    """

    def __init__(self, plan: ProbePlan) -> None:
        super().__init__('probe')
        self.exit_code: int | None = None
        self._plan = plan
        images = np.load(plan.images)
        self._messages = [image_message(Header(), 'rgb8', image) for image in images]
        height, width = images.shape[1:3]
        self._info = centred_info(plan.focal_px, height, width)

        self._sent: dict[int, Sent] = {}
        self._kept: dict[tuple[int, str], bytes] | None = None
        self._phases: list[dict[str, Any]] = []
        self._last_ns = 0
        self._quiet_s = ANSWER_S
        self._counters: dict[str, str] = {}
        self._refusal = ''
        self._turns = 0
        self._answer = threading.Condition()
        self._stopping = threading.Event()

        self._image_publisher = self.create_publisher(Image, topics.IMAGE.name, QOS)
        self._info_publisher = self.create_publisher(CameraInfo, topics.CAMERA_INFO.name, QOS)
        for name in plan.answers:
            self.create_subscription(Image, name, self._receiver(name), QOS, raw=True)
        self.create_subscription(
            DiagnosticArray, topics.DIAGNOSTICS.name, self._note_counters, QOS)
        self._thread = threading.Thread(target=self._guarded, name='probe', daemon=True)
        self._thread.start()

    def stop(self) -> bool:
        """End the thread that sends."""
        self._stopping.set()
        self._thread.join(10.0)
        return not self._thread.is_alive()

    def _receiver(self, name: str) -> Callable[[bytes, dict[str, Any]], None]:
        """Return the callback of one topic; the header alone is read."""
        def receive(data: bytes, info: dict[str, Any]) -> None:
            seconds, nanoseconds = STAMP.unpack_from(data, 4)
            stamp_ns = seconds * 10 ** 9 + nanoseconds
            with self._answer:
                sent = self._sent.get(stamp_ns)
                if sent is None:
                    return
                sent.published_ns[name] = info['source_timestamp']
                sent.received_ns[name] = info['received_timestamp'] or time.time_ns()
                if self._kept is not None:
                    self._kept[stamp_ns, name] = bytes(data)
                self._answer.notify_all()
        return receive

    def _note_counters(self, message: DiagnosticArray) -> None:
        """Remember the counters of the node, and why it cannot start."""
        own = f'{self.get_namespace().lstrip("/")}/'.lstrip('/')
        for status in message.status:
            if not status.name.startswith(own):
                continue
            if status.name.endswith(NODE_STATUS) and status.level == DiagnosticStatus.ERROR:
                self._refusal = status.message
            values = {one.key: one.value for one in status.values}
            if 'in_flight' in values:
                self._counters = values

    def _guarded(self) -> None:
        """Do the plan; whatever happens, the process ends."""
        try:
            self._work()
            self.exit_code = 0
        except PerceptionError as error:
            self.get_logger().error(str(error))
            self.exit_code = error.exit_code
        except Exception:  # noqa: BLE001  (an error in a thread would leave the process waiting)
            self.get_logger().error(traceback.format_exc())
            self.exit_code = 1

    def _work(self) -> None:
        """Do the phases and write what was found."""
        self._wait_for_node()
        one_by_one = self._one_by_one()
        for _ in range(self._plan.rounds):
            for rate in self._plan.rates:
                self._run('rate', rate, self._plan.seconds / self._plan.rounds)
        self._search(one_by_one)

        self._run('control', min(5.0, 0.5 * one_by_one), CONTROL_FRAMES / 5.0, WITHHELD)
        self._stopping.wait(REPORTS_S)
        found = {'phases': self._phases, 'counters': self._counters}
        Path(self._plan.output, 'probe.json').write_text(json.dumps(found))

    def _wait_for_node(self) -> None:
        """Send frames, one after the other, until some were answered."""
        deadline = time.monotonic() + self._plan.start_s
        answered = 0
        while answered < WARM_UP:
            if self._refusal:
                print(json.dumps({'refused': self._refusal}), flush=True)
                raise DataError(f'the node cannot start: {self._refusal}')
            if self._stopping.is_set() or time.monotonic() > deadline:
                raise DataError(
                    f'no node answered on {", ".join(self._plan.answers)} in '
                    f'{self._plan.start_s:g} s; its log tells why')
            self._wait(self._send(0, time.time_ns()), 0.5)

            # of a slow node with a queue, answers to earlier frames
            with self._answer:
                frames = list(self._sent.values())
            answered = sum(
                frame.times(len(self._plan.answers)) is not None for frame in frames)
        self._drain()

    def _one_by_one(self) -> float:
        """
        Send each image once and wait for its answers, which are kept.

        :return: how many of them per second the node could answer.
        """
        self._take_turn('each frame once')
        self._kept = {}
        frames, took = [], []
        first_ns = time.time_ns()
        for number in range(len(self._messages)):
            due_ns = first_ns + number * self._plan.period_ns
            self._sleep_until(due_ns)
            began = time.monotonic()
            frames.append(self._send(number, due_ns))
            if self._wait(frames[-1], ANSWER_S):
                took.append(time.monotonic() - began)
        self._drain()

        kept, self._kept = self._kept, None
        self._save(frames, kept)
        self._finish('one by one', 0.0, frames, first_ns)
        if not took:
            return 1.0
        self._quiet_s = max(QUIET_S, 3 * float(np.median(took)))
        return 1 / float(np.median(took))

    def _save(self, frames: Sequence[Sent], kept: dict[tuple[int, str], bytes]) -> None:
        """Write the answers: an array for each topic, and the numbers of their images."""
        for name in self._plan.answers:
            found = [frame for frame in frames if (frame.stamp_ns, name) in kept]
            maps: list[NDArray[Any]] = [
                decode_array(deserialize_message(kept[frame.stamp_ns, name], Image))
                for frame in found]
            np.savez(Path(self._plan.output, f'{name.replace("/", "_")}.npz'),
                     numbers=np.array([frame.number for frame in found], np.int64),
                     maps=np.stack(maps) if maps else np.zeros((0, 1, 1)))

    def _run(self, kind: str, rate: float, seconds: float, withheld: int = -1) -> bool:
        """
        Send frames at a rate.

        :param withheld: which of them is not sent, as if it had been lost.
        :return: whether none was lost and no backlog grew.
        """
        self._take_turn(f'{kind} {rate:.1f} Hz')
        count = max(FEWEST, round(rate * seconds))
        frames = []
        first_ns = time.time_ns()
        for index in range(count):
            self._sleep_until(first_ns + round(index * 1e9 / rate))
            number = forth_and_back(index, len(self._messages))
            frames.append(self._send(number, time.time_ns(), index != withheld))
        self._drain()
        return self._finish(kind, rate, frames, first_ns)

    def _search(self, start: float) -> None:
        """Find the highest rate without a lost frame, from a rate that may be near."""
        good, bad, rate = 0.0, 0.0, start
        for _ in range(self._plan.trials):
            if self._run('search', rate, self._plan.search_seconds):
                good = rate
            else:
                bad = rate
            if good and bad and bad / good <= NEAR:
                break

            # first a bracket, then its middle
            if not bad:
                rate *= GROWTH
            elif not good:
                rate /= GROWTH
            else:
                rate = (good * bad) ** 0.5

    def _send(self, number: int, stamp_ns: int, really: bool = True) -> Sent:
        """Publish an image and its calibration."""
        stamp_ns = max(stamp_ns, self._last_ns + 1)
        self._last_ns = stamp_ns
        sent = Sent(stamp_ns, number)
        with self._answer:
            self._sent[stamp_ns] = sent
        if not really:
            return sent

        message = self._messages[number]
        for header in (message.header, self._info.header):
            header.stamp.sec, header.stamp.nanosec = divmod(stamp_ns, 10 ** 9)
            header.frame_id = 'camera_optical_frame'
        self._info_publisher.publish(self._info)
        self._image_publisher.publish(message)
        return sent

    def _wait(self, sent: Sent, timeout_s: float) -> bool:
        """Wait for the answers to a frame; return whether all came."""
        with self._answer:
            return self._answer.wait_for(
                lambda: len(sent.received_ns) == len(self._plan.answers)
                or self._stopping.is_set(), timeout_s) and not self._stopping.is_set()

    def _take_turn(self, phase: str) -> None:
        """Ask for a turn and wait for it; raise if nobody gives one or the end was asked for."""
        self._turns += 1
        print(json.dumps({'phase': phase, 'turn': self._turns}), flush=True)
        while not select.select([sys.stdin], [], [], TURN_S)[0]:
            if self._stopping.is_set():
                raise DataError('stopped before its end')
        if not sys.stdin.readline():
            raise DataError('nobody gives turns any more')

    def _sleep_until(self, due_ns: int) -> None:
        """Sleep until a time of the system's clock; raise if the end was asked for."""
        if self._stopping.wait(max(0.0, (due_ns - time.time_ns()) / 1e9)):
            raise DataError('stopped before its end')

    def _drain(self) -> None:
        """Wait until no answers come any more."""
        while True:
            with self._answer:
                if not self._answer.wait(self._quiet_s):
                    return

    def _finish(self, kind: str, rate: float, frames: Sequence[Sent], first_ns: int) -> bool:
        """Note what became of the frames of a phase; return whether the node kept up."""
        count = len(self._plan.answers)
        with self._answer:
            times = [frame.times(count) for frame in frames]
            self._sent.clear()
        lost = [index for index, one in enumerate(times) if one is None]
        latencies = [one[1] for one in times if one is not None]
        kept_up = not lost and (not rate or not backlog_grows(latencies, 1e3 / rate))
        self._phases.append({
            'kind': kind, 'kept_up': kept_up, 'rate': rate, 'began_ns': first_ns,
            'busy_s': busy_seconds(frames, rate, first_ns),
            'ended_ns': time.time_ns(), 'sent': len(frames), 'lost': lost,
            'age_ms': [one[0] for one in times if one is not None],
            'latency_ms': latencies,
            'sent_rate': _rate([frame.stamp_ns for frame in frames])})
        return kept_up


def busy_seconds(frames: Sequence[Sent], rate: float, first_ns: int) -> float:
    """
    Return how long a node had work: while frames were sent, and until the last answer.

    What waits in a queue at the end of the sending is work too, and so is a frame of which only
    some answers came.

    :param frames: of a phase.
    :param rate: at which they were sent, per second; 0 = one by one.
    :param first_ns: when the first one was sent.
    """
    ends = [at for frame in frames for at in frame.received_ns.values()]
    if rate and frames:
        ends.append(frames[-1].stamp_ns + round(1e9 / rate))
    return (max(ends, default=first_ns) - first_ns) / 1e9


def forth_and_back(index: int, count: int) -> int:
    """Return the place of a step that goes through some images forth and back for ever."""
    if count == 1:
        return 0
    place = index % (2 * count - 2)
    return place if place < count else 2 * count - 2 - place


def backlog_grows(latencies_ms: Sequence[float], period_ms: float) -> bool:
    """
    Return whether answers come later and later: a queue that fills up hides that frames wait.

    :param latencies_ms: of the frames of a phase, in their order.
    :param period_ms: between two frames.
    """
    quarter = max(1, len(latencies_ms) // 4)
    early, late = latencies_ms[:quarter], latencies_ms[-quarter:]
    return bool(np.median(late) > np.median(early) + 2 * period_ms)


def _rate(stamps_ns: Sequence[int]) -> float | None:
    """Return the frames per second that were really sent."""
    span = stamps_ns[-1] - stamps_ns[0]
    return 1e9 * (len(stamps_ns) - 1) / span if span else None


def main(arguments: Sequence[str] | None = None, stop: StopRequest | None = None) -> int:
    """
    Run the probe.

    :param arguments: the command line; ``sys.argv`` by default.
    :param stop: listens since the start of the process.
    :return: the exit code.
    """
    words = list(sys.argv if arguments is None else ['probe', *arguments])
    parser = argparse.ArgumentParser(prog='probe', description='Time the answers of a node.')
    parser.add_argument('--plan', type=Path, required=True, help='JSON file of the plan')
    parsed = parser.parse_args(remove_ros_args(words)[1:])
    plan = ProbePlan(**json.loads(parsed.plan.read_text()))
    return run_node(lambda stopped: Probe(plan), words, stop)


if __name__ == '__main__':
    raise SystemExit(main())
