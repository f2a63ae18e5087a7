//! What the cases stand on: servers, the program under test, clients, and waiting with a deadline.

pub(crate) mod balancer;
pub(crate) mod certs;
pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod exposition;
pub(crate) mod http;
pub(crate) mod load;
pub(crate) mod message;
pub(crate) mod mosquitto;
pub(crate) mod namespace;
pub(crate) mod node_log;
pub(crate) mod pam;
pub(crate) mod pcp;
pub(crate) mod ports;
pub(crate) mod power;
pub(crate) mod process;
pub(crate) mod recovery;
pub(crate) mod rest;
pub(crate) mod slapd;
pub(crate) mod tap;
pub(crate) mod tools;
pub(crate) mod wait;

pub(crate) use balancer::Balancer;
pub(crate) use client::Client;
pub(crate) use cluster::{Cluster, Door, shared};
