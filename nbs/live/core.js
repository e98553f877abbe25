// The mathematics of the book in plain JavaScript, as the chapters name it: schedules, the
// algebra of predictions, perfect denoisers, samplers. tests/test_live.py compares it with PyTorch.

// ---- schedules: log-SNR at times 0..T, and what follows from it (chapter 01)

export const sigmoid = x => 1 / (1 + Math.exp(-x));

export class Schedule {
  constructor(table) { this.table = table; this.T = table.length - 1; }
  logSnr(t) {                       // a straight line between whole times; infinite at 0
    const { table, T } = this;
    if (t < 1) return t > 0 ? table[1] - 2 * Math.log(t) : Infinity;
    const lo = Math.min(Math.floor(t), T), hi = Math.min(lo + 1, T);
    return table[lo] + (t - lo) * (table[hi] - table[lo]);
  }
  signal(t) { return Math.sqrt(sigmoid(this.logSnr(t))); }
  noise(t) { return Math.sqrt(sigmoid(-this.logSnr(t))); }
  tAt(logSnr) {                     // the time at which log-SNR has fallen to a value
    const { table, T } = this;
    if (logSnr >= table[1]) return Math.exp((table[1] - logSnr) / 2);
    let lo = 1, hi = T;
    while (hi - lo > 1) {
      const mid = (lo + hi) >> 1;
      if (table[mid] > logSnr) lo = mid; else hi = mid;
    }
    return lo + (table[lo] - logSnr) / (table[lo] - table[hi]);
  }
}

export function fromBetas(betas) {
  const table = Float64Array.of(Infinity, ...betas);
  let log = 0;                      // of alpha_bar
  for (let t = 1; t < table.length; t++) {
    log += Math.log1p(-table[t]);
    table[t] = log - Math.log(-Math.expm1(log));
  }
  return new Schedule(table);
}

const fromCurve = (curve, T, most = 0.999) => fromBetas(
  Array.from({ length: T }, (_, i) => Math.min(most, 1 - curve((i + 1) / T) / curve(i / T))));
const logistic = (u, start, end) =>
  (sigmoid(end) - sigmoid(start + (end - start) * u)) / (sigmoid(end) - sigmoid(start));
const line = (T, a, b) => Array.from({ length: T }, (_, i) => a + (b - a) * (T > 1 ? i / (T - 1) : 0));

export const SCHEDULES = {
  cosine: ({ T = 1000, offset = 0.008 } = {}) =>
    fromCurve(u => Math.cos((u + offset) / (1 + offset) * Math.PI / 2) ** 2, T),
  linear: ({ T = 1000, beta_1 = 1e-4, beta_T = 0.02 } = {}) =>
    fromBetas(line(T, beta_1 * 1000 / T, beta_T * 1000 / T)),
  quadratic: ({ T = 1000, beta_1 = 1e-4, beta_T = 0.02 } = {}) =>
    fromBetas(line(T, Math.sqrt(beta_1 * 1000 / T), Math.sqrt(beta_T * 1000 / T)).map(b => b * b)),
  sigmoid: ({ T = 1000, start = -3, end = 3 } = {}) => fromCurve(u => logistic(u, start, end), T),
};

// ---- the algebra: what a net's answer implies (chapter 01); numbers in, a pair of factors out

const PREDS = {                     // out = kx x0 + keps eps
  eps: () => [0, 1],
  x0: () => [1, 0],
  v: (signal, noise) => [-noise, signal],
  flow: () => [-1, 1],
  score: (signal, noise) => [0, -1 / noise],
};

export function x0Factors(pred, signal, noise) {   // x0_hat = a xt + b out
  if (noise === 0) return [1, 0];
  const [kx, keps] = PREDS[pred](signal, noise), det = signal * keps - noise * kx;
  return [keps / det, -noise / det];
}

export function blend(a, x, b, y) {
  const z = new Float64Array(x.length);
  for (let i = 0; i < z.length; i++) z[i] = a * x[i] + b * y[i];
  return z;
}

