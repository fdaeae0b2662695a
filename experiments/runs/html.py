"""Render HTML pages from the Jinja templates of this package.

A template lies in the folder `templates/` beside the code that fills it, and is named by its path
below `experiments/`. Pages extend `runs/templates/page.html.jinja`. Every value is escaped, and a
value that a template asks for must be given.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from common import formatting
from common.files import write_atomically
from experiments.runs import plots

ENVIRONMENT = Environment(
    # By this file's place: a package's loader may find a folder `experiments` where a person works.
    loader=FileSystemLoader(Path(__file__).parents[1]),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write_page(path: Path, template: str, **values: Any) -> None:
    """Write the page that a template makes of `values`."""
    write_atomically(path, ENVIRONMENT.get_template(template).render(values).encode())


def data_uri(content: bytes, kind: str) -> str:
    """An image inside the page: `kind` is png or jpeg."""
    return f"data:image/{kind};base64,{b64encode(content).decode()}"


def draw_themes(draw: Callable[[plots.Theme], bytes], path: Path | None = None) -> dict[str, str]:
    """Draw a PNG in both colour schemes, for the macro `picture`.

    Args:
        draw: returns the PNG in the colours of a theme.
        path: keeps the light one; None to keep none.

    Returns:
        The data URIs "light" and "dark".
    """
    light, dark = draw(plots.LIGHT), draw(plots.DARK)
    if path is not None:
        write_atomically(path, light)
    return {"light": data_uri(light, "png"), "dark": data_uri(dark, "png")}


def _setting(value: Any) -> str:
    """A value of the configuration in one line."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_setting, value))
    return formatting.text(value)


_FORMS: dict[str, Callable[[Any], str]] = {
    "thousands": formatting.count,
    "percent": formatting.percent,
    "times": formatting.times,
    "ordinal": formatting.ordinal,
    "duration": formatting.duration,
    "size": formatting.size,
    "setting": _setting,
}
ENVIRONMENT.filters["plural"] = formatting.plural
# Each shows None as a dash.
ENVIRONMENT.filters |= {
    name: partial(formatting.or_absent, form=form) for name, form in _FORMS.items()
}
