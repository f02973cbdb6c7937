'use strict'
// A thread of its own inside Node-RED. Owns the socket to the launcher, so that renewals are read and the lease's end
// is kept also while the main thread is busy or hung. Kills the process when the lease has ended and flows may be
// running, and when the launcher is gone. Never: anything of Node-RED. Next: hotspare.js.
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
let state = { flows: 'booting', epoch: null, missing_types: [], ready: 'Node-RED is booting', revision: null }

const socket = new net.Socket({ fd: workerData.fd, readable: true, writable: true })
const send = (message) => { if (socket.writableLength < MAX_UNSENT) socket.write(JSON.stringify(message) + '\n') }
socket.on('close', kill)
socket.on('end', kill)
socket.on('error', kill)

let text = ''
socket.setEncoding('utf8')
socket.on('data', (chunk) => {
  text += chunk
  const lines = text.split('\n')
  text = lines.pop()
  if (text.length > MAX_LINE) kill()
  for (const line of lines) obey(JSON.parse(line))
})

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
  if (message.type !== 'state') return send(message)
  state = { ...message }
  delete state.type
  report()
})

send({ type: 'hello', pid: process.pid, node: process.version })
setInterval(tick, BEAT_MS)
report()
