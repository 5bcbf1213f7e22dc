"""Views of test images against torchvision's ten crops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torchvision.transforms.v2 import functional as tv

from sweeper.data import EvalLoader, ImageCache
from sweeper.data.augment import follow
from sweeper.data.crops import Box
from sweeper.data.manifest import Pixels
from sweeper.data.tta import view_recipes


def test_the_plain_view_is_the_centre_crop() -> None:
    (only,) = view_recipes(256, 341, share=0.875, tta="none")
    assert (only.box, only.hflip) == (Box(16, 58, 224, 224), False)
    one, mirrored = view_recipes(256, 341, share=0.875, tta="flip")
    assert (one.box, one.hflip) == (mirrored.box, not mirrored.hflip) == (only.box, False)


def test_ten_crops_are_those_of_torchvision(photo: Pixels) -> None:
    image = photo[:100, :130].copy()
    recipes = view_recipes(100, 130, share=0.64, tta="ten_crop")
    ours = {follow(image, recipe, size=64).tobytes() for recipe in recipes}
    theirs = tv.ten_crop(torch.from_numpy(image).permute(2, 0, 1), [64, 64])
    assert ours == {crop.permute(1, 2, 0).contiguous().numpy().tobytes() for crop in theirs}
    assert len(ours) == 10


def test_the_views_of_an_image_stand_one_behind_the_other(cache: ImageCache) -> None:
    split = cache.split("train")
    rows = np.arange(14 * 7, dtype=np.float32).reshape(14, 7)
    plain = EvalLoader(split, image_size=32, batch_size=8, metadata=rows)
    flipped = replace(plain, tta="flip")
    batches = list(flipped)
    assert [len(batch) for batch in batches] == [8, 8, 8, 4]  # the memory of a batch is that without views
    assert len(flipped) == len(batches)
    images, indices = (torch.cat([getattr(batch, name) for batch in batches]) for name in ("images", "indices"))
    assert indices.tolist() == [index for index in range(14) for _ in range(2)]
    centre = torch.cat([batch.images for batch in plain])
    assert torch.equal(images[::2], centre)
    assert torch.equal(images[1::2], centre.flip(2))
    metadata = torch.cat([batch.metadata for batch in batches if batch.metadata is not None])
    assert torch.equal(metadata, torch.from_numpy(rows)[indices])


def test_a_batch_smaller_than_the_views_holds_one_image(cache: ImageCache) -> None:
    loader = EvalLoader(cache.split("val"), image_size=32, batch_size=4, tta="ten_crop")
    assert [len(batch) for batch in loader] == [10] * 5
