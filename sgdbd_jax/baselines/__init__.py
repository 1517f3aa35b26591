"""The detectors that the paper compares with: a file each, and what several of them share a file each.

Every detector's file has `detect(photo: [H, W, 3] uint8) -> [H, W] float32 in [0, 1]`, 1 = in focus, at the photo's own
size. Its docstring gives the source, how far what stands here can be trusted to be the authors' (grade A: read from
their program; B: from another's; C: reconstructed), and what the detector learned from.
"""
