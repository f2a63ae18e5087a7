//! Ten thousand events at once: the publisher itself on a segment of its own, against a real broker.

use std::time::{Duration, Instant};

use pgbalancer::config::Config;
use pgbalancer::role::mqtt::Publisher;
use pgbalancer::shm::{EventKind, Note, Segment, Sizes};

use super::BTreeSet;
use crate::harness::mosquitto::Mosquitto;
use crate::harness::wait;

fn config(broker: &Mosquitto, queue: i64) -> Config {
    Config {
        mqtt_enabled: true,
        mqtt_port: i64::from(broker.port),
        mqtt_qos: 1,
        mqtt_queue_size: queue,
        ..Config::default()
    }
}

#[test]
fn ten_thousand_events_at_once_are_published_or_counted() {
    const ALL: u64 = 10_000;
    let broker = Mosquitto::start();
    let all = broker.subscribe(&["-t", "pgbalancer/#"]);
    let segment = Segment::create(Sizes { nodes: 1, ..Sizes::default() }).unwrap();
    let mut publisher = Publisher::new(segment, config(&broker, 1000)).unwrap();
    let turn = |publisher: &mut Publisher| {
        publisher.turn(Instant::now());
        let row = segment.mqtt();
        assert!(row.queued <= 1000 + 16, "{row:?}");
        row
    };
    wait::until_true("the connection", || turn(&mut publisher).is_connected);
    let begun = Instant::now();
    for number in 0..ALL {
        segment.note(&Note { kind: EventKind::HealthCheck, node: Some(0), ..Note::default() });
        if number % 1000 == 0 {
            segment.note_event(EventKind::Failover, Some(0), "0", "1", "");
        }
        // As often as the ring has room for, and then not for a while.
        if number % 500 == 0 && number < ALL / 2 {
            turn(&mut publisher);
        }
    }
    let took = begun.elapsed();
    eprintln!("{ALL} events in {} ms", took.as_millis());
    let row = wait::until("all to be published", Duration::from_secs(60), || {
        let row = turn(&mut publisher);
        (row.queued == 0).then_some(row)
    });
    assert!(row.missed > 0 && row.refused == 0, "{row:?}");
    // Every event has two messages. Besides them: that we are there, the snapshot of no nodes, and what was missed.
    let made = 2 * (ALL + 10 - row.missed);
    let others = row.published + row.dropped - made;
    assert!((2..20).contains(&others), "{row:?}");
    wait::until_true("the last message", || {
        all.all().iter().any(|got| got.topic == "pgbalancer/health" && got.json()["id"] == ALL)
    });
    let got = all.all();
    let missed: u64 = got
        .iter()
        .filter(|got| got.topic == "pgbalancer/events/missed")
        .filter_map(|got| got.json()["missed"].as_u64())
        .sum();
    assert_eq!(missed, row.missed, "subscribers hear of it");
    let failovers: BTreeSet<u64> = got
        .iter()
        .filter(|got| got.topic == "pgbalancer/cluster/failover")
        .filter_map(|got| got.json()["id"].as_u64())
        .collect();
    assert_eq!(failovers, (1..=10).collect(), "what is rare is not lost in the flood");
    publisher.end(Instant::now() + Duration::from_secs(5));
    all.wait_on("pgbalancer/status", |got| got.payload == "offline");
}
