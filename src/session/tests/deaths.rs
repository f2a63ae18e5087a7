//! Servers die at any point of any exchange: no client is left without an answer, and nothing is written twice.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::parse_bind_execute;
use super::random::{World, message, show, steps, stream};
use super::rig::words;
use super::server::Server;
use crate::wire::{backend, frame, frontend};

fn count(words: &[String], begins: char) -> usize {
    words.iter().filter(|word| word.starts_with(begins)).count()
}

/// A statement of a driver in the `number`th step, each INSERT another; and the end of its batch, or not.
fn statement(out: &mut Vec<u8>, number: usize, step: (u8, u8, u8)) {
    let insert = format!("INSERT INTO t VALUES ({number})");
    let sql = match step.2 % 12 {
        0..=3 => insert.as_str(),
        4..=6 => "SELECT 1",
        7 => "BEGIN",
        8 => "COMMIT",
        9 => "ROLLBACK",
        10 => "SET search_path TO a",
        _ => "SELECT 1/0",
    };
    match step.0 % 4 {
        0 => {
            frontend::put_sync(out);
            frontend::put_query(out, sql.as_bytes());
        }
        1 => out.extend(parse_bind_execute("", sql)),
        2 => out.extend(parse_bind_execute(&format!("s{number}"), sql)),
        _ => {
            let mut open = parse_bind_execute("", sql);
            open.truncate(open.len() - 5);
            out.extend(open);
        }
    }
}

fn driver(steps: &[(u8, u8, u8)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        statement(&mut bytes, number, *step);
    }
    frontend::put_sync(&mut bytes);
    bytes
}

/// What a client has sent up to each ReadyForQuery: the texts.
fn sent_units(bytes: &[u8]) -> Vec<Vec<String>> {
    let (mut units, mut open) = (Vec::new(), Vec::new());
    for (kind, body) in frames(bytes) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match kind {
            b'P' => open.push(text(frontend::parse(body).unwrap().text)),
            b'Q' => open.push(text(frontend::query(body).unwrap())),
            _ => {}
        }
        if matches!(kind, b'Q' | b'S') {
            units.push(std::mem::take(&mut open));
        }
    }
    units
}

/// What it was told: tags, `E` with a code, and `Z I` or `Z` for a transaction.
fn told_units(bytes: &[u8]) -> Vec<Vec<String>> {
    let (mut units, mut open) = (Vec::new(), Vec::new());
    for (kind, body) in frames(bytes) {
        match kind {
            b'C' => open.push(String::from_utf8_lossy(backend::command_tag(body).unwrap()).into_owned()),
            b'E' => {
                open.push(format!("E {}", String::from_utf8_lossy(backend::error(body).unwrap().code)));
            }
            b'Z' => {
                open.push(if body == b"I" { "Z I" } else { "Z" }.to_owned());
                units.push(std::mem::take(&mut open));
            }
            _ => {}
        }
    }
    units
}

fn frames(bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let (mut all, mut rest) = (Vec::new(), bytes);
    while let Ok(Some(header)) = frame::header(rest) {
        all.push((header.kind, &rest[5..header.length]));
        rest = &rest[header.length..];
    }
    all
}

/// The INSERTs that a client may count on, and those that it may count on not having been done.
fn judge(sent: &[u8], got: &[u8]) -> (Vec<String>, Vec<String>) {
    let (mut done, mut undone, mut open) = (vec![], vec![], vec![]);
    for (statements, told) in sent_units(sent).into_iter().zip(told_units(got)) {
        let mut statements = statements.into_iter();
        for answer in told {
            if let Some(code) = answer.strip_prefix("E ") {
                // All since the last commit falls, with what is behind the error in the batch.
                open.extend(statements.by_ref());
                if code != "08007" {
                    undone.append(&mut open);
                }
                open.clear();
                continue;
            }
            if answer.starts_with('Z') {
                if answer == "Z I" {
                    done.append(&mut open);
                }
                continue;
            }
            let Some(sql) = statements.next() else { break };
            match answer.as_str() {
                "COMMIT" => done.append(&mut open),
                "ROLLBACK" => undone.append(&mut open),
                _ => open.push(sql),
            }
        }
    }
    (done, undone)
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_client_sends_is_answered_and_the_session_never_hangs(
        steps in steps(24),
        cuts in prop::collection::vec(any::<u16>(), 1..40),
        deaths in 1usize..6,
    ) {
        let bytes = stream(&steps, message);
        let mut world = World::new(cuts);
        world.deaths = deaths;
        world.send(&bytes);
        world.settle();
        world.deaths = 0;
        world.is_answered(&bytes)?;
    }

    #[test]
    fn each_sync_and_query_of_a_driver_has_one_end(
        steps in steps(16),
        cuts in prop::collection::vec(any::<u16>(), 1..40),
        deaths in 1usize..6,
    ) {
        let bytes = driver(&steps);
        let mut world = World::new(cuts);
        world.deaths = deaths;
        world.send(&bytes);
        world.settle();
        let asked = words(&bytes, true).iter().filter(|word| word.starts_with(['Q', 'S'])).count();
        let got = words(&world.got, false);
        prop_assert_eq!(count(&got, 'Z'), asked, "{} for {}", got.join(" "), show(&bytes));
        prop_assert!(world.rig.session.is_waiting_for_nothing());
    }

    #[test]
    fn nothing_is_written_twice_and_what_the_client_was_told_is_true(
        steps in steps(20),
        cuts in prop::collection::vec(any::<u16>(), 1..40),
        deaths in 1usize..6,
    ) {
        let bytes = driver(&steps);
        let mut world = World::new(cuts);
        world.servers = [false, true].map(|standby| Server::with_ledger(standby, &world.committed));
        world.deaths = deaths;
        world.send(&bytes);
        world.settle();
        let committed = world.committed.borrow().clone();
        let once: BTreeSet<&String> = committed.iter().collect();
        let story = || format!("{:?}\n{:?}", sent_units(&bytes), told_units(&world.got));
        prop_assert_eq!(once.len(), committed.len(), "{:?} in {}", committed, story());
        let (done, undone) = judge(&bytes, &world.got);
        let insert = |sql: &&String| sql.starts_with("INSERT");
        let lost: Vec<_> = done.iter().filter(insert).filter(|sql| !once.contains(sql)).collect();
        prop_assert!(lost.is_empty(), "lost: {:?} in {}", lost, story());
        let risen: Vec<_> = undone.iter().filter(insert).filter(|sql| once.contains(sql)).collect();
        prop_assert!(risen.is_empty(), "not undone: {:?} in {}", risen, story());
    }
}
