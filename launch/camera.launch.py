# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Perception for one camera or several: ``ros2 launch mtl_perception camera.launch.py``.

With ``source:=street`` (or a video, a folder of images, ``/dev/video0``, ``rtsp://...``) it starts
a camera too;
``ros2 launch mtl_perception camera.launch.py --show-args`` lists every argument.
"""

import importlib.util
import os
import shutil
import sys
import time
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from ament_index_python.packages import (
    PackageNotFoundError,
    get_package_prefix,
    get_package_share_directory,
)
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    GroupAction,
    LogInfo,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node, PushRosNamespace

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from mtl_perception.topics import BELOW_NODE, DIAGNOSTICS, RECORDED, TIMING

PACKAGE = 'mtl_perception'
NODE = 'perception_node'
SHARE = Path(get_package_share_directory(PACKAGE))
DEFAULT_PARAMETERS = str(SHARE / 'config' / 'camera.yaml')
PROFILE = 'FASTDDS_DEFAULT_PROFILES_FILE'
YES_OR_NO = ['true', 'false']
PATIENCE_S = '20'
"""Seconds before the second signal, which ends our programs at once and cuts a bag short."""
END_WITH_LAUNCH = 'setpriv --pdeathsig TERM'
"""
Whatever ends the launch, its programs get SIGTERM from the kernel; a launch that gets SIGTERM, or
whose terminal was closed, leaves them running otherwise.
"""

ARGUMENTS = (
    DeclareLaunchArgument('source', default_value='none', description=(
        'camera: none (an external driver publishes), street (synthetic), a video file, a folder '
        'of images, a device such as /dev/video0, or an address such as rtsp://camera/stream')),
    DeclareLaunchArgument('namespace', default_value='', description='namespace of everything'),
    DeclareLaunchArgument('cameras', default_value='', description=(
        'names of several cameras, such as front,rear: each has its topics below its name; empty '
        "= params_file's, or one camera in the namespace itself")),
    DeclareLaunchArgument(
        'params_file', default_value=DEFAULT_PARAMETERS,
        description='parameters of perception_node and camera_source'),
    DeclareLaunchArgument('image_topic', default_value='image_raw', description=(
        'image topic of the camera, without a trailing /compressed')),
    DeclareLaunchArgument('camera_info_topic', default_value='', description=(
        'calibration topic of the camera; empty = camera_info beside the image topic')),
    DeclareLaunchArgument(
        'image_transport', default_value='', choices=['', 'raw', 'compressed'], description=(
            "what the node subscribes to; empty = params_file's, or raw")),
    DeclareLaunchArgument('model', default_value='', description=(
        "name of a shipped model or path of a .safetensors or .onnx file; empty = params_file's, "
        'street for source:=street')),
    DeclareLaunchArgument('engine', default_value='', description=(
        "auto, torch, onnx or openvino; empty = params_file's")),
    DeclareLaunchArgument('device', default_value='', description=(
        "auto, cpu, cuda or cuda:N; empty = params_file's")),
    DeclareLaunchArgument('precision', default_value='', description=(
        "auto, fp32, bf16, fp16 or int8; empty = params_file's")),
    DeclareLaunchArgument('autostart', default_value='true', choices=YES_OR_NO, description=(
        'configure and activate the node; false leaves that to a lifecycle manager')),
    DeclareLaunchArgument('use_sim_time', default_value='', choices=['', 'true', 'false'],
                          description="follow /clock; empty = params_file's, or false"),
    DeclareLaunchArgument('log_level', default_value='info',
                          choices=['debug', 'info', 'warn', 'error', 'fatal']),
    DeclareLaunchArgument('rviz', default_value='false', choices=YES_OR_NO,
                          description='start RViz with config/camera.rviz'),
    DeclareLaunchArgument('record', default_value='false', description=(
        'record inputs and outputs (mcap): true, or the folder of the new bag; one that exists is '
        'kept, and the new one gets the date behind its name')),
    DeclareLaunchArgument('respawn', default_value='false', choices=YES_OR_NO, description=(
        'restart a process that ended, after two seconds')),
)

SHOWN = ('image_raw', 'semantic/overlay', 'depth/color', 'motion/overlay', 'instances/overlay',
         'detections/overlay', 'points', 'objects/markers')
"""Topics of ``config/camera.rviz``."""


class Choices:
    """
    The values of the arguments.

    :param context: of the launch, in which the arguments have their values.
    """

    def __init__(self, context: LaunchContext) -> None:
        def text(name: str) -> str:
            return LaunchConfiguration(name).perform(context)

        def path(name: str) -> str:
            # no shell expands the ~ of name:=~/file
            return os.path.expanduser(text(name))

        def flag(name: str) -> bool:
            return text(name) == 'true'

        self.source = text('source')
        self.params_file = path('params_file')
        if not Path(self.params_file).is_file():
            raise RuntimeError(f'params_file: {self.params_file} does not exist')
        self.cameras = [name.strip() for name in text('cameras').split(',') if name.strip()]
        self.cameras = self.cameras or [
            name for name in in_file(self.params_file, 'cameras') or [] if name]
        self.namespace = text('namespace').strip('/')

        # drivers publish the calibration beside the image
        self.image_topic = text('image_topic')
        self.camera_info_topic = text('camera_info_topic') or str(
            PurePosixPath(self.image_topic).parent / 'camera_info')
        transport = text('image_transport') or in_file(self.params_file, 'image_transport')
        self.compressed = transport == 'compressed'

        # an argument that was given wins over the parameter file
        self.overrides = {
            name: value for name in ('model', 'engine', 'device', 'precision', 'image_transport')
            if (value := text(name))}
        # RViz follows the clock of the nodes
        follows = text('use_sim_time') or in_file(self.params_file, 'use_sim_time')
        self.time = {'use_sim_time': follows in ('true', True)}
        if self.source == 'street' and self.params_file == DEFAULT_PARAMETERS:
            self.overrides.setdefault('model', 'street')  # it knows these streets best
        self.autostart = flag('autostart')
        self.respawn = flag('respawn')
        self.rviz = flag('rviz')
        self.log_level = text('log_level')
        self.record = path('record')

        # a prefix of one's own, such as gdb, stays
        prefix = [END_WITH_LAUNCH] if shutil.which('setpriv') else []
        self.prefix = ' '.join([*prefix, context.launch_configurations.get('launch-prefix', '')])

        for name, topic in (
                ('image_topic', self.image_topic), ('camera_info_topic', self.camera_info_topic)):
            if len(self.cameras) > 1 and topic.startswith('/'):
                raise RuntimeError(
                    f'{name} is {topic}; with several cameras it must be relative, because each '
                    'camera has its own below its name')

    @property
    def prefixes(self) -> list[str]:
        """Return the prefix of the topics of each camera."""
        return [f'{name}/' for name in self.cameras] or ['']

    def topic(self, name: str, prefix: str = '') -> str:
        """Return the camera's topic in place of ``image_raw`` or ``camera_info``."""
        chosen = self.image_topic if name.startswith('image_raw') else self.camera_info_topic
        ending = name.removeprefix('image_raw') if name.startswith('image_raw') else ''
        return chosen + ending if chosen.startswith('/') else prefix + chosen + ending

    def remappings(self, prefixes: list[str]) -> list[tuple[str, str]]:
        """Return the remappings that give each camera the chosen topics."""
        pairs = [(prefix + name, self.topic(name, prefix)) for prefix in prefixes
                 for name in ('image_raw', 'image_raw/compressed', 'camera_info')]
        return [(old, new) for old, new in pairs if old != new]


def in_file(path: str, name: str) -> Any:
    """Return the node's parameter of a name in a file of parameters, None if it has none."""
    try:
        nodes = yaml.safe_load(Path(path).read_text(encoding='utf-8')) or {}
        parameters: dict[str, Any] = {}
        for node, content in nodes.items():
            if node.rpartition('/')[2] in ('**', NODE):
                parameters |= (content or {}).get('ros__parameters') or {}
    except (yaml.YAMLError, ValueError, TypeError, AttributeError) as error:
        raise RuntimeError(
            f'params_file: {path} is no file of ROS parameters ({error}); start from a copy of '
            f'{DEFAULT_PARAMETERS}') from error
    return parameters.get(name)


def perception(choices: Choices) -> Node:
    """Return the perception node, one for all cameras."""
    parameters = {'autostart': choices.autostart, **choices.time, **choices.overrides}
    if choices.cameras:
        parameters['cameras'] = choices.cameras
    return Node(
        package=PACKAGE, executable=NODE, name=NODE, output='screen',
        parameters=[choices.params_file, parameters],
        remappings=choices.remappings(choices.prefixes), prefix=choices.prefix,
        ros_arguments=['--log-level', choices.log_level], sigterm_timeout=PATIENCE_S,
        respawn=choices.respawn, respawn_delay=2.0)


def cameras(choices: Choices) -> list[Node]:
    """Return a camera source for each camera; streets differ from one to the next."""
    if choices.source == 'none':
        return []

    sources = []
    for number, prefix in enumerate(choices.prefixes):
        parameters = {
            'source': choices.source, 'compressed': choices.compressed, **choices.time}
        if prefix:
            parameters['frame_id'] = f'{prefix.replace("/", "_")}camera_optical_frame'
        if number:
            parameters['seed'] = 20000 + number

        sources.append(Node(
            package=PACKAGE, executable='camera_source', name='camera_source', output='screen',
            namespace=prefix.rstrip('/'), parameters=[choices.params_file, parameters],
            remappings=choices.remappings(['']), prefix=choices.prefix,
            ros_arguments=['--log-level', choices.log_level], sigterm_timeout=PATIENCE_S,
            respawn=choices.respawn, respawn_delay=2.0))
    return sources


def rviz(choices: Choices) -> list[Node]:
    """Return RViz, showing the first camera."""
    if not choices.rviz:
        return []

    prefix = choices.prefixes[0]
    remappings = [(f'/{name}', prefix + name) for name in SHOWN]
    remappings[0] = ('/image_raw', choices.topic('image_raw', prefix))
    return [Node(
        package='rviz2', executable='rviz2', name='rviz2', output='log', remappings=remappings,
        parameters=[choices.time], prefix=choices.prefix,
        arguments=['-d', str(SHARE / 'config' / 'camera.rviz')])]


def recorder(choices: Choices) -> list[ExecuteProcess]:
    """Return the recorder of inputs, results, ground truth and diagnostics."""
    if choices.record == 'false':
        return []

    image = 'image_raw/compressed' if choices.compressed else 'image_raw'
    names = [name for prefix in choices.prefixes for name in (
        choices.topic(image, prefix), choices.topic('camera_info', prefix),
        *((f'{NODE}/' if topic in BELOW_NODE else '') + prefix + topic.name
          for topic in RECORDED))]

    # a recorder has no namespace and no remappings: its topics need their full names
    root = f'/{choices.namespace}/'.replace('//', '/')
    topics = [name if name.startswith('/') else root + name for name in names]
    topics += [DIAGNOSTICS.name, f'{root}{NODE}/{TIMING.name}', '/clock', '/tf', '/tf_static']

    # ros2 bag where it is installed, else the recorder of this package
    folder = new_folder(choices.record)
    command = [sys.executable, '-m', 'mtl_perception.programs', 'recorder']
    if installed('ros2bag'):
        command = ['ros2', 'bag', 'record', '--storage', 'mcap']
    return [ExecuteProcess(
        cmd=[*command, '--output', folder, '--topics', *topics], name='recorder', output='screen',
        prefix=choices.prefix, sigterm_timeout=PATIENCE_S, on_exit=report_recorder)]


def new_folder(record: str) -> str:
    """Return the folder of a new bag: no drive is written over another, and none is lost."""
    date = time.strftime('%Y_%m_%d-%H_%M_%S')
    wanted = Path(f'camera_bag_{date}' if record == 'true' else record)
    if not wanted.exists():
        return str(wanted)

    names = (wanted.with_name(f'{wanted.name}_{date}{ending}')
             for ending in ('', *(f'_{number}' for number in range(2, 1000))))
    return str(next(path for path in names if not path.exists()))


def report_recorder(event: ProcessExited, context: LaunchContext) -> list[LogInfo]:
    """Say it if the recorder ended by itself: the nodes go on without it."""
    if context.is_shutdown:
        return []
    return [LogInfo(msg=(
        f'ERROR: the recorder ended with code {event.returncode}, see its lines above; NOTHING IS '
        'RECORDED from now on. The nodes go on; launch again to record.'))]


def installed(package: str) -> str:
    """Return the prefix of a ROS package, empty if it is not installed."""
    try:
        return str(get_package_prefix(package))
    except PackageNotFoundError:
        return ''


def check_programs(choices: Choices) -> None:
    """
    Check that every program is there, before any is started.

    :raises RuntimeError: which says what is missing and how to get it.
    """
    apt = f'sudo apt install ros-{os.environ.get("ROS_DISTRO", "$ROS_DISTRO")}-'
    missing = []
    for name in (NODE, *(['camera_source'] if choices.source != 'none' else [])):
        program = Path(installed(PACKAGE)) / 'lib' / PACKAGE / name
        if not os.access(program, os.X_OK):
            missing.append(f'{program} is missing; build or install {PACKAGE} again')

    rviz2 = Path(installed('rviz2')) / 'lib' / 'rviz2' / 'rviz2'
    if choices.rviz and not (installed('rviz2') and os.access(rviz2, os.X_OK)):
        missing.append(f'rviz:=true needs rviz2, which is not installed: {apt}rviz2, or leave '
                       'rviz:=true out')
    if choices.record != 'false':
        if installed('ros2bag'):
            if not installed('rosbag2_storage_mcap'):
                missing.append(f'record needs mcap for ros2 bag: {apt}rosbag2-storage-mcap')
        elif importlib.util.find_spec('rosbags') is None:
            missing.append(f'record needs ros2 bag ({apt}ros2bag) or the Python package rosbags '
                           '(pip install rosbags)')

    if missing:
        raise RuntimeError('nothing was started: ' + '; '.join(missing))


def launch_setup(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Return the nodes that the arguments ask for."""
    choices = Choices(context)
    check_programs(choices)
    nodes = [*cameras(choices), perception(choices), *rviz(choices)]
    actions = [GroupAction([PushRosNamespace(choices.namespace), *nodes]), *recorder(choices)]

    # the buffers of the default profile are too small for images
    if PROFILE not in os.environ:
        actions.insert(0, SetEnvironmentVariable(
            PROFILE, str(SHARE / 'config' / 'fastdds.xml')))
    return actions


def generate_launch_description() -> LaunchDescription:
    """Return the entry point of ``ros2 launch``."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=launch_setup)])
