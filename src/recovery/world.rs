//! What a recovery needs of the world: servers that can be asked, a clock, and the supervisor.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use crate::auth::pool_passwd::Secret;
use crate::cluster::client::{Client, ClientError, Limits, Row, Target};
use crate::error::NodeId;

/// A connection that is logged in.
pub trait Server {
    /// Runs a query within `limit`.
    fn rows(&mut self, query: &str, limit: Duration) -> Result<Vec<Row>, ClientError>;
    /// Runs a query that takes as long as it takes; `still_waiting` is called whenever `beat` has passed.
    fn rows_at_last(
        &mut self,
        query: &str,
        beat: Duration,
        still_waiting: &mut dyn FnMut(),
    ) -> Result<Vec<Row>, ClientError>;
}

/// The servers, and the time that passes while they are waited for.
pub trait Servers {
    /// A connection.
    type Server: Server;
    /// Connects and logs in, within `limit`.
    fn connect(&mut self, target: &Target, limit: Duration) -> Result<Self::Server, ClientError>;
    /// The time.
    fn now(&self) -> Instant;
    /// Waits.
    fn pause(&mut self, time: Duration);
}

/// Who owns the state of the nodes and knows the clients. No call waits for what it asks for.
pub trait Supervisor {
    /// From now on new clients wait, and those that are there are asked to leave (`client_idle_limit_in_recovery`); or all
    /// that ends.
    fn hold_clients(&mut self, hold: bool) -> Result<(), String>;
    /// How many clients there are.
    fn clients(&mut self) -> usize;
    /// Asks for the node to be taken into use.
    fn attach(&mut self, node: NodeId) -> Result<(), String>;
    /// What is done from now on, for those who watch.
    fn goes_on(&mut self, what: &str);
    /// Whether it is in use.
    fn is_attached(&mut self, node: NodeId) -> bool;
}

/// PostgreSQL servers, asked with this password of `recovery_user`.
#[derive(Debug)]
pub struct RealServers {
    secret: Option<Secret>,
}

impl RealServers {
    /// `None`: no password is known; a server that wants none takes us.
    pub fn new(secret: Option<Secret>) -> RealServers {
        RealServers { secret }
    }
}

impl Servers for RealServers {
    type Server = Client;

    fn connect(&mut self, target: &Target, limit: Duration) -> Result<Client, ClientError> {
        Client::connect(target, self.secret.as_ref(), Limits { connect: limit, whole: limit })
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn pause(&mut self, time: Duration) {
        std::thread::sleep(time);
    }
}

impl Server for Client {
    fn rows(&mut self, query: &str, limit: Duration) -> Result<Vec<Row>, ClientError> {
        Client::rows(self, query, limit)
    }

    fn rows_at_last(
        &mut self,
        query: &str,
        beat: Duration,
        still_waiting: &mut dyn FnMut(),
    ) -> Result<Vec<Row>, ClientError> {
        Client::rows_at_last(self, query, beat, still_waiting)
    }
}
