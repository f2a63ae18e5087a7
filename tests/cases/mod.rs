//! One file a topic; each test is named after the behaviour it holds.

use crate::harness::balancer::Conf;
use crate::harness::{Balancer, Door, shared};

mod auth;
mod auth_failures;
mod auth_matrix;
mod auth_outside;
mod auth_query;
mod bctl;
mod bctl_real;
mod big;
mod cancel;
mod catalog;
mod clients;
mod config;
mod copy;
mod failover;
mod fresh_reads;
mod health;
mod hostile;
mod init_script;
mod layers;
mod learned;
mod limits;
mod log_collector;
mod logging;
mod made_sql;
mod memory;
mod metrics;
mod mqtt;
mod old_config;
mod operations;
mod outlive;
mod own_commands;
mod own_settings;
mod pause;
mod pcp;
mod pooling;
mod process_tree;
mod protocol;
mod quotas;
mod random_sessions;
mod recovery;
mod recovery_functions;
mod refused;
mod rest;
mod rest_access;
mod rest_hostile;
mod rest_schema;
mod roles;
mod scene;
mod secrets;
mod setup;
mod show;
mod split;
mod survive;
mod syslog;
mod tls;
mod tokio;
mod traffic;
mod trouble;
mod unreachable;
mod upgrade;
mod vanish;
mod versions;

/// Runs the same checks against PostgreSQL itself and through the program. Through the program everything goes to
/// the primary, so that a check may read what it has just written.
fn both_ways(topic: &str, check: impl Fn(&Door)) {
    let cluster = shared();
    let database = cluster.database(topic);
    eprintln!("---- directly");
    check(&cluster.door(0, &database));
    let balancer = Balancer::start(Conf::of(cluster).weights([1, 0, 0]));
    let database = cluster.database(topic);
    eprintln!("---- through the program");
    check(&balancer.door(&database));
}
