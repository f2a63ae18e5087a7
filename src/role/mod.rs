//! One file or folder a child process, and the table that the supervisor starts them from.
#![forbid(unsafe_code)]

mod account;
mod asking;
mod commands;
mod delay_source;
pub mod health;
mod helpers;
pub mod logger;
#[cfg(feature = "mqtt")]
pub mod mqtt;
pub mod pcp;
mod recovering;
pub mod replication;
pub mod rest;
mod statistics;
mod users_file;
pub mod worker;

use crate::config::Config;
use crate::route;
use crate::shm::RecoveryBy;
use crate::supervisor::{Door, Role};

/// Exit code of a child that cannot work: another one is tried, which is no reason to stop anything else.
const FAILED: i32 = 4;

/// Every role of the process tree, in the order of starting; a smart stop waits for those that serve clients.
pub const TABLE: &[Role] = &[
    Role {
        process: "logger",
        label: "logger",
        title: "PgpoolLogger",
        places: |config| (0..usize::from(config.logging_collector)).collect(),
        door: None,
        is_logger: true,
        clear: |_, _| {},
        run: logger::run,
    },
    Role {
        process: "child",
        label: "child",
        title: "wait for connection request",
        places: |config| (0..usize::try_from(config.num_init_children).unwrap_or(1)).collect(),
        door: Some(Door::Clients),
        is_logger: false,
        clear: |segment, index| {
            segment.clear_worker(index);
            if let Some(model) = route::model(segment) {
                model.forget_worker(index);
            }
        },
        run: worker::run,
    },
    Role {
        process: "pcp_main",
        label: "PCP",
        title: "PCP: wait for connection request",
        places: |config| (0..usize::from(has_pcp(config))).collect(),
        door: Some(Door::Pcp),
        is_logger: false,
        clear: |segment, _| segment.end_recovery(RecoveryBy::Pcp),
        run: pcp::run,
    },
    Role {
        process: "rest_api",
        label: "REST API",
        title: "REST API",
        places: |config| (0..usize::from(config.rest_api_enabled)).collect(),
        door: Some(Door::Rest),
        is_logger: false,
        clear: |segment, _| segment.end_recovery(RecoveryBy::Rest),
        run: rest::run,
    },
    #[cfg(feature = "mqtt")]
    Role {
        process: "mqtt",
        label: "MQTT",
        title: "MQTT",
        places: |config| (0..usize::from(config.mqtt_enabled)).collect(),
        door: None,
        is_logger: false,
        clear: |segment, _| segment.mend_mqtt(),
        run: mqtt::run,
    },
    Role {
        process: "sr_check_worker",
        label: "worker child",
        title: "worker process",
        places: |_| vec![0],
        door: None,
        is_logger: false,
        clear: |segment, _| segment.mend_probes(),
        run: replication::run,
    },
    Role {
        process: "health_check",
        label: "health check",
        title: "health check process",
        places: |config| config.backends().iter().map(|backend| backend.id).collect(),
        door: None,
        is_logger: false,
        clear: |segment, node| segment.mend_health(node),
        run: health::run,
    },
];

/// Whether there is anywhere to knock.
fn has_pcp(config: &Config) -> bool {
    let ways = [&config.pcp_listen_addresses, &config.pcp_socket_dir];
    ways.iter().any(|ways| ways.iter().any(|way| !way.is_empty()))
}
