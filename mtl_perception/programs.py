# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
The programs of the nodes, which hear signals before they import anything slow.

rclpy takes a second to import, torch some more; a signal in that time would end the process with a
traceback or without a word. ``python -m mtl_perception.programs NAME`` runs one of them.
"""

import contextlib
import sys
from collections.abc import Iterator, Sequence

from mtl_perception.signals import StopRequest

LIBRARIES = ('rclpy', 'ament_index_python')
"""Libraries of ROS 2 that are no definitions of messages."""


def perception_node(arguments: Sequence[str] | None = None) -> int:
    """Run the perception node; see :func:`mtl_perception.ros.perception_node.main`."""
    _check_words('perception_node', 'model:=street', arguments)
    stop = StopRequest(at_once=True).listen()
    with _libraries_of_ros():
        from mtl_perception.ros.perception_node import main
    return main(arguments, stop)


def camera_source(arguments: Sequence[str] | None = None) -> int:
    """Run the camera source; see :func:`mtl_perception.ros.camera_source.main`."""
    _check_words('camera_source', 'source:=drive.mp4', arguments)
    stop = StopRequest(at_once=True).listen()
    with _libraries_of_ros():
        from mtl_perception.ros.camera_source import main
    return main(arguments, stop)


def recorder(arguments: Sequence[str] | None = None) -> int:
    """Run the recorder; see :func:`mtl_perception.ros.recorder.main`."""
    stop = StopRequest(at_once=True).listen()
    with _libraries_of_ros():
        from mtl_perception.ros.recorder import main
    return main(sys.argv[1:] if arguments is None else arguments, stop)


def player(arguments: Sequence[str] | None = None) -> int:
    """Play a recording; see :func:`mtl_perception.ros.player.main`."""
    stop = StopRequest(at_once=True).listen()
    with _libraries_of_ros():
        from mtl_perception.ros.player import main
    return main(sys.argv[1:] if arguments is None else arguments, stop)


def viewer(arguments: Sequence[str] | None = None) -> int:
    """Show topics in a browser; see :func:`mtl_perception.ros.viewer.main`."""
    stop = StopRequest(at_once=True).listen()
    with _libraries_of_ros():
        from mtl_perception.ros.viewer import main
    return main(sys.argv[1:] if arguments is None else arguments, stop)


def probe(arguments: Sequence[str] | None = None) -> int:
    """Time the answers of a node; see :func:`mtl_perception.ros.probe.main`."""
    stop = StopRequest(at_once=True).listen()
    with _libraries_of_ros():
        from mtl_perception.ros.probe import main
    return main(arguments, stop)


def usual_node(arguments: Sequence[str] | None = None) -> int:
    """Run the usual node; see :func:`mtl_perception.ros.usual_node.main`."""
    stop = StopRequest(at_once=True).listen()
    with _libraries_of_ros():
        from mtl_perception.ros.usual_node import main
    return main(arguments, stop)


def _check_words(program: str, example: str, arguments: Sequence[str] | None) -> None:
    """
    Refuse what stands outside of ``--ros-args``; rclpy would ignore it, a video or ``--help`` too.

    :param program: its name.
    :param example: a parameter and its value.
    :param arguments: the command line, ``sys.argv`` by default.
    :raises SystemExit: with code 2 after a word that nobody reads, 0 after the help.
    """
    usage = f'{program} --ros-args -p {example}'
    of_ros = False
    for word in (sys.argv if arguments is None else arguments)[1:]:
        if word == '--ros-args':
            of_ros = True
        elif of_ros:
            of_ros = word != '--'
        elif word in ('-h', '--help'):
            print(f'usage: {usage} [-p NAME:=VALUE ...] [-r FROM:=TO ...] [--params-file FILE]\n'
                  'docs/parameters.md lists the parameters, config/camera.yaml is a file of them')
            raise SystemExit(0)
        else:
            print(f'cannot start: {word!r} is no argument of ROS; parameters stand behind '
                  f'--ros-args: {usage}', file=sys.stderr)
            raise SystemExit(2)


@contextlib.contextmanager
def _libraries_of_ros() -> Iterator[None]:
    """
    Say how to get a library of ROS 2 that an import lacks.

    :raises SystemExit: with code 2, after that.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or '').split('.')[0]
        if not name.endswith(('_msgs', '_interfaces', '_srvs')) and name not in LIBRARIES:
            raise
        from mtl_perception.middleware import lack_of
        print(f'cannot start: {lack_of(name)}', file=sys.stderr)
        raise SystemExit(2) from None


PROGRAMS = {'perception_node': perception_node, 'camera_source': camera_source,
            'recorder': recorder, 'player': player, 'viewer': viewer,
            'probe': probe, 'usual_node': usual_node}


def main() -> int:
    """Run the program that the command line names."""
    if len(sys.argv) < 2 or sys.argv[1] not in PROGRAMS:
        print(f'usage: python -m mtl_perception.programs {{{",".join(PROGRAMS)}}} ...',
              file=sys.stderr)
        return 2
    # rclpy and argparse read what is left
    sys.argv[:2] = [sys.argv[1]]
    return PROGRAMS[sys.argv[0]]()


if __name__ == '__main__':
    raise SystemExit(main())
