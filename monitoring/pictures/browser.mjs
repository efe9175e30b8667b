// A page in Chromium: the bundle of page/, drawn from a model and photographed.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { launch } from 'puppeteer-core';

const here = fileURLToPath(new URL('.', import.meta.url));
const origin = 'http://pictures.invalid/'; // resolves nowhere: every request is answered here
const icons = join(here, 'node_modules/@grafana/ui/dist/public/');

// chromium is the browser's program: the given one, else the first that this machine has.
export function chromium(given) {
  const found = given ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
  if (!found) throw new Error('there is no Chromium on this machine: install it, or name its program with --chromium');
  return found;
}

// withStudio opens a browser, gives work what takes pictures in it, and closes it whatever comes of that.
export async function withStudio(program, work) {
  const bundle = await bundled();
  const profile = await mkdtemp(join(tmpdir(), 'pictures-'));
  const browser = await launch({
    executablePath: program,
    userDataDir: profile,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
  try {
    return await work(new Studio(browser, bundle));
  } finally {
    await browser.close();
    await rm(profile, { recursive: true, force: true });
  }
}

// bundled is page/ as one script and one style sheet. Grafana's components bring an editor and maps along: their fonts are left out.
async function bundled() {
  const { outputFiles } = await build({
    absWorkingDir: here,
    entryPoints: ['page/page.jsx'],
    bundle: true,
    write: false,
    outdir: 'out',
    minify: true,
    jsx: 'automatic',
    define: { 'process.env.NODE_ENV': '"production"' },
    loader: { '.svg': 'text', '.ttf': 'empty', '.woff': 'empty', '.woff2': 'dataurl' },
  });
  const text = (ending) => outputFiles.find(({ path }) => path.endsWith(ending)).text;
  return { script: text('.js'), style: text('.css') };
}

class Studio {
  constructor(browser, bundle) {
    Object.assign(this, { browser, bundle });
  }

  // picture draws the model and gives the PNG, 1.25 pixels of it for each of the page's, and the titles of panels without data. look
  // may look at the page before it is closed.
  async picture(model, look = async () => {}) {
    const page = await this.browser.newPage();
    const problems = [];
    page.on('pageerror', (error) => problems.push(error.message));
    page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
    page.on('request', (request) => respond(request, this.bundle).catch((error) => problems.push(error.message)));
    await page.setRequestInterception(true);
    await page.setViewport({ width: model.width, height: 800, deviceScaleFactor: 1.25 });
    await page.goto(origin);
    const empty = await page.evaluate((given) => window.draw(given), model);
    const drawn = await page.$('#page > div');
    const png = drawn && await still(drawn); // nothing is left of a page that failed
    if (problems.length > 0) throw new Error(`the page of ${model.title}: ${problems.join('; ')}`);
    const blank = await page.evaluate(blankPanels);
    await look(page);
    await page.close();
    if (blank.length > 0) throw new Error(`${model.title}: nothing is drawn in ${blank.join(', ')}`);
    return { png, empty };
  }
}

// still photographs until two pictures in a row are the same: sizes are measured and drawn again after the first.
async function still(element) {
  let last;
  for (let i = 0; i < 20; i++) {
    const next = Buffer.from(await element.screenshot());
    if (last?.equals(next)) return next;
    last = next;
  }
  throw new Error('the page does not come to rest');
}

// respond serves the page from memory: nothing is asked of any network. Grafana's icons are files of its package.
async function respond(request, { script, style }) {
  const path = new URL(request.url()).pathname;
  const icon = /^\/public\/build\/(img\/icons\/[\w/-]+\.svg)$/.exec(path);
  if (request.url().startsWith('data:')) return request.continue();
  if (path === '/') return request.respond({ contentType: 'text/html', body: '<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="/style.css"><body id="page"><script src="/script.js"></script>' });
  if (path === '/script.js') return request.respond({ contentType: 'text/javascript', body: script });
  if (path === '/style.css') return request.respond({ contentType: 'text/css', body: style });
  if (icon) return request.respond({ contentType: 'image/svg+xml', body: await readFile(join(icons, icon[1])) });
  return request.respond({ status: 204 });
}

// blankPanels runs in the page: the titles of panels with neither a text nor a drawn pixel below their title.
function blankPanels() {
  const drawn = (canvas) => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some((byte) => byte > 0);
  const content = (panel) => panel.querySelector('[data-testid="data-testid panel content"]') ?? panel;
  return [...document.querySelectorAll('[data-panel]')]
    .filter((panel) => content(panel).innerText.trim() === '' && ![...panel.querySelectorAll('canvas')].some(drawn))
    .map((panel) => panel.dataset.panel);
}
