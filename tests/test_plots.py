"What figures show, read off their axes."
import matplotlib.pyplot as plt
import pytest
import torch

from diffusion_nbdev.plots import show_images, show_schedule, show_state
from diffusion_nbdev.schedules import cosine_schedule


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close('all')


def test_sixty_pixels_of_a_picture_are_an_inch():
    ax = show_images(torch.zeros(1, 1, 120, 300), pad=0)
    assert ax.figure.get_size_inches() == pytest.approx([5, 2])


def test_points_have_the_colour_that_was_asked_for():
    ax = plt.figure().subplots()
    show_state(torch.zeros(3, 2), ax, 'red', 2., 1, 50)
    assert ax.get_title() == 't = 50'
    colours = ax.collections[0].get_facecolor() if ax.collections else None
    assert colours is not None and colours[0, :3].tolist() == [1, 0, 0]


def test_schedules_are_drawn_over_time():
    left, right = show_schedule(cosine_schedule(8)).axes
    assert left.lines[0].get_xdata().tolist() == [*range(9)]
    line = right.lines[0]
    # without the clean data, whose log-SNR is infinite
    assert line.get_xdata().tolist() == [*range(1, 9)]
    falls = line.get_ydata()
    assert (falls[1:] < falls[:-1]).all()
