# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Steps that are captured and replayed: when, on which memory, and that nobody sees it."""

import contextlib
import inspect
import threading

import numpy as np
import pytest

pytest.importorskip('torch')

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mtl_perception.errors import FrameError
from mtl_perception.inference import torch_engine
from mtl_perception.inference.captured_steps import EAGER_STEPS, CapturedSteps, difference
from mtl_perception.inference.cuda_graphs import WARM_UP_RUNS, CudaGraphs
from mtl_perception.inference.together import Request
from mtl_perception.inference.torch_engine import GRAPHS, TorchEngine

UNTIL_TRUSTED = EAGER_STEPS + 1
"""The last of the eager steps is captured after it ran, the one after it is compared."""


def tensors(results):
    return [*results[0].values(), *results[1]]


class StandIn:
    """
    Graphs without a GPU: a replay runs the function again, on the memory of the capture.

    As on a GPU, a capture computes nothing, and each replay overwrites the same results.
    """

    def __init__(self, spoil=None, failure=None):
        self.calls = []
        self._spoil = spoil
        self._failure = failure

    def capture(self, run):
        self.calls.append('capture')
        if self._failure is not None:
            raise self._failure
        results = run()
        for value in tensors(results):
            value.fill_(99)
        return (run, results), results

    def replay(self, graph):
        self.calls.append('replay')
        run, results = graph
        found = run()
        if self._spoil is not None:
            self._spoil(found)
        for target, source in zip(tensors(results), tensors(found), strict=True):
            target.copy_(source)

    def copy(self, target, source):
        self.calls.append(('copy', tuple(source.shape)))
        target.copy_(source)


class Toy:
    """A step whose results depend on all its inputs; counts how often it is called."""

    def __init__(self):
        self.runs = 0

    def __call__(self, image, state, tasks, first):
        self.runs += 1
        value = image.float()
        known = value if state is None else state[0]
        if first is not None:
            known = torch.where(first, value, known)
        outputs = {'semantic': image + 1, 'depth': 1 + value + 2 * known}
        return ({name: outputs[name] for name in outputs if tasks is None or name in tasks},
                (value + known / 2,))


def image(value, count=4):
    return torch.full((count,), value, dtype=torch.uint8)


def run(steps, values, state=None, tasks=None):
    """Return the results of steps of one camera."""
    found = []
    for value in values:
        found.append(steps(image(value), state, tasks, None))
        state = found[-1][1]
    return found


def assert_equal(found, wanted):
    assert found[0].keys() == wanted[0].keys()
    for one, other in zip(tensors(found), tensors(wanted), strict=True):
        assert torch.equal(one, other)


BEGUN = (torch.zeros(4),)
"""The state of a camera that has begun."""


# --- when ------------------------------------------------------------------------------------

def test_a_step_is_captured_after_some_compared_once_and_replayed_from_then_on():
    toy, graphs = Toy(), StandIn()
    steps = CapturedSteps(toy, graphs)
    made, runs = [], []
    for found in range(UNTIL_TRUSTED + 2):
        del graphs.calls[:]
        before = toy.runs
        steps(image(found), BEGUN, None, None)
        made.append([call for call in graphs.calls if call in ('capture', 'replay')])
        runs.append(toy.runs - before)

    # the stand-in itself runs the step once in a capture, and once in a replay
    assert made == [[]] * (EAGER_STEPS - 1) + [['capture'], ['replay'], ['replay'], ['replay']]
    assert runs == [1] * (EAGER_STEPS - 1) + [2, 2, 1, 1]


def test_inputs_are_copied_in_before_a_replay_and_results_out_behind_it():
    graphs = StandIn()
    steps = CapturedSteps(Toy(), graphs)
    run(steps, range(UNTIL_TRUSTED), BEGUN)
    del graphs.calls[:]
    one = (torch.zeros(2, 4),)
    steps(image(7), BEGUN, None, None)
    copy = ('copy', (4,))
    assert graphs.calls == [copy, copy, 'replay', copy, copy, copy]

    del graphs.calls[:]
    steps(torch.zeros(2, 4, dtype=torch.uint8), one, None, None)  # another shape: as it is
    assert graphs.calls == []


