"""Command lines parsed by tyro, with suggestions for misspelt arguments."""

from __future__ import annotations

import dataclasses
import os
import re
import select
import signal
import sys
from collections.abc import Collection, Iterator, Sequence
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro

from common.errors import nearest

T = TypeVar("T")
READER_IS_GONE = 128 + signal.SIGPIPE
"""Exit code of a command whose output nobody reads any more, as shells give it."""
_IS_FLAG = re.compile(r"--[A-Za-z]")  # neither -1 nor - for standard input


def parse_arguments(
    kind: type[T],
    *,
    prog: str,
    description: str | None = None,
    args: Sequence[str] | None = None,
    config: Sequence[Any] = (),
    commands: Collection[str] = (),
    default: T | None = None,
) -> T:
    """Parse a command line by tyro; a misspelt flag, choice or subcommand gets a suggestion.

    Args:
        kind: a dataclass, or a union of dataclasses annotated with `tyro.conf.subcommand`.
        prog: the program's name, as typed before the arguments.
        description: description in the help text.
        args: the arguments; by default those of this process.
        config: markers of tyro.
        commands: further subcommands, which the caller handles itself.
        default: values of arguments that are not given; None for those of `kind`.

    Raises:
        SystemExit: for --help, with code 2 for invalid arguments, and with code 141 if nobody reads
            what is printed.
    """
    args = sys.argv[1:] if args is None else list(args)
    given: dict[str, Any] = {} if default is None else {"default": default}
    try:
        try:
            return tyro.cli(
                kind, prog=prog, description=description, args=args, config=config, **given
            )
        except SystemExit as end:
            # After tyro's own message, which has been printed already.
            if end.code == 2:
                for suggestion in dict.fromkeys(_suggestions(kind, args, commands)):
                    print(suggestion, file=sys.stderr)
            sys.stdout.flush()  # here, where a broken pipe can be answered
            raise
    except BrokenPipeError as error:
        if not reader_is_gone(error):
            raise
        sys.exit(READER_IS_GONE)


def reader_is_gone(error: BaseException) -> bool:
    """Return True if an error came of printing to a reader that has ended, as `head` does.

    Whatever is still to be printed is then dropped, or Python would complain of it at its end.
    """
    if not isinstance(error, BrokenPipeError):
        return False
    # The broken pipe may also be one to a child process: only a pipe without a reader is in error.
    outputs = select.poll()
    for output in (1, 2):
        outputs.register(output, select.POLLOUT)
    gone = [output for output, event in outputs.poll(0) if event & select.POLLERR]
    for output in gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return bool(gone)


def _suggestions(kind: Any, args: Sequence[str], commands: Collection[str]) -> Iterator[str]:
    """Yield a suggestion for each argument that is similar to a valid one."""
    by_name = _sub_commands(kind)
    if by_name or commands:
        word = next(iter(args), "")
        found = word if word in by_name else nearest(word, [*by_name, *commands])
        if found and found != word:
            yield f"{word}: did you mean {found}?"
        if found in by_name:
            yield from _suggestions(by_name[found], args[1:], ())
        if by_name or found:
            return
    flags = _flags(kind)
    flag = ""  # the flag that the next words are values of
    choices: tuple[str, ...] = ()
    for word in args:
        if _IS_FLAG.match(word):
            flag, _, value = word.replace("_", "-").partition("=")
            choices = flags.get(flag, ())
            values = [word.partition("=")[2]] if value else []
            if flag not in flags and (found := nearest(flag, flags)):
                yield f"{flag}: did you mean {found}?"
        else:
            values = [word]
        for value in values:
            if choices and value not in choices and (found := nearest(value, choices)):
                yield f"{flag} {value}: did you mean {found}?"


def _sub_commands(kind: Any) -> dict[str, Any]:
    """Classes of a union of annotated classes, by the names of their subcommands."""
    named: dict[str, Any] = {}
    for each in get_args(kind):
        if get_origin(each) is Annotated:
            names = [getattr(mark, "name", None) for mark in each.__metadata__]
            named |= {name: get_args(each)[0] for name in names if name}
    return named


def _flags(kind: Any) -> dict[str, tuple[str, ...]]:
    """Flags of a dataclass's fields, each with its choices, if it has any."""
    flags: dict[str, tuple[str, ...]] = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if name not in {field.name for field in dataclasses.fields(kind)}:
            continue
        marks = getattr(hint, "__metadata__", ())
        # tyro's markers have no public type; their text is their name.
        if any(str(mark) in ("Positional", "Suppress") for mark in marks):
            continue
        flag = name.replace("_", "-")
        flags[f"--{flag}"] = tuple(_choices(hint))
        if hint is bool:
            flags[f"--no-{flag}"] = ()
    return flags


def _choices(hint: Any) -> Iterator[str]:
    """Yield the values of all Literals in a type."""
    if get_origin(hint) is Literal:
        yield from map(str, get_args(hint))
        return
    for part in get_args(hint):
        yield from _choices(part)
