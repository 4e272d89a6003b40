//! nginx as an origin: an HTTP server that corsac's authors did not write.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{DEADLINE, Workdir};

/// A running nginx that serves files. It is killed when dropped.
pub(crate) struct Nginx {
    child: Child,
    address: SocketAddr,
    _workdir: Workdir,
}

impl Nginx {
    /// Serves these files: at `/NAME` with a length, at `/chunked/NAME` without.
    pub(crate) fn serving(files: &[(&str, &[u8])]) -> Self {
        let workdir = Workdir::new();
        for (name, content) in files {
            workdir.write(&format!("www/{name}"), content);
        }
        // nginx cannot tell which port it was given, so one is looked for; another
        // process may be quicker to take it.
        for _ in 0..10 {
            if let Some((child, address)) = start(&workdir) {
                return Self { child, address, _workdir: workdir };
            }
        }
        panic!("nginx does not start; its words are above");
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(workdir: &Workdir) -> Option<(Child, SocketAddr)> {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = workdir.write("nginx.conf", config(workdir.path(), address));
    let mut child = Command::new(program())
        .arg("-p")
        .arg(workdir.path())
        .arg("-c")
        .arg(config)
        .args(["-e", "stderr"])
        .stdin(Stdio::null())
        .spawn()
        .expect("nginx is needed for these tests: install it, or name it in PATH");
    let started = Instant::now();
    while TcpStream::connect(address).is_err() {
        if child.try_wait().unwrap().is_some() || started.elapsed() > DEADLINE {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        thread::park_timeout(Duration::from_millis(5));
    }
    Some((child, address))
}

/// Debian keeps it out of a user's PATH.
fn program() -> &'static str {
    let sbin = "/usr/sbin/nginx";
    if Path::new(sbin).exists() { sbin } else { "nginx" }
}

fn config(dir: &Path, address: SocketAddr) -> String {
    let mut scratch = String::new();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        writeln!(scratch, "    {kind}_temp_path {}/{kind};", dir.display()).unwrap();
    }
    format!(
        "daemon off;
master_process off;
pid {dir}/nginx.pid;
error_log stderr error;
events {{ worker_connections 256; }}
http {{
    access_log off;
    default_type application/octet-stream;
{scratch}
    server {{
        listen {address};
        root {dir}/www;
        # Server-side includes make the length unknown, hence chunks; the files
        # hold nothing to include.
        location /chunked/ {{ alias {dir}/www/; ssi on; ssi_types *; }}
    }}
}}
",
        dir = dir.display(),
    )
}
