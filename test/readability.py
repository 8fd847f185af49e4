# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""
Count lines of code, blank lines and comments: ``python test/readability.py [FILE_OR_FOLDER ...]``.

A line of code is a line that is not blank, not a comment of its own and not part of a docstring.
The body of a function begins below its signature and docstring; a function inside another belongs
to the outer one.
"""

import ast
import io
import sys
import tokenize
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / 'mtl_perception'
LONG_BODY = 15
LONGEST_PARAGRAPH = 12
LONGEST_FILE = 300

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Body:
    """Line counts of one function body; ``paragraph`` is its longest run of lines of code."""

    name: str
    line: int
    code: int = 0
    blank: int = 0
    comments: int = 0
    paragraph: int = 0


@dataclass
class Source:
    """Line counts of one file and of the function bodies in it."""

    code: int = 0
    bodies: list[Body] = field(default_factory=list)


def _line_kinds(source: str) -> list[str]:
    """Return 'code', 'blank', 'comment' or 'docstring' for each line."""
    lines = source.splitlines()
    kinds = ['code' if line.strip() else 'blank' for line in lines]
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and token.line.strip().startswith('#'):
            kinds[token.start[0] - 1] = 'comment'
        if token.type == tokenize.STRING:
            # a blank line inside a string is text, not a pause
            for number in range(token.start[0], token.end[0] + 1):
                kinds[number - 1] = 'code'
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, *FunctionNode.__args__)):
            first = node.body[0] if node.body else None
            if _is_text(first):
                for number in range(first.lineno, first.end_lineno + 1):
                    kinds[number - 1] = 'docstring'
    return kinds


def _is_text(node: ast.stmt | None) -> bool:
    return (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str))


def _outermost_functions(node: ast.AST) -> list[FunctionNode]:
    found = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FunctionNode):
            found.append(child)
        else:
            found += _outermost_functions(child)
    return found


def measure(source: str) -> Source:
    """Count the lines of a file's text."""
    kinds = _line_kinds(source)
    result = Source(code=kinds.count('code'))
    for function in _outermost_functions(ast.parse(source)):
        statements = function.body[1:] if _is_text(function.body[0]) else function.body
        if not statements:
            continue
        # a comment above the first statement belongs to the body
        start = function.body[0].end_lineno + 1 if statements is not function.body else (
            function.body[0].lineno)
        inside = kinds[start - 1:function.end_lineno]
        body = Body(function.name, function.lineno, inside.count('code'),
                    inside.count('blank'), inside.count('comment'))
        run = 0
        for kind in inside:
            run = run + 1 if kind == 'code' else 0
            body.paragraph = max(body.paragraph, run)
        result.bodies.append(body)
    return result


def walls(source: str) -> list[Body]:
    """Return the long function bodies with a paragraph that is too long."""
    return [body for body in measure(source).bodies
            if body.code > LONG_BODY and body.paragraph > LONGEST_PARAGRAPH]


def shares(sources: list[str]) -> tuple[float, float]:
    """Return the shares of blank lines and of comments in all function bodies."""
    bodies = [body for source in sources for body in measure(source).bodies]
    blank = sum(body.blank for body in bodies)
    comments = sum(body.comments for body in bodies)
    lines = blank + comments + sum(body.code for body in bodies)
    return blank / max(lines, 1), comments / max(lines, 1)


def main(arguments: list[str]) -> None:
    """Print the counts of the named files and folders, of the whole package by default."""
    roots = [Path(name) for name in arguments] or [PACKAGE]
    paths = [path for root in roots
             for path in (sorted(root.rglob('*.py')) if root.is_dir() else [root])]
    sources = {path: path.read_text(encoding='utf-8') for path in paths}

    for path, source in sources.items():
        if (code := measure(source).code) > LONGEST_FILE:
            print(f'{path}: {code} lines of code')
        for body in walls(source):
            print(f'{path}:{body.line}: {body.name}: {body.paragraph} lines of code in a row')

    blank, comments = shares(list(sources.values()))
    code = sum(measure(source).code for source in sources.values())
    print(f'{len(paths)} files, {code} lines of code; '
          f'in function bodies {blank:.1%} blank, {comments:.1%} comments')


if __name__ == '__main__':
    main(sys.argv[1:])
