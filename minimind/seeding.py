"""One start for every random generator that a program may draw from."""


def seed_everything(seed: int) -> None:
    """Start Python's, NumPy's and torch's random generators.

    Args:
        seed: from 0 to 2**32 - 1. The same seed gives the same numbers.
    """
    import random

    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
