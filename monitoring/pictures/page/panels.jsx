// The panel types, each drawn by Grafana's own published components. A type that is not among them fails.
import { FieldType, fieldMatchers, FieldMatcherID, getDisplayValueAlignmentFactors, getFieldDisplayName, getFieldDisplayValues, VizOrientation } from '@grafana/data';
import { AxisPlacement, ScaleDirection, ScaleOrientation } from '@grafana/schema';
import { BarGauge, BigValue, GraphNG, TimeSeries, UPlotConfigBuilder, VizLayout, VizLegend, VizRepeater } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { useMemo } from 'react';
import { plottable, verbatim } from './frames.js';
import { Marks } from './marks.jsx';

// color and custom are what Grafana takes where a panel of the type does not say.
export const panels = {
  timeseries: {
    Draw: Lines,
    color: 'palette-classic',
    custom: { drawStyle: 'line', lineInterpolation: 'linear', lineWidth: 1, fillOpacity: 0, gradientMode: 'none', pointSize: 5, showPoints: 'auto', spanNulls: false, axisPlacement: 'auto', barAlignment: 0 },
  },
  stat: { Draw: Stat, color: 'thresholds', custom: {} },
  bargauge: { Draw: Bars, color: 'thresholds', custom: {} },
  'state-timeline': { Draw: States, color: 'continuous-GrYlRd', custom: { fillOpacity: 70 } },
  table: { Draw: Table, color: 'thresholds', custom: {} },
};

const noLegend = { showLegend: false, displayMode: 'list', placement: 'bottom', calcs: [] };

function Lines({ panel, frames, marks, exemplars, theme, range, width, height }) {
  const lines = useMemo(() => plottable(frames), [frames]);
  return (
    <TimeSeries frames={lines} legend={panel.options?.legend ?? noLegend} timeRange={range} timeZone="utc" theme={theme} width={width} height={height}>
      {(config) => <Marks config={config} marks={marks} exemplars={exemplars} theme={theme} />}
    </TimeSeries>
  );
}

// Repeated draws one value beside the other, sized alike.
function Repeated({ panel, frames, theme, width, height, orientation, sparkline, children, ...rest }) {
  const options = panel.options ?? {};
  const values = () => getFieldDisplayValues({
    data: frames,
    fieldConfig: { defaults: {}, overrides: [], ...panel.fieldConfig },
    reduceOptions: { calcs: ['lastNotNull'], ...options.reduceOptions },
    replaceVariables: verbatim,
    sparkline,
    theme,
    timeZone: 'utc',
  });
  return (
    <VizRepeater source={frames} getValues={values} getAlignmentFactors={getDisplayValueAlignmentFactors} renderCounter={0} renderValue={children} orientation={orientation} width={width} height={height} {...rest} />
  );
}

function Stat(props) {
  const { graphMode = 'area', colorMode = 'value', justifyMode = 'auto', textMode = 'auto', orientation = VizOrientation.Auto, text, wideLayout = true } = props.panel.options ?? {};
  return (
    <Repeated {...props} autoGrid orientation={orientation} sparkline={graphMode !== 'none'}>
      {({ value, ...box }) => (
        <BigValue value={value.display} sparkline={value.sparkline} width={box.width} height={box.height} count={box.count} alignmentFactors={box.alignmentFactors}
          colorMode={colorMode} graphMode={graphMode} justifyMode={justifyMode} textMode={textMode} text={text} disableWideLayout={!wideLayout} theme={props.theme} />
      )}
    </Repeated>
  );
}

function Bars(props) {
  const { displayMode = 'gradient', showUnfilled = true, valueMode = 'color', namePlacement = 'auto', orientation = VizOrientation.Auto, minVizHeight = 16, minVizWidth = 8, maxVizHeight = 300, text } = props.panel.options ?? {};
  return (
    <Repeated {...props} orientation={orientation} minVizHeight={minVizHeight} minVizWidth={minVizWidth} maxVizHeight={maxVizHeight}>
      {({ value, ...box }) => (
        <BarGauge value={value.display} field={value.field} display={value.view?.getFieldDisplayProcessor(value.colIndex)} width={box.width} height={box.height} orientation={box.orientation}
          alignmentFactors={box.alignmentFactors} displayMode={displayMode} showUnfilled={showUnfilled} valueDisplayMode={valueMode} namePlacement={namePlacement} text={text} theme={props.theme} />
      )}
    </Repeated>
  );
}

function Table({ panel, frames, range, width, height }) {
  if (frames.length > 1) throw new Error(`a table of ${frames.length} frames: Grafana shows one at a time, join them by a transformation`);
  const { showHeader = true, sortBy, cellHeight } = panel.options ?? {};
  return <TableNG data={frames[0]} noHeader={!showHeader} sortBy={sortBy} cellHeight={cellHeight} fieldConfig={panel.fieldConfig} timeRange={range} width={width} height={height} enableVirtualization={false} />;
}

