# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
The node ``camera_source``: a camera made of the synthetic street, a video, images or a device.

One thread reads pictures ahead of time; another one publishes them, as far apart as their own
times. A picture is due at its time since the first one, so that delays do not add up.
"""

import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.context import Context
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from mtl_perception import topics
from mtl_perception.errors import PerceptionError, StorageError
from mtl_perception.media.addresses import without_password
from mtl_perception.media.calibration_file import read_calibration
from mtl_perception.ros.calibration import calibrated_info, centred_info, pinhole_info
from mtl_perception.ros.camera_info import fit_info
from mtl_perception.ros.image_sources import Picture, open_image_source
from mtl_perception.ros.loading import load
from mtl_perception.ros.log_text import printable
from mtl_perception.ros.messages import image_message
from mtl_perception.ros.node_parameters import NodeParameters
from mtl_perception.ros.prefetcher import Prefetcher
from mtl_perception.ros.process import run_node
from mtl_perception.ros.qos_overrides import overridden
from mtl_perception.ros.source_settings import PARAMETERS, camera_settings_of
from mtl_perception.signals import StopRequest

QOS = QoSProfile(depth=10)
"""Reliable and volatile, as camera drivers offer."""

LONGEST_LINE = 500
"""Characters of a line of the log."""
REPORT_PERIOD_S = 1.0
LINGER_NS = 500_000_000
"""How long the end waits for subscribers to take the last pictures, nanoseconds."""


class CameraSource(Node):  # type: ignore[misc]
    """
    Publish ``image_raw`` (or ``image_raw/compressed``), ``camera_info``, and a street's truth.

    :param parameters: overrides of parameters, for use within a process.
    :param context: of rclpy; the default one if None.
    :param stopped: whether the program was asked to end; then opening the source is given up.
    """

    def __init__(
            self, parameters: Sequence[Parameter] = (), context: Context | None = None,
            stopped: Callable[[], bool] = lambda: False) -> None:
        super().__init__(
            'camera_source', parameter_overrides=list(parameters), context=context)
        self._declared = NodeParameters(self, PARAMETERS, self._refusal, self._on_change)
        self.settings = camera_settings_of(self._declared.read())
        self._is_first_rate = True
        self.exit_code: int | None = None
        self.published = 0
        self.late = 0

        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._first_s = self._last_s = 0.0
        self._span = self._begin = self._origin = 0.0
        self._told: set[str] = set()

        path = self.settings.camera_info_file
        self._file = read_calibration(path) if path else None
        self._calibration: CameraInfo | None = None
        self._name = without_password(self.settings.source.source)
        self._create_publishers()
        self._declared.check_topics()
        self._source = load(lambda: open_image_source(self.settings.source), stopped)
        for remark in self._source.remarks:
            self.get_logger().warning(printable(remark, LONGEST_LINE))
        self._prefetcher = Prefetcher(self._source, self.settings.ahead)
        self._declared.configured = True

        # The steady clock, because without /clock a timer on simulated time never fires.
        self.create_timer(
            REPORT_PERIOD_S, self.report, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _create_publishers(self) -> None:
        """Create the publishers of images, calibration, ground truth and diagnostics."""
        compressed = self.settings.compressed
        self._image = self._publisher(
            CompressedImage if compressed else Image,
            topics.COMPRESSED_IMAGE if compressed else topics.IMAGE)
        self._info = self._publisher(CameraInfo, topics.CAMERA_INFO)
        self._truth = {
            task: self._publisher(Image, topic) for task, topic in topics.TRUTH.items()
            if self.settings.truth and self.settings.source.source == 'street'}
        self._diagnostics = self._publisher(DiagnosticArray, topics.DIAGNOSTICS)

    def _publisher(self, kind: type[Any], topic: topics.Topic) -> Publisher:
        profile = overridden(self, topic.name, 'publisher', QOS)
        return self.create_publisher(kind, topic.name, profile)

    def start(self) -> None:
        """Start to publish, in a separate thread; ``exit_code`` is set when that has ended."""
        self._thread = threading.Thread(target=self._run, name='publisher')
        self._thread.start()

    def stop(self) -> bool:
        """Stop publishing, stop reading and close the source."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self._prefetcher.close()
        return True

    def _refusal(self, values: Mapping[str, Any]) -> str:
        """Return why ``rate`` cannot change, which no other parameter can, empty if it can."""
        if self._source.live:
            return (f'rate cannot change: {self._name} is a camera, which has its rate from the '
                    'start on; start camera_source again')
        if self.settings.duration:
            return ('rate cannot change while duration is set, which counts frames; start '
                    'camera_source again')
        return ''

    def _on_change(self) -> None:
        """Take another rate."""
        self.settings = camera_settings_of(self._declared.read())
        self._is_first_rate = False
        self._source.use_rate(self.settings.source.rate)
        self.get_logger().info(
            f'rate {self.settings.source.rate:g}, after the pictures that were read ahead (up to '
            f'{self.settings.ahead})')

    def _run(self) -> None:
        try:
            self._play()
            self.exit_code = 0
        except PerceptionError as error:
            self.get_logger().fatal(printable(str(error), LONGEST_LINE))
            self.exit_code = error.exit_code
        except Exception:  # noqa: BLE001  (the process must not go on without this thread)
            self.get_logger().fatal(traceback.format_exc())
            self.exit_code = 1
        finally:
            self._finish()

    def _play(self) -> None:
        """
        Publish until the end or the request to stop.

        :raises PerceptionError: if a picture cannot be read.
        """
        if not self._wait_for_subscribers():
            return

        while not (self.published and self.published == self.settings.frames):
            ready = self._prefetcher.ready
            picture = self._prefetcher.take(self._stopping.is_set)
            if picture is None or self._is_over(picture):
                return

            due = self._due(picture, ready)
            if self._stopping.wait(max(0.0, due - time.monotonic())):
                return
            self._publish(picture)

    def report(self) -> None:
        """Publish how well the rate is kept and what was left out."""
        status = DiagnosticStatus(name='camera_source', hardware_id=self._name)
        rate = self.rate_kept
        wanted = self.rate_wanted
        slow = bool(wanted and self.published > 10 and rate < 0.95 * wanted)
        omissions = self._source.omissions
        status.level = DiagnosticStatus.WARN if slow or omissions else DiagnosticStatus.OK
        status.message = (
            f'{rate:.2f} frames/s' + (f', wanted {wanted:.2f}' if slow else '')
            + (f', {omissions.count} left out' if omissions else ''))

        values = {'published': self.published, 'late': self.late, 'left_out': omissions.count,
                  'rate': f'{rate:.3f}', 'wanted_rate': f'{wanted:.3f}'}
        status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]

        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)
        self._warn(rate, wanted, slow)

    def _warn(self, rate: float, wanted: float, slow: bool) -> None:
        """Log what is not as it was asked for; each picture that is left out once."""
        for reason in self._source.omissions.reasons:
            if reason not in self._told:
                self._told.add(reason)
                self.get_logger().warning(printable(f'left out: {reason}', LONGEST_LINE))

        asked = self.settings.source.rate
        if (self._span and self.published > 10 and wanted < 0.95 * asked
                and self._is_first_rate):
            self.get_logger().warning(
                f'{self._name} has {wanted:.3g} frames/s, fewer than the {asked:.3g} that were '
                'asked for; it is played by its own times', once=True)
        if slow:
            self.get_logger().warning(
                f'{self._name} gives {rate:.2f} frames/s, {wanted:.2f} were asked for '
                f'({self.late} of {self.published} frames late)', throttle_duration_sec=5.0)

    @property
    def rate_wanted(self) -> float:
        """Frames per second by the times of the pictures so far, 0 if they have none."""
        return (self.published - 1) / self._span if self._span else self._source.rate

    @property
    def rate_kept(self) -> float:
        """Frames per second from the first frame to the last."""
        duration = self._last_s - self._first_s
        return (self.published - 1) / duration if duration > 0 else 0.0

    def _wait_for_subscribers(self) -> bool:
        """Wait for the number of subscribers in the settings; return False when asked to stop."""
        wanted = self.settings.wait_for_subscribers
        waiting = False
        while self._image.get_subscription_count() < wanted:
            if not waiting:
                self.get_logger().info(
                    f'waiting for {wanted} subscribers of {self._image.topic_name}')
                waiting = True
            if self._stopping.wait(0.02):
                return False
        return not (waiting and self._stopping.wait(self.settings.settle))

    def _is_over(self, picture: Picture) -> bool:
        """Return whether the duration in the settings ends before a picture."""
        duration = self.settings.duration
        return bool(duration and picture.seconds is not None and picture.seconds >= duration)

    def _due(self, picture: Picture, ready: bool) -> float:
        """Return when a picture is due; one that came late moves those after it."""
        now = time.monotonic()
        if picture.seconds is None:
            return now
        due = self._origin + picture.seconds
        if not self.published or (not ready and now > due):
            self.late += self.published > 0  # nothing is wrong with waiting for the first one
            self._origin = now - picture.seconds
            due = now
        return due

    def _publish(self, picture: Picture) -> None:
        """Publish a picture, its calibration and its ground truth with one stamp."""
        header = Header(stamp=self._stamp(), frame_id=self.settings.frame_id)
        if self.settings.compressed:
            self._image.publish(self._compress(picture, header))
        else:
            self._image.publish(image_message(header, 'rgb8', picture.image))

        self._info.publish(self._camera_info(picture, header))
        for task, publisher in self._truth.items():
            if picture.truth is not None and publisher.get_subscription_count():
                publisher.publish(image_message(
                    header, topics.TRUTH[task].encoding, getattr(picture.truth, task)))

        self._last_s = time.monotonic()
        self._first_s = self._first_s or self._last_s
        if picture.seconds is not None:
            self._begin = self._begin if self.published else picture.seconds
            self._span = picture.seconds - self._begin
        self.published += 1

    def _stamp(self) -> Time:
        return self.get_clock().now().to_msg()

    def _compress(self, picture: Picture, header: Header) -> CompressedImage:
        good, code = cv2.imencode(
            '.jpg', cv2.cvtColor(picture.image, cv2.COLOR_RGB2BGR),
            [cv2.IMWRITE_JPEG_QUALITY, self.settings.jpeg_quality])
        if not good:
            raise StorageError('OpenCV could not write a picture as JPEG')
        message = CompressedImage(header=header, format='rgb8; jpeg compressed bgr8')
        message.data.frombytes(code)
        return message

    def _camera_info(self, picture: Picture, header: Header) -> CameraInfo:
        """Return the calibration at the size of the picture."""
        height, width = picture.image.shape[:2]
        if self._file is not None:
            return fit_info(calibrated_info(self._file.at(height, width)), header, height, width)
        if self._calibration is None:
            self._calibration = (
                pinhole_info(picture.truth.intrinsics, height, width)
                if picture.truth is not None
                else centred_info(self.settings.focal_px, height, width))
        return fit_info(self._calibration, header, height, width)

    def _finish(self) -> None:
        """Report for the last time, and give subscribers the time to get everything."""
        if self.published:
            self.report()
            # Whatever they have not taken yet is lost when this process ends. Acknowledgements
            # can take seconds, so this often waits the full time.
            self._image.wait_for_all_acked(Duration(nanoseconds=LINGER_NS))
        self.get_logger().info(
            f'published {self.published} frames at {self.rate_kept:.2f} frames/s, '
            f'{self.late} of them late')


def main(arguments: Sequence[str] | None = None, stop: StopRequest | None = None) -> int:
    """
    Run the node.

    :param arguments: the command line; ``sys.argv`` by default.
    :param stop: listens since the start of the process.
    :return: 0 at the end of the source or after a signal, 2 for a wrong parameter, 3 if the source
        cannot be read.
    """
    def start(stopped: Callable[[], bool]) -> CameraSource:
        node = CameraSource(stopped=stopped)
        node.start()
        return node
    return run_node(start, arguments, stop)


if __name__ == '__main__':
    raise SystemExit(main())
