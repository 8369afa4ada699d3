// The page at `/`: it asks the public endpoints that everybody may ask, and nothing else.

import {bytes, chart, count, duration, el, moment, short, svg} from "./chart.js";

const $ = (id) => document.getElementById(id);
const BASE = new URL(".", document.baseURI);
const MOST_ROWS = 5000, ROWS_A_TIME = 500, TAIL_ROWS = 500, REFRESH_MS = 30e3, NS = 1e6;
const EXAMPLES = {
  "errors by service": "SELECT resource_service_name AS service, count(*) AS errors\nFROM logs\nWHERE level IN ('ERROR', 'FATAL')\nGROUP BY 1\nORDER BY 2 DESC",
  "logs by level and minute": "SELECT date_bin(INTERVAL '1 minute', timestamp) AS minute, level, count(*) AS n\nFROM logs\nGROUP BY 1, 2\nORDER BY 1",
  "most frequent messages": "SELECT template, count(*) AS n\nFROM logs\nGROUP BY 1\nORDER BY 2 DESC\nLIMIT 20",
  "newest errors": "SELECT timestamp, resource_service_name AS service, body, trace_id\nFROM logs\nWHERE level = 'ERROR'\nORDER BY timestamp DESC\nLIMIT 100",
  "slowest requests": "SELECT trace_id, resource_service_name AS service, name, duration_ns / 1e6 AS ms\nFROM spans\nWHERE kind = 'SERVER'\nORDER BY duration_ns DESC\nLIMIT 50",
};
const TAILED = {
  logs: ["timestamp", "level", "resource_service_name", "body", "trace_id"],
  spans: ["timestamp", "resource_service_name", "name", "duration_ns", "status_code", "trace_id"],
  metrics: ["timestamp", "resource_service_name", "metric_name", "value"],
};
const RECENT = ["table", "id", "rows", "bytes", "start", "end", "level"];
let newest = Date.now();

// ---- asking -------------------------------------------------------------------------------------

class Problem extends Error {
  constructor(code, message, status) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/** JSON whose integers keep all their digits: those that a number cannot hold stay text. */
function exact(text) {
  return JSON.parse(text, (_, value, context) =>
    typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value) && context?.source ? context.source : value);
}

async function ask(path, {params, json, form, signal, accept = "application/json", place} = {}) {
  const url = new URL(path, BASE);
  for (const [name, value] of Object.entries(params ?? {})) for (const one of [value].flat()) url.searchParams.append(name, one);
  const headers = {accept};
  const key = sessionStorage.getItem("key"), organization = sessionStorage.getItem("organization");
  if (key) headers.authorization = `Bearer ${key}`;
  if (organization) headers["x-scope-orgid"] = organization;
  if (place) headers["last-event-id"] = place;
  if (json) headers["content-type"] = "application/json";
  const body = json ? JSON.stringify(json) : form ? new URLSearchParams(form) : undefined;
  const answer = await fetch(url, {method: body ? "POST" : "GET", headers, body, signal, credentials: "same-origin", cache: "no-store"});
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  const {code, message} = told.error?.code ? told.error : {code: told.errorType ?? "error", message: told.error ?? answer.statusText};
  if (answer.status === 401) askForKey(message);
  throw new Problem(code, message, answer.status);
}

/** Pieces of an answer between separators, while they come. */
async function* pieces(answer, separator) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const {done, value} = await reader.read();
      const parts = (rest + (value ?? "")).split(separator);
      rest = done ? "" : parts.pop();
      yield* parts.filter(Boolean);
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Rows of an endpoint; `cut` says that there are more of them. */
async function rowsOf(path, options = {}) {
  const rows = [];
  rows.cut = false;
  for await (const line of pieces(await ask(path, {...options, accept: "application/x-ndjson"}), "\n")) {
    if (rows.length === MOST_ROWS) {
      rows.cut = true;
      break;
    }
    rows.push(exact(line));
  }
  return rows;
}

const sql = (query, options) => rowsOf("v1/sql", {...options, json: {query}});

// ---- showing ------------------------------------------------------------------------------------

const link = (view, argument, ...children) => el("a", {href: `#${view}/${encodeURIComponent(argument)}`}, ...children);

