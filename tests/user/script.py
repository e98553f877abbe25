"A script as a user would write it: type checkers must find nothing, and it must run."
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from diffusion_nbdev.data import TensorData
from diffusion_nbdev.ddim import ddim
from diffusion_nbdev.guidance import denoiser
from diffusion_nbdev.metrics import sliced_w2
from diffusion_nbdev.model import Model, Units, load
from diffusion_nbdev.sampling import last, sampler
from diffusion_nbdev.schedules import Schedule, cosine_schedule, schedule_from_betas
from diffusion_nbdev.swissroll import swissroll
from diffusion_nbdev.training import LitDiffusion, fit
from diffusion_nbdev.unet import PointMLP


class MyNet(nn.Module):
    "Two layers that are told the time"
    def __init__(self, width: int = 32):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, width), nn.SiLU(), nn.Linear(width, 2))

    def forward(self, xt: Tensor, t: Tensor, c: Tensor | None = None) -> Tensor:
        share = (t.float() / 100).expand(len(xt))[:, None]
        return self.body(torch.cat([xt, share], 1))


@sampler(n=10)
def jump(f, sched, x: Tensor, times: list[float]) -> Iterator[Tensor]:
    "Straight to the estimate, and back to the next time with the same noise"
    yield x
    for t, s in zip(times, times[1:]):
        x0 = f(x, t)
        eps = (x - sched.signal(t).item() * x0) / sched.noise(t).item()
        x = sched.signal(s).item() * x0 + sched.noise(s).item() * eps
        yield x


def main(folder: str = 'run') -> float:
    model = load('swissroll')
    x: Tensor = model.generate(ddim, n=20, num=500, seed=0)
    distance: float = sliced_w2(x, swissroll(500))

    sched: Schedule = schedule_from_betas(torch.linspace(1e-3, 0.15, 100).tolist())
    half: float = sched.signal(50).item() + sched.t_at(0.).item()
    f = denoiser(MyNet(), sched, pred='v', clip=3.)
    states: Tensor = last(jump(f, sched, torch.randn(4, 2)))

    data = TensorData(swissroll(400), batch_size=64)
    units = data.units or Units([2])
    net = PointMLP(dim=2, width=16, depth=1)
    lit = LitDiffusion(Model(net, cosine_schedule(100), pred='v', data=units), lr=1e-3)
    trainer = fit(lit, data, folder=folder, max_steps=3, pictures=0, progress=False)
    again = load(f'{trainer.log_dir}/model.safetensors')
    return (distance + half + states.mean().item()
            + again.generate('jump', num=2).sum().item())


if __name__ == '__main__':
    print(main())
