# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mtl describe``: the parts of a network, their shapes, parameters and operations."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from rich.table import Table
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from mtl_perception.manifest import NetworkSpec
from mtl_perception.models.build import build_network
from mtl_perception.models.papers import published_count
from mtl_perception.models.siamese import SiameseMultiTaskNetwork


@dataclass(frozen=True)
class Part:
    """
    One part of a network.

    :param name: ``encoder``, ``pyramid``, ``aspp``, ``attention``, a task, or ``transfer.TASK``.
    :param shapes: (C, H, W) of what it puts out, one per stage.
    :param parameters: their number.
    :param flops: operations for one frame of a stream, a multiplication and an addition being two.
    :param paper: what a paper prints for it, empty if nothing.
    """

    name: str
    shapes: list[tuple[int, ...]]
    parameters: int
    flops: int
    paper: str = ''


def describe(spec: NetworkSpec, height: int, width: int) -> list[Part]:
    """
    Return the parts of a network, in the order of the data.

    :param spec: the architecture.
    :param height: rows of the image.
    :param width: columns of the image.
    :raises ValueError: if the network cannot be built or does not take the size.
    """
    with FakeTensorMode():  # shapes and counts need neither memory nor time
        return _described(spec, build_network(spec).eval(), torch.zeros(1, 3, height, width))


def _described(
        spec: NetworkSpec, network: SiameseMultiTaskNetwork, image: torch.Tensor) -> list[Part]:
    """Run each part of a network once and return them all."""
    parts: list[Part] = []

    def add(name: str, module: nn.Module, work: Callable[[], Any]) -> Any:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            found = work()
        stages = found if isinstance(found, list) else [found]
        parts.append(Part(
            name, [tuple(stage.shape[1:]) for stage in stages], _parameters(module),
            counter.get_total_flops(), published_count(spec, name)))
        return found

    # in the order of the data: encoder, pyramid or ASPP, masks, decoders, task transfer
    encoder = network.encoder
    stages = add('encoder', encoder, lambda: list(encoder(image)))
    joined = _joined(network, stages)
    for name, between in (('pyramid', network.pyramid), ('aspp', network.aspp)):
        if between is not None:
            joined = add(name, between, lambda: list(between(joined)))  # noqa: B023

    masked = network.attention
    if masked is not None:
        add('attention', masked, lambda: [
            stage for task in network.decoders for stage in masked(task, joined)])

    outputs = {}
    for task, decoder in network.decoders.items():
        own = network.read(task, joined)
        outputs[task] = add(task, decoder, lambda: decoder(own))  # noqa: B023

    if network.transfer is not None:
        for task, source in (('semantic', 'depth'), ('depth', 'semantic')):
            transfer = network.transfer[task]
            add(f'transfer.{task}', transfer, lambda: transfer(outputs[source]))  # noqa: B023
    return parts


def as_json(parts: list[Part], spec: NetworkSpec, height: int, width: int) -> dict[str, Any]:
    """Return the description for machines: ``parameters.total``, ``parameters.encoder``, ..."""
    return {
        'height': height, 'width': width, 'frames': spec.frames,
        'parameters': {
            'total': sum(part.parameters for part in parts),
            **{part.name: part.parameters for part in parts}},
        'flops': {
            'total': sum(part.flops for part in parts),
            **{part.name: part.flops for part in parts}},
        'shapes': {part.name: part.shapes for part in parts},
        'papers': {part.name: part.paper for part in parts if part.paper},
        'paper': published_count(spec, 'total')}


def as_table(
        parts: list[Part], spec: NetworkSpec, name: str, height: int, width: int) -> Table:
    """Return the description for people."""
    frames = f'{spec.frames} frame' + ('s' if spec.frames > 1 else '')
    table = Table(title=f'{name}: {frames} of {width}x{height}')
    for column in ('part', 'output (channels x height x width)'):
        table.add_column(column)
    for column in ('parameters', 'GFLOPs a frame'):
        table.add_column(column, justify='right')
    table.add_column('in the paper')

    for part in parts:
        table.add_row(
            part.name, ', '.join('x'.join(map(str, shape)) for shape in part.shapes),
            f'{part.parameters:,}'.replace(',', ' '), f'{part.flops / 1e9:.2f}', part.paper)

    total = sum(part.parameters for part in parts)
    table.add_section()
    table.add_row(
        'total', '', f'{total:,}'.replace(',', ' '),
        f'{sum(part.flops for part in parts) / 1e9:.2f}', published_count(spec, 'total'))
    return table


def _joined(network: SiameseMultiTaskNetwork, stages: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return the features of all frames, of which only the newest is encoded."""
    if network.frames == 1 or network.aggregation == 'sum':
        return stages
    return [torch.cat([stage] * network.frames, dim=1) for stage in stages]


def _parameters(module: nn.Module) -> int:
    """Return the number of parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())