function cell(name, value) {
  if (value === null || value === undefined) return el("td", {class: "null"}, "NULL");
  if (typeof value === "number") return el("td", {class: "number"}, Number.isInteger(value) ? count(value) : String(value));
  if (name === "bytes") return el("td", {class: "number"}, String(value));
  const text = typeof value === "object" ? JSON.stringify(value) : String(value);
  if (name === "trace_id" && /^[0-9a-f]{32}$/.test(text)) return el("td", {class: "mono"}, link("trace", text, text));
  if (name === "level") return el("td", {class: `level-${/^[A-Z]+$/.test(text) ? text : "other"}`}, text);
  const long = text.length > 48 && /\s/.test(text);
  return el("td", {class: long ? "text" : undefined}, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(text) ? text.replace("T", " ").replace("Z", "") : text);
}

function table(host, rows, {columns, caption, kept} = {}) {
  const names = columns ?? [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const numeric = (name) => name === "bytes" || rows.some((row) => typeof row[name] === "number");
  const body = el("tbody");
  const more = el("button", {type: "button", click: () => add()}, "Show more");
  let at = 0;
  function add() {
    body.append(...rows.slice(at, at + ROWS_A_TIME).map((row) => el("tr", {}, names.map((name) => cell(name, row[name])))));
    at += ROWS_A_TIME;
    more.hidden = at >= rows.length;
  }
  add();
  const head = names.map((name) => el("th", {scope: "col", class: numeric(name) ? "number" : undefined}, name));
  host.replaceChildren(el("table", {"aria-label": caption}, el("thead", {}, el("tr", {}, head)), body), more);
  if (!kept) host.hidden = false;
}

/** Do what a view does: one thing at a time, problems told, and a button that stops it. */
function busy(view, work) {
  const section = $(`view-${view}`);
  const [problem, state, stop] = [".problem", ":scope > [role=status]", ".stop"].map((one) => section.querySelector(one));
  let running = null;
  stop?.addEventListener("click", () => running?.abort());
  return async (...given) => {
    running?.abort();
    const mine = (running = new AbortController());
    problem.hidden = true;
    section.setAttribute("aria-busy", "true");
    if (state) state.textContent = "asking …";
    if (stop) stop.hidden = false;
    const tell = (text) => { if (state && running === mine) state.textContent = text; };
    try {
      await work({signal: mine.signal, tell}, ...given);
    } catch (error) {
      if (running !== mine) return;
      tell(error.name === "AbortError" ? "stopped" : "");
      if (error.name !== "AbortError") {
        problem.textContent = error instanceof Problem ? `${error.code}: ${error.message}` : `the server cannot be asked: ${error.message}`;
        problem.hidden = false;
      }
    } finally {
      if (running === mine) {
        section.setAttribute("aria-busy", "false");
        if (stop) stop.hidden = true;
      }
    }
  };
}

const second = (text) => `${text.slice(0, 19)}Z`;
const timeOf = (text) => Date.parse(text);
const isTime = (value) => typeof value === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d/.test(value) && !Number.isNaN(timeOf(value));

/** Series of rows, if these are numbers over time: one for each value of their other columns. */
function seriesOf(rows) {
  if (!rows.length) return [];
  const names = Object.keys(rows[0]);
  const at = names.find((name) => rows.every((row) => isTime(row[name])));
  const numbers = names.filter((name) => rows.some((row) => typeof row[name] === "number"));
  const labels = names.filter((name) => name !== at && !numbers.includes(name));
  if (!at || !numbers.length || labels.length > 3) return [];
  const found = new Map();
  for (const row of rows) {
    const text = labels.map((name) => row[name] ?? "NULL").join(", ");
    for (const number of numbers) {
      const name = [text, labels.length && numbers.length === 1 ? "" : number].filter(Boolean).join(" ");
      if (!found.has(name)) found.set(name, {name, points: [], tint: labels[0] === "level" && /^[A-Z]+$/.test(text) ? `c-${text}` : undefined});
      found.get(name).points.push([timeOf(row[at]), row[number]]);
    }
  }
  for (const one of found.values()) one.points.sort((a, b) => a[0] - b[0]);
  return [...found.values()].slice(0, 100);
}

// ---- overview -----------------------------------------------------------------------------------

function tiles({tables, set_aside: aside, setbacks, intake}) {
  const sum = (name) => tables.reduce((total, one) => total + one[name], 0);
  const latest = tables.filter((one) => one.written).sort((a, b) => timeOf(b.written) - timeOf(a.written))[0];
  const found = [
    ["Rows", short(sum("rows")), count(sum("rows"))],
    ["Size", bytes(sum("bytes")), sum("rows") ? `${+(sum("bytes") / sum("rows")).toPrecision(3)} bytes a row` : ""],
    ["Segments", count(sum("segments")), `${count(sum("unmerged"))} not yet merged`],
    ["Age", tables.length ? duration(Math.max(Date.now() - newest, 0) / 1e3) : "–", tables.length ? `newest row ${moment(newest)}` : ""],
    ["Lag", latest ? duration(latest.delay_seconds) : "–", "from a row to its segment"],
    ["Set aside", count(aside.objects + aside.rows), `${count(aside.objects)} objects, ${count(aside.rows)} rows`, aside.objects + aside.rows > 0],
    ["Backlog", intake ? count(intake.waiting) : "–", intake ? `oldest waits ${duration(intake.oldest_seconds)}` : "nothing is received here"],
    ["Put off", count(setbacks.length), "tasks of maintenance", setbacks.length > 0],
  ];
  $("tiles").replaceChildren(...found.map(([name, value, more, bad]) =>
    el("div", {class: bad ? "bad" : undefined}, el("dt", {}, name), el("dd", {}, value), el("dd", {class: "small"}, more))));
}

async function volume({tables}, signal) {
  const by = {logs: "level", spans: "status_code", metrics: "metric_type"};
  const first = ["logs", "spans", "metrics"].map((name) => tables.find((one) => one.table === name && one.rows)).find(Boolean);
  if (!first) return;
  const end = timeOf(first.end) + 1, start = Math.max(timeOf(first.start), end - 3600e3);
  const step = Math.max(Math.ceil((end - start) / 1e3 / 60), 1);
  const label = by[first.table];
  const rows = await sql(`SELECT date_bin(INTERVAL '${step} seconds', timestamp) AS at, ${label}, count(*) AS n FROM ${first.table}
    WHERE timestamp >= '${new Date(start).toISOString()}' AND timestamp < '${new Date(end).toISOString()}' GROUP BY 1, 2 ORDER BY 1`, {signal});
  const order = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
  const series = seriesOf(rows).sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
  $("volume-title").textContent = `Rows of ${first.table} by ${label.replace("_", " ")}`;
  $("volume-span").textContent = `${moment(start)} to ${moment(end)} UTC, each ${duration(step)}`;
  const from = Math.floor(start / step / 1e3) * step * 1e3;
  chart($("volume"), {series, kind: "bars", start: from, end: from + Math.ceil((end - from) / step / 1e3) * step * 1e3, gap: step * 1e3, label: `Rows of ${first.table} over time`});
}

async function recent({tables}, signal) {
  const lists = await Promise.all(tables.map(async ({table: name, end}) => {
    const answer = await ask("v1/segments", {signal, params: {table: name, start: new Date(timeOf(end) - 3600e3).toISOString()}});
    return exact(await answer.text()).map((one) => ({table: name, ...one}));
  }));
  const rows = lists.flat().sort((a, b) => timeOf(b.end) - timeOf(a.end)).slice(0, 12);
  table($("segments"), rows.map((one) => ({...one, bytes: bytes(one.bytes), start: second(one.start), end: second(one.end)})), {columns: RECENT, caption: "Recent segments"});
}

const overview = busy("overview", async ({signal}) => {
  const status = exact(await (await ask("v1/status", {signal})).text());
  const {tables, organization, set_aside: aside, setbacks} = status;
  if (tables.length) newest = Math.max(...tables.map((one) => timeOf(one.end)));
  $("who").textContent = organization;
  $("looked").textContent = `commit ${count(status.sequence)}, seen ${moment(Date.now()).slice(11)} UTC`;
  tiles(status);
  table($("tables"), tables.map((one) => ({
    table: one.table, rows: one.rows, segments: one.segments, bytes: bytes(one.bytes), first: second(one.start), last: second(one.end),
  })), {columns: ["table", "rows", "segments", "bytes", "first", "last"], caption: "Tables"});
  const troubles = [...(aside.reason ? [`set aside, the latest because: ${aside.reason}`] : []), ...setbacks.map((one) => `${one.task} failed ${count(one.attempts)} times: ${one.reason} (${one.code})`)];
  $("troubles").hidden = !troubles.length;
  $("troubles").querySelector("ul").replaceChildren(...troubles.map((text) => el("li", {}, text)));
  const services = rowsOf("v1/services", {signal}).then((rows) => $("services").replaceChildren(...rows.map((row) => {
    const query = `SELECT timestamp, level, body, trace_id\nFROM logs\nWHERE resource_service_name = '${row.service.replaceAll("'", "''")}'\nORDER BY timestamp DESC\nLIMIT 100`;
    const signals = ["logs", "spans", "metrics"].filter((name) => row[name]).join(", ");
    return el("li", {}, link("sql", query, row.service, " ", el("small", {}, signals)));
  })));
  await Promise.all([services, volume(status, signal), recent(status, signal)]);
});

// ---- SQL ----------------------------------------------------------------------------------------

let answered = [];

function figure() {
  const series = $("sql-chart").value === "none" ? [] : seriesOf(answered);
  $("sql-figure").hidden = !series.length;
  if (series.length) chart($("sql-figure"), {series, kind: $("sql-chart").value, label: "Chart of the result"});
}

const runSql = busy("sql", async ({signal, tell}) => {
  const query = $("sql-text").value, begun = performance.now();
  history.replaceState(null, "", `#sql/${encodeURIComponent(query)}`);
  answered = [];
  $("sql-rows").hidden = $("sql-figure").hidden = true;
  answered = await sql(query, {signal});
  tell(`${answered.cut ? "the first " : ""}${count(answered.length)} rows in ${duration((performance.now() - begun) / 1e3)}`);
  table($("sql-rows"), answered, {caption: "Rows of the result"});
  figure();
});

// ---- PromQL -------------------------------------------------------------------------------------

const labelsOf = ({__name__: name = "", ...labels}) =>
  `${name}${Object.keys(labels).length || !name ? `{${Object.entries(labels).map(([k, v]) => `${k}="${v}"`).join(", ")}}` : ""}`;
const number = (text) => ({"+Inf": Infinity, "-Inf": -Infinity}[text] ?? Number(text));

function valuesOf(one) {
  const points = [...(one.values ?? []).map(([at, v]) => [at * 1e3, number(v)]), ...(one.histograms ?? []).map(([at, h]) => [at * 1e3, number(h.count)])];
  return points.sort((a, b) => a[0] - b[0]);
}

/** Break a line where a sample is missing. */
function broken(points, step) {
  return points.flatMap(([at, v], i) => (i && at - points[i - 1][0] > step * 1.5 ? [[at - step, null], [at, v]] : [[at, v]]));
}

const runPromql = busy("promql", async ({signal, tell}) => {
  const query = $("promql-text").value, range = Number($("promql-range").value), begun = performance.now();
  const given = $("promql-end").value.trim();
  const end = !given || given === "now" ? Date.now() / 1e3 : timeOf(given.replace(" ", "T").replace(/(:\d\d)$/, "$1Z")) / 1e3;
  if (Number.isNaN(end)) throw new Problem("configuration", `until: ${given} is no time; write 2026-01-31T12:00:00Z or now`);
  const step = Number($("promql-step").value) || Math.max(Math.ceil(range / 240), 1);
  history.replaceState(null, "", `#promql/${encodeURIComponent(query)}`);
  const answer = await ask("api/v1/query_range", {signal, form: {query, start: end - range, end, step}});
  const {data, warnings = [], infos = []} = await answer.json();
  const found = data.result.map((one) => ({name: labelsOf(one.metric), points: valuesOf(one)}));
  const samples = found.reduce((sum, one) => sum + one.points.length, 0);
  tell([`${count(found.length)} series, ${count(samples)} samples in ${duration((performance.now() - begun) / 1e3)}`, ...warnings, ...infos].join("; "));
  const series = found.slice(0, 200).map((one) => ({name: one.name, points: broken(one.points, step * 1e3)}));
  chart($("promql-figure"), {series, kind: $("promql-chart").value, start: (end - range) * 1e3, end: end * 1e3, label: "Chart of the series"});
  $("promql-figure").hidden = !series.length;
  table($("promql-rows"), found.map(({name, points}) => {
    const all = points.map(([, v]) => v), last = points.at(-1);
    const [least, most] = [all.reduce((a, b) => Math.min(a, b)), all.reduce((a, b) => Math.max(a, b))];
    return {series: name, last: last[1], at: moment(last[0]), min: +least.toPrecision(8), max: +most.toPrecision(8)};
  }), {columns: ["series", "last", "at", "min", "max"], caption: "Series"});
});

async function suggest() {
  if (!$("promql-end").value && Date.now() - newest > 3600e3) $("promql-end").value = `${new Date(newest + 1e3).toISOString().slice(0, 19)}Z`;
  if ($("metric-names").children.length) return;
  const {data} = await (await ask("api/v1/label/__name__/values")).json();
  $("metric-names").replaceChildren(...data.slice(0, 2000).map((value) => el("option", {value})));
  if (!$("promql-text").value && data.length) {
    const counter = data.find((name) => name.endsWith("_total"));
    $("promql-text").value = counter ? `sum by (service_name) (rate(${counter}[5m]))` : data[0];
  }
}

// ---- tail ---------------------------------------------------------------------------------------

const pause = (ms, signal) => new Promise((done) => {
  setTimeout(done, ms);
  signal.addEventListener("abort", done);
});

const follow = busy("tail", async ({signal, tell}) => {
  const name = $("tail-table").value, columns = TAILED[name], body = el("tbody");
  const params = {table: name, where: $("tail-where").value, since: $("tail-since").value || "now-1h", column: columns};
  $("tail-rows").replaceChildren(el("table", {"aria-label": "Rows as they come"}, el("thead", {}, el("tr", {}, columns.map((one) => el("th", {scope: "col"}, one)))), body));
  $("tail-rows").hidden = false;
  let place = "", seen = 0;
  while (!signal.aborted) {
    try {
      for await (const event of pieces(await ask("v1/tail", {params, signal, place, accept: "text/event-stream"}), "\n\n")) {
        const said = Object.fromEntries(event.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
        place = said.id ?? place;
        if (said.event === "error") throw new Problem(...(({code, message, status}) => [code, message, status])(JSON.parse(said.data)));
        const rows = said.event === "rows" ? exact(said.data) : [];
        seen += rows.length;
        body.prepend(...rows.slice(-TAIL_ROWS).reverse().map((row) => el("tr", {}, columns.map((one) => cell(one, row[one])))));
        while (body.rows.length > TAIL_ROWS) body.lastElementChild.remove();
        tell(`following: ${count(seen)} rows so far${seen > TAIL_ROWS ? `, the newest ${TAIL_ROWS} shown` : ""}`);
      }
    } catch (error) {
      if (error instanceof Problem || error.name === "AbortError") throw error;
    }
    tell("the connection ended; trying again …");
    await pause(1000, signal);
  }
});

// ---- trace --------------------------------------------------------------------------------------

function facts(span) {
  const known = Object.entries(span).filter(([, value]) => value !== null && value !== "" && !(Array.isArray(value) && !value.length));
  return el("dl", {class: "facts"}, known.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, typeof value === "object" ? JSON.stringify(value, null, 1) : String(value))]));
}

