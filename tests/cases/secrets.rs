//! What is secret stays in the memory of the program: not in the log, not in a report, not in a core dump.

use crate::harness::balancer::Conf;
use crate::harness::tools::{self, psql};
use crate::harness::{Balancer, rest, shared};

/// Parameters that hold a password or a secret.
const PARAMETERS: [&str; 8] = [
    "sr_check_password",
    "health_check_password",
    "health_check_password0",
    "recovery_password",
    "wd_authkey",
    "wd_lifecheck_password",
    "mqtt_password",
    "rest_api_jwt_secret",
];

fn planted(name: &str) -> String {
    format!("planted_in_{name}_0123456789abcdef0123456789")
}

#[test]
fn what_is_secret_is_in_no_report_and_not_in_the_log() {
    let mut conf = Conf::of(shared())
        .set("enable_pool_hba", "on")
        .set("pool_passwd", "'pool_passwd'")
        .set("log_min_messages", "debug5")
        .set("log_client_messages", "on")
        .set("log_backend_messages", "terse")
        .set("rest_api_enabled", "on");
    for name in PARAMETERS {
        conf = conf.set(name, &format!("'{}'", planted(name)));
    }
    let passwd = format!(
        "scram_user:TEXTscram_user_secret\nalice:{}\nbob:AES{}\nmd5_user:md5{}\n",
        planted("pool_passwd"),
        planted("aes"),
        "0123456789abcdef".repeat(2),
    );
    let hba = "local all all trust\nhost all postgres all trust\nhost all all all scram-sha-256\n";
    let files = [("pool_hba.conf", hba), ("pool_passwd", &passwd), (".pgpoolkey", &planted("key"))];
    let balancer = Balancer::start_with(conf, &files);
    let mut shown = String::new();
    for user in ["scram_user", "alice", "bob", "md5_user", "nobody"] {
        for password in ["scram_user_secret", &planted("client")] {
            let mut client = psql(&balancer.door("postgres").as_user(user));
            let ran = tools::run(client.args(["-c", "SELECT 1"]).env("PGPASSWORD", password));
            shown += &(ran.out + &ran.err);
        }
    }
    let mut client = psql(&balancer.door("postgres"));
    for sql in ["SHOW POOL_STATUS", "PGPOOL SHOW ALL", "SHOW POOL_HELP", "SHOW POOL_SESSIONS"] {
        client.args(["-c", sql]);
    }
    for name in PARAMETERS {
        client.args(["-c", &format!("PGPOOL SHOW {name}")]);
    }
    let ran = tools::run(&mut client);
    assert!(ran.out.contains("sr_check_password") && ran.out.contains("*****"), "{}", ran.out);
    shown += &(ran.out + &ran.err);
    let paths = rest::get(&balancer, "/api/v1/openapi.json").body;
    shown += &paths;
    for path in paths.split('"').filter(|word| word.starts_with("/api/") || word.starts_with("/metrics")) {
        if !path.contains('{') && !path.contains("events") {
            shown += &rest::get(&balancer, path).body;
        }
    }
    assert!(shown.contains("sr_check_password"));
    balancer.reload();
    shown += &balancer.log();
    for secret in ["planted_in_", "scram_user_secret", "0123456789abcdef"] {
        let found = shown.lines().find(|line| line.contains(secret));
        assert!(found.is_none(), "{secret} stands in: {found:?}");
    }
}

/// Root may look anywhere: the kernel's own word is asked.
#[test]
fn the_memory_of_the_processes_is_closed() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let balancer = Balancer::start(Conf::of(shared()));
    let processes = balancer.children();
    assert!(processes.len() > 8);
    for pid in processes {
        // The files of a process whose memory is closed belong to root, whoever runs it.
        let owner =
            std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(format!("/proc/{pid}/environ")).unwrap());
        assert_eq!(owner, 0, "{pid}");
    }
}
