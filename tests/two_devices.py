"""Runs `sgdbd` on two simulated devices, and tells in one line of JSON what each of them did.

`python two_devices.py ARGUMENT...`, as the command takes them. It is a program of its own, for a process has the
devices that it starts with.
"""

import json
import os
import pickle
import sys
import threading

from quick import FLAGS

os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=2 {FLAGS}"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np

from experiments.predict import main
from sgdbd_jax.detection.detector import Detector
from sgdbd_jax.detection.devices import Detectors

detect, lock, both = Detector.detect, threading.Lock(), threading.Barrier(2, timeout=120)
seen: list[int] = []


def watched(self, photos):
    """Has the first photos on both devices wait for each other, so that neither does all."""
    masks = detect(self, photos)
    (device,) = masks.devices()
    with lock:
        seen.append(device.id)
        first = seen.count(device.id) == 1
    if first:
        both.wait()
    return masks


def where(detector, photos):
    """On which devices a detector makes masks."""
    return [device.id for device in detect(detector, photos).devices()]


if __name__ == "__main__":
    Detector.detect = watched  # type: ignore[method-assign]
    code = main(sys.argv[1:])
    one, other = jax.local_devices()
    detector = Detector.load(sys.argv[sys.argv.index("--weights") + 1])
    there, photos = detector.on(other), np.zeros((1, 16, 16, 3), np.uint8)
    found = {
        "code": code,
        "seen": seen,
        "there": where(there, photos),
        "there_with_photos_of_another": where(there, jax.device_put(photos, one)),
        "here": where(detector, photos),
        "pickled": where(pickle.loads(pickle.dumps(there)), photos),
        "parameters": sorted({each.id for leaf in jax.tree.leaves(there._prepared) for each in leaf.devices()}),
        "detectors": len(Detectors(detector)),
    }
    jax.config.update("jax_default_device", other)
    print(json.dumps(found | {"detectors_of_a_default": len(Detectors(detector))}))
