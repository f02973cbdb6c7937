//! `hotspare launcher`: starts a Node-RED, watches it, and lets its flows run only under a lease.
