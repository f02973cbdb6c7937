'use strict'
// What hotspare.js and worker.js share: the layout of their shared memory, one clock for both threads, the kill.

const { performance } = require('perf_hooks')

// Milliseconds of CLOCK_MONOTONIC. `performance.now()` counts from the start of its thread; this does not.
const origin = Number(process.hrtime.bigint()) / 1e6 - performance.now()

module.exports = {
  END: 0, // end of the lease, on `now`; only ever moves forward
  WALL_END: 1, // the same on the wall clock, to notice a machine that was suspended
  BEAT: 2, // when the event loop of the main thread was last seen alive, on `now`
  MAY_RUN: 3, // 1 from the order to start until the stop is confirmed: flows may be running
  SLOTS: 4,
  BEAT_MS: 50, // how often the main thread shows life and the worker reports it
  now: () => performance.now() + origin,
  kill: () => process.kill(process.pid, 'SIGKILL')
}
