import pandas as pd

from fusion_ln.report.kit.sheets import MOST_ROWS, Sheet, csv_of, heading_of

TABLE = pd.DataFrame(
    {"model": ["a", "b"], "auc_b": [0.5, 0.75], "ci_low": [-0.25, None], "ci_high": [0.5, None], "class": ["x", "y"]}
)


def test_columns_of_a_page_have_headings_and_one_cell_per_interval():
    columns = Sheet("s", "S", TABLE, {"auc_b": "AUC of reference"}).columns
    assert [c.heading for c in columns] == ["Model", "AUC of reference", "95 % interval", "Class"]
    assert columns[2].cells == ["−0.250 to 0.500", "–"]
    assert [c.is_text for c in columns] == [True, False, False, True]


def test_a_page_shows_the_first_rows_of_a_long_table_and_says_where_all_are():
    table = pd.DataFrame({"patient_id": [f"p{i}" for i in range(MOST_ROWS + 1)], "auc_low": 0.1, "auc_high": 0.2})
    sheet = Sheet("undecided", "Undecided", table)
    assert [len(column.cells) for column in sheet.columns] == [MOST_ROWS, MOST_ROWS]
    assert sheet.cut == "The first 2,000 of 2,001 rows; all are in tables/undecided.csv."
    assert Sheet("s", "S", table[1:]).cut == ""


def test_the_csv_keeps_the_columns_of_the_table():
    assert csv_of(TABLE, simulated=False).splitlines()[0] == "model,auc_b,ci_low,ci_high,class"
    assert csv_of(TABLE, simulated=True).splitlines()[0].endswith(",simulated")


def test_a_heading_is_words_and_leaves_names_that_users_write():
    names = ("mean_size", "patient_id", "cN0", "long_axis_mm", "peak_memory_mib")
    assert [heading_of(c) for c in names] == ["Mean size", "Patient", "cN0", "Long axis [mm]", "Peak memory [MiB]"]


def test_a_page_shows_words_for_the_codes_of_a_csv_table():
    table = pd.DataFrame({"class": ["a", "all", "macro"], "metric": "auc_ovr", "method": "lac"})
    class_, metric, method = Sheet("s", "S", table, words={"method": {"lac": "LAC"}}).columns
    assert class_.cells == ["a", "All classes", "Mean of the classes"]
    assert (metric.cells[0], method.cells[0]) == ("AUC, one vs rest", "LAC")
    assert "a,auc_ovr,lac" in csv_of(table, simulated=False)


def test_a_table_cut_to_one_value_loses_its_column_not_its_headings():
    sheet = Sheet("s", "S", TABLE, {"auc_b": "AUC of reference"}).only(class_="x", model=["a", "b"])
    assert [c.heading for c in sheet.columns] == ["Model", "AUC of reference", "95 % interval"]
    assert len(sheet.table) == 1
