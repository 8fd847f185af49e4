# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Properties of every network, of a paper or composed of the papers' parts."""

import pytest
import torch
from paper_networks import COMPOSED, MEAN, PAPERS, STD, kendall, multinetpp, settle, xtasc
from torch import nn

from mtl_perception.manifest import NetworkSpec
from mtl_perception.models.aspp import ASPP
from mtl_perception.models.build import ENCODERS, build_network
from mtl_perception.models.siamese import AGGREGATIONS
from mtl_perception.models.streaming import StreamingNetwork

EVERY = {**PAPERS, **COMPOSED}


@pytest.fixture(autouse=True)
def same_random_numbers():
    torch.manual_seed(0)


def wanted_shape(spec, network, task, height, width):
    if task == 'detection':
        stride = network.decoders[task].stride
        count = len(spec.anchors) * (5 + spec.channels[task])
        return 3, count, height // stride, width // stride
    return 3, spec.channels[task], height, width


@pytest.mark.parametrize('name', EVERY)
def test_an_odd_batch_that_is_not_square_gives_a_finite_gradient_to_every_parameter(name):
    spec = EVERY[name]
    network = build_network(spec).train()
    outputs = network(*torch.randn(spec.frames, 3, 3, 32, 64))

    assert {task: tuple(output.shape) for task, output in outputs.items()} == {
        task: wanted_shape(spec, network, task, 32, 64) for task in spec.channels}

    if spec.transfer:
        outputs.update({
            f'transferred {task}': output
            for task, output in network.transferred(outputs).items()})
    total = sum((output * torch.randn_like(output)).sum() for output in outputs.values())
    total.backward()

    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


@pytest.mark.parametrize('name', EVERY)
def test_each_task_alone_gives_a_gradient_to_encoder_and_own_decoder_and_to_no_other(name):
    spec = EVERY[name]
    network = build_network(spec).train()
    outputs = network(*torch.randn(spec.frames, 2, 3, 32, 64))
    for task, output in outputs.items():
        network.zero_grad(set_to_none=True)
        (output * torch.randn_like(output)).sum().backward(retain_graph=True)
        for module in (network.encoder, network.decoders[task]):
            for parameter_name, parameter in module.named_parameters():
                assert parameter.grad is not None, (task, parameter_name)
                assert torch.isfinite(parameter.grad).all(), (task, parameter_name)
                assert parameter.grad.abs().max() > 0, (task, parameter_name)
        reached = {
            other for other, decoder in network.decoders.items()
            if any(parameter.grad is not None for parameter in decoder.parameters())}
        assert reached == {task}


def check_step(outputs, logits):
    """Check every output of a step against that of a forward pass."""
    for task, wanted in logits.items():
        if task in ('instance', 'detection'):
            found = outputs[task]
        elif task == 'depth':
            found, wanted = outputs[task].log(), wanted[:, 0]
        elif task == 'motion':
            found, wanted = outputs['motion_score'], wanted.softmax(1)[:, 1]
        else:
            best = wanted.topk(2, dim=1).values
            clear = best[:, 0] - best[:, 1] > 1e-5  # else rounding decides
            assert torch.equal(outputs[task][clear], wanted.argmax(1)[clear].to(torch.uint8))
            assert clear.float().mean() > 0.99
            continue
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('name', EVERY)
def test_a_stream_equals_the_forward_pass_on_all_frames(name):
    network = settle(build_network(EVERY[name]))
    stream = StreamingNetwork(network, MEAN, STD).eval()
    images = torch.randint(0, 256, (4, 1, 32, 64, 3), dtype=torch.uint8)
    state = None
    with torch.inference_mode():
        for index, image in enumerate(images):
            outputs, state = stream.step(image, state)
            window = [images[max(index - back, 0)] for back in range(network.frames)]
            check_step(outputs, network(*(
                frame.permute(0, 3, 1, 2) * stream.scale + stream.shift for frame in window)))
            assert bool(state) == (network.frames > 1)


