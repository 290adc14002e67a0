/// Generated from desk/desk.html by tools/embed_desk.py; do not edit. The files of the desk's page.
/// Needs: std. Threads: constants.
#pragma once

namespace dtm {
inline namespace v1 {
namespace desk {

// clang-format off
inline constexpr char kPage[] =
R"desk(<!DOCTYPE html>
<!-- The desk of dtm. tools/embed_desk.py compiles it into include/dtm/http/desk/desk_page.hpp; its style, script and icon become files of
their own. What transactions contain is only ever shown as text: nothing here makes markup of data. Document: docs/desk.md. -->
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>dtm desk</title>
<link rel="icon" type="image/svg+xml" href="desk/icon.svg">
<link rel="stylesheet" href="desk/desk.css">
</head>
<body>
<a class="skip" href="#main" data-do="skip">Skip to the page</a>
<header class="bar">
<div>
<a class="brand" href="#/"><img src="desk/icon.svg" alt="">dtm desk</a>
<nav aria-label="Pages" id="nav"></nav>
<div class="server" id="server" role="status"></div>
</div>
</header>
<div class="banner" id="banner" role="alert" hidden></div>
<main id="main" tabindex="-1"></main>
<dialog id="dialog" aria-labelledby="dialog-title"></dialog>
<dialog id="login" aria-labelledby="login-title"></dialog>
<noscript>The desk needs JavaScript.</noscript>
<script src="desk/desk.js" defer></script>
</body>
</html>
)desk";

inline constexpr char kStyle[] =
R"desk(/* Colours: two themes of the same names. */
:root {
  --page: #f6f7f9; --card: #fff; --line: #e1e4e9; --text: #1c2430; --soft: #5d6878; --link: #24588f; --focus: #3b82d6;
  --good: #1d7a46; --good-back: #e0f3e7; --bad: #b3261e; --bad-back: #fbe5e3; --warn: #8a5a00; --warn-back: #fdf0d3;
  --busy: #24588f; --busy-back: #e3edf8; --idle: #5d6878; --idle-back: #eceef2; --shade: rgba(20, 30, 45, .06);
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14181e; --card: #1c222a; --line: #2e3641; --text: #e4e8ee; --soft: #98a3b3; --link: #8fbcf0; --focus: #6aa9f2;
    --good: #7ad3a0; --good-back: #17382a; --bad: #ff9c93; --bad-back: #45211f; --warn: #f0c26a; --warn-back: #3d3018;
    --busy: #8fbcf0; --busy-back: #1c324b; --idle: #98a3b3; --idle-back: #2a313b; --shade: rgba(0, 0, 0, .25);
  }
}

* { box-sizing: border-box; }
html { overflow-y: scroll; scroll-padding: 110px 0 20px; }  /* the bar covers nothing that has the focus */
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1, h2, h3 { margin: 0; font-weight: 600; line-height: 1.3; }
h1 { font-size: 1.35rem; overflow-wrap: anywhere; }
h1.mono { font-size: 1.2rem; }
h2 { font-size: 1rem; }
p { margin: 0; }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
code, pre, dd, .mono, .wrap, .first div { unicode-bidi: isolate; }
code, pre, .mono { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .87em; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; border-radius: 4px; }
[hidden] { display: none !important; }
.soft { color: var(--soft); }
.small { font-size: .87rem; }
.right { text-align: right; }
.wrap { overflow-wrap: anywhere; }
.skip { position: absolute; left: -999px; }
.skip:focus { left: 8px; top: 8px; background: var(--card); padding: 8px 12px; z-index: 9; }
.unseen + * { margin-top: 0 !important; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

/* The frame: bar, banner, page. */
.bar { background: var(--card); border-bottom: 1px solid var(--line); position: sticky; top: 0; z-index: 5; }
.bar > div { max-width: 1240px; margin: auto; padding: 0 20px; display: flex; align-items: center; gap: 4px 22px; flex-wrap: wrap; }
.brand { font-weight: 650; color: var(--text); display: flex; gap: 9px; align-items: center; padding: 11px 0; }
.brand img { width: 20px; height: 20px; display: block; }
.brand:hover { text-decoration: none; }
.bar nav { display: flex; gap: 2px; flex: 1; }
.bar nav a { padding: 13px 11px; color: var(--soft); border-bottom: 2px solid transparent; }
.bar nav a:hover { color: var(--text); text-decoration: none; }
.bar nav a[aria-current] { color: var(--text); border-color: var(--focus); }
.bar .server { display: flex; gap: 8px; align-items: center; font-size: .87rem; color: var(--soft); }
.dot { width: 8px; height: 8px; border-radius: 50%; background: var(--idle); flex: none; }
.dot.good { background: var(--good); }
.dot.bad { background: var(--bad); }
.banner { background: var(--bad-back); color: var(--bad); padding: 9px 20px; text-align: center; font-size: .93rem; }
main { max-width: 1240px; margin: auto; padding: 24px 20px 60px; outline: none; }
main > * + *, .notes > * + *, .stack > * + * { margin-top: 18px; }
.top { display: flex; align-items: center; gap: 12px 16px; flex-wrap: wrap; justify-content: space-between; }
.top > div:first-child { min-width: 0; }

main > .notes:empty + * { margin-top: 0; }

/* Cards, tables, chips. */
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 18px; box-shadow: 0 1px 2px var(--shade); min-width: 0; }
.card > h2 + *, .card > .top + * { margin-top: 12px; }
.card.flush { padding: 0; overflow: hidden; }
.card.flush > h2, .card.flush > .top { padding: 14px 18px 12px; margin: 0; }
.card.flush > h2 + *, .card.flush > .top + * { margin-top: 0; }
.grid { display: grid; gap: 14px; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); }
.grid.wide { grid-template-columns: repeat(auto-fit, minmax(330px, 1fr)); }
.tile { display: block; color: inherit; padding: 13px 16px; }
a.tile:hover { text-decoration: none; border-color: var(--focus); }
.tile b { display: block; font-size: 1.6rem; font-weight: 600; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile.bad b { color: var(--bad); }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 500; font-size: .8rem; color: var(--soft); padding: 7px 18px; border-bottom: 1px solid var(--line); white-space: nowrap; }
td { padding: 9px 18px; border-bottom: 1px solid var(--line); vertical-align: top; }
tbody tr:last-child td { border-bottom: 0; }
th.right, td.right { text-align: right; }
tr.chosen td { background: var(--busy-back); }
tr.chosen td:first-child { box-shadow: inset 3px 0 var(--focus); }
.list tbody tr { cursor: pointer; }
.list tbody tr:hover td { background: var(--idle-back); }
.list td { max-width: 380px; }
.cut { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; display: block; }
.chip { display: inline-block; padding: 1px 9px; border-radius: 99px; font-size: .8rem; font-weight: 500; white-space: nowrap; background: var(--idle-back); color: var(--idle); }
.chip.good { background: var(--good-back); color: var(--good); }
.chip.bad { background: var(--bad-back); color: var(--bad); }
.chip.warn { background: var(--warn-back); color: var(--warn); }
.chip.busy { background: var(--busy-back); color: var(--busy); }
.empty { padding: 34px 18px; text-align: center; color: var(--soft); }
.note { background: var(--bad-back); color: var(--bad); padding: 10px 14px; border-radius: 8px; overflow-wrap: anywhere; }
.note.good { background: var(--good-back); color: var(--good); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 5px 20px; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; min-width: 0; }
details > summary { cursor: pointer; color: var(--link); width: fit-content; }
details[open] > summary { margin-bottom: 8px; }
details pre { background: var(--page); border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px; max-height: 420px; overflow: auto; }

