"""Tables that users bring: parquet, or CSV as spreadsheets and databases write it."""

from pathlib import Path

import pandas as pd

from m2s_lib.io import read_csv

_SEPARATORS = ",;\t"


def read_table(path: Path, **options) -> pd.DataFrame:
    """Reads a parquet or CSV table; commas, semicolons or tabs separate, as the first line shows.

    CSV text is UTF-8 (with or without a byte-order mark), UTF-16 with one, or else Windows-1252.

    Args:
        path: its ending says which it is: .parquet, .pq, or anything else for CSV.
        options: of `pd.read_csv`, for CSV.

    Raises:
        Many kinds of exceptions for a damaged or foreign file; say which table it was.
    """
    if path.suffix.lower() in (".parquet", ".pq"):
        return pd.read_parquet(path)
    with open(path, "rb") as file:
        head = file.readline(1 << 16)
    utf16 = head[:2] in (b"\xff\xfe", b"\xfe\xff")
    line = head.replace(b"\0", b"").decode("latin-1")
    separator = max(_SEPARATORS, key=line.count)
    try:
        return read_csv(path, encoding="utf-16" if utf16 else "utf-8-sig", sep=separator, **options)
    except UnicodeDecodeError:
        return read_csv(path, encoding="cp1252", sep=separator, **options)
