"""Nets and training steps of other libraries, as their documentation has them: what
`speed.py` and `mnist.py` measure ours against.

`PEERS` names them, each a function of (bfloat16, batch) that returns the net and a
generator; every `next` of it is one optimiser step. `pip install -e '.[bench]'`
installs them.
"""
import torch

BLOCKS = dict(down_block_types=('DownBlock2D',) * 3, up_block_types=('UpBlock2D',) * 3,
              layers_per_block=1, norm_num_groups=8)

def unet2d(channels=(32, 64, 128), **options):
    "diffusers' UNet2DModel for digits, without attention"
    import diffusers
    return diffusers.UNet2DModel(sample_size=28, in_channels=1, out_channels=1,
                                 block_out_channels=channels, **BLOCKS, **options)

def batches(batch, n=4096):
    "Batches of one set of random images in [0, 1], without end"
    x = torch.rand(n, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    while True: yield x[torch.randint(0, n, (batch,))]

def steps_of(loss, net, lr, fast, batch):
    "The plain loop: loss of a batch, backward, AdamW"
    adam = torch.optim.AdamW(net.parameters(), lr, fused=True)
    for x in batches(batch):
        with torch.autocast('cpu', torch.bfloat16, enabled=fast): value = loss(x)
        value.backward()
        adam.step()
        adam.zero_grad()
        yield

def diffusers(fast, batch, channels=(32, 64, 128)):
    "UNet2DModel and DDPMScheduler, in the loop of diffusers' training tutorial"
    from diffusers import DDPMScheduler
    net, noise = unet2d(channels), DDPMScheduler(1000)
    def loss(x):
        x, eps, t = 2 * x - 1, torch.randn_like(x), torch.randint(0, 1000, (len(x),))
        return torch.nn.functional.mse_loss(net(noise.add_noise(x, eps, t), t,
                                                return_dict=False)[0], eps)
    return net, steps_of(loss, net, 1e-4, fast, batch)

def denoising_diffusion_pytorch(fast, batch):
    "Unet and GaussianDiffusion as in its README: the loss is the module's answer"
    from denoising_diffusion_pytorch import GaussianDiffusion, Unet
    net = Unet(dim=24, dim_mults=(1, 2, 4), channels=1)
    diffusion = GaussianDiffusion(net, image_size=28, timesteps=1000)
    return net, steps_of(diffusion, net, 1e-4, fast, batch)

def smalldiffusion(fast, batch):
    "Unet in its own training_loop, as for Fashion-MNIST, with half the channels"
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from smalldiffusion import ScheduleDDPM, training_loop
    from smalldiffusion.model_unet import Unet
    net = Unet(28, 1, 1, ch=32, ch_mult=(1, 2, 2), attn_resolutions=(14,))
    # it keeps the first precision of a process otherwise
    AcceleratorState._reset_state(True)
    images = (2 * x - 1 for x in batches(batch))
    return net, training_loop(images, net, ScheduleDDPM(1000),
                              Accelerator(cpu=True, mixed_precision='bf16' if fast
                                          else 'no'), epochs=1, lr=7e-4)

PEERS = {"diffusers UNet2DModel": diffusers,
         'diffusers UNet2DModel, fewer channels': lambda fast,
         batch: diffusers(fast, batch, (24, 56, 96)),
         'denoising-diffusion-pytorch': denoising_diffusion_pytorch,
         'smalldiffusion': smalldiffusion}

def available():
    "The peers that are installed; of the others, one line says which and how to get it"
    import importlib.util, sys
    found = {name: peer for name, peer in PEERS.items()
             if importlib.util.find_spec(name.split()[0].replace('-', '_'))}
    for missing in sorted({name.split()[0] for name in PEERS.keys() - found.keys()}):
        print(f"{missing} is not installed (pip install -e '.[bench]'): "
              "measuring the rest", file=sys.stderr)
    return found
