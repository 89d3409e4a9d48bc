"""Hold fitted dose-response curves against published ones, planted ones and a loop over scipy's curve_fit.

Needs a folder with `gdsc/GDSC_raw_data_example.parquet` (raw wells of eight drugs, official layout) and
`ccle/CCLE_NP24.2009_Drug_data_2015.02.24.csv` (official file), and the embedded dataset `gdsc2-demo`.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import RESULTS, machine, now, set_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd

    from halfmax.data.dose_response import CurveFits

    Row = tuple[str, str, str, str, float, int]

#: DRUG_ID of the raw wells to the name in the embedded dataset.
DRUGS = {
    "1003": "Camptothecin",
    "1032": "Afatinib",
    "1036": "PLX-4720",
    "1060": "PD0325901",
    "1268": "XAV939",
    "1510": "Linsitinib",
    "1862": "MG-132",
}
CCLE_CAP = 8.0
N_LOOP = 300
COLUMNS = ["check", "fit", "group", "quantity", "value", "n"]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("HALFMAX_SHARED_DATA"), help="the folder")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    if args.data is None:
        parser.error("give --data, or set HALFMAX_SHARED_DATA")
    set_threads(1)

    import pandas as pd

    from halfmax.data.storage import atomic_file, write_json

    wells, ccle = gdsc_wells(args.data), pd.read_csv(ccle_file(args.data), dtype=str)
    rows = [*speed(wells), *gdsc(wells), *recipes(args.data), *ccle_file_checks(ccle), *planted()]
    table = pd.DataFrame(rows, columns=COLUMNS)
    args.out.mkdir(parents=True, exist_ok=True)
    with atomic_file(args.out / "dose_response.csv") as temporary:
        table.to_csv(temporary, index=False, float_format="%.4g")
    write_json(args.out / "dose_response_environment.json", {"run": now(), "machine": machine()})
    print(table.to_string(index=False, float_format="%.4g"))


def gdsc_wells(folder: Path) -> pd.DataFrame:
    """Return the normalised wells of the GDSC raw file."""
    import pandas as pd

    from halfmax.data.dose_response import normalise_plates, wells_from_gdsc

    return normalise_plates(wells_from_gdsc(pd.read_parquet(folder / "gdsc" / "GDSC_raw_data_example.parquet"))).wells


def ccle_file(folder: Path) -> Path:
    """Return the path of the CCLE drug file."""
    return folder / "ccle" / "CCLE_NP24.2009_Drug_data_2015.02.24.csv"


def published() -> pd.DataFrame:
    """Return the published ln IC50 of the seven drugs: sample_id (COSMIC), drug_id, published."""
    import halfmax

    dataset = halfmax.load_dataset("gdsc2-demo")
    found = dataset.response[dataset.response["drug_id"].isin(DRUGS.values())]
    cosmic = found["sample_id"].map(dataset.samples["cosmic_id"].astype(str))
    ids = found["drug_id"].map({name: key for key, name in DRUGS.items()})
    return found.assign(sample_id=cosmic, drug_id=ids).rename(columns={"value": "published"})


def compare(fits: CurveFits, truth: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs that both have, with `published` beside the fit, and whether both lie within the doses."""
    import numpy as np

    found = fits.table.merge(truth, on=["sample_id", "drug_id"])
    found = found[found["ln_ic50"].notna() & found["published"].notna()]
    top = np.log(found["max_dose"])
    return found.assign(inside=(found["ln_ic50"] < top) & (found["published"] < top))


def gdsc(wells: pd.DataFrame) -> Iterator[Row]:
    """Yield agreement with the published ln IC50, beside that of two plates of the same wells."""
    from halfmax.data.dose_response import fit_curves

    truth = published()
    all_found = {m: compare(fit_curves(wells, m), truth) for m in ("sigmoid", "loglogistic4", "multilevel")}
    for model, found in all_found.items():
        for drug, pairs in found.groupby("drug_id"):
            name = DRUGS[str(drug)]
            yield "gdsc", model, name, "pearson", pairs["ln_ic50"].corr(pairs["published"]), len(pairs)
            inside = pairs[pairs["inside"]]
            if len(inside) >= 20:
                value = inside["ln_ic50"].corr(inside["published"])
                yield "gdsc", model, name, "pearson, both within the doses", value, len(inside)
            if model == "multilevel":
                away = pairs["ln_ic50"] - pairs["published"]
                far = ((away - away.median()).abs() > 3 * pairs["sd_ln_ic50"]).mean()
                yield "gdsc", model, name, "share over 3 posterior sd from published", far, len(pairs)
    plain = all_found["sigmoid"][["sample_id", "drug_id"]]
    for drug, pairs in all_found["multilevel"].merge(plain).groupby("drug_id"):
        value = pairs["ln_ic50"].corr(pairs["published"])
        yield "gdsc", "multilevel", DRUGS[str(drug)], "pearson, pairs that have a plain IC50", value, len(pairs)
    yield from shared_by_a_line(all_found["multilevel"])
    yield from two_plates(wells)


