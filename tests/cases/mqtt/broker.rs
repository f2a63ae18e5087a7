//! Brokers that are not there, hang, refuse us or speak TLS.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;

use super::{BTreeSet, bctl, conf, mqtt, numbers, output, wait_connected};
use crate::harness::certs::Authority;
use crate::harness::mosquitto::{Mosquitto, Subscriber};
use crate::harness::rest::post;
use crate::harness::{Balancer, Client, process, tools, wait};

/// Keeps what it knows of its clients while it is down.
const KEEPS: &str = "allow_anonymous true\npersistence true\npersistence_location DIR/\nautosave_interval 1\n\
                     autosave_on_changes true\n";

/// A subscriber that the broker keeps messages for.
fn durable(broker: &Mosquitto) -> Subscriber {
    broker.subscribe(&["-c", "-i", "durable", "-q", "1", "-t", "pgbalancer/#"])
}

fn pause(balancer: &Balancer) {
    post(balancer, "/api/v1/control/pause", "").good();
    post(balancer, "/api/v1/control/resume", "").good();
}

/// Both kinds together have every number, and each comes in its order. One that comes twice is allowed.
fn check(all: &Subscriber, pauses: usize) {
    let topics = ["pgbalancer/events/pause", "pgbalancer/events/resume"];
    let different = |topic: &str| BTreeSet::from_iter(numbers(all, topic)).len();
    wait::until_equal([pauses; 2], || topics.map(different));
    for topic in topics {
        let mut firsts = Vec::new();
        for number in numbers(all, topic) {
            if !firsts.contains(&number) {
                firsts.push(number);
            }
        }
        assert!(firsts.is_sorted(), "{topic}: {firsts:?}");
    }
    let ids: BTreeSet<u64> = topics.iter().flat_map(|topic| numbers(all, topic)).collect();
    let (first, last) = (ids.first().unwrap(), ids.last().unwrap());
    // Nothing else happens meanwhile but the end of the program's start.
    assert!(last - first < ids.len() as u64 + 5, "{ids:?}");
}

#[test]
fn a_broker_that_is_restarted_under_load_gets_everything_in_order() {
    for qos in ["1", "2"] {
        let mut broker = Mosquitto::start_with(KEEPS, Vec::new());
        let all = durable(&broker);
        let balancer = Balancer::start(conf(&broker).set("mqtt_qos", qos));
        wait_connected(&balancer);
        let stop = AtomicBool::new(false);
        let mut pauses = std::thread::scope(|scope| {
            let load = scope.spawn(|| {
                let mut pauses = 0;
                while !stop.load(Ordering::Acquire) {
                    pause(&balancer);
                    pauses += 1;
                }
                pauses
            });
            for _ in 0..3 {
                let before = numbers(&all, "pgbalancer/events/resume").len();
                wait::until_true("load", || numbers(&all, "pgbalancer/events/resume").len() > before + 20);
                broker.signal(Signal::SIGTERM);
                broker.wait();
                wait::until_true("the loss to be seen", || mqtt(&balancer)["connected"] == false);
                broker.start_again();
            }
            stop.store(true, Ordering::Release);
            load.join().unwrap()
        });
        check(&all, pauses);
        if qos == "2" {
            // What comes twice to the subscriber comes from the broker: nothing was published anew.
            let log = broker.log();
            let is_new = |line: &&str| {
                line.contains("Received PUBLISH from pgbalancer (d0") && line.contains("/pause'")
            };
            assert!(log.lines().filter(is_new).count() <= pauses);
        }
        // Killed: what it had taken must not be lost by itself, so there is no load then.
        wait_connected(&balancer);
        broker.kill();
        for _ in 0..50 {
            pause(&balancer);
        }
        pauses += 50;
        broker.start_again();
        check(&all, pauses);
        let counts = mqtt(&balancer);
        assert!(counts["dropped"] == 0 && counts["missed"] == 0 && counts["refused"] == 0, "{counts}");
        assert!(counts["connections"].as_u64() >= Some(5), "{counts}");
    }
}

