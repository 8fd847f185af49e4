# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The network run by torch, on the CPU or on a CUDA device."""

import contextlib
import functools
import logging
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl_perception.errors import ConfigurationError, DeviceError, FrameError
from mtl_perception.frames import Detections, Outputs
from mtl_perception.inference.captured_steps import CapturedSteps, Results, Step, Tasks
from mtl_perception.inference.cuda_errors import first_line, gpu_reason, usable_gpu
from mtl_perception.inference.cuda_graphs import CudaGraphs
from mtl_perception.inference.device_copies import to_device, to_host
from mtl_perception.inference.engine import (
    MINIMUM_SCORE,
    MotionScorer,
    Setup,
    check_image,
    check_precision,
    threads_of,
    warm_up,
)
from mtl_perception.inference.exact_fp32 import forbid_tf32
from mtl_perception.inference.motion_head_file import motion_head_of
from mtl_perception.inference.together import Request
from mtl_perception.inference.weights import fuse_batch_norm, load_network
from mtl_perception.manifest import Manifest
from mtl_perception.models.boxes import find_boxes
from mtl_perception.models.detection_head import DetectionHead
from mtl_perception.models.streaming import State, StreamingNetwork
from mtl_perception.reason_codes import ReasonCode

PRECISIONS = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
GRAPHS = 'MTL_PERCEPTION_CUDA_GRAPHS'
"""Environment variable; 0 keeps steps on CUDA from being captured and replayed."""

_log = logging.getLogger(__name__)


