//! The parameters of the learner, checked once, so that nobody else has to.
#![forbid(unsafe_code)]

pub use crate::config::LoadBalanceAlgorithm as Algorithm;

use crate::config::Config;

/// What an operator may set; see doc/adaptive.md for what each does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    pub(super) algorithm: Algorithm,
    /// Part of the choices that may look at a node of which nothing was heard lately.
    pub(super) exploration: f32,
    /// How fast old knowledge fades: the time constant in microseconds.
    pub(super) memory: f32,
    /// Powers of the three parts of a score; 1 each by default.
    pub(super) powers: Powers,
    learning_rate: f64,
}

/// Powers of the parts of a score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Powers {
    pub(super) health: f32,
    pub(super) latency: f32,
    pub(super) load: f32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings::new(Algorithm::Adaptive, 0.01, 0.1, [0.4, 0.3, 0.3])
    }
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Settings {
        let weights = [config.ai_health_weight, config.ai_response_time_weight, config.ai_load_weight];
        let (learning, exploration) = (config.ai_learning_rate, config.ai_exploration_rate);
        Settings::new(config.balance_algorithm(), learning, exploration, weights)
    }
}

impl Settings {
    /// Settings from the parameters: `ai_learning_rate` (0.001 to 0.1: knowledge fades within 0.1 s divided by it),
    /// `ai_exploration_rate` (0.01 to 0.5), and the weights `ai_health_weight`, `ai_response_time_weight` and
    /// `ai_load_weight` (0 to 1, relative to their defaults 0.4, 0.3, 0.3). What is out of range is brought into it.
    pub fn new(
        algorithm: Algorithm,
        learning_rate: f64,
        exploration_rate: f64,
        [health, response_time, load]: [f64; 3],
    ) -> Settings {
        let learning_rate = within(learning_rate, 0.001, 0.1);
        let power = |weight: f64, default: f64| (within(weight, 0.0, 1.0) / default) as f32;
        Settings {
            algorithm,
            exploration: within(exploration_rate, 0.0, 0.5) as f32,
            memory: (100_000.0 / learning_rate) as f32,
            powers: Powers {
                health: power(health, 0.4),
                latency: power(response_time, 0.3),
                load: power(load, 0.3),
            },
            learning_rate,
        }
    }

    /// Whether nodes are chosen by what they do: then each statement is watched.
    pub fn learns(&self) -> bool {
        self.algorithm != Algorithm::WeightedRandom
    }

    /// How a node is chosen.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// `ai_learning_rate` as it counts.
    pub fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    /// `ai_exploration_rate` as it counts.
    pub fn exploration_rate(&self) -> f64 {
        f64::from(self.exploration)
    }

    /// Time constant of what must be noticed at once, in microseconds.
    pub(super) fn short_memory(&self) -> f32 {
        self.memory / 10.0
    }
}

/// `value` in `low..=high`; what is no number is `low`.
fn within(value: f64, low: f64, high: f64) -> f64 {
    if value.is_nan() { low } else { value.clamp(low, high) }
}
