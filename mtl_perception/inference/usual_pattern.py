# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
The usual way to run such a network on a robot, for ``mtl benchmark`` to compare with.

What many nodes do, and nothing that is slow on purpose: eager torch in fp32 with gradients off,
the image resized first and in uint8, normalised in float by numpy, both frames of a two-frame
network encoded, and the scores of each task resized to the camera's size before the class is
chosen. It differs from :class:`.CameraStream` on an engine in this: no encoding is kept from frame
to frame, batch normalisation is not folded, ids are chosen at the camera's size, motion is the
network's own decoder, and nothing is checked. The weights are the same.
:mod:`mtl_perception.ros.usual_node` is the node around it.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mtl_perception.errors import ConfigurationError, DeviceError
from mtl_perception.inference.cuda_errors import usable_gpu
from mtl_perception.inference.exact_fp32 import forbid_tf32
from mtl_perception.inference.weights import load_network
from mtl_perception.manifest import Manifest
from mtl_perception.models.streaming import metres
from mtl_perception.reason_codes import ReasonCode

MAPS = ('semantic', 'depth', 'motion')
"""Tasks that this pattern is defined for."""


class UsualPattern:
    """
    A network with the processing around it that people usually write.

    :param model: name of a shipped model or path of a ``.safetensors`` file.
    :param device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; auto takes CUDA if there is one.
    :param threads: CPU threads of torch; 0 leaves its default, which is every core.
    :raises CheckpointError: if the model is missing or damaged.
    :raises DeviceError: if this machine does not have the device, or torch cannot use it.
    :raises ConfigurationError: if the model has other tasks than maps.
    """

    def __init__(self, model: str | Path, device: str = 'auto', threads: int = 0) -> None:
        manifest, network = load_network(model)
        tasks = [task.name for task in manifest.tasks]
        network_tasks = [task for task in network.decoders if task in MAPS]
        if not network_tasks or set(network.decoders) - set(MAPS):
            raise ConfigurationError(
                f'model {manifest.name!r} has the tasks {tasks}; the usual pattern is defined '
                f'for {list(MAPS)} only, so compare another model')

        if threads:
            torch.set_num_threads(threads)
        if device == 'auto':
            device = 'cuda' if torch.cuda.is_available() else 'cpu'
        if device != 'cpu' and not torch.cuda.is_available():
            raise DeviceError(
                f'{device} requested, not available to torch {torch.__version__}; set device to '
                'cpu or auto', ReasonCode.DEVICE_MISSING)

        self.manifest: Manifest = manifest
        self.tasks: Collection[str] = network_tasks
        self.device = torch.device(device)
        if self.device.type == 'cuda':
            forbid_tf32()  # as the engines, so that the same is compared
        with usable_gpu(device):
            self._network = network.to(self.device).eval()
        self._earlier: list[Tensor] = []

    def __call__(self, image: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """
        Return the map of each task at the size of the image.

        :param image: (H, W, 3) uint8 RGB, the next frame of the one camera.
        :return: ``semantic`` and ``motion`` (H, W) uint8 ids, ``depth`` (H, W) float32 metres.
        """
        pixels = self._preprocess(image)
        before = self._network.frames - 1
        earlier = self._earlier or [pixels] * before
        with torch.no_grad():
            outputs = self._network(pixels, *earlier)
            self._earlier = [pixels, *earlier][:before]
            return {task: self._postprocess(task, outputs[task], image) for task in self.tasks}

    def _preprocess(self, image: NDArray[np.uint8]) -> Tensor:
        """Return (1, 3, h, w) float32, normalised, at the network's size."""
        manifest = self.manifest
        small = cv2.resize(image, (manifest.width, manifest.height)).astype(np.float32)
        mean, std = (np.array(values, np.float32) for values in (manifest.mean, manifest.std))
        planes = ((small - mean) / std).transpose(2, 0, 1)
        return torch.from_numpy(np.ascontiguousarray(planes))[None].to(self.device)

    def _postprocess(
        self, task: str, scores: Tensor, image: NDArray[np.uint8],
    ) -> NDArray[Any]:
        """Return ids or metres at the size of the image."""
        size = image.shape[:2]
        if task == 'depth':
            known = self.manifest.task('depth')
            depth = metres(scores, known.inverse if known is not None else 0.0)
            return _array(functional.interpolate(depth, size, mode='bilinear')[0, 0])
        large = functional.interpolate(scores, size, mode='bilinear')
        return _array(large.argmax(1)[0].to(torch.uint8))


def _array(values: Tensor) -> NDArray[Any]:
    """Return a tensor as an array."""
    array: NDArray[Any] = values.cpu().numpy()
    return array
