# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
The perception node: camera images in; semantic masks, depth and moving-object masks out.

The node only passes on. The executor's thread receives messages and answers services; the newest
message of each camera waits in a mailbox; one worker thread decodes, runs the network, and
publishes. No content of a message can end the process.
"""

import contextlib
import functools
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import Trigger

from mtl_perception.errors import ConfigurationError, DeviceError, FrameError, PerceptionError
from mtl_perception.inference import engines
from mtl_perception.inference.engine import Engine
from mtl_perception.inference.mailbox import Mailbox
from mtl_perception.inference.together import shared_by
from mtl_perception.reason_codes import ReasonCode
from mtl_perception.ros.accounting import INACTIVE, SUPERSEDED
from mtl_perception.ros.camera import Answer, Arrival, Camera
from mtl_perception.ros.error_guards import INTERNAL, detail_of, guarded, reason_of, transition
from mtl_perception.ros.loading import load
from mtl_perception.ros.log_text import Throttle
from mtl_perception.ros.node_parameters import NodeParameters
from mtl_perception.ros.parameters import LEAST_SCORE, PARAMETERS, Settings, changes, settings_of
from mtl_perception.ros.process import run_node
from mtl_perception.ros.robot_frames import RobotFrames
from mtl_perception.ros.watchdog import Watchdog
from mtl_perception.ros.worker import Worker
from mtl_perception.signals import StopRequest

TICK_S = 0.2
PATIENCE_S = 5.0
"""How long the current frame may delay a clean-up before the process ends, seconds."""

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


def load_engine(settings: Settings) -> Engine:
    """Load, verify and warm up the network; its library is imported only here."""
    return engines.load_engine(
        settings.model, settings.engine, settings.device, settings.precision, settings.threads,
        LEAST_SCORE)


class PerceptionNode(LifecycleNode):  # type: ignore[misc]
    """
    The lifecycle node.

    :param load_engine: makes the network from the parameters, in a thread; raises
        ``CheckpointError`` or ``DeviceError`` if that is impossible.
    :param stopped: whether the program was asked to end; then loading is given up.
    :param arguments: those of ``rclpy.lifecycle.LifecycleNode``.
    """

    def __init__(
        self, load_engine: Callable[[Settings], Engine] = load_engine,
        stopped: Callable[[], bool] = lambda: False, **arguments: Any,
    ) -> None:
        super().__init__('perception_node', **arguments)
        # What diagnostics and watchdog read.
        self.last_error = ''
        self.callback_errors = 0
        self.exit_code: int | None = None
        self.settings: Settings | None = None
        self.cameras: dict[str, Camera] = {}
        self.activated_at: float | None = None

        # The worker publishes under the gate, and only for the generation of its activation:
        # so nothing is published after a deactivation, even if a frame takes longer than that.
        self._load_engine = load_engine
        self._stopped = stopped
        self._engine: Engine | None = None
        self._throttle = Throttle()
        self._gate = threading.Lock()
        self._generation = 0
        self._mailbox: Mailbox[Arrival] | None = None
        self._worker: Worker[Arrival] | None = None
        self._changed_at = 0

        self._declared = NodeParameters(
            self, PARAMETERS, self._refusal, self._guard(self._on_change))
        self._frames = RobotFrames(self)
        self._watchdog = Watchdog(self, self)

        # Steady time: with use_sim_time and no /clock, a timer on ROS time would never fire.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_service(Trigger, '~/reset', self._guard(self._on_reset))
        self.create_timer(TICK_S, self._guard(self._on_tick), clock=steady)
        self._jump = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1)),
            post_callback=self._guard(self._on_time_jump))
        if self.get_parameter('autostart').value:
            self._autostart = self.create_timer(
                0.0, self._guard(self._on_autostart), clock=steady)

    # transitions

    @transition
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters, load the network, create the publishers."""
        self.last_error = ''
        try:
            settings = settings_of(self._declared.read())
            self._engine = shared_by(
                load(lambda: self._load_engine(settings), self._stopped), len(settings.cameras))
            self._add_cameras(settings, self._engine)
            self._declared.check_topics()
        except BaseException:
            self._release()
            raise
        self.settings = settings
        self.get_logger().info(f'model {self._engine.manifest.name}: {self._engine.setup}')
        self._declared.configured = True
        return super().on_configure(state)

    @transition
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start to work."""
        if not self._join_worker():
            raise ConfigurationError(
                'the network still works on an earlier frame; try again', ReasonCode.TIMEOUT)

        self.last_error = ''
        self._generation += 1
        self._mailbox = Mailbox()
        self._worker = Worker(self._mailbox, self._guard(self._work), engine=self._engine)
        self._changed_at = 0

        try:
            self._frames.open(self._guard)
            for camera in self.cameras.values():
                camera.account.forgive()
                camera.open(functools.partial(self._guard(self.on_image), camera), self._guard)
        except Exception as error:
            self._stop_intake()
            raise ConfigurationError(
                f'cannot subscribe: {detail_of(error)}', ReasonCode.CANNOT_SUBSCRIBE) from error

        super().on_activate(state)
        self.activated_at = time.monotonic()
        for camera in self.cameras.values():
            camera.outputs.publish_labels()
        return SUCCESS

    @transition
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe; the frame that is being processed is not published."""
        self._stop_intake()
        return super().on_deactivate(state)

    @transition
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release all resources."""
        self.last_error = ''
        self._release()
        return SUCCESS

    @transition
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release all resources; the node ends."""
        self._release()
        return SUCCESS

    @transition
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release all resources after an unexpected error, so that a new try is possible."""
        self._release()
        return SUCCESS

    # callbacks, in the executor's thread

    def on_image(self, camera: Camera, message: Any) -> None:
        """Keep only the newest message of a camera; the worker takes it from the mailbox."""
        camera.account.received()
        arrival = Arrival(
            message, self._generation, time.monotonic(), self.get_clock().now().nanoseconds)

        # put returns the message that must give way: an older one, or this one after a close
        replaced = arrival if self._mailbox is None else self._mailbox.put(camera.name, arrival)
        if replaced is arrival:
            camera.account.dropped(INACTIVE, waiting=True)
        elif replaced is not None:
            camera.account.dropped(SUPERSEDED, waiting=True)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._reset_all('service')
        response.success = True
        response.message = f'temporal state of {len(self.cameras)} camera(s) will be dropped'
        return response

    def _on_time_jump(self, jump: TimeJump) -> None:
        self._reset_all('time_jump')

    def _refusal(self, values: Mapping[str, Any]) -> str:
        """Return why parameters cannot change so while the node is configured."""
        settings = settings_of(values)
        return next(filter(None, (one.problem(settings) for one in self.cameras.values())), '')

    def _on_change(self) -> None:
        """
        Follow the parameters, all at once; the frame that is being processed does not.

        So topics come before that and go later, when no frame follows the old parameters.
        """
        before, after = self.settings, settings_of(self._declared.read())
        if before is None:
            return
        for camera in self.cameras.values():
            camera.outputs.choose(after, active=self.activated_at is not None)
        self.settings = after
        self._changed_at = 0 if self._worker is None else self._worker.taken
        self.get_logger().info('from the next frame on: ' + changes(before, after))

    def _on_tick(self) -> None:
        if self.settings is not None and (
                self._worker is None or self._worker.is_past(self._changed_at)):
            for camera in self.cameras.values():
                camera.outputs.destroy_others(self.settings)
        self._frames.update_subscriptions()
        self._watchdog.tick()
        if self.exit_code is not None and self.activated_at is not None:
            self.trigger_deactivate()

    def _on_autostart(self) -> None:
        """Configure and activate, once, unless somebody else did."""
        self.destroy_timer(self._autostart)
        if self.settings is None and self.trigger_configure() != SUCCESS:
            return
        if self.activated_at is None:
            self.trigger_activate()

    # the worker's thread, or several at once, each for another camera

    def _work(self, name: str, arrival: Arrival) -> None:
        """Process one message; an error costs this frame and nothing else."""
        camera = self.cameras[name]
        camera.account.taken()
        try:
            self._process(camera, arrival)
        except BaseException as error:  # noqa: BLE001  (a SystemExit would end the thread)
            self._drop(camera, error)

    def _process(self, camera: Camera, arrival: Arrival) -> None:
        settings = self.settings
        if settings is None or arrival.generation != self._generation:
            raise FrameError('the node was deactivated', INACTIVE)

        answer = camera.process(arrival, settings)
        begin = time.monotonic()
        self._publish(answer, arrival.generation)
        end = time.monotonic()

        age_ns = self.get_clock().now().nanoseconds - answer.stamp_ns
        camera.account.published(
            {**answer.times_ms, 'publish': 1000 * (end - begin),
             'total': 1000 * (end - arrival.steady_s), 'age': age_ns / 1e6},
            heard=bool(answer.ready), motion_known=answer.motion_known)
        if answer.starts_anew and self._mailbox is not None:
            self._mailbox.favour(camera.name, settings.motion_burst - 1)

    def _publish(self, answer: Answer, generation: int) -> None:
        with self._gate:  # nothing is published after a deactivation
            if generation != self._generation:
                raise FrameError('the node was deactivated', INACTIVE)
            for publisher, message in answer.ready:
                publisher.publish(message)

    def _drop(self, camera: Camera, error: BaseException) -> None:
        """Count a dropped frame, and log it, but not more often than the throttle allows."""
        reason = reason_of(error)
        count = camera.account.dropped(reason)
        if reason == ReasonCode.DEVICE_MEMORY:
            _empty_device_cache()
        # a lost device stays lost within this process
        if isinstance(error, DeviceError) or reason == ReasonCode.DEVICE_LOST:
            self.request_exit(7, f'[{reason}] {detail_of(error)}')

        if reason != INACTIVE and self._throttle.due((camera.name, reason)):
            text = (f'[{reason}] camera {camera.name!r} ({camera.topic}): {detail_of(error)}; '
                    f'frame dropped ({count} so far)')
            if reason == INTERNAL:
                text += '\n' + ''.join(traceback.format_exception(error))
            self.get_logger().warning(text)

    # for the watchdog

    def busy(self) -> tuple[str, float] | None:
        """Return the camera whose frame is being processed, and for how many seconds."""
        return None if self._worker is None else self._worker.busy()

    def give_up(self, reason: str) -> None:
        """Deactivate, and remember why."""
        self.get_logger().error(reason)
        self.trigger_deactivate()
        self.last_error = reason

    def request_exit(self, code: int, reason: str) -> None:
        """
        Ask the program to end; it also deactivates the node. The first request counts.

        :param code: exit code of the process.
        :param reason: for the log.
        """
        if self.exit_code is None:
            self.exit_code = code
            self.last_error = reason
            self.get_logger().fatal(f'{reason}; ending with exit code {code}')

    def facts(self) -> dict[str, str]:
        """Return model, device and settings for the diagnostics."""
        facts = {'security': os.environ.get('ROS_SECURITY_STRATEGY', 'off')
                 if os.environ.get('ROS_SECURITY_ENABLE') == 'true' else 'off'}
        facts['callback_errors'] = str(self.callback_errors)
        facts |= {f'unknown_parameter.{name}': 'ignored' for name in self._declared.unknown}
        if self._engine is not None and self.settings is not None:
            manifest = self._engine.manifest
            facts |= {
                'model': manifest.name, 'sha256': manifest.sha256,
                'tasks': ' '.join(task.name for task in manifest.tasks),
                'network_size': f'{manifest.width}x{manifest.height}',
                **self._engine.setup.facts()}
        return facts

    def stop(self) -> bool:
        """
        Finish the frame that is being processed and release all resources.

        :return: False if the worker still hangs in the network; then only an immediate end of
            the process helps.
        """
        try:
            self.trigger_shutdown()
        except Exception as error:  # noqa: BLE001  (rclpy's own class; it is finalized already)
            self.get_logger().debug(f'shutdown: {detail_of(error)}')
            self._release()
        return self._worker is None

    # shared by the transitions

    def _add_cameras(self, settings: Settings, engine: Engine) -> None:
        """Create the publishers of all cameras."""
        for name in settings.cameras:
            try:
                camera = Camera(self, name, engine, settings, self._frames)
            except PerceptionError:  # it says itself what is wrong, and how to mend it
                raise
            except Exception as error:  # rcl has an error class for each kind of bad name
                raise ConfigurationError(
                    f'camera {name!r}: its topics cannot be made: {detail_of(error)}',
                    ReasonCode.BAD_TOPIC_NAME) from error
            self.cameras[camera.name] = camera

    def _stop_intake(self) -> None:
        """End the subscriptions, drop the waiting messages; the current one ends unpublished."""
        self.activated_at = None
        self._frames.close()
        for camera in self.cameras.values():
            camera.close()

        with self._gate:
            self._generation += 1
        if self._mailbox is not None:
            for name, _ in self._mailbox.close():
                self.cameras[name].account.dropped(INACTIVE, waiting=True)
            self._mailbox = None

    def _join_worker(self) -> bool:
        """Wait for the frame that is being processed; return whether it ended."""
        if self._worker is not None and not self._worker.stop(PATIENCE_S):
            return False
        self._worker = None
        return True

    def _release(self) -> None:
        """Release all resources, whatever state the node is in; may be called twice."""
        self._stop_intake()
        if not self._join_worker():
            self.request_exit(
                7, f'[{ReasonCode.TIMEOUT}] the network did not return in {PATIENCE_S:g} s')

        for camera in self.cameras.values():
            camera.outputs.destroy()
            camera.noise.close()
        self.cameras.clear()
        self._engine = None
        self.settings = None
        self._declared.configured = False

    def _reset_all(self, reason: str) -> None:
        for camera in self.cameras.values():
            camera.request_reset(reason)

    def _guard(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        return guarded(self, self._throttle, callback)


def _empty_device_cache() -> None:
    """Return unused memory to the device after it ran out."""
    torch = sys.modules.get('torch')
    if torch is not None and torch.cuda.is_available():
        with contextlib.suppress(RuntimeError):  # of a device that is lost as well
            torch.cuda.empty_cache()


def main(args: Sequence[str] | None = None, stop: StopRequest | None = None) -> int:
    """
    Run the node until a signal or a request to end.

    :param args: the command line; ``sys.argv`` by default.
    :param stop: listens since the start of the process.
    :return: the exit code.
    """
    return run_node(lambda stopped: PerceptionNode(stopped=stopped), args, stop)


if __name__ == '__main__':
    raise SystemExit(main())
