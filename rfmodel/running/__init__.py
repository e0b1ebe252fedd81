"""Running: from what is left of a study to its results, in this process, in several, or on a cluster.

`outcomes` is light, so that a study of which nothing is left is seen to be so at once; `one` takes a single run from
its claim to its file; `wire` carries a run to another process, `workers` and `cluster` hand runs out.
"""
