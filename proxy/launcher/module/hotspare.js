'use strict'
// Loaded into Node-RED before anything else (`node --require`), written to disk by `hotspare launcher`. Into one that
// another launcher starts it comes by attach.js.
//
// Owns: whether the flows of this process may run. They may run only when the launcher ordered a start and its lease
// has not ended. That is checked again and again (a level, not an event): when Node-RED wants to start flows, for
// each message, for each HTTP request, and by a thread of its own in worker.js that a hung event loop cannot stop.
// Never: touches the user's settings file, stores anything, talks to the network.
// Next: worker.js (the socket to the launcher, the kill), proxy/launcher/src/module.rs (the launcher's end).
//
// Every part of Node-RED used here that is not documented is listed in `internals` and pinned by tests for each
// supported version. If one is missing the process says so and exits: without the gate no flow may ever run.

const crypto = require('crypto')
const fs = require('fs')
const Module = require('module')
const os = require('os')
const path = require('path')
const { isMainThread, Worker } = require('worker_threads')
const { END, WALL_END, BEAT, MAY_RUN, SLOTS, BEAT_MS, now, kill } = require(path.join(__dirname, 'clock.js'))

// Preloaded modules are loaded by worker threads too, and by tools that Node-RED's start command may run first.
if (!isMainThread) return

// What this process is and where its launcher is: at `fd`, or at the path `socket`.
let config
const shared = new Float64Array(new SharedArrayBuffer(SLOTS * 8)) // aligned doubles: written in one piece on 64-bit machines

module.exports = { watch }
if (process.env.HOTSPARE_MODULE) watch({ ...JSON.parse(process.env.HOTSPARE_MODULE), fd: Number(process.env.HOTSPARE_FD) })

// From now on, a Node-RED runtime that is loaded gets the gate.
function watch (given) {
  config = given
  const load = Module._load
  Module._load = function (request) {
    const exported = load.apply(this, arguments)
    if (request === '@node-red/runtime') {
      Module._load = load
      restoreEnvironment()
      attach(exported)
    }
    return exported
  }
}

// Programs that flows start must not inherit any of this.
function restoreEnvironment () {
  for (const [name, value] of Object.entries(config.restore_env)) {
    if (value === null) delete process.env[name]
    else process.env[name] = value
  }
  process.env.HOTSPARE_MEMBER = config.member
  // By this the launcher finds what flows have started, in a Node-RED that leads no process group of its own.
  if (config.socket) process.env.HOTSPARE_PROCESS = String(process.pid)
}

function attach (api) {
  const worker = new Worker(path.join(__dirname, 'worker.js'), {
    workerData: { shared: shared.buffer, fd: config.fd, path: config.socket, graceMs: config.grace_ms },
    execArgv: [],
    env: {},
    resourceLimits: { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 4 }
  })
  worker.unref()
  worker.on('error', (err) => { console.error('[hotspare] the worker failed, no flow may run:', err); kill() })
  worker.on('exit', kill)
  setInterval(() => { shared[BEAT] = now() }, BEAT_MS).unref()
  shared[BEAT] = now()

  const runtime = api._
  const lost = internals(api, runtime)
  if (lost.length) return refuse(worker, lost)
  const init = api.init
  api.init = function (settings) {
    const gate = makeGate(runtime)
    Object.defineProperty(settings, 'runtimeFlowState', { get: gate.flowState, enumerable: true, configurable: true })
    if (config.node_close_timeout_ms) settings.nodeCloseTimeout = config.node_close_timeout_ms
    const result = init.apply(this, arguments)
    const broken = attachGate(runtime, gate)
    if (broken.length) return refuse(worker, broken)
    conduct(runtime, gate, worker, settings)
    return result
  }
}

