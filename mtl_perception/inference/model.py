# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A network for Python programs: images in, masks and metres out, without ROS."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtl_perception.frames import Frame, Perception
from mtl_perception.inference.depth_anchor import DepthScale
from mtl_perception.inference.engine import MINIMUM_SCORE, Engine
from mtl_perception.inference.engines import load_engine
from mtl_perception.inference.fit import SQUEEZED, Fit
from mtl_perception.inference.stream import CameraStream, StreamSettings
from mtl_perception.manifest import DEFAULT_MODEL, Manifest
from mtl_perception.media.pictures import read_rgb


class Model:
    """
    A network that is loaded and ready; :func:`.load_model` returns one.

    :param engine: runs the network.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def manifest(self) -> Manifest:
        """Tasks, input size, training and metrics of the network."""
        return self.engine.manifest

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """Class names of each task that has classes; a name's index is its id in the masks."""
        return {task.name: task.classes for task in self.manifest.tasks if task.classes}

    def __call__(
        self, image: str | Path | NDArray[np.uint8], focal_px: float | None = None,
        camera_height: float = 0.0, tasks: Collection[str] | None = None, fit: Fit = SQUEEZED,
    ) -> Perception:
        """
        Return the prediction for one image.

        Motion takes two frames and is None here: use :meth:`stream` for it.

        :param image: a file, or (H, W, 3) uint8 RGB.
        :param focal_px: focal length of the camera, pixels; scales depth. None: that of the
            training camera.
        :param camera_height: of the camera above the ground, metres; scales depth. 0: that of the
            training.
        :param tasks: names of the tasks to compute; all but motion if None.
        :param fit: how an image of another shape is brought to the network's.
        :return: masks and depth at the size of the image.
        :raises DataError: if the file is missing, damaged or not an image.
        :raises ConfigurationError: if ``camera_height`` is given and the height of the training
            is unknown.
        :raises ValueError: if the image is not RGB or the network has no such task.
        """
        if isinstance(image, str | Path):
            image = read_rgb(Path(image))
        if tasks is None:
            tasks = [task.name for task in self.manifest.tasks if task.name != 'motion']

        # A stream of a single frame: the same path as on the robot.
        stream = self.stream(camera_height=camera_height, fit=fit)
        return stream.process(Frame('image', 1, np.asarray(image)), tasks, focal_px=focal_px)

    def stream(
        self, max_gap_s: float = 0.5, camera_height: float = 0.0, fit: Fit = SQUEEZED,
        depth_scale: DepthScale = 'network',
    ) -> CameraStream:
        """
        Return a stream that remembers the previous frame of one camera, for motion.

        Call its :meth:`~mtl_perception.inference.stream.CameraStream.process` for each frame, in
        order. Streams are independent, the network is shared.

        :param max_gap_s: longest time between two frames that may be compared, seconds.
        :param camera_height: of the camera above the ground, metres; 0: that of the training.
        :param fit: how images of another shape are brought to the network's.
        :param depth_scale: what the metres stand on, see :class:`.StreamSettings`.
        """
        return CameraStream(self.engine, StreamSettings(
            max_gap_s, camera_height, fit=fit, depth_scale=depth_scale))


def load_model(
    name_or_path: str | Path = DEFAULT_MODEL, device: str = 'auto', precision: str = 'fp32',
    threads: int = 0, minimum_score: float = MINIMUM_SCORE, engine: str = 'auto',
) -> Model:
    """
    Load a network, verify its weights and run it once.

    :param name_or_path: name of a shipped model, path of a ``.safetensors`` file that has its
        ``.json`` manifest beside it, or path of a ``.onnx`` file.
    :param device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; auto takes CUDA if available.
    :param precision: ``fp32``, ``bf16``, ``fp16``, ``int8`` or ``auto``, as far as the engine has
        them; auto goes below fp32 only where ``mtl calibrate`` has measured little loss.
    :param threads: CPU threads of the network in this process; 0 leaves one CPU to other programs.
    :param minimum_score: lowest score of a box, 0 to 1.
    :param engine: ``auto``, ``torch``, ``onnx`` or ``openvino``; auto takes torch on a GPU,
        on a CPU the fastest that is installed and has a graph of the model, else torch.
    :raises CheckpointError: if the model is missing, which lists the shipped ones, or damaged.
    :raises DeviceError: if this machine does not have the device.
    :raises ConfigurationError: if a setting does not exist.
    """
    return Model(
        load_engine(name_or_path, engine, device, precision, threads, minimum_score))
