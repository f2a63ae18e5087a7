//! A session without sockets: bytes in, bytes out, and two nodes that answer what a test tells them to.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::cluster::relcache::RelCache;
use crate::cluster::view::{ClusterView, NodeView};
use crate::config;
use crate::error::NodeId;
use crate::net::{Address, ConnId, Owner, Peer, Resolver, Waker, Wire};
use crate::pool::{Outcome, Phase, Pool, Settings, Site};
use crate::route::RouteConfig;
use crate::route::learn::Model;
use crate::session::{Ctx, Errand, Laggards, Lost, Random, Session, Shared};
use crate::shm::{Hold, Segment, Sizes};
use crate::wire::backend::{self, TxStatus};
use crate::wire::{frame, frontend};

pub(super) const PRIMARY: NodeId = 0;
pub(super) const STANDBY: NodeId = 1;
pub(super) const CLIENT: ConnId = ConnId::NONE;

/// Sockets that remember.
#[derive(Default)]
pub(super) struct FakeWire {
    pub(super) sent: HashMap<ConnId, Vec<u8>>,
    pub(super) closed: Vec<ConnId>,
    pub(super) paused: Vec<ConnId>,
    pub(super) stuck: HashMap<ConnId, usize>,
    connecting: Vec<(ConnId, Owner)>,
    last: u32,
}

impl Wire for FakeWire {
    fn send(&mut self, id: ConnId, bytes: &[u8]) {
        self.sent.entry(id).or_default().extend_from_slice(bytes);
    }

    fn queued(&self, id: ConnId) -> usize {
        self.stuck.get(&id).copied().unwrap_or(0)
    }

    fn pause(&mut self, id: ConnId) {
        self.paused.push(id);
    }

    fn resume(&mut self, id: ConnId) {
        self.paused.retain(|paused| *paused != id);
    }

    fn close(&mut self, id: ConnId) {
        self.closed.push(id);
    }

    fn close_when_sent(&mut self, id: ConnId) {
        self.closed.push(id);
    }

    fn secure(&mut self, _id: ConnId, _owner: Owner, _ssl: openssl::ssl::Ssl, _already: &[u8]) {}

    fn connect(&mut self, _: &Address, owner: Owner) -> std::io::Result<ConnId> {
        self.last += 1;
        let id = ConnId::new(self.last, 0);
        self.connecting.push((id, owner));
        Ok(id)
    }
}

/// Everything a session needs, and the session.
pub(super) struct Rig {
    pub(super) wire: FakeWire,
    pub(super) pool: Pool,
    pub(super) shared: Shared,
    pub(super) session: Session,
    /// Nodes that take no connections.
    refusing: Vec<NodeId>,
}

impl Rig {
    /// A session that is in, as user `u` in database `d`; reads go to the standby.
    pub(super) fn new(conf: &str) -> Rig {
        let mut rig = Rig::bare(conf);
        rig.log_in();
        rig
    }

    fn log_in(&mut self) {
        let mut packet = Vec::new();
        frontend::put_startup(&mut packet, crate::wire::PROTOCOL_3_0, &[("user", "u"), ("database", "d")]);
        self.client(&packet);
        self.client_got();
    }

    /// A client that has said nothing yet.
    pub(super) fn bare(conf: &str) -> Rig {
        let text = format!(
            "backend_hostname0 = '127.0.0.1'\nbackend_port0 = 5001\nbackend_weight0 = 0\n\
             backend_hostname1 = '127.0.0.1'\nbackend_port1 = 5002\nbackend_weight1 = 1\n{conf}"
        );
        let loaded =
            config::parse_text(&text, Path::new("test.conf"), &|_| Err(std::io::ErrorKind::NotFound.into()))
                .expect("configuration");
        let config = loaded.config;
        let site = |node| Site {
            node,
            host: "127.0.0.1".into(),
            port: 5001,
            connect_timeout: Duration::from_secs(9),
        };
        let settings = Settings {
            sites: vec![site(PRIMARY), site(STANDBY)],
            connection_cache: true,
            limit: 4,
            reset_queries: vec!["ABORT".into(), "DISCARD ALL".into()],
            log_per_node_statement: false,
        };
        let node = |id, is_primary, weight| NodeView {
            id,
            usable: true,
            orderly: false,
            weight,
            is_primary,
            lag_bytes: Some(0),
            lag_micros: Some(0),
        };
        let view = ClusterView {
            nodes: vec![node(PRIMARY, true, 0.0), node(STANDBY, false, 1.0)],
            primary: Some(PRIMARY),
            main: Some(PRIMARY),
            ..ClusterView::default()
        };
        let sizes = Sizes {
            workers: 1,
            sessions_per_worker: 1,
            pools_per_worker: 4,
            nodes: 2,
            answers: 16,
            tables: 16,
            learned: Model::words_needed(1, 2),
        };
        let segment = Segment::create(sizes).unwrap();
        let now = Instant::now();
        let shared = Shared {
            worker: 0,
            routes: Rc::new(RouteConfig::from(&config)),
            segment,
            view,
            facts: crate::sql::Cache::new(64),
            laggards: Laggards::default(),
            relations: RelCache::new(64, Duration::ZERO, segment, true),
            passwords: Rc::default(),
            users: Default::default(),
            hba: None,
            tls: None,
            now,
            clock: (now, 1),
            unix_now: 0,
            random: Random::new(1),
            errands: Vec::new(),
            out: Vec::new(),
            candidates: Vec::new(),
            config: Rc::new(config),
        };
        let pool = Pool::new(
            settings,
            Rc::default(),
            Resolver::new(Waker::new().unwrap()),
            Box::new(|| "nonce".into()),
        );
        let session = Session::new(0, CLIENT, Peer::Local, now, None);
        Rig { wire: FakeWire::default(), pool, shared, session, refusing: Vec::new() }
    }

