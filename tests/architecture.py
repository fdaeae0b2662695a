"""Measures how the code is laid out: `python -m tests.architecture`.

It prints the figures that tests/test_architecture.py holds to bounds: files and lines, import
circles, imports that point up, imports inside functions, splats, private names and comments.
Imports inside functions and under TYPE_CHECKING count like all others.
"""

from __future__ import annotations

import ast
import io
import re
import statistics
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("common", "ttrnn", "preprocess", "weights", "experiments")

# The floors of the house from the top; a file may import from its own floor and from below.
BENCHMARKS = (
    "experiments.bench_",
    "experiments.benchmarks",
    "experiments.scaling",
    "preprocess.benchmark",
)
COMMANDS = (
    "experiments.ucf11",
    "experiments.crossval",
    "experiments.ucf101",
    "experiments.epic_kitchens",
    "experiments.classify",
    "experiments.highlights",
    "experiments.threads",
    "experiments.export",
    "experiments.launch",
    "experiments.report",
    "experiments.results",
    "experiments.predict",
    "weights.__main__",
    "preprocess.__main__",
)
FLOORS: tuple[tuple[str, ...], ...] = (
    BENCHMARKS,
    ("experiments.api",),
    COMMANDS,
    ("experiments.clips",),
    ("experiments.media", "experiments.training"),
    ("experiments.models",),
    ("experiments.process", "experiments.runs"),
    ("preprocess", "preprocess.extraction"),
    ("preprocess.batches", "preprocess.workers"),
    ("preprocess.shards",),
    ("preprocess.sources",),
    ("preprocess.video",),
    ("preprocess.system",),
    ("ttrnn", "weights", "preprocess.errors"),
    ("common",),
)

# Words that had a meaning in this repository alone, and the usual ones that took their place.
PRIVATE_WORDS = {
    "crew": "executor",
    "errand": "task",
    "keeper": "writer",
    "picture": "image or frame",
    "pictures": "images or frames",
    "said": "message or output",
    "scout": "seeker",
    "servant": "worker",
    "servants": "workers",
    "told": "message",
}
PRIVATE_NAMES = {
    "Seen": "ClipInputSpec",
    "Service": "model",
    "Share": "ReplicaShard",
    "Unit": "Task",
    "going_on": "resume_hint",
    "made_of": "fingerprint",
    "most": "max_...",
    "most_in_memory": "max_bytes_in_memory",
    "words": "args",
}


@dataclass
class File:
    """One module: its syntax tree, and the modules of ours that it imports."""

    name: str
    path: Path
    tree: ast.Module
    imports: set[str] = field(default_factory=set)

    @property
    def lines(self) -> int:
        return len(self.path.read_text(encoding="utf-8").splitlines())

    @property
    def room(self) -> str:
        """The folder, as a dotted name; a file directly in a package is a room of its own."""
        if self.path.name == "__init__.py" or self.name.count(".") == 1:
            return self.name
        return self.name.rpartition(".")[0]


def read_files(root: Path = ROOT) -> dict[str, File]:
    """All modules of the product by their dotted names, with their imports resolved."""
    files = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            files[name] = File(name, path, ast.parse(path.read_text(encoding="utf-8")))
    for file in files.values():
        file.imports = {name for name in _imported(file.tree, files) if name != file.name}
    return files


def _imported(tree: ast.Module, files: dict[str, File]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in files)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                member = f"{node.module}.{alias.name}"
                if member in files:
                    yield member
                elif node.module in files:
                    yield node.module


def loaded_packages(name: str, files: dict[str, File]) -> set[str]:
    """Packages of others that `import name` imports, itself or through modules of ours."""
    loaded, waiting, seen = set(), [name], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in files:
            continue
        seen.add(name)
        # Importing a module imports the packages that it lies in.
        waiting += [name.rpartition(".")[0]]
        tree = ast.Module(body=list(_run_at_import(files[name].tree.body)), type_ignores=[])
        waiting += _imported(tree, files)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                loaded |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                loaded.add(node.module.partition(".")[0])
    return loaded - set(PACKAGES)


def _run_at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Imports that run when the module is imported: none in functions or under TYPE_CHECKING."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _run_at_import(node.orelse)
        elif isinstance(node, ast.If | ast.Try | ast.With):
            yield from _run_at_import(node.body)
            yield from _run_at_import(getattr(node, "orelse", []))


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other (Tarjan, 1972), each sorted; without single nodes."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in graph.get(node, ()):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            group = []
            while not group or group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for node in graph:
        if node not in index:
            visit(node)
    return sorted(found)


def file_circles(files: dict[str, File]) -> list[list[str]]:
    """Import circles between files. A package's `__init__` counts as a file."""
    return circles({name: file.imports for name, file in files.items()})


