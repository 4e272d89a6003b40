//! A scripted HTTP/1.1 origin: its answers are data, and it remembers what it got.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::DEADLINE;
use super::message::{Framing, Head, Headers, chunked, read_body, read_head};

/// What an origin does with a request. `Answer::status(200).header("Vary", "Via")`
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    steps: Vec<Step>,
    status: u16,
    headers: Headers,
    then: Then,
}

#[derive(Clone, Debug)]
enum Step {
    Interim(u16, Headers),
    Await(Gate),
}

/// How an answer goes on after its steps.
#[derive(Clone, Debug)]
enum Then {
    Body(Vec<u8>),
    Chunks(Vec<Vec<u8>>),
    /// The request's body comes back.
    Echo,
    /// 101, and from there every byte comes back.
    EchoRaw,
    /// Exactly these bytes, then the connection closes.
    Raw(Vec<u8>),
    /// Nothing, until the other side gives up.
    Silence,
    Close,
    Reset,
}

impl Answer {
    fn new(status: u16, then: Then) -> Self {
        Self { steps: Vec::new(), status, headers: Headers::default(), then }
    }

    /// 101 goes on by sending every byte back.
    pub(crate) fn status(status: u16) -> Self {
        let then = if status == 101 { Then::EchoRaw } else { Then::Body(Vec::new()) };
        Self::new(status, then)
    }

    /// 200, with the request's own body.
    pub(crate) fn echo() -> Self {
        Self::new(200, Then::Echo)
    }

    /// These bytes and no others, then the connection closes.
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(0, Then::Raw(bytes.into()))
    }

    /// Never answers; the connection stays open.
    pub(crate) fn silence() -> Self {
        Self::new(0, Then::Silence)
    }

    /// Closes in place of an answer.
    pub(crate) fn close() -> Self {
        Self::new(0, Then::Close)
    }

    /// Resets the connection in place of an answer.
    pub(crate) fn reset() -> Self {
        Self::new(0, Then::Reset)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(name, value);
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.then = Then::Body(body.into());
        self
    }

    /// A chunked body, cut into pieces of `size` bytes.
    pub(crate) fn chunked(mut self, body: &[u8], size: usize) -> Self {
        self.then = Then::Chunks(body.chunks(size).map(<[u8]>::to_vec).collect());
        self
    }

    /// A 1xx before the answer.
    pub(crate) fn interim(mut self, status: u16, name: &str, value: &str) -> Self {
        let mut headers = Headers::default();
        headers.push(name, value);
        self.steps.push(Step::Interim(status, headers));
        self
    }

    /// Waits until the test opens the gate.
    pub(crate) fn after(mut self, gate: &Gate) -> Self {
        self.steps.push(Step::Await(gate.clone()));
        self
    }

    /// An origin that gives this answer to every request.
    pub(crate) fn start(self) -> Origin {
        Origin::scripted(move |_| self.clone())
    }
}

/// Closed at first; a test opens it once, for all who wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub(super) fn wait(&self) {
        let closed = self.0.0.lock().unwrap();
        drop(self.0.1.wait_timeout_while(closed, DEADLINE, |open| !*open).unwrap());
    }
}

/// A request as the origin received it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Headers,
    /// `None`: it broke off.
    pub(crate) body: Option<Arc<Vec<u8>>>,
    pub(crate) framing: Framing,
    /// The head, byte for byte.
    pub(crate) raw: Vec<u8>,
    /// Which connection it came over, counted from 0.
    pub(crate) connection: usize,
}

impl Request {
    fn new(head: Head, connection: usize) -> Self {
        let mut start = head.start.split(' ').map(str::to_owned);
        Self {
            method: start.next().unwrap_or_default(),
            target: start.next().unwrap_or_default(),
            framing: Framing::of_request(&head.headers),
            headers: head.headers,
            body: None,
            raw: head.raw,
            connection,
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name)
    }
}

type Script = Box<dyn Fn(&Request) -> Answer + Send + Sync>;

/// A running origin; it stops listening when dropped.
pub(crate) struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Mutex<Arc<Script>>,
    received: Mutex<Vec<Request>>,
    arrival: Condvar,
    stopped: AtomicBool,
}

impl Origin {
    /// `Origin::answering(200).header("Vary", "Via").start()`
    pub(crate) fn answering(status: u16) -> Answer {
        Answer::status(status)
    }