function waterfall(spans) {
  const begin = Math.min(...spans.map((one) => timeOf(one.timestamp)));
  const end = Math.max(...spans.map((one) => timeOf(one.timestamp) + one.duration_ns / NS), begin + 0.001);
  const services = [...new Set(spans.map((one) => one.resource_service_name))];
  return spans.flatMap((one) => {
    const at = timeOf(one.timestamp) - begin, part = (ms) => `${Math.min(100 * ms / (end - begin), 100)}%`;
    const more = el("tr", {hidden: true}, el("td", {colspan: 5, class: "text"}, facts(one)));
    const name = el("button", {type: "button", "aria-expanded": "false", click: ({currentTarget}) => {
      more.hidden = !more.hidden;
      currentTarget.setAttribute("aria-expanded", String(!more.hidden));
    }}, one.name);
    const bar = svg("svg", {role: "img", "aria-label": `from ${duration(at / 1e3)} on`},
      svg("rect", {class: `s${services.indexOf(one.resource_service_name) % 8}`, x: part(at), y: "15%", width: part(Math.max(one.duration_ns / NS, (end - begin) / 400)), height: "70%", rx: 3}));
    const first = el("td", {class: one.status_code === "ERROR" ? "failed" : undefined}, name);
    first.style.paddingLeft = `${Math.min(one.depth ?? 0, 30) * 0.9}rem`;
    return [el("tr", {}, first, el("td", {}, one.resource_service_name ?? "–"), el("td", {class: "number"}, duration(one.duration_ns / 1e9)),
      el("td", {class: one.status_code === "ERROR" ? "failed" : "dim"}, one.status_code ?? ""), el("td", {}, bar)), more];
  });
}

