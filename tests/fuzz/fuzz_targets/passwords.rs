//! Any bytes as pool_passwd, with a key and without: users or notes, and no note shows more than a name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgbalancer::auth::pool_key::PoolKey;
use pgbalancer::auth::pool_passwd::PoolPasswd;

fuzz_target!(|bytes: &[u8]| {
    let key = PoolKey::new(b"a key");
    for key in [None, key.as_ref()] {
        let (passwords, _) = PoolPasswd::parse(bytes, "pool_passwd", key);
        let _ = passwords.get("u");
    }
});
