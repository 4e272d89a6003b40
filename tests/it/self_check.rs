//! The process asks itself whether it answers; what clients take does not keep it from it.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::harness::{Connection, Corsac, DEADLINE, Setup};

/// A listener with these limits, and an admin socket.
fn limited(limits: &str) -> Setup {
    Corsac::with(&format!(
        "version = 1\nserver.threads = 2\nadmin.listen = \"unix:admin.sock\"\n\
         [listeners.http]\naddress = \"127.0.0.1:0\"\nlimits = {{ {limits} }}\n\
         [services.s.routes.all]\npaths = \"/*\"\nrespond = {{ body = \"ok\" }}\n"
    ))
}

fn upgrade(corsac: &Corsac) -> Output {
    corsac.command(&["upgrade", "--wait", "--socket", "admin.sock"])
}

#[track_caller]
fn assert_worked(output: &Output, corsac: &Corsac) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", corsac.stderr());
}

/// Who has all connections that there may be does not make systemd kill the process.
#[test]
fn the_watchdog_of_a_full_listener() {
    thread::scope(|scope| {
        for limits in ["connections = 1", "connections_per_client = 1"] {
            scope.spawn(move || {
                let setup = limited(limits);
                let path = setup.path().join("notify");
                let socket = UnixDatagram::bind(&path).unwrap();
                socket.set_read_timeout(Some(DEADLINE)).unwrap();
                let corsac = setup
                    .environment("NOTIFY_SOCKET", path.to_str().unwrap())
                    // In microseconds: fed every second, by an answer that may take as long.
                    .environment("WATCHDOG_USEC", "2000000")
                    .start();
                let mut held = corsac.connect();
                assert_eq!(corsac.get("/").send_over(&mut held).status, 200);
                while socket.set_nonblocking(true).is_ok() && socket.recv(&mut [0; 512]).is_ok() {}
                socket.set_nonblocking(false).unwrap();
                // The first may have been asked for before there was a client.
                for _ in 0..2 {
                    let mut told = [0; 512];
                    let length = socket.recv(&mut told).unwrap_or_default();
                    assert_eq!(
                        told[..length].trim_ascii(),
                        b"WATCHDOG=1",
                        "{limits}\n{}",
                        corsac.stderr()
                    );
                }
                assert!(!corsac.stderr().contains("not fed"), "{limits}\n{}", corsac.stderr());
                assert_eq!(corsac.get("/").send_over(&mut held).status, 200);
            });
        }
    });
}

/// Keeps `count` connections open, and opens another one for each that is closed.
fn press(to: SocketAddr, count: usize, is_over: &AtomicBool) {
    let is_open = |mut stream: &TcpStream| {
        stream.read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    let mut open: Vec<TcpStream> = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        open.retain(is_open);
        while open.len() < count
            && let Ok(stream) = TcpStream::connect_timeout(&to, DEADLINE)
        {
            stream.set_nonblocking(true).unwrap();
            open.push(stream);
        }
        thread::yield_now();
    }
}

/// Clients of this machine have the one connection that they may have, of the old process
/// and of the new one.
#[test]
fn an_upgrade_among_clients_that_have_all_they_may() {
    let corsac = limited("connections_per_client = 1").start();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| press(corsac.address(), 64, &is_over));
        let output = upgrade(&corsac);
        is_over.store(true, Ordering::Relaxed);
        assert_worked(&output, &corsac);
    });
}

/// Clients have every descriptor but the reserve, of the old process and of the new one, and
/// more of them wait.
#[test]
fn an_upgrade_among_clients_that_have_all_descriptors() {
    let corsac = limited("idle = \"1h\"").descriptors(256).start();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| press(corsac.address(), 500, &is_over));
        corsac.await_stderr("clients have all descriptors but a reserve", 1);
        let output = upgrade(&corsac);
        is_over.store(true, Ordering::Relaxed);
        assert_worked(&output, &corsac);
    });
    // Of both processes, the new one not before it was asked.
    let mut client = Connection::open(corsac.address());
    assert_eq!(corsac.get("/").send_over(&mut client).status, 200);
}
