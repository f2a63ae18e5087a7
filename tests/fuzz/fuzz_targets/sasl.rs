//! Any bytes from the other side of a SCRAM exchange, in either role: refused, and nobody comes in by them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgbalancer::auth::scram::{Binding, ClientExchange, SaltedKeys, ServerExchange, Verifier};

const VERIFIER: &str = "SCRAM-SHA-256$1:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
                        wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

fuzz_target!(|bytes: &[u8]| {
    let mut pieces = bytes.splitn(2, |byte| *byte == 0);
    let (first, last) = (pieces.next().unwrap_or_default(), pieces.next().unwrap_or_default());
    for (is_plus, end_point) in [(false, None), (false, Some(b"hash".to_vec())), (true, Some(b"hash".to_vec()))] {
        let Some(verifier) = Verifier::parse(VERIFIER) else { return };
        let server = ServerExchange::from_verifier(verifier, "nonce".to_owned()).over(end_point);
        if let Ok((server, _)) = server.client_first(is_plus, first) {
            assert!(server.client_final(last).is_err());
        }
    }
    // A server that asks for many rounds would only make it slow.
    if !first.windows(4).any(|at| at[..2] == *b"i=" && at[2..].iter().all(u8::is_ascii_digit)) {
        let (client, _) = ClientExchange::start("u", "secret", Binding::Impossible, "nonce".to_owned());
        if let Ok((client, _)) = client.server_first(first, &mut SaltedKeys::new()) {
            assert!(client.server_final(last).is_err());
        }
    }
});
