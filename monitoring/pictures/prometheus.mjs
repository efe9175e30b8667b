// Asks a Prometheus the questions that Grafana's data source asks it for a panel.
import { createRequire } from 'node:module';
import { fill } from './variables.mjs';

// Node can not load the package's ES modules: they name exports of a CommonJS package.
const { dateTime, rangeUtil } = createRequire(import.meta.url)('@grafana/data');

// Asker asks the Prometheus at url about the time between from and to, in Unix seconds. What it answers but success throws.
export class Asker {
  constructor(url, from, to) {
    Object.assign(this, { url: url.replace(/\/$/, ''), from, to });
  }

  async get(path, parameters) {
    const given = Object.entries(parameters).filter(([, value]) => value !== undefined);
    const response = await fetch(`${this.url}/api/v1/${path}?${new URLSearchParams(given)}`);
    const answer = await response.json().catch(() => ({ error: `HTTP ${response.status} and no JSON` }));
    if (answer.status !== 'success') throw new Error(`Prometheus at ${this.url}: ${path} ${parameters.query ?? ''}: ${answer.error}`);
    return answer.data;
  }

  labelValues(label, selector) {
    return this.get(`label/${label}/values`, { 'match[]': selector, start: this.from, end: this.to });
  }

  // matrix asks at whole multiples of step seconds, as Grafana does, so that pictures of the same time are the same.
  async matrix(query, step) {
    const whole = (time) => Math.floor(time / step) * step;
    return (await this.get('query_range', { query, step, start: whole(this.from), end: whole(this.to) })).result;
  }

  async instant(query) {
    const { result, resultType } = await this.get('query', { query, time: this.to });
    return resultType === 'scalar' ? [{ metric: {}, value: result }] : result;
  }

  exemplars(query) {
    return this.get('query_exemplars', { query, start: this.from, end: this.to });
  }
}

// answers asks for every target of a panel that is width pixels wide. scrape is the data source's scrape interval, such as 15s.
export async function answers(panel, width, values, asker, scrape) {
  const visible = (panel.targets ?? []).filter((target) => !target.hide);
  return Promise.all(visible.map(async (target) => {
    try {
      return await answer(panel, target, width, values, asker, scrape);
    } catch (cause) {
      throw new Error(`panel ${panel.title}, query ${target.refId}: ${cause.message}`, { cause });
    }
  }));
}

// answer asks for one target: over the range, or at its end, or both, and for exemplars where they are wanted.
async function answer(panel, target, width, values, asker, scrape) {
  const kind = target.datasource?.type ?? panel.datasource?.type;
  if (kind !== 'prometheus') throw new Error(`its data source is of type ${kind}, not prometheus`);
  const known = withTimes(values, asker, { width: panel.maxDataPoints ?? width, least: target.interval || panel.interval || scrape, scrape: target.interval || scrape });
  const query = fill(target.expr, known);
  const step = known.get('__interval_ms').values[0] / 1000;
  const ranged = target.range || !target.instant;
  return {
    refId: target.refId,
    table: target.format === 'table',
    legend: target.legendFormat ?? '',
    step,
    query,
    matrix: ranged ? await asker.matrix(query, step) : undefined,
    vector: target.instant ? await asker.instant(query) : undefined,
    exemplars: target.exemplar ? await asker.exemplars(query) : [],
  };
}

// withTimes adds the variables that follow from the time range and the panel's width; $__rate_interval is never shorter than four scrapes.
function withTimes(values, { from, to }, { width, least, scrape }) {
  const range = { from: dateTime(from * 1000), to: dateTime(to * 1000) };
  const { intervalMs } = rangeUtil.calculateInterval(range, width, fill(least, values));
  const every = rangeUtil.intervalToMs(fill(scrape, values));
  const rate = Math.max(intervalMs + every, 4 * every);
  const one = (value) => ({ values: [String(value)] });
  return new Map([
    ...values,
    ['__interval', one(`${intervalMs}ms`)],
    ['__interval_ms', one(intervalMs)],
    ['__rate_interval', one(`${rate}ms`)],
    ['__range', one(`${Math.round(to - from)}s`)],
    ['__range_s', one(Math.round(to - from))],
    ['__range_ms', one(Math.round(to - from) * 1000)],
  ]);
}

// annotations asks for the marks on the time axis: a mark lasts for as long as its query gives a value above 0.
export async function annotations(dashboard, values, asker, scrape) {
  const asked = (dashboard.annotations?.list ?? []).filter(({ enable, builtIn }) => enable && !builtIn);
  const all = await Promise.all(asked.map(async (source) => {
    const least = rangeUtil.intervalToSeconds(source.step || '60s');
    const step = Math.max(least, Math.ceil((asker.to - asker.from) / 11000));
    const known = withTimes(values, asker, { width: 1000, least: `${step}s`, scrape });
    const series = await asker.matrix(fill(source.expr, known), step);
    return series.flatMap((one) => marks(source, one, step));
  }));
  return all.flat();
}

// marks joins samples that are no more than a step apart into one mark.
function marks(source, { metric, values }, step) {
  const text = labelled(source.titleFormat || source.name, metric);
  if (source.useValueForTime) {
    const times = new Set(values.map(([, value]) => Number(value) / 1000)); // the value is in milliseconds
    return [...times].map((time) => ({ from: time, to: time, text, color: source.iconColor }));
  }
  const found = [];
  for (const [time, value] of values) {
    if (!(Number(value) > 0)) continue;
    const last = found.at(-1);
    if (last && time - last.to <= step) last.to = time;
    else found.push({ from: time, to: time, text, color: source.iconColor });
  }
  return found;
}

function labelled(format, metric) {
  return format.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => metric[label] ?? '');
}
