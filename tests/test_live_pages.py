"""The figures that run in the page, in a headless Chromium: `make site-test`.

The pages are those of a site that Quarto built into _docs/, or else ones that Pandoc
made of the same Markdown. `make test` leaves them out: they want a browser.
"""
import re
import time

import pytest

import browser

ROOT = browser.ROOT
CHAPTERS = ['index.ipynb', '00_theory.ipynb', '01_schedules.ipynb', '02_oracles.ipynb',
            '05_ddim.ipynb', '11_mnist_cond.ipynb', '12_samplers.ipynb', 'play.qmd']
PAGES = [re.sub(r'^\d+[a-z]?_', '', c.split('.')[0]) for c in CHAPTERS]
NAMES = ['roll', 'digit', 'density', 'schedule', 'draw', 'guidance', 'paths', 'race']
WEIGHTS = {'roll', 'digit'}
pytestmark = [pytest.mark.slow, pytest.mark.skipif(
    browser.program() is None, reason='no Chromium is installed')]
IMAGE = "document.querySelector('[data-live={}] canvas').toDataURL()"


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    "The address of the pages"
    built = ROOT/'_docs'
    if not (built/'play.html').exists():
        built = tmp_path_factory.mktemp('pages')/'site'
        built.mkdir()
        browser.harness(built, CHAPTERS)
    with browser.served(built) as address:
        yield address


@pytest.fixture(scope='module')
def tab():
    with browser.tab() as t:
        yield t


def shown(tab, name, press=True):
    "Scroll to a figure and wait until it has drawn all its states"
    here = f"document.querySelector('[data-live={name}]')"
    tab.until(f'!!{here}')
    # again and again: the page above it may grow meanwhile
    tab.until(f"({here}.scrollIntoView(), !!{here}.querySelector('input'))")
    if press and name in WEIGHTS:
        tab.ask(f"{here}.querySelector('button').click()")
    on = f"{here}.classList.contains('live-on')"
    tab.until(f"{here}.ariaBusy === 'false' && {on}", 60)


@pytest.mark.parametrize('page', PAGES)
def test_a_page_is_alive(site, tab, page):
    "Every figure draws something, says what, and nothing goes wrong"
    tab.open(f'{site}/{page}.html')
    names = tab.ask("[...document.querySelectorAll('[data-live]')]"
                    '.map(host => host.dataset.live)')
    assert names and set(names) <= set(NAMES)
    for name in names:
        shown(tab, name)
        here = f"document.querySelector('[data-live={name}]')"
        tab.until(f"{here}.querySelector('output').textContent.length > 10")
        tab.until(f"{here}.querySelector('canvas').ariaLabel.endsWith("
                  f"{here}.querySelector('output').textContent)")
        assert not tab.ask(f"!!{here}.querySelector('p')?.offsetParent")
    assert tab.said == []


@pytest.mark.parametrize('name', NAMES)
def test_a_slider_by_keyboard(site, tab, name):
    "An arrow key on the first slider changes the picture, and what is said of it"
    tab.open(f'{site}/play.html')
    shown(tab, name)
    here = f"document.querySelector('[data-live={name}]')"
    said = f"{here}.querySelector('output').textContent"
    slider = f"{here}.querySelector('input[type=range]')"
    tab.ask(f'{slider}.focus()')
    time.sleep(0.4)
    before, words = tab.ask(IMAGE.format(name)), tab.ask(said)
    for _ in range(3): tab.key('ArrowLeft')
    tab.until(f'{IMAGE.format(name)} !== {before!r}')
    tab.until(f'{said} !== {words!r}')
    # the address says where it stands, and leads back to it
    tab.until(f"location.search.includes('figure={name}')")
    state = tab.ask('location.search')
    tab.open(f'{site}/play.html{state}')
    tab.until(f"{here}?.ariaBusy === 'false'", 60)
    kind = tab.ask(f'{slider}.name')
    assert f"{kind}={tab.ask(f'{slider}.value')}" in re.split('[?&]', state)
    assert tab.said == []


