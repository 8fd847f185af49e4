# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Streaming gives the same results as the forward pass on both frames."""

import pytest
import torch

from mtl_perception.manifest import NetworkSpec
from mtl_perception.models.build import ENCODERS, build_network
from mtl_perception.models.streaming import SKY_MARGIN, StreamingNetwork, task_outputs

STREET = {'semantic': 12, 'depth': 1, 'motion': 2}
MEAN, STD = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)


@pytest.fixture(autouse=True)
def same_random_numbers():
    torch.manual_seed(0)


def streaming(encoder='resnet10', frames=2, finest_stride=8, pyramid=0, sky=-1):
    """Return a network in the state after a training: varied gains, and statistics that fit."""
    network = build_network(NetworkSpec(encoder, frames, finest_stride, STREET, pyramid))
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.uniform_(-0.5, 0.5)
                layer.momentum = 0.5
        for _ in range(4):  # running statistics that belong to the weights
            network(*torch.randn(frames, 2, 3, 64, 96))
        for score in network.decoders['motion'].score:
            score.bias.uniform_(-1, 1)
    return StreamingNetwork(network, MEAN, STD, sky).eval()


def normalised(image):
    """Return the input of the network, computed with the operations of :meth:`step`."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return image.permute(0, 3, 1, 2) * (1 / std) + -mean / std


def video(frames, batch=1, height=64, width=96):
    return torch.randint(0, 256, (frames, batch, height, width, 3), dtype=torch.uint8)


def check_step(outputs, logits):
    """Check every output of a step against the logits of a forward pass."""
    torch.testing.assert_close(
        outputs['depth'].log(), logits['depth'][:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        outputs['motion_score'], logits['motion'].softmax(1)[:, 1], atol=1e-5, rtol=0)
    for task in ('semantic', 'motion'):
        best = logits[task].topk(2, dim=1).values
        clear = best[:, 0] - best[:, 1] > 1e-5  # else rounding decides
        assert clear.float().mean() > 0.99
        assert torch.equal(outputs[task][clear], logits[task].argmax(1)[clear].to(torch.uint8))


@pytest.mark.parametrize('pyramid', [0, 16])
@pytest.mark.parametrize('finest_stride', [2, 4, 8])
@pytest.mark.parametrize('encoder', ['resnet10', 'resnet50', 'mobilenet_v2', 'efficientnet_lite2'])
def test_a_stream_equals_the_forward_pass_on_both_frames(
        encoder, finest_stride, pyramid):
    network = streaming(encoder, 2, finest_stride, pyramid)
    images = video(4, batch=2)
    state = None
    with torch.inference_mode():
        for index, image in enumerate(images):
            outputs, state = network.step(image, state)
            previous = images[max(index - 1, 0)]  # the first frame is its own predecessor
            check_step(outputs, network.network(normalised(image), normalised(previous)))


@pytest.mark.parametrize('encoder', ENCODERS)
def test_a_stream_of_single_frames_has_no_state(encoder):
    network = streaming(encoder, frames=1)
    with torch.inference_mode():
        for image in video(2):
            outputs, state = network.step(image, None)
            assert state == ()
            check_step(outputs, network.network(normalised(image)))


def test_the_image_is_normalised_inside_the_network():
    image = video(1)[0]
    wanted = (image.float() - torch.tensor(MEAN)) / torch.tensor(STD)

    torch.testing.assert_close(normalised(image), wanted.permute(0, 3, 1, 2), atol=1e-6, rtol=1e-6)


def test_the_outputs_have_the_types_and_shapes_that_are_published():
    outputs, state = streaming().step(video(1, batch=3)[0])

    assert {name: (tuple(value.shape), value.dtype) for name, value in outputs.items()} == {
        'semantic': ((3, 64, 96), torch.uint8), 'depth': ((3, 64, 96), torch.float32),
        'motion': ((3, 64, 96), torch.uint8), 'motion_score': ((3, 64, 96), torch.float32)}
    assert [tuple(stage.shape) for stage in state] == [
        (3, 15, 8, 12), (3, 15, 4, 6), (3, 15, 2, 3)]


def test_with_a_pyramid_the_state_has_its_channels_and_not_those_of_the_encoder():
    _, state = streaming(finest_stride=2, pyramid=16).step(video(1)[0])
    assert [tuple(stage.shape) for stage in state] == [
        (1, 8, 32, 48), (1, 16, 16, 24), (1, 16, 8, 12), (1, 16, 4, 6), (1, 16, 2, 3)]


def test_sky_is_where_no_other_class_has_a_similar_score():
    network = streaming(sky=11)
    bias = network.network.decoders['semantic'].upsample[0].bias
    seen = {}
    for raised in (-1000.0, 0.0, 1000.0):
        with torch.inference_mode():
            before = bias[11].item()
            bias[11] += raised
            outputs, _ = network.step(video(1)[0])
            bias[11] = before
        seen[raised] = outputs['sky'].float().mean().item()
        assert outputs['sky'].shape == outputs['semantic'].shape
        assert (outputs['semantic'][outputs['sky']] == 11).all()

    assert seen[-1000.0] == 0.0
    assert seen[1000.0] == 1.0


def test_a_lead_of_sky_below_the_margin_is_not_sky():
    logits = torch.zeros(1, 12, 1, 3)
    logits[0, 11, 0] = torch.tensor([SKY_MARGIN + 1.1, SKY_MARGIN + 0.9, -1.0])
    logits[0, 4] = 1.0
    outputs = task_outputs('semantic', logits, 11)

    assert outputs['semantic'].tolist() == [[[11, 11, 4]]]
    assert outputs['sky'].tolist() == [[[True, False, False]]]
    assert 'sky' not in task_outputs('semantic', logits, -1)


def test_a_task_that_is_not_asked_for_has_no_output_but_keeps_its_state():
    network = streaming()
    first, second, third = video(3)
    with torch.inference_mode():
        _, every = network.step(first)
        skipped, state = network.step(first, None, ['depth'])
        assert set(skipped) == {'depth'}
        for one, other in zip(every, state, strict=True):
            assert torch.equal(one, other)
        nothing, state = network.step(second, state, ())
        assert nothing == {}
        outputs, _ = network.step(third, state)
        check_step(outputs, network.network(normalised(third), normalised(second)))


def test_a_step_does_not_modify_the_state_it_reads():
    network = streaming()
    first, second = video(2)
    with torch.inference_mode():
        _, state = network.step(first)
        copy = [stage.clone() for stage in state]
        once, _ = network.step(second, state)
        twice, _ = network.step(second, state)

    assert all(torch.equal(one, other) for one, other in zip(state, copy, strict=True))
    assert all(torch.equal(once[name], twice[name]) for name in once)


def test_changed_weights_take_effect_without_a_new_streaming_network():
    network = streaming()
    first, second = video(2)
    with torch.no_grad():
        network.network.decoders['depth'].score[0].weight.mul_(3)
        _, state = network.step(first)
        outputs, _ = network.step(second, state)
        check_step(outputs, network.network(normalised(second), normalised(first)))


def test_depth_is_finite_and_positive_for_extreme_outputs():
    network = streaming()
    for bias in (-1000.0, 1000.0):
        torch.nn.init.constant_(network.network.decoders['depth'].upsample[0].bias, bias)
        depth = network.step(video(1)[0])[0]['depth']
        assert torch.isfinite(depth).all()
        assert (depth > 0).all()


def test_a_state_of_another_size_or_network_is_refused():
    network = streaming()
    _, state = network.step(video(1)[0])

    with pytest.raises(ValueError, match='start with state None'):
        network.step(video(1, height=96)[0], state)
    with pytest.raises(ValueError, match='start with state None'):
        network.step(video(1)[0], state[:2])


def test_an_unknown_task_is_refused_by_name():
    with pytest.raises(ValueError, match=r"no tasks \['depht'\].*'semantic', 'depth', 'motion'"):
        streaming().step(video(1)[0], None, ['depht'])