    /// Runs a step of the session, and opens what it asks for.
    pub(super) fn step(&mut self, step: impl FnOnce(&mut Session, &mut Ctx<'_>)) {
        let mut ctx = Ctx { wire: &mut self.wire, pool: &mut self.pool, shared: &mut self.shared };
        step(&mut self.session, &mut ctx);
        self.open_connections();
    }

    pub(super) fn client(&mut self, bytes: &[u8]) {
        self.step(|session, ctx| session.on_client(ctx, bytes));
    }

    fn open_connections(&mut self) {
        for (_, owner) in std::mem::take(&mut self.wire.connecting) {
            let Owner::Backend(slot) = owner else { continue };
            if self.pool.peek(slot).is_none_or(|backend| self.refusing.contains(&backend.node)) {
                self.pool.on_closed(&mut self.wire, slot, "refused", self.shared.now);
                continue;
            }
            self.pool.on_connected(&mut self.wire, slot);
            let mut answer = Vec::new();
            backend::put_auth_ok(&mut answer);
            backend::put_parameter_status(&mut answer, b"server_version", b"15.0");
            backend::put_key_data(&mut answer, 100 + slot as i32, b"key!");
            backend::put_ready(&mut answer, TxStatus::Idle);
            self.pool.on_received(&mut self.wire, slot, &answer);
            if let Some(backend) = self.pool.get(slot) {
                self.wire.sent.remove(&backend.conn);
            }
        }
        for outcome in self.pool.outcomes() {
            match outcome {
                Outcome::Ready { backend, .. } => {
                    self.step(|session, ctx| session.on_backend_ready(ctx, backend));
                }
                Outcome::Failed { node, failure, .. } => {
                    self.step(|session, ctx| session.on_backend_failed(ctx, node, &failure));
                }
            }
        }
    }

    fn slot(&self, node: NodeId) -> Option<u32> {
        self.pool
            .slots()
            .find(|(_, b)| {
                b.node == node && b.session == Some(self.session.slot) && matches!(b.phase, Phase::Leased)
            })
            .map(|(slot, _)| slot)
    }

    pub(super) fn conn(&mut self, node: NodeId) -> ConnId {
        let slot = self.slot(node).unwrap_or(u32::MAX);
        self.pool.get(slot).map_or(ConnId::new(u32::MAX - 1, 0), |b| b.conn)
    }

    /// The node says this.
    pub(super) fn node(&mut self, node: NodeId, bytes: &[u8]) {
        let slot = self.slot(node).expect("the session has a connection to the node");
        self.step(|session, ctx| session.on_backend(ctx, slot, bytes));
    }

    /// The node's connection breaks.
    pub(super) fn lose(&mut self, node: NodeId) {
        let slot = self.slot(node).expect("the session has a connection to the node");
        let Rig { pool, wire, .. } = self;
        let lost = Lost::of(pool.get(slot).expect("a connection"), "reset");
        pool.on_closed(wire, slot, "reset", self.shared.now);
        self.step(|session, ctx| session.on_backend_closed(ctx, node, lost));
    }

    /// A second session takes the place of the first, which is given back; it is in.
    pub(super) fn another_session(&mut self) -> Session {
        let second = Session::new(1, CLIENT, Peer::Local, self.shared.now, None);
        let first = std::mem::replace(&mut self.session, second);
        self.log_in();
        first
    }

    /// A node says this on a connection that no session has.
    pub(super) fn pool_hears(&mut self, conn: ConnId, bytes: &[u8]) {
        let slot = self.pool.slots().find(|(_, b)| b.conn == conn).map(|(slot, _)| slot);
        self.pool.on_received(&mut self.wire, slot.expect("the connection is there"), bytes);
    }

    /// Whether the session has a connection to the node.
    pub(super) fn has(&self, node: NodeId) -> bool {
        self.slot(node).is_some()
    }

    /// The node takes connections, or does not.
    pub(super) fn refuse(&mut self, node: NodeId, refuses: bool) {
        self.refusing.retain(|refusing| *refusing != node);
        self.refusing.extend(refuses.then_some(node));
    }

    /// The supervisor has changed something.
    pub(super) fn cluster(&mut self, change: impl FnOnce(&mut ClusterView)) {
        let view = &mut self.shared.view;
        change(view);
        view.main = view.nodes.iter().find(|node| node.usable).map(|node| node.id);
        if self.session.is_concerned(&self.shared) {
            self.step(|session, ctx| session.on_cluster_changed(ctx));
        }
    }

    /// A node is out of use.
    pub(super) fn down(&mut self, node: NodeId, orderly: bool) {
        self.cluster(|view| {
            (view.nodes[node].usable, view.nodes[node].orderly) = (false, orderly);
            view.nodes[node].is_primary = false;
            view.primary = view.primary.filter(|primary| *primary != node);
        });
    }

    /// The primary is out of use, and another one is looked for.
    pub(super) fn search(&mut self) {
        self.cluster(|view| view.hold = Hold::Writes);
        self.down(PRIMARY, false);
    }

    /// The standby is the primary now.
    pub(super) fn promote(&mut self) {
        self.cluster(|view| {
            view.primary = Some(STANDBY);
            view.nodes[STANDBY].is_primary = true;
            view.hold = Hold::Nothing;
        });
    }

    /// So many seconds pass.
    pub(super) fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.shared.now += Duration::from_secs(1);
            if self.session.is_held() {
                self.step(|session, ctx| session.look_again(ctx));
            }
        }
    }

    /// What the session sent to a node since the last call, a word a message.
    pub(super) fn sent_to(&mut self, node: NodeId) -> Vec<String> {
        let conn = self.conn(node);
        words(&self.wire.sent.remove(&conn).unwrap_or_default(), true)
    }

    /// What the client got since the last call, a word a message.
    pub(super) fn client_got(&mut self) -> Vec<String> {
        words(&self.wire.sent.remove(&CLIENT).unwrap_or_default(), false)
    }

    pub(super) fn client_bytes(&mut self) -> Vec<u8> {
        self.wire.sent.remove(&CLIENT).unwrap_or_default()
    }

    /// A simple query of the client, answered by `node` with `tag` and `status`.
    pub(super) fn run(&mut self, sql: &str, node: NodeId, tag: &str, status: TxStatus) {
        self.client(&query(sql));
        assert_eq!(self.sent_to(node).last().map(String::as_str), Some(format!("Q {sql}").as_str()));
        self.node(node, &complete(tag, status));
        self.client_got();
    }

    /// Cancels what the client waits for; returns how many connections that is sent for.
    pub(super) fn cancel(&mut self) -> usize {
        let mut count = 0;
        self.step(|session, ctx| count = session.cancel(ctx).len());
        count
    }

    pub(super) fn errands(&mut self) -> Vec<Errand> {
        std::mem::take(&mut self.shared.errands)
    }
}

