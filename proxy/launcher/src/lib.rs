//! `hotspare launcher`: starts a Node-RED, watches it, and lets its flows run only under a lease.

mod child;
mod clock;
mod logs;
mod module;
mod node_red;
mod output;
mod resources;
mod undertaker;
