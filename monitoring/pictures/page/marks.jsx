// What lies over a plot: annotations as lines and spans of time, and exemplars as diamonds.
import { useLayoutEffect } from 'react';

export function Marks({ config, marks, exemplars, theme }) {
  useLayoutEffect(() => {
    config.addHook('draw', (plot) => {
      plot.ctx.save();
      marks.forEach((mark) => paintMark(plot, mark, theme));
      exemplars.forEach((exemplar) => paintExemplar(plot, exemplar, theme));
      plot.ctx.restore();
    });
  }, [config, marks, exemplars, theme]);
  return null;
}

// A mark that begins or ends outside of the time range is cut there.
function paintMark({ ctx, bbox, valToPos, scales }, { from, to, color }, theme) {
  if (to * 1000 < scales.x.min || from * 1000 > scales.x.max) return;
  const inside = (time) => Math.min(Math.max(valToPos(time * 1000, 'x', true), bbox.left), bbox.left + bbox.width);
  const [left, right] = [inside(from), inside(to)];
  ctx.fillStyle = ctx.strokeStyle = theme.visualization.getColorByName(color);
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
  for (const x of new Set([left, right])) {
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.globalAlpha = 0.1;
  ctx.fillRect(left, bbox.top, right - left, bbox.height);
  ctx.globalAlpha = 1;
  ctx.fillRect(left - 2 * devicePixelRatio, bbox.top + bbox.height, Math.max(right - left, 4 * devicePixelRatio), 4 * devicePixelRatio);
}

// An exemplar beyond the scale is drawn at its edge, so that the slowest are not lost.
function paintExemplar({ ctx, bbox, valToPos, scales, series }, { time, value }, theme) {
  const scale = series.find((_, i) => i > 0)?.scale;
  const { min, max } = scales[scale];
  const x = valToPos(time * 1000, 'x', true);
  const y = valToPos(Math.min(Math.max(value, min), max), scale, true);
  if (x < bbox.left || x > bbox.left + bbox.width) return;
  const half = 4 * devicePixelRatio;
  ctx.setLineDash([]);
  ctx.fillStyle = theme.visualization.getColorByName('blue');
  ctx.beginPath();
  ctx.moveTo(x, y - half);
  ctx.lineTo(x + half, y);
  ctx.lineTo(x, y + half);
  ctx.lineTo(x - half, y);
  ctx.fill();
}
