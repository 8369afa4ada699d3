// Elements, numbers for people, and charts of series over time. Everything a server sent becomes
// text nodes and attributes of our own choice: nothing is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 260, LEFT = 62, RIGHT = 30, TOP = 10, BOTTOM = 26;
const MOST_IN_TIP = 12;

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") made.addEventListener(name, value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** An element; strings among the children become text. Functions are listeners. */
export const el = (tag, attributes, ...children) => filled(document.createElement(tag), attributes, children);
export const svg = (tag, attributes, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);

export const count = (value) => Number(value).toLocaleString("en-US");

/** A number in few characters: 1.25 M, 0.0031, 12. */
export function short(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size === Infinity) return value > 0 ? "∞" : "−∞";
  for (const [least, unit] of [[1e12, " T"], [1e9, " G"], [1e6, " M"], [1e4, " k"]]) {
    if (size >= least) return `${+(value / (unit === " k" ? 1e3 : least)).toPrecision(3)}${unit}`;
  }
  if (size !== 0 && size < 1e-3) return value.toExponential(1);
  return String(+value.toPrecision(4));
}

export function bytes(value) {
  let unit = 0;
  for (; value >= 1024 && unit < 5; unit += 1) value /= 1024;
  return `${unit ? +value.toPrecision(3) : value} ${["B", "KiB", "MiB", "GiB", "TiB", "PiB"][unit]}`;
}

export function duration(seconds) {
  const size = Math.abs(seconds);
  if (size < 1e-3) return `${+(seconds * 1e6).toPrecision(3)} µs`;
  if (size < 1) return `${+(seconds * 1e3).toPrecision(3)} ms`;
  if (size < 120) return `${+seconds.toPrecision(3)} s`;
  if (size < 7200) return `${Math.round(seconds / 60)} min`;
  return size < 172800 ? `${Math.round(seconds / 3600)} h` : `${count(Math.round(seconds / 86400))} d`;
}

/** A time in UTC, from milliseconds since the epoch. */
export const moment = (ms, digits = 19) => new Date(ms).toISOString().replace("T", " ").slice(0, digits);

function niceSteps(low, high, most) {
  const rough = (high - low) / most || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((one) => one * power >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) found.push(+at.toPrecision(12));
  return found;
}

function timeSteps(start, end, most) {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000];
  const step = 1000 * (steps.find((one) => (end - start) / 1000 / one <= most) ?? 7776000);
  const found = [];
  for (let at = Math.ceil(start / step) * step; at <= end; at += step) found.push(at);
  const day = step >= 86400e3;
  return found.map((at) => [at, day ? moment(at, 10).slice(5) : step < 60e3 ? moment(at).slice(11) : moment(at, 16).slice(11)]);
}

/**
 * Draw series over time, with a legend, and values where the pointer or the arrow keys are.
 *
 * series: [{name, tint, points: [[milliseconds, number or null], …]}], in order of time.
 * kind: "line", or "bars", which are stacked.
 * start, end, gap: milliseconds; those of the points unless given. A bar is as wide as the gap.
 */