def room_graph(files: dict[str, File]) -> dict[str, set[str]]:
    """Imports between folders: for each folder those that it imports from."""
    graph: dict[str, set[str]] = {file.room: set() for file in files.values()}
    for file in files.values():
        graph[file.room] |= {files[name].room for name in file.imports} - {file.room}
    return graph


def floor(name: str) -> int:
    """Number of a module's floor from the top, by the longest prefix in `FLOORS`."""
    matches = [
        (len(prefix), number)
        for number, prefixes in enumerate(FLOORS)
        for prefix in prefixes
        if name == prefix or name.startswith(prefix if prefix.endswith("_") else f"{prefix}.")
    ]
    return max(matches)[1] if matches else -1


def command_of(name: str) -> str | None:
    """The command that a module belongs to, or None."""
    return next((one for one in COMMANDS if name == one or name.startswith(f"{one}.")), None)


def upward_imports(files: dict[str, File]) -> list[str]:
    """Imports of a higher floor, and of one command by another, as "from -> to"."""
    wrong = []
    for file in files.values():
        for name in sorted(file.imports):
            between = command_of(file.name) and command_of(name)
            sideways = between and command_of(file.name) != command_of(name)
            if sideways or floor(name) < floor(file.name):
                wrong.append(f"{file.name} -> {name}")
    return wrong


def function_imports(files: dict[str, File]) -> list[str]:
    """Imports inside functions, as "module:line"."""
    lines = {
        (file.name, node.lineno)
        for file in files.values()
        for function in ast.walk(file.tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    return [f"{name}:{line}" for name, line in sorted(lines)]


def splats(files: dict[str, File]) -> list[str]:
    """Calls that unpack a tuple or list written on the spot, as "module:line"."""
    return [
        f"{file.name}:{node.lineno}"
        for file in files.values()
        for node in ast.walk(file.tree)
        if isinstance(node, ast.Call)
        for argument in node.args
        if isinstance(argument, ast.Starred) and isinstance(argument.value, ast.Tuple | ast.List)
    ]


def private_names(files: dict[str, File]) -> list[str]:
    """Names that hold a word of PRIVATE_WORDS, or are one of PRIVATE_NAMES, as "module:line name".

    Names are those of modules, classes, functions, arguments, variables and attributes. What is in
    a string is not looked at: columns of files, flags and messages keep their words.
    """
    found = []
    for file in files.values():
        names = [(0, file.name.rpartition(".")[2])]
        for node in ast.walk(file.tree):
            names += [(getattr(node, "lineno", 0), name) for name in _defined(node)]
        found += [f"{file.name}:{line} {name}" for line, name in sorted(names) if _is_private(name)]
    return found


def _defined(node: ast.AST) -> Iterator[str]:
    """Names that a node gives to something."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield node.name
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.alias) and node.asname:
        yield node.asname
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
        yield node.attr


def _is_private(name: str) -> bool:
    words = {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}
    plain = name.lstrip("_")
    # Adjectives such as most_promising are English; a constant MOST_... is a limit.
    is_limit = plain.startswith("MOST_")
    return is_limit or plain in PRIVATE_NAMES or not words.isdisjoint(PRIVATE_WORDS)


def comments_per_100_lines(files: dict[str, File]) -> float:
    """Comments for 100 lines that are not blank."""
    comments = lines = 0
    for file in files.values():
        text = file.path.read_text(encoding="utf-8")
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        comments += sum(token.type == tokenize.COMMENT for token in tokens)
        lines += sum(bool(line.strip()) for line in text.splitlines())
    return 100 * comments / lines


def short_functions(files: dict[str, File]) -> int:
    """Functions of three lines or fewer, decorators and docstrings apart."""
    return sum(
        node.end_lineno - node.lineno < 3
        for file in files.values()
        for node in ast.walk(file.tree)
        if isinstance(node, ast.FunctionDef) and node.end_lineno is not None
    )


def main() -> None:
    """Print the figures, and whatever breaks a rule."""
    files = read_files()
    lines = [file.lines for file in files.values()]
    rooms = room_graph(files)
    groups = {
        "circles of files": file_circles(files),
        "circles of folders": circles(rooms),
        "upward imports": upward_imports(files),
        "splats": splats(files),
        "private names": private_names(files),
    }
    print(f"product files                {len(files)}")
    print(f"lines                        {sum(lines)}, median {statistics.median(lines):.0f}")
    print(f"folders, arrows between them {len(rooms)}, {sum(map(len, rooms.values()))}")
    print(f"imports inside functions     {len(function_imports(files))}")
    print(f"functions of <= 3 lines      {short_functions(files)}")
    print(f"comments per 100 lines       {comments_per_100_lines(files):.1f}")
    for title, found in groups.items():
        print(f"{title:<28} {len(found)}")
        for one in found:
            print("   ", one if isinstance(one, str) else ", ".join(one))


if __name__ == "__main__":
    main()
