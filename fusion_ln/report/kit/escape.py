"""Texts that users chose (names of classes, patients, cohorts), made harmless for Markdown and LaTeX."""

import re

from markupsafe import Markup

# ASCII punctuation that Markdown, its tables or its common extensions give a meaning; a backslash takes it away.
MARKDOWN = re.compile(r"[\\`*_{}\[\]<>#|~$&^!@]|^[+-]|^\d+(?=[.)])")
LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "[": "{[}",  # these would belong to the line break before them
        "]": "{]}",
        "*": "{*}",
        "−": "-",
    }
    | {sign: f"\\{sign}" for sign in "&%$#_{}"}
)


def markdown(value: object) -> str:
    """Write a text into a line of Markdown so that it is shown as it is; ``Markup`` stays as it is written.

    Serves Jinja's ``finalize``, so that every value of a template passes here.
    """
    if isinstance(value, Markup):
        return str(value)
    return MARKDOWN.sub(_marked, _one_line(value))


def code_span(value: object) -> Markup:
    """Write a text as code in a line of Markdown: between more backticks than it holds in a row."""
    text = _one_line(value)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    inset = " " if text.startswith("`") or text.endswith("`") else ""
    return Markup(f"{fence}{inset}{text}{inset}{fence}")


def latex(value: object) -> str:
    """Write a text into a cell of a LaTeX table so that it is printed as it is."""
    return _one_line(value).translate(LATEX)


def _marked(found: re.Match[str]) -> str:
    return f"{found[0]}\\" if found[0].isdigit() else f"\\{found[0]}"


def _one_line(value: object) -> str:
    """Join the lines of a text: a line break would end a row or a heading."""
    return " ".join(str(value).split())
