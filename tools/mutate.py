"""Plants single faults in the package and shows that the tests of the chapters catch every one.

    python tools/mutate.py                        every fault; the score goes to tools/mutate.json
    python tools/mutate.py --only ddpm            the faults of one module (nothing is stored)
    python tools/mutate.py --only 'eta' --verbose   those with a word in their name, with what the failing cell said
    python tools/mutate.py --again                only what is new, was not caught, or has a chapter that changed since the score was stored
    python tools/mutate.py --list                 what there is, and whether every text is still found

A fault is a change of a few characters that a tired programmer could make. It is planted in a copy of the project,
in the exported module and in the cell that the module comes from (a chapter defines its functions anew when it runs);
then the chapter that has the function runs, and if it notices nothing the chapters that build on it, up to the first cell
that fails. A fault whose text is not found exactly as often as it should be is an error: the list cannot rot in silence.
So is one that breaks an exporting cell by itself, because then no test has shown anything.
"""
import argparse, hashlib, json, os, re, shutil, signal, sys, tempfile, time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import check
import lint as rules

ROOT = check.ROOT
STORE = Path(__file__).with_suffix('.json')
LATER = dict(schedules=('04_ddpm', '05_ddim'), oracles=('04_ddpm', '05_ddim'), unet=('08_training',), ddpm=('05_ddim', '07_model'),
             ddim=('07_model',), model=('08_training',)) # module -> chapters that may notice what its own does not

@dataclass(frozen=True)
class Fault:
    name: str       # what the programmer did
    module: str     # where
    old: str        # text of the module
    new: str        # what stands there instead
    count: int = 1  # how often `old` is there

