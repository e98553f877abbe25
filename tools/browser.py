"""A headless Chromium that is driven by its DevTools, for what only a browser can say.

Used by `make site-test` (tests/test_live_pages.py) and `tools/live.py --stills`. A page
is one that Quarto built, or the Markdown of a chapter as Pandoc alone makes HTML of it,
in the style of the site.
"""
import base64
import contextlib
import functools
import http.server
import itertools
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAMES = 'chromium', 'chromium-browser', 'google-chrome'
PAGE = """<!doctype html><html lang="en-GB"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="images/favicon.png"><link rel="stylesheet" href="styles.css">
<style>{style}</style></head><body class="quarto-light"><main class="content">{body}
</main>{after}</body></html>"""
THEME = '{at} {{ background: {bg}; color: {ink}; font: 16px system-ui, sans-serif; }}'


def program():
    "A Chromium that is installed here, or None"
    return next((n for n in map(shutil.which, NAMES) if n), None)


def markdown(path):
    "The prose of a page, without its header"
    text = path.read_text(encoding='utf-8')
    if path.suffix == '.qmd':
        return re.sub(r'(?s)^---.*?---\n', '', text)
    cells = json.loads(text)['cells']
    prose = [c['source'] for c in cells if c['cell_type'] == 'markdown']
    return '\n\n'.join(map(''.join, prose))


def harness(folder, names):
    "Pages of nbs/ in a folder, with all that their figures need"
    import pypandoc
    import yaml
    after = yaml.safe_load((ROOT/'_quarto.yml').read_text(encoding='utf-8'))
    after = after['format']['html']['include-after-body']['text']
    style = 'body { margin: 0 auto; max-width: 950px; padding: 0 12px; }\n'
    for theme, at in (('light', 'body'), ('dark', 'body.quarto-dark')):
        text = (ROOT/'nbs'/f'{theme}.scss').read_text(encoding='utf-8')
        colour = dict(re.findall(r'\$([\w-]+):\s*(#[0-9a-f]{6})', text))
        style += THEME.format(at=at, bg=colour['body-bg'], ink=colour['body-color'])
    for part in ('live', 'images', 'fonts'):
        shutil.copytree(ROOT/'nbs'/part, folder/part)
    shutil.copy(ROOT/'nbs'/'styles.css', folder)
    for name in names:
        path = ROOT/'nbs'/name
        body = pypandoc.convert_text(
            markdown(path), 'html', 'markdown', extra_args=['--mathml'])
        text = PAGE.format(title=path.stem, style=style, body=body, after=after)
        (folder/f'{re.sub("^[0-9]+[a-z]?_", "", path.stem)}.html').write_text(text)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args): pass


@contextlib.contextmanager
def served(folder):
    "The address of a folder, on this machine only"
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f'http://127.0.0.1:{server.server_port}'
    finally:
        server.shutdown()
        server.server_close()


