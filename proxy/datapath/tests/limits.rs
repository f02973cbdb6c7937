//! Bounds, listeners and the life of the data path itself.
#![allow(clippy::unwrap_used)]

mod common;

use common::{INSTANCE, Options, Rig, Server, assert_closed, assert_reset, listener_spec, read_name};
use hotspare_datapath::{CloseReason, Config, DataPath, Drain, Error, InstanceId, InstanceSpec, Limits};
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn an_instance_takes_so_many_connections_and_no_more() {
    let limits = Limits { max_connections: 5, ..Limits::default() };
    let (rig, a) = (Rig::with(Options { limits, ..Options::default() }), Server::named("a"));
    rig.to(1, 0, a.addr, Drain::Now);
    let mut clients: Vec<_> = (0..5).map(|_| rig.connect()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(read_name(client), "a"));
    assert_closed(&mut rig.connect());
    rig.until("its reason", |c| c.closed_for(CloseReason::LimitInstance) == 1);
    clients.pop();
    rig.until("one left", |c| c.active == 4);
    assert_eq!(read_name(&mut rig.connect()), "a");
    rig.data.set_limits(INSTANCE, Limits { max_connections: 50, ..Limits::default() }).unwrap();
    let mut more: Vec<_> = (0..40).map(|_| rig.connect()).collect();
    more.iter_mut().for_each(|client| assert_eq!(read_name(client), "a"));
}

#[test]
fn all_instances_together_take_so_many_and_no_more() {
    let (rig, a) = (Rig::with(Options { max_connections: 3, ..Options::default() }), Server::named("a"));
    rig.to(1, 0, a.addr, Drain::Now);
    let mut clients: Vec<_> = (0..3).map(|_| rig.connect()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(read_name(client), "a"));
    assert_closed(&mut rig.connect());
    rig.until("its reason", |c| c.closed_for(CloseReason::LimitTotal) == 1);
}

#[test]
fn one_address_takes_so_many_connections_and_no_more() {
    let limits = Limits { per_source: 3, ..Limits::default() };
    let (rig, a) = (Rig::with(Options { limits, ..Options::default() }), Server::named("a"));
    rig.to(1, 0, a.addr, Drain::Now);
    let mut clients: Vec<_> = (0..3).map(|_| rig.connect()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(read_name(client), "a"));
    assert_closed(&mut rig.connect());
    rig.until("its reason", |c| c.closed_for(CloseReason::LimitSource) == 1);
    clients.pop();
    rig.until("one left", |c| c.active == 2);
    assert_eq!(read_name(&mut rig.connect()), "a");
}

#[test]
fn so_many_connections_come_in_a_second_and_no_more() {
    let limits = Limits { rate: 1, ..Limits::default() };
    let (rig, a) = (Rig::with(Options { limits, ..Options::default() }), Server::named("a"));
    rig.to(1, 0, a.addr, Drain::Now);
    assert_eq!(read_name(&mut rig.connect()), "a");
    // However slow this machine is: of many at once not all can come in.
    let clients: Vec<_> = (0..100).map(|_| rig.connect()).collect();
    rig.until("the others are turned away", |c| c.closed_for(CloseReason::LimitRate) > 50);
    drop(clients);
}

#[test]
fn a_taken_address_is_an_error_with_name_and_address() {
    let rig = Rig::new();
    let mut spec = listener_spec(&rig.listener.addr.to_string());
    spec.name = "dashboard".into();
    let error = rig.data.add_listener(spec).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("dashboard") && text.contains(&rig.listener.addr.to_string()), "{text}");
    assert!(matches!(error, Error::Listen { .. }));
}

#[test]
fn unknown_and_doubled_names_are_errors() {
    let rig = Rig::new();
    let mut spec = listener_spec("127.0.0.1:0");
    spec.instance = InstanceId(99);
    assert!(matches!(rig.data.add_listener(spec), Err(Error::UnknownInstance(InstanceId(99)))));
    let again = InstanceSpec { id: INSTANCE, name: "again".into(), limits: Limits::default() };
    assert!(matches!(rig.data.add_instance(again), Err(Error::InstanceExists(INSTANCE))));
    rig.data.remove_listener(rig.listener.id).unwrap();
    assert!(matches!(rig.data.remove_listener(rig.listener.id), Err(Error::UnknownListener(_))));
}

