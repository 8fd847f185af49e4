# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A network on a video: one frame at a time, each encoded once."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtl_perception.models.detection_head import DetectionHead
from mtl_perception.models.fcn8 import FCN8
from mtl_perception.models.siamese import SiameseMultiTaskNetwork

State = tuple[Tensor, ...]
"""
State for the next frame: one (N, (frames - 1) * K, H / t_s, W / t_s) per stage. K is the number of
scores of all tasks, with a pyramid that of its channels, and where the features themselves are
kept that of the stage. The state of a network of one frame is empty.
"""

DEPTH_LOGARITHM_LIMIT = 10.0
"""Depths are clamped to exp(-10) to exp(10) metres, so they are finite and positive."""

SKY_MARGIN = 2.0
"""
Depth is infinite where the score of sky exceeds that of every other class by this margin.

Without it, a wire or a pole that is mistaken for sky would be infinitely far away, although the
depth decoder, which never learns from the sky, has a good depth for it.
"""


class StreamingNetwork(nn.Module):
    """
    Map a camera image and the state of the previous one to ids, depth and the next state.

    FCN8, the detection head, and the pyramid before them, start with a 1x1 convolution over the
    joined features of all frames. It is linear, so it is a sum of one convolution per frame:
    W F = W_cur F(t) + W_prev F(t-1). The state is W_prev F(t), which has a few channels where the
    features have thousands. With it, two frames cost as much as one and give the same result as
    the forward pass on both. With more frames, the state holds for each coming frame the sum of
    the terms that are known already.

    If another decoder, an ASPP or the masks of the tasks read several frames, and in a
    cross-stitch network, the state is the features themselves: each frame is still encoded once.

    The state belongs to one camera, one image size and one set of weights. It always covers all
    tasks, even if only some are asked for.

    :param network: in evaluation mode; shared, not copied.
    :param mean: per-channel RGB mean to subtract, 0 to 255.
    :param std: per-channel RGB standard deviation to divide by, 0 to 255.
    :param sky: id of the semantic class without a depth, -1 for none.
    :param inverse: how depth is encoded, see :class:`mtl_perception.tasks.Task` and
        :func:`metres`.
    :param temperature: the scores of the classes are divided by this before they become
        probabilities.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self, network: SiameseMultiTaskNetwork, mean: Sequence[float], std: Sequence[float],
        sky: int = -1, inverse: float = 0.0, temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.sky = sky
        self.inverse = inverse
        self.temperature = temperature
        deviation = torch.tensor(std, dtype=torch.float32)[:, None, None]
        self.register_buffer('scale', 1 / deviation)
        self.register_buffer(
            'shift', -torch.tensor(mean, dtype=torch.float32)[:, None, None] / deviation)

    def step(
        self, image: Tensor, state: State | None = None, tasks: Collection[str] | None = None,
        first: Tensor | None = None,
    ) -> tuple[dict[str, Tensor], State]:
        """
        Return the outputs for one frame and the state for the next.

        :param image: (N, H, W, 3) uint8 RGB; H and W divisible by the encoder's largest stride.
        :param state: of the previous call; None for the first frame, which then
            stands for its previous frames as well.
        :param tasks: the tasks to compute; all if None. ``semantic_confidence`` with ``semantic``
            asks for the probability of the class too, (N, H, W) float32.
        :param first: bool, where it is true the state is read as None; for a graph whose inputs
            are always there.
        :return: ``semantic`` and ``motion`` (N, H, W) uint8 ids, ``depth`` (N, H, W) float32
            metres, where the network tells it ``height_exponent`` (N, H, W) float32 of depth, see
            :func:`at_height`, ``motion_score`` (N, H, W) float32 probability of moving; with
            ``semantic`` and a class of sky also ``sky`` (N, H, W) bool, see :data:`SKY_MARGIN`;
            ``instance`` (N, 2, H, W) float32 pixels to the centroid of the object, x and y;
            ``detection`` (N, A (5 + C), h, w) float32, see :mod:`mtl_perception.models.boxes`;
            and the state.
        :raises ValueError: if a task is unknown or the state has another size.
        """
        temperature = 0.0
        if tasks is not None and 'semantic_confidence' in tasks:
            tasks = {*tasks} - {'semantic_confidence'}
            temperature = self.temperature
        decoders = dict(self.network.decoders.items())
        wanted = list(decoders) if tasks is None else [task for task in decoders if task in tasks]
        if tasks is not None and (unknown := sorted(set(tasks) - set(decoders))):
            raise ValueError(f'no tasks {unknown}; the tasks of the network are {list(decoders)}')

        # normalisation is part of the graph, so that every engine does it alike
        normalised = image.permute(0, 3, 1, 2) * self.scale + self.shift
        stages = self.network.encode(normalised)

        outputs: dict[str, Tensor] = {}
        pyramid = self.network.pyramid
        linear = {
            task: decoder for task, decoder in decoders.items()
            if isinstance(decoder, FCN8 | DetectionHead)}
        if pyramid is not None:
            # the pyramid's lateral convolutions join the frames
            laterals, following = self._joined(
                {'': (pyramid.lateral, range(len(stages)))}, stages, state, first)
            stages = pyramid.combine(laterals[''])

        elif len(linear) == len(decoders) and self.network.joins_linearly():
            # the decoders' own score convolutions join the frames, in float32 as FCN8 needs it
            with torch.autocast(image.device.type, enabled=False):
                scores, following = self._joined(
                    {task: (decoder.score, decoder.reads) for task, decoder in linear.items()},
                    stages, state, first)
                for task in wanted:
                    output = linear[task].combine(scores[task])
                    outputs.update(task_outputs(
                        task, output, self.sky, self.inverse, temperature))
            return outputs, following

        else:
            # no linear layer comes first: keep the features of the previous frames
            joined, following = self._window(stages, state, first)
            stages = list(self.network.neck(joined)) if wanted else joined

        for task in wanted:
            outputs.update(task_outputs(
                task, decoders[task](self.network.read(task, stages)), self.sky, self.inverse,
                temperature))
        return outputs, following

    def forward(
        self, image: Tensor, state: State | None = None, tasks: Collection[str] | None = None,
        first: Tensor | None = None,
    ) -> tuple[dict[str, Tensor], State]:
        """Call :meth:`step`."""
        return self.step(image, state, tasks, first)

    def _joined(
        self, convolutions: Mapping[str, tuple[nn.ModuleList, Sequence[int]]],
        stages: list[Tensor], state: State | None, first: Tensor | None,
    ) -> tuple[dict[str, list[Tensor]], State]:
        """
        Return the outputs of 1x1 convolutions over all frames, and the state.

        The convolutions of all names and frames are computed as one convolution per stage.

        :param convolutions: name -> 1x1 convolutions over the joined frames, and the index of the
            stage that each of them reads.
        :param stages: features of the current frame.
        :param state: of the previous frame.
        :param first: of :meth:`step`.
        :return: name -> one (N, K, H / t_s, W / t_s) per convolution; and the state.
        """
        joined: dict[str, list[Tensor]] = {name: [] for name in convolutions}
        following: list[Tensor] = []
        for index, stage in enumerate(stages):
            layers = {
                name: cast(nn.Conv2d, stack[reads.index(index)])
                for name, (stack, reads) in convolutions.items() if index in reads}
            if not layers:
                continue

            # Each layer's weight has one part per frame, along its input channels. Stacked along
            # the output channels, frame by frame, one convolution of the current features gives
            # their share in the sum of this frame, of the next one, and so on.
            sizes = [layer.out_channels for layer in layers.values()]
            parts_of = [
                torch.split(layer.weight, stage.shape[1], dim=1) for layer in layers.values()]
            weight = torch.cat([part for frame in zip(*parts_of) for part in frame])
            if not torch.is_autocast_enabled(stage.device.type):
                stage = stage.float()
            total = functional.conv2d(stage, weight)

            if self.network.frames > 1:
                parts = list(torch.split(total, sum(sizes), dim=1))
                if len(parts) == 1:  # frames that are summed share one weight
                    parts *= self.network.frames
                total, known = _advanced(parts, state, len(following), first)
                following.append(known)

            bias = torch.cat([cast(Tensor, layer.bias) for layer in layers.values()])
            total = total + bias[:, None, None]
            for name, part in zip(layers, torch.split(total, sizes, dim=1)):
                joined[name].append(part)
        return joined, tuple(following)

    def _window(
        self, stages: list[Tensor], state: State | None, first: Tensor | None,
    ) -> tuple[list[Tensor], State]:
        """
        Return the joined features of all frames, and the state.

        :param stages: features of the current frame.
        :param state: of the previous frame.
        :param first: of :meth:`step`.
        """
        before = self.network.frames - 1
        if not before:
            return stages, ()

        joined, following = [], []
        for index, stage in enumerate(stages):
            if self.network.aggregation == 'sum':
                total, known = _advanced([stage] * (before + 1), state, index, first)
            else:
                known = _known(state, index, torch.cat([stage] * before, dim=1), first)
                total = torch.cat((stage, known), dim=1)
                # the oldest frame leaves the window
                known = total[:, :before * stage.shape[1]].contiguous()
            joined.append(total)
            following.append(known)
        return joined, tuple(following)


def _advanced(
    parts: Sequence[Tensor], state: State | None, index: int, first: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """
    Return the sum over all frames for the current one, and the known terms of the coming sums.

    :param parts: terms of the current frame in its own sum, in that of the next frame, and so on.
    :param state: of the previous frame; None if all frames before equal the current one.
    :param index: of the stage.
    :param first: where it is true, the state is read as None.
    """
    later = list(parts[1:])

    # if all frames before equal this one, their terms are its own parts
    sums = [torch.stack(later[start:]).sum(0) for start in range(len(later))] if (
        state is None or first is not None) else later
    own = torch.cat(sums, dim=1) if len(sums) > 1 else sums[0]
    known = list(torch.split(_known(state, index, own, first), later[0].shape[1], dim=1))

    # for each coming frame: this frame's part plus the terms known before; the last had none
    following = [part + more for part, more in zip(later, known[1:])] + later[-1:]
    return parts[0] + known[0], torch.cat(following, dim=1)


def _known(
    state: State | None, index: int, own: Tensor, first: Tensor | None,
) -> Tensor:
    """
    Return one stage of a state, or what stands for it where there is none.

    :param state: of the previous frame.
    :param index: of the stage.
    :param own: what the current frame puts in its place, of the same shape.
    :param first: where it is true, the state is read as None.
    :raises ValueError: if the stage has another shape.
    """
    if state is None:
        return own
    found = tuple(state[index].shape) if index < len(state) else None
    wanted = tuple(own.shape)
    if found != wanted:
        raise ValueError(
            f'the state has shape {found}, expected {wanted}; start with state None when '
            'the image size, the batch or the network changes')
    return state[index] if first is None else torch.where(first, own, state[index])


def at_height(output: Tensor, ratio: Tensor | None) -> Tensor:
    """
    Return what a depth decoder says of cameras at other heights than that of its depth.

    The road is twice as far away from twice the height, but a car keeps its size. What a network
    knows of a pixel is a mixture of both, so depth goes with the height to a power of its own, in
    logarithms log d(h) = log d(h0) + e log(h / h0). The second channel is e - 1, because labels of
    streets are divided by h / h0.

    :param output: (B * T, 1 or 2, H, W) float of a depth decoder, T frames of each clip together.
    :param ratio: (B,) float, h / h0 of each clip; None for 1.
    :return: (B * T, 1, H, W) logarithm of metres / (h / h0); the output itself if it has one
        channel.
    """
    if output.shape[1] == 1:
        return output
    depth = output[:, :1]
    if ratio is None:
        return depth
    told = ratio.to(output).log().repeat_interleave(len(output) // len(ratio))
    return depth + output[:, 1:] * told[:, None, None, None]


def metres(output: Tensor, inverse: float = 0.0) -> Tensor:
    """
    Return depth in metres, finite and positive wherever the output is a number.

    :param output: float, of a depth decoder.
    :param inverse: 0 if the output is the logarithm of depth, -1 if it is depth itself, else the
        product of depth and the output, such as focal length times baseline for a disparity.
    """
    if not inverse:
        return output.clamp(-DEPTH_LOGARITHM_LIMIT, DEPTH_LOGARITHM_LIMIT).exp()
    farthest = math.exp(DEPTH_LOGARITHM_LIMIT)
    if inverse < 0:
        return output.clamp(1 / farthest, farthest)
    return inverse / output.clamp(inverse / farthest, inverse * farthest)


def task_outputs(
    task: str, output: Tensor, sky: int, inverse: float = 0.0, temperature: float = 0.0,
) -> dict[str, Tensor]:
    """
    Convert the raw output of a decoder to the outputs of :meth:`StreamingNetwork.step`.

    :param task: name of the task.
    :param output: (N, K, H, W) float32, unnormalised.
    :param sky: id of the semantic class of sky, -1 for none.
    :param inverse: of :func:`metres`.
    :param temperature: of the probability of the class; 0 = it is not computed.
    """
    if task in ('instance', 'detection'):
        return {task: output}
    if task == 'depth':
        outputs = {task: metres(output[:, 0], inverse)}
        if output.shape[1] == 2:
            outputs['height_exponent'] = 1 + output[:, 1]
        return outputs

    # softmax of two scores: P(moving) = sigma(o_1 - o_0)
    if task == 'motion':
        difference = output[:, 1] - output[:, 0]
        return {task: (difference > 0).to(torch.uint8), 'motion_score': difference.sigmoid()}

    ids = output.max(dim=1).indices  # four times as fast as argmax
    outputs = {task: ids.to(torch.uint8)}
    if task == 'semantic' and sky >= 0:
        others = torch.cat((output[:, :sky], output[:, sky + 1:]), dim=1).amax(dim=1)
        outputs['sky'] = output[:, sky] > others + SKY_MARGIN
    if task == 'semantic' and temperature:
        # The largest of a softmax of o / T is 1 / sum(exp((o - max) / T)).
        scores = (output - output.amax(dim=1, keepdim=True)) / temperature
        outputs['semantic_confidence'] = 1 / scores.float().exp().sum(1)
    return outputs