const showTrace = busy("trace", async ({signal, tell}, slowest) => {
  const id = $("trace-id").value.trim().toLowerCase();
  $("trace-rows").hidden = $("trace-logs").hidden = true;
  if (slowest) {
    const rows = await sql(`SELECT timestamp, trace_id, resource_service_name AS service, name, duration_ns / 1e6 AS ms, status_code FROM spans
      WHERE parent_span_id IS NULL AND timestamp >= '${new Date(newest - 3600e3).toISOString()}' ORDER BY duration_ns DESC LIMIT 25`, {signal});
    tell(`${count(rows.length)} traces that took longest`);
    table($("trace-rows"), rows, {caption: "Slowest traces"});
    return;
  }
  if (!/^[0-9a-f]{32}$/.test(id)) throw new Problem("configuration", "a trace id has 32 hexadecimal digits");
  history.replaceState(null, "", `#trace/${id}`);
  const path = `v1/trace/${id}`;
  const [spans, logs] = await Promise.all([rowsOf(path, {signal}), rowsOf(path, {signal, params: {logs: "1"}})]);
  const services = new Set(spans.map((one) => one.resource_service_name)).size;
  tell(`${count(spans.length)} spans of ${count(services)} services, ${count(logs.length)} log records`);
  if (spans.length) {
    const head = ["Span", "Service", "Duration", "Status", "Time"].map((one) => el("th", {scope: "col", class: one === "Duration" ? "number" : undefined}, one));
    $("trace-rows").replaceChildren(el("table", {class: "waterfall", "aria-label": "Spans"}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, waterfall(spans))));
    $("trace-rows").hidden = false;
  }
  if (logs.length) table($("trace-logs"), logs, {columns: ["timestamp", "level", "resource_service_name", "body"], caption: "Logs of the trace"});
});

