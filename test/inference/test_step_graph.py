# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The file of a graph: what is not exactly what was exported is refused, with the reason."""

import dataclasses
import json

import cv2
import numpy as np
import pytest

from mtl_perception.cli import main
from mtl_perception.errors import CheckpointError
from mtl_perception.inference import step_graph
from mtl_perception.inference.onnx_wire import field
from mtl_perception.inference.step_graph import (
    StepGraph,
    find_graph,
    read_graph,
    read_manifest,
    sealed,
    unsealed,
)
from mtl_perception.manifest import Manifest, NetworkSpec, read_model
from mtl_perception.tasks import STREET_TASKS

MANIFEST = Manifest(
    name='made', tasks=STREET_TASKS, height=64, width=96, mean=(123.7, 116.3, 103.5),
    std=(58.4, 57.1, 57.4), focal_px=57.6,
    network=NetworkSpec('resnet10', 2, 8, {task.name: task.channels for task in STREET_TASKS}))
OUTPUTS = {task.name: (task.name,) for task in STREET_TASKS}


def proto(opset=step_graph.OPSET, domain=b''):
    """Return a model without a graph, as protocol buffers write it: ir_version 10, operators."""
    operators = field(1, domain) + bytes([0x10, opset])
    return bytes([0x08, 10]) + field(step_graph.OPSET_IMPORT, operators)


def graph(**changed):
    fields = {'manifest': MANIFEST, 'content': proto(), 'outputs': OUTPUTS,
              'state': ((1, 3, 8, 12),)}
    return StepGraph(**{**fields, **changed})


def refusal(content):
    with pytest.raises(CheckpointError) as caught:
        unsealed(content, 'made.onnx')
    return caught.value.code, str(caught.value)


def test_what_is_sealed_is_read_again():
    found = unsealed(sealed(graph()), 'made.onnx')
    assert found.manifest == MANIFEST
    assert found.outputs == OUTPUTS
    assert found.state == ((1, 3, 8, 12),)
    assert found.motion_head is None
    assert found.content.startswith(proto())

    manifest = dataclasses.replace(MANIFEST, motion_head='0' * 64)
    head = bytes(range(256))
    assert unsealed(sealed(graph(manifest=manifest, motion_head=head)), '').motion_head == head


def test_ten_thousand_of_ten_thousand_flipped_bits_are_refused():
    content = sealed(graph())
    generator = np.random.default_rng(0)
    places = generator.integers(0, 8 * len(content), 10_000)

    # the digest at the end is part of it
    assert (places >= 8 * (len(content) - 64)).any()
    for place in places:
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        assert refusal(bytes(damaged))[0] in ('M02', 'M03')


def test_a_file_that_is_cut_short_is_refused():
    content = sealed(graph())
    for length in (0, 1, 63, 64, 65, len(content) // 2, len(content) - 1):
        code, text = refusal(content[:length])
        assert code == 'M02'
        assert 'cut short' in text
    assert refusal(content + b'\0')[0] == 'M02'


def test_a_foreign_graph_is_refused_with_the_command_that_makes_one():
    code, text = refusal(proto() * 20)
    assert code == 'M02'
    assert 'mtl export' in text

    # sealed by somebody who knows how, without a manifest
    body = proto()
    assert refusal(body + step_graph._seal(body))[0] == 'M02'
    body = b'\xff' * 40
    assert refusal(body + step_graph._seal(body))[0] == 'M02'


def test_a_file_of_another_version_is_refused(monkeypatch):
    with monkeypatch.context() as older:
        older.setattr(step_graph, 'FORMAT', 0)
        content = sealed(graph(version='0.0.9'))
    code, text = refusal(content)
    assert code == 'M06'
    assert 'format 0 of mtl_perception 0.0.9' in text
    assert 'export it again' in text


@pytest.mark.parametrize('content', [proto(opset=17), proto(opset=19), proto(domain=b'com.me')])
def test_other_operators_are_refused(content):
    code, text = refusal(sealed(graph(content=content)))
    assert code == 'M06'
    assert 'ONNX operators' in text
    assert '18' in text


@pytest.mark.parametrize('changed', [
    {'outputs': {'semantic': ('semantic',)}}, {'motion_head': b'head'},
    {'manifest': dataclasses.replace(MANIFEST, mean=(1.0, 2.0, float('nan')))}])
def test_a_file_that_contradicts_itself_is_refused(changed):
    assert refusal(sealed(graph(**changed)))[0] == 'M07'


def test_a_graph_of_other_weights_than_those_beside_it_is_refused(tmp_path):
    path = tmp_path / 'made.onnx'
    path.write_bytes(sealed(graph()))
    assert read_graph(path).manifest == MANIFEST == read_manifest(path)

    # metrics describe a model and change nothing
    beside = path.with_suffix('.json')
    beside.write_text(dataclasses.replace(MANIFEST, metrics={'street': {}}).to_json())
    assert read_graph(path).manifest == MANIFEST

    # confidences stand on the temperature
    beside.write_text(dataclasses.replace(MANIFEST, semantic_temperature=2.0).to_json())
    with pytest.raises(CheckpointError, match='differ in semantic_temperature; make it again'):
        read_graph(path)
    beside.write_text(dataclasses.replace(MANIFEST, sha256='1' * 64, focal_px=50.0).to_json())
    with pytest.raises(CheckpointError, match=r'\[M07\].*differ in focal_px, sha256; make it ag'):
        read_graph(path)
    beside.write_text(json.dumps({'format': 1}))
    with pytest.raises(CheckpointError, match='not a valid manifest'):
        read_graph(path)


def test_a_model_without_a_graph_tells_how_to_make_it(tmp_path):
    weights = tmp_path / 'made.safetensors'
    weights.write_bytes(b'')
    with pytest.raises(CheckpointError, match='--format onnx makes it'):
        find_graph(weights)
    path = tmp_path / 'other.onnx'
    path.write_bytes(sealed(graph()))
    with pytest.raises(CheckpointError, match=r'give the \.safetensors file'):
        read_model(path)


def tampered():
    content = bytearray(sealed(graph()))
    content[len(content) // 3] ^= 1
    return bytes(content)


def older():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(step_graph, 'FORMAT', step_graph.FORMAT - 1)
        return sealed(graph(version='0.0.9'))


@pytest.mark.parametrize(('content', 'reason'), [
    (tampered(), '[M03] {path}: sha256 is '),
    (sealed(graph())[:-9], '[M02] {path}: '), (proto() * 20, '[M02] {path}: '),
    (older(), '[M06] {path}: '), (sealed(graph(content=proto(opset=17))), '[M06] {path}: ')],
    ids=['tampered', 'truncated', 'foreign', 'older', 'opset'])
def test_a_verb_refuses_a_wrong_file_in_one_line_and_writes_nothing(
        tmp_path, capsys, content, reason):
    path = tmp_path / 'wrong.onnx'
    path.write_bytes(content)
    cv2.imwrite(str(tmp_path / 'picture.png'), np.zeros((64, 96, 3), np.uint8))
    code = main(['predict', str(tmp_path / 'picture.png'), '--model', str(path), '--output',
                 str(tmp_path / 'masks')])
    said = capsys.readouterr().err.splitlines()
    assert code == CheckpointError.exit_code
    assert said[-1].startswith('mtl predict: ' + reason.format(path=path))
    assert not (tmp_path / 'masks').exists()
