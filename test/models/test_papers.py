# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parameter counts of the four papers, each with the table or section it comes from."""

import pytest
import torch
from paper_networks import ANCHORS, COMPOSED, kendall, leang, multinetpp, xtasc

from mtl_perception.manifest import Manifest, NetworkSpec
from mtl_perception.models.build import build_network, without_transfer
from mtl_perception.tasks import STREET_TASKS


def built(spec):
    """Return a network without storage, for counting parameters."""
    with torch.device('meta'):
        return build_network(spec)


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


# MultiNet++, table 2: parameters of the decoders in all its rows, with one frame and two.
# Keras adds 79 680 to the encoder's parameters, see mtl_perception.models.encoders.resnet50.
KERAS = 23_587_712
DECODERS = {
    ('semantic', 20): (187_000, 258_680), ('semantic', 13): (95_342, 141_934),
    ('depth', 1): (3_878, 7_462), ('motion', 2): (8_332, 15_500),
}
TABLE_2 = [
    # channels, frames, the paper's millions; what the paper prints, where that is not the same
    ({'semantic': 20}, 1, '23.77', None),
    ({'depth': 1}, 1, '23.59', None),
    ({'motion': 2}, 1, '23.60', None),
    ({'semantic': 20, 'depth': 1}, 1, '23.78', '23.77'),
    ({'semantic': 20, 'depth': 1}, 2, '23.85', '23.86'),
    ({'semantic': 20, 'motion': 2}, 1, '23.78', None),
    ({'semantic': 20, 'motion': 2}, 2, '23.86', None),
    ({'semantic': 20, 'depth': 1, 'motion': 2}, 1, '23.79', None),
    ({'semantic': 20, 'depth': 1, 'motion': 2}, 2, '23.87', None),
    ({'semantic': 13}, 1, '23.68', None),
    ({'semantic': 13, 'depth': 1}, 1, '23.69', None),
    ({'semantic': 13, 'depth': 1}, 2, '23.74', None),
]


@pytest.mark.parametrize(('channels', 'frames', 'millions', 'printed'), TABLE_2)
def test_multinetpp_table_2(channels, frames, millions, printed):
    network = built(multinetpp(channels, frames))
    wanted = {task: DECODERS[task, count][frames - 1] for task, count in channels.items()}

    assert {task: parameters(decoder) for task, decoder in network.decoders.items()} == wanted
    assert parameters(network.encoder) == 23_508_032
    assert parameters(network) == 23_508_032 + sum(wanted.values())
    assert f'{(KERAS + sum(wanted.values())) / 1e6:.2f}' == millions
    assert printed is None or abs(float(printed) - float(millions)) < 0.011  # its last digit


def test_summation_has_the_parameters_of_one_frame():
    one = built(multinetpp({'semantic': 20}, 1))

    assert parameters(built(multinetpp({'semantic': 20}, 5, aggregation='sum'))) == parameters(one)

    five = built(multinetpp({'semantic': 20}, 5))

    assert parameters(five.decoders) == 3584 * 5 * 20 + 288 * 400 + 120


def test_kendall_et_al_appendix_a():
    # The paper prints no count; it follows from its text: a ResNet-101, 1280 features, two layers.
    network = built(kendall())

    assert parameters(network.encoder) == 42_500_160
    assert parameters(network.aspp) == 15_206_912
    assert network.aspp.channels == 1280
    assert {task: parameters(decoder) for task, decoder in network.decoders.items()} == {
        'semantic': 333_075, 'instance': 328_706, 'depth': 328_449}
    assert parameters(network) == 58_697_302


@pytest.mark.parametrize(('encoder', 'count'), [
    ('resnet18', 11_176_512), ('resnet34', 21_284_672), ('resnet50', 23_508_032)])
def test_dilation_costs_no_parameters(encoder, count):
    assert parameters(built(kendall(encoder=encoder)).encoder) == count


def test_leang_et_al():
    # The paper prints no count; it names ResNet-10, a YOLO style box and an FCN8 decoder.
    network = built(leang())

    assert parameters(network.encoder) == 4_905_792
    assert parameters(network.decoders['semantic']) == 8_216
    assert parameters(network.decoders['detection']) == 20_520
    assert parameters(network) == 4_905_792 + 8_216 + 20_520


# XTasC-Net, table V: ResNet-18, 34 and 50 with 7 classes, in 10^7. The paper prints 3.15 for
# ResNet-34, which is cut, not rounded, from 3.155.
@pytest.mark.parametrize(('encoder', 'count', 'printed'), [
    ('resnet18', 21_445_184, 2.14), ('resnet34', 31_553_344, 3.15), ('resnet50', 40_412_224, 4.04),
])
def test_xtasc_net_table_v(encoder, count, printed):
    found = parameters(built(xtasc(7, encoder)))

    assert found == count
    assert int(found / 1e5) / 100 == printed