/* Forms. */
button, input, select, textarea { font: inherit; color: inherit; }
button, input:not([type=checkbox]), select, textarea { background: var(--card); border: 1px solid var(--line); border-radius: 7px; padding: 6px 11px; min-height: 36px; }
button { cursor: pointer; white-space: nowrap; }
button:hover:not(:disabled) { border-color: var(--focus); }
button:disabled { opacity: .5; cursor: default; }
button.main { background: var(--link); border-color: var(--link); color: var(--card); font-weight: 500; }
button.danger { color: var(--bad); }
button.main.danger { background: var(--bad); border-color: var(--bad); color: var(--card); }
button.tiny { min-height: 0; padding: 1px 9px; font-size: .85rem; }
.buttons { display: flex; gap: 8px; flex-wrap: wrap; align-items: center; }
.filters { display: flex; gap: 10px 12px; flex-wrap: wrap; align-items: end; }
.filters label, .field { display: flex; flex-direction: column; gap: 3px; font-size: .8rem; color: var(--soft); }
.filters label > *, .field > input, .field > textarea, .field > select { font-size: .94rem; color: var(--text); }
.filters .check { flex-direction: row; align-items: center; gap: 6px; min-height: 36px; font-size: .93rem; color: var(--text); }
a.check { display: flex; }
.filters a.check { color: var(--link); }
.filters .grow { flex: 1 1 190px; }
.filters .grow input { width: 100%; }
input[type=checkbox] { width: 16px; height: 16px; margin: 0; accent-color: var(--focus); }
dialog { background: var(--card); color: var(--text); border: 1px solid var(--line); border-radius: 12px; padding: 22px 24px; width: min(540px, calc(100vw - 24px)); max-height: calc(100vh - 40px); box-shadow: 0 12px 40px rgba(0, 0, 0, .25); }
dialog::backdrop { background: rgba(10, 15, 25, .45); }
dialog form > * + * { margin-top: 14px; }
dialog .buttons { justify-content: flex-end; }
progress { width: 100%; height: 8px; accent-color: var(--focus); }
.first { max-height: 210px; overflow: auto; border: 1px solid var(--line); border-radius: 8px; padding: 8px 12px; }
.first div { overflow-wrap: anywhere; }

/* Charts, and the diagram that the server draws. */
.chart svg { display: block; width: 100%; height: 96px; overflow: visible; }
.chart .line { fill: none; stroke-width: 1.6; vector-effect: non-scaling-stroke; stroke-linejoin: round; }
.chart .area { opacity: .13; }
.chart .base { stroke: var(--line); vector-effect: non-scaling-stroke; }
.line.good { stroke: var(--good); } .area.good { fill: var(--good); }
.line.bad { stroke: var(--bad); } .area.bad { fill: var(--bad); }
.line.busy { stroke: var(--busy); } .area.busy { fill: var(--busy); }
.key { display: flex; gap: 14px; flex-wrap: wrap; font-size: .85rem; color: var(--soft); font-variant-numeric: tabular-nums; }
.key i { display: inline-block; width: 9px; height: 9px; border-radius: 3px; margin-right: 6px; background: var(--idle); }
.key i.good { background: var(--good); } .key i.bad { background: var(--bad); } .key i.busy { background: var(--busy); }
.dtm-diagram{--bg:#fff;--ink:#1c2430;--quiet:#667080;--line:#c5cdd6;--box:#f2f5f8;--call:#2459b8;--good:#17763a;--bad:#c1272d;--warn:#945400;--gone:#c1272d14;--c:var(--call);max-width:100%;height:auto;background:var(--bg);font:12.5px system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','DejaVu Sans',sans-serif}
@media(prefers-color-scheme:dark){.dtm-diagram{--bg:#14181e;--ink:#e6ebf1;--quiet:#919cab;--line:#414b58;--box:#1f262f;--call:#7db1ff;--good:#56cc90;--bad:#ff8585;--warn:#e6b450;--gone:#ff858522}
}
.dtm-diagram text{fill:var(--ink);paint-order:stroke;stroke:var(--bg);stroke-width:4px;stroke-linejoin:round}
.dtm-diagram .t{fill:var(--quiet);font-size:11px;font-variant-numeric:tabular-nums;text-anchor:end}
.dtm-diagram .n{font-weight:600;text-anchor:middle;stroke:none}
.dtm-diagram .x{text-anchor:end}
.dtm-diagram .m{text-anchor:middle}
.dtm-diagram .i{stroke:none}
.dtm-diagram .l{stroke:var(--line);fill:none}
.dtm-diagram .d{stroke-dasharray:2 4}
.dtm-diagram .k{fill:var(--box);stroke:var(--line)}
.dtm-diagram .a{fill:var(--box);stroke:var(--line)}
.dtm-diagram .v{fill:var(--gone)}
.dtm-diagram .s{stroke:var(--c);stroke-width:1.4;fill:none}
.dtm-diagram .r{stroke-dasharray:5 3}
.dtm-diagram .o{stroke-dasharray:2 4}
.dtm-diagram .h{fill:var(--c)}
.dtm-diagram .f{fill:var(--box);stroke:var(--c)}
.dtm-diagram .g{--c:var(--good)}
.dtm-diagram .b{--c:var(--bad)}
.dtm-diagram .w{--c:var(--warn)}
.dtm-diagram .q{--c:var(--quiet)}
.dtm-diagram .g .e,.dtm-diagram .b .e,.dtm-diagram .w .e,.dtm-diagram .q .e{fill:var(--c)}
.dtm-diagram .q .e{font-style:italic}

.diagram { overflow-x: auto; padding: 0 24px; }
.diagram svg { --bg: var(--card); display: block; margin: auto; overflow: visible; }

@media (max-width: 720px) {
  .bar > div { padding: 0 12px; }
  .bar nav { order: 3; flex-basis: 100%; overflow-x: auto; }
  .bar nav a { padding: 8px 9px; }
  .bar .server { margin-left: auto; }
  main { padding: 16px 12px 50px; }
  .grid { grid-template-columns: repeat(2, 1fr); gap: 10px; }
  .grid.wide { grid-template-columns: 1fr; }
  /* A row of a table becomes a block; each cell says what it is. */
  .folds thead { display: none; }
  .folds, .folds tbody, .folds tr, .folds td { display: block; width: 100%; max-width: none; }
  .folds tr { padding: 10px 14px; border-bottom: 1px solid var(--line); }
  .folds tbody tr:last-child { border-bottom: 0; }
  .folds td { border: 0; padding: 2px 0; display: flex; gap: 12px; text-align: left !important; }
  .folds td > * { min-width: 0; }
)desk"
R"desk(  .folds td:empty { display: none; }
  .folds td[data-name]::before { content: attr(data-name); color: var(--soft); font-size: .8rem; flex: 0 0 84px; padding-top: 2px; }
  .folds tr.chosen td:first-child { box-shadow: none; }
  .folds tr.chosen { box-shadow: inset 3px 0 var(--focus); }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: 8px; }
}
@media (prefers-reduced-motion: no-preference) {
  button, a.tile { transition: border-color .12s; }
}
)desk";

inline constexpr char kScript[] =
R"desk('use strict';

// ---- Elements, made of names and texts -----------------------------------------------------------------------------------

const SVG = 'http://www.w3.org/2000/svg';

/** An element. Attributes that are null, undefined or false are left out, and such children and empty texts. */
function element(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same of an SVG. */
function shape(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (isSomething(value)) node.setAttribute(key, value === true ? '' : String(value));
  }
  node.append(...children.flat(9).filter(child => isSomething(child) && child !== ''));
  return node;
}

const isSomething = value => value !== null && value !== undefined && value !== false;
const box = (kind, ...children) => element('div', {class: kind}, ...children);
const byId = id => document.getElementById(id);

/**
 * Makes the children of `old` those of `fresh`, and keeps what is the same: focus, selection, what is open or typed. Elements with
 * data-key are found by it, wherever they are.
 */
function morph(old, fresh) {
  const keyed = new Map([...old.children].filter(keyOf).map(node => [keyOf(node), node]));
  const wanted = new Set([...fresh.children].map(keyOf));
  let at = old.firstChild;
  for (const node of [...fresh.childNodes]) {
    const same = keyOf(node) ? keyed.get(keyOf(node)) : at;
    if (!same || !isAlike(same, node)) {
      old.insertBefore(node, at);
      continue;
    }
    while (at !== same && at && !wanted.has(keyOf(at) || null)) at = removed(at);
    if (at === same) at = at.nextSibling;
    else old.insertBefore(same, at);
    if (node.nodeType === Node.TEXT_NODE) morphText(same, node);
    else morphElement(same, node);
  }
  while (at) at = removed(at);
}

const keyOf = node => node.dataset?.key ?? '';
const isAlike = (a, b) => a.nodeName === b.nodeName && keyOf(a) === keyOf(b);

