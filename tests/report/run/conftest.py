import pytest

from fusion_ln.report.run.reading import read_results
from fusion_ln.report.run.results import Results
from fusion_ln.report.run.section import Report


@pytest.fixture(scope="session")
def results(cohort, seven) -> Results:
    """Three baselines and four fusions."""
    return Results(cohort, read_results(seven, cohort).models, n_resamples=200)


@pytest.fixture(scope="session")
def report(results, tmp_path_factory) -> Report:
    return Report(results, tmp_path_factory.mktemp("sections"), "Title", "Does fusing help?")
