// Prometheus' answers as Grafana's data frames: a frame for each series, or one table for a query of that format.
import { FieldType, applyFieldOverrides, cacheFieldDisplayNames, createDataFrame, displayNameOverrideProcessor, fieldMatchers, identityOverrideProcessor, Registry, standardTransformers, standardTransformersRegistry, ThresholdsMode, transformDataFrame } from '@grafana/data';
import { lastValueFrom } from 'rxjs';

// framesOf are the frames of all of a panel's answers.
export function framesOf(answers) {
  const tables = answers.filter(({ table }) => table).length;
  return answers.flatMap((answer) => (answer.table ? [tableOf(answer, tables)] : seriesOf(answer)));
}

function seriesOf(answer) {
  const ranged = (answer.matrix ?? []).map(({ metric, values }) => ({ metric, values }));
  const single = (answer.vector ?? []).map(({ metric, value }) => ({ metric, values: [value] }));
  return [...ranged, ...single].map(({ metric, values }) => {
    const name = nameOf(answer, metric);
    return createDataFrame({
      refId: answer.refId,
      name,
      fields: [
        { name: 'Time', type: FieldType.time, config: { interval: answer.step * 1000 }, values: values.map(([time]) => time * 1000) },
        { name: 'Value', type: FieldType.number, labels: unnamed(metric), config: { displayNameFromDS: name }, values: values.map(([, value]) => number(value)) },
      ],
    });
  });
}

// A column for each label. The value's column is named by its query where there are several, as Grafana does.
function tableOf(answer, tables) {
  const rows = [
    ...(answer.matrix ?? []).flatMap(({ metric, values }) => values.map((value) => ({ metric, value }))),
    ...(answer.vector ?? []),
  ];
  const labels = [...new Set(rows.flatMap(({ metric }) => Object.keys(metric)))].sort();
  const value = tables > 1 ? `Value #${answer.refId}` : 'Value';
  return createDataFrame({
    refId: answer.refId,
    fields: [
      { name: 'Time', type: FieldType.time, config: {}, values: rows.map((row) => row.value[0] * 1000) },
      ...labels.map((label) => ({ name: label, type: FieldType.string, config: { filterable: true }, values: rows.map(({ metric }) => metric[label] ?? '') })),
      { name: value, type: FieldType.number, config: {}, values: rows.map((row) => number(row.value[1])) },
    ],
  });
}

// nameOf is the legend of a series: undefined leaves it to Grafana's rules.
function nameOf({ legend, query }, metric) {
  if (legend === '__auto') return undefined;
  if (legend) return legend.replace(/\{\{\s*(.+?)\s*\}\}/g, (_, label) => metric[label] ?? '');
  const pairs = Object.entries(unnamed(metric)).map(([label, value]) => `${label}="${value}"`);
  const name = `${metric.__name__ ?? ''}${pairs.length > 0 ? `{${pairs.join(', ')}}` : ''}`;
  return name || query;
}

const unnamed = ({ __name__, ...labels }) => labels;

const number = (text) => ({ '+Inf': Infinity, '-Inf': -Infinity })[text] ?? Number(text);

// transformed carries out the panel's transformations. One that the package does not have fails.
export async function transformed(panel, frames) {
  const wanted = (panel.transformations ?? []).filter(({ disabled }) => !disabled);
  for (const { id } of wanted) {
    if (!standardTransformersRegistry.getIfExists(id)) throw new Error(`transformation ${id} is not known here`);
  }
  return lastValueFrom(transformDataFrame(wanted, frames, { interpolate: verbatim }));
}

// Some transformers stand in the package under two names.
standardTransformersRegistry.setInit(() => [...new Set(Object.values(standardTransformers))].map((transformer) => ({
  id: transformer.id,
  name: transformer.name,
  transformation: async () => transformer,
})));

const standard = ['unit', 'min', 'max', 'decimals', 'displayName', 'noValue', 'thresholds', 'mappings', 'color', 'links', 'description', 'filterable', 'fieldMinMax'];

// configured gives every field its unit, thresholds, names and colours: the panel's defaults and overrides. color and custom are the panel
// type's own defaults.
export function configured(panel, frames, theme, { color, custom: own }) {
  const { defaults = {}, overrides = [] } = panel.fieldConfig ?? {};
  const custom = { ...own, ...defaults.custom };
  const thresholds = { mode: ThresholdsMode.Absolute, steps: [{ value: -Infinity, color: 'green' }, { value: 80, color: 'red' }] };
  const changed = overrides.flatMap(({ matcher, properties }) => {
    fieldMatchers.get(matcher.id);
    return properties.map(({ id }) => id);
  });
  const named = applyFieldOverrides({
    data: frames,
    fieldConfig: { defaults: { thresholds, ...defaults, color: defaults.color ?? { mode: color }, custom }, overrides },
    fieldConfigRegistry: registryOf([...Object.keys(custom).map((name) => `custom.${name}`), ...changed]),
    replaceVariables: verbatim,
    theme,
    timeZone: 'utc',
  });
  cacheFieldDisplayNames(named);
  return named;
}

// registryOf knows every option that the panel sets: Grafana's own list of them is not published.
function registryOf(more) {
  const unknown = more.filter((id) => !id.startsWith('custom.') && !standard.includes(id));
  if (unknown.length > 0) throw new Error(`field options ${unknown} are not known here`);
  return new Registry(() => [...new Set([...standard, ...more])].map((id) => ({
    id,
    name: id,
    path: id.replace(/^custom\./, ''),
    isCustom: id.startsWith('custom.'),
    process: id === 'displayName' ? displayNameOverrideProcessor : identityOverrideProcessor,
    shouldApply: () => true,
  })));
}

// plottable leaves out values that no line can go through.
export function plottable(frames) {
  const finite = (field) => (field.type === FieldType.number ? { ...field, values: field.values.map((value) => (Number.isFinite(value) ? value : null)) } : field);
  return frames.map((frame) => ({ ...frame, fields: frame.fields.map(finite) }));
}

// verbatim stands where Grafana fills in variables of a value: they are filled in before, and what is left is not known here.
export function verbatim(text) {
  if (/\$\{/.test(text)) throw new Error(`${text}: variables of a field are not known here`);
  return text;
}