function removed(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

function morphText(old, fresh) {
  if (old.data !== fresh.data) old.data = fresh.data;
}

function morphElement(old, fresh) {
  const kept = old.nodeName === 'DETAILS' ? ['open'] : [];
  for (const {name} of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !kept.includes(name)) old.removeAttribute(name);
  }
  for (const {name, value} of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  morph(old, fresh);
}

// ---- The state, and what is drawn of it ----------------------------------------------------------------------------------

const POLL_MS = 2000;        // how often the server is asked, while the page is visible
const SAMPLES = 150;         // of the charts: five minutes
const ROWS = 50;             // of a page of the list
const MOST_AT_ONCE = 10000;  // transactions of one bulk action

const state = {
  token: sessionStorage.getItem('dtm-token') ?? '',
  who: sessionStorage.getItem('dtm-who') ?? '',
  locked: false,       // the server wants a token, or another one
  tokenProblem: '',
  reachable: true,
  trouble: '',         // what is wrong with the server, as far as it can say
  overview: null,      // what the server last said of itself
  samples: [],         // of its counters, see sampleOf
  page: {name: 'overview', params: new URLSearchParams(), data: null, problem: '', notice: ''},
  listHash: '#/list',  // where the list was left
  dialog: null,        // see dialogs
};

let drawPending = false;

/** Changes the state; what is shown follows. */
function set(patch) {
  Object.assign(state, patch);
  if (drawPending) return;
  drawPending = true;
  queueMicrotask(() => {
    drawPending = false;
    draw();
  });
}

const setPage = patch => set({page: {...state.page, ...patch}});
const setDialog = patch => state.dialog && set({dialog: {...state.dialog, ...patch}});

function draw() {
  drawBar();
  drawPage();
  drawDialog(byId('dialog'), state.dialog && !state.locked ? dialogs[state.dialog.kind](state.dialog) : null);
  drawDialog(byId('login'), state.locked ? loginForm() : null);
}

function drawBar() {
  const stuck = state.overview?.stuck ?? 0;
  morph(byId('nav'), box('', Object.entries(pages).filter(([, page]) => page.link).map(([name, page]) =>
    element('a', {href: page.link, 'aria-current': inSection(name) ? 'page' : null}, page.title,
      name === 'list' && stuck > 0 ? [' ', chip('bad', String(stuck), `${stuck} stuck`)] : null))));
  const said = !state.reachable ? 'no answer' : state.overview ? `${state.overview.version} · ${state.overview.store}` : '';
  const wrong = !state.reachable ? 'The server does not answer. What is shown is what it said last.' : state.trouble;
  morph(byId('server'), box('', element('span', {class: 'dot ' + (wrong ? 'bad' : state.overview ? 'good' : '')}), said));
  byId('banner').hidden = !wrong;
  byId('banner').textContent = wrong && `${wrong.replace(/\.?$/, '.')} The desk asks again every two seconds.`;
}

const inSection = name => name === state.page.name || (name === 'list' && state.page.name === 'transaction');

function drawPage() {
  const page = pages[state.page.name];
  document.title = `${state.page.name === 'transaction' ? state.page.params.get('gid') : page.title} · dtm desk`;
  morph(byId('main'), box('', box('notes', notes()), page.draw(state.page.data, state.page.params)));
}

function notes() {
  const {problem, notice} = state.page;
  return [problem && element('p', {class: 'note', role: 'alert', 'data-key': 'problem'}, problem),
    notice && element('p', {class: 'note good', role: 'status', 'data-key': 'notice'}, notice)].filter(Boolean);
}

function drawDialog(dialog, content) {
  if (!content) {
    if (dialog.open) dialog.close();
    dialog.replaceChildren();
    return;
  }
  morph(dialog, box('', content));
  if (dialog.open) return;
  dialog.showModal();
  dialog.querySelector('[autofocus]')?.focus();
}

// ---- The server ----------------------------------------------------------------------------------------------------------

/** Said by the server, or of it, in a sentence. */
class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The reply to a request of the API: JSON, or text if `as` says so. `body`: it is a POST. */
async function ask(path, {query = {}, body, method, as = 'json'} = {}) {
  const reply = await send(`api/dtmsvr/${path}${searchText(query)}`, {
    method: method ?? (body ? 'POST' : 'GET'),
    headers: state.token ? {Authorization: `Bearer ${state.token}`} : {},
    body: body && JSON.stringify(body),
    cache: 'no-store',
    signal: AbortSignal.timeout(20000),
  });
  if (reply.status === 401) lock();
  if (!reply.ok) throw new Refused(reply.status, sentenceOf(reply));
  return as === 'text' ? reply.text : jsonOf(reply);
}

/** A reply that breaks off is none. */
async function send(url, options) {
  try {
    const {status, ok, text} = await fetch(url, options).then(async reply => ({status: reply.status, ok: reply.ok, text: await reply.text()}));
    if (!state.reachable) set({reachable: true});
    return {status, ok, text};
  } catch {
    set({reachable: false});
    throw new Refused(0, 'The server does not answer.');
  }
}

function jsonOf({status, text}) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Refused(status, 'What answers here is no dtm, or something between: it did not send JSON.');
  }
}

function sentenceOf({status, text}) {
  try {
    return JSON.parse(text).message || text;
  } catch {
    return status === 404 ? 'This server does not know what the desk asked for; it may be older.' : `${status}: ${text.slice(0, 300)}`;
  }
}

function searchText(query) {
  const given = Object.entries(query).filter(([, value]) => isSomething(value) && value !== '');
  return given.length ? '?' + new URLSearchParams(given) : '';
}

function lock() {
  set({locked: true, tokenProblem: state.token ? 'The server does not take this token.' : ''});
}

/** Asks the server how it is, and what the page shows if that changes by itself or could not be read. */
async function poll() {
  try {
    if (document.visibilityState === 'visible' && !state.locked) await look();
  } finally {
    clearTimeout(poll.timer);
    poll.timer = setTimeout(poll, POLL_MS);
  }
}

async function look() {
  try {
    const overview = await ask('overview');
    const trouble = overview.store_fails ? 'The last write to the store failed, and nothing goes on until one works; the log of the server says why.' : '';
    set({overview, trouble, samples: [...state.samples, sampleOf(overview)].slice(-SAMPLES)});
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    set({trouble: error.status === 0 || error.status === 401 ? '' : error.message});
    if (error.status === 0 || error.status === 401) return;
  }
  const {name, data, isStale} = state.page;
  if (data === null || isStale || pages[name].isLive?.(data)) await load();
}

/** Reads what the present page shows. A reply that comes after the page was left is dropped. */
async function load() {
  const page = pages[state.page.name];
  const {params, visit} = state.page;
  const isHere = () => state.page.visit === visit;
  if (!page.load) return;
  try {
    const data = await page.load(params, state.page.data, progress => isHere() && setPage({data: progress}), isHere);
    if (isHere()) setPage({data, problem: '', isStale: false});
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (isHere() && error.status !== 401) setPage({problem: error.status === 0 ? '' : error.message, isStale: true});
  }
}

// ---- Where we are: #/name?parameters -------------------------------------------------------------------------------------

let visits = 0;

function placeOf(hash) {
  const [path, search] = hash.replace(/^#\/?/, '').split('?');
  return {name: Object.hasOwn(pages, path) ? path : 'overview', params: new URLSearchParams(search)};
}

const linkTo = (name, query = {}) => `#/${name}${searchText(query)}`;

function arrive() {
  visits += 1;
  const {name, params} = placeOf(location.hash);
  const stays = name === state.page.name && name === 'list';  // its form keeps the focus
  if (stays) fillFilters(params);
  else byId('main').replaceChildren();
  if (name === 'list') state.listHash = location.hash || linkTo('list');
  const data = stays && state.page.data ? {...state.page.data, searching: true} : null;
  set({page: {name, params, visit: visits, data, problem: '', notice: ''}, dialog: null});
  if (!stays) scrollTo(0, 0);
  load();
}

// ---- Texts ---------------------------------------------------------------------------------------------------------------

const UNITS = [['d', 86400], ['h', 3600], ['min', 60]];

/** "3 min", "0.25 s" */
function spanText(ms) {
  const seconds = Math.max(0, ms) / 1000;
  for (const [name, size] of UNITS) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${name}`;
  }
  if (seconds >= 10) return `${Math.round(seconds)} s`;
  return seconds >= 1 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds * 1000)} ms`;
}

const millis = text => Date.parse(text);
const agoText = text => text ? `${spanText(now() - millis(text))} ago` : '';
const numberText = value => value.toLocaleString('en-US');
const rateText = value => value === null ? '–' : value >= 10 || Number.isInteger(value) ? numberText(Math.round(value)) : value.toFixed(1);

/** The server's clock, as far as it is known: that of the browser may be wrong. */
function now() {
  const last = state.samples.at(-1);
  return last ? last.time + (performance.now() - last.at) : Date.now();
}

/** A time of the server, of which the title has all. */
function when(text, shown = agoText(text)) {
)desk"
R"desk(  return text ? element('time', {datetime: text, title: `${new Date(text).toLocaleString()} (${text})`}, shown) : '';
}

