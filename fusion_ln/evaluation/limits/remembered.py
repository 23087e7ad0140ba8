"""Values of models on resamples, remembered: the tables and the comparison of a page draw the same resamples."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock

import numpy as np

MODELS = 24  # remembered at most; of some megabytes each

Drawn = tuple[np.ndarray, np.ndarray]  # metrics on the resamples (R, M), and their influences (G, M)

_lock = Lock()
_recent: OrderedDict[str, Drawn] = OrderedDict()


def remembered(
    probs: Sequence[np.ndarray], conditions: Sequence[object], draw: Callable[[list[np.ndarray]], list[Drawn]]
) -> list[Drawn]:
    """Return what some models' probabilities draw; those that drew it lately are not drawn again.

    Args:
        probs: Of each model, its only part in what it draws.
        conditions: All else that the draws depend on: arrays, numbers, texts.
        draw: Computes what models draw that are not remembered.
    """
    shared = hashlib.sha256()
    for part in conditions:
        shared.update(_bytes_of(part))
    keys = []
    for own in probs:
        whole = shared.copy()
        whole.update(_bytes_of(own))
        keys.append(whole.hexdigest())
    with _lock:
        found = {key: _recent[key] for key in keys if key in _recent}
    missing = {key: own for key, own in zip(keys, probs, strict=True) if key not in found}
    if missing:
        found |= zip(missing, draw(list(missing.values())), strict=True)
    with _lock:
        for key in keys:
            _recent[key] = found[key]
            _recent.move_to_end(key)
        while len(_recent) > MODELS:
            _recent.popitem(last=False)
    return [found[key] for key in keys]


def forget() -> None:
    """Forget all draws, so that they can be timed."""
    with _lock:
        _recent.clear()


def _bytes_of(part: object) -> bytes:
    if isinstance(part, np.ndarray):
        return f"{part.dtype} {part.shape} ".encode() + np.ascontiguousarray(part).tobytes()
    return f"{part!r} ".encode()
