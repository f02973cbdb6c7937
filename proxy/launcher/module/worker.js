'use strict'
// A thread of its own inside Node-RED. Owns the socket to the launcher, so that renewals are read and the lease's end
// is kept also while the main thread is busy or hung. Kills the process when the lease has ended and flows may be
// running, and when the launcher is gone. Never: anything of Node-RED. Next: hotspare.js.
//
// A launcher that started this process is at a descriptor, and its end is the end of the process. One that attaches is
// at a path: it may come later and go, and while it is away nothing runs. A process that runs flows does not outlive it.
//
// The wire is one JSON object per line. A lease's end is given relative to a beat that this thread sent itself, so a
// renewal that waited in the socket of a frozen process cannot re-arm a lease that is over.

const net = require('net')
const path = require('path')
const { parentPort, workerData } = require('worker_threads')
const { END, WALL_END, BEAT, MAY_RUN, BEAT_MS, now, kill } = require(path.join(__dirname, 'clock.js'))

const KEPT_BEATS = 256 // a renewal that refers to an older beat is ignored
const MAX_UNSENT = 64 * 1024 // bytes; a launcher that does not read gets no more reports
const MAX_LINE = 64 * 1024

const shared = new Float64Array(workerData.shared)
const beats = new Map() // seq -> when it was sent
let seq = 0
let state = { flows: 'booting', epoch: null, halted: null, missing_types: [], ready: 'Node-RED is booting', revision: null }

const DIAL_AGAIN_MS = 250

let socket
const kept = new Map() // what a launcher that comes later has to be told too, by type
const send = (message) => { if (socket && socket.writableLength < MAX_UNSENT) socket.write(JSON.stringify(message) + '\n') }

function listen (to) {
  let text = ''
  to.setEncoding('utf8')
  to.on('data', (chunk) => {
    text += chunk
    const lines = text.split('\n')
    text = lines.pop()
    if (text.length > MAX_LINE) kill()
    for (const line of lines) obey(JSON.parse(line))
  })
}

function greet () {
  send({ type: 'hello', pid: process.pid, node: process.version })
  for (const message of kept.values()) send(message)
  report()
}

function inherit (fd) {
  socket = new net.Socket({ fd, readable: true, writable: true })
  for (const end of ['close', 'end', 'error']) socket.on(end, kill)
  listen(socket)
  greet()
}

function dial (path) {
  const next = net.connect(path)
  next.on('connect', () => { socket = next; greet() })
  next.on('end', () => next.destroy())
  next.on('error', () => {}) // 'close' follows
  next.on('close', () => {
    if (socket === next) {
      socket = undefined
      shared[END] = 0 // no order that waits inside this process finds a lease any more
      if (shared[MAY_RUN] !== 0) kill()
    }
    setTimeout(dial, DIAL_AGAIN_MS, path)
  })
  listen(next)
}

function obey (order) {
  if (order.left_ms !== undefined) renew(order.beat, order.left_ms)
  if (order.type !== 'lease') parentPort.postMessage(order)
}

function renew (beat, leftMs) {
  const sent = beats.get(beat)
  if (sent === undefined) return
  const end = sent + leftMs
  if (end <= shared[END]) return
  shared[WALL_END] = Date.now() + (end - now())
  shared[END] = end
}

function report () {
  seq++
  beats.set(seq, now())
  beats.delete(seq - KEPT_BEATS)
  const lag = Math.max(0, now() - shared[BEAT] - BEAT_MS)
  send({ type: 'beat', seq, lag_ms: Math.round(lag), ...state })
}

function tick () {
  if (shared[MAY_RUN] !== 0 && now() > shared[END] + workerData.graceMs) kill()
  report()
}

parentPort.on('message', (message) => {
  if (message.type !== 'state') {
    if (message.type === 'attached' || message.type === 'listening') kept.set(message.type, message)
    return send(message)
  }
  state = { ...message }
  delete state.type
  report()
})

setInterval(tick, BEAT_MS)
if (workerData.path) dial(workerData.path)
else inherit(workerData.fd)
