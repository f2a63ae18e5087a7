//! What is answered: reports of the core, field by field in pgpool-II's order, and the word that a command is done.
#![forbid(unsafe_code)]

use super::packet::{self, COMPLETE, put, put_complete, put_count};
use super::request::Request;
use crate::admin::{self, AdminError, Command, Context, HealthReport, NodeReport, PoolReport, Role};
use crate::config::PcpNodeInfoFormat;
use crate::shm::NodeStatus;
use crate::wire::write;

/// Weights are sent as shares of this, C's RAND_MAX, by which the clients divide.
const WHOLE_WEIGHT: f64 = 2_147_483_647.0;

/// What the core has to do with a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Matter {
    /// Have it answered by [`report`].
    Report,
    /// Have it done, then say so by [`done`].
    Command(Command),
}

/// Whether a request is about a report, or which command it is.
///
/// # Errors
/// It names a node that there is not.
pub fn matter(request: &Request, context: &Context<'_>) -> Result<Matter, AdminError> {
    let find = |number: i64| admin::find_node(context, number).map(|backend| backend.id);
    Ok(Matter::Command(match *request {
        Request::Attach { node } => Command::Attach { node: find(node)? },
        Request::Detach { node, gracefully } => Command::Detach { node: find(node)?, gracefully },
        Request::Promote { node, switchover, gracefully } => {
            Command::Promote { node: find(node)?, switchover, gracefully }
        }
        Request::Recover { node } => Command::Recover { node: find(node)? },
        Request::Stop { mode } => Command::Stop(mode),
        Request::Reload => Command::Reload,
        Request::RotateLog => Command::RotateLog,
        Request::InvalidateCache => Command::InvalidateCache,
        _ => return Ok(Matter::Report),
    }))
}

/// Appends the packet that says that a command is done, with the letter that the clients expect.
pub fn done(request: &Request, out: &mut Vec<u8>) {
    let kind = match request {
        Request::Attach { .. } | Request::Recover { .. } => b'c',
        Request::Detach { .. } | Request::Promote { .. } => b'd',
        Request::Stop { .. } => b't',
        Request::RotateLog => b'v',
        Request::InvalidateCache => b'g',
        _ => b'z',
    };
    put_complete(out, kind);
}

/// Appends the packets that answer a request for a report.
///
/// # Errors
/// It is about something that is not there.
pub fn report(request: &Request, context: &Context<'_>, out: &mut Vec<u8>) -> Result<(), AdminError> {
    match *request {
        Request::NodeCount => put(out, b'l', &[COMPLETE, &places(context).to_string()]),
        Request::NodeInfo { node } => nodes(node, context, out)?,
        Request::HealthStats { node } => {
            let place = place(node, context)?;
            let found = admin::health(context).into_iter().find(|report| report.id == place);
            put_health(out, &found.unwrap_or_else(|| unused_health(place)));
        }
        Request::ProcessCount => {
            let pids: Vec<String> = admin::worker_pids(context).iter().map(ToString::to_string).collect();
            let count = pids.len().to_string();
            let fields = [COMPLETE, &count].into_iter().chain(pids.iter().map(String::as_str));
            put(out, b'n', &fields.collect::<Vec<_>>());
        }
        Request::ProcessInfo { pid } => processes(pid, context, out)?,
        Request::PoolStatus => pool_status(context, out),
        Request::WatchdogInfo => return Err(AdminError::NoWatchdog),
        // Commands, and what belongs to logging in: nobody asks for a report of them.
        _ => {}
    }
    Ok(())
}

/// Numbers of nodes end here: like pgpool-II's arrays, also where some in between are not used.
fn places(context: &Context<'_>) -> usize {
    context.config.backends().iter().map(|backend| backend.id + 1).max().unwrap_or(0)
}

fn place(number: i64, context: &Context<'_>) -> Result<usize, AdminError> {
    let end = places(context);
    let place = usize::try_from(number).ok().filter(|place| *place < end);
    place.ok_or(AdminError::UnknownNode { number, end })
}

fn nodes(wanted: Option<i64>, context: &Context<'_>, out: &mut Vec<u8>) -> Result<(), AdminError> {
    let places = match wanted {
        Some(number) => {
            let place = place(number, context)?;
            place..place + 1
        }
        None => 0..places(context),
    };
    put_count(out, b'i', places.len());
    let reports = admin::nodes(context);
    let format = context.config.pcp_node_info_format;
    for place in places {
        match reports.iter().find(|report| report.id == place) {
            Some(report) => put_node(out, report, format),
            None => put_unused_node(out, format),
        }
    }
    put_complete(out, b'i');
    Ok(())
}

