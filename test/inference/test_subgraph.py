# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What outputs do not need is not in their part of a graph, and costly heads wait to be asked."""

import numpy as np
import pytest

from mtl_perception.inference.subgraph import subgraph
from mtl_perception.tasks import STREET_DEPTH, STREET_SEMANTIC, Task

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')

from onnx import TensorProto, helper  # noqa: E402

X = np.array([[3.0, -2.0]], np.float32)


def model_of(nodes, outputs, constants=()):
    """Return the content of a model from ``x``."""
    kind = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, 'graph', [helper.make_tensor_value_info('x', kind, [1, 2])],
        [helper.make_tensor_value_info(name, kind, [1, 2]) for name in outputs],
        [helper.make_tensor(name, kind, [1], [value]) for name, value in constants])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def run(content, *names):
    session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
    return session.run(list(names), {'x': X})


BRANCHED = model_of(
    [helper.make_node('Add', ['x', 'one'], ['shared']),
     helper.make_node('Mul', ['shared', 'two'], ['left']),
     helper.make_node('Sub', ['shared', 'three'], ['right'])],
    ['left', 'right'], [('one', 1.0), ('two', 2.0), ('three', 3.0)])


def test_a_part_has_the_nodes_and_constants_of_its_outputs_alone():
    part = subgraph(BRANCHED, ['left'])
    graph = onnx.load_from_string(part).graph

    assert [node.op_type for node in graph.node] == ['Add', 'Mul']
    assert [one.name for one in graph.initializer] == ['one', 'two']
    assert [one.name for one in graph.output] == ['left']
    onnx.checker.check_model(part)
    np.testing.assert_array_equal(run(part, 'left')[0], [[8.0, -2.0]])  # (x + 1) 2


def test_a_part_of_everything_is_everything():
    part = onnx.load_from_string(subgraph(BRANCHED, ['left', 'right']))
    assert part.SerializeToString() == BRANCHED


def test_what_a_branch_reads_from_outside_stays():
    branches = {
        name: helper.make_graph(
            [helper.make_node(kind, ['doubled', 'x'], [name])], name, [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2])])
        for name, kind in (('then', 'Add'), ('else', 'Sub'))}
    nodes = [
        helper.make_node('Mul', ['x', 'two'], ['doubled']),
        helper.make_node('ReduceMax', ['x'], ['most'], keepdims=0),
        helper.make_node('Greater', ['most', 'zero'], ['positive']),
        helper.make_node('Reshape', ['positive', 'one_number'], ['condition']),
        helper.make_node('If', ['condition'], ['result'], then_branch=branches['then'],
                         else_branch=branches['else']),
        helper.make_node('Neg', ['x'], ['other'])]
    graph = helper.make_graph(
        nodes, 'graph', [helper.make_tensor_value_info('x', TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2])
         for name in ('result', 'other')],
        [helper.make_tensor('two', TensorProto.FLOAT, [1], [2.0]),
         helper.make_tensor('zero', TensorProto.FLOAT, [], [0.0]),
         helper.make_tensor('one_number', TensorProto.INT64, [1], [1])])
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=8)
    part = subgraph(whole.SerializeToString(), ['result'])

    assert [node.op_type for node in onnx.load_from_string(part).graph.node] == [
        'Mul', 'ReduceMax', 'Greater', 'Reshape', 'If']
    np.testing.assert_array_equal(run(part, 'result')[0], [[9.0, -6.0]])  # 2 x + x


def test_an_output_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"no outputs \['up'\]; the graph has \['left', 'right'"):
        subgraph(BRANCHED, ['up', 'left'])


@pytest.fixture(scope='module')
def with_instances(tmp_path_factory, graph_writer):
    """Return the graph of a model with a decoder of instances, and its weights."""
    torch = pytest.importorskip('torch')
    from safetensors.torch import save

    from mtl_perception.manifest import Manifest, NetworkSpec, write_model
    from mtl_perception.models.build import build_network
    tasks = (STREET_SEMANTIC, STREET_DEPTH, Task('instance', 'offsets'))
    spec = NetworkSpec('resnet10', 1, 8, {task.name: task.channels for task in tasks},
                       decoders={'instance': 'unet'}, decoder_width=8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = build_network(spec).state_dict()
    path = tmp_path_factory.mktemp('instances') / 'objects.safetensors'
    write_model(Manifest(
        name='objects', network=spec, tasks=tasks, height=64, width=96, mean=(123.7, 116.3, 103.5),
        std=(58.4, 57.1, 57.4), focal_px=57.6), save(weights), path)
    return path, graph_writer(path, path.with_suffix('.onnx'))


def test_a_costly_head_is_loaded_by_the_first_who_asks_and_changes_nothing_else(with_instances):
    from mtl_perception.inference.onnx_engine import OnnxEngine
    from mtl_perception.inference.torch_engine import TorchEngine
    weights, graph = with_instances
    engine = OnnxEngine.load(graph, 'cpu', threads=1)
    image = np.random.default_rng(5).integers(0, 256, (64, 96, 3), np.uint8)
    runner = engine._runner
    assert runner._everything is None

    before = engine.step(image, None, ['semantic', 'depth'])[0]
    assert before.instance is None
    assert runner._everything is None

    both = engine.step(image)[0]
    assert runner._everything is not None
    np.testing.assert_array_equal(both.semantic, before.semantic)
    np.testing.assert_allclose(both.depth, before.depth, rtol=1e-5)
    wanted = TorchEngine.load(weights, 'cpu', threads=1).step(image)[0].instance
    np.testing.assert_allclose(both.instance, wanted, atol=1e-3)

    # and the light one still answers those who do not ask
    first = runner._first
    runner._everything = None
    engine.step(image, None, ['semantic'])
    assert (runner._first, runner._everything) == (first, None)
