# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``--teacher``: another model's answers become labels, and a student learns them."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import yaml

from mtl_perception import cli
from mtl_perception.commands import _teacher
from mtl_perception.datasets.folder import Folder
from mtl_perception.errors import CheckpointError, ConfigurationError, DataError
from mtl_perception.inference.model import load_model
from mtl_perception.synthetic.street import Street
from mtl_perception.tasks import STREET_DEPTH, STREET_SEMANTIC, STREET_TASKS, Task
from mtl_perception.training.distillation import lesson_of, write_lesson
from mtl_perception.training.labellers import Answer, GraphLabeller, load_labeller

THEIRS = Task(
    'semantic', 'classes', ('car', 'tree', 'sky', 'banana', 'terrain'), ((0, 0, 0),) * 5, sky=2)
FACTS = {'teacher': 'halves'}


class Halves:
    """Knows the left half of every image; in the right one it is not sure."""

    name, digest, semantic, depth, focal = 'halves', '', THEIRS, True, 0.5

    def answer(self, image):
        rows, columns = image.shape[:2]
        left = np.arange(columns) < columns // 2
        ids = np.ones((rows, columns), np.uint8)
        ids[0] = 2  # sky above
        depth = np.where(ids == 2, np.inf, 12.5).astype(np.float32)
        confidence = np.where(left, 0.9, 0.3).astype(np.float32)
        return Answer(ids, np.tile(confidence, (rows, 1)), depth)


def grey(count, columns=8):
    return [(f'{number}', np.full((4, columns, 3), number, np.uint8)) for number in range(count)]


# --- what is written -------------------------------------------------------------------------

def test_a_data_set_holds_what_the_teacher_is_sure_of(tmp_path):
    lesson = lesson_of(Halves(), STREET_TASKS, {})
    assert write_lesson(grey(10), Halves(), lesson, tmp_path, FACTS) == 10
    clips = Folder(str(tmp_path), 'train')
    sample = clips[3]

    vegetation, sky = (STREET_SEMANTIC.classes.index(name) for name in ('vegetation', 'sky'))
    assert clips.tasks[0].classes == STREET_SEMANTIC.classes
    assert clips.tasks[0].sky == sky
    assert (sample.image == 3).all()
    assert sample.semantic[0].tolist() == [
        [sky] * 4 + [255] * 4, *[[vegetation] * 4 + [255] * 4] * 3]
    np.testing.assert_array_equal(sample.depth[0, 1:], 12.5)
    assert np.isnan(sample.depth[0, 0]).all()  # a sky has no finite depth
    assert clips.focal_length(clips.clips[0][-1]) == 4.0  # half of 8 columns

    # complete labels are used again, those of another teacher are not touched
    assert write_lesson(grey(0), Halves(), lesson, tmp_path, FACTS) == 0
    with pytest.raises(ConfigurationError, match='other labels already'):
        write_lesson(grey(10), Halves(), lesson, tmp_path, {'teacher': 'another'})


def test_labels_belong_to_the_files_that_they_were_made_of(tmp_path, monkeypatch):
    facts = []
    monkeypatch.setattr(_teacher, 'load_labeller', lambda name: Halves())
    monkeypatch.setattr(_teacher, 'write_lesson', lambda *given: facts.append(given[-1]) or 1)
    arguments = SimpleNamespace(teacher='halves', class_map=None, labels_to=None)
    for day in ('monday', 'monday', 'tuesday'):
        folder = tmp_path / day / 'front'
        folder.mkdir(parents=True, exist_ok=True)
        if not list(folder.iterdir()):
            cv2.imwrite(str(folder / '0.png'), np.zeros((16, 16 + len(day), 3), np.uint8))
        _teacher.labelled_folder(arguments, folder)
    assert facts[0] == facts[1] != facts[2]


def test_classes_of_the_teacher_become_those_of_the_student():
    lesson = lesson_of(Halves(), STREET_TASKS, {})
    names = STREET_SEMANTIC.classes
    found = {THEIRS.classes[number]: names[kind] for number, kind in enumerate(lesson.table[:5])
             if kind != 255}

    assert found == {'car': 'car', 'tree': 'vegetation', 'sky': 'sky', 'terrain': 'terrain'}
    assert set(lesson.unused) == {'banana'}
    assert set(lesson.lacking) == set(names) - set(found.values())

    # what the teacher does not tell apart is one class
    two = Task('semantic', 'classes', ('car', 'truck', 'sky'), ((0, 0, 0),) * 3)
    assert lesson_of(Halves(), [two], {}).semantic.classes == ('car + truck', 'sky')

    told = lesson_of(Halves(), STREET_TASKS, {'banana': ['pole'], 'tree': []})
    assert [int(kind) for kind in told.table[[1, 3]]] == [255, names.index('pole')]


