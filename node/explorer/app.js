// The explorer: reads the API of the validator that served it, and writes nothing.
//
// Everything that comes from the chain is text: it is set as text, never as markup.
"use strict";

const POLL_MS = 1000;
const HISTORY = 120;   // samples of a plot
const SHORTEST = 30;   // samples that fill one
const VOTE_WINDOW = 100; // blocks that a validator's share of votes is taken from
const PAGE = 20;

// ------------------------------------------------------------------------------------------------------------ the API

class Problem extends Error {
  constructor(status, code, detail) { super(detail); this.status = status; this.code = code; }
}

async function api(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" }, cache: "no-store" });
  const body = await answer.json();
  if (!answer.ok) throw new Problem(answer.status, body.code, body.detail);
  return body;
}

// Numbers above 2^53 would be rounded by JSON.parse; times are, which costs less than a microsecond.
const millis = (nanos) => nanos / 1e6;

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

function readable(base64, limit = 200) {
  const bytes = bytesOf(base64);
  const cut = bytes.length > limit;
  const shown = bytes.slice(0, limit);
  try {
    const text = new TextDecoder("utf-8", { fatal: !cut }).decode(shown);
    // eslint-disable-next-line no-control-regex
    if (!/[\u0000-\u0008\u000b-\u001f\u007f]/.test(text)) return text + (cut ? "…" : "");
  } catch { /* no text */ }
  return "0x" + Array.from(shown, (byte) => byte.toString(16).padStart(2, "0")).join("") + (cut ? "…" : "");
}

function percent(bytes) {
  return Array.from(bytes, (byte) => "%" + byte.toString(16).padStart(2, "0")).join("");
}

// --------------------------------------------------------------------------------------------------------- the document

function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined).map((child) => child instanceof Node ? child : String(child)));
  return element;
}

function svg(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
}

const main = document.getElementById("main");
const number = new Intl.NumberFormat("en");
const short = (hex) => hex.slice(0, 10) + "…";

function time(nanos) {
  const date = new Date(millis(nanos));
  return h("time", { datetime: date.toISOString(), title: date.toISOString() }, date.toISOString().slice(11, 23));
}

