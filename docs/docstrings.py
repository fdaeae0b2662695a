"""Extension of mkdocstrings: our sections "Example:" become its "Examples:"."""

from __future__ import annotations

import re
from typing import Any

import griffe


class ExampleSections(griffe.Extension):
    """Rename sections, so that `>>>` lines are shown as code and not as quotations."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring of a class or function after it was read."""
        if obj.docstring is not None:
            text = obj.docstring.value
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)

    def on_module(self, *, mod: griffe.Module, **kwargs: Any) -> None:
        """Change the docstring of a module, whose examples stand outside of a section."""
        if mod.docstring is not None:
            text = mod.docstring.value
            mod.docstring.value = re.sub(
                r"^((?:>>> .*\n(?:(?!>>>).+\n?)*)+)", r"```pycon\n\1```\n", text, flags=re.MULTILINE
            )
