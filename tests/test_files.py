"Files in folders that are not there yet, cards, and what is too large."
import json

import pytest
import torch

from diffusion_nbdev.files import (
    CARD, WEIGHTS_CARD, apart, check_card_sizes, check_numbers, checked_card,
    empty_beside, most_parts, raw_safetensors, read_safetensors, write_safetensors)


def test_folders_are_made(tmp_path):
    beside = empty_beside(tmp_path/'a'/'b'/'c.txt')
    assert beside.parent == tmp_path/'a'/'b' and beside.read_bytes() == b''


def test_weights_with_gradients(tmp_path):
    w = dict(w=torch.ones(2, requires_grad=True))
    card = write_safetensors(tmp_path/'a.safetensors', w, {})
    # a file of today must be readable tomorrow
    assert card['format'] == 1
    assert read_safetensors(tmp_path/'a.safetensors')[1] == card
    assert raw_safetensors(tmp_path/'a.safetensors')[0]['w'].tolist() == [1, 1]


PARTS = 'format', 'sha256', 'package', 'net', 'sched', 'pred', 'data'

@pytest.mark.parametrize('lacks', PARTS)
def test_a_card_that_lacks_something(lacks):
    card = {k: kind(1) if kind is int else kind() for k, kind in WEIGHTS_CARD.items()}
    assert checked_card(json.dumps(card), 'a', WEIGHTS_CARD) == card
    del card[lacks]
    with pytest.raises(ValueError, match=f'a: its card has no {lacks} '):
        checked_card(json.dumps(card), 'a', WEIGHTS_CARD)
    assert (lacks in CARD) == (lacks in ('format', 'sha256'))


def test_types_of_numbers():
    for dtype in torch.float16, torch.bfloat16, torch.float64, torch.int8:
        check_numbers(dict(a=torch.zeros(1, dtype=dtype)), 'a')
    for dtype in torch.complex64, torch.float8_e5m2:
        with pytest.raises(ValueError, match='which no net here has'):
            check_numbers(dict(a=torch.zeros(1).to(dtype)), 'a')


def test_a_net_may_be_larger_than_its_file_by_so_much():
    assert most_parts(dict(a=torch.zeros(3, 2), b=torch.zeros(1))) == dict(
        parameters=1004, numbers=10_000_014, modules=1100)


@pytest.mark.parametrize('value, fits', [(10 ** 6, True), (-10 ** 6, True),
                                         (10 ** 6 + 1, False), (float('nan'), False)])
def test_sizes_of_a_schedule(value, fits):
    card = dict(data={}, sched=dict(init_args=dict(T=value)))
    if fits: return check_card_sizes(card)
    with pytest.raises(ValueError, match='a schedule with T'): check_card_sizes(card)


def test_tensors_in_one_place_are_put_apart():
    x = torch.ones(3)
    found = apart(dict(a=x, b=x))
    assert found['a'].data_ptr() != found['b'].data_ptr()
    assert torch.equal(found['b'], x)
