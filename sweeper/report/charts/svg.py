"""SVG elements as escaped text: the only place where a chart's markup is put together."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup, escape

Number = float | int


def element(tag: str, *children: Markup | str, **attributes: str | Number | None) -> Markup:
    """Returns an element; texts and values are escaped, whatever they hold.

    Args:
        tag: the element's name.
        children: markup, or text.
        attributes: `stroke_width` stands for `stroke-width`, `class_` for `class`; None leaves one out.
    """
    named = (
        f' {name.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    inner = Markup().join(children)  # escapes what is not markup
    return Markup(f"<{tag}{''.join(named)}>{inner}</{tag}>")


def drawing(children: Iterable[Markup], *, size: tuple[Number, Number], title: str, description: str) -> Markup:
    """Returns a whole drawing that screen readers can tell.

    Args:
        children: of it.
        size: width and height of its own coordinates.
        title: its name.
        description: what it shows, in a sentence or two.
    """
    return element(
        "svg",
        element("title", title),
        element("desc", description),
        *children,
        viewBox=f"0 0 {_value(size[0])} {_value(size[1])}",
        role="img",
        aria_label=f"{title}. {description}",
    )


def text(at: tuple[Number, Number], words: str, *, anchor: str = "start", class_: str | None = None) -> Markup:
    """Returns words that begin, end or have their middle `at` a point."""
    return element("text", words, x=at[0], y=at[1], text_anchor=None if anchor == "start" else anchor, class_=class_)


def line(start: tuple[Number, Number], end: tuple[Number, Number], class_: str) -> Markup:
    """Returns a straight line."""
    return element("line", x1=start[0], y1=start[1], x2=end[0], y2=end[1], class_=class_)


def path(points: Iterable[tuple[Number, Number]]) -> str:
    """Returns the `d` of a path through points."""
    return "M" + "L".join(f"{_value(x)} {_value(y)}" for x, y in points)


def shortened(words: str, most: int) -> str:
    """Returns a text of `most` characters at most; what is cut out of its middle leaves an ellipsis.

    Names of backbones often differ in their ends only.
    """
    if len(words) <= most:
        return words
    end = (most - 1) // 2
    return f"{words[: most - 1 - end]}…{words[len(words) - end :]}"


def _value(value: str | Number) -> str:
    """Returns a number with a digit behind its point, which is a tenth of a pixel; a text escaped."""
    return str(escape(value)) if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
