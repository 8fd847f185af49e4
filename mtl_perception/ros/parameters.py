# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the perception node: one table, and the frozen dataclass it is read into."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from mtl_perception.image_codec import MAX_PIXELS
from mtl_perception.image_range import Limits, limits_of
from mtl_perception.inference.engine import MINIMUM_SCORE, PRECISIONS
from mtl_perception.inference.engines import ENGINES
from mtl_perception.inference.fit import CHOICES, FitChoice, Roi, roi_of
from mtl_perception.inference.moving_objects import MINIMUM_MOTION_SCORE
from mtl_perception.manifest import DEFAULT_MODEL
from mtl_perception.name_checks import nearest_hint
from mtl_perception.postprocessing import OPACITY
from mtl_perception.ros.declarations import LONGEST_VALUE, Declaration, range_problem
from mtl_perception.ros.log_text import printable
from mtl_perception.topics import CHOOSABLE, Topic

OutputSize = Literal['camera', 'network']
MotionChoice = Literal['auto', 'network']
DepthScale = Literal['network', 'height', 'odometry']

MOST_CAMERAS = 16
LEAST_SCORE = 0.05
"""Boxes of a lower score are not found, whatever ``detection.min_score`` says."""
LOOKING_AHEAD = (0.0, 0.0, 0.0, -0.5, 0.5, -0.5, 0.5)
"""Pose of an optical frame at the robot's origin, looking along its x axis."""
CAMERA_NAME = re.compile(r'[A-Za-z][A-Za-z0-9_]*(/[A-Za-z][A-Za-z0-9_]*)*')
DEVICE = re.compile(r'auto|cpu|(cuda|tensorrt)(:\d+)?')


@dataclass(frozen=True)
class Settings:
    """The parameters of the node, checked; the meaning of each is in ``PARAMETERS``."""

    cameras: tuple[str, ...]
    image_transport: str
    image_reliability: str
    model: str
    engine: str
    device: str
    precision: str
    threads: int
    max_age: float
    max_gap: float
    camera_timeout: float
    inference_timeout: float
    max_pixels: int
    image_range: Limits | None
    input_fit: FitChoice
    input_roi: Roi | None
    outputs: tuple[str, ...]
    output_size: OutputSize
    depth_camera_height: float
    depth_ground_frame: str
    depth_scale: DepthScale
    depth_raw_16u: bool
    depth_organised: bool
    detection_min_score: float
    motion_head: MotionChoice
    motion_min_score: float
    motion_burst: int
    motion_odometry_topic: str
    motion_camera_pose: tuple[float, ...]
    overlay_opacity: float
    rectify: Literal['auto', 'off']
    labels_period: float
    diagnostics_min_rate: float
    diagnostics_max_superseded: float
    diagnostics_max_motion_unknown: float
    diagnostics_max_age: float
    autostart: bool
    strict_parameters: bool


def settings_of(values: Mapping[str, Any]) -> Settings:
    """
    Return the settings.

    :param values: of every parameter by ``Declaration.field``, checked.
    """
    return Settings(**{
        **values, 'cameras': tuple(values['cameras']) or ('',),
        'outputs': tuple(values['outputs']),
        'motion_camera_pose': tuple(values['motion_camera_pose']),
        'image_range': limits_of(values['image_range']),
        'input_roi': roi_of(values['input_roi'])})


def changes(before: Settings, after: Settings) -> str:
    """Return in one line which parameters two settings differ in."""
    def text(settings: Settings, field: str) -> str:
        value = getattr(settings, field)
        return printable('auto' if value is None else str(value), LONGEST_VALUE)

    return ', '.join(
        f'{one.name} is {text(after, one.field)} (was {text(before, one.field)})'
        for one in PARAMETERS
        if getattr(before, one.field) != getattr(after, one.field)) or 'as before'


def _cameras_problem(names: Sequence[str]) -> str:
    if list(names) in ([], ['']):
        return ''
    if len(names) > MOST_CAMERAS:
        return f'{len(names)} names, wanted at most {MOST_CAMERAS}'
    if len(set(names)) < len(names):
        return 'which names one twice'
    wrong = [name for name in names if not CAMERA_NAME.fullmatch(name)]
    if not wrong:
        return ''
    return (f"but {printable(repr(wrong[0]), 40)} cannot be part of a topic's name; wanted "
            'letters, digits and _, starting with a letter')


def is_chosen(topic: Topic, patterns: Sequence[str]) -> bool:
    """Return whether the parameter ``outputs`` names a topic."""
    return any(fnmatchcase(topic.name, pattern) for pattern in patterns)


