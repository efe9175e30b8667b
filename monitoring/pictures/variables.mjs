// Variables of a dashboard: what each stands for, and texts with them filled in as Grafana fills them in for Prometheus.

const reference = /\$\{(\w+)(?::(\w+))?\}|\[\[(\w+)(?::(\w+))?\]\]|\$(\w+)/g;

// fill puts values, a Map from name to {values, many}, in place of $name, ${name} and [[name]]. What no variable is called fails:
// Grafana would leave the text as it is, and the query would find nothing.
export function fill(text, values) {
  return text.replace(reference, (whole, braced, format, squared, squaredFormat, plain) => {
    const name = braced ?? squared ?? plain;
    if (/^\d+$/.test(name)) return whole; // a group of label_replace
    const value = values.get(name);
    if (!value) throw new Error(`no variable is called ${name} in ${JSON.stringify(text)}`);
    return written(value, format ?? squaredFormat);
  });
}

// written escapes a value for where it stands: between quotes, or in a regular expression if the variable may have many values.
function written({ values, many }, format) {
  if (format === 'raw' || format === 'text') return values.join(',');
  if (format && format !== 'regex') throw new Error(`variables in the format ${format} are not known here`);
  if (!many && format !== 'regex') return values[0].replace(/[\\']/g, '\\$&');
  const escaped = values.map((value) => value.replace(/[\\^$*+?.()|[\]{}]/g, '\\\\$&'));
  return escaped.length === 1 ? escaped[0] : `(${escaped.join('|')})`;
}

// resolve gives every variable of the dashboard its value: the chosen one, else the current one that is saved with the dashboard, else
// all where that may be, else the first.
export async function resolve(dashboard, chosen, ask) {
  const values = new Map();
  for (const variable of dashboard.templating?.list ?? []) {
    const options = await optionsOf(variable, values, ask);
    const picked = pick(variable, options, chosen[variable.name]);
    if (picked.length === 0) throw new Error(`variable ${variable.name} of ${dashboard.title} has no value: ${JSON.stringify(variable.query)} finds none`);
    values.set(variable.name, { values: picked, many: Boolean(variable.multi || variable.includeAll), label: variable.label || variable.name, hidden: variable.hide === 2 });
  }
  return values;
}

async function optionsOf(variable, values, ask) {
  const query = typeof variable.query === 'object' ? variable.query.query : variable.query;
  switch (variable.type) {
    case 'datasource':
      return [query];
    case 'constant':
    case 'textbox':
      return [query ?? ''];
    case 'custom':
    case 'interval':
      return query.split(',').map((option) => option.trim().split(' : ').at(-1));
    case 'query':
      return labelValues(variable, fill(query, values), ask);
    default:
      throw new Error(`variable ${variable.name} is of type ${variable.type}, which is not known here`);
  }
}

// labelValues are what a label has in the time range; the variable's pattern chooses among them, or takes a part.
async function labelValues(variable, query, ask) {
  const call = /^label_values\((?:(?<selector>.+),)?\s*(?<label>\w+)\s*\)$/.exec(query.trim());
  if (!call) throw new Error(`variable ${variable.name}: only label_values(…) is known here, not ${query}`);
  const { selector, label } = call.groups;
  const found = await ask.labelValues(label, selector?.trim());
  if (!variable.regex) return found;
  const [, pattern, flags] = /^\/(.*)\/(\w*)$/.exec(variable.regex) ?? [null, variable.regex, ''];
  return found.map((value) => new RegExp(pattern, flags).exec(value)).filter(Boolean).map((match) => match[1] ?? match[0]);
}

function pick(variable, options, chosen) {
  if (chosen !== undefined) return chosen.split(',');
  const current = [variable.current?.value ?? []].flat();
  const all = current.includes('$__all') || (variable.includeAll && current.length === 0);
  if (all) return options;
  const known = current.filter((value) => options.includes(value));
  return known.length > 0 ? known : options.slice(0, 1);
}
