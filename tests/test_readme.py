from pathlib import Path

ROOT = Path(__file__).parents[1]


def tables_of(page: str) -> list[list[str]]:
    """Split a Markdown page into its tables, each a list of rows, the headings first."""
    tables: list[list[str]] = []
    before = ""
    for line in page.splitlines():
        if line.startswith("|"):
            if not before.startswith("|"):
                tables.append([])
            tables[-1].append(line)
        before = line
    return tables


def test_tables_of_measured_figures_are_those_of_their_pages() -> None:
    measured: dict[str, set[str]] = {}
    for page in (ROOT / "experiments" / "benchmarks").glob("*.md"):
        for table in tables_of(page.read_text(encoding="utf-8")):
            measured.setdefault(table[0], set()).update(table)
    quoted = [table for table in tables_of((ROOT / "README.md").read_text(encoding="utf-8")) if table[0] in measured]
    assert quoted, "README quotes no table that a page of experiments/benchmarks holds"
    for table in quoted:
        assert set(table) <= measured[table[0]], f"README: a row of {table[0]!r} is not the page's"
