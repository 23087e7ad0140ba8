"""Names of files."""

import hashlib
import re

LONGEST_NAME = 180  # bytes, of the 255 that a file system takes: room for a prefix, a suffix and a temporary file's


def as_file_name(text: str) -> str:
    """Quote what a user named (a patient, class, task or modality) as the name of a file; no two texts share a name.

    Letters of any script, digits and ``_ . + -`` stay; every other byte becomes ``~`` and two hex digits, since a page
    links to these files and a browser would decode ``%``. A long name ends in a digest instead.
    """
    quoted = re.sub(r"^\.|[^\w.+-]", _quote, text) or "~"
    if len(quoted.encode()) <= LONGEST_NAME:
        return quoted
    start = quoted.encode()[: LONGEST_NAME - 40].decode(errors="ignore")
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]
    return f"{start}~-{digest}"  # no quoted byte begins with a dash


def _quote(found: re.Match[str]) -> str:
    return "".join(f"~{byte:02X}" for byte in found[0].encode(errors="surrogatepass"))
