'use strict'
// Brings hotspare.js into a Node-RED that another launcher starts, such as FlowFuse's nr-launcher:
//
//     NODE_OPTIONS=--require=<state folder>/module/attach.js
//
// in the environment of Node-RED. Its launcher of ours (`hotspare launcher --attach`) listens on a socket beside this
// file, and has written attach.json, which says so. Until it is there, no flow runs. If that file is missing, the
// process ends: without the gate no flow may ever run.

const fs = require('fs')
const path = require('path')
const { isMainThread } = require('worker_threads')

// Worker threads load it too, and so do other programs that get the same environment, such as npm: for those it means
// nothing, as they load no Node-RED runtime.
if (isMainThread) {
  const config = JSON.parse(fs.readFileSync(path.join(__dirname, 'attach.json'), 'utf8'))
  // Programs that flows start must not load it.
  const options = (process.env.NODE_OPTIONS ?? '').split(/\s+(?=-)/).filter((option) => option && !option.includes('module/attach.js'))
  config.restore_env = { NODE_OPTIONS: options.length ? options.join(' ') : null }
  require(path.join(__dirname, 'hotspare.js')).watch(config)
}
