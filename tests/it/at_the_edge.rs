//! What corsac answers by itself, whoever stands behind it.

use crate::harness::Corsac;

/// Whether a connection ends depends on why corsac answers, not on the status: a
/// route may answer 400 to a request that is in order.
#[test]
fn an_answer_that_is_configured_leaves_the_connection_open() {
    let corsac = Corsac::serving(
        "[services.s.routes.gone]\npaths = \"/gone\"\nrespond = { status = 400, body = \"no\\n\" }\n",
    )
    .start();
    let mut connection = corsac.connect();
    for _ in 0..3 {
        let answer = corsac.get("/gone").send_over(&mut connection);
        assert_eq!((answer.status, answer.text().as_str()), (400, "no\n"));
        assert_ne!(answer.header("connection").as_deref(), Some("close"));
    }
    let answer = corsac.get("/%00").send_over(&mut connection);
    assert_eq!((answer.status, answer.header("connection").as_deref()), (400, Some("close")));
    assert_eq!(connection.await_close().unwrap(), b"");
}
