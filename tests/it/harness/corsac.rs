//! The real binary, as a child process.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

use serde_json::Value;

use super::{Call, Connection, DEADLINE, Gate, Origin, Workdir};

/// The configuration that most tests begin with; theirs begins at a table.
const PRELUDE: &str = r#"
version = 1

[listeners.http]
address = "127.0.0.1:0"

[server]
threads = 1

[access_log]
output = "stdout"
format = "json"
"#;

/// A running corsac. It is killed when dropped.
pub(crate) struct Corsac {
    child: Child,
    /// Each with the listener that it belongs to.
    addresses: Vec<(SocketAddr, String)>,
    stderr: Lines,
    stdout: Lines,
    workdir: Workdir,
}

/// A corsac to come: its configuration, and the files beside it.
pub(crate) struct Setup {
    workdir: Workdir,
    config: String,
    environment: Vec<(String, String)>,
    /// Nobody reads its stdout before this opens.
    stdout_after: Option<Gate>,
    /// Limits of its own, as the shell sets them: `std` sets none.
    limits: String,
    /// Nobody reads its stderr between `ready` and the moment at which this opens.
    stderr_after: Option<Gate>,
}

impl Corsac {
    /// `Corsac::with(config).start()`
    pub(crate) fn with(config: &str) -> Setup {
        let workdir = Workdir::new();
        workdir.write("corsac.toml", config);
        Setup {
            workdir,
            config: "corsac.toml".to_owned(),
            environment: Vec::new(),
            stdout_after: None,
            limits: String::new(),
            stderr_after: None,
        }
    }

    /// One listener, an access log, and this.
    pub(crate) fn serving(services: &str) -> Setup {
        Self::with(&format!("{PRELUDE}\n{services}"))
    }

    /// Starts with one listener, the upstream `origin`, and these services.
    #[track_caller]
    pub(crate) fn in_front_of(origin: &Origin, services: &str) -> Self {
        let address = origin.address();
        Self::serving(&format!("[upstreams.origin]\nnodes = [\"{address}\"]\n{services}")).start()
    }

    /// The first address that it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0].0
    }

    /// The address of its admin listener.
    #[track_caller]
    pub(crate) fn admin_address(&self) -> SocketAddr {
        let line = self.await_stderr("admin listens on 127.", 1);
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// What its admin listener says on `/metrics`.
    #[track_caller]
    pub(crate) fn metrics(&self) -> String {
        Call::new(self.admin_address(), "GET", "/metrics").send().text()
    }

    /// Awaits this line of [`Self::metrics`]: some things are counted after they were seen.
    #[track_caller]
    pub(crate) fn await_metric(&self, line: &str) {
        let started = Instant::now();
        loop {
            let text = self.metrics();
            if text.lines().any(|there| there == line) {
                return;
            }
            assert!(started.elapsed() < DEADLINE, "{line} is not in\n{text}");
        }
    }

    /// Every address that it says it listens on, with the listener's name.
    pub(crate) fn addresses(&self) -> Vec<(SocketAddr, String)> {
        self.addresses.clone()
    }

    pub(crate) fn get(&self, target: &str) -> Call {
        self.call("GET", target)
    }

    pub(crate) fn call(&self, method: &str, target: &str) -> Call {
        Call::new(self.address(), method, target)
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address())
    }

    /// A file beside the configuration, whether it is there or not.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.workdir.path().join(name)
    }

    /// Awaits that many lines of the access log.
    #[track_caller]
    pub(crate) fn access_log_lines(&self, count: usize) -> Vec<String> {
        let enough = |lines: &[String]| (lines.len() >= count).then(|| lines.to_vec());
        self.stdout
            .await_some(enough)
            .unwrap_or_else(|seen| panic!("{count} access log lines expected, these came:\n{seen}"))
    }

    /// As [`Self::access_log_lines`], and parses them.
    #[track_caller]
    pub(crate) fn access_log(&self, count: usize) -> Vec<Value> {
        let lines = self.access_log_lines(count);
        let parse = |line: &String| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        };
        lines.iter().map(parse).collect()
    }

    /// Awaits a line of the access log that contains `text`.
    #[track_caller]
    pub(crate) fn await_access_log(&self, text: &str) {
        let has_it = |lines: &[String]| lines.iter().any(|line| line.contains(text)).then_some(());
        self.stdout.await_some(has_it).unwrap_or_else(|seen| panic!("no {text:?} in\n{seen}"));
    }

    /// Its folder: the configuration is `corsac.toml` there.
    pub(crate) fn workdir(&self) -> &Workdir {
        &self.workdir
    }

    /// Runs another command of the binary in its folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        corsac(self.workdir.path()).args(arguments).output().unwrap()
    }

    /// Awaits that this many lines of stderr contain `text`; returns the last.
    #[track_caller]
    pub(crate) fn await_stderr(&self, text: &str, count: usize) -> String {
        let last = |lines: &[String]| {
            lines.iter().filter(|line| line.contains(text)).nth(count - 1).cloned()
        };
        self.stderr.await_some(last).unwrap_or_else(|seen| {
            panic!("{count} lines with {text:?} expected, these came:\n{seen}")
        })
    }

    /// Its configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.workdir.path().join("corsac.toml")
    }

    /// Everything on stderr so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Sends a signal by its name, such as `TERM`, and goes on at once.
    pub(crate) fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// The process that was started; another one may have replaced it.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The processes that it, or one of these, has started to replace it.
    pub(crate) fn successors(&self) -> Vec<u32> {
        let started = |line: &str| {
            let (_, pid) = line.split_once("upgrade: process ")?;
            pid.strip_suffix(" starts")?.parse().ok()
        };
        self.stderr.text().lines().filter_map(started).collect()
    }

    /// Awaits the exit code; `None`: a signal ended it.
    #[track_caller]
    pub(crate) fn await_exit(&mut self) -> Option<i32> {
        await_exit(&mut self.child, || self.stderr.text())
    }

    /// SIGTERM, and all that it has written in its life to stdout and stderr.
    #[track_caller]
    pub(crate) fn stop_and_read(mut self) -> (Vec<String>, Vec<String>) {
        self.signal("TERM");
        assert_eq!(self.await_exit(), Some(0));
        (self.stdout.await_all(), self.stderr.await_all())
    }

    /// SIGTERM, and the exit code.
    #[track_caller]
    pub(crate) fn stop(mut self) -> Option<i32> {
        self.signal("TERM");
        self.await_exit()
    }
}

