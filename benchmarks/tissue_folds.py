"""Make the fixed folds that leave tissues out: the pairs of the other protocols, tissues dealt once at random.

The file holds names and folds only. It is made once; running this again gives the same table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common import configuration, folds_of

SEED = 0


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=folds_of("LTO"))
    args = parser.parse_args(argv)

    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from halfmax.run import load_data, prepare
    from halfmax.split import make_splits

    config = configuration("LCO", ["mean_effects"])
    dataset = prepare(config, load_data(config)).dataset
    fold = np.empty(dataset.n_pairs, dtype=np.int8)
    for split in make_splits(dataset, "LTO", n_folds=5, seed=SEED):
        fold[split.test] = int(split.fold)
    columns = {"cell": dataset.response["sample_id"], "drug": dataset.response["drug_id"]}
    arrays = {name: pa.array(ids.astype(str), pa.string()) for name, ids in columns.items()}
    pq.write_table(pa.table(arrays | {"fold": pa.array(fold)}), args.out, compression="zstd")
    tissue = columns["cell"].map(dataset.samples["tissue"])
    for number in range(5):
        here = fold == number
        print(f"fold {number}: {here.sum()} pairs, {', '.join(sorted(tissue[here].unique()))}")


if __name__ == "__main__":
    main()
