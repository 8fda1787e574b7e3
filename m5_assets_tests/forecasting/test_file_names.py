from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m5_assets.forecasting.file_names import file_name, key_of


@pytest.mark.parametrize(
    ("key", "name"),
    [("CA_1", "CA_1"), ("FOODS-3_1", "FOODS-3_1"), ("FOODS & MORE_1", "FOODS!20!26!20MORE_1"), ("A.B!", "A!2EB!21")],
)
def test_a_usual_id_is_its_own_file_name_and_any_other_is_quoted(key: str, name: str) -> None:
    assert file_name(key) == name
    assert key_of(name) == key


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_id_comes_back_from_a_plain_file_name(key: str) -> None:
    name = file_name(key)
    assert key_of(name) == key
    assert name.isascii()
    assert not set(name) & set("/\\.%#?&\"' ")
