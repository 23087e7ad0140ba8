"""Policies of stored pages."""

import base64
import hashlib
import re

import pytest

pytest.importorskip("django")
from fusion_ln.serve.gate.policy import of_application, of_document

PAGE = """<html><head><title>x</title><style>p { color: red }</style></head><body>
<p class="small" style="margin: 0; --dot: var(--a)">one</p><i style='color:&quot;x&quot;' class="b">two</i>
<svg><path d="M 0 0" style="fill: none; stroke: #fff"/><g style="fill: none; stroke: #fff"></g></svg>
<script>const a = 1 < 2;</script></body></html>"""


def test_style_attributes_become_classes_of_the_same_meaning():
    page, _ = of_document(PAGE)
    assert "style=" not in page
    assert '<p class="small s-0">' in page
    assert '<i class="b s-1">' in page
    assert page.count("s-2") == 3  # one rule for what stands twice
    assert ".s-0{margin: 0 !important;--dot: var(--a) !important}" in page


def test_a_policy_admits_just_the_blocks_that_the_page_holds():
    page, policy = of_document(PAGE)
    blocks = re.findall(r"<(?:style|script)[^>]*>(.*?)</(?:style|script)>", page, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(block.encode()).digest()).decode() for block in blocks]
    assert re.findall(r"sha256-([^']+)'", policy) == digests
    assert len(digests) == 3
    for each in (policy, of_application("n")):
        assert "unsafe" not in each
        assert "frame-ancestors 'none'" in each
    assert "script-src 'none'" in of_document("<p>plain</p>")[1]
