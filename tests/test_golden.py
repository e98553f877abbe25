"The package gives the numbers it gave before; `golden.py` makes and records them."
import json, math

import pytest

import golden

RECORDING = golden.read()


@pytest.mark.parametrize('topic', golden.TOPICS)
def test_numbers_are_as_recorded(topic):
    "Each entry, to the last bit on the machine that recorded them, else to 1e-5"
    entries = RECORDING['entries'].items()
    old = {k: v for k, v in entries if k.split('/')[0] == topic}
    new = golden.entries(topic)
    lines = golden.differences(old, new, golden.tolerance_for(RECORDING))
    assert not lines, f'{len(lines)} of {len(new)} entries:\n' + '\n'.join(lines)


def test_every_entry_belongs_to_a_topic():
    assert {k.split('/')[0] for k in RECORDING['entries']} == set(golden.TOPICS)


@pytest.fixture
def copy():
    "The recording of a quick topic, in a copy"
    entries = {k: v for k, v in RECORDING['entries'].items() if k.startswith('steps/')}
    return json.loads(json.dumps(entries))


def moved(word, by):
    return (float.fromhex(word) + by).hex()


@pytest.mark.parametrize('name', ['steps/real/posterior', 'steps/each/ddim_step, 0.6'])
def test_a_perturbed_number_is_found_and_named(copy, name):
    new = golden.entries('steps')
    last = math.nextafter(float.fromhex(copy[name][3]), math.inf).hex()
    much = moved(copy[name][3], 1e-3)
    for value, tolerance in ((last, 0.), (much, 0.), (much, golden.TOLERANCE)):
        copy[name][3] = value
        line, = golden.differences(copy, new, tolerance)
        assert line.startswith(f'{name}: number 3 of')
    assert 'differs by -0.001' in line
    copy[name][3] = last
    assert not golden.differences(copy, new, golden.TOLERANCE)


def test_a_changed_function_is_found(monkeypatch, copy):
    "Not only a changed recording: one last bit of one function of the package"
    plain = golden.find

    def find(name):
        if name != 'posterior':
            return plain(name)
        return lambda *args: [x * (1 + 2 ** -52) for x in plain(name)(*args)]
    monkeypatch.setattr(golden, 'find', find)
    lines = golden.differences(copy, golden.entries('steps'), 0.)
    assert {l.split(':')[0] for l in lines} == {k for k in copy if 'posterior' in k and
                                                'reverse_var' not in k}


def test_missing_new_and_longer_entries_are_found(copy):
    new = dict(copy)
    new['steps/new'] = new.pop('steps/last/posterior')
    new['steps/real/posterior'] = [9, *new['steps/real/posterior'][1:]]
    lines = golden.differences(copy, new, golden.TOLERANCE)
    assert lines[0] == 'steps/last/posterior: recorded, but no longer made'
    assert lines[1] == 'steps/new: not recorded'
    assert lines[2].startswith('steps/real/posterior: 9 numbers, recorded ')
    assert len(lines) == 3


def test_words_and_nans_are_compared():
    "A digest, and a number that is none"
    old = dict(a=['abc'], b=[1, 'nan'], c=[1, 'inf'])

    def changed(**entry):
        return golden.differences(old, {**old, **entry}, golden.TOLERANCE)
    assert not changed()
    assert changed(a=['abd']) == ['a: abd, recorded abc']
    assert len(changed(b=[1, '0x1.0p+0'])) == 1
    assert len(changed(c=[1, '-inf'])) == 1


def test_names_are_found_wherever_they_live(monkeypatch):
    with pytest.raises(LookupError, match='no module has it'):
        golden.find('no_such_thing')
    monkeypatch.setitem(golden.RENAMED, 'old_name', 'ddim_step')
    assert golden.find('old_name') is golden.find('ddim_step')
