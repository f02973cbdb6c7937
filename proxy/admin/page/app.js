// The live page: one stream of changes from the proxy, drawn as cards; one instance in full when its card is chosen.
// Everything from outside goes into the page as text, never as markup.

const by = (id) => document.getElementById(id);
const instances = new Map();
const cards = new Map();
let role = "read";
let chosen = null;
let detail = null;
let events = [];

const el = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
};

// Makes `old` like `fresh` with as few changes as there can be: what has the focus keeps it, and a press that is under
// way while the page is drawn again still counts.
function patch(old, fresh) {
  if (old.nodeName !== fresh.nodeName) return old.replaceWith(fresh);
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  fill(old, [...fresh.childNodes]);
}

function fill(box, fresh) {
  while (box.childNodes.length > fresh.length) box.lastChild.remove();
  fresh.forEach((child, n) => (n < box.childNodes.length ? patch(box.childNodes[n], child) : box.append(child)));
}

const headers = () => {
  const token = sessionStorage.getItem("token");
  return token ? { authorization: `Bearer ${token}` } : {};
};

async function ask(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: { ...headers(), ...options.headers }, cache: "no-store" });
  if (answer.status !== 401) return answer;
  await login();
  return ask(path, options);
}

function login() {
  const dialog = by("login");
  return new Promise((resolve) => {
    if (dialog.open) return dialog.addEventListener("close", resolve, { once: true });
    dialog.addEventListener("close", () => {
      sessionStorage.setItem("token", by("token").value.trim());
      by("token").value = "";
      resolve();
    }, { once: true });
    dialog.showModal();
  });
}

// Server-sent events, read by fetch so that a token can go with the request. Comes back by itself.
async function follow(path, take, state) {
  for (let wait = 250; ; wait = Math.min(wait * 2, 5000)) {
    try {
      const answer = await ask(path(), { headers: { accept: "text/event-stream" }, signal: state.signal });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      state.up?.();
      wait = 250;
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        const blocks = (rest + value).split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) {
          const data = block.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
          if (data) take(JSON.parse(data));
        }
      }
    } catch (error) {
      if (state.signal?.aborted) return;
    }
    state.down?.();
    await new Promise((resolve) => setTimeout(resolve, wait));
    if (state.signal?.aborted) return;
  }
}

const verdict = (i) => {
  if (!i.active) return { level: "bad", word: i.state === "no_active" ? "down" : i.state.replace("_", " ") };
  if (i.frozen) return { level: "bad", word: "frozen" };
  if (i.blind) return { level: "bad", word: "blind" };
  if (i.state !== "active" && i.state !== "follower") return { level: "note", word: i.state };
  if (i.paused !== null) return { level: "note", word: "paused" };
  if (!i.spare_ready) return { level: "note", word: "no spare" };
  if (i.in_sync === false) return { level: "note", word: "out of sync" };
  return { level: "good", word: "ready" };
};

function drawCard(i) {
  let item = cards.get(i.name);
  if (!item) {
    item = el("li", {}, el("a", { class: "card", href: `#${encodeURIComponent(i.name)}` }));
    item.place = cards.size;
    cards.set(i.name, item);
  }
  const { level, word } = verdict(i);
  put(item, ["bad", "note", "good"].indexOf(level));
  item.firstChild.className = `card ${level}`;
  const active = i.active ? `${i.active} active, epoch ${i.epoch}` : "nobody active";
  const traffic = `${i.connections} connections${i.parked ? `, ${i.parked} waiting` : ""}`;
  fill(item.firstChild, [
    el("strong", {}, el("span", {}, i.name), el("span", { class: "word" }, word)),
    el("span", {}, `${active} · ${traffic}`),
    el("span", {}, i.detail),
  ]);
  item.hidden = !matches(i);
}

// What is in trouble comes first; else the order is that of the configuration.
function put(item, rank) {
  if (item.rank === rank) return;
  item.rank = rank;
  const focused = item.contains(document.activeElement) ? document.activeElement : null;
  item.remove();
  const all = by("cards").children;
  let [low, high] = [0, all.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const other = all[middle];
    if (other.rank < rank || (other.rank === rank && other.place < item.place)) low = middle + 1;
    else high = middle;
  }
  by("cards").insertBefore(item, all[low] ?? null);
  focused?.focus();
}

