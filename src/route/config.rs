//! The part of the configuration that routing reads, prepared once: patterns are compiled here, not per query.
#![forbid(unsafe_code)]

use super::adaptive::Relationships;
use super::learn::{Algorithm, Settings};
use super::pattern::PatternList;
use super::redirect::Redirects;
pub(super) use crate::config::CheckTempTable as CheckTemp;
use crate::config::{self, Config};
pub use crate::config::{ClusteringMode as Mode, DisableLoadBalanceOnWrite as OnWrite, ReadAfterWrite};

/// What routing obeys. `Default` is pgpool-II's default of each parameter, with load balancing on.
#[derive(Clone, Debug)]
pub struct RouteConfig {
    /// `backend_clustering_mode`.
    pub mode: Mode,
    /// `load_balance_mode`.
    pub load_balance: bool,
    /// `statement_level_load_balance`: the session draws a node for each statement.
    pub statement_level: bool,
    /// How a node is chosen, and the parameters of learning.
    pub learning: Settings,
    /// `disable_load_balance_on_write`.
    pub on_write: OnWrite,
    /// `delay_threshold` in bytes; 0: no limit.
    pub delay_threshold: u64,
    /// `delay_threshold_by_time`; 0: no limit.
    pub delay_threshold_micros: u64,
    /// `prefer_lower_delay_standby`.
    pub prefer_lower_delay_standby: bool,
    /// `ignore_leading_white_space`.
    pub ignore_leading_white_space: bool,
    /// `allow_sql_comments`.
    pub allow_sql_comments: bool,
    /// `check_temp_table`.
    pub check_temp: CheckTemp,
    /// `check_unlogged_table`.
    pub check_unlogged: bool,
    /// `read_only_function_list` and `write_function_list`.
    pub functions: FunctionLists,
    /// `primary_routing_query_pattern_list`.
    pub primary_routing: PatternList,
    /// Where the reads of some sessions go.
    pub redirects: RedirectLists,
    /// `dml_adaptive_object_relationship_list`.
    pub relationships: Relationships,
    /// `pgpool_quirks`.
    pub quirks: bool,
    /// `read_after_write`.
    pub read_after_write: ReadAfterWrite,
    /// How long `dml_adaptive_global` remembers what was written.
    pub memory: WriteMemory,
}

/// `track_table_mutation_*`, the times in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct WriteMemory {
    /// Times the delay of the standbys.
    pub factor: f64,
    /// But not longer.
    pub most_micros: u64,
    /// After the start everything counts as written.
    pub cold_start_micros: u64,
}

impl WriteMemory {
    /// How long a table counts as written, with standbys that are so far behind; `None`: nobody knows how far.
    pub fn lifetime(&self, lag_micros: Option<u64>) -> u64 {
        // As in pgpool-II the shortest memory is a tenth of a second.
        let wanted = lag_micros.map(|lag| ((lag as f64 * self.factor) as u64).max(100_000));
        wanted.unwrap_or(self.most_micros).min(self.most_micros)
    }
}

/// `user_redirect_preference_list` and its like.
#[derive(Clone, Debug, Default)]
pub struct RedirectLists {
    /// By user.
    pub user: Redirects,
    /// By database.
    pub database: Redirects,
    /// By the application's name at the start.
    pub application: Redirects,
}

/// Functions by name; both empty: the catalog's volatility decides.
#[derive(Clone, Debug, Default)]
pub struct FunctionLists {
    /// If not empty, every other function writes.
    pub read_only: PatternList,
    /// Otherwise, if not empty, these write and no other does.
    pub write: PatternList,
}

/// The lists were compiled when the configuration was read, so an error here cannot come from the user's file.
fn patterns(items: &[String]) -> PatternList {
    PatternList::new(items).unwrap_or_else(|error| {
        crate::say!(Error, "a list of patterns is not used: {}", error);
        PatternList::default()
    })
}

/// It was checked when the configuration was read.
fn redirects(text: &str) -> Redirects {
    Redirects::new(&config::redirects(text).unwrap_or_default())
}

