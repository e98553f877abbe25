"What a card says, and what it must not name."
from dataclasses import asdict
from types import SimpleNamespace

import pytest

from diffusion_nbdev.cards import built, check_card
from diffusion_nbdev.model import Units
from diffusion_nbdev.schedules import Schedule, cosine_schedule
from diffusion_nbdev.unet import PointMLP

net, sched = PointMLP(width=4), cosine_schedule(5)
card = dict(net=net.recipe, sched=sched.recipe, data=asdict(Units([2])))


def test_a_card_that_cannot_be_written():
    parts = dict(net=net, sched=sched, pred='v', data=Units([2]))
    check_card(SimpleNamespace(**parts, card=dict(seed=1)))
    model = SimpleNamespace(**parts, card=dict(seed={1}))
    with pytest.raises(ValueError, match='card of the model cannot be written'):
        check_card(model)


def test_a_card_names_only_what_is_trusted():
    tensors = net.state_dict()
    assert isinstance(built(card, tensors, Schedule, 'a.safetensors')[1], Schedule)
    strange = {**card, 'sched': dict(class_path='collections.OrderedDict')}
    with pytest.raises(ValueError, match='can be built: class_path .* refused unless'):
        built(strange, tensors, Schedule, 'a.safetensors')
    lacking = {k: v for k, v in card.items() if k != 'sched'}
    with pytest.raises(ValueError, match="can be built: KeyError: 'sched'"):
        built(lacking, tensors, Schedule, 'a.safetensors')