// Grafana's state timeline is not among its published components: its rows are painted here on a plot that is.
function States({ panel, frames, marks, theme, range, width, height }) {
  const { mergeValues = true, rowHeight = 0.9, showValue = 'auto', legend = noLegend } = panel.options ?? {};
  const rows = rowsOf(frames, mergeValues, range);
  const kinds = new Map(rows.flatMap(({ spans }) => spans).map(({ text, color }) => [text, { label: text, color, yAxis: 1 }]));
  const items = legend.showLegend && <VizLayout.Legend placement={legend.placement}><VizLegend placement={legend.placement} displayMode={legend.displayMode} items={[...kinds.values()]} readonly /></VizLayout.Legend>;
  return (
    <GraphNG frames={frames} fields={{ x: fieldMatchers.get(FieldMatcherID.firstTimeField).get({}), y: fieldMatchers.get(FieldMatcherID.byTypes).get(new Set([FieldType.number, FieldType.string, FieldType.boolean])) }}
      prepConfig={() => rowsConfig(rows, { rowHeight, showValue, theme, range })} renderLegend={() => items || null} legend={legend} timeRange={range} timeZone="utc" theme={theme} width={width} height={height}>
      {(config) => <Marks config={config} marks={marks} exemplars={[]} theme={theme} />}
    </GraphNG>
  );
}

// rowsOf gives each series the spans of time in which it has one value. A value lasts until the next, or for one step where none follows.
function rowsOf(frames, merge, range) {
  return frames.flatMap((frame) => {
    const time = frame.fields.find(({ type }) => type === FieldType.time);
    return frame.fields.filter((field) => field !== time).map((field) => {
      const spans = [];
      time.values.forEach((from, i) => {
        const value = field.values[i];
        if (value === null || Number.isNaN(value)) return;
        const { text, prefix = '', suffix = '', color } = field.display(value);
        const to = Math.min(from + (time.config.interval ?? 0), range.to.valueOf());
        const last = spans.at(-1);
        if (merge && last && last.value === value && last.to >= from) last.to = to;
        else spans.push({ from, to, value, text: prefix + text + suffix, color });
      });
      return { name: getFieldDisplayName(field, frame, frames), opacity: field.config.custom.fillOpacity / 100, spans };
    });
  });
}

// rowsConfig is a plot with time below, names at the left, and the rows where lines would be.
function rowsConfig(rows, { rowHeight, showValue, theme, range }) {
  const builder = new UPlotConfigBuilder('utc');
  const middle = (i) => rows.length - i - 0.5; // the first row is at the top
  builder.addScale({ scaleKey: 'x', isTime: true, orientation: ScaleOrientation.Horizontal, direction: ScaleDirection.Right, range: () => [range.from.valueOf(), range.to.valueOf()] });
  builder.addScale({ scaleKey: 'y', orientation: ScaleOrientation.Vertical, direction: ScaleDirection.Up, range: () => [0, rows.length] });
  builder.addAxis({ scaleKey: 'x', isTime: true, placement: AxisPlacement.Bottom, timeZone: 'utc', theme });
  builder.addAxis({ scaleKey: 'y', placement: AxisPlacement.Left, theme, grid: { show: false }, ticks: { show: false }, splits: () => rows.map((_, i) => middle(i)), values: () => rows.map(({ name }) => name) });
  rows.forEach(() => builder.addSeries({ scaleKey: 'y', pathBuilder: () => null, pointsBuilder: () => false, theme }));
  builder.setPrepData(([frame]) => [frame.fields[0].values, ...rows.map(() => frame.fields[0].values.map(() => null))]);
  builder.addHook('drawClear', (plot) => rows.forEach((row, i) => paintRow(plot, row, middle(i), rowHeight, showValue, theme)));
  return builder;
}

// paintRow fills the spans, and writes a value into each that has room for it.
function paintRow(plot, { spans, opacity }, middle, rowHeight, showValue, theme) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.font = `${12 * devicePixelRatio}px ${theme.typography.fontFamily}`;
  ctx.textBaseline = 'middle';
  for (const { from, to, text, color } of spans) {
    const [left, right] = [from, to].map((time) => plot.valToPos(time, 'x', true));
    const [bottom, top] = [-0.5, 0.5].map((half) => plot.valToPos(middle + half * rowHeight, 'y', true));
    ctx.globalAlpha = opacity;
    ctx.fillStyle = color;
    ctx.fillRect(left, top, right - left, bottom - top);
    ctx.globalAlpha = 1;
    const room = right - left - 8 * devicePixelRatio;
    if (showValue === 'never' || ctx.measureText(text).width > room) continue;
    ctx.fillStyle = theme.colors.getContrastText(color);
    ctx.fillText(text, left + 4 * devicePixelRatio, (top + bottom) / 2);
  }
  ctx.restore();
}
