"""Masks with the outlines of things: unions of a photo's own regions, as a segmentation by colour finds them."""

import numpy as np

SIDE = 160  # pixels of the longer side at which a photo is cut into regions
CELL = 8  # pixels between the seeds that regions grow from before they merge
SMALLEST = 64  # pixels of a region
CONTRAST = (1000.0, 10000.0)  # of the merging: levels of colour by pixels of a region; more makes fewer, larger regions
COVERAGE = (0.1, 0.9)  # share of the photo
ATTEMPTS = 4  # at a union of that share
SOFTENING = 1.5  # sigma in pixels that rounds an outline


def random_thing(rng: np.random.Generator, photo: np.ndarray) -> np.ndarray | None:
    """A random connected union of a photo's regions, its outline slightly rounded.

    Args:
        rng: source of all randomness.
        photo: `[H, W, 3]` uint8.

    Returns:
        `[H, W]` bool, of 10% to 90% coverage; `None` where none was found, as in a flat photo.
    """
    import cv2

    height, width = photo.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = max(CELL, round(scale * width)), max(CELL, round(scale * height))
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    for _ in range(ATTEMPTS):
        contrast = float(np.exp(rng.uniform(*np.log(CONTRAST))))
        union = _random_union(rng, regions(small, contrast=contrast))
        large = cv2.resize(union.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        thing = cv2.GaussianBlur(large, (0, 0), SOFTENING) > 0.5
        if COVERAGE[0] <= thing.mean() <= COVERAGE[1]:
            return thing
    return None


def regions(photo: np.ndarray, *, contrast: float) -> np.ndarray:
    """Cuts a photo into regions of like colours.

    A watershed from seeds on a grid gives small ones, which merge as in Felzenszwalb and Huttenlocher, "Efficient
    Graph-Based Image Segmentation", IJCV 2004: two regions stay apart where the step between them is larger than the
    largest inside either, plus `contrast` by its size. Merging pixels, as `skimage.segmentation.felzenszwalb` does,
    would leave rims of their own along outlines, which a photo's softness draws out, and takes five times as long.

    Args:
        photo: `[H, W, 3]` uint8, H and W at least 8.
        contrast: levels of colour by pixels.

    Returns:
        `[H, W]` int, from 0.
    """
    import cv2

    smooth = cv2.medianBlur(photo, 5)
    seeded = _cells(smooth)
    colours = cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(np.float64)
    inner = np.bincount(seeded.ravel())[1:]
    sums = np.stack([np.bincount(seeded.ravel(), colours[:, i])[1:] for i in range(3)], axis=1)
    means = sums / np.maximum(inner, 1)[:, None]  # without the lines between, whose colours are of either side
    while not seeded.all():
        seeded = np.where(seeded, seeded, cv2.dilate(seeded, np.ones((3, 3), np.uint8)))
    cells = seeded.astype(np.int64) - 1
    sizes = np.bincount(cells.ravel(), minlength=len(means))
    one, other = neighbours(cells)
    steps = np.linalg.norm(means[one] - means[other], axis=1)
    order = np.argsort(steps, kind="stable")
    found = _merge(one[order].tolist(), other[order].tolist(), steps[order].tolist(), sizes.tolist(), contrast)
    return np.unique(found, return_inverse=True)[1][cells]


def neighbours(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which regions touch: the lower and the higher label of every such pair, once each.

    Args:
        labels: `[H, W]` int, not negative.

    Returns:
        Two `[N]` int arrays.
    """
    sides = (labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1])
    one, other = (np.concatenate([pair[i].ravel() for pair in sides]).astype(np.int64) for i in range(2))
    count = int(labels.max()) + 1
    codes = np.unique(np.minimum(one, other) * count + np.maximum(one, other))
    low, high = np.divmod(codes, count)
    return low[low != high], high[low != high]


def _cells(photo: np.ndarray) -> np.ndarray:
    """Small regions: a watershed from where each cell of a grid is smoothest; `[H, W]` uint16, 0 on lines between."""
    import cv2

    height, width = photo.shape[:2]
    rows, columns = max(1, height // CELL), max(1, width // CELL)
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    rough = np.full((height, width), np.inf)  # so is the border, where a seed would be lost
    rough[1:-1, 1:-1] = np.abs(cv2.Laplacian(grey, cv2.CV_32F, ksize=3))[1:-1, 1:-1]
    cells = rough[: rows * CELL, : columns * CELL].reshape(rows, CELL, columns, CELL).swapaxes(1, 2)
    smoothest = cells.reshape(rows, columns, -1).argmin(axis=-1)
    row, column = np.indices(smoothest.shape)
    seeds = np.zeros((height, width), np.int32)
    seeds[row * CELL + smoothest // CELL, column * CELL + smoothest % CELL] = 1 + row * columns + column
    return np.maximum(cv2.watershed(photo, seeds), 0).astype(np.uint16)


def _merge(one: list[int], other: list[int], steps: list[float], sizes: list[int], contrast: float) -> list[int]:
    """The representative of each small region after merging along pairs in order of their steps."""
    parent, limit = list(range(len(sizes))), [contrast / max(size, 1) for size in sizes]

    def find(at: int) -> int:
        while parent[at] != at:
            parent[at] = at = parent[parent[at]]
        return at

    # Then those that are too small, each with the neighbour most like it, and those that this brings within the limit.
    for smallest in (0, SMALLEST):
        for a, b, step in zip(one, other, steps):
            a, b = find(a), find(b)
            if a != b and (step <= min(limit[a], limit[b]) or min(sizes[a], sizes[b]) < smallest):
                parent[b] = a
                sizes[a] += sizes[b]
                limit[a] = step + contrast / sizes[a]
    return [find(at) for at in range(len(parent))]


def _random_union(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """Regions that hang together, grown at random to a random share of the photo; `[H, W]` bool."""
    shares = np.bincount(labels.ravel()) / labels.size
    wanted = rng.uniform(*COVERAGE)
    near: list[set[int]] = [set() for _ in shares]
    for a, b in zip(*(ends.tolist() for ends in neighbours(labels))):
        near[a].add(b)
        near[b].add(a)
    start = int(rng.choice(len(shares), p=shares))
    chosen, rim, covered = {start}, set(near[start]), float(shares[start])
    while rim and covered < wanted:
        added = sorted(rim)[rng.integers(len(rim))]
        rim.remove(added)
        if covered + shares[added] <= COVERAGE[1]:
            chosen.add(added)
            covered += float(shares[added])
            rim |= near[added] - chosen
    return np.isin(labels, list(chosen))