FAULTS = [Fault(*f) for f in [
    # 01 schedules
    ('table cast with the module', 'schedules', 'self.table = self.table.to(device)', 'self.table = fn(self.table)'),
    ('table in float32', 'schedules', ".detach().to('cpu', torch.float64).clone()", ".detach().to('cpu', torch.float32).clone()"),
    ('time above T not refused', 'schedules', "in_range('time t', t, 0, sched.T)", "in_range('time t', t, 0)"),
    ('interpolation one index off', 'schedules', '(table[(lo + 1).clamp(max=self.T)] - table[lo])', '(table[lo] - table[(lo - 1).clamp(min=1)])'),
    ('alpha_bar in place of its root', 'schedules', 'return self.log_snr(t).sigmoid().sqrt()', 'return self.log_snr(t).sigmoid()'),
    ('noise as 1 - alpha_bar, digits lost', 'schedules', '(-self.log_snr(t)).sigmoid().sqrt()', '(1 - self.log_snr(t).sigmoid()).sqrt()'),
    ('beta of the first step is zero', 'schedules', '(t - 1).clamp(min=0)', '(t - 1).clamp(min=1)'),
    ('1 - exp for expm1, digits lost', 'schedules', 'torch.log(-torch.expm1(log_alpha_bar))', 'torch.log(1 - log_alpha_bar.exp())'),
    ('log for log1p, digits lost', 'schedules', 'torch.log1p(-betas).cumsum(0)', 'torch.log(1 - betas).cumsum(0)'),
    ('alpha_bar summed in float32', 'schedules', 'torch.log1p(-betas).cumsum(0)', 'torch.log1p(-betas.float()).cumsum(0).double()'),
    ('linear not rescaled with T', 'schedules', 'return beta_1 * 1000 / T, beta_T * 1000 / T', 'return beta_1, beta_T'),
    ('quadratic without the roots', 'schedules', 'torch.linspace(b1 ** 0.5, bT ** 0.5, T', 'torch.linspace(b1, bT, T'),
    ('curve not divided by its value at 0', 'schedules', 'alpha_bar[1:] / alpha_bar[:-1]', 'alpha_bar[1:] / torch.cat([torch.ones(1), alpha_bar[1:-1]])'),
    ('betas cut at another bound', 'schedules', '.clamp(max=beta_max)', '.clamp(max=0.9999)'),
    ('temperature upside down', 'schedules', 'x / tau', 'x * tau'),
    ('coefficients line up with the last axis', 'schedules', 'return a.view(-1, *[1] * (x.ndim - 1)) if a.ndim else a', 'return a'),
    ('coefficients not cast', 'schedules', 'a = a.to(x.device, x.dtype)', 'a = a.to(x.device)'),
    ('variance for standard deviation of the noise', 'schedules', 'like(sched.noise(t), x0) * eps', 'like(sched.noise(t) ** 2, x0) * eps'),
    ('v with the other sign', 'schedules', 'v     = lambda signal, noise: (-noise, signal)', 'v     = lambda signal, noise: (noise, -signal)'),
    ('flow with the other sign', 'schedules', '(-torch.ones_like(signal), torch.ones_like(signal))', '(torch.ones_like(signal), -torch.ones_like(signal))'),
    ('score with the other sign', 'schedules', '-1 / noise)', '1 / noise)'),
    ('defaults missing from recipes', 'schedules', '        bound.apply_defaults()\n', ''),
    ('any class built without trust', 'schedules', 'if maker is None and trust:', 'if maker is None:'),

    # 02 oracles
    ('prior weights dropped', 'oracles', 'prior = log_w - 0.5', 'prior = -0.5'),
    ('sigma for sigma squared', 'oracles', 'self.stds ** 2, self.weights.log()', 'self.stds, self.weights.log()'),
    ('dimension missing in the normaliser', 'oracles', '0.5 * means.shape[1] * (2 * math.pi', '0.5 * (2 * math.pi'),
    ('class 0 taken for the null label', 'oracles', '(ci >= 0) & (ci != labels)', '(ci > 0) & (ci != labels)'),
    ('later blocks get the times of the first', 'oracles', 'out, common = [], t.numel() == 1', 'out, common = [], True'),
    ('time 0 not exact', 'oracles', 'return torch.where(noise == 0, x, x0_hat)', 'return x0_hat'),
    ('score without the signal', 'oracles', 'return signal * towards - total * x', 'return towards - total * x'),
    ('density of a class not normalised', 'oracles', 'return (log_p - share.log()[label_tensor(c, self.n_classes, len(xt)).cpu() + 1].to(log_p.device)).to(xt)', 'return log_p.to(xt)'),
    ('posterior variance without its inner part', 'oracles', '.clamp(min=0) + within', '.clamp(min=0)'),
    ('components drawn with equal weights', 'oracles', 'edges = self.weights[own].cumsum(0)', 'edges = torch.ones(len(own), dtype=torch.float64).cumsum(0)'),
    ('Swiss roll without quadrature weights', 'oracles', 'noise * scaling / std, weights)', 'noise * scaling / std)'),
    ('eps_hat without the signal', 'oracles', '(x - like(signal, x) * x0_hat)', '(x - x0_hat)'),

    # 03 unet
    ('time embedding ignores t', 'unet', 'time_features(t, self.dim)', 'time_features(0 * t, self.dim)'),
    ('no class is class 0', 'unet', 'return torch.zeros(1, dtype=torch.long, device=device)', 'return torch.ones(1, dtype=torch.long, device=device)'),
    ('null label shares the row of class 0', 'unet', 'return c.to(device).long().reshape(-1) + 1', 'return c.to(device).long().reshape(-1).clamp(min=0) + 1'),
    ('times of a float64 net in float32', 'unet', 't.reshape(-1) if weight.dtype != torch.float64 else t.reshape(-1).double()', 't.reshape(-1)'),
    ('FiLM without the 1', 'unet', 'torch.addcmul(b, h, 1 + a)', 'torch.addcmul(b, h, a)'),
    ('block does not start at zero', 'unet', 'zero(nn.Conv2d(c_out, c_out, 3, padding=1))', 'nn.Conv2d(c_out, c_out, 3, padding=1)'),
    ('U-Net does not start at zero', 'unet', 'self.out   = zero(nn.Conv2d(channels[0], out_channels * patch ** 2, 3, padding=1))', 'self.out   = nn.Conv2d(channels[0], out_channels * patch ** 2, 3, padding=1)'),
    ('dropout ignored', 'unet', 'nn.Dropout(dropout)', 'nn.Dropout(0.)'),
    ('attention without the scale of its softmax', 'unet', '(*qkv.unbind(1))', '(*qkv.unbind(1), scale=1.)'),
    ('pixels and channels of attention mixed up', 'unet', 'h.transpose(2, 3).reshape(B, C, H, W)', 'h.reshape(B, C, H, W)'),
    ('attention made but not used', 'unet', '        h = self.attention(h)\n', ''),
    ('kept features not joined', 'unet', 'torch.cat([h, k], 1)', 'torch.cat([h, h], 1)'),
    ('answer of the MLP in another dtype', 'unet', 'return self.out(F.silu(h)).to(xt.dtype)', 'return self.out(F.silu(h))'),

    # 04 ddpm
    ('times from 0 to T-1', 'ddpm', '1 + (T * where).long().clamp(max=T - 1)', '(T * where).long().clamp(max=T - 1)'),
    ('weight not squared', 'ddpm', '(noise / (signal * q - noise * p)) ** 2', '(noise / (signal * q - noise * p)).abs()'),
    ('loss always on eps', 'ddpm', 'target(sched, x0, eps, t, pred).to(', 'eps.to('),
    ('weight of the loss ignored', 'ddpm', 'if weight is not None: each = each * like(weight(sched, t, pred), each)', 'if weight is not None: each = each * 1'),
    ('posterior weights swapped', 'ddpm', 'like(a, xt) * xt + like(b, xt) * x0', 'like(b, xt) * xt + like(a, xt) * x0'),
    ('posterior with the noise of t', 'ddpm', '-torch.expm1(gap) * sched.noise(s) ** 2', '-torch.expm1(gap) * sched.noise(t) ** 2'),
    ('posterior: sigma for sigma squared', 'ddpm', '-torch.expm1(gap) * sched.noise(s) ** 2', '-torch.expm1(gap) * sched.noise(s)'),
    ('posterior: s ignored', 'ddpm', 's = t - 1 if s is None else s', 's = t - 1'),
    ('eval mode forgotten', 'ddpm', 'if was_training: net.eval()', 'if was_training: pass'),
    ('clipping dropped', 'ddpm', 'if not inside.any(): return threshold(x0_hat(net, xt, t, own), clip, quantile)', 'if not inside.any(): return x0_hat(net, xt, t, own)'),
    ('clipping dropped under guidance', 'ddpm', 'return threshold(guided, clip, quantile)', 'return guided'),
    ('dynamic threshold without the shrinking', 'ddpm', 'return x0.clamp(-high, high) * (clip / high)', 'return x0.clamp(-high, high)'),
    ('null label 0', 'ddpm', 'torch.full_like(own, -1)', 'torch.zeros_like(own)'),
    ('guidance weight of the other convention', 'ddpm', 'like(w * inside.double(), xt)', 'like((w - 1) * inside.double(), xt)'),
    ('guidance interval without its upper end', 'ddpm', '(lo <= t) & (t <= hi)', 'torch.as_tensor(lo <= t)'),
    ('rescaling upside down', 'ddpm', 'std(with_c) / std(guided)', 'std(guided) / std(with_c)'),
    ('guided calls counted once', 'ddpm', 'f.calls = 1 + inside.any().item()', 'f.calls = 1'),
    ('each call counted as one', 'ddpm', "self.calls += getattr(self._f, 'calls', 1)", 'self.calls += 1'),
    ('no_grad dropped', 'ddpm', 'with torch.no_grad(): return next(self._states)', 'return next(self._states)'),
    ('noise at the last step', 'ddpm', 'return torch.where(noise_s == 0, 0., share *', 'return (share *'),
    ('variance for standard deviation', 'ddpm', 'reverse_var(sched, t, s, var).sqrt()', 'reverse_var(sched, t, s, var)'),
    ('same noise at every step', 'ddpm', 'like(sigma, x) * noise(x, k)', 'like(sigma, x) * noise(x, 0)'),

    # 05 ddim
    ('eta not squared', 'ddim', 'fresh = eta ** 2 *', 'fresh = eta *'),
    ('s and t swapped in the fresh noise', 'ddim', 'sched.log_snr(t) - sched.log_snr(s)', 'sched.log_snr(s) - sched.log_snr(t)'),
    ('kept noise without its root', 'ddim', '(1 - fresh).sqrt()', '(1 - fresh)'),
    ('signal of t for that of s', 'ddim', 'sched.signal(s) - kept * sched.signal(t)', 'sched.signal(t) - kept * sched.signal(t)'),
    ('fresh noise of t for that of s', 'ddim', 'sched.noise(s) * fresh.sqrt()', 'sched.noise(t) * fresh.sqrt()'),
    ('uniform grid goes down to 0 at once', 'ddim', 'torch.linspace(sched.T, 1, n, dtype', 'torch.linspace(sched.T, 0, n, dtype'),
    ('rounded times may coincide', 'ddim', 'max(round(t), out[-1] + 1)', 'max(round(t), out[-1])'),
    ('quadratic grid without the square', 'ddim', 'torch.linspace(1, 0, n + 1, dtype=torch.float64) ** 2', 'torch.linspace(1, 0, n + 1, dtype=torch.float64)'),
    ('slerp in a straight line', 'ddim', 'line = theta.sin() < 1e-6', 'line = theta.sin() < 2'),
    ('inversion refines from where it is', 'ddim', 'x = a * xs + b * f(x, t)', 'x = a * x + b * f(x, t)'),

    # 06 metrics
    ('values not sorted', 'metrics', 'np.sort(s.double().numpy(), axis=-1)', 's.double().numpy()'),
    ('pieces of unequal width counted alike', 'metrics', '.square() * width).sum(-1) / (n * m)', '.square()).mean(-1)'),
    ('directions not normalised', 'metrics', 'return g / g.norm(dim=1, keepdim=True)', 'return g'),
    ('pairs of later blocks counted once', 'metrics', '(2 * total(block, x[i + rows:])', '(total(block, x[i + rows:])'),
    ('mean for root mean square', 'metrics', 'math.sqrt(sum(d * d for d in draws) / len(draws))', 'sum(draws) / len(draws)'),
    ('spread of the sample without ddof', 'metrics', 'ddof=1', 'ddof=0'),
    ('pairs of the floor share sets', 'metrics', 'range(seed, seed + 2 * pairs, 2)', 'range(seed, seed + pairs)'),
    ('floor subtracted, not its square', 'metrics', 'math.sqrt(max(0., value ** 2 - floor ** 2))', 'max(0., value - floor)'),
    ('real sets of the floor used again', 'metrics', 'start, values = seed + 2 * len(floor.draws), []', 'start, values = seed, []'),
    ('trace without its factor 2', 'metrics', 'cov_y.trace() - 2 * cross', 'cov_y.trace() - cross'),
    ('root of the covariance on one side only', 'metrics', 'root @ cov_y @ root', 'root @ cov_y'),
    ('KID with the pairs of a point with itself', 'metrics', 'return (total - k(x.square().sum(1))) / (len(x) * (len(x) - 1))', 'return total / len(x) ** 2'),
    ('cubic kernel without the 1', 'metrics', 'dots.div_(x.shape[1]).add_(1)', 'dots.div_(x.shape[1])'),
    ('a point is its own first neighbour', 'metrics', 'topk(k + 1, largest=False)', 'topk(k, largest=False)'),
    ('precision and recall swapped', 'metrics', 'return inside / len(x), reached.double().mean().item()', 'return reached.double().mean().item(), inside / len(x)'),
    ('floor of another number of images', 'metrics', 'order.split(n)[:', 'order.split(1000)[:'),
    ('images of the floor in common', 'metrics', 'for rows in order.split(n)[:min(8, len(order) // n)]]', 'for rows in [order[:n]] * min(8, len(order) // n)]'),
    ('features in training mode', 'metrics', '    net.eval()\n    try:', '    try:'),
    ('the net is given [0, 1]', 'metrics', 'net.features((2 * b - 1).to(one))', 'net.features(b.to(one))'),
    ('hash of the file not compared', 'metrics', "if h.hexdigest() != card.get('sha256'):", "if not card.get('sha256'):"),
    ('ratio upside down', 'metrics', "out['frechet'] / out['frechet_floor']", "out['frechet_floor'] / out['frechet']"),

    # 07 model
    ('mean and standard deviation swapped', 'model', 'return (x - self.mean) / self.std', 'return (x - self.std) / self.mean'),
    ('bound of the data not used', 'model', "self.data.clip if clip == 'data' else clip", "None if clip == 'data' else clip"),
    ('noise starts anew with each chunk', 'model', 'noise=SeededNoise(seed, start)', 'noise=SeededNoise(seed)'),
    ('labels of the first chunk for all', 'model', 'c[start:start + len(empty)]', 'c[:len(empty)]'),
    ('file written in place', 'model', '        yield Path(beside)\n', '        yield path\n        return\n'),
    ('unfinished file left behind', 'model', 'finally: Path(beside).unlink(missing_ok=True)', 'finally: pass'),
    ('digest ignores names', 'model', "f'{name} {x.dtype} {tuple(x.shape)}'", "f'{x.dtype} {tuple(x.shape)}'"),
    ('digest not compared', 'model', "if digest(tensors) != card['sha256']:", "if not card['sha256']:"),
    ('last beta lost on saving', 'model', 'torch.arange(1, self.sched.T + 1)', 'torch.arange(1, self.sched.T)'),
    ('float64 weights read into a float32 net', 'model', "Model(net.to(dtypes.pop()) if len(dtypes) == 1 and not card.get('half') else net, sched", 'Model(net, sched'),
    ('loaded model in training mode', 'model', "card['pred'], units).eval()", "card['pred'], units)"),
    ('oldest file of a folder', 'model', 'return found[-1]', 'return found[0]'),

    # 08 training
    ('order of batches ignores the epoch', 'training', "seed_of(self.seed, 'order', self.epoch)", "seed_of(self.seed, 'order')"),
    ('order of batches ignores the seed', 'training', "seed_of(self.seed, 'order', self.epoch)", "seed_of('order', self.epoch)"),
    ('test rows are validation rows', 'training', "('test', order[k:2 * k])", "('test', order[:k])"),
    ('test rows trained on', 'training', "('train', order[2 * k:])", "('train', order[k:])"),
    ('warm-up from zero', 'training', '(k + 1) / max(1, warmup)', 'k / max(1, warmup)'),
    ('rate rises again after the plan', 'training', 'min(1., k / K)', '(k / K)'),
    ('rate stepped by epoch', 'training', "interval='step'", "interval='epoch'"),
    ('weight decay ignored', 'training', 'weight_decay=h.weight_decay', 'weight_decay=0.'),
    ('late guidance from the start', 'training', 'if self.global_step >= self.hparams.w_from *', 'if self.global_step >= 0 *'),
    ('label drop inverted', 'training', '< self.hparams.drop_class, -1, c)', '< self.hparams.drop_class, c, -1)'),
    ('same noise for every batch', 'training', "'train', self.current_epoch, batch_idx, self.global_rank", "'train', self.current_epoch, self.global_rank"),
    ('same noise in every epoch', 'training', "'train', self.current_epoch, batch_idx, self.global_rank", "'train', batch_idx, self.global_rank"),
    ('validation noise drawn anew', 'training', 'eps = SeededNoise(self.hparams.seed, int(i[0]))(x0, 0)', 'eps = torch.randn_like(x0)'),
    ('validation at time 0', 'training', 't = 1 + (golden', 't = (golden'),
    ('averaging from the first step at full decay', 'training', 'min(decay, (1 + int(k)) / (10 + int(k)))', 'decay'),
    ('live weights saved', 'training', 'and not callback._swapped: return callback.averaged()', 'and not callback._swapped: return pl_module.model'),
    ('interrupt leaves the weights swapped', 'training', 'if self._swapped: self._swap_models(pl_module)', 'if self._swapped: pass'),
    ('fitted model in training mode', 'training', '    lit.model.eval()\n', ''),
    ('label column among the coordinates', 'training', 'torch.cat([table[:, :k], table[:, k + 1:]], 1)', 'table'),

    # 09 swissroll
    ('the same points in every epoch', 'swissroll', "self.draw(self.n_train, 'train', epoch)", "self.draw(self.n_train, 'train', 0)"),
    ('validation points are test points', 'swissroll', 'self.draw(n, name, 0)', 'self.draw(n, 0)'),
    ('roll seen from above', 'swissroll', 'x[:, [0, 2]]', 'x[:, [0, 1]]'),

    # 04 and 12: time grids and solvers
    ('noise grid: rate of the variance', 'ddpm', 'torch.linspace(top, max(top / n, low), n, dtype=torch.float64)[1:] ** 2', 'torch.linspace(top ** 2, max(top / n, low) ** 2, n, dtype=torch.float64)[1:]'),
    ('noise grid goes below time 1', 'ddpm', 'max(top / n, low)', 'top / n'),
    ('guidance trained in: w for w / (1 + w)', 'ddpm', 'goal + w / (1 + w) * (out.detach()', 'goal + w * (out.detach()'),
    ('all steps, but not all times', 'ddpm', '    if n == sched.T: return trailing_times(sched, n)\n', ''),
    ('error names the step before', 'ddpm', 'self.step = min(self.step + 1, len(self.times) - 1)', 'self.step = min(max(self.step, 0) + (self.calls > 0), len(self.times) - 1)'),
    ('2M and its SDE extrapolate by a full step', 'samplers', 'min(h / (2 * before), 1)', 'min(h / before, 1)', 2),
    ('second moment of the polynomial halved', 'samplers', 'moments = [mass @ v ** k / mass.sum() for k in range(len(at))]', 'moments = [mass @ v ** k / mass.sum() / max(1, k) for k in range(len(at))]'),
    ('Heun takes the end alone', 'samplers', 'mean_over([0., h], [x0, x0_s], h, exact=True)', 'x0_s'),
    ('Heun on eps without the half', 'samplers', 'noise_s * math.expm1(h) / 2 *', 'noise_s * math.expm1(h) *'),
    ("UniPC's corrector unused", 'samplers', 'x = there if k == 2 and start > 1 else', 'x = there if k >= 2 else'),
    ('UniPC corrects without the new value', 'samplers', 'else a * x + b * mean_over(at, seen, h)\n        at, seen = [u - h', 'else a * x + b * mean_over(at[:-1], seen[:-1], h)\n        at, seen = [u - h'),
    ('DEIS with the weights of the other side', 'samplers', 'mean_over(at, seen, h, sign=-1)', 'mean_over(at, seen, h)'),
    ('SDE noise: variance for standard deviation', 'samplers', 'x + var.sqrt() * noise(x, k)', 'x + var * noise(x, k)'),
    ('ancestral noise not compensated', 'samplers', 'a = a * math.sqrt(1 - up ** 2)', 'a = a * (1 - up)'),
    ('Karras grid without the power', 'samplers', '-2 * rho * torch.linspace(hi ** (1 / rho), lo ** (1 / rho), n', '-2 * rho * torch.linspace(hi ** (1 / rho), lo ** (1 / rho), n + 1'),
    ('angle grid one turn short', 'samplers', 'part = min(1 - first, (at_1 - first) * n / max(1, n - 1)) / n', 'part = min(1 - first, (at_1 - first) * n / max(1, n - 1)) / (n + 1)'),
    ('adaptive solver: rate without the signal', 'samplers', '(share * (x0 - share * z))', '(share * (x0 - z))'),
    ('visible grid in lambda for log-SNR', 'samplers', 'return logsnr_times(sched, n, lo, hi)', 'return logsnr_times(sched, n, lo / 2, hi / 2)'),
    # 83 sampling
    ('a round too few', 'sampling', 'for r in range(rounds):', 'for r in range(rounds - 1):'),
    ('key stays the same', 'sampling', '(word + r * step) & MASK', 'word & MASK'),
    ('high half with its sign', 'sampling', '^ word).bitwise_and_(MASK)', '^ (word & MASK))'),
    ('low halves not masked at the end', 'sampling', 'return [a, b & MASK, c, d & MASK]', 'return [a, b, c, d]'),
    ('radius without the 2', 'sampling', '.log_().mul_(-2).sqrt_()', '.log_().neg_().sqrt_()'),
    ('radius and angle of the same word', 'sampling', 'points(words[1::2])', 'points(words[::2])'),
    ('noise ignores the step', 'sampling', 'torch.full((1, 1), step, device', 'torch.full((1, 1), 0, device'),
    ('samples of the first piece for all', 'sampling', 'samples[i:i + rows], q', 'samples[:len(samples[i:i + rows])], q'),
    ('each piece begins with the first numbers', 'sampling', 'torch.arange(first, end, device', 'torch.arange(end - first, device'),
    ('upper half of the sample dropped', 'sampling', '(samples & MASK, samples >> 32)', '(samples & MASK, samples & 0)'),
    ('upper half of the seed dropped', 'sampling', 'self.seed & MASK, self.seed >> 32', 'self.seed & MASK, 0'),
    ('noise made on the CPU', 'sampling', 'device=samples.device)\n        step', "device='cpu').to(samples.device)\n        step"),
    # 90 plots
    ('white wraps to black', 'plots', '* 127.5).round().byte()', '* 128).round().byte()'),
    ('images in columns', 'plots', '.permute(0, 3, 1, 4, 2)', '.permute(1, 3, 0, 4, 2)'),
    ('latest state for the nearest', 'plots', 'key=lambda i: abs(at[i] - t)', 'key=lambda i: at[i] - t'),
]]

