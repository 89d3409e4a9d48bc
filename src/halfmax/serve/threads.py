"""How many cores one computation may use, so that requests do not fight for them."""

from __future__ import annotations


def limit_threads(n: int) -> None:
    """Let linear algebra and torch use `n` threads in this process, so that requests do not fight for the cores."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    threadpool_limits(limits=n)
    import torch

    torch.set_num_threads(n)
