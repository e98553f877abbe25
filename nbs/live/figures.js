// What each figure shows: controls, states computed once, and a drawing of them at slider t, which
// returns its words for screen readers. s is the sheet: its pens, its size, and what it remembers.
import { blend, ddim, ddpm, diffuse, dpmpp2m, evenLogSnr, guided, heun, Mixture, normals, ring,
  Schedule, SCHEDULES, sigmoid, trailing, uniforms } from './core.js';

const cosine = SCHEDULES.cosine({ T: 500 }), noise = (n, seed) => normals(n, uniforms(seed + 1));
const fresh = seed => { const random = uniforms(seed + 99); return n => normals(n, random); };
const range = (n, f) => Array.from({ length: n }, (_, i) => f(i));
const last = states => states[states.length - 1];
const number = x => Math.abs(x) > 99 ? x.toFixed(0) : x.toPrecision(2);

// a box in the sheet, w wide and h high, whose coordinates run over [x0, x1, y0, y1]
function box({ g, rule, muted }, [x, y, w, h], [x0, x1, y0, y1], title) {
  Object.assign(g, { strokeStyle: rule, fillStyle: muted, lineWidth: 1 });
  g.strokeRect(x, y, w, h);
  g.fillText(title, x + 2, y - 6, w);
  return (u, v) => [x + (u - x0) / (x1 - x0) * w, y + h - (v - y0) / (y1 - y0) * h];
}
const square = (s, k, of, title, lim = 2.6) => {     // the k-th of some square boxes in a row
  const side = s.w / of - 8;
  return box(s, [k * s.w / of + 4, 24, side, side], [-lim, lim, -lim, lim], title);
};

function dots(g, at, xs, colour, r = 2, alpha = 1) {
  Object.assign(g, { fillStyle: colour, globalAlpha: alpha });
  for (let i = 0; i < xs.length; i += 2) {
    const [x, y] = at(xs[i], xs[i + 1]);
    g.fillRect(x - r, y - r, 2 * r, 2 * r);
  }
  g.globalAlpha = 1;
}

function curve(g, at, points, colour, lineWidth = 1.5, alpha = 1) {
  Object.assign(g, { strokeStyle: colour, lineWidth, globalAlpha: alpha });
  g.beginPath();
  for (const [u, v] of points) g.lineTo(...at(u, v));
  g.stroke();
  g.globalAlpha = 1;
}

const plane = (n, lim) => Float64Array.from(range(n * n, i =>
  [(i % n + 0.5) / n * 2 * lim - lim, lim - (Math.floor(i / n) + 0.5) / n * 2 * lim]).flat());

const DATA = {
  spiral: sched => {
    const turn = range(40, k => Math.PI * (1.5 + 3 * (k + 0.5) / 40));
    return new Mixture(sched, turn.flatMap(a => [0.15 * a * Math.cos(a), 0.15 * a * Math.sin(a)]),
      { std: 0.1, weights: turn });
  },
  'two moons': sched => new Mixture(sched, range(32, k => {
    const a = Math.PI * (k % 16) / 15, side = k < 16 ? 1 : -1;
    return [side * (1.1 * Math.cos(a) - 0.5), side * (1.1 * Math.sin(a) - 0.3)];
  }).flat(), { std: 0.12 }),
  'five hills': sched => ring(sched, 5, 0.2),
};

function pixels(g, values, colour, side, left = 4) {  // a square of numbers as a picture
  const n = Math.sqrt(values.length), image = new ImageData(n, n);
  const sheet = Object.assign(document.createElement('canvas'), { width: n, height: n });
  values.forEach((v, i) => image.data.set(colour(v), 4 * i));
  sheet.getContext('2d').putImageData(image, 0, 0);
  g.drawImage(sheet, left, 24, side, side);
}