UNSCORED = { # can be planted, but the stored score is older than they are; a full run takes them in
    'a round too few',
    'key stays the same',
    'high half with its sign',
    'low halves not masked at the end',
    'radius without the 2',
    'radius and angle of the same word',
    'noise ignores the step',
    'samples of the first piece for all',
    'each piece begins with the first numbers',
    'upper half of the sample dropped',
    'upper half of the seed dropped',
    'noise made on the CPU',
    'trace without its factor 2',
    'root of the covariance on one side only',
    'KID with the pairs of a point with itself',
    'cubic kernel without the 1',
    'a point is its own first neighbour',
    'precision and recall swapped',
    'floor of another number of images',
    'images of the floor in common',
    'features in training mode',
    'the net is given [0, 1]',
    'hash of the file not compared',
    'ratio upside down',
    'noise grid: rate of the variance',
    'noise grid goes below time 1',
    'all steps, but not all times',
    'error names the step before',
    '2M and its SDE extrapolate by a full step',
    'second moment of the polynomial halved',
    'Heun takes the end alone',
    'Heun on eps without the half',
    "UniPC's corrector unused",
    'UniPC corrects without the new value',
    'DEIS with the weights of the other side',
    'SDE noise: variance for standard deviation',
    'ancestral noise not compensated',
    'Karras grid without the power',
    'angle grid one turn short',
    'adaptive solver: rate without the signal',
    'visible grid in lambda for log-SNR',
    'guidance trained in: w for w / (1 + w)',
    'late guidance from the start',
}