@pytest.mark.parametrize('name', [name for name in COMPOSED if COMPOSED[name].frames > 1])
def test_the_state_does_not_depend_on_the_tasks_that_are_asked_for(name):
    stream = StreamingNetwork(settle(build_network(COMPOSED[name])), MEAN, STD).eval()
    first, second = torch.randint(0, 256, (2, 1, 32, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        _, before = stream.step(first)
        outputs, state = stream.step(second, before)
        nothing, same = stream.step(second, before, ())

    assert nothing == {}
    assert outputs
    assert all(torch.equal(one, other) for one, other in zip(state, same, strict=True))
    with pytest.raises(ValueError, match='start with state None'):
        stream.step(torch.zeros(1, 64, 64, 3, dtype=torch.uint8), state)


def test_the_state_holds_scores_where_the_join_is_linear_and_features_elsewhere():
    def kept(name):
        stream = StreamingNetwork(build_network(COMPOSED[name]), MEAN, STD).eval()
        with torch.inference_mode():
            state = stream.step(torch.zeros(1, 32, 64, 3, dtype=torch.uint8))[1]
        return [stage.shape[1] for stage in state]

    assert kept('three frames') == [2 * 15] * 3
    assert kept('sum of three frames') == [2 * 15] * 3
    assert kept('semantics and boxes, two frames') == [4, 4, 4 + 40]
    assert kept('four frames, boxes at stride 8, pyramid') == [3 * 16] * 3
    assert kept('three frames, U-Net beside FCN8') == [2 * 64, 2 * 128, 2 * 256, 2 * 512]
    assert kept('sum of two frames, U-Net') == [64, 64, 128, 256, 512]
    assert kept('ASPP on two frames') == [128, 512]
    assert kept('cross-stitch, two frames, U-Net beside FCN8') == 3 * [64, 128, 256, 512]
    assert kept('MTAN, two frames') == [64, 128, 256, 512]
    assert kept('MTAN, five tasks, two frames, pyramid') == [32] * 4


@pytest.mark.parametrize('encoder', [name for name in ENCODERS if name.startswith('resnet')])
@pytest.mark.parametrize('output_stride', [8, 16])
def test_dilation_keeps_the_strided_features_and_adds_others(encoder, output_stride):
    strided = ENCODERS[encoder]().eval()
    dilated = ENCODERS[encoder](8, output_stride).eval()
    dilated.load_state_dict(strided.state_dict())

    assert dilated.strides == tuple(s for s in (8, 16, 32) if s <= output_stride)

    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        wanted, found = strided(image)[-1], dilated(image)[-1]

    assert found.shape[1:] == (dilated.channels[-1], 64 // output_stride, 96 // output_stride)

    step = 32 // output_stride
    largest = float(wanted.abs().max())

    torch.testing.assert_close(found[..., ::step, ::step], wanted, atol=1e-5 * largest, rtol=0)


@pytest.mark.parametrize('encoder', ENCODERS)
def test_one_stage_per_stride_is_returned_with_the_declared_channels(encoder):
    stages = ENCODERS[encoder](2).eval()(torch.zeros(1, 3, 64, 96))
    assert [tuple(stage.shape[1:]) for stage in stages] == [
        (channels, 64 // stride, 96 // stride)
        for stride, channels in zip((2, 4, 8, 16, 32), ENCODERS[encoder](2).channels, strict=True)]


@pytest.mark.parametrize(('spec', 'size', 'nearest'), [
    (kendall(4, 'resnet18'), (60, 97), '64 x 96'),
    (xtasc(4, 'resnet18'), (48, 81), '64 x 96'),
    (NetworkSpec('mobilenet_v2', 1, 8, {'depth': 1}), (375, 1242), '384 x 1248'),
])
def test_a_size_that_does_not_fit_is_refused_with_the_nearest_that_does(spec, size, nearest):
    network = build_network(spec).eval()
    with pytest.raises(ValueError, match=f'nearest that fits is {nearest}'):
        network(torch.zeros(1, 3, *size))


def test_a_dilated_network_accepts_multiples_of_its_output_stride():
    network = build_network(kendall(4, 'resnet18')).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 40, 72))['depth'].shape == (1, 1, 40, 72)


def test_aspp_refuses_to_train_on_one_image_with_the_reason():
    aspp = ASPP(8, 4)

    with pytest.raises(ValueError, match='batch of 2 or more'):
        aspp([torch.randn(1, 8, 4, 4)])
    assert aspp.eval()([torch.randn(1, 8, 4, 4)])[0].shape == (1, 20, 4, 4)


def test_the_image_mean_of_aspp_is_the_same_everywhere():
    found = ASPP(8, 4).eval()([torch.randn(2, 8, 5, 6)])[0][:, 16:]
    assert torch.equal(found, found[..., :1, :1].expand_as(found))


@pytest.mark.parametrize('name', ['kendall', 'xtasc', 'multinetpp'])
def test_an_untrained_network_of_a_paper_predicts_depths_around_ten_metres(name):
    network = build_network(PAPERS[name]).train()
    with torch.inference_mode():
        depth = network(*torch.randn(network.frames, 2, 3, 32, 64))['depth'].exp()

    assert 3 < depth.median() < 30


@pytest.mark.parametrize('name', ['five tasks, two frames, pyramid', 'ASPP on two frames'])
def test_outputs_are_float32_under_bfloat16_autocast(name):
    network = settle(build_network(COMPOSED[name]))
    with torch.inference_mode(), torch.autocast('cpu', torch.bfloat16):
        outputs = network(*torch.randn(2, 1, 3, 32, 64))
        stream = StreamingNetwork(network, MEAN, STD)
        image = torch.randint(0, 256, (1, 32, 64, 3), dtype=torch.uint8)
        found, _ = stream.step(image, stream.step(image)[1])

    assert {output.dtype for output in outputs.values()} == {torch.float32}
    assert found['depth'].dtype == torch.float32


def test_task_transfer_reads_log_probabilities_and_raw_depth_and_passes_gradients():
    network = build_network(xtasc(4, 'resnet18')).eval()
    outputs = {'semantic': torch.randn(1, 4, 16, 24, requires_grad=True),
               'depth': torch.randn(1, 1, 16, 24, requires_grad=True)}
    transferred = network.transferred(outputs)

    assert {task: tuple(value.shape) for task, value in transferred.items()} == {
        'semantic': (1, 4, 16, 24), 'depth': (1, 1, 16, 24)}

    shifted = network.transferred({**outputs, 'semantic': outputs['semantic'] + 5})

    torch.testing.assert_close(shifted['depth'], transferred['depth'])

    sum(value.square().sum() for value in transferred.values()).backward()

    assert all(output.grad.abs().max() > 0 for output in outputs.values())


def test_aggregations_of_hand_computed_features():
    frames = [[torch.full((1, 1, 1, 1), value)] for value in (1.0, 2.0, 4.0)]

    assert AGGREGATIONS['sum'](frames)[0].flatten().tolist() == [7.0]
    assert AGGREGATIONS['concatenate'](frames)[0].flatten().tolist() == [1.0, 2.0, 4.0]


def test_only_concatenation_depends_on_the_order_of_frames():
    frames = torch.randn(3, 1, 3, 32, 64)
    for aggregation, same in (('sum', True), ('concatenate', False)):
        network = settle(
            build_network(multinetpp({'motion': 2}, 3, 'resnet10', aggregation=aggregation)))
        with torch.inference_mode():
            forth, back = network(*frames)['motion'], network(*frames.flip(0))['motion']
        assert torch.allclose(forth, back, atol=1e-4) == same


def test_decoding_takes_the_features_of_all_frames():
    network = settle(build_network(multinetpp({'depth': 1}, 3, 'resnet10')))
    frames = torch.randn(3, 1, 3, 32, 64)
    with torch.inference_mode():
        current, previous, earlier = (network.encode(frame) for frame in frames)
        torch.testing.assert_close(
            network.decode(current, previous, (), [earlier])['depth'], network(*frames)['depth'],
            atol=1e-5, rtol=1e-5)
        with pytest.raises(ValueError, match=r'takes 3 frame.s., but 2 were given'):
            network.decode(current, previous)


def test_upsampling_after_the_last_convolution_equals_upsampling_before_it():
    decoder = build_network(xtasc(4, 'resnet10')).decoders['semantic'].eval()
    stages = [torch.randn(1, count, 32 // s, 64 // s) for count, s in
              zip((64, 64, 128, 256, 512), (2, 4, 8, 16, 32), strict=True)]
    features = []
    decoder.score.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
    with torch.inference_mode():
        found = decoder(stages)
        large = nn.functional.interpolate(
            features[0], scale_factor=2.0, mode='bilinear', align_corners=True)
        torch.testing.assert_close(found, decoder.score(large), atol=1e-5, rtol=1e-5)
