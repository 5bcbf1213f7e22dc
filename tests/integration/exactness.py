"""What the tests that kill a sweep have in common: its images, and what of an epoch only a clock decides."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

CLOCK = {"train_seconds", "eval_seconds", "images_per_second", "peak_memory_mb", "latency_ms"}


def draw_images(root: Path) -> None:
    """Four classes of 16 images to train on and 8 to validate on: one colour each, under noise."""
    draws = np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 8)):
        for label in range(4):
            folder = root / split / f"class {label}"
            folder.mkdir(parents=True)
            colour = np.array([40 * label, 255 - 60 * label, 128])
            for number in range(count):
                pixels = np.clip(colour + draws.normal(0, 90, (32, 32, 3)), 0, 255)
                cv2.imwrite(str(folder / f"{number}.png"), pixels.astype(np.uint8))