# -- planting -----------------------------------------------------------------------------------------

class Rotten(Exception): "The list of faults no longer fits the package."

def chapters(root=ROOT): return {b.module: b for b in rules.notebooks(root) if b.module}

def planted(fault, root=ROOT):
    "The changed files, path below the root -> text: the module, and the notebook that it comes from."
    lib = rules.root_lib(root)
    path, book = Path(root)/lib/f'{fault.module}.py', chapters(root).get(fault.module)
    if not path.exists() or book is None: raise Rotten(f'{fault.name}: no module {fault.module} with a notebook')
    text = path.read_text(encoding='utf-8')
    cells = [c for c in book.code if c.exported]
    for where, n in ((path.name, text.count(fault.old)), (book.name, sum(c.source.count(fault.old) for c in cells))):
        if n != fault.count: raise Rotten(f'{fault.name}: {where} holds {fault.old.strip()!r} {n} times, not {fault.count}')
    if fault.new == fault.old: raise Rotten(f'{fault.name}: changes nothing')
    for c in cells: c.raw['source'] = c.source.replace(fault.old, fault.new).splitlines(keepends=True)
    return {f'{lib}/{path.name}': text.replace(fault.old, fault.new), book.name: json.dumps(book.nb, ensure_ascii=False)}

def rotten(faults, root=ROOT):
    "What is wrong with the list."
    out, names = [], [f.name for f in faults]
    out += [f'{n}: the name is there twice' for n in sorted({n for n in names if names.count(n) > 1})]
    for f in faults:
        try: files = planted(f, root)
        except Rotten as e: out.append(str(e)); continue
        module = next(k for k in files if k.endswith('.py'))
        try: compile(files[module], module, 'exec')
        except SyntaxError as e: out.append(f'{f.name}: {module} does not compile: {e}')
    return out

