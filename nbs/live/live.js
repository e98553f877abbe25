// Brings a page to life: an element with data-live="name" gets the controls and the picture of that
// name in figures.js. Until then, and when anything fails, its still picture stays.
import { FIGURES } from './figures.js';
import { model } from './nets.js';
const calm = matchMedia('(prefers-reduced-motion: reduce)'), frame = () => new Promise(requestAnimationFrame);
const arrived = {};                                  // name -> a promise of the model
const wish = Object.fromEntries(new URLSearchParams(location.search));
async function loaded(name) {                        // from this site, kept under its hash, and checked
  const get = async (file, as, cache) => (await fetch(new URL(`weights/${file}`, import.meta.url), { cache }))[as]();
  const { sha256 } = (await get('weights.json', 'json', 'no-cache'))[name];
  const body = await get(`${name}.safetensors?${sha256}`, 'arrayBuffer', 'force-cache');
  const sum = new Uint8Array(await crypto.subtle.digest('SHA-256', body));
  if (sha256 !== Array.from(sum, b => b.toString(16).padStart(2, '0')).join(''))
    throw new Error(`another hash: ${name}`);
  return model(body);
}
const make = (tag, props, ...inner) => {
  const el = Object.assign(document.createElement(tag), props);
  return el.append(...inner), el;
};
// [label, min, max, step, value] is a slider, [label, names, value] a choice, [label] a button, whose
// value counts how often it was pressed
function control(name, [label, first, ...rest], values, changed) {
  const several = Array.isArray(first), shown = make('span', { className: 'live-value' });
  const wish = values[name] ?? rest.at(-1) ?? 0;
  if (first === undefined) {
    values[name] = Number(wish) || 0;
    return make('button', { type: 'button', textContent: label, onclick: () => changed(name, values[name]++) });
  }
  const input = several ? make('select', { name }, ...first.map(n => make('option', {}, n)))
    : make('input', { name, type: 'range', min: first, max: rest[0], step: rest[1] });
  const read = () => {
    values[name] = several ? input.value : Number(input.value);
    shown.textContent = several ? '' : input.value;
  };
  input.value = several && !first.includes(wish) ? rest[0] : wish;
  input.oninput = () => changed(name, read());
  read();
  return make('label', {}, label, input, shown);
}
function mount(host) {
  const name = host.dataset.live, figure = FIGURES[name], now = { states: [], run: 0, seen: true };
  const linked = wish.figure === name, values = linked ? { ...wish } : {};
  const s = {}, canvas = make('canvas', {}), bar = make('div', { className: 'live-controls' });
  const said = make('output', { className: 'live-said', ariaLive: 'polite' }), note = host.querySelector('p');
  function draw() {
    const css = getComputedStyle(host), scale = Math.max(1, devicePixelRatio), room = host.clientWidth - 26;
    const columns = room < 480 && !figure.weights ? 1 : figure.of, w = Math.min(room, 450 * columns + 70);
    const side = s.side = w / columns, h = (side + 20) * figure.of / columns + 8;
    Object.assign(canvas, { width: w * scale, height: h * scale, style: `width: ${w}px; height: ${h}px` });
    const g = s.g = Object.assign(canvas.getContext('2d'), { font: `13px ${css.fontFamily}` });
    g.scale(scale, scale);
    const [muted, rule, ...pens] = ['--book-muted', '--book-rule', '--live-1', '--live-2', '--live-3']
      .map(name => css.getPropertyValue(name));
    const text = figure.draw(Object.assign(s, { columns, muted, rule, pens, ink: css.color }), values, now.states);
    host.classList.add('live-on');
    canvas.ariaLabel = `${figure.name}. ${text}`;
    clearTimeout(now.saying);
    now.saying = setTimeout(() => {                  // not at every frame
      said.textContent = text;
      if (now.moved) history.replaceState(null, '', `?${new URLSearchParams({ ...values, figure: name })}`);
    }, 200);
  }
  async function redraw() {                          // once a frame
    if (now.due || !now.states.length) return;
    now.due = true;
    await frame();
    draw(now.due = false);
  }
  async function start() {                           // all states anew; those of nets as they come
    const run = ++now.run, wait = figure.weights;
    host.ariaBusy = true;
    try {
      if (wait) said.textContent = 'The weights are on their way.';
      const net = wait && await (arrived[wait] ??= loaded(wait)), states = [];
      for (const state of figure.states(values, s, net)) {
        if (run !== now.run) return;
        now.states = states;
        if (states.push(state) && net) await redraw().then(frame);
      }
      draw(host.ariaBusy = false);
    } catch {
      delete arrived[wait];
      Object.assign(host, { ariaBusy: false }).classList.remove('live-on');
      note.textContent = said.textContent = 'The right weights did not arrive: the still picture stays.';
    }
  }
  function changed(key) {
    now.moved = host.dataset.address;
    if (key === 't' && now.states.length) redraw(); else start();
  }
  async function play() {                            // along slider t; by eighths if motion is unwelcome
    const least = Number(slider.min), most = Number(slider.max), stride = (most - least) / (calm.matches ? 8 : 120);
    if (now.playing) return void (now.playing = false);
    go.textContent = (now.playing = true) && 'Pause';
    let at = slider.value < most ? Number(slider.value) : least;
    for (; at < most && now.playing; await frame()) {
      if (now.seen) Object.assign(slider, { value: at = Math.min(most, at + stride) }).oninput();
      if (calm.matches) break;
    }
    go.textContent = (now.playing = false) || 'Play';
  }
  const go = make('button', { type: 'button', textContent: 'Play', onclick: play });
  bar.append(...Object.entries(figure.controls).map(([k, f]) => control(k, f, values, changed)), go);
  const slider = bar.querySelector('[name=t]');
  const keys = { ArrowLeft: [-8, 0], ArrowRight: [8, 0], ArrowUp: [0, -8], ArrowDown: [0, 8], Enter: [0, 0] };
  const moved = (x, y, add) => {                     // by a pointer, or as a cross by arrow keys
    const t = figure.touch(s, x, y, add);
    if (t) Object.assign(slider, { value: t }).oninput(); else if (add) start(); else redraw();
  };
  if (figure.touch) canvas.onpointerdown = canvas.onpointermove = e => moved(e.offsetX, e.offsetY, e.buttons > 0);
  canvas.onkeydown = e => {
    if (!figure.touch || !keys[e.key]) return;
    e.preventDefault();
    s.key = (s.key ?? [s.side / 2, s.side / 2]).map((u, d) => u + keys[e.key][d]);
    moved(...s.key, e.key === 'Enter');
  };
  Object.assign(canvas, { role: figure.touch ? 'application' : 'img', tabIndex: figure.touch ? 0 : -1 });
  Object.assign(host, { role: 'group', ariaLabel: figure.name }).append(canvas, bar, said);
  new ResizeObserver(redraw).observe(host);
  new MutationObserver(redraw).observe(document.body, { attributeFilter: ['class'] });
  new IntersectionObserver(found => { now.seen = found.at(-1).isIntersecting; }).observe(host);
  if (linked || !figure.weights) start();
}
const near = new IntersectionObserver(found => {
  for (const { isIntersecting, target } of found) if (isIntersecting) mount(target, near.unobserve(target));
}, { rootMargin: '400px' });
for (const host of document.querySelectorAll('[data-live]')) {
  near.observe(host);
  if (wish.figure === host.dataset.live) host.scrollIntoView();
}
