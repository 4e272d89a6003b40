//! Starting and stopping.

use std::thread;

use crate::harness::{Connection, Corsac, Gate, Origin};

const EVERYTHING: &str = "
[services.all]
upstream = \"origin\"
routes.all.paths = \"/*\"
";

#[test]
fn stops_at_once_when_idle() {
    let origin = Origin::answering(200).start();
    let corsac = Corsac::in_front_of(&origin, EVERYTHING);
    // A connection that waits for its next request holds nothing up.
    let mut idle = corsac.connect();
    assert_eq!(corsac.get("/").send_over(&mut idle).status, 200);
    assert_eq!(corsac.stop(), Some(0));
}

#[test]
fn interrupt_stops_it_too() {
    let origin = Origin::answering(200).start();
    let mut corsac = Corsac::in_front_of(&origin, EVERYTHING);
    corsac.signal("INT");
    assert_eq!(corsac.await_exit(), Some(0));
}

#[test]
fn a_request_in_flight_is_finished() {
    let gate = Gate::default();
    let origin = Origin::answering(200).body("late").after(&gate).start();
    let mut corsac = Corsac::in_front_of(&origin, EVERYTHING);
    let call = corsac.get("/");
    let client = thread::spawn(move || call.send());
    origin.await_requests(1);
    corsac.signal("TERM");
    while Connection::try_open(corsac.address()).is_ok() {
        // It stops accepting soon; the test's own time limit is the deadline.
        assert!(!client.is_finished(), "the request in flight was not waited for");
        thread::yield_now();
    }
    gate.open();
    let answer = client.join().unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "late"));
    assert_eq!(corsac.await_exit(), Some(0));
}

#[test]
fn every_address_is_announced() {
    let config = "
        version = 1
        [listeners.one]
        address = [\"127.0.0.1:0\", \"127.0.0.1:0\"]
        [listeners.two]
        address = \"127.0.0.1:0\"
        [services.all.routes.all]
        paths = \"/*\"
        respond = { status = 200, body = \"ok\" }
    ";
    let corsac = Corsac::with(config).start();
    let addresses = corsac.addresses();
    assert_eq!(addresses.len(), 3, "{addresses:?}");
    for (address, listener) in addresses {
        let answer = crate::harness::Call::new(address, "GET", "/").send();
        assert_eq!(answer.status, 200, "{listener}");
    }
}
