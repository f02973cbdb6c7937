//! hotspare: hot-spare failover for Node-RED that loses nothing.
