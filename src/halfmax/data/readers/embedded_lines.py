"""Names and COSMIC ids of the cell lines in the embedded table, to match other files' names with."""

from __future__ import annotations

import io

import pandas as pd

from halfmax.data.archives import read_members
from halfmax.data.packages import PACKAGES, fetch_package
from halfmax.data.readers.embedded import OnDownload

_MEMBER = "gdsctools-1.0.1/gdsctools/data/cosmic_info.csv.gz"


def read_embedded_lines(progress: OnDownload | None = None) -> pd.DataFrame:
    """Return cosmic_id of each cell line of the table in the archive of `gdsctools`; index = name.

    Parameters
    ----------
    progress
        Told (what, done, total) while the archive is fetched, the first time.

    Raises
    ------
    DownloadError
        If it is not in the cache and cannot be fetched.
    """
    source = PACKAGES["gdsctools"]
    say = progress or (lambda what, done, total: None)
    archive = fetch_package(source, progress=lambda done, total: say(f"fetching {source.filename}", done, total))
    table = pd.read_csv(
        io.BytesIO(read_members(archive, [_MEMBER])[_MEMBER]), dtype=str, keep_default_na=False, encoding="utf-8"
    )
    index = pd.Index(table["SAMPLE_NAME"].str.strip(), name="sample_id")
    return pd.DataFrame({"cosmic_id": table["COSMIC_ID"].to_numpy()}, index=index)
