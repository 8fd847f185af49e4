# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Specs of the networks of the four papers, and of some new combinations."""

import torch

from mtl_perception.manifest import NetworkSpec

MEAN, STD = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)
ANCHORS = [[0.05, 0.1], [0.1, 0.1], [0.2, 0.2], [0.1, 0.4], [0.5, 0.5]]
STREET = {'semantic': 12, 'depth': 1, 'motion': 2}


def multinetpp(channels, frames=2, encoder='resnet50', **words):
    return NetworkSpec(encoder, frames, 8, channels, **words)


def kendall(classes=19, encoder='resnet101', **words):
    channels = {'semantic': classes, 'instance': 2, 'depth': 1}
    return NetworkSpec(
        encoder, 1, 8, channels, decoders=dict.fromkeys(channels, 'two_layer'), output_stride=8,
        aspp=256, **words)


def leang(encoder='resnet10', frames=1, **words):
    return NetworkSpec(
        encoder, frames, 8, {'semantic': 4, 'detection': 3}, anchors=ANCHORS, **words)


def xtasc(classes=7, encoder='resnet34', transfer=True, tasks=('semantic', 'depth')):
    channels = {'semantic': classes, 'depth': 1}
    return NetworkSpec(
        encoder, 1, 2, {task: channels[task] for task in tasks},
        decoders=dict.fromkeys(tasks, 'unet'), transfer=transfer)


PAPERS = {
    'multinetpp': multinetpp({'semantic': 20, 'depth': 1, 'motion': 2}),
    'kendall': kendall(),
    'leang': leang(),
    'xtasc': xtasc(),
}
COMPOSED = {
    'five tasks, two frames, pyramid': NetworkSpec(
        'resnet18', 2, 4, {**STREET, 'instance': 2, 'detection': 3}, 32,
        {'detection': 'yolo16', 'instance': 'two_layer', 'depth': 'unet'}, anchors=ANCHORS),
    'semantics and boxes, two frames': leang(frames=2),
    'three frames': multinetpp(STREET, 3, 'resnet10'),
    'four frames, boxes at stride 8, pyramid': NetworkSpec(
        'resnet10', 4, 8, {'semantic': 4, 'detection': 3}, 16, {'detection': 'yolo8'},
        anchors=ANCHORS),
    'sum of three frames': multinetpp(STREET, 3, 'resnet10', aggregation='sum'),
    'sum of two frames, U-Net': NetworkSpec(
        'resnet10', 2, 2, {'depth': 1}, decoders={'depth': 'unet'}, aggregation='sum'),
    'three frames, U-Net beside FCN8': NetworkSpec(
        'resnet10', 3, 4, STREET, decoders={'depth': 'unet'}),
    'ASPP on two frames': NetworkSpec(
        'resnet18', 2, 8, STREET, decoders={'semantic': 'two_layer'}, output_stride=16, aspp=32),
    'cross-stitch, two frames, U-Net beside FCN8': NetworkSpec(
        'resnet10', 2, 4, STREET, decoders={'depth': 'unet'}, decoder_width=16,
        sharing='cross_stitch'),
    'cross-stitch, sum of two frames of MobileNetV2': NetworkSpec(
        'mobilenet_v2', 2, 8, STREET, aggregation='sum', sharing='cross_stitch'),
    'MTAN, two frames': NetworkSpec('resnet10', 2, 4, STREET, sharing='mtan'),
    'MTAN, five tasks, two frames, pyramid': NetworkSpec(
        'resnet10', 2, 4, {**STREET, 'instance': 2, 'detection': 3}, 32,
        {'detection': 'yolo16', 'instance': 'two_layer', 'depth': 'unet'}, anchors=ANCHORS,
        sharing='mtan'),
    'mobile': NetworkSpec('mobilenet_v2', 2, 4, STREET, 32),
    'efficient': NetworkSpec('efficientnet_lite0', 1, 2, STREET, 32),
    'mobile, no pyramid': NetworkSpec('mobilenet_v2', 1, 2, STREET),
}


def settle(network, height=64, width=96):
    """Put a network into the state after a training: varied gains and matching statistics."""
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.uniform_(-0.5, 0.5)
                layer.momentum = 0.5
        for _ in range(3):
            network.train()(*torch.randn(network.frames, 2, 3, height, width))
    return network.eval()
