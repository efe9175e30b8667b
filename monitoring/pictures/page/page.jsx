// One dashboard as a page: its title, its variables, and its panels where the dashboard puts them.
import '@fontsource/inter/latin-400.css';
import '@fontsource/inter/latin-500.css';
import { createTheme, dateTime, dateTimeFormat, FieldType, ThemeContext } from '@grafana/data';
import { GlobalStyles, PanelChrome } from '@grafana/ui';
import { createRoot } from 'react-dom/client';
import { configured, framesOf, transformed } from './frames.js';
import { panels } from './panels.jsx';

const theme = createTheme({ colors: { mode: 'light' } });
const unit = 38; // pixels of a row of Grafana's grid, the gap of 8 included
const gap = 8;

// draw fills the page with the dashboard, and gives the titles of panels that have no data. What can not be drawn throws.
window.draw = async (model) => {
  const prepared = await Promise.all(model.panels.map(prepare));
  // Sizes of texts are measured with these fonts before anything is shown in them.
  await Promise.all(['400 14px Inter', '500 14px Inter'].map((font) => document.fonts.load(font)));
  await new Promise((resolve, reject) => {
    // What fails after the first drawing, when the promise is kept already, is known by the console.
    const onUncaughtError = (error) => { console.error(error.message); reject(error); };
    const root = createRoot(document.getElementById('page'), { onUncaughtError });
    root.render(<ThemeContext.Provider value={theme}><GlobalStyles /><Dashboard model={model} prepared={prepared} onDrawn={resolve} /></ThemeContext.Provider>);
  });
  return prepared.filter(({ mute }) => mute).map(({ panel }) => panel.title);
};

// prepare turns a panel's answers into what its type draws. Transformations may take their time, and drawing may not: so this comes first.
async function prepare({ panel, answers }) {
  if (panel.type === 'row') return { panel };
  const type = panels[panel.type];
  if (!type) throw new Error(`panel ${panel.title} is of type ${panel.type}, which is not known here`);
  try {
    const frames = configured(panel, await transformed(panel, framesOf(answers)), theme, type);
    const exemplars = answers.flatMap((answer) => answer.exemplars).flatMap((series) => series.exemplars)
      .map(({ timestamp, value }) => ({ time: Number(timestamp), value: Number(value) }));
    return { panel, frames, exemplars, Draw: type.Draw, empty: !frames.some(({ length }) => length > 0), mute: !frames.some(speaks) };
  } catch (cause) {
    throw new Error(`panel ${panel.title}: ${cause.message}`, { cause });
  }
}

// speaks says whether there is anything to see in a frame: a frame with numbers needs one that is no NaN.
function speaks({ length, fields }) {
  const numbers = fields.filter(({ type }) => type === FieldType.number);
  return length > 0 && (numbers.length === 0 || numbers.some(({ values }) => values.some((value) => value !== null && !Number.isNaN(value))));
}

function Dashboard({ model, prepared, onDrawn }) {
  const column = (model.width - 2 * gap + gap) / 24;
  const rows = Math.max(...prepared.map(({ panel: { gridPos: { y, h } } }) => y + h));
  return (
    <div ref={(element) => element && onDrawn()} style={{ boxSizing: 'border-box', width: model.width, padding: gap, background: theme.colors.background.canvas }}>
      <Header model={model} />
      <div style={{ position: 'relative', height: rows * unit - gap }}>
        {prepared.map((one) => <Panel key={one.panel.id} model={model} one={one} column={column} />)}
      </div>
    </div>
  );
}

function Header({ model }) {
  const time = (seconds) => dateTimeFormat(seconds * 1000, { timeZone: 'utc' });
  return (
    <div style={{ display: 'flex', gap: 24, alignItems: 'baseline', padding: '4px 8px 12px', whiteSpace: 'nowrap' }}>
      <span style={{ fontSize: 20, fontWeight: 500 }}>{model.title}</span>
      {model.variables.map(({ label, value }) => <span key={label}><span style={{ color: theme.colors.text.secondary }}>{label}</span> {value}</span>)}
      <span style={{ marginLeft: 'auto', color: theme.colors.text.secondary }}>{time(model.from)} to {time(model.to)} UTC</span>
    </div>
  );
}

// Panel is one panel in Grafana's frame. A stat says itself that it has no data.
function Panel({ model, one: { panel, Draw, empty, ...data }, column }) {
  const { x, y, w, h } = panel.gridPos;
  const [width, height] = [w * column - gap, h * unit - gap];
  const place = { position: 'absolute', left: x * column, top: y * unit, width, height };
  if (panel.type === 'row') return <div style={{ ...place, fontWeight: 500, padding: 4 }}>{panel.title}</div>;
  const range = { from: dateTime(model.from * 1000), to: dateTime(model.to * 1000) };
  range.raw = { ...range };
  return (
    <div style={place} data-panel={panel.title}>
      <PanelChrome title={panel.title} description={panel.description} displayMode={panel.transparent ? 'transparent' : 'default'} width={width} height={height}>
        {(innerWidth, innerHeight) => (empty && panel.type !== 'stat'
          ? <Nothing text={panel.fieldConfig?.defaults?.noValue ?? 'No data'} />
          : <Draw panel={panel} {...data} marks={model.marks} theme={theme} range={range} width={innerWidth} height={innerHeight} />)}
      </PanelChrome>
    </div>
  );
}

function Nothing({ text }) {
  return <div style={{ display: 'grid', placeItems: 'center', height: '100%', color: theme.colors.text.secondary }}>{text}</div>;
}