/** "14:03:07.250", with the day if that is another one. */
function clockText(text) {
  const time = new Date(text);
  const day = time.toDateString() === new Date(now()).toDateString() ? '' : time.toLocaleDateString() + ' ';
  return `${day}${time.toLocaleTimeString('en-GB')}.${String(time.getMilliseconds()).padStart(3, '0')}`;
}

const chip = (kind, text, title) => element('span', {class: `chip ${kind}`, title}, text);

const STATUS_KINDS = {succeed: 'good', failed: 'bad', aborting: 'warn', submitted: 'busy', prepared: ''};
const OUTCOME_KINDS = {success: 'good', failure: 'bad', error: 'bad', lost: 'warn', ongoing: 'busy', running: 'busy'};

const isFinal = transaction => transaction.status === 'succeed' || transaction.status === 'failed';
const isStuck = transaction => transaction.stuck === true;

function statusChips(transaction) {
  return [chip(STATUS_KINDS[transaction.status] ?? '', transaction.status),
    isStuck(transaction) && [' ', chip('bad', 'stuck', 'nothing goes on until somebody retries, skips or stops it')],
    transaction.expired && [' ', chip('', 'expired', 'only its gid is kept')]];
}

/** The bytes of base64 as text; of what is not text, how long it is. */
function textOf(base64) {
  const bytes = Uint8Array.from(atob(base64), c => c.charCodeAt(0));
  try {
    return prettyJson(new TextDecoder('utf-8', {fatal: true}).decode(bytes));
  } catch {
    return `${bytes.length} bytes that are not text`;
  }
}