def copied(root, to):
    "The project as a clone would have it, without what is made from it: notebooks may read any file of it."
    made = shutil.ignore_patterns('.*', '__pycache__', '*.egg-info', 'run', 'data', '_docs', '_proc', 'build', 'dist')
    shutil.copytree(root, to, ignore=made, dirs_exist_ok=True)

# -- running ------------------------------------------------------------------------------------------

def message(out):
    "Statement, kind and text of an error, from a traceback."
    lines, kind, line = out.splitlines(), 'no error shown', ''
    for i, l in enumerate(lines):
        m = re.match(r'(?:\w+\.)*(\w*(?:Error|Exception|Warning|Interrupt|Exit|Stop\w+))(?:: (.*))?$', l)
        if m: kind = f'{m[1]}: {m[2]}' if m[2] else m[1]
        if not line and l.startswith('  File "<ipython-input') and i + 1 < len(lines): line = lines[i + 1].strip() # the outermost: the test's own
    worst = next((l.strip() for l in reversed(lines) if l.startswith('Greatest absolute difference')), '')
    return line[:160], (kind + (' ' + worst if worst else ''))[:240]

def fingerprint(fault, book):
    "Changes with the fault and with the code of the chapter that has the function."
    return hashlib.sha256(json.dumps([fault.old, fault.new, fault.count, [c.source for c in book.code]]).encode()).hexdigest()[:16]

