# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""MultiNet++: parameter counts, shapes, gradients and refused settings."""

import itertools
import math

import pytest
import torch
from torch.nn import functional

from mtl_perception.manifest import NetworkSpec
from mtl_perception.models.build import ENCODERS, build_network
from mtl_perception.models.fcn8 import FCN8, BilinearUpsample
from mtl_perception.models.pyramid import FeaturePyramid
from mtl_perception.preprocessing import check_size

STREET = {'semantic': 12, 'depth': 1, 'motion': 2}


@pytest.fixture(autouse=True)
def same_random_numbers():
    torch.manual_seed(0)


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope='module')
def resnet50():
    return ENCODERS['resnet50']()


def test_the_encoders_have_the_published_parameters(resnet50):
    assert parameters(ENCODERS['resnet10']()) == 4_905_792
    assert parameters(ENCODERS['resnet18']()) == 11_176_512
    assert parameters(resnet50) == 23_508_032


def test_keras_counts_running_statistics_and_biases_of_convolutions(resnet50):
    statistics = sum(
        buffer.numel() for name, buffer in resnet50.named_buffers() if 'running' in name)
    biases = sum(
        layer.out_channels for layer in resnet50.modules() if isinstance(layer, torch.nn.Conv2d))

    assert parameters(resnet50) + statistics + biases == 23_587_712


def test_a_small_network_has_the_number_of_parameters_of_the_formula():
    # Leang et al.: FCN8 on 128, 256 and 512 channels with four classes
    network = build_network(NetworkSpec('resnet10', 1, 8, {'semantic': 4}))

    assert parameters(network.decoders) == 8_216

    with_stride_four = build_network(NetworkSpec('resnet10', 1, 4, {'semantic': 4}))

    assert parameters(with_stride_four.decoders) == 960 * 4 + 112 * 16 + 8 * 4


@pytest.mark.parametrize('encoder', ENCODERS)
@pytest.mark.parametrize('finest_stride', [2, 4, 8])
@pytest.mark.parametrize('frames', [1, 2])
def test_every_output_has_the_size_of_the_image(encoder, finest_stride, frames):
    network = build_network(NetworkSpec(encoder, frames, finest_stride, STREET)).eval()
    with torch.inference_mode():
        outputs = network(*torch.randn(frames, 3, 3, 32, 64))  # an odd batch, not square

    assert {task: tuple(output.shape) for task, output in outputs.items()} == {
        'semantic': (3, 12, 32, 64), 'depth': (3, 1, 32, 64), 'motion': (3, 2, 32, 64)}


