"""What a pretrained encoder of drugs' descriptions or structures says of unseen drugs, beside its controls.

    python benchmarks/encoders.py text:FOLDER smiles:FOLDER --name MiniLM

On the drugs in the training part of fold 0 of the drug-blind folds alone: one drug at a time is left out of a kernel
regression on the block (Gaussian, width the median distance), λ chosen by the same errors. R² is that of the drug's
mean response (potency) and of its profile, the response less the sample's and the drug's mean. Controls are drawn
--draws times: vectors dealt to other drugs (shuffled), normal vectors (random). ``mechanism`` is a block of facts.
Results: ``results/encoders.csv``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from common import RESULTS, configuration, merge_csv, now, set_threads, source

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("blocks", nargs="+", help="drug blocks, e.g. text:FOLDER or mechanism")
    parser.add_argument("--name", required=True, help="what the encoder is called in the results")
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    set_threads(1)

    import numpy as np
    import pandas as pd

    from halfmax.features.encoders import control
    from halfmax.features.pipeline import Responses, drug_block
    from halfmax.run import load_data, prepare

    config = configuration("LDO", ["mean_effects"], only=["0"])
    prepared = prepare(config, load_data(config))
    dataset = prepared.dataset.take(prepared.splits[0].fit_rows)
    profile = Responses(dataset).of_drugs()
    grid = dataset.response.pivot_table(index="drug_id", columns="sample_id", values="value")
    potency = grid.reindex(dataset.drugs.index).mean(axis=1).to_numpy()
    profile = np.nan_to_num(profile - np.nanmean(profile, axis=1, keepdims=True))
    for name in args.blocks:
        kind, _, encoder = name.partition(":")
        vectors = drug_block(dataset, name).values
        known = np.isfinite(vectors).all(axis=1)
        row = {"block": f"{kind}:{args.name}" if encoder else kind, "drugs": len(known), "described": int(known.sum())}
        row |= dict(zip(("potency_r2", "profile_r2"), scores(vectors, potency, profile), strict=True))
        for what in ("shuffled", "random"):
            drawn = [scores(control(vectors, what, seed), potency, profile) for seed in range(args.draws)]
            for place, of in enumerate(("potency", "profile")):
                values = np.array(drawn)[:, place]
                row |= {f"{what}_{of}_mean": values.mean(), f"{what}_{of}_highest": values.max()}
        row |= {"draws": args.draws, "run": now(), "commit": source().get("commit", "")}
        print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}), flush=True)
        merge_csv(args.out / "encoders.csv", pd.DataFrame([row]), ("block",))


def scores(vectors: npt.NDArray[np.float32], potency: Array, profile: Array) -> tuple[float, float]:
    """Return leave-one-drug-out R² of potency and of profiles; a drug without a vector gets the mean."""
    import numpy as np

    from halfmax.models.drug_side import choose_drug_ridge

    known = np.isfinite(vectors).all(axis=1)
    some = vectors[known].astype(np.float64)
    distance = ((some[:, None] - some[None]) ** 2).sum(axis=2)
    gram = np.zeros((len(known), len(known)))
    gram[np.ix_(known, known)] = np.exp(-distance / max(float(np.median(distance[distance > 0])), 1e-12))
    _, error = choose_drug_ridge(gram, potency[:, None], mean=True)
    _, left = choose_drug_ridge(gram, profile, mean=False)
    return 1 - error / float(np.var(potency)), 1 - left / float((profile**2).mean())


if __name__ == "__main__":
    main()
