# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""camera.launch.py under the real launch system, with the real ros2 command."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip('rclpy')
# "launch" alone would also be found as our own folder.
pytest.importorskip('launch_ros', reason='launch_ros is not on PyPI; a ROS 2 installation has it')
pytest.importorskip('ros2launch', reason='ros2launch is not on PyPI; a ROS 2 installation has it')

from ros_graph import ROOT, Graph
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import Image

from launch import LaunchContext

pytestmark = pytest.mark.upstream_launch
ANSWERS = ('semantic/image', 'depth/image', 'motion/image')


@pytest.fixture
def prefix(tmp_path, monkeypatch):
    """Install the launch file, the configuration and the programs of this tree."""
    prefix = tmp_path / 'prefix'
    share, programs = prefix / 'share' / 'mtl_perception', prefix / 'lib' / 'mtl_perception'
    index = prefix / 'share' / 'ament_index' / 'resource_index' / 'packages'
    for folder in (share, programs, index):
        folder.mkdir(parents=True)

    (index / 'mtl_perception').write_text('')
    shutil.copy(ROOT / 'package.xml', share)
    for name in ('launch', 'config'):
        shutil.copytree(ROOT / name, share / name)
    for script in (ROOT / 'scripts').iterdir():
        shutil.copy(script, programs)

    monkeypatch.setenv('AMENT_PREFIX_PATH', os.pathsep.join(
        [str(prefix), os.environ.get('AMENT_PREFIX_PATH') or sys.prefix]))
    monkeypatch.setenv('PATH', f'{Path(sys.executable).parent}:{os.environ["PATH"]}')
    monkeypatch.setenv('PYTHONPATH', f'{ROOT}:{os.environ.get("PYTHONPATH", "")}')
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path / 'log'))
    return prefix


