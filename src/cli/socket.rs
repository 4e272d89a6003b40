//! The admin socket of a running corsac, from the other side.

use std::{
    io::{self, Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use super::configuration::load;
use crate::config::AdminAddress;

/// How long an answer may take to begin, unless something is to be done first. Whatever
/// keeps corsac busy, its admin listener has a thread of its own.
const PATIENCE: Duration = Duration::from_secs(5);

/// A reload resolves names and compiles; beyond this, something is wrong.
pub(super) const TIMEOUT: Duration = Duration::from_mins(1);

/// Where a running corsac can be told things.
#[derive(Debug)]
pub(super) struct Socket(PathBuf);

/// What it answered.
#[derive(Debug)]
pub(super) struct AdminAnswer {
    pub(super) status: u16,
    pub(super) body: String,
}

impl Socket {
    /// The socket at this path.
    pub(super) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// The socket that the configuration at `config` names.
    ///
    /// # Errors
    /// It names none, or does not load, as after a reload that was refused.
    pub(super) fn of(config: &Path) -> io::Result<Self> {
        let fail = |what: &str| {
            let message = format!("{} {what} --socket PATH", config.display());
            io::Error::new(io::ErrorKind::NotFound, message)
        };
        let (loaded, _) = load(config).map_err(|_| {
            fail("does not load (`corsac check` says why), so the admin socket is not known; say")
        })?;
        let named = loaded.admin.listen.into_iter().find_map(|address| match address {
            AdminAddress::Unix(path) => Some(Self(path)),
            AdminAddress::Tcp(_) => None,
        });
        named.ok_or_else(|| {
            fail(
                "names no admin socket; write one (`[admin]` `listen = \
                 \"unix:/run/corsac/admin.sock\"`), or say",
            )
        })
    }

    /// Asks for something.
    pub(super) fn get(&self, path: &str) -> io::Result<AdminAnswer> {
        self.send("GET", path, b"", PATIENCE)
    }

    /// Tells something.
    pub(super) fn post(&self, path: &str, body: &[u8]) -> io::Result<AdminAnswer> {
        self.send("POST", path, body, PATIENCE)
    }

    /// Tells something that is to be done before the answer begins, which may take this
    /// long.
    pub(super) fn post_for(
        &self,
        path: &str,
        body: &[u8],
        time: Duration,
    ) -> io::Result<AdminAnswer> {
        self.send("POST", path, body, PATIENCE.max(time))
    }

    /// `time`: until the answer begins.
    fn send(
        &self,
        method: &str,
        path: &str,
        body: &[u8],
        time: Duration,
    ) -> io::Result<AdminAnswer> {
        let late = |error| self.in_words(error, time);
        let mut stream = self.connect()?;
        stream.set_read_timeout(Some(time))?;
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: corsac\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), body].concat()).map_err(late)?;
        let mut answer = vec![0; 4 * 1024];
        let begun = stream.read(&mut answer).map_err(late)?;
        answer.truncate(begun);
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.read_to_end(&mut answer).map_err(|error| self.in_words(error, TIMEOUT))?;
        let answer = String::from_utf8_lossy(&answer);
        parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer"))
    }

    /// A socket whose queue is full lets whoever connects wait, as long as it may send.
    fn connect(&self) -> io::Result<UnixStream> {
        let Self(path) = self;
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        match socket.connect(&socket2::SockAddr::unix(path)?) {
            Ok(()) => Ok(UnixStream::from(OwnedFd::from(socket))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(self.in_words(error, PATIENCE))
            }
            Err(error) => {
                let message = format!("no corsac answers at {}: {error}", path.display());
                Err(io::Error::new(io::ErrorKind::NotConnected, message))
            }
        }
    }

    /// Says that time is up, where the system has no word for it.
    fn in_words(&self, error: io::Error, time: Duration) -> io::Error {
        if error.kind() != io::ErrorKind::WouldBlock {
            return error;
        }
        let message = format!(
            "corsac listens at {}, but has not answered within {} s: it may be halted, or out of \
             file descriptors, or hang; its log says more (`journalctl -u corsac`), and `systemctl \
             restart corsac` starts it anew",
            self.0.display(),
            time.as_secs_f32()
        );
        io::Error::new(io::ErrorKind::NotConnected, message)
    }
}

/// Our own admin listener closes after each answer, and frames nothing.
fn parse(answer: &str) -> Option<AdminAnswer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(AdminAnswer { status, body: body.to_owned() })
}
