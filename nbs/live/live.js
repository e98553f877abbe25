// Brings the figures of a page to life: an element with data-live="name" gets the controls and the
// picture of that name in figures.js. Until then, and when anything fails, its still picture stays.
import { FIGURES } from './figures.js';
import { model } from './nets.js';

const calm = matchMedia('(prefers-reduced-motion: reduce)');
const frame = () => new Promise(requestAnimationFrame);
const arrived = {};                                  // name -> a promise of the model

async function fetched(file, sum = '') {             // from this site, and kept under its hash
  const answer = await fetch(new URL(`weights/${file}?${sum}`, import.meta.url)).catch(() => ({}));
  if (!answer.ok) throw new Error('The weights did not arrive');
  return answer.arrayBuffer();
}

async function loaded(name) {
  if (!globalThis.crypto?.subtle) throw new Error('Weights can be checked only over https');
  const text = String.fromCharCode(...new Uint8Array(await fetched('weights.json')));
  const { sha256 } = JSON.parse(text)[name], body = await fetched(`${name}.safetensors`, sha256);
  const sum = new Uint8Array(await crypto.subtle.digest('SHA-256', body));
  if (sha256 !== Array.from(sum, b => b.toString(16).padStart(2, '0')).join(''))
    throw new Error('The weights that arrived are not those of this page');
  return model(body);
}

function make(tag, props, ...children) {
  const el = Object.assign(document.createElement(tag), props);
  el.append(...children);
  return el;
}

// [label, min, max, step, value] is a slider, [label, names, value] a choice, [label] a button,
// whose value counts how often it was pressed
function control(name, [label, first, ...rest], values, changed) {
  const several = Array.isArray(first), shown = make('span', { className: 'live-value' });
  const press = () => { values[name]++; changed(name); };
  values[name] ??= rest.at(-1) ?? 0;
  if (first === undefined) {
    values[name] = Number(values[name]) || 0;
    return make('button', { type: 'button', textContent: label, onclick: press });
  }
  const input = several ? make('select', { name }, ...first.map(n => make('option', {}, n)))
    : make('input', { name, type: 'range', min: first, max: rest[0], step: rest[1] });
  const read = () => {
    values[name] = several ? input.value || rest.at(-1) : Number(input.value);
    shown.textContent = several ? '' : input.value;
  };
  input.value = values[name];
  if (input.value === '') input.value = rest.at(-1);
  input.oninput = () => { read(); changed(name); };
  read();
  return make('label', {}, label, input, shown);
}

function mount(host) {
  const name = host.dataset.live, figure = FIGURES[name], s = {}, note = host.querySelector('p');
  const [place, wish] = decodeURIComponent(location.hash.slice(1)).split('?');
  const linked = place === name, values = linked ? Object.fromEntries(new URLSearchParams(wish)) : {};
  const canvas = make('canvas', {}), said = make('output', { className: 'live-said' });
  const bar = make('div', { className: 'live-controls' }), now = { states: [], run: 0, seen: true };

  function draw() {
    const css = getComputedStyle(host), scale = Math.max(1, devicePixelRatio), pen = n => css.getPropertyValue(n);
    const w = Math.min(host.clientWidth - 26, figure.of === 2 ? 900 : 520), h = w / figure.of + 28;
    Object.assign(canvas, { width: w * scale, height: h * scale });
    Object.assign(canvas.style, { width: `${w}px`, height: `${h}px` });
    const g = Object.assign(canvas.getContext('2d'), { font: `13px ${css.fontFamily}` });
    g.scale(scale, scale);
    Object.assign(s, { g, w, ink: css.color, muted: pen('--book-muted'), rule: pen('--book-rule'),
      pens: [1, 2, 3, 4].map(k => pen(`--live-${k}`)) });
    const text = figure.draw(s, values, now.states);
    canvas.setAttribute('aria-label', `${figure.name}. ${text}`);
    clearTimeout(now.saying);
    now.saying = setTimeout(() => { said.textContent = text; }, 200);
  }

  async function redraw() {                          // once a frame
    if (now.due) return;
    now.due = true;
    await frame();
    now.due = false;
    if (now.states.length) draw();
  }

  async function start() {                           // all states anew
    const run = ++now.run, wait = figure.weights;
    try {
      if (wait) said.textContent = 'The weights are on their way.';
      const net = wait && await (arrived[wait] ??= loaded(wait)), states = [];
      for (const state of run === now.run ? figure.states(values, s, net) : []) {
        states.push(state);
        if (!net) continue;
        now.states = states;
        draw();
        host.classList.add('live-on');
        await frame().then(frame);
        if (run !== now.run) return;
      }
      if (run !== now.run) return;
      now.states = states;
      host.classList.add('live-on');
      draw();
    } catch (error) {
      delete arrived[wait];
      host.classList.remove('live-on');
      said.textContent = '';
      note.textContent = `${error.message}: the still picture stays.`;
    }
  }

  function changed(key) {
    if ('address' in host.dataset)
      history.replaceState(null, '', `#${name}?${new URLSearchParams(values)}`);
    if (key === 't' && now.states.length) redraw(); else start();
  }

  async function play() {                            // along slider t; by eighths if motion is unwelcome
    const input = bar.querySelector('[name=t]'), least = Number(input.min), most = Number(input.max);
    if (now.playing) { now.playing = false; return; }
    now.playing = true;
    go.textContent = 'Pause';
    let at = Number(input.value) >= most ? least : Number(input.value);
    do {
      if (now.seen) at = Math.min(most, at + (most - least) / (calm.matches ? 8 : 120));
      input.value = at;
      input.oninput();
      await frame();
    } while (at < most && now.playing && !calm.matches);
    now.playing = false;
    go.textContent = 'Play';
  }

  const go = make('button', { type: 'button', textContent: 'Play', onclick: play });
  bar.append(...Object.entries(figure.controls).map(([k, f]) => control(k, f, values, changed)), go);
  if (figure.touch) {
    const moved = (x, y, add) => { figure.touch(s, x, y, add); start(); }, keys = { ArrowLeft: [-1, 0],
      ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], Enter: [0, 0], ' ': [0, 0] };
    canvas.tabIndex = 0;
    canvas.onpointerdown = canvas.onpointermove = e => e.buttons && moved(e.offsetX, e.offsetY, true);
    canvas.onkeydown = e => {
      const by = keys[e.key], [x, y] = s.place ?? [s.w / 2, s.w / 2];
      if (!by) return;
      e.preventDefault();
      s.place = [x + 8 * by[0], y + 8 * by[1]];
      moved(...s.place, by.every(d => d === 0));
    };
  }
  canvas.setAttribute('role', figure.touch ? 'application' : 'img');
  said.setAttribute('aria-live', 'polite');
  host.setAttribute('role', 'group');
  host.setAttribute('aria-label', figure.name);
  host.append(canvas, bar, said);
  new ResizeObserver(redraw).observe(host);
  new MutationObserver(redraw).observe(document.body, { attributeFilter: ['class'] });
  new IntersectionObserver(found => { now.seen = found.at(-1).isIntersecting; }).observe(host);
  if (linked) host.scrollIntoView();
  if (linked || !figure.weights) start();
}

const near = new IntersectionObserver(found => {
  for (const { target } of found.filter(f => f.isIntersecting)) {
    near.unobserve(target);
    mount(target);
  }
}, { rootMargin: '400px' });
for (const host of document.querySelectorAll('[data-live]'))
  if (location.hash.startsWith(`#${host.dataset.live}?`)) mount(host); else near.observe(host);