def test_other_shapes_tasks_and_first_frames_are_captured_by_themselves():
    graphs = StandIn()
    steps, toy = CapturedSteps(Toy(), graphs), Toy()
    first = torch.tensor([True, False, False, True])
    kinds = [(image(1), None, None, None), (image(1), BEGUN, None, None),
             (image(1), BEGUN, frozenset({'depth'}), None), (image(1), BEGUN, None, first),
             (image(1, 3), None, None, None)]
    for number in range(UNTIL_TRUSTED + 2):
        for place, (pixels, state, tasks, begins) in enumerate(kinds):
            arguments = (pixels + number * 7 + place, state, tasks, begins)
            assert_equal(steps(*arguments), toy(*arguments))
    assert graphs.calls.count('capture') == len(kinds)
    assert graphs.calls.count('replay') == 3 * len(kinds)


def test_the_state_of_a_network_of_one_frame_is_no_state():
    graphs = StandIn()
    steps = CapturedSteps(lambda pixels, *_: ({'semantic': pixels + 1}, ()), graphs)
    state = None
    for value in range(UNTIL_TRUSTED + 1):
        outputs, state = steps(image(value), state, None, None)
        assert state == ()
        assert outputs['semantic'].tolist() == [value + 1] * 4
    assert graphs.calls.count('capture') == 1


def test_once_there_are_enough_graphs_other_kinds_run_as_they_are():
    graphs, toy = StandIn(), Toy()
    steps = CapturedSteps(toy, graphs, most_graphs=2)
    steps(image(1, 9), None, None, None)  # a kind that is seen once takes no place

    def captures(count):
        before = graphs.calls.count('capture')
        for value in range(UNTIL_TRUSTED):
            assert_equal(steps(image(value, count), None, None, None),
                         Toy()(image(value, count), None, None, None))
        return graphs.calls.count('capture') - before

    assert [captures(count) for count in (1, 2, 3)] == [1, 1, 0]
    assert [captures(count) for count in (3, 1, 2, 3) * 3] == [0] * 12
    before = graphs.calls.count('replay'), toy.runs
    steps(image(1, 3), None, None, None)
    assert (graphs.calls.count('replay'), toy.runs) == (before[0], before[1] + 1)
    steps(image(1, 2), None, None, None)
    assert graphs.calls.count('replay') == before[0] + 1

    steps.forget()  # another temperature makes room
    assert captures(3) == 1


# --- on which memory -------------------------------------------------------------------------

def test_what_a_step_returned_stays_as_it_was():
    steps = CapturedSteps(Toy(), StandIn())
    run(steps, range(UNTIL_TRUSTED), BEGUN)
    results = run(steps, range(20), BEGUN)
    for found, wanted in zip(results, run(Toy(), range(20), BEGUN), strict=True):
        assert_equal(found, wanted)
    places = [value.data_ptr() for found in results for value in tensors(found)]
    assert len(set(places)) == len(places)


def test_inputs_are_not_written_to():
    steps = CapturedSteps(Toy(), StandIn())
    given = [(image(value), (torch.full((4,), float(value)),), None, torch.arange(4) > value)
             for value in range(UNTIL_TRUSTED + 2)]
    for arguments in given:
        steps(*arguments)
    for value, (pixels, state, _, first) in enumerate(given):
        assert pixels.tolist() == state[0].tolist() == [value] * 4
        assert first.sum() == max(0, 3 - value)