impl Drop for Corsac {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // So may those that replaced it; the others have no other parent.
        for pid in self.successors() {
            let _ = Command::new("sh").args(["-c", &format!("kill -KILL {pid}")]).output();
        }
        if thread::panicking() {
            eprintln!("--- corsac's stderr\n{}---", self.stderr.text());
        }
    }
}

impl Setup {
    /// A file beside the configuration.
    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        self.workdir.write(name, content);
        self
    }

    /// A variable of its environment.
    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Its folder.
    pub(crate) fn path(&self) -> &Path {
        self.workdir.path()
    }

    /// Starts it with another file of its folder as its configuration.
    #[track_caller]
    pub(crate) fn start_with(mut self, config: &str) -> Corsac {
        config.clone_into(&mut self.config);
        self.start()
    }

    /// It may have this many open files.
    pub(crate) fn descriptors(mut self, limit: u32) -> Self {
        let _ = write!(self.limits, "ulimit -n {limit}; ");
        self
    }

    /// Nobody reads its stdout before this opens.
    pub(crate) fn stdout_after(mut self, gate: &Gate) -> Self {
        self.stdout_after = Some(gate.clone());
        self
    }

    /// Nobody reads its stderr between `ready` and the moment at which this opens.
    pub(crate) fn stderr_after(mut self, gate: &Gate) -> Self {
        self.stderr_after = Some(gate.clone());
        self
    }

    /// Files can grow to this many blocks, and no further: as on a full disk, but each
    /// new one has room.
    pub(crate) fn file_size(mut self, blocks: usize) -> Self {
        let _ = write!(self.limits, "trap '' XFSZ; ulimit -f {blocks}; ");
        self
    }

    /// Starts it, and awaits that every listener accepts.
    #[track_caller]
    pub(crate) fn start(self) -> Corsac {
        self.try_start().unwrap_or_else(|stderr| panic!("corsac did not start:\n{stderr}"))
    }

    /// As [`Self::start`]; an `Err` is what it said before it gave up.
    pub(crate) fn try_start(self) -> Result<Corsac, String> {
        let mut child = self.command("run").spawn().unwrap();
        let stderr = Lines::of_pausing(self.stderr_after.clone(), child.stderr.take().unwrap());
        let stdout = Lines::of_after(self.stdout_after.clone(), child.stdout.take().unwrap());
        let listening = stderr.await_some(|lines| {
            let ready = lines.iter().any(|line| line.ends_with("ready"));
            ready.then(|| lines.iter().filter_map(|line| listening(line)).collect::<Vec<_>>())
        });
        match listening {
            Ok(addresses) if !addresses.is_empty() => {
                Ok(Corsac { child, addresses, stderr, stdout, workdir: self.workdir })
            }
            Ok(_) => Err(format!("it is ready, but names no address\n{}", stderr.text())),
            Err(said) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(said)
            }
        }
    }

    /// `corsac run`, for a configuration that cannot run: until it exits.
    pub(crate) fn run(self) -> Output {
        let mut child = self.command("run").spawn().unwrap();
        await_exit(&mut child, || "corsac run goes on".to_owned());
        child.wait_with_output().unwrap()
    }

    /// `corsac check PATH`, with more arguments after it.
    pub(crate) fn check(self, arguments: &[&str]) -> Output {
        self.command("check").args(arguments).output().unwrap()
    }

    fn command(&self, name: &str) -> Command {
        let config = self.workdir.path().join(&self.config);
        let mut command = corsac(self.workdir.path());
        if !self.limits.is_empty() {
            let limited = format!("{}exec \"$@\"", self.limits);
            let binary = command.get_program().to_owned();
            command = Command::new("sh");
            command.current_dir(self.workdir.path()).env_remove("RUST_LOG");
            command.args(["-c", &limited, "sh"]).arg(binary);
        }
        command.arg(name);
        if name == "run" {
            command.arg("--config");
        }
        command.arg(config);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// Sends a signal by its name.
pub(crate) fn signal(child: &Child, name: &str) {
    // The shell's own `kill`: `std` sends no signal but SIGKILL.
    let kill = format!("kill -{name} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

/// The binary, started in `dir`, so that no configuration of the machine is found.
pub(crate) fn corsac(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corsac"));
    command.current_dir(dir).env_remove("RUST_LOG");
    command
}

/// What is said in `… listening on 127.0.0.1:43211 (listeners.http)`.
fn listening(line: &str) -> Option<(SocketAddr, String)> {
    let (_, rest) = line.split_once("listening on ")?;
    let (address, listener) = rest.split_once(' ')?;
    Some((address.parse().ok()?, listener.to_owned()))
}

#[track_caller]
pub(crate) fn await_exit(child: &mut Child, said: impl Fn() -> String) -> Option<i32> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if started.elapsed() > DEADLINE {
            let _ = child.kill();
            panic!("corsac did not exit in time:\n{}", said());
        }
        // `std` cannot await an exit with a deadline.
        thread::park_timeout(std::time::Duration::from_millis(5));
    }
}

/// What a process has printed so far, line by line.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<(Mutex<Printed>, Condvar)>);

#[derive(Default)]
struct Printed {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    pub(crate) fn of(pipe: impl Read + Send + 'static) -> Self {
        Self::of_after(None, pipe)
    }

    /// Reads the pipe to its end, once the gate is open.
    fn of_after(after: Option<Gate>, pipe: impl Read + Send + 'static) -> Self {
        Self::read(pipe, move |line| {
            if let (Some(gate), None) = (&after, line) {
                gate.wait();
            }
        })
    }

    /// Reads the pipe to its end, but after `ready` waits for the gate.
    fn of_pausing(pause: Option<Gate>, pipe: impl Read + Send + 'static) -> Self {
        Self::read(pipe, move |line| {
            if let (Some(gate), Some(line)) = (&pause, line)
                && line.ends_with("ready")
            {
                gate.wait();
            }
        })
    }

    /// `pause` is called before the first line, and after each.
    fn read(
        pipe: impl Read + Send + 'static,
        pause: impl Fn(Option<&str>) + Send + 'static,
    ) -> Self {
        let lines = Self::default();
        let ours = lines.clone();
        thread::spawn(move || {
            pause(None);
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                ours.0.0.lock().unwrap().lines.push(line.clone());
                ours.0.1.notify_all();
                pause(Some(&line));
            }
            ours.0.0.lock().unwrap().ended = true;
            ours.0.1.notify_all();
        });
        lines
    }

    /// Awaits the end; all lines.
    #[track_caller]
    fn await_all(&self) -> Vec<String> {
        let printed = self.0.0.lock().unwrap();
        let goes_on = |printed: &mut Printed| !printed.ended;
        let (printed, waited) = self.0.1.wait_timeout_while(printed, DEADLINE, goes_on).unwrap();
        assert!(!waited.timed_out(), "nobody reads to the end");
        printed.lines.clone()
    }

    pub(crate) fn text(&self) -> String {
        self.0.0.lock().unwrap().lines.join("\n")
    }

    /// Awaits that `look` finds something in the lines so far. `Err`: the lines,
    /// when the process has closed its end or time is up.
    pub(crate) fn await_some<T>(&self, look: impl Fn(&[String]) -> Option<T>) -> Result<T, String> {
        let started = Instant::now();
        let mut printed = self.0.0.lock().unwrap();
        loop {
            if let Some(found) = look(&printed.lines) {
                return Ok(found);
            }
            let left = DEADLINE.saturating_sub(started.elapsed());
            if printed.ended || left.is_zero() {
                return Err(printed.lines.join("\n"));
            }
            printed = self.0.1.wait_timeout(printed, left).unwrap().0;
        }
    }
}
