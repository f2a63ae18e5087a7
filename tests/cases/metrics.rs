//! `/metrics`: as Prometheus wants it, and counted by what happens.

use super::rest::start;
use crate::harness::exposition::Page;
use crate::harness::rest::{ask, get, post};
use crate::harness::{Balancer, Client, shared, wait};

fn page(balancer: &Balancer) -> Page {
    Page::parse(&get(balancer, "/metrics").body)
}

/// What the samples of a name have grown by, once it is that.
fn grows(balancer: &Balancer, before: &Page, name: &str, by: f64) {
    wait::until_equal((name, before.sum(name) + by), || (name, page(balancer).sum(name)));
}

#[test]
fn the_page_is_as_prometheus_wants_it() {
    let balancer = start(|conf| {
        conf.set("health_check_period", "1")
            .set("health_check_user", "'postgres'")
            .set("rest_api_exporter_metrics", "on")
    });
    let mut client = Client::connect(&balancer.door("postgres"));
    client.query("SELECT 1").succeeded();
    client.query("SELECT 1/0").error().unwrap();
    post(&balancer, "/api/v1/nodes/2/detach", "").good();
    wait::until_true("a health check", || {
        page(&balancer).sum("pgbalancer_health_check_duration_seconds_count") > 0.0
    });
    let answer = ask(&balancer, "GET", "/metrics", "Accept: text/plain\r\n", "");
    assert!(
        answer.field("content-type").unwrap().starts_with("text/plain; version=0.0.4"),
        "{}",
        answer.head
    );
    let page = Page::parse(&answer.body);
    assert_eq!(page.faults, [""; 0]);
    assert!(page.samples.len() > 150, "{}", page.samples.len());
    assert_eq!(page.sum("pgpool2_pool_nodes_status"), 2.0);
    assert!(page.sum("process_resident_memory_bytes") > 1e6 && page.sum("process_cpu_seconds_total") > 0.0);
}

#[test]
fn what_is_wrong_with_a_page_is_found() {
    let good = "# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"1\\\"2\"} 1\n";
    assert_eq!(Page::parse(good).faults, [""; 0]);
    let histogram = |buckets: &str| format!("# HELP h A.\n# TYPE h histogram\n{buckets}h_sum 1\nh_count 3\n");
    let [one, all] = ["h_bucket{le=\"1\"} 2\n", "h_bucket{le=\"+Inf\"} 3\n"];
    assert_eq!(Page::parse(&histogram(&format!("{one}{all}"))).faults, [""; 0]);
    for wrong in [
        "a_total 1\n",
        "# TYPE a_total counter\n# HELP a_total A.\na_total 1\n",
        "# HELP a A.\n# TYPE a counter\na 1\n",
        "# HELP a_total A.\n# TYPE a_total gauge\na_total 1\n",
        "# HELP a A.\n# TYPE a gauge\na 1\na 1\n",
        "# HELP a A.\n# TYPE a gauge\nb 1\n",
        "# HELP a A.\n# TYPE a gauge\n",
        "# HELP a A.\n# TYPE a gauge\na{x=\"1\"2\"} 1\n",
        "# HELP a A.\n# TYPE a gauge\na 1",
        &histogram(one),
        &histogram(&format!("{all}{one}")),
        &histogram(&format!("{}{all}", one.replace("} 2", "} 4"))),
        &histogram(&format!("{one}{}", all.replace("} 3", "} 4"))),
    ] {
        assert_ne!(Page::parse(wrong).faults, [""; 0], "{wrong}");
    }
}

#[test]
fn transactions_and_connections_are_counted() {
    let balancer = start(|conf| conf.weights([1, 0, 0]).set("num_init_children", "1"));
    let database = shared().database("metrics");
    let before = page(&balancer);
    let door = balancer.door(&database);
    let mut client = Client::connect(&door);
    client.query("SELECT 1").succeeded();
    client.query("SELECT 1/0").error().unwrap();
    client.query("BEGIN").succeeded();
    client.query("SELECT 1").succeeded();
    client.query("ROLLBACK").succeeded();
    client.query("BEGIN; SELECT 1; COMMIT").succeeded();
    let status = |page: &Page, wanted: &str| {
        let all = page.samples.iter().filter(|(name, _, _)| name == "pgbalancer_transactions_total");
        all.filter(|(_, labels, _)| labels[0].1 == wanted).map(|(_, _, count)| *count).sum::<f64>()
    };
    wait::until_equal([2.0, 2.0], || {
        let now = page(&balancer);
        ["committed", "aborted"].map(|wanted| status(&now, wanted) - status(&before, wanted))
    });
    grows(&balancer, &before, "pgbalancer_pool_misses_total", 1.0);
    grows(&balancer, &before, "pgbalancer_query_duration_seconds_count", 6.0);
    client.terminate();
    let mut client = Client::connect(&door);
    client.query("SELECT 1").succeeded();
    grows(&balancer, &before, "pgbalancer_pool_hits_total", 1.0);
    grows(&balancer, &before, "pgbalancer_pool_misses_total", 1.0);
}
