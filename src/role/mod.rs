//! One file or folder a child process, and the table that the supervisor starts them from.
#![forbid(unsafe_code)]

mod asking;
pub mod logger;
pub mod replication;
pub mod worker;

use crate::supervisor::Role;

/// Every role of the process tree, in the order of starting; a smart stop waits for those that serve clients.
pub const TABLE: &[Role] = &[
    Role {
        process: "logger",
        label: "logger",
        title: "PgpoolLogger",
        count: |config| usize::from(config.logging_collector),
        serves_clients: false,
        is_logger: true,
        clear: |_, _| {},
        run: logger::run,
    },
    Role {
        process: "child",
        label: "child",
        title: "wait for connection request",
        count: |config| usize::try_from(config.num_init_children).unwrap_or(1),
        serves_clients: true,
        is_logger: false,
        clear: |segment, index| segment.clear_worker(index),
        run: worker::run,
    },
    Role {
        process: "sr_check_worker",
        label: "worker child",
        title: "worker process",
        count: |_| 1,
        serves_clients: false,
        is_logger: false,
        clear: |segment, _| segment.mend_probes(),
        run: replication::run,
    },
];
