// What each figure shows: controls, states computed once for them, and a drawing at slider t that
// returns its words for screen readers. s is the sheet: its pens, its width, and what it remembers.
import { blend, ddim, ddpm, dpmpp2m, evenLogSnr, guided, heun, Mixture, normals, range, ring,
  Schedule, SCHEDULES, trailing, uniforms } from './core.js';
const cosine = SCHEDULES.cosine({ T: 500 }), noise = (n, seed) => normals(n, uniforms(seed + 1));
const words = (sched, t) => `log-SNR ${short(sched.logSnr(t))}, signal ${short(sched.signal(t))}`;
const last = states => [...states].at(-1), short = x => x.toPrecision(2);
const data = (f, n) => last(ddim(f, cosine, noise(2 * n, 7), evenLogSnr(cosine, 40)));
// a box of the sheet, its coordinates running over [x0, x1, y0, y1], with some of them written
function box(s, [x, y, w, h], [x0, x1, y0, y1], title, xs = {}, ys = {}) {
  Object.assign(s.g, { strokeStyle: s.rule, fillStyle: s.muted, lineWidth: 1, globalAlpha: 1 });
  s.g.strokeRect(x, y, w, h);
  s.g.fillText(title, x + 2, y - 6, w);
  const at = (u, v) => [x + (u - x0) / (x1 - x0) * w, y + h - (v - y0) / (y1 - y0) * h];
  for (const [word, u] of Object.entries(xs)) s.g.fillText(word, at(u, 0)[0] - 8, y + h - 5);
  for (const [word, v] of Object.entries(ys)) s.g.fillText(word, x + 4, at(0, v)[1] + 4);
  return at;
}
const place = ({ side: a, columns: n }, k) => [k % n * a + 4, Math.floor(k / n) * (a + 20) + 24, a - 8, a - 8];
const square = (s, k, title, lim = 2.6) => box(s, place(s, k), [-lim, lim, -lim, lim], title);
function dots(g, at, xs, colour, r = 2, alpha = 1) {
  Object.assign(g, { fillStyle: colour, globalAlpha: alpha });
  const places = range(xs.length / 2, i => at(xs[2 * i], xs[2 * i + 1]));
  for (const [x, y] of places) g.fillRect(x - r, y - r, 2 * r, 2 * r);
}
function curve(g, at, points, colour, lineWidth = 1.5, alpha = 1) {
  Object.assign(g, { strokeStyle: colour, lineWidth, globalAlpha: alpha });
  g.beginPath();
  for (const [u, v] of points) g.lineTo(...at(u, v));
  g.stroke();
}
function pixels({ g }, values, colour, [x, y, w, h]) {     // a square of numbers as a picture
  const n = Math.sqrt(values.length), image = new ImageData(n, n);
  const sheet = Object.assign(document.createElement('canvas'), { width: n, height: n });
  values.forEach((v, i) => image.data.set(colour(v), 4 * i));
  sheet.getContext('2d').putImageData(image, 0, 0);
  g.drawImage(sheet, x, y, w, h);
}
const plane = n => Float64Array.from(range(n * n, i =>     // the middles of n x n cells
  [(i % n + 0.5) / n * 5.2 - 2.6, 2.6 - (Math.floor(i / n) + 0.5) / n * 5.2]).flat());
const turn = range(40, k => Math.PI * (1.5 + 3 * (k + 0.5) / 40));
const DATA = { 'five hills': sched => ring(sched, 5, 0.2), spiral: sched => new Mixture(sched,
  turn.flatMap(a => [a * Math.cos(a), a * Math.sin(a)].map(x => 0.15 * x)), { std: 0.1, weights: turn }) };