#[test]
fn a_broker_that_hangs_holds_nobody_up() {
    let broker = Mosquitto::start();
    let balancer = Balancer::start(conf(&broker).set("mqtt_queue_size", "100").set("mqtt_keepalive", "5"));
    wait_connected(&balancer);
    broker.signal(Signal::SIGSTOP);
    let mut client = Client::connect(&balancer.door("postgres"));
    // Each has two messages.
    for _ in 0..150 {
        pause(&balancer);
        assert_eq!(client.ask("SELECT 1"), "1");
    }
    post(&balancer, "/api/v1/nodes/2/detach", "").good();
    post(&balancer, "/api/v1/nodes/2/attach", "").good();
    wait::until_true("messages to be dropped", || mqtt(&balancer)["dropped"].as_u64() > Some(0));
    let counts = mqtt(&balancer);
    assert!(counts["queued"].as_u64() <= Some(100 + 16), "{counts}");
    broker.signal(Signal::SIGCONT);
    wait::until_equal(Some(0), || mqtt(&balancer)["queued"].as_u64());
    balancer.wait_log("events missed and 0 messages refused");
    let log = balancer.log();
    assert_eq!(log.matches("MQTT messages are lost").count(), 1, "{log}");
}

#[test]
fn a_broker_that_refuses_us_is_logged_once_and_a_reload_mends_it() {
    let passwords = process::server_dir("passwords");
    let file = passwords.path().join("users");
    process::write(&file, "");
    tools::run(Command::new("mosquitto_passwd").args(["-b", file.to_str().unwrap(), "ann", "right"]))
        .succeeded();
    process::give_to_server_user(&file);
    let lines = format!("allow_anonymous false\npassword_file {}\n", file.display());
    let options = ["-u", "ann", "-P", "right"].map(str::to_owned).to_vec();
    let broker = Mosquitto::start_with(&lines, options);
    let attempts = || broker.log().matches("not authorised").count();
    for version in ["'3.1.1'", "'5'"] {
        let before = attempts();
        let mut balancer = Balancer::start(
            conf(&broker)
                .set("mqtt_version", version)
                .set("mqtt_client_id", "'us'")
                .set("mqtt_username", "'ann'")
                .set("mqtt_password", "'wrong'"),
        );
        wait::until_true("a few attempts", || attempts() > before + 3);
        let error = mqtt(&balancer)["error"].as_str().unwrap().to_owned();
        assert!(error.starts_with("the broker refuses us: "), "{error}");
        let text = format!("no connection to MQTT broker mqtt://localhost:{}: {error}", broker.port);
        balancer.wait_log(&text);
        assert_eq!(balancer.log().matches("no connection to MQTT broker").count(), 1);
        assert!(!balancer.log().contains("wrong") && !mqtt(&balancer).to_string().contains("wrong"));
        balancer.rewrite(|conf| conf.set("mqtt_password", "'right'"));
        balancer.reload();
        wait_connected(&balancer);
        balancer.wait_log(&format!("connected to MQTT broker mqtt://localhost:{}", broker.port));
        assert_eq!(mqtt(&balancer)["error"], "");
        let at = format!("localhost:{}", broker.port);
        for (user, code) in [("ann", Some(0)), ("bob", Some(3))] {
            let password = balancer.dir.path().join("password");
            std::fs::write(&password, "right\n").unwrap();
            std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
            let mut publish = bctl(&balancer, &["mqtt-publish", "-b", &at, "a", "b", "--mqtt-user", user]);
            let (ended, _, errors) = output(publish.arg("--mqtt-password-file").arg(&password));
            assert_eq!(ended, code, "{errors}");
        }
    }
}

