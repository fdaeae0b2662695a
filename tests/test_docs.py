"""What README and docs show is true: commands parse, snippets run, links and targets exist."""

import importlib
import importlib.util
import re
import shlex
import zlib
from pathlib import Path

import pytest
import tyro

from tests import processes

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LONG_PAGES = ("README.md", "log.md", "results.md")  # the others have one job each
MAX_WORDS = 800
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def blocks(language):
    """(page, text) of every fenced block of a language."""
    for page in PAGES:
        for text in re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL):
            yield pytest.param(text, id=f"{page.name}-{zlib.crc32(text.encode()) % 10**6}")


def commands():
    """Every `python -m` or `make` line, in a fenced block or a code span of its own."""
    for page in PAGES:
        text = page.read_text()
        fenced = "\n".join(re.findall(r"```(?:bash|console)\n(.*?)```", text, re.DOTALL))
        spans = re.findall(r"`((?:python -m|make) [^`]+)`", text)
        lines = [line.strip() for line in fenced.replace("\\\n", " ").splitlines()]
        for line in dict.fromkeys([*lines, *spans]):
            if re.match(r"(\$ )?(python -m|make) ", line):
                yield pytest.param(line.removeprefix("$ "), id=f"{page.name}: {line}"[:120])


@pytest.mark.parametrize("command", commands())
def test_commands_are_understood(command):
    """Red when a flag, a module or a make target is renamed and the docs are not."""
    args = shlex.split(command, comments=True)
    if args[0] == "make":
        assert {word for word in args[1:] if "=" not in word} <= TARGETS
        return
    name, arguments = args[2], args[3:]
    if name in ("venv", "pip", "pytest"):
        return
    if not arguments:  # a command's name, in a sentence
        assert importlib.util.find_spec(name)
        return
    parser, arguments = parser_and_arguments(name, arguments)
    tyro.cli(parser, args=arguments, console_outputs=False)


# Where the flags of a command are, if not in `Arguments` of its module.
PARSERS = {
    "experiments.ucf11": "experiments.clips.ucf11.Ucf11Arguments",
    "experiments.ucf101": "experiments.ucf101.recipes.Ucf101Arguments",
    "experiments.ucf101 --features": "experiments.ucf101.recipes.Ucf101FeatureArguments",
    "experiments.epic_kitchens": "experiments.epic_kitchens.recipes.EpicKitchensArguments",
    "experiments.predict": "experiments.clips.prediction.command.PredictArguments",
    "experiments.export": "experiments.clips.export.command.ExportArguments",
}
SUBCOMMANDS = {  # their parsers are unions, made by `_commands`
    "preprocess": "preprocess.__main__",
    "weights": "weights.__main__",
    "experiments.highlights": "experiments.highlights.commands",
}


def parser_and_arguments(name, arguments):
    if name in SUBCOMMANDS:
        return importlib.import_module(SUBCOMMANDS[name])._commands(), arguments
    if name.startswith("tests."):
        return importlib.import_module(f"{name}.__main__").Arguments, arguments
    if name in PARSERS and arguments[0] in ("train", "predict", "export"):
        if arguments[0] != "train":
            name = f"experiments.{arguments[0]}"
        arguments = arguments[1:]
    if name == "experiments.ucf101" and "--features" in arguments:
        name = "experiments.ucf101 --features"
    module, _, parser = PARSERS.get(name, f"{name}.Arguments").rpartition(".")
    return getattr(importlib.import_module(module), parser), arguments


@pytest.mark.parametrize("snippet", blocks("python"))
def test_snippets_run(snippet):
    """Red when an example uses a name or an argument that is not there."""
    run = processes.run(["-c", snippet])
    assert run.returncode == 0, run.stderr[-2000:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    """Red when a page is moved or renamed."""
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name not in LONG_PAGES], ids=lambda page: page.name
)
def test_a_page_is_short(page):
    """Red when a page grows beyond one job; what was measured or tried belongs in docs/log.md."""
    num_words = len(page.read_text().split())  # as `wc -w` counts
    assert num_words <= MAX_WORDS, f"{page.name} has {num_words} words"


def test_the_readme_links_every_page():
    """Red when a page is added that nobody is led to."""
    readme = (ROOT / "README.md").read_text()
    for page in PAGES[1:]:
        assert f"(docs/{page.name})" in readme


def test_the_readme_maps_every_folder():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    for folder in (packages - {"tests"}) | {"docs", "tests"}:
        assert f"`{folder}/`" in (ROOT / "README.md").read_text()


def test_the_page_of_layers_shows_all_that_is_public():
    """Red when a layer or function is added that the page does not name."""
    text = (ROOT / "docs" / "api" / "layers.md").read_text()
    listed = re.findall(r"^        - (\w+)$", text, re.MULTILINE)
    source = (ROOT / "ttrnn" / "__init__.py").read_text()
    public = re.findall(r'^    "(\w+)",$', source.partition("__all__ = [")[2], re.MULTILINE)
    assert sorted(listed) == sorted(set(public) - {"models"})


def test_the_site_shows_every_page():
    """Red when a page is added that the site's menu does not lead to, or a name is documented that
    is not there. `make docs` itself follows the links."""
    text = (ROOT / "mkdocs.yml").read_text()
    listed = set(re.findall(r": ([\w/]+\.md)$", text, re.MULTILINE))
    # The notebook's page is made of it while the site is built.
    assert listed - {"tutorial.md"} == {
        path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")
    }
    for page in (ROOT / "docs" / "api").glob("*.md"):
        for name in re.findall(r"^::: ([\w.]+)$", page.read_text(), re.MULTILINE):
            path = ROOT.joinpath(*name.split("."))
            modules = (
                path.with_suffix(".py"),
                path / "__init__.py",
                path.parent.with_suffix(".py"),
            )
            assert any(module.exists() for module in modules), name
