# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""An engine on the graph of a step: what is the same for every library that runs graphs."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mtl_perception.frames import Outputs
from mtl_perception.inference.box_selection import select_boxes
from mtl_perception.inference.engine import MINIMUM_SCORE, MotionScorer, Setup, check_image
from mtl_perception.inference.step_graph import SEMANTIC_CONFIDENCE, StepGraph

State = tuple[NDArray[np.float32], ...]


class GraphRunner(Protocol):
    """A graph that a library has loaded."""

    def run(
        self, feeds: Mapping[str, NDArray[Any]], names: Sequence[str],
    ) -> list[NDArray[Any]]:
        """
        Return outputs of the graph.

        :param feeds: every input by its name.
        :param names: of the wanted outputs; the others need not be computed.
        :raises FrameError: if this frame cannot be processed; the next one may succeed.
        :raises DeviceError: if the device was lost.
        """
        ...


class GraphMotionHead:
    """
    A motion head as a graph.

    :param runner: of the graph.
    """

    def __init__(self, runner: GraphRunner) -> None:
        self._runner = runner

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """
        Return the probability of motion in each pixel.

        :param features: (C, h, w) float32 of
            :func:`~mtl_perception.egomotion.residual.motion_features`.
        :return: (h, w) float32, 0 to 1.
        """
        found, = self._runner.run({'features': features[None]}, ['score'])
        scores: NDArray[np.float32] = found[0]
        return scores


class GraphEngine:
    """
    An :class:`mtl_perception.inference.engine.Engine` on the graph of a step.

    :param graph: verified.
    :param runner: of the graph.
    :param motion_head: of the model, None if it has none.
    :param setup: what really runs the graph.
    :param minimum_score: lowest score of a box.
    """

    def __init__(
        self, graph: StepGraph, runner: GraphRunner, motion_head: MotionScorer | None,
        setup: Setup, minimum_score: float = MINIMUM_SCORE,
    ) -> None:
        self.manifest = graph.manifest
        self.motion_head = motion_head
        self.setup = setup
        self.minimum_score = minimum_score
        self.gives_confidence = SEMANTIC_CONFIDENCE in graph.outputs
        self._graph = graph
        self._runner = runner
        self._no_state = tuple(np.zeros(shape, np.float32) for shape in graph.state)

    def step(
        self, image: NDArray[np.uint8], state: Any = None, tasks: Collection[str] | None = None,
    ) -> tuple[Outputs, Any]:
        """
        Return the prediction for a frame and the state for the camera's next frame.

        :param image: (height, width, 3) uint8 RGB, at the size that the manifest names.
        :param state: what the previous frame of the same camera returned, or None.
        :param tasks: names of the tasks to compute; all if None.
        :raises ValueError: if image or state have another size, or the network has no such task.
        :raises FrameError: if this frame cannot be processed; the next one may succeed.
        :raises DeviceError: if the device was lost.
        """
        check_image(image, self.manifest)
        known = list(self._graph.outputs)
        if tasks is not None and (unknown := sorted(set(tasks) - set(known))):
            raise ValueError(f'no tasks {unknown}; the tasks of the network are {known}')
        if tasks is None:
            tasks = [task for task in known if task != SEMANTIC_CONFIDENCE]
        wanted = [task for task in known if task in tasks]

        # without a state the graph is told so, and gets zeros that it does not read
        feeds: dict[str, NDArray[Any]] = {'image': np.ascontiguousarray(image)[None]}
        if self._graph.state:
            feeds['first'] = np.array(state is None)
            stages = self._no_state if state is None else self._checked(state)
            feeds |= {f'state_{index}': stage for index, stage in enumerate(stages)}

        names = self._graph.names(wanted)
        if not names:
            return Outputs(), ()
        found = dict(zip(names, self._runner.run(feeds, names), strict=True))
        following = tuple(found.pop(f'following_{index}') for index in range(len(self._no_state)))
        return self._outputs(found), following

    def _checked(self, state: Any) -> State:
        """Return a state; raise a ValueError if it belongs to another network."""
        for index, shape in enumerate(self._graph.state):
            found = tuple(state[index].shape) if index < len(state) else None
            if found != shape:
                raise ValueError(
                    f'the state has shape {found}, expected {shape}; start with state None when '
                    'the image size, the batch or the network changes')
        return tuple(state)

    def _outputs(self, found: dict[str, NDArray[Any]]) -> Outputs:
        """Return the prediction for the one image of a batch."""
        detection = None
        if 'box_corners' in found:
            detection = select_boxes(
                found.pop('box_corners')[0], found.pop('box_scores')[0], self.manifest.height,
                self.manifest.width, minimum_score=self.minimum_score)
        return Outputs(**{name: value[0] for name, value in found.items()}, detection=detection)