@pytest.fixture
def launch_file(prefix):
    path = prefix / 'share' / 'mtl_perception' / 'launch' / 'camera.launch.py'
    specification = importlib.util.spec_from_file_location('camera_launch', path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def choices(launch_file, **arguments):
    """Return the choices of a command line."""
    context = LaunchContext()
    for declared in launch_file.ARGUMENTS:
        context.launch_configurations[declared.name] = declared.default_value[0].text
    context.launch_configurations.update(arguments)
    return launch_file.Choices(context)


def test_every_documented_argument_is_declared(launch_file):
    assert {declared.name for declared in launch_file.ARGUMENTS} == {
        'source', 'namespace', 'cameras', 'params_file', 'image_topic', 'camera_info_topic',
        'image_transport', 'model', 'engine', 'device', 'precision', 'autostart', 'use_sim_time',
        'log_level', 'rviz', 'record', 'respawn'}
    assert all(declared.description for declared in launch_file.ARGUMENTS)


def test_the_calibration_topic_is_beside_the_image_topic(launch_file):
    chosen = choices(launch_file, image_topic='color/image')
    assert chosen.camera_info_topic == 'color/camera_info'
    assert ('image_raw/compressed', 'color/image/compressed') in chosen.remappings([''])

    chosen = choices(launch_file, image_topic='/a/image', camera_info_topic='/b/info')
    assert chosen.remappings(['']) == [
        ('image_raw', '/a/image'), ('image_raw/compressed', '/a/image/compressed'),
        ('camera_info', '/b/info')]
    assert choices(launch_file).remappings(['']) == []


def test_the_parameter_file_counts_where_no_argument_is_given(launch_file, tmp_path):
    own = tmp_path / 'own.yaml'
    own.write_text('/**/perception_node:\n  ros__parameters:\n    cameras: [front, rear]\n'
                   '    image_transport: compressed\n    use_sim_time: true\n')
    chosen = choices(launch_file, params_file=str(own), record='/bag')
    assert chosen.prefixes == ['front/', 'rear/']
    assert (chosen.compressed, chosen.overrides) == (True, {})
    assert chosen.time == {'use_sim_time': True}
    process, = launch_file.recorder(chosen)
    words = [part[0].text for part in process.cmd]
    assert {'/front/image_raw/compressed', '/rear/depth/image'} <= set(words)

    chosen = choices(launch_file, params_file=str(own), cameras='left', image_transport='raw',
                     use_sim_time='false')
    assert chosen.prefixes == ['left/']
    assert not chosen.compressed
    assert chosen.overrides == {'image_transport': 'raw'}
    assert chosen.time == {'use_sim_time': False}

    own.write_text('cameras: [front')
    with pytest.raises(RuntimeError, match='is no file of ROS parameters'):
        choices(launch_file, params_file=str(own))


def test_several_cameras_have_their_topics_below_their_names(launch_file):
    chosen = choices(launch_file, cameras='front, rear', image_topic='color/image')
    assert ('rear/image_raw', 'rear/color/image') in chosen.remappings(chosen.prefixes)
    with pytest.raises(RuntimeError, match='must be relative'):
        choices(launch_file, cameras='front,rear', image_topic='/image')
    with pytest.raises(RuntimeError, match='camera_info_topic is /calibration'):
        choices(launch_file, cameras='front,rear', camera_info_topic='/calibration')


def test_a_missing_params_file_is_refused(launch_file):
    with pytest.raises(RuntimeError, match=r'/none\.yaml does not exist'):
        choices(launch_file, params_file='/none.yaml')


def test_the_tilde_in_arguments_is_the_home_folder(launch_file, prefix, monkeypatch):
    monkeypatch.setenv('HOME', str(prefix / 'share' / 'mtl_perception'))
    chosen = choices(launch_file, params_file='~/config/camera.yaml', record='~/bag')

    assert Path(chosen.params_file).is_file()
    assert chosen.record == str(prefix / 'share' / 'mtl_perception' / 'bag')


def test_the_synthetic_street_is_shown_to_the_model_that_knows_it(launch_file, tmp_path):
    assert choices(launch_file, source='street').overrides == {'model': 'street'}
    assert choices(launch_file, source='street', model='roads').overrides == {'model': 'roads'}
    assert choices(launch_file, source='drive.mp4').overrides == {}

    own = tmp_path / 'own.yaml'
    own.write_text('')
    assert choices(launch_file, source='street', params_file=str(own)).overrides == {}


def test_recorded_topics_have_absolute_names(launch_file):
    assert launch_file.recorder(choices(launch_file)) == []

    chosen = choices(launch_file, record='/bag', cameras='front', namespace='robot',
                     image_transport='compressed')

    process, = launch_file.recorder(chosen)
    words = [part[0].text for part in process.cmd]

    assert '/bag' in words

    topics = words[words.index('--topics') + 1:]
    assert all(topic.startswith('/') for topic in topics)
    assert {'/robot/front/image_raw/compressed', '/robot/front/depth/camera_info',
            '/robot/perception_node/timing', '/robot/perception_node/front/ego_motion',
            '/robot/front/objects/state', '/diagnostics'} <= set(topics)
    assert '/robot/front/points' not in topics  # depth and its calibration give them again
    assert len(set(topics)) == len(topics)


def test_a_bag_is_never_written_over(launch_file, tmp_path):
    bag = tmp_path / 'drive'
    assert launch_file.new_folder(str(bag)) == str(bag)

    bag.mkdir()
    names = set()
    for _ in range(3):
        names.add(launch_file.new_folder(str(bag)))
        Path(max(names, key=len)).mkdir(exist_ok=True)
    assert len(names) >= 2
    assert all(re.fullmatch(r'.*/drive_[\d_]{10}-[\d_]{8,}', name) for name in names)
    assert re.fullmatch(r'camera_bag_[\d_-]{19}', launch_file.new_folder('true'))


@pytest.mark.parametrize(('arguments', 'text'), [
    ({'rviz': 'true'}, 'needs rviz2, which is not installed: sudo apt install ros-'),
    ({'record': 'true'}, 'pip install rosbags')])
def test_a_missing_program_is_named_before_anything_starts(
        launch_file, monkeypatch, arguments, text):
    monkeypatch.setattr(launch_file.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(RuntimeError, match='nothing was started') as failure:
        launch_file.check_programs(choices(launch_file, **arguments))
    assert text in str(failure.value)
    launch_file.check_programs(choices(launch_file, source='street'))


class Launched:
    """``ros2 launch`` as a process of its own group, on the graph of a test."""

    def __init__(self, graph, *arguments, file=('mtl_perception', 'camera.launch.py')):
        self.environment = {**os.environ, 'ROS_DOMAIN_ID': str(graph.domain),
                            'LAUNCH_OF_TEST': uuid.uuid4().hex}
        self.process = subprocess.Popen(
            [*ros2(), 'launch', *map(str, file), *arguments],
            env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))

    def call(self, *words):
        """Return what another ros2 command prints."""
        done = subprocess.run([*ros2(), *words], env=self.environment, text=True, timeout=60,
                              capture_output=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def spin_until(self, graph, condition, timeout_s):
        """Wait on the graph; if it is in vain, show what was printed."""
        try:
            graph.spin_until(condition, timeout_s)
        except AssertionError as error:
            raise AssertionError(f'{error}\n{self.finish()[1]}') from None

    def finish(self):
        """Send SIGINT as Ctrl-C does, and return the exit code and what was printed."""
        self.process.send_signal(signal.SIGINT)
        output, _ = self.process.communicate(timeout=60)
        return self.process.returncode, output

    def programs(self):
        """Return the command lines of the programs that were launched and still run."""
        mark = f'LAUNCH_OF_TEST={self.environment["LAUNCH_OF_TEST"]}'.encode()
        found = {}
        for folder in Path('/proc').glob('[0-9]*'):
            with suppress(OSError):
                if int(folder.name) != self.process.pid and mark in (
                        folder / 'environ').read_bytes():
                    found[int(folder.name)] = (folder / 'cmdline').read_bytes().decode()
        return found

    def wait_until(self, condition, timeout_s=60.0):
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, self.programs()
            time.sleep(0.05)

    def close(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()
        for number in self.programs():
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)


def ros2():
    found = shutil.which('ros2') or str(
        Path(importlib.util.find_spec('ros2launch').origin).parents[1] / 'bin' / 'ros2')
    return [sys.executable, found]


@pytest.fixture
def launched(prefix, monkeypatch):
    """Return a function that launches on a graph, which it returns too."""
    graph, running = Graph(monkeypatch), []

    def start(*arguments, **options):
        running.append(Launched(graph, *arguments, **options))
        return graph, running[-1]
    yield start
    for one in running:
        one.close()
    graph.close()


@pytest.mark.slow
def test_one_command_turns_a_street_into_masks_and_depth(launched, tiny_model, tmp_path):
    bag = tmp_path / 'bag'
    graph, launch = launched('source:=street', f'model:={tiny_model}', f'record:={bag}')
    for topic in ('image_raw', *ANSWERS):
        graph.listen(Image, topic)
    launch.spin_until(graph, lambda: all(len(graph.heard[topic]) >= 5 for topic in ANSWERS), 240)
    options = ('--no-daemon', '--spin-time', '3')

    assert launch.call('lifecycle', 'get', '/perception_node', *options).startswith('active')
    assert '/semantic/image' in launch.call('topic', 'list', *options)
    assert launch.call('param', 'get', '/camera_source', 'rate', *options).split()[-1] == '10.0'

    code, output = launch.finish()
    assert code == 0, output
    assert output.count('process has finished cleanly') == 3, output

    with AnyReader([bag]) as reader:
        counts = {name: topic.msgcount for name, topic in reader.topics.items()}
    assert {'/image_raw', '/semantic/image', '/truth/depth/image', '/diagnostics'} <= {
        name for name, count in counts.items() if count}


@pytest.mark.slow
def test_names_transports_and_parameters_reach_the_processes(launched):
    """Without autostart, so that no network is loaded."""
    graph, launch = launched(
        'source:=street', 'namespace:=robot', 'cameras:=front,rear', 'image_topic:=color/image',
        'image_transport:=compressed', 'autostart:=false', 'log_level:=warn')
    wanted = {f'/robot/{camera}/color/{name}' for camera in ('front', 'rear')
              for name in ('image/compressed', 'camera_info')}

    def names():
        return {name for name, _ in graph.node.get_topic_names_and_types()}
    launch.spin_until(graph, lambda: names() >= wanted, 60)
    nodes = set()
    deadline = time.monotonic() + 60
    while '/robot/perception_node' not in nodes and time.monotonic() < deadline:
        graph.executor.spin_once(timeout_sec=0.1)
        nodes = {f'{space}/{name}'.replace('//', '/')
                 for name, space in graph.node.get_node_names_and_namespaces()}

    assert nodes >= {'/robot/perception_node', '/robot/front/camera_source',
                     '/robot/rear/camera_source'}

    options = ('--no-daemon', '--spin-time', '3')
    shown = launch.call('param', 'get', '/robot/perception_node', 'cameras', *options)
    assert "['front', 'rear']" in shown

    seeds = [launch.call('param', 'get', f'/robot/{camera}/camera_source', 'seed', *options)
             for camera in ('front', 'rear')]
    assert [seed.split()[-1] for seed in seeds] == ['20000', '20001']

    code, output = launch.finish()
    assert code == 0, output
    assert output.count('process has finished cleanly') == 3, output


def test_a_wrong_argument_ends_the_launch_with_a_message(launched):
    _, launch = launched('image_transport:=smoke_signals')
    output, _ = launch.process.communicate(timeout=60)
    assert launch.process.returncode != 0
    assert 'smoke_signals' in output


def test_a_missing_viewer_starts_nothing(launched):
    _, launch = launched('source:=street', 'rviz:=true', 'autostart:=false')
    output, _ = launch.process.communicate(timeout=60)
    assert launch.process.returncode != 0
    assert 'nothing was started: rviz:=true needs rviz2' in output
    assert launch.programs() == {}


@pytest.mark.slow
@pytest.mark.parametrize('number', ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGKILL'])
def test_the_end_of_a_launch_ends_its_programs(launched, number, tmp_path):
    _, launch = launched('source:=street', 'autostart:=false', f'record:={tmp_path / "bag"}')
    launch.wait_until(lambda: len(launch.programs()) == 3)
    launch.wait_until((tmp_path / 'bag' / 'bag.mcap').exists)

    launch.process.send_signal(getattr(signal, number))
    launch.process.wait(60)
    launch.wait_until(lambda: not launch.programs(), 15)
    assert (tmp_path / 'bag' / 'metadata.yaml').exists()


@pytest.mark.slow
def test_an_action_that_fails_ends_the_programs(launched, prefix, tmp_path):
    """In a launch file of the user that includes this one."""
    file = tmp_path / 'robot.launch.py'
    file.write_text(f"""
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription, OpaqueFunction, TimerAction

def fail(context):
    raise RuntimeError('the arm is missing')

def generate_launch_description():
    return LaunchDescription([
        IncludeLaunchDescription(
            '{prefix}/share/mtl_perception/launch/camera.launch.py',
            launch_arguments={{'source': 'street', 'autostart': 'false'}}.items()),
        TimerAction(period=4.0, actions=[OpaqueFunction(function=fail)])])
""")
    _, launch = launched(file=[file])
    launch.wait_until(lambda: len(launch.programs()) == 2)
    output, _ = launch.process.communicate(timeout=60)
    assert launch.process.returncode == 1
    assert 'the arm is missing' in output
    launch.wait_until(lambda: not launch.programs(), 15)


@pytest.mark.slow
def test_a_second_recording_and_one_that_breaks_off(launched, tmp_path, monkeypatch):
    bag = tmp_path / 'bag'
    bag.mkdir()
    _, launch = launched('source:=street', 'autostart:=false', f'record:={bag}')
    launch.wait_until(lambda: [*tmp_path.glob('bag_*/*.mcap')])

    recorder = next(
        number for number, line in launch.programs().items() if '--topics' in line)
    os.kill(recorder, signal.SIGKILL)
    launch.wait_until(lambda: len(launch.programs()) == 2)
    _, output = launch.finish()

    assert 'NOTHING IS RECORDED from now on' in output
    assert not [*bag.iterdir()]