#[test]
fn tls_with_certificates_of_both() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = authority.sign("server", "localhost", "DNS:localhost,IP:127.0.0.1");
    let client = authority.sign("client", "pgbalancer", "DNS:pgbalancer");
    let path = |path: &Path| path.display().to_string();
    let lines = format!(
        "allow_anonymous true\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n",
        path(&authority.cert()),
        path(&server.cert),
        path(&server.key)
    );
    let own =
        ["--cafile", &path(&authority.cert()), "--cert", &path(&client.cert), "--key", &path(&client.key)];
    let broker = Mosquitto::start_with(&lines, own.map(str::to_owned).to_vec());
    let all = broker.subscribe(&["-t", "pgbalancer/#"]);
    for version in ["'3.1.1'", "'5'"] {
        tls(&broker, &all, version, [&authority.cert(), &other.cert(), &client.cert, &client.key]);
    }
}

/// `files`: the authority of the broker, another one, our certificate and its key.
fn tls(broker: &Mosquitto, all: &Subscriber, version: &str, files: [&Path; 4]) {
    let [authority, other, cert, key] = files;
    let quoted = |path: &Path| format!("'{}'", path.display());
    let mut balancer = Balancer::start(
        conf(broker)
            .set("mqtt_version", version)
            .set("mqtt_broker", &format!("'mqtts://localhost:{}'", broker.port))
            .set("mqtt_tls_ca_file", &quoted(other))
            .set("mqtt_tls_cert_file", &quoted(cert))
            .set("mqtt_tls_key_file", &quoted(key)),
    );
    let attempts = || broker.log().matches("New connection").count();
    let before = attempts();
    wait::until_true("a few attempts", || attempts() > before + 3);
    balancer.wait_log("or it does not take ours");
    assert_eq!(balancer.log().matches("no connection to MQTT broker").count(), 1);
    assert!(mqtt(&balancer)["error"].as_str().unwrap().contains("mqtt_tls_ca_file"));
    let refusals = || broker.log().matches("peer did not return a certificate").count();
    let before = refusals();
    // The right authority, but no certificate of our own; a file that is not there; all as it should be.
    balancer.rewrite(|conf| {
        let conf = conf.set("mqtt_tls_ca_file", &quoted(authority));
        conf.set("mqtt_tls_cert_file", "''").set("mqtt_tls_key_file", "''")
    });
    balancer.reload();
    wait::until_true("the broker's refusal", || refusals() > before);
    balancer
        .rewrite(|conf| conf.set("mqtt_tls_cert_file", "'/nowhere'").set("mqtt_tls_key_file", &quoted(key)));
    balancer.reload();
    balancer.wait_log("could not open \"/nowhere\": No such file or directory (os error 2)");
    assert_eq!(mqtt(&balancer)["connected"], false);
    balancer.rewrite(|conf| conf.set("mqtt_tls_cert_file", &quoted(cert)));
    balancer.reload();
    wait_connected(&balancer);
    all.wait_on("pgbalancer/status", |got| got.payload == "online");
    // A certificate for another host.
    balancer.rewrite(|conf| conf.set("mqtt_broker", &format!("'mqtts://127.0.0.2:{}'", broker.port)));
    balancer.reload();
    wait::until_true("no connection", || mqtt(&balancer)["error"] != "");
    assert_eq!(mqtt(&balancer)["connected"], false);
}

#[test]
fn a_reload_goes_to_another_broker() {
    let (first, second) = (Mosquitto::start(), Mosquitto::start());
    let (of_first, of_second) = (first.subscribe(&["-t", "#"]), second.subscribe(&["-t", "#"]));
    let mut balancer = Balancer::start(conf(&first));
    of_first.wait_on("pgbalancer/status", |got| got.payload == "online");
    let port = second.port.to_string();
    balancer.rewrite(|conf| conf.set("mqtt_port", &port).set("mqtt_topic_prefix", "'elsewhere'"));
    balancer.reload();
    of_first.wait_on("pgbalancer/status", |got| got.payload == "offline");
    of_second.wait_on("elsewhere/status", |got| got.payload == "online");
    pause(&balancer);
    of_second.wait_on("elsewhere/events/pause", |_| true);
    assert!(!of_first.all().iter().any(|got| got.topic.ends_with("events/pause")));
}
