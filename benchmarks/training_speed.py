"""Say what half precision and a compiled step are worth: processor time of a training step of the default MLP.

    python benchmarks/training_speed.py --steps 12

A step of the size of the embedded data (128 samples, 286 drugs, 512 components, two members) runs forwards and
backwards, in turns and in one process, as it is, under bfloat16, and compiled. The compiled one has no dropout, since a
generator of one's own cannot be compiled; it is compared with the plain step without dropout. Results are written
to ``results/training_speed.json``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

from common import RESULTS, now, set_threads, source


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    set_threads(1)

    import numpy as np
    import torch

    from halfmax.models.networks.mlp import TwoTowerMLP

    torch.set_num_threads(1)
    model = TwoTowerMLP()
    n, n_drugs, k = 128, 286, 512
    model.sample_basis_ = np.zeros((1, k), dtype=np.float32)
    model.drug_basis_ = np.zeros((1, n_drugs), dtype=np.float32)
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: value.to(args.device).requires_grad_()
        for name, value in model._initial(np.zeros((1, n_drugs)), generator, None).items()
    }
    x = torch.randn(model.members, n, k, generator=generator).to(args.device)
    drugs = torch.randn(n_drugs, n_drugs, generator=generator).to(args.device)
    rows = np.arange(n_drugs)

    def loss(dropout: torch.Generator | None) -> torch.Tensor:
        h = model._samples(weights, x, dropout)
        v, bias = model._drugs(weights, drugs, rows, dropout)
        return model._score(weights, h, v, bias, dropout).float().square().mean()

    def half() -> torch.Tensor:
        with torch.autocast(args.device, torch.bfloat16):
            return loss(generator)

    ways: dict[str, Callable[[], torch.Tensor]] = {
        "float32": lambda: loss(generator),
        "bfloat16": half,
        "float32, no dropout": lambda: loss(None),
    }
    failed = ""
    if not args.no_compile:
        compiled = torch.compile(lambda: loss(None))
        begun = time.perf_counter()
        try:
            compiled().backward()
            ways["compiled, no dropout"] = compiled
        except Exception as error:  # no compiler, or one that torch cannot use: that is the result
            failed = f"{type(error).__name__}: {error}"[:300]
        compile_s = time.perf_counter() - begun
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.steps):
        for name, way in ways.items():
            begun = time.process_time()
            way().backward()
            if args.device == "cuda":
                torch.cuda.synchronize()
            spent[name].append(time.process_time() - begun)
    found = {name: float(np.median(values)) for name, values in spent.items()}
    content = {
        "device": args.device,
        "step_cpu_s": {name: round(value, 4) for name, value in found.items()},
        "bfloat16_over_float32": round(found["bfloat16"] / found["float32"], 3),
        "steps": args.steps,
        "torch": torch.__version__,
        "run": now(),
        "commit": source().get("commit", ""),
    }
    if "compiled, no dropout" in found:
        content["compiled_over_plain"] = round(found["compiled, no dropout"] / found["float32, no dropout"], 3)
        content["first_call_wall_s"] = round(compile_s, 1)
    if failed:
        content["compile_failed"] = failed
    (args.out / "training_speed.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(content))


if __name__ == "__main__":
    main()