export const diffuse = (sched, x0, t, eps) => blend(sched.signal(t), x0, sched.noise(t), eps);

// ---- perfect denoisers: a mixture of round Gaussians, or of points (chapter 02)

export class Mixture {
  // means: K rows of D numbers, flat; std, weights: one for all, or K; labels: K classes
  constructor(sched, means, { D = 2, std = 0, weights = 1, labels = null } = {}) {
    const K = means.length / D, each = a => Float64Array.from({ length: K }, (_, k) => a[k] ?? a);
    Object.assign(this, { sched, D, K, labels, means: Float64Array.from(means), stds: each(std) });
    const shares = each(weights), total = shares.reduce((a, b) => a + b);
    this.weights = shares.map(w => w / total);
  }

  // E[x0 | xt], the score and log q(xt) of every state at once; c >= 0: of that class alone
  at(xt, t, c = -1) {
    const { sched, D, means, labels } = this, [signal, noise] = [sched.signal(t), sched.noise(t)];
    const kept = [...this.weights.keys()].filter(k => c < 0 || labels[k] === c), K = kept.length;
    const total = kept.reduce((sum, k) => sum + this.weights[k], 0);
    const mu = Float64Array.from(kept.flatMap(k => [...means.subarray(k * D, k * D + D)]));
    const vars = Float64Array.from(kept, k => this.stds[k] ** 2);
    const spread = vars.map(v => Math.max(signal ** 2 * v + noise ** 2, 1e-200));
    const prior = spread.map((v, k) =>
      Math.log(this.weights[kept[k]] / total) - D / 2 * Math.log(2 * Math.PI * v));
    const n = xt.length / D, logit = new Float64Array(K);
    const x0 = new Float64Array(n * D), score = new Float64Array(n * D), logq = new Float64Array(n);
    for (let i = 0, r = 0; i < n; i++, r += D) {
      let top = -Infinity, sum = 0;
      for (let k = 0; k < K; k++) {
        let apart = 0;
        for (let d = 0; d < D; d++) apart += (xt[r + d] - signal * mu[k * D + d]) ** 2;
        logit[k] = prior[k] - apart / (2 * spread[k]);
        if (logit[k] > top) top = logit[k];
      }
      for (let k = 0; k < K; k++) sum += logit[k] = logit[k] < top - 60 ? 0 : Math.exp(logit[k] - top);
      for (let k = 0; k < K; k++) {
        if (!logit[k]) continue;
        const p = logit[k] / sum, slope = signal * vars[k] / spread[k], pull = p / spread[k];
        for (let d = 0; d < D; d++) {
          const m = mu[k * D + d], x = xt[r + d];
          x0[r + d] += p * (m + slope * (x - signal * m));
          score[r + d] += pull * (signal * m - x);
        }
      }
      logq[i] = top + Math.log(sum);
    }
    return { x0: noise === 0 ? Float64Array.from(xt) : x0, score, logq };
  }

  denoiser(c = -1) { return (xt, t) => this.at(xt, t, c).x0; }

  sample(n, random) {               // data: a component by its weight, then a draw from it
    const { D, means } = this, x = normals(n * D, random);
    for (let i = 0; i < n; i++) {
      let k = 0;
      for (let u = random(); (u -= this.weights[k]) > 0 && k < this.K - 1;) k++;
      for (let d = 0; d < D; d++) x[i * D + d] = means[k * D + d] + this.stds[k] * x[i * D + d];
    }
    return x;
  }
}

export function ring(sched, K = 4, std = 0.4) {    // K classes on a circle, unit variance in all
  const r = Math.sqrt(2 * (1 - std * std)), ks = [...Array(K).keys()];
  const means = ks.flatMap(k => [r * Math.cos(2 * Math.PI * k / K), r * Math.sin(2 * Math.PI * k / K)]);
  return new Mixture(sched, means, { std, labels: ks });
}

export function guided(f, away, w) {               // chapter 04b
  return w ? (xt, t) => blend(1 + w, f(xt, t), -w, away(xt, t)) : f;
}

