# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Every topic that the package publishes, reads or records: its name, its type and what it carries.

Names are relative to the namespace of a camera; those of ``BELOW_NODE`` to the node, that of
``ROBOT_DESCRIPTION`` to its namespace, and ``DIAGNOSTICS`` is absolute. The launch file reads this
list too, so nothing heavy is imported here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

IMAGE_TYPE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE_TYPE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO_TYPE = 'sensor_msgs/msg/CameraInfo'
MARKER_TYPE = 'visualization_msgs/msg/ImageMarker'
CLOUD_TYPE = 'sensor_msgs/msg/PointCloud2'
DETECTIONS_TYPE = 'vision_msgs/msg/Detection2DArray'
MARKERS_TYPE = 'visualization_msgs/msg/MarkerArray'
LABEL_INFO_TYPE = 'vision_msgs/msg/LabelInfo'
TEXT_TYPE = 'std_msgs/msg/String'
TWIST_TYPE = 'geometry_msgs/msg/TwistStamped'
DIAGNOSTICS_TYPE = 'diagnostic_msgs/msg/DiagnosticArray'


@dataclass(frozen=True)
class Topic:
    """
    One topic.

    :param name: of the topic.
    :param kind: type of its messages.
    :param content: what a message says, in one line.
    :param encoding: of its images; empty if it carries none, or the camera decides.
    """

    name: str
    kind: str
    content: str
    encoding: str = ''

    def below(self, namespace: str) -> str:
        """Return the absolute name in a namespace, empty or such as ``front``."""
        if self.name.startswith('/'):
            return self.name
        return f'/{namespace.strip("/")}/{self.name}'.replace('//', '/')


# What a camera publishes
IMAGE = Topic('image_raw', IMAGE_TYPE, 'the image of the camera')
COMPRESSED_IMAGE = Topic(
    'image_raw/compressed', COMPRESSED_IMAGE_TYPE, 'the same as JPEG or PNG')
CAMERA_INFO = Topic(
    'camera_info', CAMERA_INFO_TYPE,
    "calibration, chosen by the image's stamp; its focal length scales the depth")

# What describes the robot
ROBOT_DESCRIPTION = Topic(
    'robot_description', TEXT_TYPE,
    "the robot's URDF, latched; with /tf and /tf_static (where tf2_ros is installed) it tells the "
    'height of the camera, see depth.ground_frame')

# What the node publishes for programs
SEMANTIC = Topic('semantic/image', IMAGE_TYPE, 'class ids, 255 = unlabelled', 'mono8')
DEPTH = Topic(
    'depth/image', IMAGE_TYPE,
    'metres along Z, NaN = invalid, +Inf = sky or beyond range (REP 117, REP 118)', '32FC1')
SEMANTIC_CONFIDENCE = Topic(
    'semantic/confidence', IMAGE_TYPE,
    'probability that the class is right, 0 to 255 for 0 to 1; 0 = unknown', 'mono8')
DEPTH_CONFIDENCE = Topic(
    'depth/confidence', IMAGE_TYPE,
    'probability that depth is within a factor of 1.25, 0 to 255 for 0 to 1; 0 = unknown', 'mono8')
DEPTH_RAW = Topic('depth/image_raw', IMAGE_TYPE, 'millimetres, 0 = invalid', '16UC1')
DEPTH_INFO = Topic('depth/camera_info', CAMERA_INFO_TYPE, 'calibration of the depth image')
POINTS = Topic(
    'points', CLOUD_TYPE,
    'x, y, z (metres, optical frame), rgb, label (class id) and confidence of what pixels show; '
    'without a depth NaN or left out, see depth.organised')
MOTION = Topic('motion/image', IMAGE_TYPE, '0 static, 1 moving, 255 unknown', 'mono8')
INSTANCE = Topic(
    'instances/image', IMAGE_TYPE,
    'an id for each object of the movable classes, 0 = none; an id is valid for one frame',
    '16UC1')
DETECTION = Topic(
    'detections', DETECTIONS_TYPE, 'boxes in pixels of the image, with class and score')
MARKERS = Topic(
    'detections/markers', MARKER_TYPE, 'outlines of the boxes, in the colours of their classes')
OBJECT_STATE = Topic(
    'objects/state', CLOUD_TYPE,
    'an object a point: x, y, z (metres) in the optical frame, id that holds from frame to frame, '
    'class, score, moving (255 = unknown), vx, vy, vz (m/s) over the world, NaN = unknown')
OBJECT_MARKERS = Topic(
    'objects/markers', MARKERS_TYPE, 'the same for viewers: spheres with ids, arrows of velocity')
EGO_MOTION = Topic(
    'ego_motion', TWIST_TYPE,
    'velocity (m/s) and turn rate (rad/s) of the camera in its optical frame')

