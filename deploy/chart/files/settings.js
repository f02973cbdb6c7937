// Settings of both members. Nothing in here is about failover: the launcher needs no change to Node-RED's settings.
module.exports = {
  uiHost: '0.0.0.0',
  uiPort: 1880,
  // Relative names would be looked up in the working directory first.
  flowFile: '/data/node-red/flows.json',
  // The same on both members, so that a volume of one can be read by the other.
  credentialSecret: process.env.NODE_RED_CREDENTIAL_SECRET,
  // Context in memory is lost with the process; on disk it belongs to one member. What must outlive a
  // failover belongs in a database that both members reach.
  contextStorage: { default: { module: 'memory' } },
  // Whoever reaches the editor can run code here. Set adminAuth before clients outside the team can reach this port.
  logging: { console: { level: 'info', metrics: false, audit: false } }
}