def attempt(root, book, timeout, env):
    "Seconds, and None if all cells pass, else what happened: cell, its first line of code, statement, error."
    path, t0 = Path(root)/book.name, time.time()
    code, out, i = check.execute(path, timeout, dict(env, PYTHONPATH=str(root)), root)
    took = time.time() - t0
    if code == 0: return took, None, out
    if code is None: return took, dict(undecided=f'not done after {timeout:.0f} s'), out
    if i is None: return took, dict(undecided=f'no cell to blame: {check.last(out)}'), out
    cell = book.cells[i - 1]
    line, how = message(out)
    found = dict(cell=i, id=cell.id, statement=line, how=how)
    if cell.exported: found['undecided'] = f'the exporting cell {i} itself fails: {how}'
    return took, found, out

def trial(fault, base, env, limits, verbose=False, own=False):
    "Plant one fault and see who notices."
    book = chapters(base)[fault.module]
    names = [book.stem, *(n for n in LATER.get(fault.module, ()) if n in limits and not own)]
    res = dict(name=fault.name, module=fault.module, old=fault.old.strip(), new=fault.new.strip(), fingerprint=fingerprint(fault, book), caught=False, chapter=None, seconds=0.)
    with tempfile.TemporaryDirectory() as tmp:
        root = Path(tmp)/'project'
        root.mkdir()
        copied(base, root)
        for name, text in planted(fault, base).items(): (root/name).write_text(text, encoding='utf-8')
        books = {b.stem: b for b in rules.notebooks(root)}
        for n in names:
            took, found, out = attempt(root, books[n], limits[n], dict(env, IPYTHONDIR=tmp))
            res['seconds'] = round(res['seconds'] + took, 1)
            if found is None: continue
            res.update(found, chapter=n, caught='undecided' not in found)
            if verbose: print('\n'.join('      | ' + l for l in out.splitlines()[-25:]), flush=True)
            break
    return res

