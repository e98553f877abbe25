// The two nets of the book on one core of any browser: a net for points, and the digits' U-Net
// (chapters 03 and 03b). Features stand pixel by pixel, (pixels, channels), in float64.
import { blend, range, SCHEDULES, x0Factors } from './core.js';
// ---- layers; a picture is p = {x, h, w}
const silu = x => {
  const y = new Float64Array(x.length);
  for (let i = 0; i < y.length; i++) y[i] = x[i] / (1 + Math.exp(-x[i]));
  return y;
};
const calm = p => ({ ...p, x: silu(p.x) });
// y (n, m) = x (n, k) W^T + bias; two rows and four columns at a time stay in registers. What is
// written past the end of a row is overwritten by the next one, or falls off the array.
function linear(x, { weight: W, bias }) {
  const m = bias.length, k = W.length / m, n = x.length / k, y = new Float64Array(n * m);
  for (let j = 0; j < m; j += 4) {
    const [b0, b1, b2, b3] = [0, 1, 2, 3].map(c => Math.min(j + c, m - 1) * k);
    for (let i = 0; i < n; i += 2) {
      const a0 = i * k, a1 = i + 1 < n ? a0 + k : a0, o = i * m + j;
      let p0 = bias[j], p1 = bias[j + 1], p2 = bias[j + 2], p3 = bias[j + 3];
      let q0 = p0, q1 = p1, q2 = p2, q3 = p3;
      for (let r = 0; r < k; r++) {
        const u = x[a0 + r], v = x[a1 + r];
        const w0 = W[b0 + r], w1 = W[b1 + r], w2 = W[b2 + r], w3 = W[b3 + r];
        p0 += u * w0; p1 += u * w1; p2 += u * w2; p3 += u * w3;
        q0 += v * w0; q1 += v * w1; q2 += v * w2; q3 += v * w3;
      }
      y[o] = p0; y[o + 1] = p1; y[o + 2] = p2; y[o + 3] = p3;
      y[o + m] = q0; y[o + m + 1] = q1; y[o + m + 2] = q2; y[o + m + 3] = q3;
    }
  }
  return y;
}
function conv3({ x, h, w }, layer, stride = 1) {     // every neighbourhood becomes one long row
  const c = x.length / (h * w), H = Math.ceil(h / stride), W = Math.ceil(w / stride);
  const rows = new Float64Array(H * W * 9 * c);
  for (let p = 0, at = 0; p < H * W; p++) for (let tap = 0; tap < 9; tap++, at += c) {
    const a = Math.floor(p / W) * stride + Math.floor(tap / 3) - 1, b = p % W * stride + tap % 3 - 1;
    if (a < 0 || a >= h || b < 0 || b >= w) continue;
    for (let q = 0, from = (a * w + b) * c; q < c; q++) rows[at + q] = x[from + q];
  }
  return { x: linear(rows, layer), h: H, w: W };
}
function groupNorm({ x, h, w }, { weight, bias }) {
  const c = weight.length, y = new Float64Array(x.length);
  const size = c / Math.max(...range(8, g => c % (g + 1) || c < 2 * (g + 1) ? 1 : g + 1));
  for (let g = 0; g < c; g += size) {
    let sum = 0, square = 0;
    for (let p = g; p < x.length; p += c) for (let q = p; q < p + size; q++) { sum += x[q]; square += x[q] ** 2; }
    const n = h * w * size, mean = sum / n, scale = 1 / Math.sqrt(square / n - mean ** 2 + 1e-5);
    for (let p = 0; p < x.length; p += c) for (let q = g; q < g + size; q++)
      y[p + q] = (x[p + q] - mean) * scale * weight[q] + bias[q];
  }
  return { x: y, h, w };
}
function film(x, e, layer) {                         // (1 + a) x + b, by the embedding
  const ab = linear(e, layer), c = ab.length / 2, y = new Float64Array(x.length);
  for (let i = 0; i < y.length; i += c)
    for (let q = 0; q < c; q++) y[i + q] = x[i + q] * (1 + ab[q]) + ab[c + q];
  return y;
}
function resBlock(net, name, p, e) {
  const of = part => net[`${name}.${part}`];
  const h = groupNorm(conv3(calm(groupNorm(p, of('norm1'))), of('conv1')), of('norm2'));
  const end = conv3(calm({ ...h, x: film(h.x, e, of('film.proj')) }), of('conv2'));
  return { ...end, x: blend(1, end.x, 1, of('way') ? linear(p.x, of('way')) : p.x) };
}
function attention(net, p, heads) {
  const qkv = linear(groupNorm(p, net['attention.norm']).x, net['attention.qkv']);
  const n = p.h * p.w, c = p.x.length / n, d = c / heads, out = new Float64Array(n * c);
  for (let at = 0; at < c; at += d) for (let i = 0; i < n; i++) {
    const share = new Float64Array(n);
    for (let j = 0; j < n; j++) for (let q = at; q < at + d; q++)
      share[j] += qkv[i * 3 * c + q] * qkv[j * 3 * c + c + q] / Math.sqrt(d);
    const top = Math.max(...share), sum = share.reduce((s, l) => s + Math.exp(l - top), 0);
    for (let j = 0; j < n; j++) for (let q = at; q < at + d; q++)
      out[i * c + q] += Math.exp(share[j] - top) / sum * qkv[j * 3 * c + 2 * c + q];
  }
  return { ...p, x: blend(1, p.x, 1, linear(out, net['attention.out'])) };
}
function upAndJoined(p, kept, layer) {               // twice the size, cropped, beside what was kept
  const low = linear(p.x, layer), { h, w } = kept, n = h * w;
  const c = low.length / (p.h * p.w), d = kept.x.length / n, y = new Float64Array(n * (c + d));
  for (let i = 0; i < n; i++) {
    const from = ((Math.floor(i / w) >> 1) * p.w + (i % w >> 1)) * c;
    y.set(low.subarray(from, from + c), i * (c + d));
    y.set(kept.x.subarray(i * d, i * d + d), i * (c + d) + c);
  }
  return { x: y, h, w };
}
// ---- the nets: net(xt, t, c) -> out
function embedding(net, t, c) {                      // time and class as one vector
  const dim = net['embed.time.0'].bias.length, f = Math.fround, row = (c + 1) * dim;   // -1 is row 0
  const angle = range(dim / 2, j => f(f(t) * f(10000 ** f(-j / Math.max(dim / 2 - 1, 1)))));
  const features = Float64Array.of(...angle.map(Math.sin), ...angle.map(Math.cos));
  const e = linear(silu(linear(features, net['embed.time.0'])), net['embed.time.2']);
  const label = net['embed.label']?.weight.subarray(row, row + dim);
  return silu(label ? blend(1, e, 1, label) : e);
}
const NETS = {
  PointMLP: (net, { depth }) => (xt, t, c = -1) => {
    const e = embedding(net, t, c);
    let h = linear(xt, net.start);
    for (let k = 0; k < depth; k++) {
      const inner = film(linear(silu(h), net[`first.${k}`]), e, net[`film.${k}.proj`]);
      h = blend(1, h, 1, linear(silu(inner), net[`second.${k}`]));
    }
    return linear(silu(h), net.out);
  },
  UNet: (net, { channels, patch, heads, blocks }) => (xt, t, c = -1) => {    // one grey square
    const e = embedding(net, t, c), side = Math.sqrt(xt.length), w = side / patch, kept = [];
    const stage = (name, h) => range(blocks, k => k).reduce(
      (h, k) => resBlock(net, `${name}.${k}`, h, e), h);
    const order = range(side * side, i => {          // pixels in the order of patches
      const p = Math.floor(i / patch ** 2), q = i % patch ** 2;
      return (Math.floor(p / w) * patch + Math.floor(q / patch)) * side + p % w * patch + q % patch;
    });
    let h = conv3({ x: Float64Array.from(order, i => xt[i]), h: w, w }, net.start);
    for (let l = 0; l < channels.length - 1; l++) {
      kept.push(stage(`left.${l}`, h));
      h = conv3(kept[l], net[`down.${l}`], 2);
    }
    h = stage('middle.1', attention(net, stage('middle.0', h), heads));
    for (let l = kept.length - 1; l >= 0; l--)
      h = stage(`right.${l}`, upAndJoined(h, kept[l], net[`up.${l}.0`]));
    const out = conv3(calm(groupNorm(h, net.norm)), net.out).x, y = new Float64Array(xt.length);
    order.forEach((i, j) => { y[i] = out[j]; });
    return y;
  },
};
export function model(buffer) {                      // of a safetensors file in 16 bits, with a card
  const size = new DataView(buffer).getUint32(0, true), layers = {};
  const text = String.fromCharCode(...new Uint8Array(buffer, 8, size));
  const { __metadata__: { card }, ...entries } = JSON.parse(text);
  const { net: { kind, ...args }, sched: how, pred, units } = JSON.parse(card);
  const scale = range(32, e => 2 ** (Math.max(e, 1) - 25));
  for (const [name, { shape, data_offsets: [from, to] }] of Object.entries(entries)) {
    const bits = new Uint16Array(buffer.slice(8 + size + from, 8 + size + to)), c = shape[1];
    const data = new Float64Array(bits.length), [, layer, part] = name.match(/(.*)\.(\w+)$/);
    for (let i = 0; i < data.length; i++) {          // (out, in, 3, 3) becomes (out, 3, 3, in)
      const r = i % (9 * c), h = bits[shape[2] === 3 ? i - r + r % c * 9 + Math.floor(r / c) : i];
      data[i] = (h & 32768 ? -1 : 1) * (h & 1023 | (h & 31744 && 1024)) * scale[h >> 10 & 31];
    }
    (layers[layer] ??= {})[part] = data;
  }
  const net = NETS[kind](layers, args), sched = SCHEDULES[how.kind](how), top = units.clip ?? Infinity;
  const denoiser = (c = -1) => (xt, t) => {
    const [a, b] = x0Factors(pred, sched.signal(t), sched.noise(t));
    return blend(a, xt, b, net(xt, t, c)).map(v => Math.max(-top, Math.min(top, v)));
  };
  return { net, sched, denoiser };
}