const SHAPES = { 'a circle': range(24, k => [1.6 * Math.cos(k / 3.82), 1.6 * Math.sin(k / 3.82)]), nothing: [] };
export const FIGURES = {
  density: { name: 'A density dissolves in noise, with its score', of: 1,
    controls: { data: ['data', Object.keys(DATA), 'spiral'], t: ['time t', 1, 500, 1, 60] },
    states: (v, s) => [data((s.mix = DATA[v.data](cosine)).denoiser(), 400)],
    draw(s, { t }, [x0]) {
      const at = square(s, 0, `time ${t} of 500`), where = plane(12), { score } = s.mix.at(where, t);
      const { logq } = s.mix.at(plane(48), t), top = Math.max(...logq);
      pixels(s, logq, l => [59, 139, 212, 190 * Math.exp(l - top)], place(s, 0));
      dots(s.g, at, blend(cosine.signal(t), x0, cosine.noise(t), noise(800, 5)), s.ink, 1, 0.5);
      for (let i = 0; i < where.length; i += 2) {
        const [x, y, u, v] = [where[i], where[i + 1], score[i], score[i + 1]];
        const k = 0.4 / (1 + Math.hypot(u, v)), end = [x + k * u, y + k * v];
        curve(s.g, at, [[x, y], end], s.pens[1]);
        dots(s.g, at, end, s.pens[1], 1.7);
      }
      return `Time ${t}: ${words(cosine, t)}`;
    } },
  draw: { name: 'Your own data, and the perfect denoiser of just these points', of: 1,
    controls: { shape: ['begin with', Object.keys(SHAPES), 'a circle'], t: ['steps done', 0, 30, 1, 18] },
    touch(s, x, y, add) {
      s.cross = [x - 4, 16 + s.side - y].map(u => 2.4 * Math.max(-1, Math.min(1, 2 * u / (s.side - 8) - 1)));
      const near = s.points.some(([u, v]) => Math.hypot(u - s.cross[0], v - s.cross[1]) < 0.1);
      if (add && !near) s.points.push(s.cross);
    },
    states({ shape }, s) {
      if (s.shape !== shape) Object.assign(s, { shape, points: [...SHAPES[shape]] });
      s.f = s.points.length ? new Mixture(cosine, s.points.flat()).denoiser() : x => x;
      return ddim(s.f, cosine, noise(500, 1), s.times = evenLogSnr(cosine, 30));
    },
    draw(s, { t }, states) {
      const at = square(s, 0, 'draw: by pointer, or by arrow keys and Enter'), x = states[t], x0 = s.f(x, s.times[t]);
      for (let i = 0; i < 120; i += 2) curve(s.g, at, [[x[i], x[i + 1]], [x0[i], x0[i + 1]]], s.pens[1], 1, 0.5);
      dots(s.g, at, x, s.pens[0], 1.6);
      dots(s.g, at, s.points.flat(), s.ink, 3);
      if (s.cross) dots(s.g, at, s.cross, s.pens[1], 4, 0.6);
      return `${s.points.length} points of data, ${t} of 30 steps done; lines lead to estimates`;
    } },
  roll: { name: 'Noise becomes a Swiss roll, by the net that ships with the book', of: 1, weights: 'roll',
    controls: { seed: ['new noise'], t: ['calls done', 0, 20, 1, 20] },
    states: ({ seed }, s, m) => ddim(m.denoiser(), m.sched, noise(1000, seed), trailing(m.sched, 20)),
    draw(s, { t }, states) {
      const k = Math.min(t, states.length - 1);
      dots(s.g, square(s, 0, '500 points'), states[k], s.pens[0], 1.6);
      return `500 points after ${k} of 20 calls of the net`;
    } },
  digit: { name: 'Draw me a digit: noise clears into what you ask for', of: 2, weights: 'digits',
    controls: { digit: ['draw me a', range(10, String), '7'], seed: ['draw'], t: ['calls done', 0, 10, 1, 10] },
    * states({ digit, seed }, s, { denoiser, sched }) {
      let x0 = new Float64Array(784);
      const f = denoiser(Number(digit)), watched = (x, t) => x0 = f(x, t);
      for (const x of ddim(watched, sched, noise(784, seed), trailing(sched, 10))) yield [x, x0];
    },
    draw(s, { digit, t }, states) {
      const k = Math.min(t, states.length - 1), grey = v => [...Array(3).fill(127.5 * (v + 1)), 255];
      s.g.imageSmoothingEnabled = false;
      states[k].forEach((x, i) => pixels(s, x, grey, place(s, i)));
      ['the state', 'what the net sees in it'].forEach((title, i) => square(s, i, title));
      return `A ${digit} after ${k} of 10 calls of the net`;
    } },
  paths: { name: 'The same noise through DDPM and through DDIM', of: 2,
    controls: { n: ['steps', 2, 100, 1, 30], eta: ['eta of DDIM', 0, 1, 0.05, 0], seed: ['new noise'],
      t: ['done, %', 0, 100, 1, 100] },
    states({ n, eta, seed }, s) {
      const mix = ring(cosine, 4, 0.25), times = trailing(cosine, n), random = uniforms(seed + 99);
      const run = (sampler, eta) => [...sampler(mix.denoiser(), cosine, noise(24, 2), times,
        { eta, noise: n => normals(n, random) })];
      s.data = data(mix.denoiser(), 600);
      return [run(ddpm), run(ddim, eta)];
    },
    draw(s, { n, eta, t }, runs) {
      const k = Math.round(t / 100 * n);
      ['DDPM', `DDIM, eta = ${eta}`].forEach((title, i) => {
        const at = square(s, i, title, 3.6);
        dots(s.g, at, s.data, s.muted, 1, 0.4);
        for (let j = 0; j < 24; j += 2) {
          curve(s.g, at, runs[i].slice(0, k + 1).map(x => [x[j], x[j + 1]]), s.pens[0], 1, 0.7);
          dots(s.g, at, [runs[i][k][j], runs[i][k][j + 1]], s.pens[1], 2.5);
        }
      });
      return `Twelve starting points, the same for both, after ${k} of ${n} steps`;
    } },
  race: { name: 'Solvers on their way to the same end', of: 2,
    controls: { n: ['calls', 4, 40, 2, 10], t: ['done, %', 0, 100, 1, 100] },
    states({ n }, s) {
      const sched = SCHEDULES.linear(), f = ring(sched).denoiser();
      const run = (solve, n) => [...solve(f, sched, noise(128, 2), range(n + 1, k => sched.tAt(-6 + 12 * k / n)))];
      s.solve ??= { DDIM: n => run(ddim, n), '2M': n => run(dpmpp2m, n), Heun: n => run(heun, n / 2) };
      s.truth ??= last(run(dpmpp2m, 1000));
      s.error ??= Object.values(s.solve).map(solve => range(19, k => 4 + 2 * k).map(n =>
        [Math.log2(n), Math.log10(Math.hypot(...blend(1, last(solve(n)), -1, s.truth)) / 8)]));
      return Object.values(s.solve).map(solve => solve(n));
    },
    draw(s, { n, t }, runs) {
      const at = square(s, 0, 'states; grey: the exact end'), names = Object.keys(s.solve);
      const to = box(s, place(s, 1), [1.6, 5.4, -3.7, 0.3], 'error against calls',
        { 4: 2, 8: 3, 16: 4, 32: 5 }, { 1: 0, 0.1: -1, 0.01: -2, 0.001: -3 });
      dots(s.g, at, s.truth, s.muted, 3.5, 0.6);
      const said = names.map((name, i) => {
        const end = s.error[i][n / 2 - 2], k = Math.round(t / 100 * (runs[i].length - 1));
        dots(s.g, at, runs[i][k], s.pens[i], 1.8);
        curve(s.g, to, s.error[i], s.pens[i]);
        dots(s.g, to, end, s.pens[i], 3.5);
        s.g.fillText(name, ...to(4.1, s.error[i][7][1] + 0.2));
        return `${name} ${short(10 ** end[1])}`;
      });
      return `Error after ${n} calls: ${said.join(', ')}`;
    } },
  schedule: { name: 'A schedule by hand', of: 1,
    touch: (s, x) => Math.round(Math.max(1, Math.min(1000, (x - 4) / (s.side - 8) * 1000))),
    controls: { kind: ['beside', Object.keys(SCHEDULES), 'cosine'], first: ['log-SNR at 1', 2, 12, 0.1, 9],
      middle: ['at 500', -3, 1.9, 0.1, 0], end: ['at 1000', -18, -4, 0.1, -9], t: ['time t', 1, 1000, 1, 300] },
    states: ({ kind, first, middle, end }) => [new Schedule(range(1001, t => t < 1 ? Infinity : t < 500
      ? first + (middle - first) * (t - 1) / 499 : middle + (end - middle) * (t / 500 - 1))),
    SCHEDULES[kind]()],
    draw(s, { t, kind }, scheds) {
      const at = box(s, place(s, 0), [0, 1000, -20, 13], 'log-SNR', { 500: 500 }, { '-10': -10, 0: 0, 10: 10 });
      curve(s.g, at, [[t, -20], [t, 13]], s.pens[1], 1);
      scheds.forEach((c, k) => {
        const colour = k ? s.muted : s.pens[0];
        curve(s.g, at, range(1000, t => [t + 1, c.logSnr(t + 1)]), colour, 2 - k);
        dots(s.g, at, [t, c.logSnr(t)], colour, 3);
      });
      return `Time ${t}: by hand ${words(scheds[0], t)}; ${kind} ${words(scheds[1], t)}`;
    } },
  guidance: { name: 'Guidance on a mixture with four classes', of: 1,
    controls: { c: ['class', range(4, String), '1'], w: ['weight w', 0, 8, 0.25, 2], t: ['steps done', 0, 30, 1, 30] },
    states({ c, w }, s) {
      const mix = ring(cosine), f = guided(mix.denoiser(Number(c)), mix.denoiser(), w);
      s.data = data(mix.denoiser(), 1200);
      return ddim(f, cosine, noise(600, 4), evenLogSnr(cosine, 30));
    },
    draw(s, { c, w, t }, states) {
      const at = square(s, 0, 'grey: all data; colour: what was asked for', 3);
      dots(s.g, at, s.data, s.muted, 1, 0.4);
      dots(s.g, at, states[t], s.pens[0], 1.8);
      return `300 points of class ${c} with weight ${w}, after ${t} of 30 steps`;
    } },
};
