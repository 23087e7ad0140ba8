"""All benchmarks in small sizes: the speedometer."""

from collections.abc import Iterator
from pathlib import Path

from fusion_ln.bench.answers import predict_figures
from fusion_ln.bench.comparing import compare_figures
from fusion_ln.bench.explaining import explain_figures
from fusion_ln.bench.heads import head_figures
from fusion_ln.bench.importing import import_figures
from fusion_ln.bench.record import Figure
from fusion_ln.bench.reporting import report_figures
from fusion_ln.bench.starting import start_figures
from fusion_ln.bench.studies import study_figures
from fusion_ln.bench.tokens import token_figures
from fusion_ln.bench.training import fit_figures
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.training import FitSettings


def all_figures(run: Path | None) -> Iterator[Figure]:
    """Take the figures of every benchmark; of explanations, answers and reports only if a finished run is given."""
    yield from start_figures(rounds=3)
    yield from fit_figures(FitSettings(), DeviceSettings(device="cpu"), n_pictures=128, rounds=3)
    yield from token_figures(FitSettings(), n_pictures=128)
    yield from head_figures("concat", patients=240, epochs=5)
    yield from compare_figures(n_models=4, n_patients=586, n_resamples=2000, n_many=20_000)
    yield from study_figures((), ("tpe",), trials=100)
    yield from import_figures(patients=60)
    if run:
        yield from explain_figures(run)
        yield from predict_figures(run, patients=60)
        yield from report_figures([run])
