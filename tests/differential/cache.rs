//! What is asked about a query cache that there is not: Debian's pgpool-II with `memory_cache_enabled = off`, and ours.

use super::PGPOOL;
use crate::harness::balancer::{Conf, Program};
use crate::harness::{Balancer, Client, shared};

#[test]
fn a_cache_that_is_off_is_told_of_alike() {
    let told = [Program::Pgpool(PGPOOL.into()), Program::under_test()].map(|program| {
        let balancer = Balancer::start_program(program, Conf::of(shared()), &[]);
        balancer.wait_roles();
        let mut client = Client::connect(&balancer.door("postgres"));
        let reply = client.query("SHOW POOL_CACHE");
        let error = reply.error().map(|report| (report.severity, report.code, report.message));
        let notices: Vec<String> = reply.notices().into_iter().map(|report| report.message).collect();
        (reply.kinds(), reply.columns(), reply.rows(), reply.tags(), error, notices)
    });
    let [theirs, ours] = told;
    assert_eq!(theirs, ours);
}