class Tab:
    "One page of a browser: what it says on its console stands in `said`"
    def __init__(self, socket):
        self.socket, self.ids, self.said = socket, itertools.count(1), []
        for part in ('Page', 'Runtime', 'Log', 'Network', 'Performance'):
            self.call(f'{part}.enable')

    def heard(self, m):
        "An error of a script, of the console or of a fetch that failed"
        p = m.get('params', {})
        if m.get('method') == 'Runtime.exceptionThrown':
            detail = p['exceptionDetails']
            what = detail.get('exception', {})
            self.said.append(what.get('description', detail['text']))
        if m.get('method') == 'Runtime.consoleAPICalled' and p['type'] == 'error':
            self.said.append(str([a.get('value') for a in p['args']]))
        if m.get('method') == 'Log.entryAdded' and p['entry']['level'] == 'error':
            self.said.append(f"{p['entry']['text']} {p['entry'].get('url', '')}")

    def call(self, method, **params):
        "The answer to a command; events on the way are heard"
        mine = next(self.ids)
        self.socket.send(json.dumps(dict(id=mine, method=method, params=params)))
        while True:
            m = json.loads(self.socket.recv())
            self.heard(m)
            if m.get('id') == mine:
                if 'error' in m: raise RuntimeError(f'{method}: {m["error"]}')
                return m['result']

    def ask(self, code):
        "The value of an expression in the page; of a promise, what it becomes"
        r = self.call('Runtime.evaluate', expression=code, returnByValue=True,
                      awaitPromise=True)
        if 'exceptionDetails' in r: raise RuntimeError(str(r['exceptionDetails']))
        return r['result'].get('value')

    def until(self, code, seconds=20):
        "Wait until an expression is true"
        end = time.monotonic() + seconds
        while not self.ask(code):
            if time.monotonic() > end: raise TimeoutError(f'never true: {code}')
            time.sleep(0.05)

    def open(self, url, width=1000, height=900, touch=False, calm=False, scripts=True):
        "A page in a window of a size"
        self.call('Emulation.setDeviceMetricsOverride', width=width, height=height,
                  deviceScaleFactor=1, mobile=touch)
        self.call('Emulation.setTouchEmulationEnabled', enabled=touch)
        reduce = dict(name='prefers-reduced-motion', value='reduce' if calm else '')
        self.call('Emulation.setEmulatedMedia', features=[reduce])
        self.call('Emulation.setScriptExecutionDisabled', value=not scripts)
        self.said.clear()
        # by way of an empty page: an address that differs in its # alone loads nothing
        self.call('Page.navigate', url='about:blank')
        self.call('Page.navigate', url=url)
        self.until("document.readyState === 'complete' && location.host")

    def key(self, name):
        "Press a key, wherever the keyboard is"
        codes = dict(ArrowLeft=37, ArrowUp=38, ArrowRight=39, ArrowDown=40, Enter=13)
        for kind in ('keyDown', 'keyUp'):
            self.call('Input.dispatchKeyEvent', type=kind, key=name, code=name,
                      windowsVirtualKeyCode=codes[name])

    def picture(self, path, selector=None):
        "A screenshot of the window, or of an element"
        clip = {}
        if selector:
            box = self.ask(f'(b => [b.x + scrollX, b.y + scrollY, b.width, b.height])'
                           f'(document.querySelector({selector!r})'
                           '.getBoundingClientRect())')
            clip = dict(clip=dict(zip(('x', 'y', 'width', 'height'), box), scale=1),
                        captureBeyondViewport=True)
        data = self.call('Page.captureScreenshot', format='png', **clip)['data']
        Path(path).write_bytes(base64.b64decode(data))


@contextlib.contextmanager
def tab():
    "A page of a headless Chromium of one's own, which ends with it"
    import websocket
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        command = [program(), '--headless=new', '--no-sandbox', '--disable-gpu',
                   '--remote-debugging-port=0', f'--user-data-dir={home}',
                   '--remote-allow-origins=*', 'about:blank']
        silent = dict(stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        p = subprocess.Popen(command, **silent)
        try:
            said = Path(home)/'DevToolsActivePort'
            end = time.monotonic() + 30
            while not said.exists() or not said.read_text().strip():
                if p.poll() is not None or time.monotonic() > end:
                    raise OSError(f'{command[0]} did not start')
                time.sleep(0.05)
            port = said.read_text().split()[0]
            with urllib.request.urlopen(f'http://127.0.0.1:{port}/json') as answer:
                pages = json.load(answer)
            url = next(x for x in pages if x['type'] == 'page')['webSocketDebuggerUrl']
            socket = websocket.create_connection(url, timeout=60)
            yield Tab(socket)
            socket.close()
        finally:
            p.terminate()
            p.wait(20)


if __name__ == '__main__':
    if not program():
        sys.exit('make site-test: a Chromium is needed and is not installed here '
                 '(on Debian: apt-get install chromium)')