def _outputs_problem(patterns: Sequence[str]) -> str:
    if list(patterns) == ['']:
        return ''
    names = [topic.name for topic in CHOOSABLE]
    wrong = [pattern for pattern in patterns
             if not any(is_chosen(topic, [pattern]) for topic in CHOOSABLE)]
    if not wrong:
        return ''
    return (f'but {printable(repr(wrong[0]), 40)} is none of the results and pictures'
            f"{nearest_hint(wrong[0], names)}; wanted names such as 'depth/image' or patterns "
            "such as 'depth/*'")


def _model_problem(name: str) -> str:
    return '' if name else 'wanted the name of a shipped model or the path of a file'


def _device_problem(name: str) -> str:
    wanted = 'wanted auto, cpu, cuda, cuda:N, tensorrt or tensorrt:N'
    return '' if DEVICE.fullmatch(name) else wanted


def _roi_problem(numbers: Sequence[int]) -> str:
    try:
        roi_of(numbers)
    except ValueError as error:
        return str(error).partition(', ')[2] if ', wanted' in str(error) else str(error)
    return ''


def _pose_problem(numbers: Sequence[float]) -> str:
    if len(numbers) == 7 and all(map(math.isfinite, numbers)) and any(numbers[3:]):
        return ''
    return 'wanted x, y, z and a quaternion x, y, z, w: seven numbers'