# What the node publishes for people
SEMANTIC_COLOR = Topic('semantic/color', IMAGE_TYPE, 'classes in their colours', 'rgb8')
SEMANTIC_OVERLAY = Topic('semantic/overlay', IMAGE_TYPE, 'the same over the image', 'rgb8')
DEPTH_COLOR = Topic('depth/color', IMAGE_TYPE, 'near warm, far cold', 'rgb8')
MOTION_OVERLAY = Topic('motion/overlay', IMAGE_TYPE, 'what moves, over the image', 'rgb8')
INSTANCE_OVERLAY = Topic('instances/overlay', IMAGE_TYPE, 'objects over the image', 'rgb8')
DETECTION_OVERLAY = Topic('detections/overlay', IMAGE_TYPE, 'boxes over the image', 'rgb8')

LABELS = {
    'semantic': Topic('semantic/labels', TEXT_TYPE, 'class names and colours as JSON'),
    'motion': Topic('motion/labels', TEXT_TYPE, 'the same for motion'),
    'detection': Topic('detections/labels', TEXT_TYPE, 'the same for boxes'),
}
"""Task -> what its ids mean; latched."""

LABEL_INFO = {
    'semantic': Topic('semantic/label_info', LABEL_INFO_TYPE, 'class names'),
    'motion': Topic('motion/label_info', LABEL_INFO_TYPE, 'the same for motion'),
    'detection': Topic('detections/label_info', LABEL_INFO_TYPE, 'the same for boxes'),
}
"""The same as messages of ``vision_msgs``, where that is installed; latched."""

# What a source with ground truth publishes
TRUTH = {
    'semantic': Topic('truth/semantic/image', IMAGE_TYPE, 'true class ids', 'mono8'),
    'depth': Topic('truth/depth/image', IMAGE_TYPE, 'true metres along Z', '32FC1'),
    'motion': Topic('truth/motion/image', IMAGE_TYPE, 'true motion', 'mono8'),
    'instance': Topic('truth/instances/image', IMAGE_TYPE, 'true objects', '16UC1'),
}
"""Task -> its ground truth."""

PREDICTIONS = {
    'semantic': SEMANTIC, 'depth': DEPTH, 'motion': MOTION, 'instance': INSTANCE,
    'detection': MARKERS}
"""Task -> the topic that a recording is evaluated by."""

# How nodes report on themselves
DIAGNOSTICS = Topic(
    '/diagnostics', DIAGNOSTICS_TYPE, 'state, counters, and latency as p50, p95 and p99')
TIMING = Topic('timing', DIAGNOSTICS_TYPE, 'how long each stage took')

INPUTS = (IMAGE, COMPRESSED_IMAGE, CAMERA_INFO)
OUTPUTS = (
    SEMANTIC, SEMANTIC_CONFIDENCE, DEPTH, DEPTH_CONFIDENCE, DEPTH_RAW, DEPTH_INFO, POINTS,
    MOTION, INSTANCE, DETECTION, MARKERS, OBJECT_STATE, OBJECT_MARKERS, EGO_MOTION,
    *LABELS.values(), *LABEL_INFO.values())
VIEWS = (
    SEMANTIC_COLOR, SEMANTIC_OVERLAY, DEPTH_COLOR, MOTION_OVERLAY, INSTANCE_OVERLAY,
    DETECTION_OVERLAY)
CHOOSABLE = tuple(topic for topic in (*OUTPUTS, *VIEWS) if topic not in (
    DEPTH_INFO, *LABELS.values(), *LABEL_INFO.values()))
"""What the parameter ``outputs`` chooses from; the others tell what these mean."""
RECORDED = (*(topic for topic in OUTPUTS if topic is not POINTS), *TRUTH.values())
"""
What the launch file records of each camera, beside its images and their calibration.

Points are left out: at 640x480 they are 10 MB a frame, and depth with its calibration gives them
again.
"""
BELOW_NODE = (EGO_MOTION, TIMING)
"""Topics below the name of the node, not in the namespace of a camera."""
EVERY = (*INPUTS, ROBOT_DESCRIPTION, *OUTPUTS, *VIEWS, *TRUTH.values(), DIAGNOSTICS, TIMING)


def topic_of(name: str, kind: str) -> tuple[Topic, str] | None:
    """
    Return which topic of this list a topic of a graph is, and its namespace.

    :param name: absolute, such as ``/front/depth/image``.
    :param kind: type of its messages.
    :return: the topic and a namespace without slashes around it, such as ``front``, empty for
        none; None for a topic that is not of the list.
    """
    fitting = [topic for topic in EVERY if topic.kind == kind
               and f'/{name.strip("/")}'.endswith(f'/{topic.name.strip("/")}')]
    if not fitting:
        return None

    # depth/camera_info ends as camera_info does
    found = max(fitting, key=lambda topic: len(topic.name))
    namespace = name.strip('/').removesuffix(found.name.strip('/')).strip('/')
    return None if namespace and found.name.startswith('/') else (found, namespace)


def is_below(name: str, namespaces: Sequence[str]) -> bool:
    """Return whether a topic of a graph is in one of the namespaces; in any, if none is named."""
    return not namespaces or any(
        name.startswith(f'/{one.strip("/")}/'.replace('//', '/')) for one in namespaces)
