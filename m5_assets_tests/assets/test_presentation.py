from __future__ import annotations

import pandas as pd
import pyarrow as pa

from m5_assets.assets.presentation import preview, shown_table


def test_a_preview_has_the_first_rows_as_text() -> None:
    found = preview(pa.table({"item": ["A", "B", "C"], "share": [0.123456, None, 1.0]}), rows=2)
    assert [dict(record.data) for record in found.records] == [
        {"item": "A", "share": "0.1235"},
        {"item": "B", "share": "nan"},
    ]
    assert [column.name for column in found.schema.columns] == ["item", "share"]


def test_columns_may_have_blanks_in_their_names_and_a_table_no_rows() -> None:
    [record] = shown_table(pd.DataFrame({"best LSTM weight": [0.2]})).records
    assert record.data == {"best LSTM weight": "0.2"}
    assert not shown_table(pd.DataFrame({"week": []})).records
