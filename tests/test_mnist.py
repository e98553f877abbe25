"Scores of samples during a training, by themselves."
from types import SimpleNamespace as NS

import pytest
import torch
from torch import nn

from diffusion_nbdev.judge import JUDGES, load_extractor
from diffusion_nbdev.mnist import SampleScores, multiply_adds


class Conv(nn.Module):
    in_channels = 2
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(2, 3, 3, padding=1, bias=False)
    def forward(self, xt, t, c=None): return self.layer(xt)


def test_work_is_that_of_one_picture():
    # nine neighbours of two channels, for three channels of 28 times 28 pixels
    assert multiply_adds(Conv()) == 9 * 2 * 3 * 28 * 28
    assert multiply_adds(Conv(), 10) == 9 * 2 * 3 * 10 * 10


class Noted(SampleScores):
    def scores(self, model): return dict(drawn=torch.rand(1).item())


def epochs(name='mnist', first=True, **options):
    "The epochs, from 0, after which something is measured"
    noted, done = Noted(**options), []
    for epoch in range(10):
        logger = NS(log_metrics=lambda found, step: done.append(step))
        trainer = NS(current_epoch=epoch, global_step=epoch, is_global_zero=first,
                     loggers=[logger], callbacks=[])
        before = torch.get_rng_state()
        noted.on_train_epoch_end(trainer, NS(model=NS(data=NS(name=name))))
        # and looking changes nothing
        assert torch.equal(torch.get_rng_state(), before)
    return done


def test_scores_are_taken_every_few_epochs_of_mnist_by_one_process():
    assert epochs() == [4, 9] and epochs(every=3) == [2, 5, 8]
    assert epochs(name='digits') == epochs(first=False) == []
    for wrong in dict(every=1.5), dict(num=9), dict(n=0):
        with pytest.raises(ValueError, match=next(iter(wrong))): Noted(**wrong)


def scored(x, n_classes=10):
    asked = {}
    def generate(**how):
        asked.update(how)
        return x
    model = NS(n_classes=n_classes, sched=NS(T=3), generate=generate, few=None)
    return SampleScores(num=len(x), n=5).scores(model), asked


def test_what_is_scored():
    noise = 3 * torch.rand(20, 1, 28, 28, generator=torch.manual_seed(0)) - 1
    found, asked = scored(noise)
    # classes as often as among real images, not each equally often
    real = load_extractor(JUDGES['tuning']).held_out_labels[:20]
    assert torch.equal(asked['c'], real) and 0 <= found['accuracy'] <= 1
    # no more steps than there are times
    assert asked['n'] == 3 and asked['num'] == 20
    # pictures are cut to black and white, and then differ
    assert found == scored(noise.clamp(0, 1))[0]
    assert found['frechet'] != scored(noise.clamp(0, 0.5))[0]['frechet']
    found, asked = scored(noise, n_classes=0)
    assert [*found] == ['frechet'] and asked['c'] is None