export const FIGURES = {
  density: {
    name: 'A density dissolves in noise, with its score',
    controls: { data: ['data', Object.keys(DATA), 'spiral'], t: ['time t', 1, 500, 1, 60] },
    of: 1,
    states(v, s) { s.mix = DATA[v.data](cosine); s.x0 = s.mix.sample(400, uniforms(3)); return [1]; },
    draw(s, { t }) {
      const at = square(s, 0, 1, `time ${t} of 500`), where = plane(12, 2.6);
      const { logq } = s.mix.at(plane(64, 2.6), t), top = Math.max(...logq);
      pixels(s.g, logq, l => [59, 139, 212, 190 * Math.exp(l - top)], s.w - 8);
      dots(s.g, at, diffuse(cosine, s.x0, t, noise(800, 5)), s.ink, 1, 0.5);
      const { score } = s.mix.at(where, t);
      for (let i = 0; i < where.length; i += 2) {
        const [x, y, u, v] = [where[i], where[i + 1], score[i], score[i + 1]];
        const k = 0.4 / (1 + Math.hypot(u, v)), end = [x + k * u, y + k * v];
        curve(s.g, at, [[x, y], end], s.pens[1]);
        dots(s.g, at, end, s.pens[1], 1.7);
      }
      return `Time ${t}: signal ${number(cosine.signal(t))}, noise ${number(cosine.noise(t))}, `
        + `log-SNR ${number(cosine.logSnr(t))}`;
    },
  },

  draw: {
    name: 'Your own data, and the perfect denoiser of just these points',
    controls: { shape: ['begin with', ['a circle', 'two lines', 'nothing'], 'a circle'],
      t: ['steps done', 0, 30, 1, 18] },
    of: 1,
    touch(s, x, y, add) {                            // a pointer, or the cross that arrow keys move
      const side = s.w - 8, lim = 2.4;
      s.cross = [(x - 4) / side, (y - 24) / side].map(u => Math.max(-1, Math.min(1, 2 * u - 1)) * lim);
      s.cross[1] *= -1;
      if (add) s.points.push(...s.cross);
    },
    states(v, s) {
      if (s.shape !== v.shape) {
        const even = range(24, k => 2 * Math.PI * k / 24), lines = range(24, k => k % 2 ? 1 : -1);
        s.points = { 'a circle': even.flatMap(a => [1.6 * Math.cos(a), 1.6 * Math.sin(a)]),
          'two lines': lines.flatMap((l, k) => [k / 8 - 1.5, l]), nothing: [] }[v.shape];
        s.shape = v.shape;
      }
      if (!s.points.length) return [noise(500, 1)];
      s.f = new Mixture(cosine, s.points).denoiser();
      return ddim(s.f, cosine, noise(500, 1), s.times = evenLogSnr(cosine, 30));
    },
    draw(s, { t }, states) {
      const at = square(s, 0, 1, 'draw here'), x = states[Math.min(t, states.length - 1)];
      const K = s.points.length / 2, x0 = K && s.times[t] ? s.f(x, s.times[t]) : x;
      for (let i = 0; i < 120; i += 2)
        curve(s.g, at, [[x[i], x[i + 1]], [x0[i], x0[i + 1]]], s.pens[1], 1, 0.5);
      dots(s.g, at, x, s.pens[0], 1.6);
      dots(s.g, at, s.points, s.ink, 3);
      if (s.cross) curve(s.g, at, [-1, 1].map(k => [s.cross[0] + k / 9, s.cross[1]]), s.ink);
      if (s.cross) curve(s.g, at, [-1, 1].map(k => [s.cross[0], s.cross[1] + k / 9]), s.ink);
      return `${K} points of data, ${t} of 30 steps done; lines lead to what the denoiser sees`;
    },
  },

  roll: {
    name: 'Noise becomes a Swiss roll, by the net that ships with the book',
    weights: 'roll',
    controls: { seed: ['new noise'], t: ['calls done', 0, 20, 1, 20] },
    of: 1,
    states: (v, s, { denoiser, sched }) =>
      ddim(denoiser(), sched, noise(1000, v.seed), trailing(sched, 20)),
    draw(s, { t }, states) {
      const k = Math.min(t, states.length - 1);
      dots(s.g, square(s, 0, 1, `500 points after ${k} calls of the net`), states[k], s.pens[0], 1.6);
      return `500 points after ${k} of 20 calls`;
    },
  },

  digit: {
    name: 'Draw me a digit: noise clears into what you ask for',
    weights: 'digits',
    controls: { digit: ['draw me a', range(10, String), '7'], seed: ['another one'],
      t: ['calls done', 0, 10, 1, 10] },
    of: 2,
    * states({ digit, seed }, s, { denoiser, sched }) {
      let x0 = new Float64Array(784);
      const f = denoiser(Number(digit)), watched = (x, t) => x0 = f(x, t);
      for (const x of ddim(watched, sched, noise(784, seed), trailing(sched, 10))) yield [x, x0];
    },
    draw(s, { digit, t }, states) {
      const k = Math.min(t, states.length - 1), titles = ['the state', 'what the net sees in it'];
      titles.forEach((title, i) => square(s, i, 2, title));
      const grey = v => [...Array(3).fill(127.5 * (v + 1)), 255];
      s.g.imageSmoothingEnabled = false;
      states[k].forEach((x, i) => pixels(s.g, x, grey, s.w / 2 - 8, i * s.w / 2 + 4));
      return `A ${digit} after ${k} of 10 calls`;
    },
  },

  paths: {
    name: 'The same noise through DDPM and through DDIM',
    controls: { n: ['steps', 2, 100, 1, 30], eta: ['eta of DDIM', 0, 1, 0.05, 0],
      seed: ['new noise'], t: ['way done, %', 0, 100, 1, 100] },
    of: 2,
    states(v, s) {
      const mix = ring(cosine, 4, 0.25), f = mix.denoiser(), times = trailing(cosine, v.n);
      const run = (sampler, eta) => [...sampler(f, cosine, noise(60, 2), times,
        { eta, noise: fresh(v.seed) })];
      s.data = mix.sample(600, uniforms(1));
      return [run(ddpm), run(ddim, v.eta)];
    },
    draw(s, { n, eta, t }, runs) {
      const k = Math.round(t / 100 * n);
      ['DDPM', `DDIM, eta = ${eta}`].forEach((title, i) => {
        const at = square(s, i, 2, title, 3);
        dots(s.g, at, s.data, s.muted, 1, 0.4);
        for (let j = 0; j < 60; j += 2) {
          const way = runs[i].slice(0, k + 1).map(x => [x[j], x[j + 1]]);
          curve(s.g, at, way, s.pens[0], 1, 0.6);
          dots(s.g, at, last(way), s.pens[1], 2.2);
        }
      });
      return `30 starting points, the same for both, after ${k} of ${n} steps`;
    },
  },

  race: {
    name: 'Solvers on their way to the same end',
    controls: { n: ['calls', 4, 40, 2, 10], t: ['way done, %', 0, 100, 1, 100] },
    of: 2,
    states(v, s) {
      const sched = SCHEDULES.linear(), f = ring(sched).denoiser(), z = noise(128, 2);
      const times = n => range(n + 1, k => sched.tAt(-6 + 12 * k / n));
      const run = (solver, n) => [...solver(f, sched, z, times(n))];
      const solvers = { DDIM: n => run(ddim, n), '2M': n => run(dpmpp2m, n), Heun: n => run(heun, n / 2) };
      s.truth ??= last(run(dpmpp2m, 2000));
      const off = x => range(64, i => Math.hypot(x[2 * i] - s.truth[2 * i],
        x[2 * i + 1] - s.truth[2 * i + 1])).reduce((a, b) => a + b) / 64;
      s.errors ??= Object.values(solvers).map(solve =>
        range(19, k => [Math.log2(4 + 2 * k), Math.log10(off(last(solve(4 + 2 * k))))]));
      return Object.values(solvers).map(solve => solve(v.n));
    },
    draw(s, { n, t }, runs) {
      const at = square(s, 0, 2, 'states; crosses: the exact end'), names = ['DDIM', '2M', 'Heun'];
      const to = box(s, [s.w / 2 + 30, 24, s.w / 2 - 36, s.w / 2 - 36], [1.9, 5.4, -3.5, 0.2],
        'error (log) against calls');
      dots(s.g, at, s.truth, s.muted, 3.5, 0.6);
      names.forEach((name, i) => {
        dots(s.g, at, runs[i][Math.round(t / 100 * (runs[i].length - 1))], s.pens[i], 1.8);
        curve(s.g, to, s.errors[i], s.pens[i]);
        dots(s.g, to, s.errors[i][n / 2 - 2], s.pens[i], 3.5);
        s.g.fillText(name, s.w / 2 + 36, s.w / 2 - 20 - 16 * i);
      });
      const said = names.map((name, i) => `${name} ${(10 ** s.errors[i][n / 2 - 2][1]).toPrecision(2)}`);
      return `Mean error after ${n} calls: ${said.join(', ')}`;
    },
  },

  schedule: {
    name: 'A schedule by hand',
    controls: { kind: ['beside', ['cosine', 'linear', 'sigmoid'], 'cosine'],
      first: ['log-SNR at 1', 2, 12, 0.1, 9], middle: ['at 500', -6, 6, 0.1, 0],
      end: ['at 1000', -18, -4, 0.1, -9], t: ['time t', 1, 1000, 1, 300] },
    of: 2,
    states(v) {
      const { first, middle, end } = v, own = [Infinity];
      for (let t = 1; t <= 1000; t++)
        own.push(t < 500 ? first + (middle - first) * (t - 1) / 499 : middle + (end - middle) * (t / 500 - 1));
      return [new Schedule(own), SCHEDULES[v.kind]()];
    },
    draw(s, { t, kind }, scheds) {
      const side = s.w / 2 - 8, ts = range(200, k => 1 + k * 999 / 199);
      const of = [['log-SNR', (c, t) => c.logSnr(t), -20, 13], ['share of data', (c, t) => c.signal(t) ** 2, 0, 1]];
      of.forEach(([title, f, low, high], i) => {
        const at = box(s, [i * s.w / 2 + 4, 24, side, side], [0, 1000, low, high], title);
        scheds.forEach((c, k) => {
          curve(s.g, at, ts.map(t => [t, Math.max(low, f(c, t))]), k ? s.muted : s.pens[0], k ? 1 : 2);
          dots(s.g, at, [t, f(c, t)], k ? s.muted : s.pens[0], 3);
        });
        curve(s.g, at, [[t, low], [t, high]], s.pens[1], 1);
      });
      const said = scheds.map(c => `log-SNR ${number(c.logSnr(t))}, signal ${number(c.signal(t))}`);
      return `Time ${t}: by hand ${said[0]}; ${kind} ${said[1]}`;
    },
  },

  guidance: {
    name: 'Guidance on a mixture with four classes',
    controls: { c: ['class', range(4, String), '1'], w: ['weight w', 0, 8, 0.25, 2],
      t: ['steps done', 0, 30, 1, 30] },
    of: 1,
    states({ c, w }, s) {
      const mix = ring(cosine, 4, 0.4), f = guided(mix.denoiser(Number(c)), mix.denoiser(), w);
      s.data = mix.sample(1200, uniforms(1));
      return ddim(f, cosine, noise(600, 4), evenLogSnr(cosine, 30));
    },
    draw(s, { c, w, t }, states) {
      const at = square(s, 0, 1, 'grey: all data; colour: what was asked for', 3), x = states[t];
      dots(s.g, at, s.data, s.muted, 1, 0.4);
      dots(s.g, at, x, s.pens[0], 1.8);
      return `300 points of class ${c} with weight ${w}, after ${t} of 30 steps`;
    },
  },
};