/// A simple query.
pub(super) fn query(sql: &str) -> Vec<u8> {
    let mut out = Vec::new();
    frontend::put_query(&mut out, sql.as_bytes());
    out
}

/// CommandComplete and ReadyForQuery.
pub(super) fn complete(tag: &str, status: TxStatus) -> Vec<u8> {
    let mut out = Vec::new();
    backend::put_command_complete(&mut out, tag);
    backend::put_ready(&mut out, status);
    out
}

/// ErrorResponse and ReadyForQuery.
pub(super) fn error(status: TxStatus) -> Vec<u8> {
    let mut out = Vec::new();
    let notice = backend::Notice {
        severity: "ERROR",
        code: "22012",
        message: "division by zero",
        detail: None,
        hint: None,
    };
    backend::put_error(&mut out, &notice);
    backend::put_ready(&mut out, status);
    out
}

/// `Q text` for queries, `Z I` for ReadyForQuery, `E code` for errors, the type byte for the rest.
pub(super) fn words(bytes: &[u8], frontend: bool) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = bytes;
    while let Ok(Some(header)) = frame::header(rest) {
        let body = &rest[5..header.length];
        let kind = header.kind as char;
        words.push(match (kind, frontend) {
            ('Q', true) => format!("Q {}", String::from_utf8_lossy(&body[..body.len() - 1])),
            ('Z', false) => format!("Z {}", body[0] as char),
            ('E', false) => {
                format!("E {}", String::from_utf8_lossy(backend::error(body).unwrap().code))
            }
            _ => kind.to_string(),
        });
        rest = &rest[header.length..];
    }
    assert!(rest.is_empty(), "a frame is cut: {rest:?}");
    words
}
