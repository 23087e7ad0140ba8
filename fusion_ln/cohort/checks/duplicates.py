"""Near-duplicate pictures, found by the correlation of small grey copies."""

import numpy as np
import scipy  # its parts load when they are first used

from fusion_ln.cohort.checks.thumbnail import grey_copy

# Chosen on BUSI: all pairs above are frames of one lesion, those below are mostly not (see `near_pairs`).
SAME_PICTURE = 0.95
SAME_CONTENT = 0.80
MANY, AXES = 4096, 63  # pictures from which on pairs are first sought on the axes along which they differ most
ROUNDING = np.float32(1e-4)  # of squared lengths in float32, and some
BLOCK = 512  # rows of the correlation matrix at a time: 20,000 pictures need 40 MB


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """Make the thumbnail of a picture: 32 x 32 grey values, mean 0, length 1; all 0 for a flat picture.

    Args:
        pixels: uint8. Shape (H, W, 3).

    Returns:
        float32. Shape (1024,). The dot product of two is their correlation.
    """
    return np.asarray(normalised_thumbnails(grey_copy(pixels)[None])[0])


def normalised_thumbnails(grey_copies: np.ndarray) -> np.ndarray:
    """Normalise grey copies to thumbnails: mean 0, length 1. float32, shape (P, 1024)."""
    values = grey_copies.astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.where(lengths > 1e-6, values / np.maximum(lengths, 1e-6), np.float32(0))


def near_pairs(thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find pairs of pictures that show nearly the same.

    Two pictures from one scanner share their layout (border, scale, text) and correlate by that alone. So both must
    correlate by 0.95 as they are, and by 0.80 once the mean of all other pictures is subtracted from them.

    Args:
        thumbnails: See `thumbnail`; of pictures that may share a layout. Shape (P, 1024).

    Returns:
        Indices i < j of each pair, in order, and the correlation of the two pictures. Shapes (K, 2) and (K,).
    """
    total = thumbnails.sum(axis=0)
    with_total = thumbnails @ total
    bounds = _bounding(thumbnails) if len(thumbnails) >= MANY else thumbnails
    pairs, correlations = [], []
    for start in range(0, len(thumbnails), BLOCK):
        block = bounds[start : start + BLOCK] @ bounds[start:].T
        i, j = np.nonzero(np.triu(block >= SAME_PICTURE, k=1))
        correlation, i, j = block[i, j], i + start, j + start
        if bounds is not thumbnails:
            correlation = np.concatenate(
                [
                    np.einsum("ij,ij->i", thumbnails[i[part]], thumbnails[j[part]])
                    for part in (slice(first, first + BLOCK) for first in range(0, max(1, len(i)), BLOCK))
                ]
            )
            near = correlation >= SAME_PICTURE
            correlation, i, j = correlation[near], i[near], j[near]
        content = _content_correlation(
            correlation, with_total[i], with_total[j], float(total @ total), len(thumbnails) - 2
        )
        same = content >= SAME_CONTENT
        pairs.append(np.stack([i[same], j[same]], axis=1))
        correlations.append(correlation[same])
    if not pairs:
        return np.empty((0, 2), dtype=np.int64), np.empty(0, dtype=np.float32)
    return np.concatenate(pairs), np.concatenate(correlations)


def _bounding(thumbnails: np.ndarray) -> np.ndarray:
    """Make short vectors whose dot product is never below the correlation of two thumbnails. Shape (P, AXES + 1).

    What lies in the first axes counts exactly, of the rest the lengths alone (Cauchy and Schwarz): a tenth of the work.
    """
    sample = thumbnails[:: -(-len(thumbnails) // MANY)]
    products = sample.T @ sample
    axes = np.eye(len(products), AXES, dtype=np.float32)[np.random.default_rng(0).permutation(len(products))]
    for _ in range(4):  # subspace iteration: any axes will do, those of most variance leave the fewest pairs
        axes = np.linalg.qr(products @ axes)[0]
    within = thumbnails @ axes
    rest = np.square(thumbnails).sum(axis=1) - np.square(within).sum(axis=1)
    return np.column_stack([within, np.sqrt(rest.clip(min=0) + ROUNDING)])


def near_pairs_between(grey_copies: np.ndarray, thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find pairs of pictures of two sets that show nearly the same, by the rule of `near_pairs`.

    Args:
        grey_copies: Of the one set; may lie on disk, since only a block at a time is held. Shape (P, 1024).
        thumbnails: Of the other set. Shape (Q, 1024).

    Returns:
        Row of ``grey_copies`` and row of ``thumbnails`` of each pair, in order, and the correlation of the two.
        Shapes (K, 2) and (K,).
    """
    starts = range(0, len(grey_copies), BLOCK)
    total = thumbnails.sum(axis=0)
    for start in starts:
        total = total + normalised_thumbnails(grey_copies[start : start + BLOCK]).sum(axis=0)
    others = len(grey_copies) + len(thumbnails) - 2
    pairs, correlations = [np.empty((0, 2), dtype=np.int64)], [np.empty(0, dtype=np.float32)]
    for start in starts:
        block = normalised_thumbnails(grey_copies[start : start + BLOCK])
        correlation = block @ thumbnails.T
        i, j = np.nonzero(correlation >= SAME_PICTURE)
        correlation = correlation[i, j]
        content = _content_correlation(
            correlation, (block @ total)[i], (thumbnails @ total)[j], float(total @ total), others
        )
        same = content >= SAME_CONTENT
        pairs.append(np.stack([i[same] + start, j[same]], axis=1))
        correlations.append(correlation[same])
    return np.concatenate(pairs), np.concatenate(correlations)


def clusters(n: int, pairs: np.ndarray) -> np.ndarray:
    """Label the groups of pictures that pairs join, directly or through others. Shapes (K, 2) -> (n,)."""
    graph = scipy.sparse.coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    groups: np.ndarray = scipy.sparse.csgraph.connected_components(graph, directed=False)[1]
    return groups


def _content_correlation(
    correlation: np.ndarray, i_total: np.ndarray, j_total: np.ndarray, total: float, others: int
) -> np.ndarray:
    """Compute the correlation of x_i - m and x_j - m, where m is the mean of the others, from dot products alone.

    With s the sum of all, u = x_i + x_j - s and n others, x_i - m = x_i + u / n. The mean of few pictures still holds
    their content, which adds the same to both and feigns agreement: of n others the share 1 / (n + 1), taken out last.
    """
    if others < 1:
        return correlation
    i_u, j_u = 1 + correlation - i_total, 1 + correlation - j_total
    u_u = 2 + 2 * correlation + total - 2 * i_total - 2 * j_total
    product = correlation + (i_u + j_u) / others + u_u / others**2
    lengths = (1 + 2 * i_u / others + u_u / others**2) * (1 + 2 * j_u / others + u_u / others**2)
    raw = product / np.sqrt(np.maximum(lengths, 1e-12))
    corrected: np.ndarray = ((others + 1) * raw - 1) / others
    return corrected
