"""Class boundaries and exact distances to them."""

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from pipeline.losses.distance import boundary_pixels, squared_distance


def test_boundary_is_where_labelled_neighbours_differ():
    labels = torch.tensor([[[0, 0, 1, 255, 2], [0, 0, 1, 255, 2], [3, 0, 1, 255, 255]]])
    weight = torch.ones(1, 3, 5)
    weight[0, 0, 2] = 0  # has no say, so it makes no boundary
    assert boundary_pixels(labels, weight).int().tolist() == [[[0, 0, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 0, 0]]]
    assert boundary_pixels(labels, weight, (1, 0)).int().tolist() == [[[0, 0, 0, 0, 0], [0, 1, 1, 0, 0],
                                                                     [0, 1, 1, 0, 0]]]
    assert not boundary_pixels(labels, weight, (1, 2)).any()


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1)])
def test_of_one_class_there_is_no_boundary(size):
    labels = torch.full((2, *size), 3)
    assert not boundary_pixels(labels, torch.ones(2, *size)).any()


@pytest.mark.parametrize("density", [0.002, 0.02, 0.3])
@pytest.mark.parametrize("reach", [1, 4, 9, 100])
def test_distances_are_those_of_scipy_up_to_their_reach(density, reach):
    mask = np.random.default_rng(reach).random((3, 37, 52)) < density
    mask[1] = False
    found = squared_distance(torch.as_tensor(mask), reach).numpy()
    for here, there in zip(mask, found, strict=True):
        squared = np.rint(distance_transform_edt(~here) ** 2) if here.any() else np.full(here.shape, np.inf)
        np.testing.assert_array_equal(there, np.where(squared > reach**2, np.inf, squared))
