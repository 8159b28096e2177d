"""The map of latents: two axes to draw, clusters with their elbow curve, and the dendrogram, as in the post."""

from __future__ import annotations

import dataclasses

import numpy as np

_MAX_CLUSTERS = 10


@dataclasses.dataclass(frozen=True, eq=False)
class LatentMap:
    """The pieces of a corpus in latent space.

    Attributes:
      points: [N, 2], the latents themselves where there are two, else their first two principal components.
      clusters: k-means cluster of each piece, [N].
      inertia: within-cluster sum of squares for 1, 2, ... clusters: the elbow curve.
      linkage: complete-linkage tree in SciPy's form, [N - 1, 4]; empty for a single piece.
    """

    points: np.ndarray
    clusters: np.ndarray
    inertia: np.ndarray
    linkage: np.ndarray


def map_latents(means: np.ndarray, seed: int) -> LatentMap:
    """Maps pieces by their posterior means.

    Args:
      means: [N, Z], one row a piece.
      seed: seed of k-means.
    """
    import scipy.cluster.hierarchy
    import sklearn.cluster  # A second to import.
    import sklearn.decomposition

    distinct = len(np.unique(means, axis=0))
    fits = [
        sklearn.cluster.KMeans(n_clusters=k, n_init=10, random_state=seed).fit(means)
        for k in range(1, min(_MAX_CLUSTERS, distinct) + 1)
    ]
    inertia = np.array([fit.inertia_ for fit in fits])
    points = means
    if means.shape[1] > 2 and len(means) > 1:
        points = sklearn.decomposition.PCA(2, random_state=seed).fit_transform(means)
    linkage = scipy.cluster.hierarchy.linkage(means, method="complete") if len(means) > 1 else np.zeros((0, 4))
    return LatentMap(points, fits[_elbow(inertia)].labels_, inertia, linkage)


def _elbow(inertia: np.ndarray) -> int:
    """Index of the curve's elbow: the point furthest below the straight line between its ends."""
    if len(inertia) < 3:
        return 0
    line = np.linspace(inertia[0], inertia[-1], len(inertia))
    return int(np.argmax(line - inertia))