@pytest.mark.parametrize('finest_stride', [2, 4, 8])
def test_the_stages_have_the_declared_strides_and_channels(finest_stride):
    encoder = ENCODERS['resnet50'](finest_stride)
    with torch.inference_mode():
        stages = encoder.eval()(torch.zeros(1, 3, 64, 96))

    assert [tuple(stage.shape) for stage in stages] == [
        (1, channels, 64 // stride, 96 // stride)
        for stride, channels in zip(encoder.strides, encoder.channels, strict=True)]
    assert encoder.channels[-3:] == (512, 1024, 2048)


@pytest.mark.parametrize('encoder', ['resnet10', 'resnet50'])
@pytest.mark.parametrize(
    ('frames', 'finest_stride', 'pyramid'),
    [(1, 8, 0), (2, 2, 0), (2, 4, 0), (2, 8, 0), (1, 8, 16), (2, 2, 16)])
def test_every_parameter_gets_a_finite_nonzero_gradient(
        encoder, frames, finest_stride, pyramid):
    network = build_network(NetworkSpec(encoder, frames, finest_stride, STREET, pyramid))
    outputs = network(*torch.randn(frames, 2, 3, 64, 96))
    sum((output * torch.randn_like(output)).sum() for output in outputs.values()).backward()

    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_a_detached_task_learns_without_changing_the_features():
    network = build_network(NetworkSpec('resnet10', 2, 2, STREET, 16))
    features = [network.encode(image) for image in torch.randn(2, 2, 3, 64, 96)]
    outputs = network.decode(*features, detached=['motion'])
    outputs['motion'].square().sum().backward(retain_graph=True)

    assert all(item.grad is None for item in network.encoder.parameters())
    assert all(item.grad is None for item in network.pyramid.parameters())
    assert all(item.grad.abs().max() > 0 for item in network.decoders['motion'].parameters())

    outputs['depth'].square().sum().backward()

    assert network.encoder.conv1.weight.grad.abs().max() > 0

    free = network.decode(*features)

    torch.testing.assert_close(free['motion'], outputs['motion'])


def test_the_pyramid_passes_the_coarsest_stage_down_to_the_finest():
    pyramid = FeaturePyramid([8, 8, 8], 8, 4).eval()
    stages = [torch.zeros(1, 8, size, size) for size in (16, 8, 4)]
    calm = pyramid(stages)
    stages[2][0, :, 0, 0] = 5.0
    changed = [(one - other).abs().amax(dim=(0, 1)) > 0
               for one, other in zip(pyramid(stages), calm, strict=True)]

    assert changed[2].any()
    assert changed[0][:4, :4].any()  # below the pixel that changed
    assert not changed[0][15, 15]
    assert [tuple(stage.shape) for stage in calm] == [(1, 4, 16, 16), (1, 4, 8, 8), (1, 4, 4, 4)]


def test_a_pyramid_at_stride_two_is_half_as_wide_there():
    assert FeaturePyramid([64, 64, 128], 2, 32).channels == (16, 32, 32)
    with pytest.raises(ValueError, match='it must be even'):
        FeaturePyramid([64, 64], 4, 33)


@pytest.mark.parametrize('pyramid', [0, 16])
def test_the_forward_pass_equals_encoding_and_decoding(pyramid):
    network = build_network(NetworkSpec('resnet10', 2, 8, STREET, pyramid)).eval()
    image, previous = torch.randn(2, 2, 3, 64, 96)
    with torch.inference_mode():
        whole = network(image, previous)
        parts = network.decode(network.encode(image), network.encode(previous))

    for task in STREET:
        torch.testing.assert_close(whole[task], parts[task], atol=1e-5, rtol=0)


def test_the_two_frames_are_not_interchangeable():
    network = build_network(NetworkSpec('resnet10', 2, 8, STREET)).eval()
    image, previous = torch.randn(2, 1, 3, 64, 96)
    with torch.inference_mode():
        forth, back = network(image, previous), network(previous, image)

    assert all((forth[task] - back[task]).abs().max() > 1e-3 for task in STREET)


def test_in_training_both_frames_share_the_batch_statistics():
    network = build_network(NetworkSpec('resnet10', 2, 8, {'depth': 1})).train()
    bright, dark = torch.full((1, 3, 64, 96), 4.0), torch.zeros(1, 3, 64, 96)
    network(bright, dark)

    assert network.encoder.bn1.num_batches_tracked == 1


@pytest.mark.parametrize('factor', [2, 4, 8])
def test_upsampling_starts_as_bilinear_interpolation_up_to_the_border(factor):
    upsample = BilinearUpsample(3, factor)
    values = torch.randn(2, 3, 5, 4)
    wanted = functional.interpolate(values, scale_factor=factor, mode='bilinear')

    torch.testing.assert_close(upsample(values), wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize('finest_stride', [2, 4, 8])
def test_a_constant_score_map_stays_constant_up_to_the_border(finest_stride):
    strides = [stride for stride in (2, 4, 8, 16, 32) if stride >= finest_stride]
    decoder = FCN8([2 * stride for stride in strides], 2, finest_stride)
    scores = [torch.full((1, 2, 64 // stride, 96 // stride), 0.5) for stride in strides]
    output = decoder.combine(scores)

    torch.testing.assert_close(output, torch.full((1, 2, 64, 96), 0.5 * len(strides)))


def test_a_trained_kernel_keeps_the_phases_of_its_stride_up_to_the_border():
    upsample = BilinearUpsample(1, 8)
    torch.nn.init.normal_(upsample.weight)
    output = upsample(torch.ones(1, 1, 3, 4))[0, 0].reshape(3, 8, 4, 8)

    torch.testing.assert_close(output, output[:1, :, :1].expand(3, 8, 4, 8))


def test_an_untrained_network_predicts_depths_around_ten_metres():
    network = build_network(NetworkSpec('resnet18', 2, 8, STREET)).eval()
    with torch.inference_mode():
        depth = network(*torch.randn(2, 2, 3, 64, 96))['depth'].exp()

    assert 3 < depth.median() < 30


@pytest.mark.parametrize('encoder', ['resnet10', 'resnet50'])
@pytest.mark.parametrize('finest_stride', [2, 4, 8])
def test_gradients_under_bfloat16_autocast_agree_with_float32(encoder, finest_stride):
    network = build_network(NetworkSpec(encoder, 2, finest_stride, STREET)).eval()
    image = torch.randn(1, 3, 64, 96)

    def gradients(enabled):
        network.zero_grad()
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            stages = [stage.detach().requires_grad_() for stage in network.encode(image)]
            outputs = network.decode(stages, stages)
        assert all(output.dtype == torch.float32 for output in outputs.values())
        sum(output.square().mean() for output in outputs.values()).backward()
        return [stage.grad.flatten() for stage in stages] + [
            parameter.grad.flatten() for parameter in network.decoders.parameters()]

    for wanted, found in zip(gradients(False), gradients(True), strict=True):
        cosine = functional.cosine_similarity(wanted, found.float(), dim=0)
        assert cosine > 0.98
        assert 0.8 < found.norm() / wanted.norm() < 1.25


@pytest.mark.parametrize('pyramid', [0, 16])
@pytest.mark.parametrize('encoder', ['resnet10', 'resnet18'])  # deeper ones amplify rounding
def test_the_encoder_learns_the_same_under_bfloat16_autocast(encoder, pyramid):
    network = build_network(NetworkSpec(encoder, 2, 8, STREET, pyramid)).train()
    images = torch.randn(2, 2, 3, 64, 96)

    def gradient(enabled):
        network.zero_grad()
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            outputs = network(*images)
        sum(output.square().mean() for output in outputs.values()).backward()
        return torch.cat([value.grad.flatten() for value in network.encoder.parameters()])

    assert functional.cosine_similarity(gradient(False), gradient(True), dim=0) > 0.85


def test_a_state_dict_survives_a_round_trip():
    spec = NetworkSpec('resnet10', 2, 4, STREET)
    first, second = build_network(spec).eval(), build_network(spec).eval()
    images = torch.randn(2, 1, 3, 32, 32)

    assert not torch.equal(first(*images)['depth'], second(*images)['depth'])

    second.load_state_dict(first.state_dict())

    assert torch.equal(first(*images)['depth'], second(*images)['depth'])


def test_the_weights_of_a_classifier_fit_without_its_last_layer():
    from torchvision.models import resnet18
    weights = {
        name: value for name, value in resnet18().state_dict().items()
        if not name.startswith('fc.')}

    assert ENCODERS['resnet18']().load_state_dict(weights).missing_keys == []


@pytest.mark.parametrize(('spec', 'message'), [
    (NetworkSpec('ResNet-50', 2, 8, STREET), "did you mean 'resnet50'"),
    (NetworkSpec('resnet10', 0, 8, STREET), 'frames is 0; it must be a whole number from 1'),
    (NetworkSpec('resnet10', 2, 16, STREET), 'finest_stride is 16; it must be 2, 4 or 8'),
    (NetworkSpec('resnet10', 2, 8, {}), 'name at least one task'),
    (NetworkSpec('resnet10', 2, 8, {'semantic': 256}), 'from 1 to 255'),
    (NetworkSpec('resnet10', 2, 8, {'semantic': 1.5}), 'from 1 to 255'),
    (NetworkSpec('resnet10', 2, 8, {'depth': 3}), 'depth.*must be 1 or 2'),
    (NetworkSpec('resnet10', 2, 8, {'motion': 3}), 'motion.*must be 2'),
])
def test_an_impossible_spec_is_refused_with_the_setting(spec, message):
    with pytest.raises(ValueError, match=message):
        build_network(spec)


@pytest.mark.parametrize(('size', 'nearest'), [
    ((240, 384), '256 x 384'), ((224, 380), '224 x 384'), ((7, 384), '32 x 384'),
    ((375, 1242), '384 x 1248'),
])
def test_a_size_that_does_not_fit_is_refused_with_the_nearest_that_does(size, nearest):
    network = build_network(NetworkSpec('resnet10', 1, 8, {'depth': 1}))

    with pytest.raises(ValueError, match=f'nearest that fits is {nearest}'):
        network(torch.zeros(1, 3, *size))
    with pytest.raises(ValueError, match=f'{size[0]} x {size[1]}'):
        check_size(*size)


@pytest.mark.parametrize('frames', [1, 2])
def test_the_wrong_number_of_frames_is_refused(frames):
    network = build_network(NetworkSpec('resnet10', frames, 8, {'depth': 1}))
    images = torch.zeros(3 - frames, 1, 3, 32, 32)

    with pytest.raises(ValueError, match=f'takes {frames} frame'):
        network(*images)


def test_depth_is_the_only_output_with_a_nonzero_initial_bias():
    network = build_network(NetworkSpec('resnet10', 1, 8, STREET))
    biases = {
        task: decoder.upsample[0].bias.detach().tolist()
        for task, decoder in network.decoders.items()}

    assert biases['depth'] == pytest.approx([math.log(10)])
    assert set(itertools.chain(biases['semantic'], biases['motion'])) == {0.0}
