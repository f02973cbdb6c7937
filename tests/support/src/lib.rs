//! What the black-box tests share. They look at hotspare from outside only: its command line, its sockets, and what
//! the flows of real Node-REDs did.
//!
//! Nothing here depends on a crate of hotspare, so that a mistake there can't hide itself here. A helper that can't do
//! its job panics with what it saw: in a test that is the failure message.
//!
//! Where to go next: [`pair`] starts a whole instance (two launchers, two Node-REDs, the proxy); [`witness`] judges
//! what its flows did; [`lab`] gives every part a network of its own that can be cut.

pub mod address;
pub mod authority;
pub mod broker;
pub mod browser;
pub mod client;
pub mod environment;
pub mod fault;
pub mod flows;
pub mod http;
pub mod lab;
pub mod load;
pub mod mixed;
pub mod nginx;
pub mod node_red;
pub mod pair;
pub mod process;
pub mod relay;
pub mod scenario;
pub mod site;
pub mod steady;
pub mod wait;
pub mod witness;