/// The number of a status, and whether it is a quarantine.
fn status(status: NodeStatus) -> (&'static str, &'static str) {
    match status {
        NodeStatus::Unused => ("0", "0"),
        NodeStatus::Waiting => ("1", "0"),
        NodeStatus::Up => ("2", "0"),
        NodeStatus::Down => ("3", "0"),
        NodeStatus::Quarantine => ("3", "1"),
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Main => "0",
        Role::Replica => "1",
        Role::Primary => "2",
        Role::Standby => "3",
    }
}

fn put_node(out: &mut Vec<u8>, node: &NodeReport, format: PcpNodeInfoFormat) {
    let (port, weight) = (node.port.to_string(), format!("{:.6}", node.share * WHOLE_WEIGHT));
    let (changed, bytes, micros) =
        (node.changed_at.to_string(), node.delay_bytes.to_string(), node.delay_micros.to_string());
    let (number, quarantine) = status(node.status);
    let mut fields = vec![
        "NodeInfo",
        &node.hostname,
        &port,
        number,
        quarantine,
        admin::pg_status_text(node.pg_status),
        &weight,
        role(node.role),
        node.pg_role.map_or("unknown", Role::name),
    ];
    match (format, node.delay_by_time) {
        (PcpNodeInfoFormat::V4_4, true) => fields.extend(["1", &micros]),
        (PcpNodeInfoFormat::V4_4, false) => fields.extend(["0", &bytes]),
        // Clients of that version know of bytes only.
        (PcpNodeInfoFormat::V4_3, _) => fields.push(&bytes),
    }
    fields.extend([node.replication_state.as_str(), &node.replication_sync_state, &changed]);
    put(out, b'i', &fields);
}

/// A number between those of configured nodes; clients show it with `--all` only.
fn put_unused_node(out: &mut Vec<u8>, format: PcpNodeInfoFormat) {
    let mut fields = vec!["NodeInfo", "", "0", "0", "0", "down", "0.000000", "3", "unknown", "0"];
    fields.extend((format == PcpNodeInfoFormat::V4_4).then_some("0"));
    fields.extend(["", "", "0"]);
    put(out, b'i', &fields);
}

fn put_health(out: &mut Vec<u8>, report: &HealthReport) {
    let values = report.values();
    let fields: Vec<&str> = std::iter::once(COMPLETE).chain(values.iter().map(String::as_str)).collect();
    put(out, b'h', &fields);
}

fn unused_health(id: usize) -> HealthReport {
    HealthReport {
        id,
        hostname: String::new(),
        port: 0,
        status: NodeStatus::Unused,
        role: Role::Standby,
        changed_at: 0,
        counts: Default::default(),
    }
}

fn processes(wanted: Option<i64>, context: &Context<'_>, out: &mut Vec<u8>) -> Result<(), AdminError> {
    let is_it = |pid: &i32| wanted.is_none_or(|wanted| wanted == i64::from(*pid));
    if let Some(pid) = wanted.filter(|_| !admin::worker_pids(context).iter().any(is_it)) {
        return Err(AdminError::UnknownProcess(pid));
    }
    let reports: Vec<PoolReport> = admin::pools(context).filter(|report| is_it(&report.worker.pid)).collect();
    put_count(out, b'p', reports.len());
    reports.iter().for_each(|report| put_process(out, report, context));
    put_complete(out, b'p');
    Ok(())
}

/// Fields that a version does not know stand at the end, so all of them can be sent to all.
fn put_process(out: &mut Vec<u8>, report: &PoolReport, context: &Context<'_>) {
    let values = report.values();
    let holder = report.holder.map(|(worker, slot)| context.segment.session(worker, slot));
    let session = holder.unwrap_or_default();
    let is_balance_node = session.balance_node() == Some(report.node);
    let client = match session.client_port {
        0 => String::new(),
        port => port.to_string(),
    };
    // The statement is not kept.
    let newer = [if is_balance_node { "1" } else { "0" }, session.client_host.as_str(), &client, ""];
    let fields = std::iter::once("ProcessInfo").chain(values.iter().map(String::as_str)).chain(newer);
    put(out, b'p', &fields.collect::<Vec<_>>());
}

