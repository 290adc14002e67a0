"""A browser for tests: Chromium by its driver, over the WebDriver protocol and nothing but the standard library."""
import base64
import json
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ELEMENT = 'element-6066-11e4-a52e-4f735466cecf'
KEYS = {'Escape': '\ue00c', 'Enter': '\ue007', 'Tab': '\ue004', 'Backspace': '\ue003'}
SEEN = '(document.querySelector(arguments[0])?.checkVisibility() ? document.querySelector(arguments[0]).innerText : "")'


class BrowserError(Exception):
    pass


class Browser:
    """One window. What a page logs, and what it asks of the network, is kept: Log() and Requested()."""

    def __init__(self, width=1280, height=900):
        self.profile = tempfile.TemporaryDirectory(prefix='desk-')
        self.driver = subprocess.Popen(['chromedriver', '--port=0'], stdout=subprocess.PIPE,
                                       stderr=subprocess.DEVNULL, text=True)
        for line in self.driver.stdout:
            if found := re.search(r'successfully on port (\d+)', line):
                self.base = f'http://127.0.0.1:{found[1]}'
                break
        arguments = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--force-color-profile=srgb',
                     '--disable-background-networking', '--disable-component-update', '--hide-scrollbars', f'--window-size={width},{height}',
                     f'--user-data-dir={self.profile.name}']
        made = self.command('POST', '/session', {'capabilities': {'alwaysMatch': {
            'browserName': 'chrome', 'goog:chromeOptions': {'args': arguments, 'binary': shutil.which('chromium')},
            'goog:loggingPrefs': {'browser': 'ALL', 'performance': 'ALL'}}}}, session=False)
        self.session = made['sessionId']

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            self.command('DELETE', '')
        finally:
            self.driver.terminate()
            self.driver.wait()
            self.profile.cleanup()

    def command(self, method, path, body=None, session=True):
        url = self.base + (f'/session/{self.session}{path}' if session else path)
        data = json.dumps(body or {}).encode() if method == 'POST' else None
        request = urllib.request.Request(url, data, {'Content-Type': 'application/json'}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return json.load(reply)['value']
        except urllib.error.HTTPError as error:
            raise BrowserError(json.load(error)['value']['message'].split('\n')[0]) from None

    def tabs(self):
        return self.command('GET', '/window/handles')

    def new_tab(self):
        """It is the one that is used from now on; its handle."""
        return self.use(self.command('POST', '/window/new', {'type': 'tab'})['handle'])

    def use(self, tab):
        self.command('POST', '/window', {'handle': tab})
        return tab

    def close_tab(self):
        self.command('DELETE', '/window')

    def slow(self, milliseconds):
        """Each request takes so much longer; 0: none does."""
        self.devtools('Network.enable')
        self.devtools('Network.emulateNetworkConditions', offline=False, latency=milliseconds, downloadThroughput=-1, uploadThroughput=-1)

    def devtools(self, command, **parameters):
        return self.command('POST', '/goog/cdp/execute', {'cmd': command, 'params': parameters})

    def open(self, url):
        self.command('POST', '/url', {'url': url})

    def run(self, script, *arguments):
        """The value of a JavaScript expression, or of what `return`s."""
        text = script if 'return' in script else f'return ({script})'
        return self.command('POST', '/execute/sync', {'script': text, 'args': list(arguments)})

    def find(self, css):
        return self.command('POST', '/element', {'using': 'css selector', 'value': css})[ELEMENT]

    def click(self, css, text=None):
        """The first that matches; with `text`, the first whose text this is."""
        element = self.find(css) if text is None else self.wait(
            '[...document.querySelectorAll(arguments[0])].find(one => one.innerText.trim() === arguments[1])', css, text)[ELEMENT]
        self.command('POST', f'/element/{element}/click')

    def type(self, css, text):
        self.command('POST', f'/element/{self.find(css)}/value', {'text': text})

    def press(self, *keys):
        """Keys for whatever has the focus."""
        actions = [{'type': kind, 'value': KEYS.get(key, key)} for key in keys for kind in ('keyDown', 'keyUp')]
        self.command('POST', '/actions', {'actions': [{'type': 'key', 'id': 'keys', 'actions': actions}]})

    def text(self, css='body'):
        """As it is seen."""
        return self.run(SEEN, css)

    def wait(self, script, *arguments, seconds=10):
        """Until the expression is true. Returns its value."""
        deadline = time.monotonic() + seconds
        while True:
            value = self.run(script, *arguments)
            if value:
                return value
            if time.monotonic() > deadline:
                raise AssertionError(f'after {seconds} s still not: {script} {arguments}\n{self.text()}')
            time.sleep(.03)

    def wait_text(self, text, css='body', seconds=10):
        self.wait(SEEN + '.includes(arguments[1])', css, text, seconds=seconds)

    def wait_gone(self, css):
        self.wait('document.querySelector(arguments[0]) === null', css)

    def log(self):
        return [entry['message'] for entry in self.command('POST', '/se/log', {'type': 'browser'})]

    def requested(self):
        """The URLs of all requests so far, of all that were not told before."""
        urls = []
        for entry in self.command('POST', '/se/log', {'type': 'performance'}):
            message = json.loads(entry['message'])['message']
            if message['method'] == 'Network.requestWillBeSent':
                urls.append(message['params']['request']['url'])
        return urls

    def look(self, dark=False):
        self.devtools('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': 'dark' if dark else 'light'}])

    def size(self, width, height, scale=1):
        self.devtools('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=scale, mobile=False)

    def screenshot(self, path):
        with open(path, 'wb') as file:
            file.write(base64.b64decode(self.devtools('Page.captureScreenshot')['data']))
