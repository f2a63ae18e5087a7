//! How many clients one user or one database may have, over all workers.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::balancer::Conf;
use crate::harness::message::Report;
use crate::harness::{Balancer, Client, Door, shared, wait};

fn start(change: impl FnOnce(Conf) -> Conf) -> Balancer {
    let conf = Conf::of(shared()).set("num_init_children", "3").set("sessions_per_child", "10");
    Balancer::start(change(conf))
}

/// Fills up to the limit, which may still be taken by clients that have just left.
fn fill(door: &Door, most: usize) -> Vec<Client> {
    let mut kept = vec![];
    wait::until_true("as many as may come", || {
        kept.extend(Client::try_connect(door, &[]).ok());
        kept.len() == most
    });
    kept
}

fn refused(door: &Door, message: &str) {
    let expected =
        Report { severity: "FATAL".to_owned(), code: "53300".to_owned(), message: message.to_owned() };
    assert_eq!(Client::try_connect(door, &[]).err(), Some(expected));
}

#[test]
fn a_user_has_no_more_clients_than_the_limit_also_when_a_worker_is_killed() {
    let balancer = start(|conf| conf.set("max_user_connections", "4"));
    let door = balancer.door("postgres").as_user("alice");
    let mut kept = fill(&door, 4);
    let text = "too many connections for user \"alice\": max_user_connections is 4";
    refused(&door, text);
    // Others have a limit of their own.
    let _bob = Client::connect(&door.as_user("bob"));
    kept.remove(0).terminate();
    kept.extend(fill(&door, 1));
    refused(&door, text);
    let worker = balancer.worker_of(&kept[0]);
    kill(Pid::from_raw(worker), Signal::SIGKILL).unwrap();
    balancer.wait_log(&format!("child process with pid: {worker} exits"));
    let mut lost = 0;
    kept.retain_mut(|client| {
        let lives = client.try_query("SELECT 1").is_ok();
        lost += usize::from(!lives);
        lives
    });
    assert!(lost > 0);
    kept.extend(fill(&door, lost));
    refused(&door, text);
    balancer.wait_log(text);
}

#[test]
fn a_database_has_no_more_clients_than_the_limit_and_names_have_limits_of_their_own() {
    let (one, two) = (shared().database("quota_one"), shared().database("quota_two"));
    let mut balancer = start(|conf| {
        conf.set("max_db_connections", "1")
            .set("max_db_connections_list", &format!("'{two}:2'"))
            .set("max_user_connections_list", "'alice:1,bob:0'")
    });
    let one = balancer.door(&one);
    let two = balancer.door(&two);
    let _one = fill(&one, 1);
    refused(
        &one,
        &format!("too many connections for database \"{}\": max_db_connections is 1", one.database),
    );
    let _two = fill(&two.as_user("alice"), 1);
    let of_alice = "too many connections for user \"alice\": max_user_connections_list is 1";
    refused(&two.as_user("alice"), of_alice);
    let _bob = fill(&two.as_user("bob"), 1);
    let of_two =
        format!("too many connections for database \"{}\": max_db_connections_list is 2", two.database);
    refused(&two.as_user("bob"), &of_two);
    balancer.rewrite(|conf| conf.set("max_db_connections", "2"));
    balancer.reload();
    wait::until_true("the new limit", || Client::try_connect(&one, &[]).is_ok());
}

#[test]
fn clients_that_come_at_the_same_moment_are_never_more_than_the_limit() {
    let balancer = start(|conf| conf.set("max_user_connections", "5"));
    let door = balancer.door("postgres").as_user("alice");
    for _ in 0..5 {
        let coming: Vec<_> = (0..20)
            .map(|_| {
                let door = door.clone();
                std::thread::spawn(move || Client::try_connect(&door, &[]).ok())
            })
            .collect();
        let come: Vec<Client> = coming.into_iter().filter_map(|client| client.join().unwrap()).collect();
        assert!(come.len() <= 5, "{} have come in", come.len());
        come.into_iter().for_each(Client::terminate);
        drop(fill(&door, 5));
    }
}
