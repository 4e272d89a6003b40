//! What the old process and the new one say to each other, and how sockets pass.
//!
//! A pair of sockets without a name: the child inherits one end, so there is no path
//! by which anyone else could come in. Each message is one packet of JSON, with the
//! descriptors that belong to it beside it (`SCM_RIGHTS`, unix(7)).

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, IoSlice, IoSliceMut, Read as _, Seek as _},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{MemfdFlags, memfd_create},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
        SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
        sendmsg, socketpair,
    },
};
use serde::{Deserialize, Serialize};
use tokio::{io::Interest, net::UnixStream};

use crate::{
    carried::Carried,
    server::accept::{connections::Connected, sockets::Description},
};

/// Raised where a message changes so that the other side would misread it. A process
/// that speaks another one is refused, and the old one serves on.
pub(super) const PROTOCOL: u32 = 1;

/// What a new process takes that knows [`Message::Tickets`].
pub(super) const TICKETS: &str = "tickets";

/// Descriptors that one message carries at the most; the kernel takes 253.
pub(super) const DESCRIPTORS_MAX: usize = 128;

/// Bytes that one message has at the most: that many sockets with the longest names
/// and paths fit.
const MESSAGE_BYTES_MAX: usize = 128 * 1024;

/// What is carried over takes at the most. Ten thousand routes that have counted
/// everything that there is come to 36 MB.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// One message.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Message {
    /// Old: its version, and the secret by which it checks itself.
    Hello { protocol: u32, version: String, self_check: String },
    /// Old: sockets, with their descriptors in the same order.
    Sockets(Vec<Description>),
    /// Old: what seals the tickets of TLS sessions. Its descriptor is a file with the keys. For
    /// a new one alone that takes [`TICKETS`].
    Tickets,
    /// Old: these were all. Its first descriptor is a file with what is carried over;
    /// the others are channels to processes that still drain since earlier upgrades.
    Complete,
    /// New: it has come, which process it is, and what it takes of what not every version
    /// knows.
    Attached {
        pid: i32,
        #[serde(default)]
        takes: Vec<String>,
    },
    /// New: it answers on every listener.
    Serving { version: String },
    /// New: why it does not answer, and that it ends.
    Failed(String),
    /// Old: from now on the service is yours.
    Go,
    /// New: the service manager knows; you may drain.
    TookOver,
    /// Old: it serves on, and the new one is to end.
    Withdrawn,
    /// Old: what it still has to do.
    Draining(Draining),
    /// Old: its last word. Its descriptor is a file with what it has counted since.
    Counted,
    /// New, or a process that has replaced it: it was told to stop, and none serves from
    /// now on.
    Stopping,
}

/// A process that drains.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(in crate::server) struct Draining {
    pub(in crate::server) pid: u32,
    pub(in crate::server) version: String,
    /// How long it has been draining.
    pub(in crate::server) seconds: u64,
    pub(in crate::server) connections: usize,
    /// The oldest of them.
    pub(in crate::server) clients: Vec<Connected>,
}

/// One end. tokio's type awaits that it is ready; no stream is read or written by it,
/// since packets are sent and received whole.
#[derive(Debug)]
pub(in crate::server) struct Channel(UnixStream);

impl Channel {
    /// A channel, and its other end for a child.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (own, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self::new(own)?, other))
    }

    /// An end that was made by [`Self::pair`], perhaps by another process.
    pub(super) fn new(end: OwnedFd) -> io::Result<Self> {
        UnixStream::from_std(end.into()).map(Self)
    }

    /// Sends a message. Waits while the other side does not read.
    pub(super) async fn send(
        &self,
        message: &Message,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        self.0.async_io(Interest::WRITABLE, || send(self.as_fd(), message, descriptors)).await
    }

    /// The next message and its descriptors; `None`: the other process has ended.
    pub(super) async fn receive(&self) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
        let received = self.0.async_io(Interest::READABLE, || receive(self.as_fd())).await;
        match received {
            // It has ended with messages unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            received => received,
        }
    }

    /// As [`Self::send`], but drops the message where it would have to wait.
    pub(super) fn try_send(&self, message: &Message) -> io::Result<()> {
        send(self.as_fd(), message, &[])
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends a message, if it can be sent at once.
pub(super) fn send(
    end: BorrowedFd<'_>,
    message: &Message,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let rights = SendAncillaryMessage::ScmRights(descriptors);
    let mut space = vec![MaybeUninit::uninit(); rights.size()];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(rights) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(end, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// A file in memory, for what is too large for a message.
pub(super) fn write_file(carried: &Carried) -> io::Result<OwnedFd> {
    let mut file = BufWriter::new(File::from(memfd_create("carried", MemfdFlags::CLOEXEC)?));
    serde_json::to_writer(&mut file, carried)?;
    Ok(file.into_inner().map_err(io::IntoInnerError::into_error)?.into())
}

/// What is in such a file.
pub(super) fn read_file(file: OwnedFd) -> io::Result<Carried> {
    let mut file = File::from(file);
    // It stands where the other process left it.
    file.rewind()?;
    let reader = BufReader::new(file.take(FILE_BYTES_MAX));
    Ok(serde_json::from_reader(reader)?)
}

fn receive(end: BorrowedFd<'_>) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let into = &mut [IoSliceMut::new(&mut bytes)];
    let received = recvmsg(end, into, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message was cut short"));
    }
    let message = serde_json::from_slice(bytes.get(..received.bytes).unwrap_or_default())?;
    Ok(Some((message, descriptors)))
}