    /// An origin whose answers depend on the request.
    pub(crate) fn scripted(script: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Mutex::new(Arc::new(Box::new(script))),
            received: Mutex::default(),
            arrival: Condvar::new(),
            stopped: AtomicBool::new(false),
        });
        let ours = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &ours));
        Self { address, shared }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on every request gets this answer.
    pub(crate) fn will(&self, answer: Answer) {
        *self.shared.script.lock().unwrap() = Arc::new(Box::new(move |_| answer.clone()));
    }

    /// What has been received so far. A request is here before it is answered.
    pub(crate) fn received(&self) -> Vec<Request> {
        self.shared.received.lock().unwrap().clone()
    }

    /// As [`Self::received`], and forgets it.
    pub(crate) fn take_received(&self) -> Vec<Request> {
        std::mem::take(&mut self.shared.received.lock().unwrap())
    }

    /// The only request that was received.
    #[track_caller]
    pub(crate) fn only_request(&self) -> Request {
        let [request] = <[Request; 1]>::try_from(self.received()).unwrap_or_else(|received| {
            panic!("the origin received {} requests instead of one", received.len())
        });
        request
    }

    /// Awaits the `count`th request.
    #[track_caller]
    pub(crate) fn await_requests(&self, count: usize) {
        let received = self.shared.received.lock().unwrap();
        let few = |received: &mut Vec<Request>| received.len() < count;
        let waited = self.shared.arrival.wait_timeout_while(received, DEADLINE, few).unwrap().1;
        assert!(!waited.timed_out(), "the origin did not receive {count} requests in time");
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        // Wakes `accept`, which then ends.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for (number, stream) in listener.incoming().enumerate() {
        if shared.stopped.load(Ordering::Relaxed) {
            return;
        }
        let (Ok(stream), shared) = (stream, Arc::clone(shared)) else { return };
        // An error ends the connection, and the test sees what its client sees.
        thread::spawn(move || serve(stream, number, &shared));
    }
}

fn serve(stream: TcpStream, number: usize, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::with_capacity(1 << 16, stream);
    while let Some(head) = read_head(&mut stream)? {
        let mut request = Request::new(head, number);
        if request.header("expect").is_some_and(|e| e.eq_ignore_ascii_case("100-continue")) {
            stream.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let body = read_body(&mut stream, request.framing).map(Arc::new);
        request.body = body.as_ref().ok().cloned();
        shared.received.lock().unwrap().push(request.clone());
        shared.arrival.notify_all();
        let body = body?;
        // A script is asked without the lock, since it may wait.
        let script = Arc::clone(&shared.script.lock().unwrap());
        if !respond(&mut stream, &request, &body, script(&request))? {
            break;
        }
    }
    Ok(())
}

/// Plays an answer; says whether the connection can serve another request.
fn respond(
    stream: &mut BufReader<TcpStream>,
    request: &Request,
    body: &[u8],
    answer: Answer,
) -> io::Result<bool> {
    for step in &answer.steps {
        match step {
            Step::Interim(status, headers) => {
                let head = format!("HTTP/1.1 {status} Interim\r\n{}\r\n", headers.wire());
                stream.get_mut().write_all(head.as_bytes())?;
            }
            Step::Await(gate) => gate.wait(),
        }
    }
    match answer.then {
        Then::Body(body) => write_answer(stream, request, answer.status, answer.headers, &body)?,
        Then::Echo => write_answer(stream, request, answer.status, answer.headers, body)?,
        Then::Chunks(chunks) => {
            let mut headers = answer.headers;
            headers.push("Transfer-Encoding", "chunked");
            let mut wire = head(answer.status, &headers);
            if request.method != "HEAD" {
                wire.extend(chunked(chunks.iter().map(Vec::as_slice)));
            }
            stream.get_mut().write_all(&wire)?;
        }
        Then::EchoRaw => {
            let mut headers = answer.headers;
            headers.push("Connection", "Upgrade");
            headers.push("Upgrade", &request.header("upgrade").unwrap_or_default());
            stream.get_mut().write_all(&head(answer.status, &headers))?;
            echo_raw(stream)?;
            return Ok(false);
        }
        Then::Raw(bytes) => {
            stream.get_mut().write_all(&bytes)?;
            return Ok(false);
        }
        Then::Silence => {
            io::copy(stream, &mut io::sink())?;
            return Ok(false);
        }
        Then::Close => return Ok(false),
        Then::Reset => {
            // Closing with a linger of zero sends RST in place of FIN.
            SockRef::from(stream.get_ref()).set_linger(Some(Duration::ZERO))?;
            return Ok(false);
        }
    }
    let closes = |headers: &Headers| headers.get("connection").is_some_and(|c| c == "close");
    Ok(!closes(&request.headers))
}

fn write_answer(
    stream: &mut BufReader<TcpStream>,
    request: &Request,
    status: u16,
    mut headers: Headers,
    body: &[u8],
) -> io::Result<()> {
    let bodiless = matches!(status, 204 | 304);
    if !bodiless && !headers.contains("content-length") {
        headers.push("Content-Length", &body.len().to_string());
    }
    stream.get_mut().write_all(&head(status, &headers))?;
    if bodiless || request.method == "HEAD" {
        return Ok(());
    }
    stream.get_mut().write_all(body)
}

fn head(status: u16, headers: &Headers) -> Vec<u8> {
    format!("HTTP/1.1 {status} Scripted\r\n{}\r\n", headers.wire()).into_bytes()
}

fn echo_raw(stream: &mut BufReader<TcpStream>) -> io::Result<()> {
    let mut writer = stream.get_ref().try_clone()?;
    let mut buffer = [0; 1 << 14];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => writer.write_all(&buffer[..read])?,
        }
    }
}