def shared_by_a_line(found: pd.DataFrame) -> Iterator[Row]:
    """Yield agreement once what the lines' other drugs share of the difference is taken out, five-fold over lines.

    A diagnosis and no fit: it uses the published values of the other drugs.
    """
    import numpy as np

    away = found.assign(away=found["ln_ic50"] - found["published"])
    wide = {c: away.pivot(index="sample_id", columns="drug_id", values=c).dropna() for c in ("away", "ln_ic50")}
    lines = wide["away"].index.intersection(wide["ln_ic50"].index)
    fold = np.arange(len(lines)) % 5
    for drug in wide["away"].columns:
        target = wide["away"].loc[lines, drug].to_numpy()
        others = np.column_stack([np.ones(len(lines)), wide["away"].loc[lines].drop(columns=drug).to_numpy()])
        shared = np.empty(len(lines))
        for k in range(5):
            weights = np.linalg.lstsq(others[fold != k], target[fold != k], rcond=None)[0]
            shared[fold == k] = others[fold == k] @ weights
        ours = wide["ln_ic50"].loc[lines, drug].to_numpy()
        value = float(np.corrcoef(ours - shared, ours - target)[0, 1])
        yield "gdsc", "multilevel", DRUGS[str(drug)], "diagnosis: pearson less what a line shares", value, len(lines)


def recipes(folder: Path) -> Iterator[Row]:
    """Yield the range of agreement over ways to normalise and cut, for the multilevel fit."""
    import pandas as pd

    from halfmax.data.dose_response import fit_curves, normalise_plates, wells_from_gdsc

    wells = wells_from_gdsc(pd.read_parquet(folder / "gdsc" / "GDSC_raw_data_example.parquet"))
    truth = published()
    for name, plate, curve in (
        ("median of controls", {"centre": "median"}, {}),
        ("no blanks", {"zero": "none"}, {}),
        ("zero at positive controls", {"zero": "positive"}, {}),
        ("median polish", {"polish": True}, {}),
        ("not trimmed", {}, {"trim": False}),
    ):
        found = compare(fit_curves(normalise_plates(wells, **plate).wells, "multilevel", **curve), truth)
        for drug, pairs in found.groupby("drug_id"):
            value = pairs["ln_ic50"].corr(pairs["published"])
            yield "gdsc", f"multilevel, {name}", DRUGS[str(drug)], "pearson", value, len(pairs)


def two_plates(wells: pd.DataFrame) -> Iterator[Row]:
    """Yield how well the fits of the first and the last plate of a line agree, each plate fitted on its own."""
    from halfmax.data.dose_response import fit_curves

    drugs = wells[wells["role"].isin(["drug", "positive"])]
    plate = drugs["plate"].astype(int)
    groups = plate.groupby([drugs["sample_id"], drugs["drug_id"]])
    first, last = groups.transform("min"), groups.transform("max")
    several = first < last
    tables = [fit_curves(drugs[several & (plate == edge)], "multilevel").table for edge in (first, last)]
    both = tables[0].merge(tables[1], on=["sample_id", "drug_id"])
    for drug, pairs in both.groupby("drug_id"):
        if len(pairs) >= 20:
            value = pairs["ln_ic50_x"].corr(pairs["ln_ic50_y"])
            yield "gdsc", "multilevel", DRUGS[str(drug)], "pearson of two plates of a line", value, len(pairs)


def ccle_file_checks(frame: pd.DataFrame) -> Iterator[Row]:
    """Yield agreement with the published IC50 (those at the highest dose left out) and activity area."""
    import numpy as np
    import pandas as pd

    from halfmax.data.dose_response import Limits, fit_curves, wells_from_ccle

    wells = wells_from_ccle(frame)
    theirs = pd.DataFrame({"sample_id": frame["CCLE Cell Line Name"], "drug_id": frame["Compound"]})
    theirs["ic50"], theirs["area"] = (pd.to_numeric(frame[c]) for c in ("IC50 (uM)", "ActArea"))
    theirs["shape"] = frame["FitType"]
    for name, model, options in (
        ("sigmoid", "sigmoid", {}),
        ("loglogistic4", "loglogistic4", {}),
        ("loglogistic4, top ≤ 1", "loglogistic4", {"limits": Limits(top=(0.8, 1.0)), "trim": True}),
    ):
        found = fit_curves(wells, model, **options).table.merge(theirs, on=["sample_id", "drug_id"])
        half = found[(found["ic50"] < CCLE_CAP) & found["ln_ic50"].notna()]
        half = half.assign(published=np.log(half["ic50"]))
        area = found[found["aac"].notna() & found["area"].notna()]
        for what, pairs, ours, published_ in (("ln_ic50", half, "ln_ic50", "published"), ("area", area, "aac", "area")):
            yield "ccle", name, "all", f"pearson {what}", pairs[ours].corr(pairs[published_]), len(pairs)
            for shape, group in pairs.groupby("shape"):
                words = f"published as {str(shape).lower()}"
                yield "ccle", name, words, f"pearson {what}", group[ours].corr(group[published_]), len(group)
            for drug, group in pairs.groupby("drug_id"):
                yield "ccle", name, str(drug), f"pearson {what}", group[ours].corr(group[published_]), len(group)
                group = group[group["shape"] == "Sigmoid"]
                quantity = f"pearson {what}, published as sigmoid"
                yield "ccle", name, str(drug), quantity, group[ours].corr(group[published_]), len(group)


