//! Sessions of TLS that go on in another process: by the keys of tickets that it was handed.

use std::fs::{self, File};
use std::io::{IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::thread;
use std::time::SystemTime;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::ioctl_fionbio;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open, pidfd_send_signal,
};
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};

use crate::harness::{
    Call, Certified, Corsac, Lines, Setup, TlsClient, TlsConnection, Workdir, await_some, corsac,
};

const CONFIG: &str = "version = 1\nserver.threads = 2\nadmin.listen = \"unix:admin.sock\"\n\
     [listeners.https]\naddress = \"127.0.0.1:0\"\ntls = { cert = \"a.pem\" }\n\
     [services.s.routes.r]\npaths = \"/*\"\nrespond = { body = \"hello\" }\n";

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// How many sessions are resumed at once: more than there are threads, which take turns while
/// connections are open.
const SESSIONS: usize = 6;

fn setup(pair: &Certified) -> Setup {
    let setup = Corsac::with(CONFIG);
    write_pair(setup.path().join("a.pem"), pair);
    setup
}

fn write_pair(path: std::path::PathBuf, pair: &Certified) {
    fs::write(&path, [pair.cert.as_str(), pair.key.as_str()].concat()).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A client that has been here, and has what it takes to resume.
fn client_of(version: &'static SupportedProtocolVersion, address: SocketAddr) -> TlsClient {
    let client = TlsClient::of_version(version);
    let first = connect(&client, address);
    assert!(!is_resumed(first));
    client
}

/// Says hello, since tickets of TLS 1.3 come behind the handshake.
fn connect(client: &TlsClient, address: SocketAddr) -> TlsConnection {
    let mut connection = client.connect(address, Some("a.test"));
    assert_eq!(Call::new(address, "GET", "/").send_over(&mut connection).text(), "hello");
    connection
}

fn is_resumed(mut connection: TlsConnection) -> bool {
    connection.is_resumed()
}

#[test]
fn a_ticket_from_before_an_upgrade_is_good_after_it() {
    let corsac = setup(&Certified::of(&["a.test"])).start();
    let before: Vec<_> = VERSIONS
        .into_iter()
        .flat_map(|version| (0..SESSIONS).map(move |_| version))
        .map(|version| client_of(version, corsac.address()))
        .collect();
    // And once more: keys that were handed over are handed on.
    for _ in 0..2 {
        let upgraded = corsac.command(&["upgrade", "--wait", "--socket", "admin.sock"]);
        assert!(upgraded.status.success(), "{upgraded:?}");
        let mut open: Vec<_> =
            before.iter().map(|client| connect(client, corsac.address())).collect();
        assert!(open.iter_mut().all(TlsConnection::is_resumed));
    }
    assert!(!corsac.stderr().contains("not resumed"), "{}", corsac.stderr());
}

#[test]
fn a_ticket_of_keys_that_are_gone_costs_a_handshake_and_no_more() {
    let pair = Certified::of(&["a.test"]);
    let (old, new) = (setup(&pair).start(), setup(&pair).start());
    for version in VERSIONS {
        let client = client_of(version, old.address());
        assert!(is_resumed(connect(&client, old.address())), "{version:?}");
        // It remembers servers by name.
        assert!(!is_resumed(connect(&client, new.address())), "{version:?}");
        assert!(is_resumed(connect(&client, new.address())), "{version:?}");
    }
}

#[test]
fn what_an_elder_hands_over() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let period = now - now % 28_800;
    let file = |version: u8, key: u8| {
        let mut bytes = vec![version, 1];
        bytes.extend([[key; 16].as_slice(), &[key; 32], &period.to_be_bytes()].concat());
        bytes
    };
    let cut = file(1, 1)[..57].to_vec();
    let client = TlsClient::of_version(&TLS13);
    #[rustfmt::skip]
    let cases = [
        // keys                  what is said                     a session of before goes on
        (Some(file(1, 1)),       None,                            false),
        (Some(file(1, 1)),       None,                            true),
        (Some(file(1, 2)),       None,                            false),
        (None,                   Some("were not handed over"), false),
        (Some(file(2, 1)),       Some("have form 2"),        false),
        (Some(cut),              Some("are damaged"),        false),
        (Some(vec![0; 1 << 20]), Some("have form 0"),        false),
    ];
    for (index, (keys, said, goes_on)) in cases.into_iter().enumerate() {
        let heir = Heir::of(keys.as_deref());
        assert_eq!(is_resumed(connect(&client, heir.address)), goes_on, "{index}");
        // Whatever keys it has, it goes on with them.
        assert!(is_resumed(connect(&client, heir.address)), "{index}");
        let lines = heir.stderr.text();
        let complaints: Vec<_> =
            lines.lines().filter(|line| line.contains("are not resumed")).collect();
        assert_eq!(complaints.len(), usize::from(said.is_some()), "{index}: {lines}");
        assert!(said.is_none_or(|said| complaints[0].contains(said)), "{index}: {lines}");
    }
}

