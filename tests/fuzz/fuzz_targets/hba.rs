//! Any text as pool_hba.conf: rules or errors, and a client is let in only by a rule.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgbalancer::auth::hba::{self, Client, Host, Peer, Verdict};

fuzz_target!(|text: &str| {
    let mut include = |name: &str| Ok(format!("{name} @{name}"));
    let Ok(rules) = hba::parse(text, "pool_hba.conf", &mut include) else { return };
    for host in [Host::Unasked, Host::Nameless, Host::Named("a.example")] {
        let peer = Peer::Ip("10.0.0.1".parse().expect("an address"));
        let client = Client { peer, tls: true, user: "u", database: "d", host, interfaces: &Vec::new };
        let verdict = rules.check(&client);
        assert!(host == Host::Unasked || verdict != Verdict::HostWanted);
    }
});
