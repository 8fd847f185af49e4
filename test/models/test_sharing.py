# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cross-stitch networks and MTAN: their parameters, and how they relate to hard sharing."""

import pytest
import torch
from paper_networks import ANCHORS, STREET, leang

from mtl_perception.manifest import NetworkSpec
from mtl_perception.models.build import ENCODERS, build_network
from mtl_perception.models.cross_stitch import CrossStitchUnit


@pytest.fixture(autouse=True)
def same_random_numbers():
    torch.manual_seed(0)


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def small(sharing, channels=STREET, frames=1, **words):
    return NetworkSpec('resnet10', frames, 8, channels, sharing=sharing, **words)


def image(count=1):
    return torch.randn(count, 3, 64, 96)


def test_a_cross_stitch_network_has_the_parameters_of_the_formula():
    network = build_network(small('cross_stitch'))

    # T encoders, and T x T weights for each of the 64 + 64 + 128 + 256 + 512 channels
    assert parameters(network.encoder.encoders) == 3 * 4_905_792
    assert parameters(network.encoder.units) == 3 * 3 * 1024
    assert parameters(network.decoders) == parameters(build_network(small('hard')).decoders)
    assert parameters(network) == 14_717_376 + 9_216 + sum(
        896 * count + 288 * count ** 2 + 6 * count for count in STREET.values())


def test_mtan_has_the_parameters_of_the_formula():
    network = build_network(small('mtan'))

    # A mask reads C or 2 C channels: C C + C or 2 C C + C in g, C C + C in h, 2 C in each
    # normalisation. Stages of 128, 256 and 512 channels:
    masks = (2 * 128 ** 2 + 6 * 128) + (3 * 256 ** 2 + 6 * 256) + (3 * 512 ** 2 + 6 * 512)
    # a 3x3 convolution with bias from each stage to the next, and its normalisation
    extract = (9 * 128 * 256 + 3 * 256) + (9 * 256 * 512 + 3 * 512)

    assert masks == 1_021_184
    assert extract == 1_476_864
    assert parameters(network.attention) == 3 * masks + extract
    assert parameters(network) - parameters(network.attention) == parameters(
        build_network(small('hard')))


def test_masks_are_made_for_the_stages_that_a_decoder_reads():
    spec = leang(sharing='mtan', decoders={'semantic': 'two_layer', 'detection': 'yolo16'})
    attention = build_network(spec).attention
    assert [len(masks) for masks in attention.masks.values()] == [3, 2]
    assert len(attention.extract) == 2

    spec = small('mtan', {'detection': 3}, decoders={'detection': 'yolo8'}, anchors=ANCHORS)
    attention = build_network(spec).attention
    assert (len(attention.masks['detection']), len(attention.extract)) == (1, 0)


def test_a_unit_starts_with_nine_tenths_of_the_own_features_and_sums_by_channel():
    unit = CrossStitchUnit(2, 3)
    own, other = torch.ones(1, 3, 1, 1), torch.full((1, 3, 1, 1), 5.0)
    first, second = unit([own, other])
    assert first.flatten().tolist() == pytest.approx([1.4] * 3)
    assert second.flatten().tolist() == pytest.approx([4.6] * 3)

    # from task 1 into task 0, channel 2 only
    with torch.no_grad():
        unit.weights[(0 * 2 + 1) * 3 + 2] = 1.1
    assert unit([own, other])[0].flatten().tolist() == pytest.approx([1.4, 1.4, 6.4])
    assert unit([own, other])[1].flatten().tolist() == pytest.approx([4.6] * 3)

    weights = CrossStitchUnit(5, 1).weights.view(5, 5)
    assert weights.sum(1).tolist() == pytest.approx([1.0] * 5)
    assert weights.diagonal().tolist() == pytest.approx([0.9] * 5)
    assert CrossStitchUnit(1, 2).weights.tolist() == [1.0, 1.0]


@pytest.mark.parametrize('encoder', ENCODERS)
def test_without_stitches_each_task_has_a_network_of_its_own(encoder):
    stitched = build_network(
        NetworkSpec(encoder, 1, 8, {'semantic': 4, 'depth': 1}, sharing='cross_stitch')).eval()
    with torch.no_grad():
        for unit in stitched.encoder.units:
            unit.weights.copy_(torch.eye(2)[:, :, None].expand(2, 2, unit.weights.numel() // 4)
                               .flatten())
    pixels = image()
    with torch.inference_mode():
        found = stitched(pixels)
        for task, count in (('semantic', 4), ('depth', 1)):
            single = build_network(NetworkSpec(encoder, 1, 8, {task: count})).eval()
            single.encoder.load_state_dict(stitched.encoder.encoders[task].state_dict())
            single.decoders.load_state_dict({
                name: item for name, item in stitched.decoders.state_dict().items()
                if name.startswith(task)})
            torch.testing.assert_close(found[task], single(pixels)[task])


def test_stitches_carry_features_from_one_task_to_the_other():
    network = build_network(small('cross_stitch', {'semantic': 4, 'depth': 1})).eval()
    pixels = image()
    with torch.inference_mode():
        before = network(pixels)['depth']
        network.encoder.encoders['semantic'].conv1.weight.mul_(3)
        assert not torch.allclose(network(pixels)['depth'], before)


@pytest.mark.parametrize('words', [{}, {'frames': 2}, {'pyramid': 16}, {'aspp': 8}])
def test_with_open_masks_mtan_is_hard_sharing(words):
    masked, hard = (build_network(small(sharing, **words)).eval() for sharing in ('mtan', 'hard'))
    hard.load_state_dict({name: item for name, item in masked.state_dict().items()
                          if not name.startswith('attention')})
    frames = [image() for _ in range(hard.frames)]
    with torch.no_grad():
        closed = masked(*frames)
        for masks in masked.attention.masks.values():
            for mask in masks:
                mask[4].bias.fill_(100.0)  # sigmoid(100) = 1
        found, wanted = masked(*frames), hard(*frames)

    for task in STREET:
        torch.testing.assert_close(found[task], wanted[task])
        assert not torch.allclose(closed[task], wanted[task])


def test_a_mask_belongs_to_one_task():
    network = build_network(small('mtan')).eval()
    pixels = image()
    with torch.no_grad():
        before = network(pixels)
        network.attention.masks['depth'][1][4].bias.fill_(-100.0)
        after = network(pixels)

    assert {task for task in STREET if not torch.equal(before[task], after[task])} == {'depth'}


def test_the_layers_between_the_masks_are_the_same_for_all_tasks():
    network = build_network(small('mtan'))
    assert {id(item) for item in network.shared_behind()} == {
        id(item) for item in network.attention.extract.parameters()}
    for output in network(image(2)).values():
        network.zero_grad()
        output.square().sum().backward(retain_graph=True)
        assert all(item.grad.abs().max() > 0 for item in network.shared_behind())


@pytest.mark.parametrize(('spec', 'message'), [
    (small('soft'), "unknown sharing 'soft'"),
    (small('mtann'), "did you mean 'mtan'"),
    (small('cross_stitch', pyramid=16), 'pyramid 16 and aspp 0, which all tasks would share'),
    (small('cross_stitch', aspp=16), 'set both to 0'),
    (NetworkSpec('timm:resnet18', 1, 8, STREET, sharing='cross_stitch'), 'those of timm run as a'),
])
def test_a_network_that_contradicts_itself_is_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        build_network(spec)