def test_drawing(site, tab):
    "By pointer, by finger and by keyboard"
    tab.open(f'{site}/play.html', touch=True)
    shown(tab, 'draw')
    host = "document.querySelector('[data-live=draw]')"
    canvas = f"{host}.querySelector('canvas')"
    count = f"Number.parseInt({canvas}.ariaLabel.split('. ')[1])"
    assert tab.ask(count) == 24
    tab.ask(f'{canvas}.focus()')
    tab.key('ArrowRight')
    tab.key('Enter')
    tab.until(f'{count} === 25')
    x, y = tab.ask(f"(b => [b.x + 60, b.y + 90])({canvas}.getBoundingClientRect())")
    mouse = dict(x=x, y=y, button='left', buttons=1, clickCount=1)
    tab.call('Input.dispatchMouseEvent', type='mousePressed', **mouse)
    tab.call('Input.dispatchMouseEvent', type='mouseReleased', **mouse)
    tab.until(f'{count} === 26')
    finger = dict(x=x + 40, y=y)
    for kind, points in (('touchStart', [finger]), ('touchEnd', [])):
        tab.call('Input.dispatchTouchEvent', type=kind, touchPoints=points)
    tab.until(f'{count} > 26')
    assert tab.said == []


@pytest.mark.parametrize('name', ['density', 'draw', 'paths', 'race', 'guidance'])
def test_frames_per_second(site, tab, name):
    "While it plays; with some room for a machine that is busy otherwise"
    def spent():
        found = tab.call('Performance.getMetrics')['metrics']
        return next(m['value'] for m in found if m['name'] == 'TaskDuration')
    tab.open(f'{site}/play.html?figure={name}&t=1')
    shown(tab, name)
    here = f"document.querySelector('[data-live={name}]')"
    tab.ask(f"[...{here}.querySelectorAll('button')].at(-1).click()")
    begin = spent()
    took = tab.ask('''new Promise(done => {
        const begin = performance.now();
        let k = 0;
        const next = () => ++k < 40 ? requestAnimationFrame(next)
            : done((performance.now() - begin) / k);
        requestAnimationFrame(next);
    })''')
    work = (spent() - begin) / 40 * 1000
    print(f'{name}: {1000/took:.0f} frames a second, {work:.1f} ms of work for each')
    assert took < 100


def test_first_interaction(site, tab):
    "A slider is there soon after the page; the time is printed"
    tab.open(f'{site}/index.html')
    tab.until("!!document.querySelector('.live input')")
    took = tab.ask('''(() => {
        const [page] = performance.getEntriesByType('navigation');
        const last = performance.getEntriesByType('resource')
            .filter(e => e.name.includes('/live/')).map(e => e.responseEnd);
        return Math.max(...last) - page.domContentLoadedEventEnd;
    })()''')
    print(f'modules are there {took:.0f} ms after the page')
    assert took < 3000


def test_motion(site, tab):
    "Plays to the end; by single steps where motion is unwelcome; pauses out of sight"
    here = "document.querySelector('[data-live=density]')"
    value = f"Number({here}.querySelector('[name=t]').value)"
    play = f"[...{here}.querySelectorAll('button')].at(-1).click()"
    tab.open(f'{site}/play.html', calm=True)
    shown(tab, 'density')
    first = tab.ask(value)
    tab.ask(play)
    time.sleep(0.5)
    assert tab.ask(value) == pytest.approx(first + 499/8, abs=2)
    tab.open(f'{site}/play.html')
    shown(tab, 'density')
    tab.ask(play)
    tab.until(f'{value} > {first} + 20')
    tab.ask('scrollTo(0, document.body.scrollHeight)')
    time.sleep(0.5)
    there = tab.ask(value)
    time.sleep(0.5)
    assert tab.ask(value) == there < 500
    tab.ask(f'{here}.scrollIntoView()')
    tab.until(f'{value} === 500', 30)


