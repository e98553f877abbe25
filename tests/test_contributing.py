"The recipes of CONTRIBUTING.md work as they are written."
import importlib.util, re, sys
from pathlib import Path

import pytest
import torch

from diffusion_nbdev.model import Model, Units, load
from diffusion_nbdev.sampling import SAMPLERS, last
from diffusion_nbdev.schedules import cosine_schedule

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT/'CONTRIBUTING.md').read_text(encoding='utf-8')


@pytest.fixture(scope='module')
def recipes(tmp_path_factory):
    path = tmp_path_factory.mktemp('recipes')/'recipes_of_contributing.py'
    path.write_text('\n'.join(re.findall(r'```python\n(.*?)```', TEXT, flags=re.S)),
                    encoding='utf-8')
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    SAMPLERS.pop('forgetful', None)


def test_sampler(recipes):
    x = load('swissroll').generate('forgetful', n=20, num=50)
    assert x.shape == (50, 2)
    assert x.isfinite().all()
    assert SAMPLERS['forgetful'].stochastic


def test_net(recipes, tmp_path):
    made = Model(recipes.Linear(), cosine_schedule(50), data=Units([2]))
    again = load(made.save(tmp_path/'linear.safetensors'), trust=True)
    assert torch.equal(again.generate(num=3), made.generate(num=3))


def test_task(recipes):
    model = load('swissroll')
    f = recipes.on_a_line(model.denoiser())
    x = last(SAMPLERS['ddim'](f, model.sched, torch.randn(20, 2), n=10))
    assert torch.allclose(x[:, 0], x[:, 1])
