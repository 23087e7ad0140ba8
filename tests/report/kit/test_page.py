import threading

from matplotlib.figure import Figure

from fusion_ln import forks
from fusion_ln.report.kit import page, style
from fusion_ln.report.kit.figures import Plate
from fusion_ln.report.kit.style import figure_style, png_of


def plates(n: int) -> list[Plate]:
    drawn = []
    with figure_style():
        for number in range(n):
            figure = Figure(figsize=(2, 1.5), layout="constrained")
            axes = figure.add_subplot()
            axes.plot(range(number + 2))
            axes.fill_between([0, 1], [0, 0], [number, 1], hatch="/")  # refers to a pattern by its id
            drawn.append(Plate(f"plate_{number}", f"Plate {number}", "", figure))
    return drawn


def draw(folder, n_cores, monkeypatch):
    monkeypatch.setattr(forks, "cores", lambda: n_cores)
    pictures = page._draw(folder / "page.html", plates(5), beside=True)
    return pictures, {path.name: path.read_bytes() for path in (folder / "figures").iterdir()}


def test_figures_are_the_same_bytes_on_one_core_and_on_two(tmp_path, monkeypatch):
    monkeypatch.setattr(style, "png_of", png_of)
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    pictures, files = draw(tmp_path / "one", 1, monkeypatch)
    assert draw(tmp_path / "two", 2, monkeypatch) == (pictures, files)
    assert list(pictures) == [f"plate_{number}" for number in range(5)]
    assert len({*pictures.values(), *files.values()}) == 10
