//! All integration tests, in one binary: they start real PostgreSQL servers and the real program.
//!
//! `harness` starts and watches things, `cases` holds one file a topic, `differential` compares with pgpool-II,
//! `simulation` needs no servers: it runs sessions and failover against a model of them, in virtual time.
//! `PGBALANCER_PROGRAM=/usr/sbin/pgpool` runs the same cases against pgpool-II, `PGBALANCER_PROGRAM=direct` those that
//! only need a server against PostgreSQL itself: both show whether a failing case or the program is wrong.
#![forbid(unsafe_code)]

mod cases;
mod differential;
mod harness;
mod simulation;
