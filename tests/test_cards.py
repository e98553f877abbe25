"What a card says, and what it must not name."
from dataclasses import asdict
from types import SimpleNamespace

import pytest

from diffusion_nbdev.cards import built, check_card, own_tensors, units_card
from diffusion_nbdev.model import Units
from diffusion_nbdev.schedules import Schedule, cosine_schedule
from diffusion_nbdev.unet import PointMLP

net, sched = PointMLP(width=4), cosine_schedule(5)
card = dict(net=net.recipe, sched=sched.recipe, data=asdict(Units([2])))


def test_a_card_that_cannot_be_written():
    parts = dict(net=net, sched=sched, pred='v', data=Units([2]), few=None)
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


def test_a_card_says_of_units_what_there_is():
    few = {'shape', 'mean', 'std', 'clip', 'n_classes'}
    rare = {'classes', 'columns', 'label', 'decimals', 'odds'}
    there = units_card(Units([2])).keys()
    assert few <= there and not rare & there
    named = units_card(Units([2], n_classes=2, classes=['a', 'b'], label='kind'))
    assert named['classes'] == ['a', 'b'] and named['label'] == 'kind'


def test_a_net_whose_recipe_makes_nothing():
    with pytest.raises(ValueError, match='net cannot be made again from its recipe'):
        own_tensors(net, dict(class_path='diffusion_nbdev.unet.PointNet'))
