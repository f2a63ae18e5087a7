//! A cluster, a database and the program before it; who ran a statement is read in the servers' logs.

use crate::harness::balancer::Conf;
use crate::harness::node_log::Mark;
use crate::harness::{Balancer, Client, Cluster, Door, shared, wait};

/// A database with the table `t`, and the program in front of the cluster.
pub(super) struct Scene {
    pub(super) cluster: &'static Cluster,
    pub(super) database: String,
    pub(super) balancer: Balancer,
}

impl Scene {
    pub(super) fn new(topic: &str, change: impl FnOnce(Conf) -> Conf) -> Scene {
        let cluster = shared();
        let database = cluster.database(topic);
        cluster.prepare(&database, "CREATE TABLE t (n int); INSERT INTO t VALUES (1)");
        let balancer = Balancer::start(change(Conf::of(cluster)));
        Scene { cluster, database, balancer }
    }

    pub(super) fn door(&self) -> Door {
        self.balancer.door(&self.database)
    }

    pub(super) fn client(&self) -> Client {
        Client::connect(&self.door())
    }

    pub(super) fn marks(&self) -> Vec<Mark> {
        self.cluster.nodes.iter().map(|node| node.log.mark()).collect()
    }

    /// The nodes whose log has this statement since the marks.
    pub(super) fn nodes_with(&self, statement: &str, since: &[Mark]) -> Vec<usize> {
        let has = |node: &&crate::harness::cluster::Node| {
            node.log.statements(since[node.id], &self.database).iter().any(|text| text == statement)
        };
        self.cluster.nodes.iter().filter(has).map(|node| node.id).collect()
    }

    /// The same, once any has it.
    pub(super) fn nodes_that_ran(&self, statement: &str, since: &[Mark]) -> Vec<usize> {
        wait::until_true(&format!("{statement} at a node"), || !self.nodes_with(statement, since).is_empty());
        self.nodes_with(statement, since)
    }

    /// Runs the statements in one session; returns where the logs ended before. Each must be unlike the others.
    pub(super) fn run(&self, statements: &[&str]) -> Vec<Mark> {
        let since = self.marks();
        let mut client = self.client();
        for statement in statements {
            client.query(statement).succeeded();
        }
        client.terminate();
        since
    }

    /// The same; says for each which nodes ran it.
    pub(super) fn places(&self, statements: &[&str]) -> Vec<Vec<usize>> {
        let since = self.run(statements);
        statements.iter().map(|statement| self.nodes_that_ran(statement, &since)).collect()
    }

    #[track_caller]
    pub(super) fn expect(&self, expected: &[(&str, &[usize])]) {
        let statements: Vec<&str> = expected.iter().map(|(statement, _)| *statement).collect();
        let since = self.run(&statements);
        // The end of a transaction reaches a node that joined it behind the primary, and its log still later.
        for (statement, nodes) in expected {
            wait::until_equal((*statement, nodes.to_vec()), || {
                (*statement, self.nodes_with(statement, &since))
            });
        }
        for (statement, nodes) in expected {
            assert_eq!(self.nodes_with(statement, &since), *nodes, "{statement}");
        }
    }
}

pub(super) const PRIMARY: &[usize] = &[0];
pub(super) const STANDBY: &[usize] = &[1];
pub(super) const BOTH: &[usize] = &[0, 1];

/// All reads go to node 1.
pub(super) fn reads_on_one(conf: Conf) -> Conf {
    conf.weights([0, 1, 0])
}