// What is used of Node-RED and is not part of its documented API. Same in 4.x and 5.x.
function internals (api, runtime) {
  const wanted = {
    'runtime.init': typeof api.init === 'function',
    'runtime._': !!runtime,
    'flows.startFlows': typeof runtime?.flows?.startFlows === 'function',
    'flows.stopFlows': typeof runtime?.flows?.stopFlows === 'function',
    'flows.getFlows': typeof runtime?.flows?.getFlows === 'function',
    'flows.started': typeof runtime?.flows?.started === 'boolean',
    'flows.state': typeof runtime?.flows?.state === 'function',
    'flows.setFlows': typeof runtime?.flows?.setFlows === 'function',
    'nodes.getCredentials': typeof runtime?.nodes?.getCredentials === 'function',
    'storage.getFlows': typeof runtime?.storage?.getFlows === 'function',
    'settings.get': typeof runtime?.settings?.get === 'function',
    'nodes.getType': typeof runtime?.nodes?.getType === 'function',
    'hooks.add': typeof runtime?.hooks?.add === 'function' && typeof runtime?.hooks?.trigger === 'function',
    'events.on': typeof runtime?.events?.on === 'function',
    'runtime.version': typeof runtime?.version === 'function'
  }
  return Object.keys(wanted).filter((name) => !wanted[name])
}

// Says why and ends: a Node-RED whose gate cannot be built must not go on. The exit code is known to the launcher.
function refuse (worker, lost) {
  const text = `this Node-RED lacks what the gate is built on (${lost.join(', ')}): no flow may run here`
  console.error('[hotspare] ' + text)
  worker.postMessage({ type: 'broken', text })
  worker.removeAllListeners('exit')
  const until = now() + 500 // the worker sends the reason meanwhile; nothing else may run in this thread
  while (now() < until) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, until - now())
  process.exit(70)
}

// The gate itself: a few lines that everything else leans on.
function makeGate (runtime) {
  const uptimeLead = () => os.uptime() * 1000 - now() // grows by the time the machine spent suspended
  const lead = uptimeLead()
  const gate = {
    ordered: false, // the launcher ordered a start and has not ordered a stop since
    refused: () => {},
    leaseHolds () {
      if (now() >= shared[END]) return false
      if (Date.now() < shared[WALL_END]) return true
      // The wall clock ran ahead of the monotonic one: a suspended machine, or a clock that was set.
      if (uptimeLead() - lead > 50) return false
      shared[WALL_END] = Date.now() + (shared[END] - now())
      return true
    },
    // True: go on. False: drop it. A process whose flows may be running with no lease ends here and now.
    open () {
      if (shared[MAY_RUN] === 0) return false
      if (gate.leaseHolds()) return true
      kill()
      return false
    },
    // Read by Node-RED on each start of flows, whoever asked: boot, deploy, editor, a node type that got installed.
    flowState () {
      if (gate.ordered && gate.leaseHolds()) return 'start'
      gate.refused()
      return 'stop'
    }
  }
  return gate
}

// Puts the gate in Node-RED's way and proves that it is effective. Returns what is not.
function attachGate (runtime, gate) {
  // Exactly one parameter: Node-RED takes any other function for an asynchronous hook and would block every message.
  runtime.hooks.add('onReceive.hotspare', (event) => gate.open() ? undefined : false) // eslint-disable-line no-unused-vars
  // Nothing has been created when this is emitted. It never comes without an order, unless Node-RED no longer asks.
  runtime.events.on('flows:starting', () => { if (!(gate.ordered && gate.open())) kill() })
  let answer
  runtime.hooks.trigger('onReceive', { msg: {} }, (result) => { answer = result })
  const broken = []
  if (answer !== false) broken.push('a hook that halts a message')
  if (runtime.settings.get('runtimeFlowState') !== 'stop') broken.push('runtimeFlowState from the settings')
  if (typeof runtime.nodeApp?.use !== 'function') broken.push('runtime.nodeApp')
  return broken
}

// AES-256-GCM with a key of 32 bytes in hexadecimal digits.
function seal (text, key) {
  const iv = crypto.randomBytes(12)
  const cipher = crypto.createCipheriv('aes-256-gcm', Buffer.from(key, 'hex'), iv)
  const data = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()])
  return { iv: iv.toString('base64'), tag: cipher.getAuthTag().toString('base64'), data: data.toString('base64') }
}

