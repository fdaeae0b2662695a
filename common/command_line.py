"""Command lines: tyro's, with a suggestion for what is misspelt."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")
_IS_FLAG = re.compile(r"--[A-Za-z]")  # unlike -1, and - for standard input


def did_you_mean(word: str, known: Collection[str]) -> str:
    """The known name that a misspelt one is likeliest to be, as a sentence.

    Args:
        word: what was typed.
        known: names that would be right.

    Returns:
        "Did you mean NAME?", or nothing if no name is alike.
    """
    found = _nearest(word, known)
    return f"Did you mean {found}?" if found else ""


def parse_arguments(
    kind: type[T],
    *,
    prog: str,
    description: str | None = None,
    args: Sequence[str] | None = None,
    config: Sequence[Any] = (),
    commands: Collection[str] = (),
) -> T:
    """Parse a command line by tyro; a misspelt flag, choice or sub-command gets a suggestion.

    Args:
        kind: a dataclass, or a union of such that are annotated with `tyro.conf.subcommand`.
        prog: what is typed before the arguments.
        description: for the help text.
        args: the arguments; by default those of this process.
        config: tyro's markers.
        commands: sub-commands that the caller has dealt with already.

    Raises:
        SystemExit: for --help, and with code 2 for arguments that cannot be.
    """
    import tyro

    args = sys.argv[1:] if args is None else list(args)
    try:
        return tyro.cli(kind, prog=prog, description=description, args=args, config=config)
    except SystemExit as end:
        if end.code == 2:
            for suggestion in dict.fromkeys(_suggestions(kind, args, commands)):
                print(suggestion, file=sys.stderr)
        raise


def _nearest(word: str, known: Collection[str]) -> str | None:
    """A name that differs in few letters, in the case of letters, or is what a word begins."""
    folded = {name.casefold(): name for name in known}
    near = get_close_matches(word.casefold(), folded, n=1)
    if not near and word:
        near = [name for name in folded if name.startswith(word.casefold())]
    return folded[near[0]] if len(near) == 1 else None


def _suggestions(kind: Any, args: Sequence[str], commands: Collection[str]) -> Iterator[str]:
    """A line for each argument that is like one that would be right, and is not it."""
    by_name = _sub_commands(kind)
    if by_name or commands:
        word = next(iter(args), "")
        found = word if word in by_name else _nearest(word, [*by_name, *commands])
        if found and found != word:
            yield f"{word}: did you mean {found}?"
        if found in by_name:
            yield from _suggestions(by_name[found], args[1:], ())
        if by_name or found:
            return
    flags = _flags(kind)
    flag = ""  # whose values the words are
    choices: tuple[str, ...] = ()
    for word in args:
        if _IS_FLAG.match(word):
            flag, _, value = word.replace("_", "-").partition("=")
            choices = flags.get(flag, ())
            values = [word.partition("=")[2]] if value else []
            if flag not in flags and (found := _nearest(flag, flags)):
                yield f"{flag}: did you mean {found}?"
        else:
            values = [word]
        for value in values:
            if choices and value not in choices and (found := _nearest(value, choices)):
                yield f"{flag} {value}: did you mean {found}?"


def _sub_commands(kind: Any) -> dict[str, Any]:
    """The classes of a union of annotated classes, by the names of their commands."""
    named: dict[str, Any] = {}
    for each in get_args(kind):
        if get_origin(each) is Annotated:
            names = [getattr(mark, "name", None) for mark in each.__metadata__]
            named |= {name: get_args(each)[0] for name in names if name}
    return named


def _flags(kind: Any) -> dict[str, tuple[str, ...]]:
    """The flags that a dataclass's fields become, each with its choices, if it has any."""
    flags: dict[str, tuple[str, ...]] = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if name not in {field.name for field in dataclasses.fields(kind)}:
            continue
        marks = getattr(hint, "__metadata__", ())
        if any(str(mark) in ("Positional", "Suppress") for mark in marks):
            continue
        flag = name.replace("_", "-")
        flags[f"--{flag}"] = tuple(_choices(hint))
        if hint is bool:
            flags[f"--no-{flag}"] = ()
    return flags


def _choices(hint: Any) -> Iterator[str]:
    """The values of all Literals in a type."""
    if get_origin(hint) is Literal:
        yield from map(str, get_args(hint))
        return
    for part in get_args(hint):
        yield from _choices(part)