function facts(entries) {
  return h("dl", { class: "facts" }, entries.filter(Boolean).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

function table(caption, heads, rows, empty) {
  const head = h("tr", {}, heads.map(([title, kind]) => h("th", { scope: "col", class: kind }, title)));
  const body = rows.length ? rows : [h("tr", {}, h("td", { colspan: heads.length, class: "soft" }, empty))];
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    h("table", {}, h("caption", {}, caption), h("thead", {}, head), h("tbody", {}, body)));
}

function row(heads, cells) {
  return h("tr", {}, cells.map((cell, i) => h("td", { class: heads[i][1] }, cell)));
}

// A curve over the last samples, with its range in words for those who do not see it.
function plot(title, unit, samples, digits) {
  // What was not watched yet takes no room, as soon as there is a curve.
  const first = samples.findIndex((value) => value !== null);
  const span = Math.min(HISTORY, Math.max(SHORTEST, first < 0 ? 0 : HISTORY - first));
  const values = samples.slice(-span);
  const known = values.filter((value) => value !== null);
  const high = Math.max(...known, 0) || 1;
  const last = known.length ? known[known.length - 1] : null;
  const shown = (value) => value === null ? "–" : value.toFixed(digits) + " " + unit;
  const points = values.map((value, i) => [i * 300 / (span - 1), value === null ? null : 95 - 90 * value / high]);
  let curve = "", area = "", open = false;
  for (const [x, y] of points) {
    if (y === null) { open = false; continue; }
    curve += (open ? "L" : "M") + x.toFixed(1) + " " + y.toFixed(1);
    open = true;
  }
  // A lone sample is a dot.
  if (known.length === 1) curve += "h0.01";
  const solid = points.filter(([, y]) => y !== null);
  if (solid.length > 1) {
    area = "M" + solid[0][0].toFixed(1) + " 95" + solid.map(([x, y]) => "L" + x.toFixed(1) + " " + y.toFixed(1)).join("")
      + "L" + solid[solid.length - 1][0].toFixed(1) + " 95Z";
  }
  const label = `${title}: now ${shown(last)}, at most ${shown(known.length ? Math.max(...known) : null)} in the last ${span} seconds`;
  return h("section", { class: "card" },
    h("h2", {}, title),
    svg("svg", { class: "plot", viewBox: "0 0 300 100", preserveAspectRatio: "none", role: "img", "aria-label": label },
      svg("path", { class: "axis", d: "M0 95H300M0 5H300" }), svg("path", { class: "area", d: area }), svg("path", { class: "curve", d: curve })),
    h("p", { class: "range" }, h("span", {}, "now " + shown(last)), h("span", {}, `last ${span} s`), h("span", {}, "most " + shown(known.length ? Math.max(...known) : null))));
}

// ------------------------------------------------------------------------------------------------------------ the state

const live = {
  status: null, validators: [], blocks: [], more: false,
  rate: Array(HISTORY).fill(null), latency: Array(HISTORY).fill(null), sampled: null,
};

function sample(status) {
  const now = performance.now();
  const before = live.sampled;
  if (before && status.transactions >= before.status.transactions && status.commits >= before.status.commits) {
    const seconds = (now - before.at) / 1000;
    const commits = status.commits - before.status.commits;
    push(live.rate, (status.transactions - before.status.transactions) / seconds);
    push(live.latency, commits ? millis(status.commit_latency_total_ns - before.status.commit_latency_total_ns) / commits : null);
  }
  live.sampled = { at: now, status };
}

function push(list, value) { list.push(value); list.shift(); }

async function refresh() {
  const status = await api("/v1/status");
  live.validators = (await api("/v1/validators")).validators;
  const newest = live.blocks.length ? live.blocks[0].height : 0;
  if (status.height > newest) {
    const wanted = Math.min(status.height - newest, VOTE_WINDOW);
    const { blocks } = await api(`/v1/blocks?from=${status.height}&limit=${wanted}`);
    const fresh = blocks.filter((block) => block.height > newest);
    const gap = fresh.length && newest && fresh[fresh.length - 1].height > newest + 1;
    live.blocks = fresh.concat(gap ? [] : live.blocks).slice(0, VOTE_WINDOW);
  } else if (status.height < newest) {
    live.blocks = [];
  }
  sample(status);
  live.status = status;
}

function nameOf(index) {
  const validator = live.validators.find((one) => one.index === index);
  return validator ? validator.name : String(index);
}

// ------------------------------------------------------------------------------------------------------------ the pages

const BLOCK_HEADS = [["Height", "number"], ["Time (UTC)"], ["Proposer"], ["Transactions", "number"], ["Votes", "number narrow-off"], ["Block", "narrow-off"]];

function blockRow(block) {
  return row(BLOCK_HEADS, [
    h("a", { href: `#/block/${block.height}` }, number.format(block.height)), time(block.time), nameOf(block.proposer),
    number.format(block.transactions), `${block.voters.length}`, h("span", { class: "mono" }, short(block.id)),
  ]);
}

function figures(status) {
  const leader = status.leader === null ? "unknown" : nameOf(status.leader);
  const entries = [
    ["Height", number.format(status.height)], ["State", h("span", { class: status.ready ? "good" : "bad" }, status.ready ? "ready" : "not ready")],
    ["Leader", leader], ["Round", number.format(status.round)],
    ["Connected", `${status.peers_connected + 1} of ${status.validators}`], ["Waiting", number.format(status.mempool_transactions)],
    ["Behind", `${number.format(status.sync_lag)} blocks`],
  ];
  return h("dl", { class: "figures" }, entries.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

// Why it is not ready.
function failing(status) {
  return (status.failing ?? []).map(({ check, reason }) => h("p", { class: "bad" }, `${check} fails: ${reason}`));
}

function validatorsTable() {
  const heads = [["Validator"], ["Connected"], ["Votes in certificates"], ["Led", "number"], ["Address", "narrow-off"]];
  const blocks = live.blocks;
  const rows = live.validators.map((one) => {
    const votes = blocks.filter((block) => block.voters.includes(one.index)).length;
    const led = blocks.filter((block) => block.proposer === one.index).length;
    const share = blocks.length ? Math.round(100 * votes / blocks.length) : 0;
    const leads = live.status.leader === one.index;
    const meter = h("meter", { min: 0, max: 100, value: share, "aria-label": `votes of ${one.name}` });
    return row(heads, [
      h("span", {}, one.name, leads ? h("strong", {}, " · leads") : ""),
      h("span", { class: one.connected ? "good" : "bad" }, one.connected ? "yes" : "no"),
      h("span", {}, meter, ` ${share} %`), number.format(led), h("span", { class: "mono" }, one.address),
    ]);
  });
  const caption = `Validators, over the last ${blocks.length} blocks`;
  return h("section", { class: "card" }, table(caption, heads, rows, "none"),
    h("p", { class: "soft" }, "A certificate holds exactly a quorum of votes, so one that is away shows as 0 %, and nobody needs 100 %."));
}

function overview() {
  if (!live.status) return [h("p", {}, "Loading…")];
  return [
    h("h1", {}, live.status.name),
    figures(live.status),
    ...failing(live.status),
    h("div", { class: "grid" }, plot("Transactions per second", "/s", live.rate, 0), plot("Commit latency, mean of a second", "ms", live.latency, 1)),
    validatorsTable(),
    h("section", { class: "card" }, table("Newest blocks", BLOCK_HEADS, live.blocks.slice(0, 12).map(blockRow), "no block yet")),
  ];
}

async function blocksPage(from) {
  const query = from ? `from=${from}&` : "";
  const { blocks, more } = await api(`/v1/blocks?${query}limit=${PAGE}`);
  const next = blocks.length ? blocks[blocks.length - 1].height - 1 : 0;
  return [
    h("h1", {}, "Blocks"),
    h("section", { class: "card" }, table("From the newest to the oldest", BLOCK_HEADS, blocks.map(blockRow), "no block yet"),
      h("p", { class: "pager" }, h("a", { href: "#/blocks" }, "Newest"), more ? h("a", { href: `#/blocks/${next}` }, "Older") : null)),
  ];
}

const RECEIPT_HEADS = [["Index", "number"], ["Transaction"], ["Outcome"], ["Client", "narrow-off"], ["Number", "number narrow-off"]];

async function blockPage(height, from) {
  const block = await api(`/v1/blocks/${height}`);
  const { receipts, more } = await api(`/v1/blocks/${height}/receipts?from=${from}&limit=${PAGE}`);
  const rows = receipts.map((receipt) => row(RECEIPT_HEADS, [
    number.format(receipt.index), h("a", { class: "mono", href: `#/tx/${receipt.transaction}` }, short(receipt.transaction)),
    outcome(receipt), h("span", { class: "mono" }, short(receipt.client)), number.format(receipt.sequence),
  ]));
  const links = [
    block.height > 1 ? h("a", { href: `#/block/${block.height - 1}` }, "Block before") : null,
    h("a", { href: `#/block/${block.height + 1}` }, "Block after"),
  ];
  return [
    h("h1", {}, `Block ${number.format(block.height)}`),
    h("section", { class: "card" }, facts([
      ["Id", h("code", {}, block.id)], ["Parent", h("code", {}, block.parent)], ["Time", new Date(millis(block.time)).toISOString()],
      ["Proposed by", nameOf(block.proposer)], ["Round", `${block.epoch}/${block.round}`],
      ["Parent certified by", block.voters.map(nameOf).join(", ") || "the genesis"],
      ["Transactions", number.format(block.transactions)], ["Batches", number.format(block.batches.length)],
      ["Vouches for", `the state of height ${block.claim_height}`], ["State root", h("code", {}, block.claim.state)],
    ]), h("p", { class: "pager" }, links)),
    h("section", { class: "card" }, table("Transactions", RECEIPT_HEADS, rows, "none"),
      h("p", { class: "pager" }, from > 0 ? h("a", { href: `#/block/${height}/${Math.max(0, from - PAGE)}` }, "Before") : null,
        more ? h("a", { href: `#/block/${height}/${from + PAGE}` }, "After") : null)),
  ];
}

function outcome(receipt) {
  return h("span", { class: receipt.outcome === "executed" ? "good" : "bad" }, receipt.outcome);
}

async function transactionPage(id) {
  const { receipt, height, index, state } = await api(`/v1/transactions/${id}`);
  return [
    h("h1", {}, "Transaction"),
    h("section", { class: "card" }, facts([
      ["Id", h("code", {}, id)], ["State", state],
      ["Place", h("a", { href: `#/block/${height}` }, `block ${number.format(height)}, index ${index}`)],
      receipt && ["Outcome", outcome(receipt)], receipt?.reason && ["Reason", receipt.reason],
      receipt && ["Time", new Date(millis(receipt.time)).toISOString()],
      receipt && ["Client", h("code", {}, receipt.client)], receipt && ["Sequence number", number.format(receipt.sequence)],
      receipt?.revision !== undefined && ["Revision after it", number.format(receipt.revision)],
      receipt && ["Results", receipt.results?.length ? h("span", {}, `${receipt.results.length}, canonical: `, h("code", {}, receipt.results.map((one) => readable(one)).join(" · "))) : "none"],
    ])),
  ];
}

const KEY_HEADS = [["Key", "wide"], ["Value", "wide"], ["Version", "number"], ["Changed at revision", "number narrow-off"]];

async function keysPage(prefix) {
  const bytes = new TextEncoder().encode(prefix);
  const { entries, more, height } = await api(`/v1/kv?limit=100&prefix=${percent(bytes)}`);
  const rows = entries.map((entry) => row(KEY_HEADS, [
    h("a", { href: `#/key/${percent(bytesOf(entry.key))}` }, readable(entry.key)), readable(entry.value, 80),
    number.format(entry.version), number.format(entry.modify_revision),
  ]));
  const input = h("input", { id: "prefix", value: prefix, autocomplete: "off", autocapitalize: "off", spellcheck: "false" });
  const form = h("form", { role: "search", "aria-label": "Keys", onsubmit: (event) => { event.preventDefault(); location.hash = `#/keys/${encodeURIComponent(input.value)}`; } },
    h("label", { for: "prefix" }, "Keys that begin with"), input, h("button", { type: "submit" }, "Show"));
  return [
    h("h1", {}, "Keys"),
    h("section", { class: "card" }, form, table(`At height ${number.format(height)}`, KEY_HEADS, rows, "no key"),
      more ? h("p", { class: "soft" }, "There are more: name a longer beginning.") : null),
  ];
}

async function keyPage(name) {
  const entry = await api(`/v1/kv/${name}`);
  const known = entry.value !== undefined;
  return [
    h("h1", {}, `Key ${readable(entry.key)}`),
    h("section", { class: "card" }, facts([
      ["Value", known ? h("code", {}, readable(entry.value, 4096)) : "there is no such key"], ["At height", number.format(entry.height)],
      known && ["Version", number.format(entry.version)], known && ["Created at revision", number.format(entry.create_revision)],
      known && ["Changed at revision", number.format(entry.modify_revision)],
    ])),
  ];
}

// ----------------------------------------------------------------------------------------------------------- the router

let shown = null;

function route() {
  const [page = "", first = "", second = ""] = location.hash.replace(/^#\/?/, "").split("/");
  switch (page) {
    case "": return { page: "overview", live: true, draw: async () => overview() };
    case "blocks": return { page: "blocks", draw: () => blocksPage(/^\d+$/.test(first) ? first : "") };
    case "block": return { page: "blocks", draw: () => blockPage(encodeURIComponent(first), /^\d+$/.test(second) ? Number(second) : 0) };
    case "tx": return { page: "blocks", draw: () => transactionPage(encodeURIComponent(first)) };
    case "keys": return { page: "keys", draw: () => keysPage(decoded(first)) };
    case "key": return { page: "keys", draw: () => keyPage(first) };
    default: return { page: "", draw: async () => [h("h1", {}, "There is no such page"), h("p", {}, h("a", { href: "#/" }, "Overview"))] };
  }
}

function decoded(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

async function show() {
  const target = route();
  const hash = location.hash;
  let content;
  try {
    if (!live.status) await refresh();
    content = await target.draw();
  } catch (error) {
    content = [h("h1", {}, error instanceof Problem && error.status === 404 ? "Not found" : "No answer"), h("p", {}, error.message)];
  }
  if (hash !== location.hash) return; // somebody went on in the meantime
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.page === target.page) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  main.replaceChildren(...content);
  const title = main.querySelector("h1");
  document.title = (title ? title.textContent + " · " : "") + "Quorate explorer";
  // A new page is read from its beginning; a page that only moves keeps the focus where it is.
  if (shown !== null && shown !== hash) main.focus({ preventScroll: true });
  if (shown !== hash) window.scrollTo(0, 0);
  shown = hash;
}

async function tick() {
  const alarm = document.getElementById("alarm");
  if (!document.hidden) {
    try {
      await refresh();
      alarm.hidden = true;
      document.getElementById("who").textContent = live.status.validator;
      // Not while somebody reads it with the keyboard: what has the focus must stay.
      if (route().live && !main.contains(document.activeElement)) main.replaceChildren(...overview());
      else if (route().live) redrawAround(document.activeElement);
    } catch (error) {
      alarm.textContent = error instanceof Problem ? `The validator cannot answer: ${error.message}` : "The validator does not answer.";
      alarm.hidden = false;
    }
  }
  setTimeout(tick, POLL_MS);
}

// Draws the overview anew and gives the focus back to what stands in the same place.
function redrawAround(active) {
  const all = () => Array.from(main.querySelectorAll("a, [tabindex]"));
  const href = active.getAttribute("href");
  const place = all().indexOf(active);
  main.replaceChildren(...overview());
  const after = all();
  const again = after.find((one) => href && one.getAttribute("href") === href) || after[place];
  if (again) again.focus({ preventScroll: true });
}

document.getElementById("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = document.getElementById("query").value.trim();
  if (/^[0-9a-f]{64}$/i.test(text)) location.hash = `#/tx/${text.toLowerCase()}`;
  else if (/^\d+$/.test(text)) location.hash = `#/block/${text}`;
  else if (text) location.hash = `#/keys/${encodeURIComponent(text)}`;
});

document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.ctrlKey && !event.metaKey && !/^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName)) {
    event.preventDefault();
    document.getElementById("query").focus();
  }
});

const themeButton = document.getElementById("theme");
function theme(name) {
  const dark = name ? name === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  if (name) document.documentElement.dataset.theme = name;
  themeButton.setAttribute("aria-pressed", String(dark));
}
themeButton.addEventListener("click", () => {
  const name = themeButton.getAttribute("aria-pressed") === "true" ? "light" : "dark";
  try { localStorage.setItem("theme", name); } catch { /* a private window */ }
  theme(name);
});
let stored = null;
try { stored = localStorage.getItem("theme"); } catch { /* a private window */ }
theme(stored);

addEventListener("hashchange", show);
show().then(tick);