// ---- the frame ----------------------------------------------------------------------------------

function askForKey(message) {
  const problem = $("key-dialog").querySelector(".problem");
  problem.textContent = message ?? "";
  problem.hidden = !message;
  $("key").value = sessionStorage.getItem("key") ?? "";
  $("organization").value = sessionStorage.getItem("organization") ?? "";
  if (!$("key-dialog").open) $("key-dialog").showModal();
}

function useKey(key, organization) {
  for (const [name, value] of [["key", key], ["organization", organization]]) value ? sessionStorage.setItem(name, value) : sessionStorage.removeItem(name);
  $("key-dialog").close();
  $("metric-names").replaceChildren();
  go();
}

function go() {
  const [view, argument = ""] = [location.hash.slice(1).split("/", 1)[0] || "overview", location.hash.includes("/") ? location.hash.slice(location.hash.indexOf("/") + 1) : ""];
  const section = $(`view-${view}`);
  if (!section) return;
  for (const one of document.querySelectorAll("main > section")) one.hidden = one !== section;
  for (const one of document.querySelectorAll("nav a")) one.hash === `#${view}` ? one.setAttribute("aria-current", "page") : one.removeAttribute("aria-current");
  document.title = `${section.querySelector("h1").textContent} – lakerunner`;
  let text = "";
  try { text = decodeURIComponent(argument); } catch { text = argument; }
  if (view === "overview") overview();
  // What a link brings is shown and not run: whoever reads it decides.
  if (view === "sql" && text) $("sql-text").value = text;
  if (view === "promql") {
    if (text) $("promql-text").value = text;
    suggest().catch(() => {});
  }
  if (view === "trace" && text) {
    $("trace-id").value = text;
    showTrace(false);
  }
}

function onSubmit(id, work) {
  $(id).addEventListener("submit", (event) => {
    event.preventDefault();
    work();
  });
}

$("sql-text").value = EXAMPLES["errors by service"];
$("sql-example").append(...Object.keys(EXAMPLES).map((name) => el("option", {}, name)));
$("sql-example").addEventListener("change", () => { $("sql-text").value = EXAMPLES[$("sql-example").value]; });
$("sql-chart").addEventListener("change", figure);
$("sql-text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) runSql();
});
onSubmit("sql-form", runSql);
onSubmit("promql-form", runPromql);
onSubmit("tail-form", follow);
onSubmit("trace-form", () => showTrace(false));
$("trace-slow").addEventListener("click", () => showTrace(true));
$("promql-chart").addEventListener("change", runPromql);
$("refresh").addEventListener("click", overview);
$("key-open").addEventListener("click", () => askForKey());
$("key-forget").addEventListener("click", () => useKey("", ""));
$("key-dialog").querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey($("key").value.trim(), $("organization").value.trim());
});
setInterval(() => {
  if (!document.hidden && !$("view-overview").hidden && !$("key-dialog").open) overview();
}, REFRESH_MS);
addEventListener("hashchange", go);
go();
