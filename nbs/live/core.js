// The mathematics of the book in plain JavaScript, under the chapters' names: schedules, algebra,
// perfect denoisers, samplers. tests/test_live.py compares all of it with PyTorch.
// ---- schedules: log-SNR at times 0..T, and what follows from it (chapter 01)
export const range = (n, f) => Array.from({ length: n }, (_, i) => f(i));
const sigmoid = x => 1 / (1 + Math.exp(-x));
export class Schedule {
  constructor(table) { this.table = table; this.T = table.length - 1; }
  logSnr(t) {                                       // straight between whole times, infinite at 0
    if (t < 1) return t > 0 ? this.table[1] - 2 * Math.log(t) : Infinity;
    const lo = Math.min(Math.floor(t), this.T - 1) || 1, hi = Math.min(lo + 1, this.T);
    return this.table[lo] + (t - lo) * (this.table[hi] - this.table[lo]);
  }
  signal(t) { return Math.sqrt(sigmoid(this.logSnr(t))); }
  noise(t) { return Math.sqrt(sigmoid(-this.logSnr(t))); }
  tAt(logSnr) {                                     // where log-SNR has fallen to a value
    if (logSnr >= this.table[1]) return Math.exp((this.table[1] - logSnr) / 2);
    const above = this.table.filter(l => l > logSnr).length;
    const hi = Math.max(2, Math.min(above, this.T)), lo = hi - 1;
    return lo + (this.table[lo] - logSnr) / (this.table[lo] - this.table[hi]);
  }
}
function fromBetas(betas) {
  let log = 0;                                      // of alpha_bar
  return new Schedule(Float64Array.of(Infinity, ...betas.map(beta => {
    log += Math.log1p(-beta);
    return log - Math.log(-Math.expm1(log));
  })));
}
const fromCurve = (f, T) => fromBetas(range(T, i => Math.min(0.999, 1 - f((i + 1) / T) / f(i / T))));
export const SCHEDULES = {
  cosine: ({ T = 1000, offset = 0.008 } = {}) =>
    fromCurve(u => Math.cos((u + offset) / (1 + offset) * Math.PI / 2) ** 2, T),
  linear: ({ T = 1000, beta_1 = 1e-4, beta_T = 0.02 } = {}) =>
    fromBetas(range(T, i => (beta_1 + (beta_T - beta_1) * i / (T - 1)) * 1000 / T)),
  sigmoid: ({ T = 1000, start: a = -3, end: b = 3 } = {}) => fromCurve(u => sigmoid(b) - sigmoid(a + (b - a) * u), T),
};
// ---- the algebra (chapter 01): out = kx x0 + keps eps, so that x0_hat = a xt + b out
const PREDS = { eps: () => [0, 1], x0: () => [1, 0], v: (signal, noise) => [-noise, signal],
  flow: () => [-1, 1], score: (signal, noise) => [0, -1 / noise] };