class TorchEngine:
    """
    An :class:`mtl_perception.inference.engine.Engine` of torch.

    :param network: with weights; moved to the device and put into evaluation mode.
    :param manifest: of the network.
    :param device: where it runs.
    :param precision: of the encoder: ``fp32``, ``bf16`` or ``fp16``; decoders are always fp32.
    :param minimum_score: lowest score of a box.
    """

    def __init__(
        self, network: StreamingNetwork, manifest: Manifest, device: torch.device,
        precision: str = 'fp32', minimum_score: float = MINIMUM_SCORE,
    ) -> None:
        self.manifest = manifest
        self.minimum_score = minimum_score
        self.device = device
        self.precision = precision
        self.gives_confidence = True
        self.setup = Setup(
            'torch', torch.__version__, str(device), precision, torch.get_num_threads())
        self.motion_head: MotionScorer | None = None
        """Predicts motion from residual flow; None if the model has no such head."""
        self._network = network.to(device).to(memory_format=torch.channels_last).eval()

        # without a reference to this engine: its memory is freed with the last one to it
        self._eager: Step = functools.partial(_eager, self._network, device, precision)
        self._captured: CapturedSteps | None = None
        if _captures(device):
            self._captured = CapturedSteps(self._eager, CudaGraphs(device))

    @classmethod
    def load(
        cls, model: str | Path, device: str = 'auto', precision: str = 'fp32', threads: int = 0,
        minimum_score: float = MINIMUM_SCORE,
    ) -> 'TorchEngine':
        """
        Load a model, verify it, and run it until it is warm.

        :param model: name of a shipped model or path of a ``.safetensors`` file.
        :param device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; auto takes CUDA if torch can use
            it here.
        :param precision: ``fp32``, ``bf16`` or, on CUDA, ``fp16``.
        :param threads: CPU threads of torch in this process; 0 means one less than there are
            CPUs, which leaves one to the rest of the node.
        :param minimum_score: lowest score of a box, 0 to 1.
        :raises CheckpointError: if the model is missing, damaged, foreign or not usable.
        :raises DeviceError: if this machine does not have the device, or torch cannot use it.
        :raises ConfigurationError: if a setting does not exist.
        """
        target = _device(device)
        try:
            return cls._loaded(model, target, precision, threads, minimum_score)
        except DeviceError as error:
            if device != 'auto' or target.type == 'cpu':
                raise
            _log.warning('the network runs on the CPU: %s', error)
        return cls._loaded(model, torch.device('cpu'), precision, threads, minimum_score)

    @classmethod
    def _loaded(
        cls, model: str | Path, target: torch.device, precision: str, threads: int,
        minimum_score: float,
    ) -> 'TorchEngine':
        """Load a model to a device, see :meth:`load`."""
        _check_precision(precision, target)
        torch.set_num_threads(threads_of(threads))
        if target.type == 'cuda':
            forbid_tf32()  # in each precision, because decoders are always fp32

        manifest, network = load_network(model)
        fuse_batch_norm(network.eval())
        semantic = manifest.task('semantic')
        depth = manifest.task('depth')
        streaming = StreamingNetwork(
            network, manifest.mean, manifest.std, semantic.sky if semantic else -1,
            depth.inverse if depth else 0.0, manifest.semantic_temperature)

        with usable_gpu(str(target)):
            engine = cls(streaming, manifest, target, precision, minimum_score)
            warm_up(engine)
        engine.motion_head = motion_head_of(model, manifest)
        return engine

    @property
    def temperature(self) -> float:
        """What the scores of the classes are divided by before they become probabilities."""
        return self._network.temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        self._network.temperature = value
        if self._captured is not None:
            self._captured.forget()  # a graph holds the value that it was made with

    @property
    def gains_by_batches(self) -> bool:
        """Whether a batch is faster than its frames one after the other."""
        return self.device.type == 'cuda'

    def step(
        self, image: NDArray[np.uint8], state: Any = None, tasks: Collection[str] | None = None,
    ) -> tuple[Outputs, Any]:
        """
        Return the prediction for a frame and the state for the camera's next frame.

        :param image: (height, width, 3) uint8 RGB, at the size that the manifest names.
        :param state: what the previous frame of the same camera returned, or None.
        :param tasks: names of the tasks to compute; all if None.
        :raises ValueError: if the image has another size, or the network has no such task.
        :raises FrameError: ``D02_oom`` or ``O07_memory`` if memory ran out.
        :raises DeviceError: ``D03_device`` if the device is lost; restart the process then.
        """
        wanted = None if tasks is None else frozenset(tasks)
        answer, = self.steps([Request(image, state, wanted)])
        return answer

    def steps(self, requests: Sequence[Request]) -> list[tuple[Outputs, Any]]:
        """
        Return what :meth:`step` returns for each request, computed as one batch.

        :param requests: of different cameras, all of the same tasks.
        :raises ValueError: as :meth:`step`, for any of them.
        :raises FrameError: as :meth:`step`; all frames are lost.
        :raises DeviceError: as :meth:`step`.
        """
        for request in requests:
            check_image(request.image, self.manifest)
        try:
            with torch.inference_mode():
                # torch needs memory that it may write to, and the image may be a view of a message
                images = torch.from_numpy(np.stack([request.image for request in requests]))
                state, first = _joined([request.state for request in requests], self.device)
                run = self._captured or self._eager
                outputs, following = run(
                    to_device(images, self.device), state, requests[0].tasks, first)
                found = self._outputs(outputs, len(requests))
                return [(one, tuple(stage[place:place + 1] for stage in following))
                        for place, one in enumerate(found)]

        except MemoryError as error:
            raise FrameError('out of memory', ReasonCode.MEMORY) from error
        except RuntimeError as error:
            if 'allocate memory' in str(error):
                raise FrameError(
                    f'out of memory ({first_line(error)})', ReasonCode.MEMORY) from error
            reason = gpu_reason(error)
            if reason == ReasonCode.DEVICE_MEMORY:
                self._make_room()
                raise FrameError(f'out of device memory ({first_line(error)})', reason) from error

            if reason and self.device.type != 'cpu':
                raise DeviceError(
                    f'the device is lost ({first_line(error)}); start the process again',
                    reason) from error
            raise

    def _make_room(self) -> None:
        """Give memory back to the device after it ran out."""
        if self._captured is not None:
            self._captured.give_up('out of device memory')
        with contextlib.suppress(RuntimeError):  # of torch < 2.12 after a failed capture
            torch.cuda.empty_cache()

    def _outputs(self, outputs: dict[str, Tensor], count: int) -> list[Outputs]:
        """Return the predictions for the images of a batch, as arrays."""
        raw = outputs.get('detection')
        detections: list[Detections | None] = []
        if raw is not None:
            head = cast(DetectionHead, self._network.network.decoders['detection'])
            for boxes in find_boxes(
                    raw, self.manifest.network.anchors, head.stride,
                    minimum_score=self.minimum_score):
                corners, scores, classes = (value.cpu().numpy() for value in boxes)
                detections.append(Detections(corners, scores, classes.astype(np.uint8)))

        arrays = {name: value.numpy() for name, value in to_host({
            name: value for name, value in outputs.items() if name != 'detection'}).items()}
        return [
            Outputs(**{name: value[place] for name, value in arrays.items()},
                    detection=detections[place] if detections else None)
            for place in range(count)]