def test_depth_is_learned_where_both_have_it_and_a_new_student_learns_everything():
    blind = SimpleNamespace(semantic=THEIRS, depth=False)
    assert not lesson_of(blind, STREET_TASKS, {}).depth
    assert not lesson_of(Halves(), [STREET_SEMANTIC], {}).depth
    assert lesson_of(Halves(), STREET_TASKS, {}).depth

    new = lesson_of(Halves(), None, {})
    assert new.semantic == THEIRS
    assert new.table[:4].tolist() == [0, 1, 2, 3]
    assert new.depth


@pytest.mark.parametrize(('student', 'given', 'message'), [
    ([STREET_DEPTH], {}, 'has no semantics'),
    ([Task('semantic', 'classes', ('a', 'b'), ((0, 0, 0),) * 2)], {}, 'no class of the model'),
    (STREET_TASKS, {'appel': ['car']}, "class of the teacher 'appel' does not exist"),
    (STREET_TASKS, {'car': ['tarmac']}, "class of the student 'tarmac' does not exist"),
    (None, {'car': ['car']}, 'learns the classes of its teacher'),
])
def test_a_student_that_cannot_learn_is_refused(student, given, message):
    with pytest.raises(ConfigurationError, match=message):
        lesson_of(Halves(), student, given)


def test_too_few_images_other_sizes_and_a_teacher_that_is_not_sure_are_refused(tmp_path):
    lesson = lesson_of(Halves(), None, {})
    with pytest.raises(DataError, match='there are 9 images'):
        write_lesson(grey(9), Halves(), lesson, tmp_path, FACTS)
    with pytest.raises(DataError, match='10 columns'):
        write_lesson([*grey(5), *grey(5, 10)], Halves(), lesson, tmp_path, FACTS)

    only_sky = lesson_of(Halves(), None, {})
    only_sky.table[1] = 255
    with pytest.raises(DataError, match='labels 12% of the pixels'):
        write_lesson(grey(10), Halves(), only_sky, tmp_path, FACTS)
    assert not (tmp_path / 'dataset.yaml').exists()


# --- graphs of other projects ----------------------------------------------------------------

@pytest.fixture
def graph(tmp_path):
    """Return a graph whose classes are how red and how blue, and whose metres are the green."""
    onnx = pytest.importorskip('onnx', reason='onnx is not installed')
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = [
        helper.make_tensor('scores', kind, (2, 3, 1, 1), [1.0, 0, 0, 0, 0, 1.0]),
        helper.make_tensor('metres', kind, (1, 3, 1, 1), [0, 1.0, 0])]
    nodes = [helper.make_node('Conv', ['image', 'scores'], ['classes']),
             helper.make_node('Conv', ['image', 'metres'], ['depth'])]
    outputs = [helper.make_tensor_value_info(name, kind, (1, count, 4, 6))
               for name, count in (('classes', 2), ('depth', 1))]
    made = helper.make_graph(
        nodes, 'tiny', [helper.make_tensor_value_info('image', kind, (1, 3, 4, 6))], outputs,
        weights)
    path = tmp_path / 'tiny.onnx'
    onnx.save(helper.make_model(
        made, opset_imports=[helper.make_opsetid('', 17)], ir_version=8), path)
    return path


TABLE = {'classes': ['red', 'blue'], 'mean': [0, 0, 0], 'std': [51, 51, 51],
         'semantic': 'classes', 'depth': 'depth', 'focal_px': 3}


def test_a_graph_of_another_project_teaches_with_its_class_table(graph):
    graph.with_suffix('.yaml').write_text(yaml.safe_dump(TABLE))
    image = np.zeros((8, 12, 3), np.uint8)
    image[:, :6] = (153, 51, 0)  # normalised 3, 1, 0
    image[:, 6:] = (0, 102, 51)  # normalised 0, 2, 1
    teacher = load_labeller(str(graph))
    answer = teacher.answer(image)

    assert teacher.semantic.classes == ('red', 'blue')
    assert teacher.focal == 0.5
    assert (answer.semantic[:, :5] == 0).all()
    assert (answer.semantic[:, 7:] == 1).all()
    np.testing.assert_allclose(answer.confidence[:, 0], 1 / (1 + np.exp(-3)), rtol=1e-5)
    np.testing.assert_allclose(answer.depth[0, [0, 11]], [1.0, 2.0], rtol=1e-5)