def test_the_parts_of_xtasc_net():
    network = built(xtasc())

    assert parameters(network.decoders['semantic']) == 3_250_688
    assert parameters(network.decoders['depth']) == 3_249_920
    assert parameters(network.transfer['depth']) == 1_885_568
    assert parameters(network.transfer['semantic']) == 1_882_496
    assert parameters(built(xtasc(13))) == 31_557_952  # NYU has 13 classes

    single = [parameters(built(xtasc(7, transfer=False, tasks=[task])))
              for task in ('semantic', 'depth')]

    assert single[0] == 24_535_360  # Base ST-Net


def test_a_deployed_xtasc_net_works_without_its_task_transfer_networks():
    torch.manual_seed(0)
    trained = build_network(xtasc(7)).eval()
    spec, weights = without_transfer(xtasc(7), trained.state_dict())
    deployed = build_network(spec).eval()
    deployed.load_state_dict(weights, strict=True)

    assert parameters(deployed) == 27_785_280

    image = torch.randn(1, 3, 32, 64)
    with torch.inference_mode():
        wanted, found = trained(image), deployed(image)
        assert all(torch.equal(wanted[task], found[task]) for task in wanted)

    with pytest.raises(ValueError, match='build it with transfer'):
        deployed.transferred(found)


def test_mobilenet_has_the_parameter_count_of_torchvision():
    # with the classifier of 1000 classes; Sandler et al., table 4, print 3.4 million
    network = built(NetworkSpec('mobilenet_v2', 1, 8, {'depth': 1}))

    assert parameters(network.encoder) == 2_223_872
    assert 2_223_872 + 1281 * 1000 == 3_504_872


@pytest.mark.parametrize(('number', 'ours', 'last', 'theirs'), [
    (0, 2_958_848, 320, 4_652_008), (1, 3_723_520, 320, 5_416_680),
    (2, 4_357_952, 352, 6_092_072)])
def test_an_efficientnet_lite_has_the_parameters_of_its_authors(number, ours, last, theirs):
    network = built(NetworkSpec(f'efficientnet_lite{number}', 1, 8, {'depth': 1}))

    # the 1x1 convolution to 1280 channels with its normalisation, and the classifier, come on top
    classifier = last * 1280 + 2 * 1280 + 1281 * 1000
    assert parameters(network.encoder) == ours
    assert ours + classifier == theirs


@pytest.mark.parametrize('name', COMPOSED)
def test_a_spec_survives_the_manifest(name):
    manifest = Manifest(
        'model', COMPOSED[name], STREET_TASKS, 64, 96, (1.0, 2.0, 3.0), (1.0, 2.0, 3.0), 50.0)
    assert Manifest.from_json(manifest.to_json()).network == COMPOSED[name]


def test_a_spec_without_the_newer_settings_gets_their_defaults():
    old = NetworkSpec(**{'encoder': 'resnet10', 'frames': 2, 'finest_stride': 2,
                         'channels': {'semantic': 12}})
    assert (old.decoders, old.aggregation, old.output_stride, old.aspp, old.anchors,
            old.transfer) == ({}, 'concatenate', 32, 0, [], False)


def depth(**words):
    return NetworkSpec('resnet10', 2, 8, {'depth': 1}, **words)


@pytest.mark.parametrize(('spec', 'message'), [
    (depth(aggregation='add'), "did you mean 'concatenate'"),
    (depth(decoders={'depth': 'fcn-8'}), "did you mean 'fcn8'"),
    (depth(decoders={'motion': 'fcn8'}), r"names \['motion'"),
    (depth(decoders=['fcn8']), 'must be a table'),
    (depth(decoders={'depth': 'yolo'}), "one of .'fcn8'"),
    (leang(decoders={'detection': 'unet'}), r"one of \['yolo', 'yolo16', 'yolo8'\]"),
    (NetworkSpec('resnet10', 1, 8, {'detection': 3}), 'there are 0 anchors'),
    (NetworkSpec('resnet10', 1, 8, {'depth': 1}, anchors=ANCHORS), 'there are 5 anchors'),
    (NetworkSpec('resnet10', 1, 8, {'detection': 3}, anchors=[[20, 0.2]]), 'fractions of the'),
    (NetworkSpec('resnet10', 1, 8, {'detection': 3}, anchors=[[0.2]]), 'fractions of the image'),
    (NetworkSpec('resnet10', 1, 8, {'instance': 3}), 'instance.*must be 2'),
    (NetworkSpec('resnet10', 1, 8, {'depth': 1}, 64, aspp=64), 'pyramid and aspp are both set'),
    (NetworkSpec('resnet10', 1, 8, {'depth': 1}, aspp=-1), 'width of the ASPP is -1'),
    (NetworkSpec('resnet10', 1, 8, {'depth': 1}, output_stride=4), 'must be 8, 16 or 32'),
    (NetworkSpec('mobilenet_v2', 1, 8, {'depth': 1}, output_stride=8), 'has 32 only'),
    (NetworkSpec('efficientnet_lite2', 1, 8, {'depth': 1}, output_stride=8), 'lite2 has 32 only'),
    (NetworkSpec('resnet10', 1, 8, {'depth': 1}, transfer=True), r"no task \['semantic'\]"),
    (leang(aspp=64, decoders={'detection': 'yolo16'}), r'no stage of stride 16.*\[32\]'),
])
def test_settings_that_contradict_one_another_are_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        built(spec)