def _eager(
    network: StreamingNetwork, device: torch.device, precision: str, image: Tensor,
    state: State | None, tasks: Tasks, first: Tensor | None,
) -> Results:
    """Return what a network says of a batch, see :meth:`.StreamingNetwork.step`."""
    context: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if precision != 'fp32':
        # a graph must not read weights from a cache that is gone when it is replayed
        context = torch.autocast(device.type, PRECISIONS[precision], cache_enabled=False)
    with context:
        return network.step(image, state, tasks, first)


def _captures(device: torch.device) -> bool:
    """Return whether the steps of a device are captured."""
    return device.type == 'cuda' and os.environ.get(GRAPHS) != '0'


def _device(name: str) -> torch.device:
    """Return the device of a name; refuse one that this machine does not have."""
    if name == 'auto':
        if not torch.cuda.is_available():
            _log.info('no CUDA device; the network runs on the CPU')
            return torch.device('cpu')
        return torch.device('cuda')

    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ('cpu', 'cuda'):
        raise ConfigurationError(f'device is {name!r}; it must be auto, cpu, cuda or cuda:N')

    if device.type == 'cuda' and not torch.cuda.is_available():
        raise DeviceError(
            f'CUDA requested, not available (torch {torch.__version__} built for CUDA '
            f'{torch.version.cuda or "none"}); set device to cpu or auto',
            ReasonCode.DEVICE_MISSING)
    if device.type == 'cuda' and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f'{name} requested, this machine has {torch.cuda.device_count()} CUDA device(s), '
            'counted from cuda:0', ReasonCode.DEVICE_MISSING)
    return device


def _check_precision(precision: str, device: torch.device) -> None:
    """Refuse a precision that does not exist on the device."""
    if precision == 'fp16' and device.type == 'cpu':
        raise DeviceError(
            'fp16 needs a CUDA device; on the CPU use fp32 or bf16', ReasonCode.DEVICE_MISSING)
    check_precision(precision, PRECISIONS, f'engine torch on device {device}')
    if precision == 'bf16' and device.type == 'cpu' and not cpu_has_bf16():
        _log.warning('this CPU only emulates bf16, which is many times slower than fp32; set '
                     'precision to fp32')


def cpu_has_bf16() -> bool:
    """Return whether this CPU computes in bfloat16 itself."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _joined(
    states: Sequence[Any], device: torch.device,
) -> tuple[State | None, Tensor | None]:
    """
    Return the states of several cameras as one, and which of them are to be read as None.

    :param states: each as :meth:`TorchEngine.step` returned it, or None.
    :param device: of the states.
    """
    known = [state for state in states if state is not None]
    if len(states) == 1 or not known:
        return states[0], None

    blank = tuple(torch.zeros_like(stage) for stage in known[0])
    stages = zip(*(blank if state is None else state for state in states), strict=True)
    joined = tuple(torch.cat(stage) for stage in stages)
    if len(known) == len(states):
        return joined, None
    first = torch.tensor([state is None for state in states], device=device)
    return joined, first[:, None, None, None]