def shown(r):
    if r['caught']: return f"caught    {r['module']}: {r['name']}\n          {r['chapter']}, cell {r['cell']}: {r['how']}"
    return f"{'UNDECIDED' if 'undecided' in r else 'SURVIVED '} {r['module']}: {r['name']}" + (f"\n          {r['chapter']}: {r['undecided']}" if 'undecided' in r else '')

def stored(): # the last score, by name
    return {r['name']: r for r in json.loads(STORE.read_text(encoding='utf-8'))['results']} if STORE.exists() else {}

def parallel(workers, jobs):
    "Results as they come; nothing is left running when we are interrupted."
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(f, *args) for f, *args in jobs]
        try:
            for f in as_completed(futures): yield f.result()
        except BaseException:
            for f in futures: f.cancel()
            for p in list(check.running): check.stop(p)
            raise

def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--only', nargs='+', default=[], help='modules, or parts of names')
    p.add_argument('--again', action='store_true', help='keep what is stored and still holds')
    p.add_argument('--list', action='store_true', help='list the faults and check that they can be planted; run nothing')
    p.add_argument('--workers', type=int, default=2)
    p.add_argument('--timeout', type=int, default=300, help='seconds for one notebook')
    p.add_argument('--verbose', action='store_true', help='show what the failing cell said')
    p.add_argument('--own', action='store_true', help='ask only the chapter that has the function (with --only)')
    p.add_argument('--no-baseline', action='store_true', help='do not run the sound notebooks first (with --only)')
    a = p.parse_args(argv)
    if a.workers < 1: p.error(f'--workers must be at least 1, not {a.workers}')
    if (a.no_baseline or a.own) and not a.only: p.error('--no-baseline and --own: only with --only, or the score would mean nothing')
    modules = {f.module for f in FAULTS}
    faults = [f for f in FAULTS if not a.only or f.module in a.only or any(o in f.name for o in a.only if o not in modules)]
    if a.again and a.only: p.error('--again and --only do not go together')
    if not faults: p.error(f'no fault has {" or ".join(a.only)} in its name or is of that module')
    with tempfile.TemporaryDirectory() as tmp:
        base, t0 = Path(tmp)/'base', time.time()
        base.mkdir()
        copied(ROOT, base)                                                # one state of the project for the whole run
        bad = rotten(faults, base)
        for b in bad: print('ERROR  ' + b, file=sys.stderr)
        if bad: return 2
        if a.list:
            for f in faults: print(f'{f.module:10} {f.name}')
            print(f'{len(faults)} faults')
            return 0
        env, books, own = check.environment(tmp), {b.stem: b for b in rules.notebooks(base)}, chapters(base)
        kept = [r for f in faults if a.again for r in [stored().get(f.name)] if r and r['caught'] and r['fingerprint'] == fingerprint(f, own[f.module])]
        names = {r['name'] for r in kept}
        faults = [f for f in faults if f.name not in names]
        if names: print(f'{len(names)} faults are stored as caught, and their chapters have not changed', flush=True)
        used = sorted({n for f in faults for n in (own[f.module].stem, *(() if a.own else LATER.get(f.module, ())))} & books.keys())
        limits = dict.fromkeys(used, a.timeout)
        if not a.no_baseline:
            print(f'without a fault: {", ".join(used)}', flush=True)
            for n, (took, found, _) in zip(used, in_order(a.workers, [(attempt, base, books[n], a.timeout, env) for n in used])):
                if found is not None:
                    print(f'ERROR  {n} fails without any fault: {found.get("undecided") or found["how"]}: the score would mean nothing', file=sys.stderr)
                    return 2
                limits[n] = max(120, min(a.timeout, 6 * took))
        results = kept
        for r in parallel(a.workers, [(trial, f, base, env, limits, a.verbose, a.own) for f in faults]):
            results.append(r)
            print(shown(r), flush=True)
    order = {f.name: i for i, f in enumerate(FAULTS)}
    results.sort(key=lambda r: order[r['name']])
    caught = sum(r['caught'] for r in results)
    missed = [r for r in results if not r['caught']]
    late = [r for r in results if r['caught'] and r['chapter'] != own[r['module']].stem]
    for r in late: print(f"a later chapter caught it: {r['module']}: {r['name']} ({r['chapter']})")
    for r in missed: print(shown(r).splitlines()[0])
    print(f'{time.time() - t0:.0f} s in all', flush=True)
    print(f'{len(results)} faults, {caught} caught, {len(missed)} not caught', flush=True)
    if not a.only:
        versions = {k: version(k) for k in ('torch', 'lightning', 'nbdev')}
        score = dict(faults=len(results), caught=caught, versions=versions, results=results)
        part = STORE.with_suffix('.part')
        part.write_text(json.dumps(score, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
        os.replace(part, STORE)
        print(f'written to {STORE.relative_to(ROOT)}')
    return int(bool(missed))

def in_order(workers, jobs):
    "Results in the order of the jobs."
    done = dict(parallel(workers, [(lambda i, f, *args: (i, f(*args)), i, *job) for i, job in enumerate(jobs)]))
    return [done[i] for i in range(len(jobs))]

if __name__ == '__main__':
    signal.signal(signal.SIGTERM, check.interrupt)
    try: sys.exit(main())
    except KeyboardInterrupt: print('interrupted', file=sys.stderr); sys.exit(130)