#[test]
fn a_removed_listener_is_gone_and_its_connections_stay() {
    let (rig, a) = (Rig::new(), Server::echo());
    rig.to(1, 0, a.addr, Drain::Now);
    let mut client = rig.connect();
    client.write_all(b"x").unwrap();
    assert_eq!(read_name(&mut client), "x");
    rig.data.remove_listener(rig.listener.id).unwrap();
    assert!(TcpStream::connect(rig.listener.addr).is_err());
    client.write_all(b"y").unwrap();
    assert_eq!(read_name(&mut client), "y");
    rig.data.add_listener(listener_spec(&rig.listener.addr.to_string())).unwrap();
    assert_eq!(
        {
            let mut c = rig.connect();
            c.write_all(b"z").unwrap();
            read_name(&mut c)
        },
        "z"
    );
}

#[test]
fn another_process_may_take_over_the_sockets_without_losing_a_client() {
    let (old, a) = (Rig::new(), Server::named("a"));
    old.to(1, 0, a.addr, Drain::Now);
    let inherited = old.data.listening_sockets(old.listener.id).unwrap();
    old.data.set_accepting(false).unwrap();
    // These wait in the kernel's queue, for whoever takes over.
    let mut clients: Vec<_> = (0..20).map(|_| old.connect()).collect();
    let new = DataPath::start(Config { threads: 3, ..Config::default() }, Arc::new(|_| {})).unwrap();
    new.add_instance(InstanceSpec { id: INSTANCE, name: "line-1".into(), limits: Limits::default() }).unwrap();
    let mut spec = listener_spec(&old.listener.addr.to_string());
    spec.inherited = inherited;
    assert_eq!(new.add_listener(spec).unwrap().addr, old.listener.addr);
    let route = hotspare_datapath::Route::To { epoch: 1, member: 0, addrs: vec![a.addr] };
    new.set_route(INSTANCE, route, Drain::Now).unwrap();
    for client in &mut clients {
        assert_eq!(read_name(client), "a");
    }
    assert_eq!(new.counters(INSTANCE).unwrap().accepted, 20);
    assert_eq!(old.counters().accepted, 0);
}

#[test]
fn accepting_can_be_paused() {
    let (rig, a) = (Rig::new(), Server::named("a"));
    rig.to(1, 0, a.addr, Drain::Now);
    rig.data.set_accepting(false).unwrap();
    let mut client = rig.connect();
    rig.data.set_accepting(true).unwrap();
    assert_eq!(read_name(&mut client), "a");
}

#[test]
fn a_stop_lets_connections_end_and_then_ends_them() {
    let (rig, a) = (Rig::new(), Server::named("a"));
    rig.to(1, 0, a.addr, Drain::Now);
    let (mut stays, leaves) = (rig.connect(), rig.connect());
    assert_eq!(read_name(&mut stays), "a");
    let addr = rig.listener.addr;
    let stopping = std::thread::spawn(move || rig.data.stop(Duration::from_millis(300)));
    drop(leaves);
    assert_reset(&mut stays);
    stopping.join().unwrap();
    assert!(TcpStream::connect(addr).is_err());
}

#[test]
fn a_removed_instance_takes_its_connections_and_listeners_along() {
    let (rig, a) = (Rig::new(), Server::named("a"));
    rig.to(1, 0, a.addr, Drain::Now);
    let mut client = rig.connect();
    assert_eq!(read_name(&mut client), "a");
    rig.data.remove_instance(INSTANCE).unwrap();
    assert_reset(&mut client);
    assert!(TcpStream::connect(rig.listener.addr).is_err());
    assert!(matches!(rig.data.counters(INSTANCE), Err(Error::UnknownInstance(_))));
}
