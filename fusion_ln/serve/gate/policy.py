"""Content security policies: none of them has an `unsafe-*`."""

import base64
import hashlib
import html
import re

ELSEWHERE = "base-uri 'none'; frame-ancestors 'none'; object-src 'none'"
OF_ANSWERS = f"default-src 'none'; form-action 'none'; {ELSEWHERE}"
_STYLE = re.compile(r"(<[a-zA-Z][^<>]*?)\sstyle=(?:\"([^\"]*)\"|'([^']*)')([^<>]*>)")
_CLASS = re.compile(r"\sclass=\"([^\"]*)\"")
_BLOCK = re.compile(r"<(style|script)\b[^>]*>(.*?)</\1>", re.DOTALL | re.IGNORECASE)


def of_application(nonce: str) -> str:
    """Make the policy of the page that is a program: its own files, and what bears the nonce of this answer."""
    own = f"'self' 'nonce-{nonce}'"
    return (
        f"default-src 'self'; script-src {own}; style-src {own}; img-src 'self' data: blob:; font-src 'self' data:; "
        f"connect-src 'self'; form-action 'self'; {ELSEWHERE}"
    )


def of_document(page: str) -> tuple[str, str]:
    """Make a page that holds styles and scripts in itself, and the policy that admits just these by their hashes.

    No hash admits a style attribute: each becomes a class of the same meaning.
    """
    page = _classes_for_styles(page)
    hashes: dict[str, list[str]] = {"style": [], "script": []}
    for kind, content in _BLOCK.findall(page):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        hashes[kind.lower()].append(f"'sha256-{digest}'")
    sources = {f"{kind}-src": " ".join(dict.fromkeys(found)) or "'none'" for kind, found in hashes.items()}
    listed = "; ".join(f"{name} {value}" for name, value in sources.items())
    return page, f"default-src 'none'; {listed}; img-src 'self' data:; font-src data:; form-action 'none'; {ELSEWHERE}"


def _classes_for_styles(page: str) -> str:
    names: dict[str, str] = {}

    def replace(match: re.Match[str]) -> str:
        before, after = match[1], match[4]
        style = html.unescape(match[2] if match[2] is not None else match[3])
        name = names.setdefault(style, f"s-{len(names)}")
        for part in (before, after):
            if held := _CLASS.search(part):
                joined = part[: held.start(1)] + f"{held[1]} {name}" + part[held.end(1) :]
                return joined + after if part is before else before + joined
        return f'{before} class="{name}"{after}'

    page = _STYLE.sub(replace, page)
    rules = "".join(f".{name}{{{_important(style)}}}\n" for style, name in names.items())
    return page.replace("</head>", f"<style>\n{rules}</style>\n</head>", 1) if names else page


def _important(style: str) -> str:
    """Give declarations the weight that they have in an attribute; none of them may end the block."""
    declarations = [each.strip() for each in re.sub(r"[<{}]", "", style).split(";") if each.strip()]
    return ";".join(f"{each} !important" for each in declarations)