export function chart(host, {series, kind = "line", start, end, gap, label}) {
  const known = new Set(series.flatMap((one) => one.points.map(([at]) => at)));
  const times = [...known].sort((a, b) => a - b);
  const hidden = new Set();
  const values = series.map((one) => new Map(one.points));
  const tint = (index) => series[index].tint ?? `s${index % 8}`;
  gap ??= times.length > 1 ? Math.min(...times.slice(1).map((at, i) => at - times[i])) : 60e3;
  const from = start ?? times[0] ?? 0;
  const until = Math.max(end ?? (times.at(-1) ?? 0) + (kind === "bars" ? gap : 0), from + 1);
  const tip = el("div", {class: "tip", role: "status", hidden: true});
  const plot = svg("svg", {class: "plot", role: "img", tabindex: 0, "aria-label": `${label}; the arrow keys read values`});
  const legend = el("div", {class: "legend", role: "group", "aria-label": "Series"});
  let place = -1, x = () => 0, cross = null;

  function shown() {
    return series.map((_, index) => index).filter((index) => !hidden.has(index));
  }

  function bounds() {
    let low = 0, high = 0;
    if (kind === "bars") {
      for (const at of times) high = Math.max(high, shown().reduce((sum, i) => sum + Math.max(values[i].get(at) ?? 0, 0), 0));
    } else {
      const all = shown().flatMap((i) => series[i].points.map(([, v]) => v)).filter((v) => Number.isFinite(v));
      low = all.reduce((a, b) => Math.min(a, b), Infinity);
      high = all.reduce((a, b) => Math.max(a, b), -Infinity);
      if (!all.length) [low, high] = [0, 1];
      if (low > 0 && low < high * 0.6) low = 0;
    }
    if (low === high) [low, high] = [Math.min(low, 0), high > 0 ? high * 1.1 : 1];
    return [low, high];
  }

  function draw() {
    const width = Math.max(host.clientWidth - 2 * parseFloat(getComputedStyle(host).paddingLeft || 0), 240);
    const [low, high] = bounds();
    const ticks = niceSteps(low, high, 5);
    const top = Math.max(high, ticks.at(-1) ?? high), bottom = Math.min(low, ticks[0] ?? low);
    x = (at) => LEFT + (at - from) / (until - from) * (width - LEFT - RIGHT);
    const y = (v) => HEIGHT - BOTTOM - (v - bottom) / (top - bottom) * (HEIGHT - TOP - BOTTOM);
    plot.replaceChildren(
      ...ticks.flatMap((v) => [
        svg("line", {class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(v), y2: y(v)}),
        svg("text", {x: LEFT - 8, y: y(v) + 4, "text-anchor": "end"}, short(v)),
      ]),
      ...timeSteps(from, until, width / 110).map(([at, text]) => svg("text", {x: x(at), y: HEIGHT - 6, "text-anchor": "middle"}, text)),
    );
    plot.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    plot.setAttribute("height", HEIGHT);
    if (kind === "bars") drawBars(y, Math.max(x(from + gap) - x(from) - 1.5, 1));
    else drawLines(y);
    cross = plot.appendChild(svg("line", {class: "cross", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden"}));
  }

  function drawBars(y, wide) {
    for (const at of times) {
      let below = 0;
      for (const index of shown()) {
        const value = Math.max(values[index].get(at) ?? 0, 0);
        if (!value) continue;
        const above = below + value;
        plot.append(svg("rect", {class: `bar-mark ${tint(index)}`, x: x(at), width: wide, y: y(above), height: Math.max(y(below) - y(above), 0.5)}));
        below = above;
      }
    }
  }

  function drawLines(y) {
    for (const index of shown()) {
      let path = "", open = false;
      const {points} = series[index];
      points.forEach(([at, value], i) => {
        if (!Number.isFinite(value)) { open = false; return; }
        const alone = !open && !Number.isFinite(points[i + 1]?.[1] ?? NaN);
        if (alone) plot.append(svg("circle", {class: `dot ${tint(index)}`, cx: x(at), cy: y(value), r: 2.5}));
        path += `${open ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
        open = true;
      });
      plot.append(svg("path", {class: `line ${tint(index)}`, d: path}));
    }
  }

  function read(next) {
    place = Math.min(Math.max(next, 0), times.length - 1);
    if (place < 0) return;
    const at = times[place], where = x(at);
    cross.setAttribute("x1", where);
    cross.setAttribute("x2", where);
    cross.setAttribute("visibility", "visible");
    const found = shown().filter((i) => Number.isFinite(values[i].get(at))).sort((a, b) => values[b].get(at) - values[a].get(at));
    const more = found.length - MOST_IN_TIP;
    tip.replaceChildren(
      el("strong", {}, `${moment(at)} UTC`),
      ...found.slice(0, MOST_IN_TIP).map((i) => el("div", {class: tint(i)}, `${short(values[i].get(at))}  ${series[i].name}`)),
      ...(more > 0 ? [el("div", {}, `and ${more} more`)] : []),
    );
    tip.hidden = false;
    const left = where > host.clientWidth / 2 ? where - tip.offsetWidth - 12 : where + 16;
    tip.style.transform = `translate(${Math.max(left, 0)}px, 12px)`;
  }

  function quiet() {
    tip.hidden = true;
    cross?.setAttribute("visibility", "hidden");
  }

  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    const at = from + (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT) * (until - from) - (kind === "bars" ? gap / 2 : 0);
    let best = 0;
    times.forEach((one, i) => { if (Math.abs(one - at) < Math.abs(times[best] - at)) best = i; });
    if (times.length) read(best);
  });
  plot.addEventListener("pointerleave", quiet);
  plot.addEventListener("blur", quiet);
  plot.addEventListener("keydown", (event) => {
    const next = {ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: times.length - 1}[event.key];
    if (event.key === "Escape") quiet();
    if (next === undefined || !times.length) return;
    event.preventDefault();
    read(next);
  });
  legend.append(...series.map((one, index) => el("button", {
    type: "button", class: tint(index), "aria-pressed": "true",
    click: ({currentTarget}) => {
      if (!hidden.delete(index)) hidden.add(index);
      currentTarget.setAttribute("aria-pressed", String(!hidden.has(index)));
      draw();
    },
  }, one.name)));
  host.replaceChildren(plot, legend, tip);
  host.hidden = false;
  draw();
  host.redraw?.disconnect();
  host.redraw = new ResizeObserver(draw);
  host.redraw.observe(host);
}