impl From<&Config> for RouteConfig {
    fn from(config: &Config) -> Self {
        let natural = |number: i64| u64::try_from(number).unwrap_or(0);
        let learning = Settings::from(config);
        RouteConfig {
            mode: config.backend_clustering_mode,
            load_balance: config.load_balance_mode,
            statement_level: config.statement_level_load_balance || learning.learns(),
            learning,
            on_write: config.disable_load_balance_on_write,
            delay_threshold: natural(config.delay_threshold),
            delay_threshold_micros: natural(config.delay_threshold_by_time).saturating_mul(1000),
            prefer_lower_delay_standby: config.prefer_lower_delay_standby,
            ignore_leading_white_space: config.ignore_leading_white_space,
            allow_sql_comments: config.allow_sql_comments,
            check_temp: config.check_temp_table,
            check_unlogged: config.check_unlogged_table,
            functions: FunctionLists {
                read_only: patterns(&config.read_only_function_list),
                write: patterns(&config.write_function_list),
            },
            primary_routing: patterns(&config.primary_routing_query_pattern_list),
            relationships: Relationships::new(
                &config::relationships(&config.dml_adaptive_object_relationship_list).unwrap_or_default(),
            ),
            quirks: config.pgpool_quirks,
            read_after_write: config.read_after_write,
            memory: WriteMemory {
                factor: config.track_table_mutation_ttl_factor,
                most_micros: natural(config.track_table_mutation_max_staleness).saturating_mul(1000),
                cold_start_micros: natural(config.track_table_mutation_cold_start_duration)
                    .saturating_mul(1000),
            },
            redirects: RedirectLists {
                user: redirects(&config.user_redirect_preference_list),
                database: redirects(&config.database_redirect_preference_list),
                application: redirects(&config.app_name_redirect_preference_list),
            },
        }
    }
}

impl RouteConfig {
    /// Whether nodes are chosen by what they do: then each statement is watched.
    pub fn learns(&self) -> bool {
        self.learning.learns()
    }

    /// Whether the tables that a transaction writes must be remembered.
    pub fn remembers_tables(&self) -> bool {
        matches!(self.on_write, OnWrite::DmlAdaptive | OnWrite::DmlAdaptiveGlobal)
            || self.read_after_write == ReadAfterWrite::Global
    }
}

impl Default for RouteConfig {
    fn default() -> Self {
        RouteConfig {
            mode: Mode::StreamingReplication,
            load_balance: true,
            statement_level: false,
            learning: Settings::new(Algorithm::WeightedRandom, 0.01, 0.1, [0.4, 0.3, 0.3]),
            on_write: OnWrite::Transaction,
            delay_threshold: 0,
            delay_threshold_micros: 0,
            prefer_lower_delay_standby: false,
            ignore_leading_white_space: true,
            allow_sql_comments: false,
            check_temp: CheckTemp::Catalog,
            check_unlogged: true,
            functions: FunctionLists::default(),
            primary_routing: PatternList::default(),
            redirects: RedirectLists::default(),
            relationships: Relationships::default(),
            quirks: false,
            read_after_write: ReadAfterWrite::Off,
            memory: WriteMemory { factor: 5.0, most_micros: 60_000_000, cold_start_micros: 2_000_000 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_remembered_for_the_delay_times_the_factor_between_a_tenth_of_a_second_and_the_most() {
        let memory = WriteMemory { factor: 2.5, most_micros: 5_000_000, cold_start_micros: 0 };
        let rows = [
            (Some(0), 100_000),
            (Some(40_000), 100_000),
            (Some(1_000_000), 2_500_000),
            (Some(2_000_001), 5_000_000),
            (Some(u64::MAX), 5_000_000),
            (None, 5_000_000),
        ];
        for (lag, expected) in rows {
            assert_eq!(memory.lifetime(lag), expected, "{lag:?}");
        }
        let short = WriteMemory { most_micros: 50_000, ..memory };
        assert_eq!((short.lifetime(Some(0)), short.lifetime(None)), (50_000, 50_000));
    }
}