// ---- noise of one's own: the same seed gives the same numbers

export function uniforms(seed) {
  let a = seed >>> 0;
  return () => {
    a = a + 0x6D2B79F5 | 0;
    let z = Math.imul(a ^ a >>> 15, a | 1);
    z ^= z + Math.imul(z ^ z >>> 7, z | 61);
    return ((z ^ z >>> 14) >>> 0) / 2 ** 32;
  };
}

export function normals(n, random) {
  return Float64Array.from({ length: n },
    () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()));
}

// ---- grids of times (chapters 05 and 12b)

const rounded = x => x % 1 === 0.5 ? 2 * Math.round(x / 2) : Math.round(x);   // halves to even

export function trailing(sched, n) {
  return Array.from({ length: n + 1 }, (_, k) => rounded(sched.T * (n - k) / n));
}

export function evenLogSnr(sched, n, lo = -10) {   // even in log-SNR up to time 1, then 0
  const { table, T } = sched, first = Math.max(lo, table[T]);
  const inner = line(n, first, table[1]).slice(1).map(l => sched.tAt(l));
  return [T, ...inner, 0];
}

// ---- samplers (chapters 04, 05, 12, 12c): generators that yield x_T ... x_0; f(xt, t) -> x0_hat

export function leg(sched, t, s) {                 // x_s = a x_t + b times the mean of x0_hat
  const h = (sched.logSnr(s) - sched.logSnr(t)) / 2;
  return { h, a: sched.noise(s) / sched.noise(t), b: -sched.signal(s) * Math.expm1(-h) };
}

export function* ddim(f, sched, x, times, { eta = 0, noise = null } = {}) {
  yield x;
  for (let k = 1; k < times.length; k++) {
    const [t, s] = [times[k - 1], times[k]], [at, by] = [sched.noise(t), sched.noise(s)];
    const fresh = eta ** 2 * -Math.expm1(sched.logSnr(t) - sched.logSnr(s));
    const kept = by * Math.sqrt(1 - fresh) / at;
    x = blend(kept, x, sched.signal(s) - kept * sched.signal(t), f(x, t));
    if (fresh * by > 0) x = blend(1, x, by * Math.sqrt(fresh), noise(x.length, k));
    yield x;
  }
}

export function* ddpm(f, sched, x, times, { noise }) {
  yield x;
  for (let k = 1; k < times.length; k++) {
    const [t, s] = [times[k - 1], times[k]], gap = sched.logSnr(t) - sched.logSnr(s);
    const a = Math.exp(gap) * sched.signal(s) / sched.signal(t), rest = -Math.expm1(gap);
    x = blend(a, x, rest * sched.signal(s), f(x, t));
    if (s > 0) x = blend(1, x, Math.sqrt(rest) * sched.noise(s), noise(x.length, k));
    yield x;
  }
}

export function* dpmpp2m(f, sched, x, times) {
  yield x;
  let old = null, before = 0;
  for (let k = 1; k < times.length; k++) {
    const { h, a, b } = leg(sched, times[k - 1], times[k]), x0 = f(x, times[k - 1]);
    const share = old === null || h === Infinity ? 0 : Math.min(h / (2 * before), 1);
    x = blend(a, x, b, share ? blend(1 + share, x0, -share, old) : x0);
    [old, before] = [x0, h];
    yield x;
  }
}

export function* heun(f, sched, x, times) {
  yield x;
  for (let k = 1; k < times.length; k++) {
    const [t, s] = [times[k - 1], times[k]], { h, a, b } = leg(sched, t, s), x0 = f(x, t);
    let there = blend(a, x, b, x0);
    if (s > 0) {
      const share = 1 / -Math.expm1(-h) - 1 / h;   // where the weight on a step has its centre
      there = blend(a, x, b, blend(1 - share, x0, share, f(there, s)));
    }
    yield x = there;
  }
}

export const SAMPLERS = { ddim, ddpm, dpmpp2m, heun };
