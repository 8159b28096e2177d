"""The map of latents: two axes to draw, clusters with their elbow curve, and the dendrogram, as in the post."""

import dataclasses
import warnings

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class LatentMap:
    """The pieces of a corpus in latent space."""

    points: np.ndarray  # [N, 2], the latents themselves where there are two, else their first principal components.
    clusters: np.ndarray  # [N], the k-means cluster of each piece.
    inertia: np.ndarray  # The elbow curve: the within-cluster sum of squares for 1, 2, ... clusters.
    linkage: np.ndarray  # [N - 1, 4], the complete-linkage tree in SciPy's form; empty for a single piece.


def map_latents(means: np.ndarray, seed: int) -> LatentMap:
    """Maps pieces by their posterior means, [N, Z]; the seed is that of k-means."""
    import scipy.cluster.hierarchy
    import scipy.spatial.distance
    import sklearn.cluster  # A second to import.
    import sklearn.decomposition
    import sklearn.exceptions

    with warnings.catch_warnings():  # Latents that differ by rounding alone make fewer clusters than asked for.
        warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
        fits = [
            sklearn.cluster.KMeans(n_clusters=k, n_init=10, random_state=seed).fit(means)
            for k in range(1, min(10, len(np.unique(means, axis=0))) + 1)
        ]
    inertia = np.array([fit.inertia_ for fit in fits])
    points = means[:, :2]
    if means.shape[1] > 2 and len(fits) > 1:
        points = sklearn.decomposition.PCA(2, random_state=seed).fit_transform(means)
    distances = scipy.spatial.distance.pdist(means)
    linkage = scipy.cluster.hierarchy.linkage(distances, method="complete") if len(means) > 1 else np.zeros((0, 4))
    # The elbow of the curve is the point furthest below the straight line between its ends.
    below_line = np.linspace(inertia[0], inertia[-1], len(inertia)) - inertia
    elbow = int(np.argmax(below_line)) if len(inertia) > 2 else 0
    return LatentMap(points, fits[elbow].labels_, inertia, linkage)
