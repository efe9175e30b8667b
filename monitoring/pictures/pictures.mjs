#!/usr/bin/env node
// Draws the dashboards from a Prometheus' answers: one PNG a dashboard.
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { chromium, withStudio } from './browser.mjs';
import { annotations, answers, Asker } from './prometheus.mjs';
import { fill, resolve } from './variables.mjs';

const usage = `usage: node pictures.mjs --prometheus URL [--from TIME] [--to TIME] [--var NAME=VALUE]… [--dashboards FOLDER] [--out FOLDER]
  TIME is in Unix seconds; without them the picture is of the last hour. --scrape is the data source's scrape interval.`;

const width = 1280; // pixels of the page, those of a small screen: what fits there fits anywhere

// main draws every dashboard of the folder, or fails at the first that can not be drawn.
export async function main(args) {
  const { values: given } = parseArgs({
    args,
    options: {
      prometheus: { type: 'string' },
      from: { type: 'string' },
      to: { type: 'string', default: String(Math.floor(Date.now() / 1000)) },
      var: { type: 'string', multiple: true, default: [] },
      dashboards: { type: 'string', default: 'monitoring/grafana_dashboards' },
      out: { type: 'string', default: 'docs/pictures/dashboards' },
      scrape: { type: 'string', default: '15s' },
      chromium: { type: 'string' },
    },
  });
  if (!given.prometheus) throw new Error(usage);
  const to = Number(given.to);
  const asker = new Asker(given.prometheus, Number(given.from ?? to - 3600), to);
  const chosen = Object.fromEntries(given.var.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]));
  await mkdir(given.out, { recursive: true });
  await withStudio(chromium(given.chromium), async (studio) => {
    for (const file of (await readdir(given.dashboards)).filter((name) => name.endsWith('.json'))) {
      const dashboard = JSON.parse(await readFile(join(given.dashboards, file), 'utf8'));
      const { png, empty } = await studio.picture(await modelOf(dashboard, chosen, asker, given.scrape));
      const out = join(given.out, `${basename(file, '.json')}.png`);
      await writeFile(out, png);
      console.log(`${out}: ${Math.round(png.length / 1000)} kB${empty.map((title) => `\n  no data: ${title}`).join('')}`);
    }
  });
}

// modelOf is all that the page needs to know of a dashboard: its panels with Prometheus' answers, its variables and its marks.
export async function modelOf(dashboard, chosen, asker, scrape) {
  const values = await resolve(dashboard, chosen, asker);
  const panels = await Promise.all(dashboard.panels.map(async (panel) => {
    if (panel.repeat || panel.libraryPanel) throw new Error(`panel ${panel.title} is repeated or from the library: neither is known here`);
    const own = { ...panel, title: fill(panel.title ?? '', values) };
    const pixels = Math.floor((width / 24) * panel.gridPos.w);
    return { panel: own, answers: await answers(panel, pixels, values, asker, scrape) };
  }));
  return {
    title: dashboard.title,
    width,
    from: asker.from,
    to: asker.to,
    variables: [...values.values()].filter(({ hidden }) => !hidden).map((value) => ({ label: value.label, value: value.values.join(', ') })),
    panels,
    marks: await annotations(dashboard, values, asker, scrape),
  };
}

if (import.meta.filename === process.argv[1]) {
  try {
    await main(process.argv.slice(2));
  } catch (error) {
    console.error(error.message);
    process.exit(1);
  }
}
