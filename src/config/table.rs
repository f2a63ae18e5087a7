//! Every parameter, once: name, type, default, range, unit, when it may change, and what it is for.
//! `Config` and everything that is read, shown or printed about parameters comes from this table.
//! The names, ranges and defaults are pgpool-II's, so that its files work; rows of our own say so.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use super::check::{backend_flags, log_destinations, mqtt_broker, mqtt_client_id, mqtt_prefix};
use super::lists;
use super::param::*;
use super::slot::{PerNode, Slot};
use super::words::*;

macro_rules! parameters {
    ($( $group:ident { $( $name:ident: $type:ty = $spec:expr, $change:ident, $about:literal; )* } )*) => {
        /// The configuration of a program that runs: one field a parameter.
        #[derive(Clone, PartialEq)]
        pub struct Config {
            /// The directory of the configuration file; relative paths start here.
            pub base_dir: PathBuf,
            $($( #[doc = $about] pub $name: $type, )*)*
        }

        /// All parameters, in the order of the sample file.
        pub static PARAMETERS: &[Param] = &[ $($( Param {
            name: stringify!($name),
            group: Group::$group,
            change: Change::$change,
            spec: $spec,
            about: $about,
            slot: |config| &config.$name,
            slot_mut: |config| &mut config.$name,
        }, )*)* ];

        impl Default for Config {
            fn default() -> Self {
                Config { base_dir: PathBuf::new(), $($( $name: start(&$spec), )*)* }
            }
        }
    };
}

/// A field with the default of its row.
fn start<T: Slot>(spec: &Spec) -> T {
    match T::holding(spec.kind.default_value()) {
        Some(field) => field,
        // A row whose type and kind differ: the test below builds them all.
        None => unreachable!("a row of the table of parameters contradicts itself"),
    }
}

parameters! {
    Connection {
        listen_addresses: Vec<String> = list("localhost", ','), Init,
            "Addresses to accept clients on; '*' means all, '' none.";
        port: i64 = port(9999), Init,
            "Port for clients, over TCP and on the Unix sockets.";
        unix_socket_directories: Vec<String> = list("/tmp", ',').was(&["socket_dir"]), Init,
            "Directories of the Unix sockets for clients.";
        unix_socket_group: String = text(""), Init,
            "Group that owns the Unix sockets; '' keeps that of the process.";
        unix_socket_permissions: i64 = mode(0o777, 0o777), Init,
            "Access mode of the Unix sockets.";
        pcp_listen_addresses: Vec<String> = list("localhost", ','), Init,
            "Addresses to accept pcp tools on; '*' means all, '' none.";
        pcp_port: i64 = port(9898), Init,
            "Port for pcp tools.";
        pcp_socket_dir: Vec<String> = list("/tmp", ','), Init,
            "Directories of the Unix sockets for pcp tools.";
        pcp_socket_group: String = text(""), Init,
            "Group that owns the Unix sockets for pcp tools; '' keeps that of the process (ours).";
        pcp_socket_permissions: i64 = mode(0o777, 0o777), Init,
            "Access mode of the Unix sockets for pcp tools (ours).";
        pcp_node_info_format: PcpNodeInfoFormat = words("4.4", PcpNodeInfoFormat::WORDS), Reload,
            "Layout for pcp_node_info: 4.4 for tools of that version and later, 4.3 for older (ours).";
        listen_backlog_multiplier: i64 = int(2, 1, INT_MAX), Init,
            "Clients that may wait to be accepted, as a multiple of num_init_children.";
        serialize_accept: bool = switch(false), Init,
            "Wake only one idle worker for a client; the kernel does so in any case.";
        reserved_connections: i64 = int(0, 0, INT_MAX), Init,
            "Refuse clients with an error when only this many places are left; 0 lets them wait.";
    }
    Backends {
        backend_hostname: PerNode<String> = text("").each().example("'host1'"), Reload,
            "Host of a server, or the directory of its Unix socket.";
        backend_port: PerNode<i64> = port(0).each().example("5432"), Reload,
            "Port of a server; a server without a port is not used.";
        backend_weight: PerNode<f64> = float(0.0, 0.0, 100_000_000.0).each().example("1"), Reload,
            "Share of the reads that go to the server, relative to the other weights.";
        backend_data_directory: PerNode<String> = text("").each().example("'/data'"), Reload,
            "Data directory of the server, for failover and recovery commands.";
        backend_application_name: PerNode<String> = text("").each().example("'server0'"), Reload,
            "The application_name that a standby uses when it connects to the primary.";
        backend_flag: PerNode<String> =
            checked("ALLOW_TO_FAILOVER", backend_flags).each().example("'ALLOW_TO_FAILOVER'"), Reload,
            "ALLOW_TO_FAILOVER or DISALLOW_TO_FAILOVER, and ALWAYS_PRIMARY, with | between them.";
        backend_sslmode: PerNode<BackendSslmode> =
            words("auto", BackendSslmode::WORDS).each().example("'verify-full'"), Reload,
            "TLS with a server, as libpq's sslmode; auto is prefer where ssl is on, else disable (ours).";
        backend_clustering_mode: ClusteringMode =
            words("streaming_replication", ClusteringMode::WORDS), Init,
            "What keeps the servers alike.";
    }
    Pool {
        process_management_mode: ProcessManagementMode = words("static", ProcessManagementMode::WORDS), Reload,
            "Whether the number of worker processes is fixed or follows the load.";
        process_management_strategy: ProcessManagementStrategy =
            words("gentle", ProcessManagementStrategy::WORDS), Reload,
            "How fast spare workers go away in dynamic mode.";
        num_init_children: i64 = int(32, 1, INT_MAX).sample("4"), Init,
            "Worker processes; with one session each, also the most clients at a time.";
        sessions_per_child: i64 = int(1, 1, 100_000).sample("2500"), Init,
            "Clients that one worker serves at a time (ours; 1 is pgpool-II's model, thousands are fine).";
        io_method: IoMethod = words("auto", IoMethod::WORDS), Init,
            "How workers wait for sockets (ours); auto: io_uring for many sessions a process, else epoll.";
        min_spare_children: i64 = int(5, 1, INT_MAX), Reload,
            "Fewest idle workers in dynamic mode.";
        max_spare_children: i64 = int(10, 1, INT_MAX), Reload,
            "Most idle workers in dynamic mode.";
        max_pool: i64 = int(4, 0, INT_MAX), Init,
            "Pairs of user and database whose connections a session's place keeps.";
        connection_cache: bool = switch(true), Init,
            "Keep connections to the servers for later clients.";
        child_life_time: i64 = seconds(300, 0, INT_MAX), Init,
            "A worker that was idle for so long is replaced; 0 never.";
        child_max_connections: i64 = int(0, 0, INT_MAX), Init,
            "A worker that has served so many clients is replaced; 0 never.";
        connection_life_time: i64 = seconds(0, 0, INT_MAX), Init,
            "A kept connection that was idle for so long is closed; 0 never.";
        client_idle_limit: i64 = seconds(0, 0, INT_MAX), Session,
            "A client that was idle for so long is disconnected; 0 never.";
        max_user_connections: i64 = int(0, 0, INT_MAX), Reload,
            "Most clients of one user at a time; 0 is without limit (ours).";
        max_user_connections_list: String = checked("", lists::check_limits), Reload,
            "Users with a limit of their own: user:limit, with commas (ours).";
        max_db_connections: i64 = int(0, 0, INT_MAX), Reload,
            "Most clients of one database at a time; 0 is without limit (ours).";
        max_db_connections_list: String = checked("", lists::check_limits), Reload,
            "Databases with a limit of their own: database:limit, with commas (ours).";
        reset_query_list: Vec<String> = list("ABORT;DISCARD ALL", ';'), Reload,
            "Statements that make a connection fit for the next client, with ; between them.";
    }
    Authentication {
        enable_pool_hba: bool = switch(false), Reload,
            "Ask pool_hba.conf who may come in, and how.";
        pool_passwd: String = text("pool_passwd").hidden(), Init,
            "File of users and passwords; '' uses none.";
        authentication_timeout: i64 = seconds(60, 0, INT_MAX), Init,
            "Time a client has to log in; 0 is for ever.";
        auth_failure_delay: i64 = millis(0, 0, 60_000), Reload,
            "Delay until a client hears that its proof is wrong, in turn for one address; 0 is none (ours).";
        auth_query: String = text(""), Reload,
            "With pool_hba: query for name and password of a user ($1) not in pool_passwd (ours).";
        auth_user: String = text(""), Reload,
            "User for auth_query, with a password in pool_passwd (ours).";
        auth_dbname: String = text("postgres"), Reload,
            "Database for auth_query (ours).";
        auth_query_cache_expiry: i64 = seconds(60, 0, INT_MAX), Reload,
            "How long an answer to auth_query counts; 0 asks each time (ours).";
        allow_clear_text_frontend_auth: bool = switch(false), Reload,
            "Ask a client for its plain password if pool_passwd does not know the user.";
    }
    Tls {
        ssl: bool = switch(false), Init,
            "Use TLS with clients and servers.";
        ssl_key: String = text(""), Reload,
            "File of the private key.";
        ssl_cert: String = text(""), Reload,
            "File of the certificate.";
        ssl_ca_cert: String = text(""), Reload,
            "File of the authorities that a peer's certificate must come from.";
        ssl_ca_cert_dir: String = text(""), Reload,
            "Directory of such authorities.";
        ssl_crl_file: String = text(""), Reload,
            "File of certificates that are revoked.";
        ssl_ciphers: String = text("HIGH:MEDIUM:+3DES:!aNULL"), Reload,
            "Ciphers up to TLS 1.2, as OpenSSL writes them.";
        ssl_prefer_server_ciphers: bool = switch(false), Reload,
            "Our order of ciphers counts, not the client's.";
        ssl_ecdh_curve: String = text("prime256v1"), Reload,
            "Curve for the exchange of keys.";
        ssl_dh_params_file: String = text(""), Reload,
            "File of Diffie-Hellman parameters; '' uses built-in ones.";
        ssl_passphrase_command: String = text(""), Reload,
            "Command that prints the passphrase of the private key; %p is the prompt.";
        ssl_min_protocol_version: SslMinProtocolVersion =
            words("TLSv1.2", SslMinProtocolVersion::WORDS), Reload,
            "Oldest version of TLS that is spoken (ours).";
        ssl_max_protocol_version: SslMaxProtocolVersion = words("newest", SslMaxProtocolVersion::WORDS), Reload,
            "Newest version of TLS that is spoken (ours).";
    }
    Log {
        log_destination: String = checked("stderr", log_destinations), Reload,
            "stderr, syslog, or both with a comma.";
        log_line_prefix: String = text("%m: %a pid %p: "), Reload,
            "Start of each line: %a application, %p pid, %P process, %t time, %m with ms, %d, %u, %l, %%.";
        log_format: LogFormat = words("text", LogFormat::WORDS), Reload,
            "Lines as pgpool-II writes them, or a JSON object each (ours).";
        log_min_messages: MessageLevel = words("warning", MessageLevel::WORDS), Session,
            "Least level that reaches the log.";
        client_min_messages: MessageLevel = words("notice", MessageLevel::WORDS), Session,
            "Least level of our own messages that reaches a client.";
        log_error_verbosity: LogErrorVerbosity = words("default", LogErrorVerbosity::WORDS), Session,
            "How much a message says.";
        log_connections: bool = switch(false), Reload,
            "Log each client that connects.";
        log_disconnections: bool = switch(false), Reload,
            "Log each client that leaves.";
        log_hostname: bool = switch(false), Reload,
            "Log the names of hosts, not only the addresses.";
        log_pcp_processes: bool = switch(false), Reload,
            "Log processes for pcp tools that start and end.";
        log_min_duration_statement: i64 = millis(-1, -1, INT_MAX), Session,
            "Log statements that take this long or longer, with their time; 0 is all, -1 is none (ours).";
        log_statement: bool = switch(false), Session,
            "Log each statement.";
        log_per_node_statement: bool = switch(false), Session,
            "Log each statement once for each server it goes to.";
        notice_per_node_statement: bool = switch(false), Session,
            "Tell the client which server each statement goes to.";
        log_client_messages: bool = switch(false), Session,
            "Log the messages of clients.";
        log_backend_messages: LogBackendMessages = words("none", LogBackendMessages::WORDS), Session,
            "Log the messages of servers.";
        log_standby_delay: LogStandbyDelay = words("if_over_threshold", LogStandbyDelay::WORDS), Reload,
            "When to log how far standbys are behind.";
        syslog_facility: SyslogFacility = words("LOCAL0", SyslogFacility::WORDS), Reload,
            "Facility of lines to syslog.";
        syslog_ident: String = text("pgpool"), Reload,
            "Name of the program in syslog.";
        logging_collector: bool = switch(false), Init,
            "Let a process of its own write stderr into files.";
        log_directory: String = text("/tmp/pgpool_logs"), Reload,
            "Directory of these files; a relative one counts from the working directory, a daemon's is /.";
        log_filename: String = text("pgpool-%Y-%m-%d_%H%M%S.log"), Reload,
            "Name of such a file, with the signs of strftime.";
        log_file_mode: i64 = mode(0o600, INT_MAX), Reload,
            "Access mode of these files.";
        log_rotation_age: i64 = minutes(1440, 0, INT_MAX), Reload,
            "Start a new file after this time; 0 never.";
        log_rotation_size: i64 = kilobytes(10240, 0, 2_097_151), Reload,
            "Start a new file after this size; 0 never.";
        log_truncate_on_rotation: bool = switch(false), Reload,
            "Empty an older file of the same name when a new one starts for its age.";
    }
    Files {
        pid_file_name: String = text("/var/run/pgpool/pgpool.pid"), Init,
            "File that holds the process id.";
        work_dir: String = text("/tmp").was(&["logdir"]), Init,
            "Directory of pgpool_status.";
    }
    Balance {
        load_balance_mode: bool = switch(true), Init,
            "Send reads to standbys, too.";
        load_balance_algorithm: LoadBalanceAlgorithm =
            words("weighted_random", LoadBalanceAlgorithm::WORDS).was(&["load_balance_mode_algo"]), Reload,
            "How the server for reads is chosen: by weight, or for each statement by what the servers do (ours).";
        ignore_leading_white_space: bool = switch(true), Reload,
            "Blanks before a statement do not keep it from being balanced.";
        read_only_function_list: Vec<String> = patterns(',').was(&["white_function_list"]), Reload,
            "Functions that do not write; if set, all others count as writing.";
        write_function_list: Vec<String> = patterns(',').was(&["black_function_list"]), Reload,
            "Functions that write.";
        primary_routing_query_pattern_list: Vec<String> = patterns(';').was(&["black_query_pattern_list"]), Reload,
            "Statements that go to the primary, with ; between the patterns.";
        database_redirect_preference_list: String = checked("", lists::check_redirects), Reload,
            "Where reads of a database go: database:node(weight), with commas.";
        app_name_redirect_preference_list: String = checked("", lists::check_redirects), Reload,
            "Where reads of an application go: name:node(weight), with commas.";
        user_redirect_preference_list: String = checked("", lists::check_redirects), Reload,
            "Where reads of a user go: user:node(weight), with commas.";
        allow_sql_comments: bool = switch(false), Session,
            "A comment before a statement does not keep it from being balanced.";
        disable_load_balance_on_write: DisableLoadBalanceOnWrite =
            words("transaction", DisableLoadBalanceOnWrite::WORDS), Reload,
            "How long reads stay on the primary after a write in the same session.";
        dml_adaptive_object_relationship_list: String = checked("", lists::check_relationships), Reload,
            "For dml_adaptive: which functions and tables write to which others.";
        pgpool_quirks: bool = switch(false), Reload,
            "Route as pgpool-II does where that is wrong: compat/quirks.md.";
        read_after_write: ReadAfterWrite = words("off", ReadAfterWrite::WORDS), Session,
            "Whose commits a read sees wherever it goes: those of its session, or of all that go through here.";
        statement_level_load_balance: bool = switch(false), Reload,
            "Choose the server for each read, not once a session.";
        track_table_mutation_table_size: i64 = int(2048, 128, 131_072), Init,
            "Places for tables that were written; two tables may share one.";
        track_table_mutation_table_buckets: i64 = int(1024, 64, 65536), Init,
            "Has no effect: a table has one place in that memory.";
        track_table_mutation_ttl_factor: f64 = float(5.0, 1.0, 100.0), Reload,
            "How long a written table is remembered, as a multiple of the delay of the standbys.";
        track_table_mutation_max_staleness: i64 = millis(60000, 0, 3_600_000), Reload,
            "Longest time a written table is remembered.";
        track_table_mutation_cold_start_duration: i64 = millis(2000, 0, 60000), Reload,
            "Time after the start in which all reads stay on the primary.";
        check_temp_table: CheckTempTable = words("catalog", CheckTempTable::WORDS), Reload,
            "How temporary tables are recognised, whose reads stay on the primary.";
        check_unlogged_table: bool = switch(true), Session,
            "Recognise unlogged tables, whose reads stay on the primary.";
    }
    Streaming {
        sr_check_period: i64 = seconds(10, 0, INT_MAX), Reload,
            "Time between two looks at roles and delays; 0 looks at roles every 10 s and logs no delays.";
        sr_check_user: String = text(""), Reload,
            "User for these looks.";
        sr_check_password: String = text("").hidden(), Reload,
            "Password of that user; '' takes it from pool_passwd.";
        sr_check_database: String = text("postgres"), Reload,
            "Database for these looks.";
        delay_threshold: i64 = bytes(0, 0, i64::MAX), Reload,
            "A standby that is behind by more bytes gets no reads; 0 does not check.";
        delay_threshold_by_time: i64 = millis(0, 0, INT_MAX), Reload,
            "A standby that is behind by more time gets no reads; 0 does not check.";
        prefer_lower_delay_standby: bool = switch(false), Reload,
            "Reads that a late standby does not get go to a less late one before the primary.";
        replication_delay_source_cmd: String = text(""), Reload,
            "Command that prints the delays in ms: a number a server, or a number a standby; -1 is down.";
        replication_delay_source_timeout: i64 = int(10, 1, 3600), Reload,
            "Seconds that this command may take.";
    }
    Replication {
        replicate_select: bool = switch(false), Reload,
            "Native replication: run reads on all servers.";
        insert_lock: bool = switch(true), Reload,
            "Native replication: lock a table with a serial column during INSERT.";
        lobj_lock_table: String = text(""), Reload,
            "Native replication: table that is locked while a large object is made.";
        replication_stop_on_mismatch: bool = switch(false), Reload,
            "Detach servers whose answer differs from that of the others.";
        failover_if_affected_tuples_mismatch: bool = switch(false), Reload,
            "Detach servers where a write touched another number of rows.";
    }
    HealthCheck {
        health_check_period: PerNode<i64> = seconds(0, 0, INT_MAX).all_or_each(), Reload,
            "Time between two checks of a server; 0 does not check.";
        health_check_timeout: PerNode<i64> = seconds(20, 0, INT_MAX).all_or_each(), Reload,
            "Time that one attempt may take; with 0 it is a minute.";
        health_check_user: PerNode<String> = text("").all_or_each(), Reload,
            "User for the check.";
        health_check_password: PerNode<String> = text("").hidden().all_or_each(), Reload,
            "Password of that user; '' takes it from pool_passwd.";
        health_check_database: PerNode<String> = text("postgres").all_or_each(), Reload,
            "Database for the check.";
        health_check_max_retries: PerNode<i64> = int(0, 0, INT_MAX).all_or_each(), Reload,
            "Failed checks in a row that are forgiven.";
        health_check_retry_delay: PerNode<i64> = seconds(1, 0, INT_MAX).all_or_each(), Reload,
            "Time between them.";
        connect_timeout: PerNode<i64> = millis(10000, 0, INT_MAX).all_or_each(), Reload,
            "Time that a connection to a server may take to open; 0 leaves it to the network.";
        health_check_test: bool = switch(false), Init,
            "Let a test declare a healthy server dead with the file backend_down_request in work_dir.";
    }
    Failover {
        failover_command: String = text(""), Reload,
            "Command after a server was detached.";
        failback_command: String = text(""), Reload,
            "Command after a server was attached.";
        follow_primary_command: String = text("").was(&["follow_master_command"]), Reload,
            "Command for each standby after the primary changed.";
        failover_on_backend_error: bool = switch(true).was(&["fail_over_on_backend_error"]), Reload,
            "Detach a server as soon as a connection to it fails; off leaves that to the health check.";
        failover_on_backend_shutdown: bool = switch(false), Reload,
            "Detach a server that says it is shutting down.";
        detach_false_primary: bool = switch(false), Reload,
            "Detach a second primary.";
        search_primary_node_timeout: i64 = seconds(300, 0, INT_MAX), Reload,
            "Time to look for the new primary; 0 is for ever.";
        auto_failback: bool = switch(false), Reload,
            "Attach a detached standby that streams again.";
        auto_failback_interval: i64 = seconds(60, 0, INT_MAX), Reload,
            "Least time between two such attachments.";
        failover_session_policy: FailoverSessionPolicy = words("keep", FailoverSessionPolicy::WORDS), Reload,
            "What becomes of sessions that use a failing server (ours).";
        failover_wait_timeout: i64 = seconds(30, 0, INT_MAX), Reload,
            "Time that a statement waits for a new primary before it fails; 0 is not at all (ours).";
        pause_timeout: i64 = seconds(0, 0, INT_MAX), Session,
            "Time that a statement waits for the end of a pause before it fails; 0 is without limit (ours).";
    }
    Recovery {
        recovery_user: String = text(""), Reload,
            "User for online recovery.";
        recovery_password: String = text("").hidden(), Reload,
            "Password of that user; '' takes it from pool_passwd.";
        recovery_database: String = text("postgres"), Reload,
            "Database for online recovery.";
        recovery_1st_stage_command: String = text(""), Reload,
            "Command of the first stage, in the data directory of the primary.";
        recovery_2nd_stage_command: String = text(""), Reload,
            "Command of the second stage, in the data directory of the primary.";
        recovery_timeout: i64 = seconds(90, 0, INT_MAX), Reload,
            "Time that the recovered server may take to start.";
        client_idle_limit_in_recovery: i64 = seconds(0, -1, INT_MAX), Session,
            "In the second stage, a client idle for so long is disconnected; -1 at once, 0 never.";
    }
    Watchdog {
        use_watchdog: bool = switch(false), Init,
            "Watch over each other with other balancers.";
        trusted_servers: String = text(""), Init,
            "Hosts, with commas, one of which must answer: else we are cut off.";
        trusted_server_command: String = text("ping -q -c3 %h"), Reload,
            "Command that asks such a host.";
        ping_path: String = text("/bin"), Init,
            "Directory of ping (before trusted_server_command).";
        wd_priority: i64 = int(1, 0, INT_MAX), Init,
            "The member with the highest number becomes the leader.";
        wd_authkey: String = text("").hidden(), Reload,
            "Secret that all members share; '' does without.";
        wd_ipc_socket_dir: String = text("/tmp"), Init,
            "Directory of the Unix socket for commands to the watchdog.";
        wd_listen_address: String = text(""), Init,
            "Address to accept other members on; '' is the member's own host name.";
        wd_listen_port: i64 = port(0), Init,
            "Port to accept other members on; 0 is the member's own wd_port.";
        delegate_ip: String = text("").was(&["delegate_IP"]), Init,
            "Address that the leader holds.";
        if_cmd_path: String = text("/sbin").was(&["ifconfig_path"]), Init,
            "Directory of the command for interfaces.";
        if_up_cmd: String = text("/usr/bin/sudo /sbin/ip addr add $_IP_$/24 dev eth0 label eth0:0"), Init,
            "Command that brings that address up.";
        if_down_cmd: String = text("/usr/bin/sudo /sbin/ip addr del $_IP_$/24 dev eth0"), Init,
            "Command that takes it down.";
        arping_path: String = text("/usr/sbin"), Init,
            "Directory of arping.";
        arping_cmd: String = text("/usr/bin/sudo /usr/sbin/arping -U $_IP_$ -w 1 -I eth0"), Init,
            "Command that tells the network who holds the address.";
        wd_escalation_command: String = text(""), Reload,
            "Command on the member that becomes the leader.";
        wd_de_escalation_command: String = text(""), Reload,
            "Command on the member that stops to be the leader.";
        clear_memqcache_on_escalation: bool = switch(true), Reload,
            "Empty the query cache on the member that becomes the leader.";
        failover_when_quorum_exists: bool = switch(true), Init,
            "Fail over only while most members see each other.";
        failover_require_consensus: bool = switch(true), Init,
            "Fail over only if most members see the server dead.";
        allow_multiple_failover_requests_from_node: bool = switch(false), Init,
            "A member may vote more than once.";
        enable_consensus_with_half_votes: bool = switch(false), Init,
            "Half of the members is enough when their number is even.";
        consensus_mode: bool = switch(false), Init,
            "Agree by a replicated log instead of votes (ours; accepted so that files load).";
        wd_monitoring_interfaces_list: Vec<String> = list("", ','), Init,
            "Network interfaces to keep an eye on; 'any' is all but loopback.";
        wd_lifecheck_method: WdLifecheckMethod = words("heartbeat", WdLifecheckMethod::WORDS), Init,
            "How members find out whether the others live.";
        wd_interval: i64 = seconds(10, 0, INT_MAX), Init,
            "Time between two of these checks.";
        wd_life_point: i64 = int(3, 0, INT_MAX), Init,
            "Failed checks until a member counts as dead, with the query method.";
        wd_lifecheck_query: String = text("SELECT 1"), Init,
            "Query for the query method.";
        wd_lifecheck_dbname: String = text("template1"), Reload,
            "Database for it.";
        wd_lifecheck_user: String = text(""), Reload,
            "User for it.";
        wd_lifecheck_password: String = text("").hidden(), Reload,
            "Password of that user; '' takes it from pool_passwd.";
        wd_heartbeat_keepalive: i64 = seconds(2, 1, INT_MAX), Init,
            "Time between two signs of life.";
        wd_heartbeat_deadtime: i64 = seconds(30, 1, INT_MAX), Init,
            "A member not heard of for so long counts as dead.";
        wd_remove_shutdown_nodes: bool = switch(false), Reload,
            "A member that was shut down no longer counts for the quorum.";
        wd_lost_node_removal_timeout: i64 = seconds(0, 0, INT_MAX), Reload,
            "A member lost for so long no longer counts; 0 always counts.";
        wd_no_show_node_removal_timeout: i64 = seconds(0, 0, INT_MAX), Reload,
            "A member that did not appear for so long no longer counts; 0 always counts.";
    }
    WatchdogNodes {
        hostname: PerNode<String> = text("localhost").each().example("'balancer1'"), Reload,
            "Host of a member, this one included; its number is in the file pgpool_node_id.";
        pgpool_port: PerNode<i64> = port(0).each().example("9999"), Reload,
            "Port for clients on that member.";
        wd_port: PerNode<i64> = port(0).each().example("9000"), Reload,
            "Port of the watchdog on that member.";
    }
    Heartbeat {
        heartbeat_device: PerNode<String> = text("").each_heartbeat(), Reload,
            "Network interface that they leave from.";
        heartbeat_hostname: PerNode<String> = text("").each_heartbeat().example("'balancer1'"), Reload,
            "Host that signs of life go to.";
        heartbeat_port: PerNode<i64> = port(0).each_heartbeat().example("9694"), Reload,
            "Port that they go to.";
        wd_heartbeat_listen_addresses: String = text(""), Init,
            "Addresses to hear them on; '' is the member's own host name.";
        wd_heartbeat_listen_port: i64 = int(0, 0, INT_MAX), Init,
            "Port to hear them on; 0 is the member's own heartbeat_port.";
    }
    Cache {
        memory_cache_enabled: bool = switch(false), Init,
            "Keep the results of reads in memory.";
        memqcache_method: MemqcacheMethod = words("shmem", MemqcacheMethod::WORDS), Init,
            "Keep them in shared memory or in memcached.";
        memqcache_memcached_host: String = text("localhost"), Init,
            "Host of memcached, or the path of its socket.";
        memqcache_memcached_port: i64 = int(11211, 0, INT_MAX), Init,
            "Port of memcached.";
        memqcache_total_size: i64 = bytes(67_108_864, 0, i64::MAX), Init,
            "Shared memory for results.";
        memqcache_max_num_cache: i64 = int(1_000_000, 0, INT_MAX), Init,
            "Most results that are kept in shared memory.";
        memqcache_expire: i64 = seconds(0, 0, INT_MAX), Init,
            "A result is forgotten after this time; 0 never.";
        memqcache_auto_cache_invalidation: bool = switch(true), Reload,
            "Forget results when one of their tables is written.";
        memqcache_maxcache: i64 = bytes(409_600, 0, INT_MAX), Init,
            "Results that are larger are not kept.";
        memqcache_cache_block_size: i64 = bytes(1_048_576, 512, INT_MAX), Init,
            "Size of a block of that shared memory.";
        memqcache_oiddir: String = text("/var/log/pgpool/oiddir"), Init,
            "Directory that says which results depend on which table.";
        cache_safe_memqcache_table_list: Vec<String> = patterns(',').was(&["white_memqcache_table_list"]), Reload,
            "Tables and views whose results are kept in any case.";
        cache_unsafe_memqcache_table_list: Vec<String> = patterns(',').was(&["black_memqcache_table_list"]), Reload,
            "Tables and views whose results are never kept.";
        relcache_expire: i64 = seconds(0, 0, i64::MAX), Init,
            "What is known of a table is asked again after this time; 0 never.";
        relcache_size: i64 = int(256, 0, INT_MAX), Init,
            "Tables and functions that each worker knows.";
        enable_shared_relcache: bool = switch(true), Init,
            "Workers share what they know of tables.";
        relcache_query_target: RelcacheQueryTarget = words("primary", RelcacheQueryTarget::WORDS), Reload,
            "Which server is asked about tables.";
    }
    Adaptive {
        ai_load_balancing: bool =
            switch(false).was(&["enable_ai_load_balance", "enable_ai_load_balancing"]), Reload,
            "Choose servers by what was learnt of them: load_balance_algorithm = adaptive (ours).";
        ai_learning_rate: f64 = float(0.01, 0.001, 0.1), Reload,
            "How fast knowledge fades: it is worth a third after 0.1 s divided by this (ours).";
        ai_exploration_rate: f64 = float(0.1, 0.01, 0.5), Reload,
            "Most of the choices that may only look how a server does of which nothing was heard lately (ours).";
        ai_health_weight: f64 = float(0.4, 0.0, 1.0), Reload,
            "Weight of errors in the score of a server (ours).";
        ai_response_time_weight: f64 = float(0.3, 0.0, 1.0), Reload,
            "Weight of the response time (ours).";
        ai_load_weight: f64 = float(0.3, 0.0, 1.0), Reload,
            "Weight of the load (ours).";
        ai_state_file: String = text(""), Init,
            "File that keeps what was learnt over a restart; '' keeps nothing (ours).";
    }
    Rest {
        rest_api_enabled: bool = switch(false).was(&["enable_rest_api"]), Init,
            "Offer the REST API (ours).";
        rest_api_listen_addresses: Vec<String> = list("localhost", ',').was(&["rest_api_hostname"]), Init,
            "Addresses to offer it on; '*' means all (ours).";
        rest_api_port: i64 = int(8080, 1, 65535), Init,
            "Port of the REST API (ours).";
        rest_api_ssl: bool = switch(false), Reload,
            "HTTPS with the files of ssl_cert and ssl_key on the port; the Unix socket stays as it is (ours).";
        rest_api_jwt_enabled: bool = switch(false), Reload,
            "Ask for a token (ours).";
        rest_api_jwt_secret: String =
            text("").hidden().was(&["rest_api_secret", "rest_api_secret_key"]), Reload,
            "Secret that tokens are signed with, of 32 bytes or more; another one makes all tokens void (ours).";
        rest_api_jwt_expiry: i64 = seconds(3600, 1, INT_MAX).was(&["rest_api_token_expiry"]), Reload,
            "Time a token is good for (ours).";
        rest_api_auth_file: String = text(""), Reload,
            "Users of the REST API, name:role:verifier a line; '' takes those of pcp.conf as operators (ours).";
        rest_api_allowed_hosts: Vec<String> = list("", ','), Reload,
            "Names of this host that requests may be made to, besides localhost and addresses (ours).";
        rest_api_exporter_metrics: bool = switch(false), Reload,
            "Serve the metrics of pgpool2_exporter by its names as well (ours).";
    }
    Mqtt {
        mqtt_enabled: bool = switch(false).was(&["enable_mqtt"]), Init,
            "Publish events over MQTT (ours).";
        mqtt_broker: String = checked("localhost", mqtt_broker).was(&["mqtt_broker_address"]), Reload,
            "Host of the broker, or mqtt://host:port; mqtts:// stands for TLS (ours).";
        mqtt_port: i64 = int(1883, 1, 65535).was(&["mqtt_broker_port"]), Reload,
            "Port of the broker (ours).";
        mqtt_version: MqttVersion = words("3.1.1", MqttVersion::WORDS), Reload,
            "Version of MQTT to speak (ours).";
        mqtt_client_id: String = checked("pgbalancer", mqtt_client_id), Reload,
            "Our name at the broker; no two programs may have the same (ours).";
        mqtt_topic_prefix: String = checked("pgbalancer", mqtt_prefix), Reload,
            "Start of all topics (ours).";
        mqtt_username: String = text(""), Reload,
            "User at the broker; '' logs in without (ours).";
        mqtt_password: String = text("").hidden(), Reload,
            "Password of that user (ours).";
        mqtt_tls: bool = switch(false), Reload,
            "Use TLS with the broker (ours).";
        mqtt_tls_ca_file: String = text(""), Reload,
            "Authorities that the broker's certificate may come from; '' takes those of the system (ours).";
        mqtt_tls_cert_file: String = text(""), Reload,
            "Our certificate for the broker (ours).";
        mqtt_tls_key_file: String = text(""), Reload,
            "The key of that certificate (ours).";
        mqtt_keepalive: i64 = seconds(60, 5, 65535), Reload,
            "A connection to the broker that was silent for this long is tried (ours).";
        mqtt_connect_timeout: i64 = seconds(10, 1, 600), Reload,
            "Time to connect to the broker (ours).";
        mqtt_reconnect_delay_max: i64 = seconds(30, 1, 3600), Reload,
            "Most time between two attempts to connect (ours).";
        mqtt_queue_size: i64 = int(10_000, 100, 1_000_000), Reload,
            "Messages that wait for the broker at most; then the oldest are dropped (ours).";
        mqtt_publish_node_status: bool = switch(true), Reload,
            "Publish the status and the role of the nodes (ours).";
        mqtt_publish_failover: bool = switch(true), Reload,
            "Publish failovers (ours).";
        mqtt_publish_health_check: bool = switch(true), Reload,
            "Publish the results of health checks (ours).";
        mqtt_publish_statistics: bool = switch(true).was(&["mqtt_publish_connection"]), Reload,
            "Publish the numbers of clients and statements (ours).";
        mqtt_publish_interval: i64 = seconds(30, 0, INT_MAX), Reload,
            "Time between two events with these numbers; 0: there are none (ours).";
        mqtt_qos: i64 = int(0, 0, 2), Reload,
            "0 at most once, 1 at least once, 2 exactly once (ours).";
    }
}

/// Parameters of a group.
pub fn of_group(group: Group) -> impl Iterator<Item = &'static Param> {
    PARAMETERS.iter().filter(move |param| param.group == group)
}

/// The parameter of this name, in any case.
pub fn find(name: &str) -> Option<&'static Param> {
    PARAMETERS.iter().find(|param| param.name.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn rows_agree_with_themselves() {
        let config = Config::default();
        let mut names = HashSet::new();
        for param in PARAMETERS {
            assert_eq!((param.slot)(&config).get(None), param.spec.kind.default_value(), "{}", param.name);
            assert!(names.insert(param.name.to_owned()), "{} twice", param.name);
            for old in param.spec.old_names {
                assert!(names.insert((*old).to_owned()), "{old} twice");
            }
            assert!(param.about.ends_with('.') && param.about.len() <= 100, "{}", param.name);
            let numbered = param.name.ends_with(|c: char| c.is_ascii_digit());
            assert!(!numbered, "{} looks like the name of a node's value", param.name);
            let shown = param.spec.kind.plain(&param.spec.kind.default_value());
            assert_eq!(param.spec.kind.parse(&shown), Ok(param.spec.kind.default_value()), "{}", param.name);
        }
    }

    #[test]
    fn groups_stand_together() {
        let mut seen = Vec::new();
        for param in PARAMETERS {
            if seen.last() != Some(&param.group) {
                assert!(!seen.contains(&param.group), "{:?} comes twice", param.group);
                seen.push(param.group);
            }
        }
    }
}
