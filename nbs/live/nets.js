// The two nets of the book on one core of any browser: a net for points, and the digits' U-Net
// (chapters 03 and 03b). Features stand pixel by pixel, (pixels, channels), in float64.
import { blend, SCHEDULES, x0Factors } from './core.js';

// a safetensors file, as tools/live.py writes it: numbers of 16 bits, and a card
export function readWeights(buffer) {
  const size = new DataView(buffer).getUint32(0, true), tensors = {};
  const text = String.fromCharCode(...new Uint8Array(buffer, 8, size));
  const { __metadata__: { card }, ...entries } = JSON.parse(text);
  const scale = Float64Array.from({ length: 32 }, (_, e) => 2 ** (Math.max(e, 1) - 25));
  for (const [name, { shape, data_offsets: [from, to] }] of Object.entries(entries)) {
    const bits = new Uint16Array(buffer.slice(8 + size + from, 8 + size + to));
    const data = new Float64Array(bits.length);
    for (let i = 0; i < data.length; i++) {
      const h = bits[i], e = h >> 10 & 31, value = (h & 1023 | (e && 1024)) * scale[e];
      data[i] = h & 32768 ? -value : value;
    }
    tensors[name] = { shape, data };
  }
  return { tensors, card: JSON.parse(card) };
}

// ---- layers

const silu = x => {
  const y = new Float64Array(x.length);
  for (let i = 0; i < y.length; i++) y[i] = x[i] / (1 + Math.exp(-x[i]));
  return y;
};

// y (n, m) = x (n, k) W^T + bias; two rows and four columns at a time stay in registers. What is
// written past the end of a row is overwritten by the next one, or falls off the array.
function linear(x, { weight: W, bias }) {
  const m = bias.length, k = W.length / m, n = x.length / k, y = new Float64Array(n * m);
  for (let j = 0; j < m; j += 4) {
    const b0 = j * k, b1 = Math.min(j + 1, m - 1) * k, b2 = Math.min(j + 2, m - 1) * k;
    const b3 = Math.min(j + 3, m - 1) * k;
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

// a picture is {x, h, w}; every pixel's 3 x 3 neighbourhood becomes one long row
function conv3({ x, h, w }, layer, stride = 1) {
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
  const c = weight.length, n = h * w, y = new Float64Array(x.length);
  let groups = 8;
  while (c % groups || c / groups < Math.min(2, c)) groups--;
  for (let g = 0, size = c / groups; g < c; g += size) {
    let sum = 0, square = 0;
    for (let p = 0; p < n; p++) for (let q = g; q < g + size; q++) sum += x[p * c + q];
    const mean = sum / (n * size);
    for (let p = 0; p < n; p++)
      for (let q = g; q < g + size; q++) square += (x[p * c + q] - mean) ** 2;
    const scale = 1 / Math.sqrt(square / (n * size) + 1e-5);
    for (let p = 0; p < n; p++) for (let q = g; q < g + size; q++)
      y[p * c + q] = (x[p * c + q] - mean) * scale * weight[q] + bias[q];
  }
  return { x: y, h, w };
}

const calm = p => ({ ...p, x: silu(p.x) });

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

function patches(side, patch) {                       // which pixel is which number of the first layer
  const order = new Uint16Array(side * side);
  for (let i = 0; i < order.length; i++) {
    const r = Math.floor(i / side), s = i % side, corner = Math.floor(r / patch) * side * patch;
    order[corner + Math.floor(s / patch) * patch ** 2 + r % patch * patch + s % patch] = i;
  }
  return order;
}

// ---- the nets: net(xt, t, c) -> out

function embedding(net, t, c) {                      // time and class as one vector
  const dim = net['embed.time.0'].bias.length, f = Math.fround, label = net['embed.label'];
  const angle = Array.from({ length: dim / 2 }, (_, j) =>
    f(f(t) * f(10000 ** f(-j / Math.max(dim / 2 - 1, 1)))));
  const features = Float64Array.of(...angle.map(Math.sin), ...angle.map(Math.cos));
  const e = linear(silu(linear(features, net['embed.time.0'])), net['embed.time.2']);
  const row = (c + 1) * dim;                         // -1, the null label, comes first
  return silu(label ? blend(1, e, 1, label.weight.subarray(row, row + dim)) : e);
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
  UNet: (net, { channels, patch, heads, blocks }) => (xt, t, c = -1) => {   // one grey square
    const e = embedding(net, t, c), side = Math.sqrt(xt.length), kept = [];
    const stage = (name, h) => {
      for (let k = 0; k < blocks; k++) h = resBlock(net, `${name}.${k}`, h, e);
      return h;
    };
    const order = patches(side, patch), first = { h: side / patch, w: side / patch };
    let h = conv3({ ...first, x: Float64Array.from(order, i => xt[i]) }, net.start);
    for (let l = 0; l < channels.length - 1; l++) {
      kept.push(h = stage(`left.${l}`, h));
      h = conv3(h, net[`down.${l}`], 2);
    }
    h = resBlock(net, 'middle.0.0', h, e);
    h = resBlock(net, 'middle.1.0', attention(net, h, heads), e);
    for (let l = channels.length - 2; l >= 0; l--)
      h = stage(`right.${l}`, upAndJoined(h, kept[l], net[`up.${l}.0`]));
    const out = conv3(calm(groupNorm(h, net.norm)), net.out).x, y = new Float64Array(xt.length);
    order.forEach((i, j) => { y[i] = out[j]; });
    return y;
  },
};

export function model(buffer) {                      // what a file holds, ready to be asked
  const { tensors, card } = readWeights(buffer), layers = {};
  for (const [name, { shape: [, c, side], data }] of Object.entries(tensors)) {
    const [, layer, kind] = name.match(/(.*)\.(\w+)$/), rows = new Float64Array(data.length);
    for (let i = 0; i < rows.length; i++) {
      const r = i % (9 * c);                         // (out, in, 3, 3) -> (out, 3, 3, in)
      rows[i] = data[side === 3 ? i - r + r % c * 9 + Math.floor(r / c) : i];
    }
    (layers[layer] ??= {})[kind] = rows;
  }
  const { kind, ...args } = card.net, { pred, units } = card;
  const net = NETS[kind](layers, args), sched = SCHEDULES[card.sched.kind](card.sched);
  const denoiser = (c = -1) => (xt, t) => {
    const [a, b] = x0Factors(pred, sched.signal(t), sched.noise(t));
    const x0 = blend(a, xt, b, net(xt, t, c)), top = units.clip ?? Infinity;
    return x0.map(v => Math.max(-top, Math.min(top, v)));
  };
  return { net, sched, pred, units, denoiser };
}