@pytest.mark.parametrize('width', [390, 1000])
@pytest.mark.parametrize('dark', [False, True])
def test_sizes_and_themes(site, tab, width, dark):
    "Nothing is wider than the window; pens follow the theme"
    tab.open(f'{site}/play.html', width=width, touch=width < 500)
    if dark:
        tab.ask("document.body.className = 'quarto-dark'")
    for name in NAMES:
        shown(tab, name)
    assert tab.ask('document.documentElement.scrollWidth') <= width
    wide = tab.ask("[...document.querySelectorAll('.live *')].filter(e => "
                   f'e.getBoundingClientRect().right > {width}).map(e => e.outerHTML)')
    assert wide == []
    if dark:
        image = tab.ask(IMAGE.format('race'))
        tab.ask("document.body.className = 'quarto-light'")
        tab.until(f"{IMAGE.format('race')} !== {image!r}")


def test_without_scripts(site, tab):
    "The still picture and one sentence; nothing that cannot be used"
    tab.open(f'{site}/play.html', scripts=False)
    text = tab.ask("document.querySelector('[data-live=digit] p').textContent")
    assert 'scripts' in text
    assert tab.ask("document.querySelectorAll('.live canvas, .live input').length") == 0
    loaded = tab.ask("document.querySelector('[data-live=roll] img').naturalWidth")
    assert loaded > 100


@pytest.mark.parametrize('what', ['lost', 'changed'])
def test_weights_that_do_not_arrive(site, tab, what):
    "Lost on the way, or others than the page was made with: picture and sentence"
    answers = dict(lost="() => Promise.reject(new TypeError('lost'))",
                   changed='''async (...all) => {
        const answer = await arrive(...all);
        if (!String(all[0]).includes('safetensors')) return answer;
        const body = new Uint8Array(await answer.arrayBuffer());
        body[body.length - 9] ^= 1;
        return new Response(body);
    }''')
    tab.open(f'{site}/play.html')
    tab.ask(f'{{ const arrive = fetch; window.fetch = {answers[what]}; }}')
    host = "document.querySelector('[data-live=roll]')"
    tab.ask(f'{host}.scrollIntoView()')
    tab.until(f"!!{host}.querySelector('button')")
    tab.ask(f"{host}.querySelector('button').click()")
    tab.until(f"{host}.querySelector('p').textContent.includes('did not arrive')")
    assert not tab.ask(f"{host}.classList.contains('live-on')")
    assert tab.ask(f"!!{host}.querySelector('img').offsetParent")
    assert tab.said == []


def test_weight_of_a_page(site, tab):
    "A chapter stays below 2 MB until something big is asked for"
    for page in PAGES:
        tab.open(f'{site}/{page}.html')
        tab.until("(document.querySelector('.live').scrollIntoView(), "
                  "document.querySelectorAll('.live canvas').length > 0)")
        time.sleep(0.5)
        size = tab.ask("performance.getEntries().reduce((sum, e) => "
                       'sum + (e.transferSize ?? 0), 0)')
        assert size < 2_000_000, page
        names = tab.ask("performance.getEntriesByType('resource').map(e => e.name)")
        assert all(n.startswith(site) for n in names), names
        assert not [n for n in names if 'safetensors' in n]


def test_on_paper(site, tab):
    "Print shows the still pictures, and no controls"
    tab.open(f'{site}/play.html')
    shown(tab, 'density')
    tab.call('Emulation.setEmulatedMedia', media='print')
    here = "document.querySelector('[data-live=density]')"
    assert not tab.ask(f"!!{here}.querySelector('canvas').offsetParent")
    assert tab.ask(f"!!{here}.querySelector('img').offsetParent")
    tab.call('Emulation.setEmulatedMedia', media='')
