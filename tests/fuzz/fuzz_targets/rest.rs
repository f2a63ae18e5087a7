//! Any head of a request to the REST API: an endpoint is found or it is refused, and no token is taken.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgbalancer::auth::token::Tokens;
use pgbalancer::face::rest::{Feed, Found, Head, Need, Peer, Policy};

fuzz_target!(|fields: (String, String, Option<String>, Option<String>, Option<String>, Option<String>)| {
    let (method, target, host, origin, authorization, last_event) = &fields;
    let head = Head {
        method,
        target,
        host: host.as_deref(),
        origin: origin.as_deref(),
        authorization: authorization.as_deref(),
        last_event: last_event.as_deref(),
        ..Head::default()
    };
    let policy = Policy { asks_for_tokens: true, hosts: Vec::new() };
    let peer = Peer::Ip([192, 0, 2, 1].into());
    let _ = policy.check_host(&head, peer);
    assert!(policy.admit(Need::Viewer, &head, peer, &Tokens::new(b"secret"), 0).is_err());
    if let Ok(found) = Found::of(&head) {
        let _ = (found.number(), Feed::of(&found, &head));
    }
});
