"""A study small enough for tests: three conditions, two seeds, 8 x 8 pixels, two epochs."""

TINY = """
title = "tiny"
description = "For tests."
source = "none"
[data]
name = "natural_patches"
size = 8
options = { train_per_class = 20, test_per_class = 5 }
[network]
width = 4
kernel = 3
depth = 1
hidden = 8
bottleneck = 4
[train]
epochs = 2
batch = 32
augment = { flip = true, shift = 0.1 }
[train.optimiser]
learning_rate = 1e-3
[axes]
seed = [0, 1]
[[conditions]]
name = "BP, wide"
[[conditions]]
name = "BP, bottleneck {bottleneck}"
axes.bottleneck = [2]
[[conditions]]
name = "LDFA, r = {rank}"
rules.retina = { name = "ldfa", q = "hebbian" }
axes.rank = [2]
"""
