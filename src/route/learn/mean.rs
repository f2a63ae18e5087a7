//! A mean that forgets by time, in one word, so that it is never seen half written.
//!
//! The word holds the mean (an f32 without sign, 16 bits of mantissa), its weight in samples (12.4 bits) and when it was
//! last fed (24 bits, ticks of 8.2 ms, which wrap after 38 hours). Any word is a mean; 0 is one that knows nothing.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

/// Most samples that a mean counts as.
pub(super) const MAX_WEIGHT: f32 = 4095.0;
const TICK_BITS: u32 = 13;
const TIME_MASK: u64 = (1 << 24) - 1;
const LARGEST: f32 = 1e15;

/// What a word says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Mean {
    /// Never negative, finite.
    pub(super) mean: f32,
    /// In samples, as of when it was fed.
    pub(super) weight: f32,
    tick: u32,
}

impl Mean {
    #[inline(always)]
    pub(super) fn decode(word: u64) -> Mean {
        let bits = ((word >> 40) as u32) << 7;
        let mean = f32::from_bits(bits);
        let weight = (((word >> 24) & 0xffff) as f32 / 16.0).min(MAX_WEIGHT);
        match mean.is_finite() && mean <= LARGEST {
            true => Mean { mean, weight, tick: (word & TIME_MASK) as u32 },
            false => Mean::default(),
        }
    }

    pub(super) fn encode(self) -> u64 {
        // Rounded to the 16 bits that are kept, else small steps upwards would get lost and those downwards would not.
        let bits = (self.mean.clamp(0.0, LARGEST).to_bits() + (1 << 6)) >> 7;
        let weight = (self.weight.clamp(0.0, MAX_WEIGHT) * 16.0).round() as u64;
        (u64::from(bits) << 40) | (weight << 24) | (u64::from(self.tick) & TIME_MASK)
    }

    #[inline(always)]
    pub(super) fn load(word: &AtomicU64) -> Mean {
        Mean::decode(word.load(Ordering::Relaxed))
    }

    /// A mean as if it had been fed now.
    pub(super) fn new(mean: f32, weight: f32, now: u64) -> Mean {
        Mean {
            mean: if mean.is_finite() { mean } else { 0.0 },
            weight,
            tick: ((now >> TICK_BITS) & TIME_MASK) as u32,
        }
    }

    /// Samples that it still counts as, with the time constant `memory` in microseconds.
    #[inline(always)]
    pub(super) fn weight_at(&self, now: u64, memory: f32) -> f32 {
        let age = (now >> TICK_BITS).wrapping_sub(u64::from(self.tick)) & TIME_MASK;
        // Another worker's clock reading may be a little newer than ours.
        if age == 0 || age > TIME_MASK / 2 {
            return self.weight;
        }
        self.weight * fade((age << TICK_BITS) as f32 / memory)
    }

    /// This mean drawn towards `prior`, which counts as so many samples.
    #[inline(always)]
    pub(super) fn or(&self, prior: f32, prior_weight: f32, now: u64, memory: f32) -> f32 {
        let weight = self.weight_at(now, memory);
        (self.mean * weight + prior * prior_weight) / (weight + prior_weight)
    }

    /// With one more sample; `keep` (0 to 1) is the part of the old knowledge that is still believed.
    fn with(self, sample: f32, sample_weight: f32, keep: f32, now: u64, memory: f32) -> Mean {
        let old = self.weight_at(now, memory) * keep;
        let weight = old + sample_weight;
        Mean::new((self.mean * old + sample * sample_weight) / weight, weight, now)
    }
}

/// Feeds the mean in a word. Of two that feed it at the very same time one may get lost.
pub(super) fn feed(word: &AtomicU64, sample: f32, sample_weight: f32, keep: f32, now: u64, memory: f32) {
    if !sample.is_finite() || sample_weight <= 0.0 {
        return;
    }
    for _ in 0..3 {
        let old = word.load(Ordering::Relaxed);
        let new = Mean::decode(old).with(sample, sample_weight, keep, now, memory).encode();
        if word.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return;
        }
    }
}

/// About e^-x for x ≥ 0, from below the series of e^x: cheap, never negative, never more than 1.
#[inline]
pub(super) fn fade(x: f32) -> f32 {
    1.0 / (1.0 + x * (1.0 + x * (0.5 + x * (1.0 / 6.0))))
}