/// An address that nobody can be reached at, reserved for as long as this lives.
pub(crate) struct Unreachable {
    address: SocketAddr,
    _held: Vec<Socket>,
}

impl Unreachable {
    /// Connecting is refused: the port is bound, and nobody listens.
    pub(crate) fn refusing() -> Self {
        let (socket, address) = bound();
        Self { address, _held: vec![socket] }
    }

    /// Connecting hangs: the queue of those who wait to be accepted is full, and
    /// Linux then drops every SYN.
    pub(crate) fn unresponsive() -> Self {
        let (listener, address) = bound();
        listener.listen(0).unwrap();
        let mut held = vec![listener];
        loop {
            let waiting = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let connected = waiting.connect_timeout(&address.into(), Duration::from_millis(100));
            held.push(waiting);
            if connected.is_err() {
                return Self { address, _held: held };
            }
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

fn bound() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

#[cfg(test)]
mod tests {
    use super::super::{Call, Connection, assert_same_bytes, payload};
    use super::*;

    fn get(origin: &Origin) -> Call {
        Call::new(origin.address(), "GET", "/")
    }

    #[test]
    fn answers_are_data() {
        let origin =
            Origin::answering(203).header("Vary", "Via").header("Vary", "Te").body("hi").start();
        let answer = get(&origin).header("X-A", "1").send();
        assert_eq!((answer.status, answer.text().as_str()), (203, "hi"));
        assert_eq!(answer.headers.all("vary"), ["Via", "Te"]);
        assert_eq!(answer.header("VARY").unwrap(), "Via, Te");
        let request = origin.only_request();
        assert_eq!(request.header("x-a").unwrap(), "1");
        let head = format!("GET / HTTP/1.1\r\nHost: {}\r\nX-A: 1\r\n\r\n", origin.address());
        assert_same_bytes(&request.raw, head.as_bytes(), "the head as sent");
    }

    #[test]
    fn bodies_come_back_over_one_connection() {
        let origin = Answer::echo().start();
        let mut connection = Connection::open(origin.address());
        for size in [0, 1, 65_536, 1 << 20] {
            let body = payload(size);
            let call = Call::new(origin.address(), "POST", "/");
            let answer = call.clone().body(body.clone()).send_over(&mut connection);
            assert_same_bytes(&answer.body, &body, "by length");
            let answer = call.chunked(&body, 1_000).send_over(&mut connection);
            assert_same_bytes(&answer.body, &body, "chunked");
        }
        assert!(origin.received().iter().all(|request| request.connection == 0));
    }

    #[test]
    fn head_and_304_have_no_body() {
        let origin = Origin::answering(200).chunked(b"body", 2).start();
        let mut connection = Connection::open(origin.address());
        let head = Call::new(origin.address(), "HEAD", "/").send_over(&mut connection);
        assert!(head.body.is_empty());
        assert_eq!(get(&origin).send_over(&mut connection).text(), "body");
        origin.will(Answer::status(304));
        assert!(get(&origin).send_over(&mut connection).body.is_empty());
    }

    #[test]
    fn interim_answers_come_first() {
        let origin = Origin::answering(200).interim(103, "Link", "</a.css>").start();
        let answer = get(&origin).send();
        let [(status, headers)] = answer.interim.as_slice() else { panic!("one 1xx expected") };
        assert_eq!((*status, headers.get("link").as_deref()), (103, Some("</a.css>")));
    }

    #[test]
    fn an_upgrade_echoes_raw_bytes() {
        let origin = Origin::answering(101).start();
        let mut connection = Connection::open(origin.address());
        let answer = get(&origin).header("Upgrade", "echo").send_over(&mut connection);
        assert_eq!((answer.status, answer.header("upgrade").as_deref()), (101, Some("echo")));
        connection.write(b"\x00\xff");
        assert_eq!(connection.read(2), b"\x00\xff");
    }

    #[test]
    fn no_answer_is_an_error() {
        for answer in [Answer::close(), Answer::reset(), Answer::raw("HTTP/1.1 200")] {
            let case = format!("{answer:?}");
            assert!(get(&answer.start()).try_send().is_err(), "{case}");
        }
    }

    #[test]
    fn a_gate_holds_an_answer_back() {
        let gate = Gate::default();
        let origin = Origin::answering(200).after(&gate).start();
        let call = get(&origin);
        let answer = thread::spawn(move || call.send());
        origin.await_requests(1);
        assert!(!answer.is_finished());
        gate.open();
        assert_eq!(answer.join().unwrap().status, 200);
    }

    #[test]
    fn unreachable_addresses() {
        let refusing = Unreachable::refusing();
        let error = TcpStream::connect(refusing.address()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let unresponsive = Unreachable::unresponsive();
        let patience = Duration::from_millis(50);
        let error = TcpStream::connect_timeout(&unresponsive.address(), patience).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
