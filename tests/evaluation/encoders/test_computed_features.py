import numpy as np
import pandas as pd
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.encoders.computed_features import computed_features, read_features_file
from m2s_lib.evaluation.encoders.weight_files import Missing

ITEMS = ["-abc", "x1", "x2"]


def values(n=3, d=4):
    return np.arange(n * d, dtype=np.float32).reshape(n, d)


def test_features_come_back_in_the_order_asked_for(tmp_path):
    (tmp_path / "merlot_reserve").mkdir()
    np.savez(tmp_path / "merlot_reserve" / "lvu.npz", items=np.array(ITEMS), features=values())
    found = computed_features("Merlot Reserve", tmp_path, "lvu", ["x2", "gone", "-abc"])
    np.testing.assert_array_equal(found.values[[0, 2]], values()[[2, 0]])
    assert np.isnan(found.values[1]).all()
    assert found.missing == ("gone",)
    assert (found.n_found, found.n_listed, found.found.tolist()) == (2, 3, [True, False, True])


def test_absent_features_say_where_to_put_them(tmp_path):
    found = computed_features("Hierarchical OT", tmp_path, "lvu", ITEMS)
    assert isinstance(found, Missing)
    assert found.reason.startswith(
        f"features not found: put them at {tmp_path / 'hierarchical_ot' / 'lvu'}.npz"
    )


@pytest.mark.parametrize("as_lists", [False, True])
def test_parquet_with_lists_or_columns(tmp_path, as_lists):
    table = pd.DataFrame({"features": list(values())}) if as_lists else pd.DataFrame(values()).add_prefix("f")
    table.insert(0, "item", ITEMS)
    (tmp_path / "ot").mkdir()
    table.to_parquet(tmp_path / "ot" / "lvu.parquet")
    found = computed_features("OT", tmp_path, "lvu", ITEMS, width=4)
    np.testing.assert_array_equal(found.values, values())
    assert found.missing == ()


def broken(**change):
    items, x = list(ITEMS), values()
    if "nan" in change:
        x[1, 2] = np.nan
    if "twice" in change:
        items[2] = items[0]
    if "short" in change:
        x = x[:2]
    return items, x


@pytest.mark.parametrize(
    ("change", "width", "message"),
    [
        ({"nan": 1}, 0, r"the features of item x1 are NaN or infinite \(1 such items\)"),
        ({"twice": 1}, 0, "item -abc has two rows"),
        ({"short": 1}, 0, r"3 items and features of float32 \(2, 4\)"),
        ({}, 512, "has 4 numbers an item, expected 512"),
    ],
)
def test_wrong_features_are_refused(tmp_path, change, width, message):
    items, x = broken(**change)
    np.savez(tmp_path / "lvu.npz", items=np.array(items), features=x)
    with pytest.raises(M2SError, match=message):
        read_features_file(tmp_path / "lvu.npz", ITEMS, width=width)


def test_features_of_other_items_and_damaged_files_are_refused(tmp_path):
    path = tmp_path / "lvu.npz"
    np.savez(path, items=np.array(ITEMS), features=values())
    with pytest.raises(M2SError, match="features of other items: none of 2 is among its 3 .*asked for 'tt1'"):
        read_features_file(path, ["tt1", "tt2"])
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(M2SError, match="lvu.npz"):
        read_features_file(path, ITEMS)
    np.savez(path, x=values())
    with pytest.raises(M2SError, match=r"has \['x'\], expected items"):
        read_features_file(path, ITEMS)
    np.savez(path, items=np.array(ITEMS, dtype=object), features=values())
    with pytest.raises(M2SError, match="items as text"):
        read_features_file(path, ITEMS)
    (tmp_path / "a.parquet").write_bytes(b"x")
    with pytest.raises(M2SError, match="a.parquet cannot be read"):
        read_features_file(tmp_path / "a.parquet", ITEMS)
    pd.DataFrame({"id": ITEMS}).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(M2SError, match="has no column item"):
        read_features_file(tmp_path / "b.parquet", ITEMS)
    pd.DataFrame({"item": ITEMS, "features": [[1.0], [1.0, 2.0], [1.0]]}).to_parquet(tmp_path / "c.parquet")
    with pytest.raises(M2SError, match="item x1 has 2 numbers, the first has 1"):
        read_features_file(tmp_path / "c.parquet", ITEMS)
