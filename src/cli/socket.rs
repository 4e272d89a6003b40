//! The admin socket of a running corsac, from the other side.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{config::AdminAddress, load::load, server::Disk};

/// A reload resolves names and compiles; beyond this, something is wrong.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Where a running corsac can be told things.
#[derive(Debug)]
pub(super) struct Socket(PathBuf);

/// What it answered.
#[derive(Debug)]
pub(super) struct Answer {
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
        let (loaded, _) = load(config, &Disk).map_err(|_| {
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
    pub(super) fn get(&self, path: &str) -> io::Result<Answer> {
        self.send("GET", path, b"", Duration::ZERO)
    }

    /// Tells something.
    pub(super) fn post(&self, path: &str, body: &[u8]) -> io::Result<Answer> {
        self.post_for(path, body, Duration::ZERO)
    }

    /// Tells something that takes this long, and perhaps more.
    pub(super) fn post_for(&self, path: &str, body: &[u8], time: Duration) -> io::Result<Answer> {
        self.send("POST", path, body, time)
    }

    /// Says that time is up, where the system has no word for it.
    fn in_words(&self, error: io::Error) -> io::Error {
        if error.kind() != io::ErrorKind::WouldBlock {
            return error;
        }
        let message = format!("corsac listens at {}, but does not answer", self.0.display());
        io::Error::new(io::ErrorKind::NotConnected, message)
    }

    fn send(&self, method: &str, path: &str, body: &[u8], time: Duration) -> io::Result<Answer> {
        let mut stream = UnixStream::connect(&self.0).map_err(|error| {
            let message = format!("no corsac answers at {}: {error}", self.0.display());
            io::Error::new(io::ErrorKind::NotConnected, message)
        })?;
        stream.set_read_timeout(Some(TIMEOUT.max(time)))?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: corsac\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n"
        )?;
        stream.write_all(body)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(|error| self.in_words(error))?;
        parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer"))
    }
}

/// Our own admin listener closes after each answer, and frames nothing.
fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}