@pytest.mark.parametrize(('change', 'message'), [
    ({'classes': ['red', 'green', 'blue']}, r'wanted \(1, 3, rows, columns\) scores'),
    ({'classes': ['red', 'red']}, 'different names'),
    ({'clases': []}, "key 'clases' does not exist"),
    ({'semantic': 'logits'}, "output 'logits' does not exist"),
    ({'semantic': None}, 'output None does not exist'),
    ({'mean': [1, 2]}, r'mean is \[1, 2\], wanted 3'),
    ({'sky': 'heaven'}, "sky 'heaven' does not exist"),
    ({'focal_px': 0}, 'depth has no focal_px'),
])
def test_a_class_table_that_does_not_fit_is_refused(graph, change, message):
    graph.with_suffix('.yaml').write_text(yaml.safe_dump({**TABLE, **change}))
    with pytest.raises(ConfigurationError, match=message):
        GraphLabeller(graph)


def test_a_foreign_graph_without_a_table_and_a_file_that_is_none_are_refused(graph):
    with pytest.raises(CheckpointError, match=r'needs a class table, .*tiny\.yaml'):
        load_labeller(str(graph))

    graph.with_suffix('.yaml').write_text(yaml.safe_dump(TABLE))
    graph.write_bytes(b'no graph')
    with pytest.raises(CheckpointError, match='cannot read it'):
        load_labeller(str(graph))


# --- the commands ----------------------------------------------------------------------------

@pytest.mark.parametrize(('words', 'message'), [
    (['.', '--labels-to', 'x'], 'labels-to belongs to --teacher'),
    (['recipe.yaml', '--teacher', 'street'], 'is a recipe'),
])
def test_options_of_a_teacher_that_mean_nothing_are_refused(words, message, capsys):
    assert cli.main(['train', *words]) == 2
    assert message in capsys.readouterr().err


def street_images(folder, seed, count):
    """Write frames of a street that are too few for a training from labels."""
    folder.mkdir()
    street = Street(seed, width=192, height=112)
    for number in range(count):
        image = np.ascontiguousarray(street.render(5 * number).image[..., ::-1])
        cv2.imwrite(str(folder / f'{number}.png'), image)
    return folder


@pytest.mark.slow
def test_a_tiny_student_agrees_with_its_teacher_on_frames_that_it_never_saw(
        tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = street_images(tmp_path / 'seen', 20500, 24)
    unseen = street_images(tmp_path / 'unseen', 20501, 8)
    assert cli.main([
        'train', str(seen), '--teacher', 'street', '--name', 'student', '--network.encoder',
        'resnet10', '--network.pyramid', '16', '--run.validate_every', '100', '--stages',
        '[{height: 64, width: 96, steps: 100, batch: 4, lr: 0.002}]']) == 0

    teacher = load_labeller('street')
    student = load_model('runs/student/student.safetensors', threads=1)
    assert student.classes['semantic'] == teacher.semantic.classes

    right, most, wrong, guessed = [], [], [], []
    usual = np.concatenate([
        teacher.answer(cv2.imread(str(path))[..., ::-1]).depth.ravel() for path in
        sorted(seen.iterdir())[:8]])
    middle = np.median(usual[np.isfinite(usual)])
    for path in unseen.iterdir():
        image = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
        wanted, found = teacher.answer(image), student(image)
        right.append((found.semantic == wanted.semantic).mean())
        most.append(np.bincount(wanted.semantic.ravel()).max() / wanted.semantic.size)

        finite = np.isfinite(wanted.depth) & np.isfinite(found.depth)
        true = wanted.depth[finite]
        wrong.append(np.abs(found.depth[finite] / true - 1).mean())
        guessed.append(np.abs(middle / true - 1).mean())

    # the most frequent class of each image is more than a baseline could know
    assert np.mean(right) > np.mean(most) + 0.15
    assert np.mean(wrong) < 0.7 * np.mean(guessed)
