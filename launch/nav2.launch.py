# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
A local costmap of Nav2 fed by the cameras: ``ros2 launch mtl_perception nav2.launch.py``.

An example to start from, see ``docs/nav2.md``. It has not been run yet.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchDescription

SHARE = Path(get_package_share_directory('mtl_perception'))

ARGUMENTS = (
    DeclareLaunchArgument('source', default_value='none', description=(
        'camera: as in camera.launch.py; none = an external driver publishes')),
    DeclareLaunchArgument('image_topic', default_value='image_raw',
                          description='image topic of the camera'),
    DeclareLaunchArgument(
        'params_file', default_value=str(SHARE / 'config' / 'nav2_perception.yaml'),
        description='parameters of perception_node'),
    DeclareLaunchArgument(
        'costmap_file', default_value=str(SHARE / 'config' / 'nav2_costmap.yaml'),
        description='parameters of the costmap and its lifecycle manager'),
    DeclareLaunchArgument('use_sim_time', default_value='false', choices=['true', 'false'],
                          description='follow /clock'),
)


def generate_launch_description() -> LaunchDescription:
    """Return the perception node, a costmap and its lifecycle manager."""
    passed = ('source', 'image_topic', 'params_file', 'use_sim_time')
    perception = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / 'launch' / 'camera.launch.py')),
        launch_arguments=[(name, LaunchConfiguration(name)) for name in passed])

    parameters = [LaunchConfiguration('costmap_file'),
                  {'use_sim_time': LaunchConfiguration('use_sim_time')}]
    costmap = Node(
        package='nav2_costmap_2d', executable='nav2_costmap_2d', output='log',
        parameters=parameters)
    manager = Node(
        package='nav2_lifecycle_manager', executable='lifecycle_manager',
        name='lifecycle_manager_costmap', output='log', parameters=parameters)
    return LaunchDescription([*ARGUMENTS, perception, costmap, manager])
