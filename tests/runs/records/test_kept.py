"""What a stage keeps of a computation comes back as it was."""

import numpy as np
import pandas as pd
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.runs.records import kept


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a.parquet", pd.DataFrame({"film": ["a"], "year": [1999]})),
        ("a.npy", np.arange(3.0)),
        ("a.npz", {"E_scene": np.ones((2, 3)), "colour mean": np.zeros(2)}),
        ("a.json", {"films": [1, None], "text": "映画"}),
    ],
)
def test_values_come_back_as_their_ending_says(tmp_path, name, value):
    kept.write_value(tmp_path / name, value)
    found, data = kept.read_value(tmp_path / name), (tmp_path / name).read_bytes()
    assert type(found) is type(value)
    assert repr(found) == repr(value)
    kept.write_value(tmp_path / name, found)
    assert (tmp_path / name).read_bytes() == data  # the same value gives the same bytes


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.parquet", "a.txt"])
def test_a_value_of_another_kind_is_refused(tmp_path, name):
    with pytest.raises(M2SError, match=f"a list cannot be kept as {name}: .parquet takes a table"):
        kept.write_value(tmp_path / name, [1])
