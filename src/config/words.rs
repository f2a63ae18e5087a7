//! Enumerated parameters: one Rust enum each, with the words that a file may use for its values.
//! The first word of a value is the one shown; the words after it are understood, too.
#![forbid(unsafe_code)]

use super::slot::Field;
use super::value::{Value, Word};

macro_rules! words {
    ($( $(#[$doc:meta])* $name:ident { $( $variant:ident = $word:literal $( | $other:literal )* ),+ $(,)? } )*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $( #[doc = concat!("`", $word, "`")] $variant ),+ }

        impl $name {
            /// The words of this parameter.
            pub const WORDS: &'static [Word] = &[ $( Word { word: $word, others: &[$($other),*] } ),+ ];

            /// The word that stands for the value.
            pub fn word(self) -> &'static str {
                match self { $( $name::$variant => $word ),+ }
            }
        }

        impl Field for $name {
            fn to_value(&self) -> Value {
                Value::Word(self.word())
            }

            fn from_value(value: Value) -> Option<Self> {
                match value {
                    $( Value::Word($word) => Some($name::$variant), )+
                    _ => None,
                }
            }
        }
    )* };
}

words! {
    /// `backend_clustering_mode`: who keeps the backends alike.
    ClusteringMode {
        StreamingReplication = "streaming_replication",
        NativeReplication = "native_replication",
        LogicalReplication = "logical_replication",
        Slony = "slony",
        Raw = "raw",
        SnapshotIsolation = "snapshot_isolation",
    }
    /// `backend_sslmode`: how connections to a server are secured.
    BackendSslmode {
        Auto = "auto",
        Disable = "disable",
        Allow = "allow",
        Prefer = "prefer",
        Require = "require",
        VerifyCa = "verify-ca",
        VerifyFull = "verify-full",
    }
    /// `ssl_min_protocol_version`.
    SslMinProtocolVersion { V1 = "TLSv1", V1_1 = "TLSv1.1", V1_2 = "TLSv1.2", V1_3 = "TLSv1.3" }
    /// `ssl_max_protocol_version`; `newest` is what the library has.
    SslMaxProtocolVersion { Newest = "newest" | "", V1 = "TLSv1", V1_1 = "TLSv1.1", V1_2 = "TLSv1.2", V1_3 = "TLSv1.3" }
    /// `io_method`: how a worker waits for its sockets.
    IoMethod { Auto = "auto", IoUring = "io_uring", Epoll = "epoll" }
    /// `failover_session_policy`: sessions go on without the server, or end as pgpool-II's do.
    FailoverSessionPolicy { Keep = "keep", Disconnect = "disconnect" }
    /// `mqtt_version`: the version of MQTT that is spoken with the broker.
    MqttVersion { V3_1_1 = "3.1.1" | "3" | "4" | "311", V5 = "5" | "5.0" }
    /// `pcp_node_info_format`: the order of the fields, by the version of pgpool-II that has it.
    PcpNodeInfoFormat { V4_4 = "4.4", V4_3 = "4.3" }
    /// `log_format`.
    LogFormat { Text = "text", Json = "json" }
    /// `process_management_mode`.
    ProcessManagementMode { Static = "static", Dynamic = "dynamic" }
    /// `process_management_strategy`.
    ProcessManagementStrategy { Aggressive = "aggressive", Gentle = "gentle", Lazy = "lazy" }
    /// `disable_load_balance_on_write`: how long reads stay on the primary after a write.
    DisableLoadBalanceOnWrite {
        Off = "off",
        Transaction = "transaction",
        TransTransaction = "trans_transaction",
        Always = "always",
        DmlAdaptive = "dml_adaptive",
        DmlAdaptiveGlobal = "dml_adaptive_global",
    }
    /// `read_after_write`: whose commits a read must see, wherever it goes.
    ReadAfterWrite { Off = "off", Session = "session", Global = "global" }
    /// `load_balance_algorithm`. What `load_balance_mode_algo` held is understood as well: its words, and a boolean.
    LoadBalanceAlgorithm {
        WeightedRandom = "weighted_random" | "heuristic" | "off" | "false" | "no" | "0",
        LeastConnections = "least_connections",
        PeakEwma = "peak_ewma",
        Adaptive = "adaptive" | "ai" | "on" | "true" | "yes" | "1",
    }
    /// `relcache_query_target`.
    RelcacheQueryTarget { Primary = "primary" | "master", LoadBalanceNode = "load_balance_node" }
    /// `check_temp_table`. It was a boolean before pgpool-II 4.1, hence the words of one.
    CheckTempTable {
        Catalog = "catalog" | "on" | "true" | "yes" | "1",
        Trace = "trace",
        None = "none" | "off" | "false" | "no" | "0",
    }
    /// `log_min_messages` and `client_min_messages`.
    MessageLevel {
        Debug5 = "debug5",
        Debug4 = "debug4",
        Debug3 = "debug3",
        Debug2 = "debug2" | "debug",
        Debug1 = "debug1",
        Info = "info",
        Notice = "notice",
        Warning = "warning",
        Error = "error",
        Log = "log",
        Fatal = "fatal",
        Panic = "panic",
    }
    /// `log_error_verbosity`.
    LogErrorVerbosity { Terse = "terse", Default = "default", Verbose = "verbose" }
    /// `log_backend_messages`.
    LogBackendMessages { None = "none", Terse = "terse", Verbose = "verbose" }
    /// `log_standby_delay`.
    LogStandbyDelay { Always = "always", IfOverThreshold = "if_over_threshold", None = "none" }
    /// `syslog_facility`.
    SyslogFacility {
        Local0 = "LOCAL0",
        Local1 = "LOCAL1",
        Local2 = "LOCAL2",
        Local3 = "LOCAL3",
        Local4 = "LOCAL4",
        Local5 = "LOCAL5",
        Local6 = "LOCAL6",
        Local7 = "LOCAL7",
    }
    /// `memqcache_method`.
    MemqcacheMethod { Shmem = "shmem", Memcached = "memcached" }
    /// `wd_lifecheck_method`.
    WdLifecheckMethod { Query = "query", Heartbeat = "heartbeat", External = "external" }
}
