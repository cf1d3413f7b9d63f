"""Measures of embeddings: retrieval, verification, few shots, geometry.

Pure functions on arrays and on tensors, which stay on their device. Several retrieval metrics of
one search come as :func:`retrieval_report`, those of pairs as :func:`verification_report`, of few
rows a class as :func:`few_shot_report`, all measures of geometry as :func:`geometry_report` and,
for a fitted estimator, :func:`neural_collapse_report`.
"""

from skhug._docs import public
from skhug.metrics._collapse import (
    class_distance_normalized_variance,
    equiangularity,
    equinorm,
    maximal_angle,
    ncc_agreement,
    self_duality,
    simplex_distance,
    within_class_variability,
)
from skhug.metrics._few_shot import few_shot_report
from skhug.metrics._optima import optimal_energy, optimal_separation
from skhug.metrics._reports import Report, geometry_report, neural_collapse_report
from skhug.metrics._retrieval import (
    mean_average_precision_at_k,
    mean_average_precision_at_r,
    mean_reciprocal_rank,
    ndcg_at_k,
    precision_at_k,
    r_precision,
    recall_at_k,
    retrieval_report,
)
from skhug.metrics._uniformity import (
    hyperspherical_energy,
    separation,
    uniformity_between,
    uniformity_gap,
    uniformity_within,
)
from skhug.metrics._verification import pair_verification_report, verification_report

__all__ = [
    "Report",
    "class_distance_normalized_variance",
    "equiangularity",
    "equinorm",
    "few_shot_report",
    "geometry_report",
    "hyperspherical_energy",
    "maximal_angle",
    "mean_average_precision_at_k",
    "mean_average_precision_at_r",
    "mean_reciprocal_rank",
    "ncc_agreement",
    "ndcg_at_k",
    "neural_collapse_report",
    "optimal_energy",
    "optimal_separation",
    "pair_verification_report",
    "precision_at_k",
    "r_precision",
    "recall_at_k",
    "retrieval_report",
    "self_duality",
    "separation",
    "simplex_distance",
    "uniformity_between",
    "uniformity_gap",
    "uniformity_within",
    "verification_report",
    "within_class_variability",
]
__dir__ = public(globals())