def speed(wells: pd.DataFrame) -> Iterator[Row]:
    """Yield curves a second of CPU time of one thread, and of a loop over scipy on some of the same curves."""
    from halfmax.data.dose_response import fit_curves
    from halfmax.data.dose_response.packing import pack
    from halfmax.data.dose_response.sigmoid import Limits
    from halfmax.data.dose_response.solve import solve

    table = wells[wells["role"].isin(["drug", "positive"]) & (wells["dose"] > 0)]
    table = table.assign(viability=table["viability"].clip(0, 1))
    points = pack(table, ("sample_id", "drug_id"), together=True)
    for model, free in (("sigmoid", (0, 1)), ("loglogistic4", (0, 1, 2, 3))):
        own = cpu(lambda free=free: solve(points, free, Limits(), robust=False))
        loop = cpu(lambda free=free: scipy_loop(points, free))
        rates = {"solver": len(points) / own, "scipy curve_fit loop": N_LOOP / loop}
        rates["whole call"] = len(points) / cpu(lambda model=model: fit_curves(wells, model))
        for what, value in rates.items():
            yield "speed", model, what, "curves a second of CPU", value, N_LOOP if "scipy" in what else len(points)
        ratio = rates["solver"] / rates["scipy curve_fit loop"]
        yield "speed", model, "solver", "times the scipy loop", ratio, N_LOOP
    shrunk = len(points) / cpu(lambda: fit_curves(wells, "multilevel"))
    yield "speed", "multilevel", "whole call", "curves a second of CPU", shrunk, len(points)


def scipy_loop(points: Any, free: tuple[int, ...]) -> int:
    """Fit N_LOOP curves spread over all with curve_fit; return how many it could."""
    import numpy as np
    from scipy.optimize import curve_fit
    from scipy.special import expit

    from halfmax.data.dose_response.sigmoid import Limits

    lower, upper = Limits().arrays(points.low, points.high)

    def curve(x: Any, midpoint: float, ln_hill: float, top: float = 1.0, bottom: float = 0.0) -> Any:
        return bottom + (top - bottom) * expit(-np.exp(ln_hill) * (x - midpoint))

    n_fitted, columns = 0, list(free)
    for row in np.linspace(0, len(points) - 1, N_LOOP).astype(int):
        have = points.weight[row] > 0
        x, y, w = points.x[row, have], points.y[row, have], points.weight[row, have]
        start = np.array([x.mean(), 0.0, 1.0, 0.1])[columns]
        limits = (lower[row, columns], upper[row, columns])
        try:
            curve_fit(curve, x, y, start, sigma=1 / np.sqrt(w), bounds=limits)
        except RuntimeError:  # scipy's word for a fit that has not converged
            continue
        n_fitted += 1
    return n_fitted


def planted() -> Iterator[Row]:
    """Yield the error of curves whose truth is known, noise 0.05, nine doses, midpoints within them."""
    import numpy as np
    import pandas as pd

    from halfmax.data.dose_response import fit_curves
    from halfmax.data.dose_response.sigmoid import viability

    rng = np.random.default_rng(0)
    n, x = 5000, np.log(10 / np.sqrt(10) ** np.arange(9))
    params = np.stack([rng.uniform(-5, 0, n), rng.uniform(-0.5, 1.1, n), np.ones(n), np.zeros(n)], axis=1)
    y = viability(params, np.broadcast_to(x, (n, 9))) + 0.05 * rng.normal(size=(n, 9))
    names = np.repeat([f"S{i:05d}" for i in range(n)], 9)
    wells = pd.DataFrame({"sample_id": names, "drug_id": "D", "dose": np.tile(np.exp(x), n), "viability": y.ravel()})
    for robust in (False, True):
        table = fit_curves(wells, "sigmoid", robust=robust, trim=False).table
        error = table["ln_ic50"] - params[:, 0]
        ratio = error / table["sd_ln_ic50"]
        label = "sigmoid, robust" if robust else "sigmoid"
        yield "planted", label, "all", "median absolute error of ln_ic50", float(error.abs().median()), n
        yield "planted", label, "all", "error over stated error, half of its middle 68 %", half_width(ratio), n


def half_width(values: pd.Series) -> float:
    """Return half the distance between the quantiles that lie one standard deviation from a normal mean."""
    return float(values.quantile(0.84) - values.quantile(0.16)) / 2


def cpu(work: Callable[[], object], repeats: int = 3) -> float:
    """Return the least CPU time of a few runs [s], one run beforehand."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


if __name__ == "__main__":
    main()