const matches = (i) => {
  const wanted = by("filter").value.trim().toLowerCase();
  return !wanted || `${i.name} ${verdict(i).word} ${i.state}`.toLowerCase().includes(wanted);
};

function tally() {
  const all = [...instances.values()];
  const count = (level) => all.filter((i) => verdict(i).level === level).length;
  const parts = [["good", "ready"], ["note", "to look at"], ["bad", "in trouble"]];
  fill(by("tally"), parts.map(([level, words]) => [level, words, count(level)]).filter(([level, , n]) => n || level === "good")
    .map(([level, words, n]) => el("span", { class: `word ${level}` }, `${n} ${words}`)));
  by("none").hidden = all.length === 0 || all.some(matches);
  document.title = count("bad") ? `(${count("bad")}) hotspare` : "hotspare";
}

const duration = (ms) => {
  if (ms === null || ms === undefined) return "–";
  const s = Math.round(ms / 1000);
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  return s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} d`;
};

const rows = (pairs) => el("dl", {}, ...pairs.filter(([, value]) => value !== null && value !== undefined && value !== "")
  .map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value instanceof Node ? value : String(value)))));

// The time of day; with the day where it is not today.
const moment = (ms) => {
  const at = new Date(ms);
  const time = at.toLocaleTimeString([], { hour12: false });
  const today = at.toDateString() === new Date().toDateString();
  return today ? time : `${at.toLocaleDateString([], { month: "short", day: "numeric" })} ${time}`;
};

function drawMember(m, ttl) {
  const ready = m.role === "active" ? "active" : m.ready ? "ready" : "not ready";
  const level = m.role === "active" || m.ready ? "" : "bad";
  const plain = m.kind === "none";
  const lease = m.lease_left_ms === null ? null
    : el("span", { class: "lease" },
      el("meter", { min: 0, max: ttl, low: ttl * 0.3, optimum: ttl, value: m.lease_left_ms, "aria-label": "lease left" }),
      ` ${m.lease_left_ms} of ${ttl} ms`);
  return el("article", { class: `member ${m.role}`, "aria-label": `member ${m.name}` },
    el("header", {}, el("h3", {}, m.name), el("span", { class: `word ${level}` }, ready)),
    rows([
      ["flows", plain ? null : m.flows], ["why not", m.role === "active" ? null : m.why_not], ["epoch", m.tenure],
      ["lease", lease], ["event loop", plain || m.lag_ms === null ? null : `${m.lag_ms} ms behind`], ["link", m.link],
      ["health", m.health],
      ["last heard", m.heard_ms === null ? "never" : `${m.heard_ms} ms ago`], ["address", m.address],
      ["launcher", m.kind], ["Node-RED", m.node_red], ["revision", m.revision?.slice(0, 12)],
    ]));
}

const orders = {
  switchover: ["Switch over", "The standby becomes the active. Clients wait for a moment; no request is lost."],
  restart: ["Restart both", "The standby first, then a switchover, then the other. It stops at the first failure."],
  pause: ["Pause for an hour", "No automatic decision for an hour: a failure of the active is then not repaired."],
  resume: ["Resume", "Automatic decisions again."],
  unfreeze: ["Unfreeze", "Failovers are allowed again."],
};

function drawDetail() {
  const box = by("detail");
  box.hidden = !chosen;
  by("overview").hidden = Boolean(chosen);
  if (!chosen) return;
  const i = detail;
  if (!i || i.name !== chosen) {
    return fill(box, [el("p", {}, `${chosen}: looking…`)]);
  }
  const { level, word } = verdict({ ...i, spare_ready: i.members.some((m) => m.role !== "active" && m.ready) });
  const offered = ["switchover", "restart", i.paused === null ? "pause" : "resume", i.frozen ? "unfreeze" : null].filter(Boolean);
  const acts = role === "read" ? null : el("div", { class: "acts", role: "group", "aria-label": "orders" },
    ...offered.map((order) => el("button", { type: "button", "data-order": order }, orders[order][0])));
  const last = i.last_failover;
  fill(box, [
    el("p", { class: "back" }, el("a", { href: "#" }, "← all instances")),
    el("div", { class: "bar" },
      el("h2", { id: "detail-title" }, i.name), el("span", { class: `word ${level}` }, word), el("p", {}, i.detail)),
    ...(i.paused === null ? [] : [el("p", { class: "paused" }, `Paused: ${i.paused} (${duration(i.pause_left_ms)} left)`)]),
    ...(acts ? [acts] : []),
    el("div", { class: "members" }, ...i.members.map((m) => drawMember(m, i.lease_ttl_ms))),
    el("h3", {}, "Service"),
    el("div", { class: "service" }, rows([
      ["state", `${i.state.replace("_", " ")} for ${duration(i.since_ms)}`], ["epoch", i.epoch], ["traffic goes to", i.route],
      ["listens on", i.listeners.map((l) => l.address).join(", ")],
      ["connections", `${i.traffic.connections} open, ${i.traffic.connections_total} in all`],
      ["waiting", i.traffic.parked], ["spare in sync", i.in_sync === null ? "not known" : i.in_sync ? "yes" : "no"],
      ["last change", last && `${last.from ?? "nobody"} → ${last.to}, ${duration(last.ago_ms)} ago, ${last.outage_ms} ms: ${last.cause}`],
    ])),
    el("h3", {}, "What happened"),
    el("ul", { class: "events" }, ...events.slice(-60).reverse().map((e) => el("li", {},
      el("time", { datetime: new Date(e.at_ms).toISOString() }, moment(e.at_ms)),
      el("span", { class: e.level }, e.text)))),
  ]);
}

by("detail").addEventListener("click", (event) => {
  const order = event.target.closest("[data-order]")?.dataset.order;
  if (order) act(order);
});

async function act(order) {
  const name = chosen;
  const [title, text] = orders[order];
  const dialog = by("confirm");
  by("confirm-title").textContent = `${title}: ${name}?`;
  by("confirm-text").textContent = text;
  by("confirm-yes").textContent = title;
  by("confirm-reason").value = "";
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  if (dialog.returnValue !== "yes") return;
  const body = { reason: by("confirm-reason").value.trim() || "from the page" };
  if (order === "pause") body.for_ms = 3600000;
  say(`${title}: asked…`);
  const answer = await ask(`/v1/instances/${encodeURIComponent(name)}/${order}`, {
    method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" },
  });
  const result = await answer.json().catch(() => ({ error: `status ${answer.status}` }));
  say(answer.ok ? `${title}: ${result.message}` : `${title}: not done. ${result.error}`);
}

function connection(text) {
  const status = by("connection");
  if (status.textContent !== text) status.textContent = text;
  document.body.classList.toggle("stale", text !== "live");
}

let saying;
function say(text) {
  by("said").textContent = text;
  clearTimeout(saying);
  saying = setTimeout(() => { by("said").textContent = ""; }, 8000);
}

let watching = new AbortController();
function choose() {
  chosen = decodeURIComponent(location.hash.slice(1)) || null;
  watching.abort();
  watching = new AbortController();
  [detail, events] = [null, []];
  drawDetail();
  if (!chosen) return;
  const query = encodeURIComponent(chosen);
  const name = chosen;
  follow(() => `/v1/live?instance=${query}`, (change) => { if (chosen === name) { detail = change.instance; drawDetail(); } }, { signal: watching.signal });
  follow(() => `/v1/events?follow=1&instance=${query}&since=${events.at(-1)?.id ?? 0}`, (event) => {
    if (chosen !== name || event.id <= (events.at(-1)?.id ?? 0)) return;
    events.push(event);
    events = events.slice(-200);
    drawDetail();
  }, { signal: watching.signal });
}

follow(() => "/v1/live", (change) => {
  if (change.controller) {
    const c = change.controller;
    role = change.role;
    by("controller").textContent = `${c.name} ${c.version} · ${c.leader ? "decides" : "follows"} · store ${c.store}${c.store_ok ? "" : " failing"}`;
  }
  if (change.names) {
    for (const name of instances.keys()) {
      if (!change.names.includes(name)) { instances.delete(name); cards.get(name)?.remove(); cards.delete(name); }
    }
  }
  for (const i of change.changed ?? []) { instances.set(i.name, i); drawCard(i); }
  tally();
}, { up: () => connection("live"), down: () => connection("connection lost, trying again…") });

// No submit button, so that Enter after the reason is a yes.
by("confirm-no").addEventListener("click", () => by("confirm").close("no"));
by("filter").addEventListener("input", () => {
  for (const i of instances.values()) cards.get(i.name).hidden = !matches(i);
  tally();
});
addEventListener("hashchange", choose);
choose();
