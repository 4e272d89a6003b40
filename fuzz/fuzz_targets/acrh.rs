//! No Access-Control-Request-Headers make a decision panic, and what `**` echoes is a
//! list that is read back the same.
#![no_main]

use std::sync::LazyLock;

use corsac::cors::{Policy, PolicySpec, Reason};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
    ORIGIN,
};
use http::{HeaderMap, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;

static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let spec = PolicySpec {
        allow_origins: vec!["https://a.example".to_owned()],
        allow_headers: Some(vec!["**".to_owned()]),
        ..PolicySpec::default()
    };
    Policy::new(&spec).expect("the policy is sound").0
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(asked) = HeaderValue::from_bytes(bytes) else { return };
    let Some(echoed) = echo(asked) else { return };
    assert_eq!(echo(echoed.clone()), Some(echoed));
});

fn echo(asked: HeaderValue) -> Option<HeaderValue> {
    let headers = HeaderMap::from_iter([
        (ORIGIN, HeaderValue::from_static("https://a.example")),
        (ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("GET")),
        (ACCESS_CONTROL_REQUEST_HEADERS, asked),
    ]);
    let admission = POLICY.admit(&Method::OPTIONS, &headers, None);
    let answer = admission.answer.filter(|_| admission.reason == Some(Reason::Ok))?;
    let mut head = answer.headers.clone();
    answer.edits.apply(&mut head);
    head.remove(ACCESS_CONTROL_ALLOW_HEADERS)
}
