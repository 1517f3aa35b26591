"""What detectors are made of, as their papers define it, in loops."""

import math

import numpy as np


def domain_transform(x, guide, spatial, range_, rounds=3):
    """The definition in loops: rows there and back, then columns, each round with a smaller deviation."""
    x = x.astype(np.float64).copy()
    guide = guide.reshape(*guide.shape[:2], -1)
    for i in range(rounds):
        deviation = spatial * math.sqrt(3) * 2 ** (rounds - i - 1) / math.sqrt(4**rounds - 1)
        base = math.exp(-math.sqrt(2) / deviation)
        for lines, edges in ((x, guide), (x.T, guide.transpose(1, 0, 2))):
            for line, edge in zip(lines, edges):
                n = len(line)
                weight = [base ** (1 + spatial / range_ * abs(edge[j] - edge[j - 1]).sum()) for j in range(1, n)]
                for j in range(1, n):
                    line[j] += weight[j - 1] * (line[j - 1] - line[j])
                for j in range(n - 2, -1, -1):
                    line[j] += weight[j] * (line[j + 1] - line[j])
    return x
