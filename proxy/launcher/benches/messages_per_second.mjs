// What the module costs: messages per second through a ring of ten function nodes, with and without it.
//
//   benches/module [ROUNDS]
//
// (That sets HOTSPARE_NR4, HOTSPARE_NR5 and HOTSPARE_NODE22.) Runs with and without take turns, so that a busy
// machine slows both alike; the last line of each version is the ratio of the medians (1.00: the module costs nothing).

import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { createInterface } from 'node:readline'

const ROUNDS = Number(process.argv[2] ?? 5)
const SECONDS = 3
const RING = 10
const module_ = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../module/hotspare.js')

// A message runs round the ring for ever. The first node counts the rounds and tells the rate on standard output.
function flows () {
  const count = `const c = context.get('c') ?? { n: 0, from: Date.now() }; c.n++; context.set('c', c)
    const took = Date.now() - c.from
    if (took > ${SECONDS * 1000}) { global.get('print')('RATE ' + Math.round(c.n * ${RING} / took * 1000)); return }
    return msg`
  const ring = Array.from({ length: RING }, (_, i) => ({
    id: 'f' + i, type: 'function', z: 'tab', func: i === 0 ? count : 'return msg', wires: [['f' + (i + 1) % RING]]
  }))
  const once = { id: 'once', type: 'inject', z: 'tab', props: [{ p: 'payload' }], payload: '1', payloadType: 'num', once: true, onceDelay: 0.5, repeat: '', wires: [['f0']] }
  return [{ id: 'tab', type: 'tab' }, ...ring, once]
}

function run (node, redJs, withModule) {
  const dir = mkdtempSync(path.join(tmpdir(), 'hotspare-bench-'))
  writeFileSync(path.join(dir, 'flows.json'), JSON.stringify(flows()))
  writeFileSync(path.join(dir, 'settings.js'), `module.exports = { uiHost: '127.0.0.1', uiPort: 0, telemetry: { enabled: false },
    functionGlobalContext: { print: (text) => console.log(text) } }`)
  const env = { ...process.env }
  if (withModule) {
    const restore_env = { NODE_OPTIONS: null, HOTSPARE_MODULE: null, HOTSPARE_FD: null }
    env.NODE_OPTIONS = `--require="${module_}"`
    env.HOTSPARE_MODULE = JSON.stringify({ member: 'a', grace_ms: 50, restore_env })
    env.HOTSPARE_FD = '3'
  }
  const red = spawn(node, [redJs, '-u', dir, path.join(dir, 'flows.json')], { env, stdio: ['ignore', 'pipe', 'inherit', withModule ? 'pipe' : 'ignore'] })
  if (withModule) lead(red.stdio[3])
  return new Promise((resolve) => {
    createInterface({ input: red.stdout }).on('line', (line) => {
      const rate = /RATE (\d+)/.exec(line)
      if (!rate) return
      red.kill('SIGKILL')
      red.on('exit', () => { rmSync(dir, { recursive: true, force: true }); resolve(Number(rate[1])) })
    })
  })
}

// The launcher's part: start once it is ready, renew ten times a second.
function lead (socket) {
  let started = false
  let last = 0
  const say = (order) => socket.write(JSON.stringify(order) + '\n')
  socket.on('error', () => {})
  createInterface({ input: socket }).on('line', (line) => {
    const report = JSON.parse(line)
    if (report.type !== 'beat') return
    if (Date.now() - last >= 100) { last = Date.now(); say({ type: 'lease', beat: report.seq, left_ms: 1000 }) }
    if (!started && report.flows === 'stopped' && report.ready === null) { started = true; say({ type: 'start', id: 1, epoch: 1 }) }
  })
}

const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)]
const versions = [['Node-RED 4', 'node', process.env.HOTSPARE_NR4], ['Node-RED 5', process.env.HOTSPARE_NODE22, process.env.HOTSPARE_NR5]]
for (const [name, node, folder] of versions) {
  if (!node || !folder) throw new Error('HOTSPARE_NR4, HOTSPARE_NR5 and HOTSPARE_NODE22 must be set: see tests/setup.sh')
  const rates = { without: [], with: [] }
  for (let round = 0; round < ROUNDS; round++) {
    for (const kind of ['without', 'with']) rates[kind].push(await run(node, path.join(folder, 'node_modules/node-red/red.js'), kind === 'with'))
  }
  const [without, with_] = [median(rates.without), median(rates.with)]
  console.log(`${name}: ${without} messages/s without, ${with_} with (medians of ${ROUNDS}; ${rates.without} | ${rates.with})`)
  console.log(`${name}: ratio ${(with_ / without).toFixed(3)}`)
}
