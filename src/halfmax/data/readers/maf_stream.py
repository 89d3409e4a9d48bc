"""The rows of a MAF file a batch at a time, in memory that does not grow with the file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from halfmax.data.readers.glimpse import glimpse
from halfmax.data.tables import plain_name
from halfmax.errors import DataError, examples

#: Bytes that are read at once; Arrow reads some 40 blocks ahead, whatever it is told, and they bound the memory.
BLOCK_BYTES = 1 << 20
#: What is read, under our names, and how files call it: the GDC, Firehose, and centres before them.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "gene": ("Hugo_Symbol", "HugoSymbol", "Gene_Symbol"),
    "entrez": ("Entrez_Gene_Id", "EntrezGeneID"),
    "classification": ("Variant_Classification",),
    "aliquot": ("Tumor_Sample_Barcode", "Tumor_Sample", "Tumour_Sample_Barcode", "sampleID"),
    "chromosome": ("Chromosome", "Chrom", "Chr"),
    "start": ("Start_Position", "Start"),
    "end": ("End_Position", "End"),
    "reference": ("Reference_Allele", "Ref"),
    "allele_1": ("Tumor_Seq_Allele1",),
    "allele_2": ("Tumor_Seq_Allele2", "Alt"),
    "kind": ("Variant_Type",),
    "build": ("NCBI_Build", "Build"),
    "status": ("Mutation_Status",),
    "filter": ("FILTER",),
    "protein_change": ("HGVSp_Short", "Protein_Change", "amino_acid_change_WU", "amino_acid_change", "AAChange"),
}
NEEDED = ("gene", "classification", "aliquot")


@dataclass
class MafRows:
    """Iterates over the batches of a MAF; every column of `COLUMNS` is there as text, empty where the file lacks it.

    Parameters
    ----------
    path
        Tab-separated text, also packed with gzip, or Parquet.

    Raises
    ------
    DataError
        On the way, if a column that is needed is not there, a row has too many or too few cells, or text is not UTF-8.
    """

    path: Path
    n_comments: int = 0
    n_rows: int = 0
    columns: dict[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[pa.Table]:
        """Yield tables of some ten thousand rows each."""
        seen = glimpse(self.path)
        if seen.form not in ("text", "parquet"):
            raise DataError(f"it is no MAF file but a {seen.form}; give the text or gzip file.")
        if not seen.rows:
            raise DataError("it is empty, or holds comments alone.")
        places = self._places(seen.columns)
        self.n_rows = 0
        if seen.form == "parquet":
            batches = self._from_parquet(seen.columns, places)
        else:
            head = next(i for i, line in enumerate(seen.lines) if line.strip() and not line.startswith("#"))
            self.n_comments = sum(line.startswith("#") for line in seen.lines[:head])
            batches = self._from_text(seen.lines[head], head, places)
        for batch in batches:
            self.n_rows += batch.num_rows
            yield batch

    def _places(self, names: tuple[str, ...]) -> dict[str, int]:
        plain = [plain_name(name) for name in names]
        found: dict[str, int] = {}
        for column, known in COLUMNS.items():
            at = [plain.index(plain_name(name)) for name in known if plain_name(name) in plain]
            if at:
                found[column] = at[0]
                self.columns[column] = names[at[0]]
        if lacking := [COLUMNS[column][0] for column in NEEDED if column not in found]:
            raise DataError(
                f"a MAF file has the columns {examples(COLUMNS[c][0] for c in NEEDED)}; this one lacks "
                f"{examples(lacking)} and has {examples(names, 9)}."
            )
        return found

    def _from_parquet(self, names: tuple[str, ...], places: Mapping[str, int]) -> Iterator[pa.Table]:
        import pyarrow.parquet as pq

        try:
            file = pq.ParquetFile(self.path)
            raw = file.schema_arrow.names
            for batch in file.iter_batches(1 << 16, columns=[raw[at] for at in places.values()]):
                yield _complete(pa.table(batch), {column: raw[at] for column, at in places.items()})
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"it is a damaged Parquet file ({first_line(error)}).") from None

    def _from_text(self, header: str, head: int, places: Mapping[str, int]) -> Iterator[pa.Table]:
        mark = "\t" if "\t" in header else ","
        names = [str(i) for i in range(header.count(mark) + 1)]
        used = {column: str(at) for column, at in places.items()}
        found = False
        try:
            with pyarrow.csv.open_csv(
                open_text(self.path),
                read_options=pyarrow.csv.ReadOptions(
                    column_names=names, skip_rows=head + 1, block_size=BLOCK_BYTES, use_threads=False
                ),
                parse_options=pyarrow.csv.ParseOptions(delimiter=mark, quote_char=False if mark == "\t" else '"'),
                convert_options=pyarrow.csv.ConvertOptions(
                    include_columns=list(dict.fromkeys(used.values())),
                    column_types=dict.fromkeys(names, pa.string()),
                    strings_can_be_null=False,
                ),
            ) as reader:
                for batch in reader:
                    found = found or batch.num_rows > 0
                    yield _complete(pa.table(batch), used)
        except (pa.ArrowException, OSError, EOFError) as error:
            if cells := re.search(r"(?:(Row #\d+): )?Expected (\d+) columns, got (\d+)", str(error)):
                raise DataError(
                    f"{(cells[1] or 'a row').lower().replace('#', '')} has {cells[3]} cells, {cells[2]} are expected; "
                    "the file is cut off or damaged: download it again."
                ) from None
            if "Empty CSV" not in str(error):
                raise DataError(f"it cannot be read: {first_line(error)}.") from None
        if not found:
            raise DataError("it has a header and no rows below it.")


def open_text(path: Path) -> pa.NativeFile:
    """Open a text for streaming, unpacked if it is packed with gzip, whatever its name says."""
    file = pa.OSFile(str(path))
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return pa.CompressedInputStream(file, "gzip") if packed else file


def _complete(batch: pa.Table, used: Mapping[str, str]) -> pa.Table:
    """Return the batch under our names, as trimmed text, with empty text where the file has no such column."""
    columns = []
    for column in COLUMNS:
        if column not in used:
            columns.append(pa.array([""] * batch.num_rows, pa.string()))
            continue
        values = batch.column(used[column])
        if pa.types.is_floating(values.type):
            values = pc.cast(values, pa.int64(), safe=False)
        text = values if pa.types.is_string(values.type) else pc.cast(values, pa.string())
        columns.append(pc.fill_null(pc.utf8_trim_whitespace(text), ""))
    return pa.table(columns, names=list(COLUMNS))


def first_line(error: BaseException) -> str:
    """Return the first line of what another library says, for a message of ours."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
