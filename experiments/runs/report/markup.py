"""HTML by construction: text is escaped unless it is already Markup."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from string import Template
from urllib.parse import urlencode

VOID = {"img", "br", "source", "input"}
PREDICTIONS_PAGE = "predictions.html"


class Markup(str):
    """Text that is HTML already and is not escaped again."""


def element(name: str, *children: object, **attributes: object) -> Markup:
    """`element("td", "a<b", class_="number")` is `<td class="number">a&lt;b</td>`.

    An attribute that is None is left out; a trailing underscore of its name is dropped.
    """
    given = {key.rstrip("_"): value for key, value in attributes.items() if value is not None}
    opening = "".join(f' {key}="{escape(str(value))}"' for key, value in given.items())
    if name in VOID:
        return Markup(f"<{name}{opening}>")
    return Markup(f"<{name}{opening}>{join(children)}</{name}>")


def join(children: Iterable[object]) -> Markup:
    """Pieces one after another; what is not Markup is escaped."""
    return Markup(
        "".join(child if isinstance(child, Markup) else escape(str(child)) for child in children)
    )


def table(
    header: Sequence[object], rows: Iterable[Sequence[object]], **attributes: object
) -> Markup:
    """A table that scrolls sideways on a narrow screen; numbers line up."""
    head = element("tr", *(element("th", cell, scope="col") for cell in header))
    body = [element("tr", *map(_cell, row)) for row in rows]
    parts = (element("thead", head), element("tbody", *body))
    return element("div", element("table", *parts, **attributes), class_="scroll")


def data_uri(content: bytes, kind: str) -> str:
    """An image inside the page: `kind` is png or jpeg."""
    return f"data:image/{kind};base64,{b64encode(content).decode()}"


def picture(
    light_png: bytes, dark_png: bytes, *, alt: str, width: int | None = None, shrinks: bool = True
) -> Markup:
    """One picture in two colour schemes; paper takes the light one.

    `width` is in CSS pixels; where there is less room, the picture shrinks or its panel scrolls.
    """
    media = "screen and (prefers-color-scheme: dark)"
    dark = element("source", media=media, srcset=data_uri(dark_png, "png"))
    style = None if width is None else f"width:{width}px"
    source = data_uri(light_png, "png")
    image = element("img", src=source, alt=alt, style=style, class_=None if shrinks else "large")
    return element("div", element("picture", dark, image), class_="scroll")


def section(title: str, *content: object) -> Markup:
    """A titled panel, reachable as #title."""
    return element("section", element("h2", title), *content, id=anchor(title))


def card(name: str, value: str, more: str = "") -> Markup:
    """One headline figure: its name, its value and what more there is to say."""
    return element(
        "div",
        element("span", name, class_="name"),
        element("b", value),
        element("span", more, class_="more"),
        class_="card",
    )


def navigation(titles: Iterable[str], *more: Markup) -> Markup:
    """Links to the sections of these titles, and more links."""
    links = (element("a", title, href=f"#{anchor(title)}") for title in titles)
    return element("nav", *links, *more)


def to_predictions(text: object, **filters: object) -> Markup:
    """A link to the page of all predictions.

    Args:
        text: what is followed.
        filters: that are set there: true and predicted (class indices), verdict (right, wrong).
    """
    state = f"#{urlencode(filters)}" if filters else ""
    return element("a", text, href=PREDICTIONS_PAGE + state)


def anchor(title: str) -> str:
    """The id of a section."""
    return title.lower().replace(" ", "-")


def _cell(content: object) -> Markup:
    text = str(content)
    is_number = not isinstance(content, Markup) and text[:1].isdigit()
    return element("td", content, class_="number" if is_number else None)


def page_html(title: str, parts: Sequence[object]) -> str:
    """A page of the report's style."""
    text = resources.files(__package__).joinpath("template.html").read_text(encoding="utf-8")
    return Template(text).substitute(title=join([title]), body=join(parts))
