import re
import subprocess
import sys
from html.parser import HTMLParser

import matplotlib as mpl
import pytest
from tiny import leave_blank

from fusion_ln.report.kit.style import figure_style, svg_of
from fusion_ln.report.run.page import write_results, write_without_patients
from fusion_ln.report.run.reading import read_results
from fusion_ln.report.run.section import Report
from fusion_ln.report.run.sections.evidence import examples

ODD = "<script>alert(1)</script> & $x$"


@pytest.fixture(scope="module")
def report(cohort, seven, tmp_path_factory):
    return write_results(
        tmp_path_factory.mktemp("report"), read_results(seven, cohort), title="Does fusion help?", question="Asked?"
    )


@pytest.fixture(scope="module")
def alone(real, tmp_path_factory):
    """The report of one baseline on real patients, under a title with signs that mean something elsewhere."""
    return write_results(tmp_path_factory.mktemp("alone"), read_results([real[1]], real[0]), title=ODD)


class Tags(HTMLParser):
    """Every tag and attribute of a page, and whether each opened tag is closed."""

    VOID = frozenset({"meta", "br", "img", "link", "use", "path", "rect", "image"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def leaving(cohort, seven, tmp_path_factory):
    """The report of the same runs without their patients."""
    page = tmp_path_factory.mktemp("leaving") / "page.html"
    results = read_results(seven, cohort)
    return write_without_patients(page, results, title="Does fusion help?", question="Asked?", note="Of folds <b>.")


def test_a_report_without_patients_stands_alone_and_shows_none(leaving, report, cohort):
    page = leaving.read_text()
    assert [path.name for path in leaving.parent.iterdir() if not path.name.startswith(".")] == ["page.html"]
    patients = cohort.patients["patient_id"]
    assert any(patient in report.read_text() for patient in patients)
    assert not any(patient in page for patient in patients)
    tags = Tags(page)
    assert not {"img", "image", "script", "link"} & set(tags.names)
    assert all(value.startswith("#") for name, value in tags.attributes if name in ("src", "href", "xlink:href"))
    assert not re.search(r"tables/|figures/|\.csv|CSV|<code>fusionln run", page)
    assert "Of folds &lt;b&gt;." in page


def test_sections_without_patients_show_what_the_whole_report_shows(leaving, report):
    whole, page = report.read_text(), leaving.read_text()
    anchors = re.findall(r'<details id="([^"]+)"', page)
    assert {"models", "differences", "roc", "calibration", "decisions", "sets", "presence", "folds"} <= set(anchors)
    assert not {"examples", "disagreements", "subgroups", "checklists", "how"} & set(anchors)
    for anchor in ("confusion", "roc", "folds"):
        sections = [re.search(rf'<details id="{anchor}".*?</details>', text, re.DOTALL)[0] for text in (page, whole)]
        assert sections[0] == sections[1]


def test_the_page_needs_nothing_else(report):
    tags = Tags(report.read_text())
    assert not tags.open
    assert not {"script", "link", "iframe"} & set(tags.names)
    loaded = [value for name, value in tags.attributes if name in ("src", "href", "xlink:href")]
    assert all(value.startswith(("#", "data:")) for value in loaded)
    assert "url(http" not in report.read_text()


def test_identifiers_of_the_page_are_unique_and_every_reference_finds_one(report):
    page = report.read_text()
    held = re.findall(r' id="([^"]+)"', page)
    assert len(held) == len(set(held))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', page)) <= set(held)


def test_every_figure_is_also_a_png_and_every_table_a_csv(report):
    page = report.read_text()
    assert page.count("<svg") == len(list(report.parent.glob("figures/*.png"))) > 20
    tables = {path.stem for path in report.parent.glob("tables/*.csv")}
    assert {"models", "differences", "cohort", "auc_by_fold", "confusion", "attainable", "settings"} <= tables


def test_simulated_stands_on_the_page_its_figures_and_its_tables(report):
    page = report.read_text()
    assert "<strong>SIMULATED</strong>" in page
    assert len(re.findall(r"simulated patients</text>", page)) == page.count("<svg")
    assert all("simulated" in path.read_text().splitlines()[0] for path in report.parent.glob("tables/*.csv"))


def test_a_report_on_real_patients_does_not_say_simulated(alone):
    page = re.sub(r"<style>.*?</style>", "", alone.read_text(), flags=re.DOTALL)
    assert "simulated" not in page.lower()
    assert "simulated" not in (alone.parent / "tables" / "models.csv").read_text()


def test_one_baseline_alone_gives_a_report_without_differences(alone):
    page = alone.read_text()
    assert 'id="models"' in page
    assert 'id="differences"' not in page
    assert not (alone.parent / "tables" / "differences.csv").exists()


def test_commands_of_the_page_are_set_as_code(alone):
    page = re.sub(r"<style>.*?</style>", "", alone.read_text(), flags=re.DOTALL)
    assert "<code>fusionln cohort stats</code>" in page
    assert "`" not in page


def test_the_paper_protocol_and_it_alone_carries_its_warning(alone, cohort, maker, tmp_path, monkeypatch):
    leave_blank(monkeypatch)
    paper = write_results(tmp_path, read_results([maker.baseline("2d", protocol="paper")], cohort), title="t")
    assert "NOT AN HONEST ESTIMATE" in paper.read_text()
    assert "NOT AN HONEST ESTIMATE" not in alone.read_text()


def test_fusions_alone_give_a_report(cohort, maker, tmp_path, monkeypatch):
    leave_blank(monkeypatch)
    maker.baseline("2d")
    page = write_results(tmp_path / "out", read_results([maker.fusion()], cohort), title="t").read_text()
    assert 'id="differences"' not in page
    assert 'id="learning"' not in page


def test_the_same_run_gives_the_same_bytes_and_matplotlib_stays_as_it_was(alone, real, tmp_path):
    before = dict(mpl.rcParams)
    again = write_results(tmp_path, read_results([real[1]], real[0]), title=ODD)
    assert again.read_bytes() == alone.read_bytes()
    assert dict(mpl.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_what_users_name_cannot_break_the_page(alone):
    tags = Tags(alone.read_text())
    assert not tags.open
    assert "script" not in tags.names


def test_a_lost_picture_is_said_in_its_place(other_cohort, tmp_path, maker):
    maker.cohort = other_cohort
    for path in (other_cohort.root / "images").glob("*-2d-0.png"):
        path.unlink()
    results = read_results([maker.baseline("2d")], other_cohort)
    with figure_style():
        plates = examples.build(Report(results, tmp_path, "t")).plates
        drawn = [svg_of(plate.figure, plate.name) for plate in plates]
    assert sum(svg.count("unreadable</text>") for svg in drawn) == 6


def test_no_module_of_the_report_imports_torch():
    code = """
import importlib, pkgutil, sys, fusion_ln.report as report
for module in pkgutil.walk_packages(report.__path__, "fusion_ln.report."):
    importlib.import_module(module.name)
    if "torch" in sys.modules: sys.exit(f"torch came with {module.name}")
"""
    ran = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