function prettyJson(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

// ---- Overview ------------------------------------------------------------------------------------------------------------

/** What the charts need of an overview. */
function sampleOf(overview) {
  const {ended = [], branches: calls = []} = overview.counters ?? {};
  const sum = (list, wanted) => list.filter(wanted).reduce((all, one) => all + one.count, 0);
  return {
    time: millis(overview.time), at: performance.now(), unfinished: overview.unfinished, ended,
    succeeded: sum(ended, one => one.status === 'succeed'), failed: sum(ended, one => one.status === 'failed'),
    calls: sum(calls, one => one.ok), badCalls: sum(calls, one => !one.ok),
  };
}

/** How fast a counter rises between two samples, in 1/s; null if that is not known: it began anew, or there was a long gap. */
function rateBetween(before, after, count) {
  if (!before || !after) return null;
  const seconds = (after.at - before.at) / 1000;
  const rise = count(after) - count(before);
  return rise < 0 || seconds <= 0 || seconds > 15 ? null : rise / seconds;
}

const ratesOf = count => state.samples.map((sample, i) => rateBetween(state.samples[i - 1], sample, count));

function drawOverview() {
  const told = state.overview;
  if (!told) return element('p', {class: 'soft'}, state.locked ? '' : 'Asking the server …');
  const stuck = told.stuck > 0;
  return [
    element('h1', {class: 'unseen'}, 'Overview'),
    box('grid', [
      tile('unfinished', numberText(told.unfinished), linkTo('list', {unfinished: 1})),
      tile('waiting for a time', numberText(told.waiting)),
      tile('stuck', numberText(told.stuck), linkTo('list', {stuck: 1}), stuck ? 'bad' : ''),
      told.damaged > 0 && tile('records are damaged', numberText(told.damaged), null, 'bad'),
      tile('the oldest began', told.oldest_time ? agoText(told.oldest_time) : '–'),
      tile('ended a second', rateText(lastRate(one => one.succeeded + one.failed))),
      tile('calls a second', rateText(lastRate(one => one.calls + one.badCalls))),
    ]),
    box('grid wide', [
      chart('Ended, per second', [['good', 'succeeded', ratesOf(one => one.succeeded)], ['bad', 'failed', ratesOf(one => one.failed)]]),
      chart('Calls, per second', [['busy', 'done', ratesOf(one => one.calls)], ['bad', 'refused or in error', ratesOf(one => one.badCalls)]]),
      chart('Unfinished', [['busy', 'unfinished', state.samples.map(one => one.unfinished)]]),
    ]),
    box('grid wide', [typesCard(told), hostsCard(told)]),
  ];
}

const lastRate = count => ratesOf(count).at(-1) ?? null;

function tile(text, value, link, kind = '') {
  return element(link ? 'a' : 'div', {class: `card tile ${kind}`, href: link}, element('b', {}, value), element('span', {class: 'soft small'}, text));
}

const CHART_WIDTH = 300, CHART_HEIGHT = 96;

/** `series`: [colour, name, values], of which null is a gap. */
function chart(title, series) {
  const most = Math.max(1, ...series.flatMap(([, , values]) => values));
  const said = series.map(([, name, values]) => `${name} ${rateText(values.at(-1) ?? null)}`).join(', ');
  return element('section', {class: 'card chart', 'data-chart': title},
    box('top', element('h2', {}, title), element('span', {class: 'soft small'}, `up to ${rateText(most)}`)),
    shape('svg', {viewBox: `0 0 ${CHART_WIDTH} ${CHART_HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': `${title}: now ${said}`},
      shape('path', {class: 'base', d: `M0 ${CHART_HEIGHT}H${CHART_WIDTH}`}),
      series.map(([kind, , values]) => stretches(values).map(stretch => curve(kind, stretch, most)))),
    box('key', series.map(([kind, name, values]) => element('span', {}, element('i', {class: kind}), `${name} ${rateText(values.at(-1) ?? null)}`))));
}

/** [[index, value], ...] of each stretch without a gap. The newest value is at the right end. */
function stretches(values) {
  const found = [];
  let open = false;
  values.forEach((value, i) => {
    if (value === null) {
      open = false;
      return;
    }
    if (!open) found.push([]);
    open = true;
    found.at(-1).push([i + SAMPLES - values.length, value]);
  });
  return found;
}

function curve(kind, stretch, most) {
  const x = i => (i / (SAMPLES - 1) * CHART_WIDTH).toFixed(1);
  const y = value => (CHART_HEIGHT - 2 - value / most * (CHART_HEIGHT - 8)).toFixed(1);
  const line = stretch.map(([i, value]) => `${x(i)} ${y(value)}`).join('L');
  return [shape('path', {class: `area ${kind}`, d: `M${x(stretch[0][0])} ${CHART_HEIGHT}L${line}L${x(stretch.at(-1)[0])} ${CHART_HEIGHT}Z`}),
    shape('path', {class: `line ${kind}`, d: `M${line}`})];
}

function typesCard(told) {
  const ended = told.counters?.ended ?? [];
  const types = [...new Set(ended.map(one => one.type))];
  const count = (type, status) => sample => sample.ended.filter(one => one.type === type && one.status === status).reduce((all, one) => all + one.count, 0);
  const last = {ended};
  return tableCard('By type, since the server started', ['type', 'succeeded', 'failed', 'a second'], types.map(type => [
    element('a', {href: linkTo('list', {type})}, type),
    numberText(count(type, 'succeed')(last)), numberText(count(type, 'failed')(last)),
    rateText(lastRate(sample => count(type, 'succeed')(sample) + count(type, 'failed')(sample)))]), 'Nothing has ended yet.');
}

function hostsCard(told) {
  return tableCard('By host', ['host', 'calls out', 'waiting', ''], (told.calls?.hosts ?? []).map(host => [
    host.host, numberText(host.in_flight), numberText(host.waiting), host.limited ? chip('warn', 'silent', 'it does not answer, so few calls at a time go to it') : '']),
  'No call by URL is out or waits.');
}

function tableCard(title, names, rows, otherwise) {
  return element('section', {class: 'card flush'}, element('h2', {}, title),
    rows.length ? box('scroll', table('', names, rows)) : box('empty', otherwise));
}

/** Numbers are at the right. `rows`: cells, or {attributes, cells}. */
function table(kind, names, rows) {
  const isNumber = cell => typeof cell === 'string' && /^[\d.,–]+$/.test(cell);
  const cellsOf = row => row.cells ?? row;
  const right = names.map((_, i) => rows.length > 0 && rows.every(row => isNumber(cellsOf(row)[i])));
  return element('table', {class: kind},
    element('thead', {}, element('tr', {}, names.map((name, i) => element('th', {class: right[i] && 'right', scope: 'col'}, name)))),
    element('tbody', {}, rows.map(row => element('tr', row.attributes, cellsOf(row).map((cell, i) =>
      element('td', {class: right[i] && 'right', 'data-name': names[i] || null}, cell))))));
}

// ---- The list ------------------------------------------------------------------------------------------------------------

const STATUSES = ['prepared', 'submitted', 'aborting', 'succeed', 'failed'];
const TYPES = ['saga', 'msg', 'tcc', 'xa', 'workflow'];
const AGES = [['60', 'a minute'], ['600', 'ten minutes'], ['3600', 'an hour'], ['86400', 'a day']];
const FILTERS = ['gid', 'status', 'type', 'target', 'age', 'unfinished', 'stuck', 'errors'];

/** What the server is asked for what the form says. */
function queryOf(params) {
  return {
    gidPrefix: params.get('gid'), status: params.get('status'), transType: params.get('type'), target: params.get('target'),
    unfinished: params.get('unfinished'), stuck: params.get('stuck'), errors: params.get('errors'),
    short: 1, createTimeEnd: params.get('age') && Math.floor(now() - Number(params.get('age')) * 1000),
  };
}

/** Reads until there are `most`, or no more. The server may give short pages: it looks at so many at a time. */
async function readSome(query, most, position, told, goOn) {
  const rows = [];
  let next = position ?? '';
  do {
    const page = await ask('all', {query: {...query, position: next, limit: Math.min(most - rows.length, 1000)}});
    rows.push(...page.transactions ?? []);
    next = page.next_position;
    told({rows: [...rows], next, searching: true});
  } while (next && rows.length < most && goOn());
  return {rows, next, searching: false};
}

const loadList = (params, data, told, isHere) => readSome(queryOf(params), ROWS, params.get('at'), told, isHere);

function drawList(data, params) {
  const filtered = FILTERS.some(name => params.get(name));
  return [
    box('top', element('h1', {}, 'Transactions'), box('buttons',
      element('button', {type: 'button', 'data-do': 'reload'}, 'Refresh'),
      element('button', {type: 'button', 'data-do': 'bulk', disabled: !data?.rows.length}, filtered ? 'Act on all of these …' : 'Act on all unfinished …'))),
    filterForm(params),
    element('section', {class: 'card flush', 'aria-label': 'Transactions', 'aria-busy': String(!data || data.searching)},
      data?.rows.length ? listTable(data.rows) : box('empty', listNothing(data, filtered)),
      ),
    box('top', element('p', {class: 'soft small', role: 'status', id: 'progress'}, listProgress(data)), pager(data, params)),
  ];
}

function listNothing(data, filtered) {
  if (!data || data.searching) return 'Reading …';
  return filtered ? 'No transaction is like this.' : 'There is no transaction yet.';
}

function listProgress(data) {
  if (!data) return '';
  const count = data.rows.length === 1 ? '1 transaction' : `${numberText(data.rows.length)} transactions`;
  return data.searching ? `Searching on: ${count} so far` : `${count}${data.next ? ' on this page' : ''}`;
}

function pager(data, params) {
  const query = Object.fromEntries(FILTERS.map(name => [name, params.get(name)]));
  return box('buttons',
    params.get('at') && [element('a', {href: linkTo('list', query)}, 'Newest'), element('button', {type: 'button', 'data-do': 'back'}, '← Newer')],
    data?.next && !data.searching && element('a', {href: linkTo('list', {...query, at: data.next}), id: 'older'}, 'Older →'));
}

function filterForm(params) {
  const option = (value, text, key) => element('option', {value, selected: (params.get(key) ?? '') === value}, text);
  const choice = (key, text, options) => element('label', {}, text,
    element('select', {name: key}, option('', 'any', key), options.map(([value, shown]) => option(value, shown, key))));
  const field = (key, text, hint) => element('label', {class: 'grow'}, text,
)desk"
R"desk(    element('input', {name: key, value: params.get(key), placeholder: hint, autocomplete: 'off', spellcheck: 'false', type: 'search'}));
  const check = (key, text) => element('label', {class: 'check'}, element('input', {type: 'checkbox', name: key, value: '1', checked: params.get(key) === '1'}), text);
  return element('form', {class: 'card filters', id: 'filters', role: 'search', 'data-do': 'filter', 'data-key': 'filters'},
    field('gid', 'gid begins with', '/'), field('target', 'calls a function or URL with', ''),
    choice('status', 'status', STATUSES.map(name => [name, name])), choice('type', 'type', TYPES.map(name => [name, name])),
    choice('age', 'older than', AGES), check('unfinished', 'unfinished'), check('stuck', 'stuck'), check('errors', 'with errors'),
    element('a', {href: linkTo('list'), class: 'check'}, 'Clear'));
}

function listTable(rows) {
  return box('scroll', table('list folds', ['gid', 'status', 'type', 'began', 'next', 'last error'], rows.map(row => ({
    attributes: {'data-do': 'open', 'data-gid': row.gid, 'data-key': row.gid},
    cells: [
      element('a', {href: linkTo('transaction', {gid: row.gid}), class: 'mono wrap', 'data-row': true}, row.gid),
      element('span', {}, statusChips(row)), row.trans_type, when(row.create_time), nextText(row),
      errorOf(row) && element('span', {class: 'cut small soft', title: errorOf(row)}, errorOf(row))],
  }))));
}

const errorOf = row => row.last_error ?? row.rollback_reason ?? '';

function nextText(row) {
  if (isFinal(row)) return `took ${spanText(millis(row.finish_time ?? row.rollback_time) - millis(row.create_time))}`;
  if (!row.next_cron_time) return isStuck(row) ? 'never by itself' : '';
  const wait = millis(row.next_cron_time) - now();
  return when(row.next_cron_time, wait <= 0 ? 'now' : `in ${spanText(wait)}`);
}

// ---- One transaction -----------------------------------------------------------------------------------------------------

const MOST_ATTEMPTS = 60;  // shown at first

async function loadTransaction(params, before) {
  const gid = params.get('gid') ?? '';
  const story = await ask('timeline', {query: {gid}});
  if (!story.transaction) return {story, gid};
  const raw = JSON.stringify(story);
  const {text} = await ask('explain', {query: {gid}});
  const isSame = raw === before?.raw && isFinal(story.transaction);
  const diagram = isSame ? before.diagram : await askDiagram(gid);
  return {story, gid, raw, diagram, explanation: text};
}

/** The drawing of the server, of which only shapes and texts are taken over; null if it makes none. */
async function askDiagram(gid) {
  const text = await ask('timeline', {query: {gid, format: 'svg'}, as: 'text'});
  if (!text.startsWith('<svg')) return null;
  // Without its name space it is XML that means nothing to the browser: no style applies, no handler is made.
  const parsed = new DOMParser().parseFromString(text.replace(` xmlns="${SVG}"`, ''), 'text/xml').documentElement;
  return parsed.localName === 'svg' && !parsed.namespaceURI ? parsed : null;
}

const DRAWN = ['svg', 'g', 'path', 'rect', 'circle', 'line', 'polyline', 'polygon', 'text', 'tspan', 'title', 'desc'];
const DRAWN_WITH = ['viewBox', 'width', 'height', 'x', 'y', 'x1', 'y1', 'x2', 'y2', 'cx', 'cy', 'r', 'rx', 'ry', 'd', 'points', 'dx', 'dy', 'transform', 'class',
  'fill', 'stroke', 'stroke-width', 'stroke-dasharray', 'stroke-linecap', 'stroke-linejoin', 'opacity', 'fill-opacity', 'stroke-opacity', 'text-anchor', 'dominant-baseline', 'font-size',
  'font-family', 'font-weight', 'role', 'aria-label'];

/** A copy of what is known to be harmless. */
function copyDrawing(node) {
  if (node.nodeType === Node.TEXT_NODE) return document.createTextNode(node.data);
  if (node.nodeType !== Node.ELEMENT_NODE || node.namespaceURI || !DRAWN.includes(node.localName)) return null;
  const attributes = [...node.attributes].filter(({name, value}) => DRAWN_WITH.includes(name) && !/url\s*\(/i.test(value));
  return shape(node.localName, Object.fromEntries(attributes.map(({name, value}) => [name, value])), [...node.childNodes].map(copyDrawing));
}

function drawTransaction(data) {
  if (!data) return element('p', {class: 'soft'}, 'Reading …');
  const {transaction, branches, attempts, entries, runs} = data.story;
  if (!transaction) {
    return [element('h1', {class: 'mono'}, data.gid), box('card empty', 'There is no transaction of this gid: there never was one, or its record has expired.'),
      element('a', {href: state.listHash}, '← Transactions')];
  }
  return [
    transactionHead(transaction),
    data.explanation && !isFinal(transaction) && element('section', {class: 'card', 'data-key': 'explanation'}, element('h2', {}, 'What it does now'), element('pre', {}, data.explanation)),
    data.diagram && element('section', {class: 'card', 'data-key': 'diagram'}, element('h2', {}, 'Timing'), box('diagram', copyDrawing(data.diagram))),
    branchesCard(transaction, branches, attempts),
    attemptsCard(attempts, runs),
    decisionsCard(entries),
    optionsCard(transaction),
    element('section', {class: 'card', 'data-key': 'raw'}, element('details', {'data-key': 'raw'}, element('summary', {}, 'Raw JSON'),
      element('pre', {id: 'raw'}, JSON.stringify(data.story, null, 2)))),
  ];
}

function transactionHead(transaction) {
  const ended = transaction.finish_time ?? transaction.rollback_time;
  const act = (action, isDanger) => element('button', {type: 'button', class: isDanger && 'danger', 'data-do': 'act', 'data-action': action}, actions[action].label + ' …');
  return element('section', {class: 'top', 'data-key': 'head'},
    box('', element('a', {href: state.listHash, class: 'small'}, '← Transactions'),
      element('h1', {class: 'mono', id: 'gid'}, transaction.gid),
      element('p', {}, statusChips(transaction), element('span', {class: 'soft'}, ` ${transaction.trans_type}`, transaction.expired ? '' : [', began ', when(transaction.create_time)],
        ended ? [', ended ', when(ended)] : '', ended && !transaction.expired ? ` after ${spanText(millis(ended) - millis(transaction.create_time))}` : ''))),
    !isFinal(transaction) && box('buttons', act('retry'), act('cancel', true), act('stop', true)));
}

function branchesCard(transaction, branches, attempts) {
  const made = branch => attempts.filter(one => one.branch_id === branch.branch_id && one.op === branch.op).length;
  const canSkip = branch => !isFinal(transaction) && branch.status !== 'succeed';
  return element('section', {class: 'card flush', 'data-key': 'branches'}, element('h2', {}, 'Branches'),
    branches.length === 0 ? box('empty', 'It has no branches.') :
    box('scroll', table('folds', ['branch', 'call', 'status', 'attempts', 'payload', ''], branches.map(branch => [
      element('span', {class: 'mono'}, `${branch.branch_id} ${branch.op}`),
      element('span', {class: 'mono wrap'}, branch.name ?? '', branch.name && branch.url ? ' ' : '', branch.url ?? (branch.name ? '' : 'nothing to call')),
      chip(STATUS_KINDS[branch.status] ?? '', branch.status), String(made(branch)), payloadOf(branch),
      canSkip(branch) && element('button', {type: 'button', class: 'tiny', 'data-do': 'skip-branch', 'data-branch': branch.branch_id, 'data-op': branch.op}, 'Skip …')]))));
}

function payloadOf(branch) {
  if (!branch.bin_data) return '';
  const text = textOf(branch.bin_data);
  const shown = text.length > 20000 ? `${text.slice(0, 20000)}\n… ${numberText(text.length - 20000)} characters more` : text;
  return text.length <= 40 && !text.includes('\n') ? element('code', {class: 'wrap'}, text) :
    element('details', {'data-key': `payload ${branch.branch_id} ${branch.op}`}, element('summary', {class: 'small'}, `${numberText(text.length)} characters`), element('pre', {}, shown));
}

function attemptsCard(attempts, runs) {
  const shown = attempts.slice(-MOST_ATTEMPTS);
  const isOne = runs.length <= 1;
  return element('section', {class: 'card flush', 'data-key': 'attempts'},
    element('h2', {}, 'Attempts', shown.length < attempts.length && element('span', {class: 'soft small'}, ` the last ${shown.length} of ${attempts.length}; all are in the raw JSON`)),
    attempts.length === 0 ? box('empty', 'No call is in its journal.') :
    box('scroll', table('folds', ['began', 'branch', 'outcome', 'took', isOne ? '' : 'process', 'said'], shown.map(one => [
      one.begin_time ? when(one.begin_time, clockText(one.begin_time)) : element('span', {class: 'soft'}, 'not kept'),
      element('span', {class: 'mono'}, `${one.branch_id ?? ''} ${one.op ?? ''}`),
      chip(OUTCOME_KINDS[one.outcome] ?? '', one.outcome),
      one.begin_time && one.end_time ? spanText(millis(one.end_time) - millis(one.begin_time)) : '',
      isOne ? '' : element('span', {class: 'small wrap'}, runs[one.run]?.process || `run ${one.run + 1}`),
      element('span', {class: 'small wrap'}, one.text)]))));
}

const CALLS = ['started', 'success', 'failure', 'ongoing', 'error', 'not sent'];
const KIND_COLOURS = {succeeded: 'good', failed: 'bad', rollback: 'warn', stuck: 'bad', cancel: 'warn', 'force stop': 'bad', repair: 'warn', 'taken up': 'busy'};
const KIND_WORDS = {repair: 'skipped', gap: 'not kept'};

function decisionsCard(entries) {
  const decisions = entries.filter(entry => !CALLS.includes(entry.kind));
  const said = entry => entry.kind === 'gap' ? (entry.count ? `${entry.count} entries` : 'some entries') : entry.text;
  return element('section', {class: 'card flush', 'data-key': 'decisions'}, element('h2', {}, 'Decisions'),
    decisions.length === 0 ? box('empty', 'Its journal is empty.') :
    box('scroll', table('folds', ['time', 'what', 'branch', 'who', 'why'], decisions.map(entry => [
      entry.time ? when(entry.time, clockText(entry.time)) : '', chip(KIND_COLOURS[entry.kind] ?? '', KIND_WORDS[entry.kind] ?? entry.kind),
      entry.branch_id ? element('span', {class: 'mono'}, `${entry.branch_id} ${entry.op}`) : '',
      element('span', {class: 'wrap'}, entry.who), element('span', {class: 'wrap'}, said(entry))]))));
}

const OPTION_NAMES = ['wait_result', 'timeout_to_fail', 'request_timeout', 'retry_interval', 'retry_limit', 'concurrent', 'protocol', 'query_prepared', 'custom_data', 'retry_count',
  'next_cron_interval', 'rollback_reason', 'rollback_from', 'last_error'];

function optionsCard(transaction) {
  const headers = Object.keys(transaction.branch_headers ?? {});
  const given = OPTION_NAMES.filter(name => isSomething(transaction[name])).map(name => [name, String(transaction[name])]);
  if (headers.length) given.push(['branch_headers', `${headers.join(', ')} (their values are not shown)`]);
  return element('section', {class: 'card', 'data-key': 'options'}, element('h2', {}, 'Details'),
    element('dl', {}, given.map(([name, value]) => [element('dt', {}, name.replaceAll('_', ' ')), element('dd', {}, value)])));
}

// ---- Topics and nodes ----------------------------------------------------------------------------------------------------

async function loadTopics(params) {
  const page = await ask('scanKV', {query: {cat: 'topics', limit: 100, position: params.get('at')}});
  return {topics: page.kv.map(value => ({name: value.k, subscribers: subscribersIn(value.v)})), next: page.next_position};
}

function subscribersIn(text) {
  try {
    const list = JSON.parse(text);
    return Array.isArray(list) ? list.filter(one => typeof one?.url === 'string') : [];
  } catch {
    return [];
  }
}

function drawTopics(data) {
  const field = (name, text, hint, required) => element('label', {class: 'grow'}, text, element('input', {name, required, placeholder: hint, autocomplete: 'off', spellcheck: 'false'}));
  return [
    element('h1', {}, 'Topics'),
    element('form', {class: 'card filters', 'data-do': 'subscribe', 'data-key': 'subscribe'}, field('topic', 'topic', 'order.paid', true),
)desk"
R"desk(      field('url', 'URL that is called', 'https://host/path', true), field('remark', 'remark', '', false), element('button', {class: 'main'}, 'Subscribe')),
    !data ? element('p', {class: 'soft'}, 'Reading …') : data.topics.length === 0 ? box('card empty', 'There is no topic yet. A message to topic://name goes to all its subscribers.') :
    data.topics.map(topicCard),
    data?.next && element('a', {href: linkTo('topics', {at: data.next})}, 'More →'),
  ];
}

function topicCard({name, subscribers}) {
  const button = (text, attributes) => element('button', {type: 'button', class: 'tiny danger', 'data-topic': name, ...attributes}, text);
  return element('section', {class: 'card flush', 'data-key': `topic ${name}`},
    box('top', element('h2', {class: 'mono wrap'}, name), button('Delete topic …', {'data-do': 'delete-topic'})),
    subscribers.length === 0 ? box('empty', 'Nobody is subscribed.') : box('scroll', table('folds', ['URL', 'remark', ''], subscribers.map(one => [
      element('span', {class: 'mono wrap'}, one.url), element('span', {class: 'wrap'}, one.remark ?? ''),
      box('right', button('Unsubscribe …', {'data-do': 'unsubscribe', 'data-url': one.url}))]))));
}

const loadNodes = () => ask('nodes');

function drawNodes(data) {
  const nodes = data?.nodes ?? [];
  return [
    element('h1', {}, 'Nodes'),
    element('p', {class: 'soft'}, 'The coordinators that share this store. When one is silent for longer than the lease, the others take over what it drove.'),
    element('section', {class: 'card flush'}, !data ? box('empty', 'Reading …') : box('scroll', table('folds', ['name', 'app', 'state', 'last heard of', 'id'], nodes.map(node => [
      element('span', {class: 'wrap'}, node.name || '–', node.self && [' ', chip('busy', 'this one')]), node.app ?? '',
      node.member ? chip('good', 'member') : chip('warn', 'gone'), isSomething(node.silent_ms) && !node.self ? `${spanText(node.silent_ms)} ago` : '', element('span', {class: 'mono small wrap'}, node.url ?? '')])))),
  ];
}

const pages = {
  overview: {title: 'Overview', link: '#/', draw: drawOverview},
  list: {title: 'Transactions', link: '#/list', draw: drawList, load: loadList},
  transaction: {title: 'Transaction', draw: drawTransaction, load: loadTransaction, isLive: data => !data?.story.transaction || !isFinal(data.story.transaction)},
  topics: {title: 'Topics', link: '#/topics', draw: drawTopics, load: loadTopics},
  nodes: {title: 'Nodes', link: '#/nodes', draw: drawNodes, load: loadNodes, isLive: () => true},
};

// ---- What a person can do ------------------------------------------------------------------------------------------------

/** `body`: what the server gets besides gid, who and why. */
const actions = {
  retry: {label: 'Retry', path: 'resetNextCronTime', says: 'Its waits are forgotten: what is still to be called is called at once.', body: () => ({})},
  cancel: {label: 'Cancel', path: 'abort', isDanger: true, says: 'It is rolled back: what may have been done is compensated.', body: one => ({trans_type: one.trans_type})},
  stop: {label: 'Stop', path: 'forceStop', isDanger: true, says: 'It ends as failed and nothing is called any more, compensations neither.', body: () => ({})},
  skip: {label: 'Skip', path: 'skipBranch', isDanger: true, says: 'This one call counts as done without being made; nothing else is changed. Make sure that its effect is there, or is not needed.',
    body: one => ({branch_id: one.branch_id, op: one.op})},
};

const IN_DOUBT = 'The server does not answer, so it may or may not have been done. The journal says it once the server is back; to ask again does no harm.';

/** What is wrong, a Refused, or null. That it is not finished yet is nothing wrong. */
async function act(action, one, who, why) {
  try {
    await ask(actions[action].path, {body: {gid: one.gid, ...actions[action].body(one), who, why}});
    return null;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (error.status === 0) return new Refused(0, IN_DOUBT);
    return error.status === 425 ? null : error;
  }
}

function loginForm() {
  return element('form', {method: 'dialog', 'data-do': 'login', class: 'stack'},
    element('h2', {id: 'login-title'}, 'This server needs its token'),
    state.tokenProblem && element('p', {class: 'note', role: 'alert'}, state.tokenProblem),
    element('label', {class: 'field'}, 'token', element('input', {type: 'password', name: 'token', required: true, autofocus: true, autocomplete: 'off'})),
    element('p', {class: 'soft small'}, 'It is kept until this tab is closed.'),
    box('buttons', element('button', {class: 'main'}, 'Open the desk')));
}

const whoField = () => element('label', {class: 'field', 'data-key': 'who'}, 'who asks', element('input', {name: 'who', required: true, maxlength: 64, value: state.who, autocomplete: 'off', autofocus: !state.who}));
const whyField = () => element('label', {class: 'field', 'data-key': 'why'}, 'because', element('input', {name: 'why', required: true, maxlength: 200, autocomplete: 'off', autofocus: !!state.who}));
const closeButton = text => element('button', {type: 'button', 'data-do': 'close'}, text);
const submitButton = (text, isDanger, disabled) => element('button', {class: isDanger ? 'main danger' : 'main', disabled}, text);

const dialogs = {
  action({action, subject, problem, busy}) {
    const {label, says, isDanger} = actions[action];
    const branch = subject.branch_id ? ` branch ${subject.branch_id} ${subject.op} of` : '';
    return element('form', {method: 'dialog', 'data-do': 'do-action', 'data-key': `action ${action}`},
      element('h2', {id: 'dialog-title'}, `${label}${branch} `, element('span', {class: 'mono wrap'}, subject.gid)),
      element('p', {class: 'soft'}, says), problem && element('p', {class: 'note', role: 'alert', 'data-key': 'problem'}, problem),
      whoField(), whyField(), box('buttons', closeButton('Leave it'), submitButton(busy ? 'Asking …' : label, isDanger, busy)));
  },

  confirm({title, says, label, problem}) {
    return element('form', {method: 'dialog', 'data-do': 'confirmed', 'data-key': 'confirm'},
      element('h2', {id: 'dialog-title', class: 'wrap'}, title), element('p', {class: 'soft wrap'}, says), problem && element('p', {class: 'note', role: 'alert'}, problem),
      box('buttons', closeButton('Leave it'), submitButton(label, true)));
  },

  bulk(told) {
    return element('form', {method: 'dialog', 'data-do': 'do-bulk', 'data-key': 'bulk'},
      element('h2', {id: 'dialog-title'}, 'Act on all of these'), told.running ? bulkProgress(told) : bulkPreview(told));
  },

  keys() {
    const keys = [['/', 'search in the list'], ['j, k', 'next and previous transaction, or link'], ['Enter', 'open it'], ['Esc', 'close a dialog, or go back to the list'], ['r', 'refresh'], ['?', 'this help']];
    return element('form', {method: 'dialog', 'data-do': 'close', 'data-key': 'keys'}, element('h2', {id: 'dialog-title'}, 'Keys'),
      element('dl', {}, keys.map(([key, text]) => [element('dt', {class: 'mono'}, key), element('dd', {}, text)])), box('buttons', submitButton('Close')));
  },
};

function bulkPreview({rows, searching, next, problem}) {
  const count = `${searching ? 'Counting: ' : ''}${numberText(rows.length)}${next && !searching ? ' (and more: this many at a time)' : ''} unfinished`;
  return [
    element('p', {role: 'status', id: 'bulk-count'}, count),
    problem && element('p', {class: 'note', role: 'alert'}, problem),
    rows.length > 0 && box('first mono small', rows.slice(0, 20).map(row => box('', row.gid)), rows.length > 20 && box('soft', `… and ${numberText(rows.length - 20)} more`)),
    element('label', {class: 'field'}, 'what to do', element('select', {name: 'action'}, ['retry', 'cancel', 'stop'].map(name => element('option', {value: name}, actions[name].label)))),
    element('p', {class: 'soft small'}, 'Retry forgets their waits, Cancel rolls them back, Stop ends them as failed without compensations.'),
    whoField(), whyField(), box('buttons', closeButton('Leave it'), submitButton(`Do it to ${numberText(rows.length)}`, true, searching || rows.length === 0)),
  ];
}

function bulkProgress(told) {
  const {rows, done, refused, isOver, problem} = told;
  return [
    element('p', {role: 'status', id: 'bulk-progress'}, bulkText(told)),
    element('progress', {max: rows.length, value: done, 'aria-label': 'Progress'}),
    problem && element('p', {class: 'note', role: 'alert'}, problem),
    refused.length > 0 && box('first small', refused.slice(0, 20).map(({gid, why}) => box('', element('span', {class: 'mono'}, gid), `: ${why}`))),
    box('buttons', closeButton(isOver ? 'Close' : 'Stop')),
  ];
}

function bulkText({rows, done, refused, isOver}) {
  const begin = !isOver ? '' : done < rows.length ? 'Stopped: ' : 'Ended: ';
  return `${begin}${numberText(done)} of ${numberText(rows.length)} asked, ${numberText(refused.length)} refused`;
}

/** Four at a time, until all are done, the dialog is closed, or the server does not answer. */
async function runBulk(action, who, why) {
  const {rows, started} = state.dialog;
  const isHere = () => state.dialog?.started === started;
  const told = {rows, done: 0, refused: [], running: true, problem: ''};
  const tell = () => isHere() && setDialog(told);
  let taken = 0;
  tell();
  const worker = async () => {
    while (taken < rows.length && isHere() && !state.locked && !told.problem) {
      const one = rows[taken++];
      const wrong = await act(action, one, who, why);
      told.done += 1;
      if (wrong) told.refused.push({gid: one.gid, why: wrong.message});
      if (wrong?.status === 0) told.problem = 'The server does not answer, so the others were not asked.';
      tell();
    }
  };
  await Promise.all([worker(), worker(), worker(), worker()]);
  told.isOver = true;
  if (isHere()) tell();
  else setPage({notice: `${actions[action].label}: ${bulkText(told)}.`});
  load();
}

// ---- What is clicked, sent and typed: elements say what they do by data-do ----------------------------------------------

const clicks = {
  skip(link, event) {
    event.preventDefault();
    byId('main').focus();
  },
  reload() { load(); },
  back() { history.back(); },
  close() { set({dialog: null}); },
  open(row, event) {
    if (!event.target.closest('a') && String(getSelection()) === '') location.hash = linkTo('transaction', {gid: row.dataset.gid});
  },
  act(button) { set({dialog: {kind: 'action', action: button.dataset.action, subject: state.page.data.story.transaction}}); },
  'skip-branch'(button) {
    const {gid} = state.page.data.story.transaction;
    set({dialog: {kind: 'action', action: 'skip', subject: {gid, branch_id: button.dataset.branch, op: button.dataset.op}}});
  },
  async bulk() {
    const query = {...queryOf(state.page.params), unfinished: 1};
    const started = performance.now();
    const isHere = () => state.dialog?.started === started && !state.dialog.running;
    const tell = told => isHere() && setDialog(told);
    set({dialog: {kind: 'bulk', started, rows: [], searching: true}});
    try {
      tell(await readSome(query, MOST_AT_ONCE, '', tell, isHere));
    } catch (error) {
      tell({problem: error.message, searching: false});
    }
  },
  unsubscribe({dataset: {topic, url}}) {
    set({dialog: {kind: 'confirm', title: `Unsubscribe from ${topic}?`, says: `${url} gets no new messages; those on their way still reach it.`, label: 'Unsubscribe',
      run: () => ask('unsubscribe', {method: 'POST', query: {topic, url}}), done: `${url} is unsubscribed from ${topic}.`}});
  },
  'delete-topic'({dataset: {topic}}) {
    set({dialog: {kind: 'confirm', title: `Delete the topic ${topic}?`, says: 'All its subscribers go with it. New messages to it are refused.', label: 'Delete',
      run: () => ask(`topic/${encodeURIComponent(topic)}`, {method: 'DELETE'}), done: `The topic ${topic} is deleted.`}});
  },
};

const submits = {
  login(given) {
)desk"
R"desk(    const token = given.token.trim();
    if (!/^[!-~]+$/.test(token)) return set({tokenProblem: 'No token has such a character: it is of ASCII, without blanks.'});
    sessionStorage.setItem('dtm-token', token);
    set({token, locked: false, tokenProblem: ''});
    poll();
    load();
  },
  close() { set({dialog: null}); },
  async 'do-action'({who, why}) {
    const dialog = state.dialog;
    const {action, subject} = dialog;
    rememberWho(who);
    setDialog({busy: true, problem: ''});
    const wrong = await act(action, subject, who, why);
    if (state.dialog?.subject !== subject) return;
    if (wrong) return setDialog({busy: false, problem: wrong.message});
    set({dialog: null});
    setPage({notice: `${actions[action].label}: the server has stored it.`});
    load();
  },
  async confirmed() {
    const {run, done} = state.dialog;
    try {
      await run();
      set({dialog: null});
      setPage({notice: done});
      load();
    } catch (error) {
      setDialog({problem: error.message});
    }
  },
  'do-bulk'({action, who, why}) {
    if (state.dialog.running) return;
    rememberWho(who);
    runBulk(action, who, why);
  },
  async subscribe({topic, url, remark}, form) {
    try {
      await ask('subscribe', {method: 'POST', query: {topic, url, remark}});
      form.reset();
      setPage({problem: '', notice: `It is subscribed to ${topic}.`});
      load();
    } catch (error) {
      setPage({problem: error.message, notice: ''});
    }
  },
  filter(given) { location.hash = linkTo('list', given); },
};

function rememberWho(who) {
  sessionStorage.setItem('dtm-who', who);
  state.who = who;
}

const valuesOf = form => Object.fromEntries(new FormData(form));

document.addEventListener('click', event => {
  const target = event.target.closest('[data-do]');
  if (target && target.nodeName !== 'FORM') clicks[target.dataset.do]?.(target, event);
});

document.addEventListener('submit', event => {
  event.preventDefault();
  submits[event.target.dataset.do]?.(valuesOf(event.target), event.target);
});

let typing = 0;

/** A text counts once nobody has typed for a moment, what is chosen counts at once. */
function filterSoon({type, target}) {
  const form = target.closest('#filters');
  if (!form || (type === 'input') !== (target.type === 'search')) return;
  clearTimeout(typing);
  typing = setTimeout(() => submits.filter(valuesOf(form)), type === 'input' ? 300 : 0);
}

document.addEventListener('input', filterSoon);
document.addEventListener('change', filterSoon);

byId('dialog').addEventListener('cancel', () => set({dialog: null}));
byId('login').addEventListener('cancel', event => event.preventDefault());

const keys = {
  '/'() {
    const focus = () => document.querySelector('#filters input[name=gid]')?.focus();
    if (state.page.name === 'list') return focus();
    addEventListener('hashchange', () => setTimeout(focus), {once: true});  // once the list is drawn
    location.hash = linkTo('list');
  },
  j() { moveFocus(1); },
  k() { moveFocus(-1); },
  r() { load(); },
  '?'() { set({dialog: {kind: 'keys'}}); },
  Escape() { if (state.page.name === 'transaction') location.hash = state.listHash; },
};

/** Among the transactions of the list, elsewhere among what can be clicked. */
function moveFocus(step) {
  const rows = [...document.querySelectorAll('main [data-row]')];
  const all = rows.length ? rows : [...document.querySelectorAll('main a[href], main button:not(:disabled), main summary')];
  const at = all.indexOf(document.activeElement);
  all[at < 0 ? (step > 0 ? 0 : all.length - 1) : at + step]?.focus();
}

document.addEventListener('keydown', event => {
  const isTyping = event.target.closest('input, select, textarea');
  if (event.key === 'Escape' && isTyping && !event.target.closest('dialog')) return event.target.blur();
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
  if (!Object.hasOwn(keys, event.key)) return;
  event.preventDefault();
  keys[event.key]();
});

/** The form shows what the address says, except where somebody types. */
function fillFilters(params) {
  for (const field of byId('filters')?.elements ?? []) {
    if (field === document.activeElement) continue;
    if (field.type === 'checkbox') field.checked = params.get(field.name) === '1';
    else if (field.name) field.value = params.get(field.name) ?? '';
  }
}

addEventListener('hashchange', arrive);
document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && poll());
arrive();
poll();
)desk";

inline constexpr char kIcon[] =
R"desk(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="4" fill="#3b6ea8"/><path d="M4 5h5M6.5 8h5.5M4 11h8" stroke="#fff" stroke-width="1.7" stroke-linecap="round"/></svg>
)desk";

// clang-format on

}  // namespace desk
}  // namespace v1
}  // namespace dtm