fn pool_status(context: &Context<'_>, out: &mut Vec<u8>) {
    let rows = admin::status(context);
    // This count alone is binary.
    write::frame(out, b'b', |out| {
        write::string(out, b"ArraySize");
        write::i32(out, i32::try_from(rows.len()).unwrap_or(i32::MAX));
    });
    for row in &rows {
        packet::put(out, b'b', &["ProcessConfig", &row.item, &row.value, row.description]);
    }
    put_complete(out, b'b');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::tests::{NOW, config, context, segment};
    use crate::shm::{HealthRow, PoolRow, SessionRow, SessionStatus, WorkerRow};
    use crate::sys::clock::local_text;

    /// The packets as text: the letter, and the fields with bars between.
    fn said(request: Request, conf: &str) -> Result<Vec<String>, AdminError> {
        let (config, segment) = (config(conf), segment(1));
        segment.set_worker(0, &WorkerRow { pid: 10, started_at: NOW, ..WorkerRow::default() });
        segment.set_worker(
            1,
            &WorkerRow { pid: 11, started_at: NOW, client_connections: 3, ..WorkerRow::default() },
        );
        let mut session = SessionRow {
            user: "ann".into(),
            database: "db".into(),
            client_host: "127.0.0.1".into(),
            client_port: 7,
            status: SessionStatus::Idle,
            ..SessionRow::default()
        };
        session.set_balance_node(Some(1));
        segment.set_session(1, 0, &session);
        let pool = PoolRow {
            session_plus_1: 1,
            user: "ann".into(),
            database: "db".into(),
            backend_connected_at: NOW,
            client_connected_at: NOW,
            major: 3,
            pool_counter: 2,
            backend_pid: 99,
            ..PoolRow::default()
        };
        segment.set_pool(1, 0, 1, &pool);
        segment.set_health(
            1,
            &HealthRow { total: 3, success: 2, duration: 9, last: NOW, ..HealthRow::default() },
        );
        let mut out = Vec::new();
        report(&request, &context(&segment, &config), &mut out)?;
        Ok(texts(&out))
    }

    fn texts(mut packets: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        while let packet::Cut::Packet { kind, body, length } = packet::cut(packets) {
            let body = String::from_utf8_lossy(body.strip_suffix(b"\0").unwrap_or(body)).replace('\0', "|");
            found.push(format!("{}|{body}", char::from(kind)));
            packets = packets.get(length..).unwrap_or_default();
        }
        assert!(packets.is_empty(), "the rest is no packet");
        found
    }

    fn unknown(number: i64, end: usize) -> Result<Vec<String>, AdminError> {
        Err(AdminError::UnknownNode { number, end })
    }

    #[test]
    fn nodes_in_the_order_of_either_version() {
        let one = "i|NodeInfo|one|5432|2|0|unknown|536870911.750000|2|unknown";
        let two = "i|NodeInfo|/run|5433|1|0|up|1610612735.250000|3|standby";
        let head = |count: &str| format!("i|ArraySize|{count}");
        let done = "i|CommandComplete";
        for (conf, delay) in [
            ("", "0|4096"),
            ("delay_threshold_by_time = 1", "1|2500000"),
            ("pcp_node_info_format = 4.3", "4096"),
            ("pcp_node_info_format = 4.3\ndelay_threshold_by_time = 1", "4096"),
        ] {
            let all = said(Request::NodeInfo { node: None }, conf).unwrap();
            let zero = if delay.contains('|') { format!("{}|0", &delay[..1]) } else { "0".to_owned() };
            let first = format!("{one}|{zero}|||{NOW}");
            let second = format!("{two}|{delay}|streaming|async|{NOW}");
            assert_eq!(all, [head("2"), first, second.clone(), done.to_owned()], "{conf}");
            let second_alone = said(Request::NodeInfo { node: Some(1) }, conf).unwrap();
            assert_eq!(second_alone, [head("1"), second, done.to_owned()], "{conf}");
        }
        assert_eq!(said(Request::NodeInfo { node: Some(2) }, ""), unknown(2, 2));
        assert_eq!(said(Request::NodeInfo { node: Some(-2) }, ""), unknown(-2, 2));
    }

    #[test]
    fn numbers_between_nodes_are_nodes_that_are_not_used() {
        let conf = "backend_hostname3 = 'c'\nbackend_port3 = 5435";
        assert_eq!(said(Request::NodeCount, conf).unwrap(), ["l|CommandComplete|4"]);
        assert_eq!(said(Request::NodeCount, "").unwrap(), ["l|CommandComplete|2"]);
        let all = said(Request::NodeInfo { node: None }, conf).unwrap();
        assert_eq!((all.len(), all[3].as_str()), (6, "i|NodeInfo||0|0|0|down|0.000000|3|unknown|0|0|||0"));
        let older = format!("{conf}\npcp_node_info_format = 4.3");
        let gap = said(Request::NodeInfo { node: Some(2) }, &older).unwrap();
        assert_eq!(gap[1], "i|NodeInfo||0|0|0|down|0.000000|3|unknown|0|||0");
        assert!(
            said(Request::HealthStats { node: 2 }, conf).unwrap()[0]
                .starts_with("h|CommandComplete|2||0|unused|")
        );
        assert_eq!(said(Request::NodeInfo { node: Some(4) }, conf), unknown(4, 4));
    }

    #[test]
    fn what_health_checks_have_counted() {
        let now = local_text(NOW);
        let text = format!(
            "h|CommandComplete|1|/run|5433|waiting|standby|{now}|3|2|0|0|0|0.000000|0|0|0|4.500000|{now}|||"
        );
        assert_eq!(said(Request::HealthStats { node: 1 }, "").unwrap(), [text]);
        assert_eq!(said(Request::HealthStats { node: 7 }, ""), unknown(7, 2));
    }

    #[test]
    fn processes_and_their_connections() {
        assert_eq!(said(Request::ProcessCount, "").unwrap(), ["n|CommandComplete|2|10|11"]);
        let now = local_text(NOW);
        let all = said(Request::ProcessInfo { pid: None }, "").unwrap();
        assert_eq!(all.len(), 1 + 2 * 2 * 2 + 1);
        assert_eq!(all[0], "p|ArraySize|8");
        assert_eq!(all[1], format!("p|ProcessInfo|10|{now}|0|0|0||||||0|0|0|0|0|0|Wait for connection|0|||"));
        let one = said(Request::ProcessInfo { pid: Some(11) }, "").unwrap();
        let used =
            format!("p|ProcessInfo|11|{now}|3|0|1|db|ann|{now}|{now}||0|3|0|2|99|1|Idle|1|127.0.0.1|7|");
        assert_eq!((one[0].as_str(), &one[2], one.len()), ("p|ArraySize|4", &used, 6));
        assert_eq!(said(Request::ProcessInfo { pid: Some(12) }, ""), Err(AdminError::UnknownProcess(12)));
    }

    #[test]
    fn parameters_after_a_count_in_binary() {
        let (config, segment) = (config("port = 5555"), segment(1));
        let context = context(&segment, &config);
        let mut out = Vec::new();
        report(&Request::PoolStatus, &context, &mut out).unwrap();
        let count = u32::try_from(admin::status(&context).len()).unwrap();
        let head = [&b"b\0\0\0\x12ArraySize\0"[..], &count.to_be_bytes()].concat();
        assert!(out.starts_with(&head));
        let rows = texts(&out[head.len()..]);
        assert_eq!((rows.len(), rows[rows.len() - 1].as_str()), (count as usize + 1, "b|CommandComplete"));
        let port = "b|ProcessConfig|port|5555|Port for clients, over TCP and on the Unix sockets.";
        assert!(rows.contains(&port.to_owned()), "{rows:?}");
    }

    #[test]
    fn commands_are_those_of_the_core() {
        let (config, segment) = (config(""), segment(1));
        let matter = |request: Request| matter(&request, &context(&segment, &config));
        let command = |command| Ok(Matter::Command(command));
        assert_eq!(matter(Request::Attach { node: 1 }), command(Command::Attach { node: 1 }));
        assert_eq!(
            matter(Request::Detach { node: 1, gracefully: true }),
            command(Command::Detach { node: 1, gracefully: true })
        );
        assert_eq!(matter(Request::NodeCount), Ok(Matter::Report));
        for request in [
            Request::Attach { node: 2 },
            Request::Detach { node: -1, gracefully: false },
            Request::Promote { node: i64::MAX, switchover: false, gracefully: false },
            Request::Recover { node: 2 },
        ] {
            assert!(matches!(matter(request), Err(AdminError::UnknownNode { end: 2, .. })));
        }
    }

    #[test]
    fn the_end_of_a_command_has_the_letter_that_clients_expect() {
        let letter = |request| {
            let mut out = Vec::new();
            done(&request, &mut out);
            texts(&out).concat()
        };
        for (request, kind) in [
            (Request::Attach { node: 1 }, 'c'),
            (Request::Recover { node: 1 }, 'c'),
            (Request::Detach { node: 1, gracefully: true }, 'd'),
            (Request::Promote { node: 1, switchover: true, gracefully: false }, 'd'),
            (Request::Stop { mode: admin::StopMode::Fast }, 't'),
            (Request::RotateLog, 'v'),
            (Request::InvalidateCache, 'g'),
            (Request::Reload, 'z'),
        ] {
            assert_eq!(letter(request), format!("{kind}|CommandComplete"));
        }
    }
}