export function x0Factors(pred, signal, noise) {
  const [kx, keps] = PREDS[pred](signal, noise), det = signal * keps - noise * kx;
  return noise ? [keps / det, -noise / det] : [1, 0];
}
export function blend(a, x, b, y) {
  const z = new Float64Array(x.length);
  for (let i = 0; i < z.length; i++) z[i] = a * x[i] + b * y[i];
  return z;
}
// ---- perfect denoisers (chapter 02): K round Gaussians, or points where std is 0
export class Mixture {
  constructor(sched, means, { D = 2, std = 0, weights = 1, labels = [] } = {}) {   // means: K rows of D, flat
    Object.assign(this, { sched, D, labels, means: Float64Array.from(means) });
    this.parts = range(means.length / D, k => ({ k, std: std[k] ?? std, weight: weights[k] ?? weights }));
  }
  at(xt, t, c = -1) {             // E[x0 | xt], score and log q(xt) of all states; c: of that class
    const { sched, D, means, labels } = this, signal = sched.signal(t), noise = sched.noise(t);
    const parts = this.parts.filter(({ k }) => c < 0 || labels[k] === c), K = parts.length;
    const total = parts.reduce((sum, p) => sum + p.weight, 0);
    const mu = Float64Array.from(parts.flatMap(({ k }) => [...means.subarray(k * D, k * D + D)]));
    const vars = Float64Array.from(parts, p => p.std ** 2);
    const spread = vars.map(v => Math.max(signal ** 2 * v + noise ** 2, 1e-200));
    const prior = spread.map((v, k) => Math.log(parts[k].weight / total) - D / 2 * Math.log(2 * Math.PI * v));
    const n = xt.length / D, [p, x0, score, logq] = [K, n * D, n * D, n].map(size => new Float64Array(size));
    for (let i = 0, r = 0; i < n; i++, r += D) {
      let top = -Infinity, sum = 0;
      for (let k = 0; k < K; k++) {
        let apart = 0;
        for (let d = 0; d < D; d++) apart += (xt[r + d] - signal * mu[k * D + d]) ** 2;
        top = Math.max(top, p[k] = prior[k] - apart / (2 * spread[k]));
      }
      for (let k = 0; k < K; k++) sum += p[k] = p[k] < top - 60 ? 0 : Math.exp(p[k] - top);
      for (let k = 0; k < K; k++) if (p[k]) for (let d = 0; d < D; d++) {
        const m = mu[k * D + d], off = xt[r + d] - signal * m, pull = p[k] / sum / spread[k];
        x0[r + d] += p[k] / sum * m + pull * signal * vars[k] * off;
        score[r + d] -= pull * off;
      }
      logq[i] = top + Math.log(sum);
    }
    return { x0: noise ? x0 : Float64Array.from(xt), score, logq };
  }
  denoiser(c = -1) { return (xt, t) => this.at(xt, t, c).x0; }
}
export function ring(sched, K = 4, std = 0.4) {     // K classes on a circle, unit variance in all
  const r = Math.sqrt(2 * (1 - std * std)), angles = range(K, k => 2 * Math.PI * k / K);
  const means = angles.flatMap(a => [r * Math.cos(a), r * Math.sin(a)]);
  return new Mixture(sched, means, { std, labels: range(K, k => k) });
}
export const guided = (f, away, w) => w ? (xt, t) => blend(1 + w, f(xt, t), -w, away(xt, t)) : f;
// ---- numbers by chance, the same for the same seed (Park and Miller; Box and Muller)
export function uniforms(seed, u = seed * 69621 + 987654321) {
  return () => (u = u * 48271 % 2147483647) / 2147483647;
}
export const normals = (n, random) => Float64Array.from({ length: n },
  () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()));
// ---- grids of times (chapters 05 and 12b)
const rounded = x => x % 1 === 0.5 ? 2 * Math.round(x / 2) : Math.round(x);    // halves to even
export const trailing = ({ T }, n) => range(n + 1, k => rounded(T * (n - k) / n));
export function evenLogSnr(sched, n) {               // from -10 up to time 1, then 0
  const { T, table } = sched, first = Math.max(-10, table[T]), step = (table[1] - first) / (n - 1);
  return [T, ...range(n - 1, k => sched.tAt(first + (k + 1) * step)), 0];
}
// ---- samplers (chapters 04, 05, 12, 12c): generators of x_T ... x_0 for a denoiser f(xt, t)
export function* ddim(f, sched, x, times, { eta = 0, noise } = {}) {
  yield x;
  for (let k = 1; k < times.length; k++) {
    const [t, s] = [times[k - 1], times[k]], by = sched.noise(s);
    const fresh = eta ** 2 * -Math.expm1(sched.logSnr(t) - sched.logSnr(s));
    const kept = by * Math.sqrt(1 - fresh) / sched.noise(t);
    x = blend(kept, x, sched.signal(s) - kept * sched.signal(t), f(x, t));
    if (fresh * by > 0) x = blend(1, x, by * Math.sqrt(fresh), noise(x.length, k));
    yield x;
  }
}
export const ddpm = (f, sched, x, times, { noise }) => ddim(f, sched, x, times, { eta: 1, noise });
function leg(sched, t, s) {                         // x_s = a x_t + b times the mean of x0_hat
  const h = (sched.logSnr(s) - sched.logSnr(t)) / 2;
  return { h, a: sched.noise(s) / sched.noise(t), b: -sched.signal(s) * Math.expm1(-h) };
}
export function* dpmpp2m(f, sched, x, times) {
  yield x;
  for (let k = 1, old, before; k < times.length; k++) {
    const { h, a, b } = leg(sched, times[k - 1], times[k]), x0 = f(x, times[k - 1]);
    const share = old && h < Infinity ? Math.min(h / (2 * before), 1) : 0;
    x = blend(a, x, b, share ? blend(1 + share, x0, -share, old) : x0);
    [old, before] = [x0, h];
    yield x;
  }
}
export function* heun(f, sched, x, times) {
  yield x;
  for (let k = 1; k < times.length; k++) {
    const [t, s] = [times[k - 1], times[k]], { h, a, b } = leg(sched, t, s), x0 = f(x, t);
    const share = 1 / -Math.expm1(-h) - 1 / h, there = blend(a, x, b, x0);
    yield x = s > 0 ? blend(a, x, b, blend(1 - share, x0, share, f(there, s))) : there;
  }
}