/// A new process of an earlier version takes no keys, and is sent none.
#[test]
fn what_an_heir_is_handed() {
    let corsac = setup(&Certified::of(&["a.test"])).start();
    let script = "#!/bin/sh\n[ $1 = check ] && exit\necho $$ > its.pid\nexec sleep 600\n";
    corsac.workdir().write("heir", script);
    fs::set_permissions(corsac.path("heir"), fs::Permissions::from_mode(0o755)).unwrap();
    for (takes, gets_keys) in [(None, false), (Some("tickets"), true), (Some("other"), false)] {
        let program = corsac.path("heir").display().to_string();
        let command = ["upgrade", "--wait", "--socket", "admin.sock", "--binary", &program];
        thread::scope(|scope| {
            let upgrade = scope.spawn(|| corsac.command(&command));
            let pid: i32 = await_some("the heir starts", || {
                fs::read_to_string(corsac.path("its.pid")).ok()?.trim().parse().ok()
            });
            fs::remove_file(corsac.path("its.pid")).unwrap();
            // Its end of the channel, on its stdin.
            let heir = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap();
            let channel = pidfd_getfd(&heir, 0, PidfdGetfdFlags::empty()).unwrap();
            ioctl_fionbio(&channel, false).unwrap();
            let mut attached = json!({"Attached": {"pid": pid}});
            if let Some(takes) = takes {
                attached["Attached"]["takes"] = json!([takes]);
            }
            send(&channel, &attached, None);
            let mut heard = Vec::new();
            while heard.last() != Some(&json!("Complete")) {
                heard.push(receive(&channel));
            }
            assert_eq!(heard.contains(&json!("Tickets")), gets_keys, "{takes:?}: {heard:?}");
            drop(channel);
            pidfd_send_signal(&heir, Signal::KILL).unwrap();
            assert!(!upgrade.join().unwrap().status.success());
        });
    }
}

/// A corsac that has taken over from this test, which speaks as the old process does.
struct Heir {
    child: Child,
    address: SocketAddr,
    stderr: Lines,
    _channel: OwnedFd,
    _folder: Workdir,
}

impl Heir {
    /// With these keys of tickets; `None`: without any, as of a process that has none to give.
    fn of(keys: Option<&[u8]>) -> Self {
        let folder = Workdir::new();
        folder.write("corsac.toml", CONFIG);
        write_pair(folder.path().join("a.pem"), &Certified::of(&["a.test"]));
        let flags = SocketFlags::CLOEXEC;
        let (channel, its_end) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        ioctl_fionbio(&its_end, true).unwrap();
        let mut child = corsac(folder.path())
            .args(["run", "--takeover=serve", "--config", "corsac.toml"])
            .stdin(Stdio::from(its_end))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = Lines::of(child.stderr.take().unwrap());
        let heard = receive(&channel);
        assert_eq!(heard["Attached"]["takes"], json!(["tickets"]), "{heard}");
        let version = env!("CARGO_PKG_VERSION");
        send(
            &channel,
            &json!({"Hello": {"protocol": 1, "version": version, "self_check": "s"}}),
            None,
        );
        if let Some(keys) = keys {
            let mut file = File::from(memfd_create("keys", MemfdFlags::CLOEXEC).unwrap());
            file.write_all(keys).unwrap();
            send(&channel, &json!("Tickets"), Some(&file));
        }
        send(&channel, &json!("Complete"), None);
        assert_eq!(receive(&channel)["Serving"]["version"], version);
        send(&channel, &json!("Go"), None);
        assert_eq!(receive(&channel), json!("TookOver"));
        let address = stderr.await_some(|lines| {
            lines.iter().find_map(|line| {
                let (_, rest) = line.split_once("listening on ")?;
                rest.split(' ').next()?.parse().ok()
            })
        });
        Self { child, address: address.unwrap(), stderr, _channel: channel, _folder: folder }
    }
}

impl Drop for Heir {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn send(channel: &OwnedFd, message: &Value, with: Option<&File>) {
    let with: Vec<_> = with.iter().map(|file| file.as_fd()).collect();
    let rights = SendAncillaryMessage::ScmRights(&with);
    let mut space = vec![MaybeUninit::uninit(); rights.size()];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(with.is_empty() || ancillary.push(rights));
    let bytes = message.to_string();
    let flags = SendFlags::NOSIGNAL;
    sendmsg(channel, &[IoSlice::new(bytes.as_bytes())], &mut ancillary, flags).unwrap();
}

fn receive(channel: &OwnedFd) -> Value {
    let mut bytes = vec![0; 4096];
    let into = &mut [IoSliceMut::new(&mut bytes)];
    let mut nothing = RecvAncillaryBuffer::new(&mut []);
    let received = recvmsg(channel, into, &mut nothing, RecvFlags::empty()).unwrap();
    serde_json::from_slice(&bytes[..received.bytes]).unwrap()
}
