//! No bytes make reading a head panic; what is taken is what httparse takes, within the
//! limits and framed one way, and however it is cut into packets it is the same.
#![no_main]

use corsac::http1::head::{HEADERS_MAX, RequestLine, begin, read};
use corsac::http1::{Body, HeadLimits, Malformed, RequestHead};
use libfuzzer_sys::fuzz_target;

const LIMITS: [HeadLimits; 2] = [
    HeadLimits { size: 32 * 1024, headers: 100, target: 8 * 1024 },
    HeadLimits { size: 128, headers: 3, target: 16 },
];

fuzz_target!(|input: &[u8]| {
    let [pieces, bytes @ ..] = input else { return };
    for limits in &LIMITS {
        let whole = read(bytes, limits);
        if let Ok(Some(head)) = whole {
            check(&head, bytes, limits);
            assert_eq!(read(&bytes[..head.length], limits), whole, "what follows does not matter");
            assert_eq!(read(&bytes[..head.length - 1], limits), Ok(None));
        }
        let pieces = usize::from(*pieces % 32) + 1;
        match (in_pieces(bytes, pieces, limits), whole) {
            // Refused early, perhaps for another reason.
            (Err(_), Err(_)) => {}
            // A line that has not ended is not read yet.
            (Ok(None), Err(_)) if !bytes.ends_with(b"\n") => {}
            (cut, whole) => assert_eq!(cut, whole),
        }
    }
    let _ = RequestLine::of(bytes);
});

/// As a connection reads: only where a line has ended there may be a whole head.
fn in_pieces(bytes: &[u8], size: usize, limits: &HeadLimits) -> Result<Option<RequestHead>, Malformed> {
    let mut seen = 0;
    while seen < bytes.len() {
        let end = bytes.len().min(seen + size);
        if !bytes[seen..end].contains(&b'\n') {
            begin(&bytes[..end], limits)?;
        } else if let Some(head) = read(&bytes[..end], limits)? {
            return Ok(Some(head));
        }
        seen = end;
    }
    Ok(None)
}

fn check(head: &RequestHead, bytes: &[u8], limits: &HeadLimits) {
    let mut room = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut room);
    let parsed = request.parse(bytes).expect("what is taken is well-formed");
    assert_eq!(parsed, httparse::Status::Complete(head.length));
    assert!(head.length <= limits.size && request.headers.len() <= limits.headers);
    assert!(request.path.is_some_and(|target| (1..=limits.target).contains(&target.len())));

    let is_1_0 = request.version == Some(0);
    let values = |name: &str| {
        let of_it = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        of_it.map(|field| field.value.trim_ascii()).collect::<Vec<_>>()
    };
    let hosts = values("host").len();
    assert!(hosts == 1 || (is_1_0 && hosts == 0), "{hosts} hosts");
    match (&values("transfer-encoding")[..], &values("content-length")[..]) {
        ([coding], []) => {
            assert!(coding.eq_ignore_ascii_case(b"chunked") && !is_1_0);
            assert_eq!(head.body, Body::Chunked);
        }
        ([], [length]) => {
            assert!(length.iter().all(u8::is_ascii_digit));
            let length = std::str::from_utf8(length).expect("digits").parse().expect("a number");
            assert_eq!(head.body, Body::Length(length));
        }
        ([], []) => assert_eq!(head.body, Body::Length(0)),
        twice => panic!("framed twice: {twice:?}"),
    }
}
