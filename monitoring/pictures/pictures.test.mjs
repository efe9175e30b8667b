// The pictures are drawn from answers that a real Prometheus gave, recorded in testdata/answers.json by request and query. Only the
// exemplar there is made up.
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { chromium, withStudio } from './browser.mjs';
import { main, modelOf } from './pictures.mjs';
import { annotations, Asker } from './prometheus.mjs';
import { fill } from './variables.mjs';

const [from, to] = [1795692060, 1795692300];
const testdata = new URL('testdata/', import.meta.url);
const recorded = JSON.parse(await readFile(new URL('answers.json', testdata), 'utf8'));
const everyType = JSON.parse(await readFile(new URL('dashboards/every_type.json', testdata), 'utf8'));

let server, url;
before(async () => {
  server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url, 'http://prometheus');
    const key = `${pathname.replace('/api/v1/', '')} ${searchParams.get('query') ?? searchParams.get('match[]') ?? ''}`;
    const answer = recorded[key] ? { status: 'success', data: recorded[key] } : { status: 'error', error: `not recorded: ${key}` };
    response.end(JSON.stringify(answer));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${server.address().port}`;
});
after(() => server.close());

let program, missing;
try {
  program = chromium(process.env.CHROMIUM);
} catch (error) {
  missing = error.message;
}

// changed is the dashboard with one of its panels alone, and that one changed.
function changed(id, change) {
  const panel = structuredClone(everyType.panels.find((one) => one.id === id));
  change(panel);
  return { ...everyType, panels: [panel] };
}

const model = (dashboard) => modelOf(dashboard, {}, new Asker(url, from, to), '5s');

// broken is what can not be drawn, and what then must be said.
const broken = [
  ['a panel type that is not known', changed(2, (panel) => { panel.type = 'piechart'; }), /Requests is of type piechart/],
  ['a transformation that is not known', changed(6, (panel) => { panel.transformations[0].id = 'magic'; }), /Versions: transformation magic/],
  ['a field option that is not known', changed(2, (panel) => { panel.fieldConfig.overrides[0].properties[0].id = 'colour'; }), /Requests: field options colour/],
  ['a matcher that is not known', changed(2, (panel) => { panel.fieldConfig.overrides[0].matcher.id = 'byMagic'; }), /Requests: .*byMagic/],
  ['a table of two frames', changed(6, (panel) => { panel.targets.push({ ...panel.targets[0], refId: 'B' }); }), /a table of 2 frames/],
  ['a stat that shows nothing where there is no data', changed(7, (panel) => { panel.type = 'stat'; panel.options.textMode = 'name'; }), /nothing is drawn in Nothing/],
];

test('in a browser', { skip: missing }, (t) => withStudio(program, async (studio) => {
  let texts, painted;
  const drawn = await studio.picture(await model(everyType), async (page) => {
    texts = await page.$$eval('[data-panel]', (panels) => Object.fromEntries(panels.map((panel) => [panel.dataset.panel, panel.innerText.replace(/\s+/g, ' ')])));
    painted = await page.$$eval('[data-panel]', colours);
  });
  await t.test('every panel type shows its data, with names, units and mappings', () => {
    assert.match(texts.Requests, /podinfo-primary 47\.3 req\/s/);
    assert.match(texts['Good requests'], /98\.87 ?%/);
    assert.match(texts['Requests by status'], /200.*8\.76 K.*500 16 503 8/);
    assert.match(texts.Traffic, /none.*100/);
    assert.match(texts.Versions, /Pod .*podinfo-primary-7b56864f7c-46nl2 7b56864f7c 2\.0\.0/);
    assert.doesNotMatch(texts.Versions, /127\.0\.0\.1/);
    assert.match(texts.Nothing, /nobody waits/);
    assert.deepEqual(drawn.empty, ['Nothing']);
    assert.equal(drawn.png.readUInt32BE(16), 1600, 'width of the PNG');
  });
  await t.test('lines, states, marks and exemplars are painted in their colours', () => {
    const want = {
      Requests: { '229 84 0': 'the line of podinfo, dark orange by an override', '163 82 204': 'the mark at the time axis, purple', '50 116 217': 'the exemplar, blue' },
      Traffic: { '128 128 128': 'none, grey by a mapping', '242 204 12': '50 and more, yellow by a threshold', '86 166 75': 'less, green by a threshold' },
    };
    for (const [panel, colour, what] of Object.entries(want).flatMap(([panel, all]) => Object.entries(all).map((one) => [panel, ...one]))) {
      assert.ok(painted[panel].includes(colour), `${panel}: ${what}, is not among ${painted[panel].join(', ')}`);
    }
  });
  for (const [name, dashboard, want] of broken) {
    await t.test(name, () => assert.rejects(async () => studio.picture(await model(dashboard)), want));
  }
}));

// colours runs in the page: for each panel the colours of its plot that cover more than 20 pixels.
function colours(panels) {
  return Object.fromEntries(panels.map((panel) => {
    const count = new Map();
    for (const canvas of panel.querySelectorAll('canvas')) {
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      for (let i = 0; i < data.length; i += 4) {
        if (data[i + 3] < 200) continue;
        const colour = `${data[i]} ${data[i + 1]} ${data[i + 2]}`;
        count.set(colour, (count.get(colour) ?? 0) + 1);
      }
    }
    return [panel.dataset.panel, [...count].filter(([, pixels]) => pixels > 20).map(([colour]) => colour)];
  }));
}

test('what can not be asked fails', async (t) => {
  const cases = [
    ['a query that Prometheus refuses', changed(2, (panel) => { panel.targets[0].expr = 'sum('; }), /panel Requests, query A: .*not recorded/],
    ['a variable that is not there', changed(2, (panel) => { panel.targets[0].expr = 'up{pod="$pod"}'; }), /no variable is called pod/],
    ['another data source', changed(2, (panel) => { panel.targets[0].datasource = { type: 'loki' }; }), /type loki, not prometheus/],
    ['a repeated panel', changed(2, (panel) => { panel.repeat = 'canary'; }), /Requests is repeated/],
  ];
  for (const [name, dashboard, want] of cases) {
    await t.test(name, () => assert.rejects(() => model(dashboard), want));
  }
});

test('variables are filled in as for Prometheus', () => {
  const one = { values: ["pod'info.a"] };
  const many = { values: ['a.b', 'c'], many: true };
  const values = new Map([['one', one], ['many', many], ['only', { values: ['a.b'], many: true }]]);
  const cases = [
    ['up{a="$one"}', 'up{a="pod\\\'info.a"}'],
    ['up{a=~"${many}"}', 'up{a=~"(a\\\\.b|c)"}'],
    ['up{a=~"[[only]]-x"}', 'up{a=~"a\\\\.b-x"}'],
    ['up{a=~"${one:regex}"}', 'up{a=~"pod\'info\\\\.a"}'],
    ['${many:raw}', 'a.b,c'],
    ['label_replace(up, "a", "$1", "b", "(.*)$")', 'label_replace(up, "a", "$1", "b", "(.*)$")'],
  ];
  for (const [text, want] of cases) assert.equal(fill(text, values), want);
  assert.throws(() => fill('${one:json}', values), /format json/);
});

test('a mark lasts while its query has a value above 0', async () => {
  const asker = { from: 0, to: 300, matrix: async () => [{ metric: { verdict: 'fail' }, values: [[0, '0'], [15, '1'], [30, '1'], [45, '0'], [90, '1']] }] };
  const source = { enable: true, name: 'Verdict', expr: 'verdict', step: '15s', titleFormat: '{{verdict}}', iconColor: 'red' };
  const marks = (change) => annotations({ annotations: { list: [{ ...source, ...change }] } }, new Map(), asker, '5s');
  const spans = async (change) => (await marks(change)).map(({ from: start, to: end, text }) => [start, end, text]);
  assert.deepEqual(await spans({}), [[15, 30, 'fail'], [90, 90, 'fail']]);
  assert.deepEqual(await spans({ enable: false }), []);
  asker.matrix = async () => [{ metric: {}, values: [[0, '60000'], [15, '60000']] }];
  assert.deepEqual(await spans({ useValueForTime: true, titleFormat: 'Start' }), [[60, 60, 'Start']]);
});

test('the command writes a picture for each dashboard', { skip: missing }, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'pictures-'));
  try {
    await main(['--prometheus', url, '--from', String(from), '--to', String(to), '--scrape', '5s', '--dashboards', new URL('dashboards', testdata).pathname, '--out', folder]);
    const png = await readFile(join(folder, 'every_type.png'));
    assert.equal(png.subarray(1, 4).toString(), 'PNG');
  } finally {
    await rm(folder, { recursive: true });
  }
});