def test_cameras_of_several_threads_do_not_mix():
    steps = CapturedSteps(Toy(), StandIn())
    found = {}

    def camera(number):
        found[number] = run(steps, range(number, number + 40), BEGUN)

    threads = [threading.Thread(target=camera, args=(number,)) for number in range(0, 200, 50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for number, results in found.items():
        for one, wanted in zip(results, run(Toy(), range(number, number + 40), BEGUN)):
            assert_equal(one, wanted)
    assert len(found) == 4
    assert not steps.off_because


# --- when it cannot be -----------------------------------------------------------------------

def assert_gave_up(steps, graphs, caplog, reason):
    """Nothing is captured or replayed any more, the results are right, and one line says why."""
    calls = list(graphs.calls)
    for found, wanted in zip(run(steps, range(20), BEGUN), run(Toy(), range(20), BEGUN)):
        assert_equal(found, wanted)
    run(steps, range(20), tasks=frozenset({'depth'}))
    assert graphs.calls == calls
    assert [one.levelname for one in caplog.records] == ['WARNING']
    assert reason in caplog.text
    assert not steps._kinds


def test_a_capture_that_fails_costs_no_frame_and_is_told_once(caplog):
    graphs = StandIn(failure=RuntimeError('operation not permitted\nand advice'))
    steps = CapturedSteps(Toy(), graphs)
    for found, wanted in zip(run(steps, range(9), BEGUN), run(Toy(), range(9), BEGUN)):
        assert_equal(found, wanted)
    assert graphs.calls.count('capture') == 1
    assert_gave_up(steps, graphs, caplog, 'RuntimeError: operation not permitted')
    assert 'advice' not in caplog.text


def test_the_first_error_is_told_not_that_of_the_capture_that_ended_by_it(caplog):
    try:
        try:
            raise ValueError('the cause')
        finally:
            raise RuntimeError('the capture is invalid')
    except RuntimeError as error:
        graphs = StandIn(failure=error)
    steps = CapturedSteps(Toy(), graphs)
    run(steps, range(9), BEGUN)
    assert_gave_up(steps, graphs, caplog, 'ValueError: the cause')


@pytest.mark.parametrize(('spoil', 'where'), [
    (lambda found: found[0]['semantic'].add_(1), 'semantic, in 100.000% of the pixels'),
    (lambda found: found[0]['depth'].mul_(1.01), 'depth, by up to'),
    (lambda found: found[0]['depth'].fill_(torch.nan), 'depth, by up to'),
    (lambda found: found[1][0].add_(1), 'stage 0 of the state')])
def test_a_replay_that_differs_is_the_last_one(caplog, spoil, where):
    graphs = StandIn(spoil)
    steps = CapturedSteps(Toy(), graphs)
    for found, wanted in zip(run(steps, range(9), BEGUN), run(Toy(), range(9), BEGUN)):
        assert_equal(found, wanted)
    assert graphs.calls.count('replay') == 1
    assert_gave_up(steps, graphs, caplog, where)


def test_a_graph_that_misses_an_input_is_found(caplog):
    class Deaf(StandIn):
        """Copies no image after the capture, as if the graph read memory of its own."""

        def copy(self, target, source):
            if 'capture' not in self.calls or source.dtype != torch.uint8:
                super().copy(target, source)

    graphs = Deaf()
    steps = CapturedSteps(Toy(), graphs)
    run(steps, range(9), BEGUN)
    assert 'differs from the step itself' in steps.off_because


def test_an_error_of_the_step_itself_is_the_callers():
    graphs = StandIn()
    steps = CapturedSteps(Toy(), graphs)
    for _ in range(9):
        with pytest.raises(RuntimeError, match='size of tensor'):
            steps(image(1), (torch.zeros(3),), None, None)
    assert graphs.calls == []
    assert not steps.off_because


@pytest.mark.parametrize(('change', 'told'), [(1e-4, ''), (3e-3, 'depth')])
def test_depth_may_differ_by_a_thousandth_of_itself(change, told):
    depth = torch.tensor([1.0, 80.0])
    assert difference(({'depth': depth * (1 + change)}, ()), ({'depth': depth}, ()))[:5] == told


@pytest.mark.parametrize(('changed', 'told'), [(0, ''), (1, ''), (3, 'sky')])
def test_few_ids_may_differ(changed, told):
    sky = torch.zeros(20_000, dtype=torch.bool)
    other = sky.clone()
    other[:changed] = True
    assert difference(({'sky': other}, ()), ({'sky': sky}, ()))[:3] == told


def test_numbers_that_are_none_on_both_sides_are_no_difference():
    broken = {'depth': torch.tensor([torch.nan, torch.inf, 2.0])}
    assert difference((broken, ()), (broken, ())) == ''


# --- in the engine ---------------------------------------------------------------------------

def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (64, 96, 3), np.uint8)


def capturing(model, **settings):
    """Return an engine on the CPU that captures, and what stands for its GPU."""
    engine = TorchEngine.load(model, device='cpu', threads=1, **settings)
    graphs = StandIn()
    engine._captured = CapturedSteps(engine._eager, graphs)
    return engine, graphs


def assert_same_outputs(found, wanted):
    for name, value in vars(wanted).items():
        if value is not None:
            np.testing.assert_array_equal(getattr(found, name), value)


@pytest.mark.parametrize('model', ['tiny_model', 'tiny_single_frame_model'])
def test_cameras_in_turn_with_restarts_and_other_tasks_get_what_they_get_eagerly(request, model):
    path = request.getfixturevalue(model)
    engine, graphs = capturing(path)
    eager = TorchEngine.load(path, device='cpu', threads=1)
    states, wanted_states, results = {}, {}, []
    for number in range(12):
        for camera in range(3):
            tasks = ('depth', 'semantic') if number % 2 and camera == 2 else None
            if number == 7 + camera:
                states[camera] = wanted_states[camera] = None
            pixels = picture(100 * camera + number)
            found, states[camera] = engine.step(pixels, states.get(camera), tasks)
            wanted, wanted_states[camera] = eager.step(pixels, wanted_states.get(camera), tasks)
            results.append((found, wanted))

    # compared at the end: what came later overwrote nothing
    for found, wanted in results:
        assert_same_outputs(found, wanted)
    assert not engine._captured.off_because
    assert graphs.calls.count('replay') > 10


def test_batches_are_captured_with_cameras_that_just_began_too(tiny_model):
    engine, graphs = capturing(tiny_model)
    eager = TorchEngine.load(tiny_model, device='cpu', threads=1)
    state = engine.step(picture(0))[1]
    for number in range(UNTIL_TRUSTED + 1):
        for begun in ((None, state), (state, state)):
            asked = [Request(picture(9 * number + place), one, None)
                     for place, one in enumerate(begun)]
            for (found, after), (wanted, following) in zip(
                    engine.steps(asked), eager.steps(asked), strict=True):
                assert_same_outputs(found, wanted)
                assert all(map(torch.equal, after, following))
    assert graphs.calls.count('capture') == 2


def test_bf16_is_replayed_as_it_ran(tiny_model):
    engine, graphs = capturing(tiny_model, precision='bf16')
    eager = TorchEngine.load(tiny_model, device='cpu', threads=1, precision='bf16')
    for number in range(UNTIL_TRUSTED + 1):
        assert_same_outputs(engine.step(picture(number))[0], eager.step(picture(number))[0])
    assert graphs.calls.count('replay') == 2


def test_another_temperature_is_not_that_of_a_graph(tiny_model):
    engine, graphs = capturing(tiny_model)

    def confidence():
        outputs, _ = engine.step(picture(1), None, ('semantic', 'semantic_confidence'))
        return outputs.semantic_confidence

    engine.temperature = 1.0
    for _ in range(UNTIL_TRUSTED):
        before = confidence()
    engine.temperature = 4.0
    assert (confidence() < before).mean() > 0.99
    assert graphs.calls.count('capture') == 1


def test_graphs_make_room_where_memory_runs_out(tiny_model, monkeypatch, caplog):
    engine, _ = capturing(tiny_model)
    for number in range(UNTIL_TRUSTED):
        engine.step(picture(number))
    assert engine._captured._kinds

    def fail(*_):
        raise torch.OutOfMemoryError('CUDA out of memory')

    with monkeypatch.context() as patched:
        patched.setattr(torch_engine, 'to_device', fail)
        with pytest.raises(FrameError):
            engine.step(picture(9))
    assert not engine._captured._kinds
    assert 'out of device memory' in caplog.text
    assert engine.step(picture(9))[0].depth is not None


@pytest.mark.parametrize(('device', 'value', 'wanted'), [
    ('cuda:1', None, True), ('cuda', '1', True), ('cuda', '0', False), ('cpu', None, False)])
def test_steps_are_captured_on_a_gpu_unless_the_environment_says_no(
        monkeypatch, device, value, wanted):
    monkeypatch.delenv(GRAPHS, raising=False)
    if value is not None:
        monkeypatch.setenv(GRAPHS, value)
    assert torch_engine._captures(torch.device(device)) == wanted


WAITING = {'_local_scalar_dense', 'nonzero', 'index', 'masked_select', 'lift_fresh'}
"""Operators that wait for the GPU, or bring numbers of the host there: no capture may do that."""


class Operators(TorchDispatchMode):
    """Notes the names of the operators that run inside of it."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, operator, types, arguments=(), keywords=None):
        self.names.add(operator.overloadpacket.__name__)
        return operator(*arguments, **(keywords or {}))


@pytest.mark.parametrize('model', ['roads', 'street'])
def test_no_operator_of_a_shipped_model_waits_for_the_gpu(model):
    engine = TorchEngine.load(model, device='cpu', threads=1)
    pixels = torch.zeros(2, engine.manifest.height, engine.manifest.width, 3, dtype=torch.uint8)
    tasks = frozenset({*engine.manifest.network.channels, 'semantic_confidence'})
    with torch.no_grad(), Operators() as seen:
        _, state = engine._eager(pixels, None, tasks, None)
        engine._eager(pixels, state, tasks, torch.ones(2, 1, 1, 1, dtype=torch.bool))
    assert 'convolution' in seen.names
    assert not seen.names & WAITING


def test_operators_that_wait_are_seen():
    with Operators() as seen:
        torch.ones(2)[torch.tensor([True, False])].max().item()
    assert seen.names >= {'lift_fresh', 'index', '_local_scalar_dense'}


@pytest.mark.parametrize('fails', [False, True])
def test_a_capture_is_warmed_up_on_its_own_stream_and_the_current_one_comes_back(
        monkeypatch, fails):
    calls = []

    class Stream:
        def __init__(self, name):
            self.name = name

        def wait_stream(self, other):
            calls.append(f'{self.name} waits for {other.name}')

    current, side = Stream('current'), Stream('side')
    signature = inspect.signature(torch.cuda.graph.__init__)

    @contextlib.contextmanager
    def within(name):
        calls.append(f'begin {name}')
        yield
        calls.append(f'end {name}')

    def graph(*arguments, **settings):
        bound = signature.bind(None, *arguments, **settings).arguments
        assert bound['capture_error_mode'] == 'thread_local'
        return within(f'capture on {bound["stream"].name}')

    for name, value in {
            'Stream': lambda device: side, 'current_stream': lambda: current, 'graph': graph,
            'device': lambda device: within(str(device)), 'CUDAGraph': lambda: 'graph',
            'stream': lambda stream: within(stream.name),
            'set_stream': lambda stream: calls.append(f'back to {stream.name}')}.items():
        monkeypatch.setattr(torch.cuda, name, value)

    def work():
        calls.append('work')
        if fails and calls.count('work') > WARM_UP_RUNS:
            raise RuntimeError('not permitted')
        return {}, ()

    graphs = CudaGraphs(torch.device('cuda:1'))
    with pytest.raises(RuntimeError) if fails else contextlib.nullcontext():
        assert graphs.capture(work) == ('graph', ({}, ()))
    wanted = ['begin cuda:1', 'side waits for current', 'begin side', *['work'] * WARM_UP_RUNS,
              'end side', 'current waits for side', 'begin capture on side', 'work',
              'end capture on side', 'back to current', 'end cuda:1']
    assert calls == [one for one in wanted if not (fails and one in (
        'end capture on side', 'end cuda:1'))]


# --- on a GPU --------------------------------------------------------------------------------

@pytest.mark.gpu
@pytest.mark.parametrize('precision', ['fp32', 'fp16', 'bf16'])
@pytest.mark.parametrize('model', ['tiny_model', 'tiny_single_frame_model'])
def test_a_gpu_replays_what_it_computes_eagerly(request, monkeypatch, caplog, model, precision):
    path = request.getfixturevalue(model)
    engine = TorchEngine.load(path, device='cuda', threads=1, precision=precision)
    monkeypatch.setenv(GRAPHS, '0')
    eager = TorchEngine.load(path, device='cuda', threads=1, precision=precision)
    assert eager._captured is None

    state, wanted_state = [None] * 3, [None] * 3
    for number in range(12):
        for camera in range(3):
            pixels = picture(100 * camera + number)
            found, state[camera] = engine.step(pixels, state[camera])
            wanted, wanted_state[camera] = eager.step(pixels, wanted_state[camera])
            assert (found.semantic == wanted.semantic).mean() > 0.999
            np.testing.assert_allclose(found.depth, wanted.depth, rtol=5e-3)
    assert any(kind.trusted for kind in engine._captured._kinds.values())
    assert not [one for one in caplog.records if one.levelname == 'WARNING']


@pytest.mark.gpu
def test_a_gpu_goes_on_after_a_step_that_cannot_be_captured(tiny_model, monkeypatch, caplog):
    engine = TorchEngine.load(tiny_model, device='cuda', threads=1)
    step = engine._network.step

    def waits(pixels, *arguments):
        pixels.max().item()  # no capture may wait for the GPU
        return step(pixels, *arguments)

    monkeypatch.setattr(engine._network, 'step', waits)
    stream = torch.cuda.current_stream()
    wanted = [engine.step(picture(1))[0] for _ in range(9)][-1]
    assert engine._captured.off_because
    assert torch.cuda.current_stream() == stream
    assert [one.levelname for one in caplog.records].count('WARNING') == 1

    monkeypatch.undo()
    other = TorchEngine.load(tiny_model, device='cuda', threads=1)
    for _ in range(9):
        found = other.step(picture(1))[0]
    assert not other._captured.off_because
    np.testing.assert_allclose(found.depth, wanted.depth, rtol=1e-3)