PARAMETERS = (
    Declaration('cameras', [''], "names of the cameras, each a namespace below the node's; an "
                "empty name is one camera in the node's own namespace", check=_cameras_problem),
    Declaration('image_transport', 'raw', 'raw subscribes to image_raw, compressed to '
                'image_raw/compressed', choices=('raw', 'compressed')),
    Declaration('image_reliability', 'auto', 'reliability of the image subscription; auto '
                'matches what the publishers offer',
                choices=('auto', 'reliable', 'best_effort')),
    Declaration('model', DEFAULT_MODEL, 'name of a shipped model or path of a .safetensors or '
                '.onnx file', check=_model_problem),
    Declaration('engine', 'auto', 'library that runs the network; auto takes torch on a GPU, '
                'and on a CPU the fastest that is installed and has the .onnx file of the model, '
                'else torch', choices=ENGINES),
    Declaration('device', 'auto', 'auto, cpu, cuda or cuda:N; engine onnx also has tensorrt and '
                'tensorrt:N', check=_device_problem),
    Declaration('precision', 'fp32', 'number format of the network; auto goes below fp32 only '
                'where mtl calibrate has measured little loss', choices=PRECISIONS),
    Declaration('threads', 0, 'CPU threads of the network; 0 leaves the choice to the engine',
                bounds=(0, 256)),
    Declaration('max_age', 0.0, "drop frames older than this, seconds by the node's clock; "
                '0 = never, as recordings need it that are played without use_sim_time; 0.5 suits '
                'a live camera', bounds=(0.0, 3600.0), dynamic=True),
    Declaration('max_gap', 0.5, 'drop the temporal state if the previous frame is older than '
                'this, seconds between the stamps', bounds=(0.001, 3600.0), dynamic=True),
    Declaration('camera_timeout', 1.0, 'report a camera that sent nothing for this long, seconds',
                bounds=(0.05, 3600.0), dynamic=True),
    Declaration('inference_timeout', 10.0, 'drop a frame that takes longer, seconds; if the '
                'network has not returned after three times as long, the process ends with code '
                '7; three such frames in a row deactivate the node', bounds=(0.1, 3600.0),
                dynamic=True),
    Declaration('max_pixels', MAX_PIXELS, 'refuse larger images before anything is allocated',
                bounds=(1, 2 ** 31), dynamic=True),
    Declaration('image.range', 'auto', 'the numbers that become black and white in images of '
                'more than 8 bits, such as [7000, 8600]; auto finds them in the images and holds '
                'them steady', check=range_problem, also='integer array', dynamic=True),
    Declaration('input.fit', 'squeeze', "how images of another shape are brought to the "
                "network's: squeeze resizes them; crop shows the central part of the right "
                'proportions, the rest is unknown; tiles shows as many such parts as cover the '
                'image, at as many times the cost; auto takes tiles where squeezing would change '
                'the proportions much', choices=CHOICES),
    Declaration('input.roi', [0, 0, 0, 0], 'the only part of the image that counts: x, y, width '
                'and height in its pixels, the rest is unknown; a width and height of 0 = all',
                check=_roi_problem),
    Declaration('outputs', ['*'], 'results and pictures that are published, by their topics such '
                'as depth/image or patterns such as semantic/*; an empty name is none of them. '
                'Labels and depth/camera_info are always there', check=_outputs_problem,
                dynamic=True),
    Declaration('output.size', 'camera', 'size of the outputs: that of the camera image, or that '
                'of the network (less work)', choices=('camera', 'network'), dynamic=True),
    Declaration('depth.camera_height', 0.0, 'height of the cameras above the ground, metres: '
                'one image does not tell the scale of the world; 0 = by the robot, see '
                'depth.ground_frame, else as in training (1.5 m for the shipped models); between '
                'about 1 and 2 m only the scale differs, outside of that models are less accurate',
                bounds=(0.0, 100.0), dynamic=True),
    Declaration('depth.ground_frame', 'base_footprint', 'frame on the ground; without '
                "depth.camera_height, the height of an image's frame above it by tf2 or "
                'robot_description is that of the camera; empty = never'),
    Declaration('depth.scale', 'network', "what the metres stand on: network takes the network's "
                'own, height puts the road that is seen depth.camera_height below the camera, '
                'odometry agrees with the way of the robot by motion.odometry_topic',
                choices=('network', 'height', 'odometry')),
    Declaration('depth.raw_16u', False, 'publish depth/image_raw too: 16UC1 millimetres, '
                '0 = invalid', dynamic=True),
    Declaration('depth.organised', True, 'points has one point for each pixel, NaN where depth is '
                'unknown or sky; false leaves those out', dynamic=True),
    Declaration('detection.min_score', MINIMUM_SCORE, 'lowest score of a box that is published',
                bounds=(LEAST_SCORE, 1.0), dynamic=True),
    Declaration('motion.head', 'auto', "auto takes the model's motion head if it has one, network "
                "the network's own decoder", choices=('auto', 'network')),
    Declaration('motion.min_score', MINIMUM_MOTION_SCORE, 'a pixel moves if its probability of '
                "the motion head is above this, and so does an object on average; the network's "
                'own decoder always takes the likelier of the two', bounds=(0.0, 1.0),
                dynamic=True),
    Declaration('motion.burst', 3, 'frames of a camera that are answered one after the other when '
                'the last one is longer ago than max_gap, so that motion is known in all but the '
                'first; the pauses between become longer. 1 = each camera in turn',
                bounds=(1, 100), dynamic=True),
    Declaration('motion.odometry_topic', '', 'nav_msgs/Odometry of the robot for the motion head, '
                'instead of the estimate from the images; empty = none'),
    Declaration('motion.camera_pose', list(LOOKING_AHEAD), 'x, y, z (metres) '
                "and quaternion x, y, z, w of the cameras' optical frame in the odometry's child "
                'frame; by default as tf2 or robot_description say, else at its origin, looking '
                'ahead', check=_pose_problem),
    Declaration('overlay.opacity', OPACITY, 'opacity of the colours in semantic/overlay, '
                'motion/overlay and instances/overlay; 0 = the image alone, 1 = the colours alone',
                bounds=(0.0, 1.0), dynamic=True),
    Declaration('rectify', 'auto', 'auto turns the images of a lens with strong distortion into '
                'those of a pinhole before the network, and the results back; off never does',
                choices=('auto', 'off')),
    Declaration('labels.period', 10.0, 'repeat the latched label topics this often, seconds; '
                '0 = only on activation', bounds=(0.0, 3600.0), dynamic=True),
    Declaration('diagnostics.min_rate', 2.0, 'warn if fewer frames per second of a camera are '
                'answered, and it sends more; 0 = never', bounds=(0.0, 1000.0), dynamic=True),
    Declaration('diagnostics.max_superseded', 0.9, 'warn if a larger share of the images is '
                'superseded by newer ones; 0 = never', bounds=(0.0, 1.0), dynamic=True),
    Declaration('diagnostics.max_motion_unknown', 0.5, 'warn if motion is unknown in a larger '
                'share of the answers; 0 = never', bounds=(0.0, 1.0), dynamic=True),
    Declaration('diagnostics.max_age', 1.0, 'warn if an answer is older than this, seconds from '
                "the stamp of its image by the node's clock; 0 = never; more than an hour is a "
                'recording and left out', bounds=(0.0, 3600.0), dynamic=True),
    Declaration('autostart', False, 'configure and activate without a lifecycle manager',
                read_only=True),
    Declaration('strict_parameters', False, 'refuse to configure if an unknown parameter was '
                'given', read_only=True),
)