function unseal ({ iv, tag, data }, key) {
  const decipher = crypto.createDecipheriv('aes-256-gcm', Buffer.from(key, 'hex'), Buffer.from(iv, 'base64'), { authTagLength: 16 })
  decipher.setAuthTag(Buffer.from(tag, 'base64'))
  return Buffer.concat([decipher.update(Buffer.from(data, 'base64')), decipher.final()]).toString('utf8')
}

// Carries out the launcher's orders, one after the other, and reports what is so.
function conduct (runtime, gate, worker, settings) {
  const { events, flows, log } = runtime
  const inFlight = new Set()
  const settling = { starting: 0, closing: 0, waiters: [] }
  const is = { booted: false, doing: null, epoch: null, problem: null, credentials: null, started: false, halted: null }
  const post = (message) => worker.postMessage(message)

  runtime.nodeApp.use((req, res, next) => {
    if (!gate.open()) {
      // FlowFuse's launcher asks by HEAD whether Node-RED hangs, and takes 503 for yes. No flow is there to answer.
      if (config.socket && req.method === 'HEAD') return next()
      res.writeHead(503, { Connection: 'close', 'x-hotspare': 'standby', 'Content-Type': 'text/plain' })
      return res.end('standby\n')
    }
    inFlight.add(res)
    res.once('close', () => inFlight.delete(res))
    next()
  })

  // Node-RED says "start" for a moment whenever it is about to ask the gate: a standby never does.
  const flowsState = flows.state
  flows.state = () => (!gate.ordered && flowsState() === 'start') ? 'stop' : flowsState()

  const missingTypes = () => {
    const nodes = flows.getFlows()?.flows ?? []
    const subflows = new Set(nodes.filter((n) => n.type === 'subflow').map((n) => 'subflow:' + n.id))
    const known = (type) => ['tab', 'subflow', 'group'].includes(type) || subflows.has(type) || runtime.nodes.getType(type)
    return [...new Set(nodes.map((n) => n.type))].filter((type) => !known(type))
  }
  // Flows were loaded (or could not be), and HTTP is answered if there is any.
  const up = () => {
    const serves = settings.httpAdminRoot !== false || settings.httpNodeRoot !== false || settings.httpStatic
    return is.booted && !(serves && runtime.server && !runtime.server.listening)
  }
  const whyNotReady = () => {
    if (!up()) return 'Node-RED is booting'
    if (settings.safeMode) return 'Node-RED is in safe mode'
    if (!flows.getFlows()) return 'the flows could not be loaded'
    const types = missingTypes()
    if (types.length) return 'missing node types ' + types.join(', ')
    return is.problem ?? is.credentials
  }
  const state = () => {
    if (is.doing) return is.doing
    if (!up()) return 'booting'
    return is.started ? 'running' : 'stopped'
  }
  // Ordered to run, and standing still all the same: stopped in the editor, or a deploy that could not start.
  const whyHalted = () => (gate.ordered && state() === 'stopped') ? whyNotReady() ?? 'they were stopped in the editor' : null
  let reported = ''
  const report = () => {
    const status = { type: 'state', flows: state(), epoch: is.epoch, halted: whyHalted(), missing_types: missingTypes(), ready: whyNotReady(), revision: flows.getFlows()?.rev ?? null }
    if (is.halted !== status.halted) {
      is.halted = status.halted
      if (gate.ordered) notify(is.halted ? active : null)
    }
    const text = JSON.stringify(status)
    if (text !== reported) post(status)
    reported = text
  }
  // Kept by the editor and shown to whoever opens it. (The editor takes a colon for a separator.)
  const notify = (text) => events.emit('runtime-event', { id: 'hotspare', retain: true, payload: text ? { type: 'warning', text } : {} })
  const standby = `Standby member ${config.member} - its flows are stopped and stay stopped until the launcher starts them`
  const active = `Active member ${config.member} - its flows stand still, and no other member starts them while it is up: start them here, or fail over`
  gate.refused = () => {
    if (is.booted && !is.doing) log.warn('[hotspare] start of flows refused: this member is standby')
    setImmediate(() => { if (!gate.ordered) notify(standby) }) // after what Node-RED itself has to say of it
  }

  const settle = (change) => () => {
    change()
    if (!settling.starting && !settling.closing) settling.waiters.splice(0).forEach((resolve) => resolve())
    report()
  }
  const settled = () => (settling.starting || settling.closing) ? new Promise((resolve) => settling.waiters.push(resolve)) : Promise.resolve()
  events.on('flows:starting', settle(() => { settling.starting++ }))
  events.on('flows:started', settle(() => { settling.starting--; is.started = true; is.problem = null }))
  events.on('flows:stopping', settle(() => { settling.closing++ }))
  events.on('flows:stopped', settle(() => { settling.closing-- }))
  events.on('type-registered', () => { if (is.booted) setImmediate(report) })
  events.on('runtime-event', ({ id, payload }) => {
    if (id === 'runtime-deploy') {
      is.problem = is.credentials = null
      post({ type: 'deploy', revision: payload.revision, missing_types: missingTypes() })
    } else if (id !== 'runtime-state' || !payload) return
    if (payload.error === 'credentials_load_failed') is.credentials = 'the credentials cannot be read (another credentialSecret?)'
    else if (payload.error === 'missing-modules') is.problem = 'missing modules ' + payload.modules.map((m) => m.module).join(', ')
    else if (payload.error && payload.error !== 'missing-types') is.problem = String(payload.error)
    // A deploy stops and starts the flows: that is no stop. One asked for in the editor is.
    if (payload.state && payload.state !== 'start' && !payload.deploy) is.started = false
    if (payload.state || (payload.error && payload.error !== 'credentials_load_failed')) is.booted = true
    // Node-RED says "start" of flows that it could not start. Put that right, so that a standby never says it.
    if (payload.error?.startsWith('missing-') && !gate.ordered) setImmediate(() => flows.stopFlows('full', undefined, true))
    setImmediate(report)
  })
  runtime.server?.once?.('listening', () => { post({ type: 'listening', port: runtime.server.address().port }); report() })

  async function start ({ id, epoch }) {
    const why = whyNotReady()
    if (why) return post({ type: 'started', id, ok: false, kind: 'not_ready', text: why })
    if (!gate.leaseHolds()) return post({ type: 'started', id, ok: false, kind: 'lease_over', text: 'the lease ended before the flows could start' })
    process.env.HOTSPARE_EPOCH = String(epoch)
    is.epoch = epoch
    shared[MAY_RUN] = 1
    gate.ordered = true
    is.doing = 'starting'
    report()
    let text = null
    try {
      await settled()
      await flows.startFlows('full')
    } catch (err) {
      text = String(err)
    }
    if (is.started && flows.started && !text) {
      shared[BEAT] = now() // what the start took was no hang
      notify(null)
      is.doing = null
      post({ type: 'started', id, ok: true })
      return report()
    }
    await stopAll()
    post({ type: 'started', id, ok: false, kind: 'failed', text: text ?? is.problem ?? 'Node-RED did not start the flows' })
  }

  // After this no flow of this process runs, or the process is gone: a node that does not close in time counts as running.
  async function stopAll () {
    gate.ordered = false
    is.doing = 'stopping'
    report()
    const limit = settings.nodeCloseTimeout || 15000
    do {
      await settled()
      const began = now()
      await flows.stopFlows('full')
      await settled()
      if (now() - began >= limit - 5) {
        log.error('[hotspare] a node did not close in time: ending the process, so that nothing of it runs on')
        kill()
      }
    } while (flows.started)
    shared[MAY_RUN] = 0
    for (const res of inFlight) res.destroy() // no flow will ever answer these
    delete process.env.HOTSPARE_EPOCH
    is.epoch = is.doing = null
    is.started = false
    notify(standby)
    report()
  }

  // The flows as they are stored, for the other member. Credentials leave this process sealed with the pair's key: the
  // other member may keep its own under another credentialSecret.
  async function exportFlows ({ id, path, key }) {
    const { flows: nodes, rev } = await runtime.storage.getFlows()
    const credentials = {}
    for (const node of nodes) {
      const known = runtime.nodes.getCredentials(node.id)
      if (known) credentials[node.id] = known
    }
    const file = { revision: rev, flows: nodes, credentials: seal(JSON.stringify(credentials), key) }
    fs.writeFileSync(path, JSON.stringify(file), { mode: 0o600 })
    post({ type: 'transferred', id, ok: true })
  }

  // Stores what the active has, and loads it. The gate keeps it stopped.
  async function importFlows ({ id, path, key }) {
    if (gate.ordered) return post({ type: 'transferred', id, ok: false, text: 'the flows of this member run' })
    const { flows: nodes, credentials } = JSON.parse(fs.readFileSync(path))
    const known = JSON.parse(unseal(credentials, key))
    is.problem = is.credentials = null
    await flows.setFlows(nodes, known, 'full', true)
    post({ type: 'transferred', id, ok: true })
    report()
  }

  // Where context stores keep files; those of Node-RED's own kind only.
  const contextFolders = () => Object.entries(settings.contextStorage ?? {})
    .filter(([, store]) => store?.module === 'localfilesystem')
    .map(([name, { config }]) => [name, path.join(config?.dir ?? settings.userDir, config?.base ?? 'context')])
  const filesIn = async (folder) => {
    const all = await fs.promises.readdir(folder, { recursive: true }).catch(() => [])
    return all.filter((file) => file.endsWith('.json'))
  }

  // What the stores have written so far: not what they still hold in memory.
  async function exportContext ({ id, path: to, key }) {
    const stores = {}
    for (const [name, folder] of contextFolders()) {
      stores[name] = {}
      for (const file of await filesIn(folder)) {
        stores[name][file] = await fs.promises.readFile(path.join(folder, file), 'utf8')
      }
    }
    await fs.promises.writeFile(to, JSON.stringify(seal(JSON.stringify(stores), key)), { mode: 0o600 })
    post({ type: 'transferred', id, ok: true })
  }

  // Stores are closed before their files change and read them again afterwards. No flow runs that could write meanwhile.
  async function importContext ({ id, path: from, key }) {
    if (gate.ordered) return post({ type: 'transferred', id, ok: false, text: 'the flows of this member run' })
    const stores = JSON.parse(unseal(JSON.parse(fs.readFileSync(from)), key))
    await runtime.nodes.closeContextsPlugin()
    for (const [name, folder] of contextFolders().filter(([name]) => stores[name])) {
      for (const file of await filesIn(folder)) {
        if (!(file in stores[name])) await fs.promises.rm(path.join(folder, file))
      }
      for (const [file, text] of Object.entries(stores[name])) {
        const to = path.join(folder, file)
        if (!to.startsWith(folder + path.sep)) throw new Error('a context file outside of its folder: ' + file)
        await fs.promises.mkdir(path.dirname(to), { recursive: true })
        await fs.promises.writeFile(to + '.new', text)
        await fs.promises.rename(to + '.new', to)
      }
    }
    await runtime.nodes.loadContextsPlugin()
    post({ type: 'transferred', id, ok: true })
  }

  const transfers = { export: exportFlows, import: importFlows, export_context: exportContext, import_context: importContext }
  const transfer = (order) => transfers[order.type](order)
    .catch((err) => post({ type: 'transferred', id: order.id, ok: false, text: String(err) }))

  let last = Promise.resolve()
  worker.on('message', (order) => {
    last = last.then(async () => {
      while (order.type === 'hang'); // a drill: stands still until it is killed
      if (order.type in transfers) await transfer(order)
      if (order.type === 'start') await start(order)
      if (order.type === 'stop') { await stopAll(); post({ type: 'stopped', id: order.id }) }
    }).catch((err) => { log.error('[hotspare] ' + (err.stack || err)); kill() })
  })
  post({ type: 'attached', node_red: runtime.version(), user_dir: settings.userDir ?? null })
  report()
}
