//! The bounded table of classes: a frequent one has a place of its own, the others share a few by their size.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;

use super::Class;
use super::mean::Mean;
use super::words::{Model, Place, SLOTS};

/// Slots in which a class may stand.
const WAYS: usize = 4;
/// A class that counts as fewer samples than this makes room for another.
const RARE: f32 = 0.9;

impl<'a> Model<'a> {
    /// The place of a class if it has one of its own.
    #[inline]
    pub(super) fn own_place(&self, class: Class) -> Option<Place<'a>> {
        (class.key != 0).then_some(())?;
        ways(class.key)
            .filter_map(|slot| self.place(slot))
            .find(|place| place.key.load(Ordering::Relaxed) == class.key)
    }

    /// The place of the group of rare classes that it belongs to.
    pub(super) fn group_place(&self, class: Class) -> Option<Place<'a>> {
        self.place(SLOTS + usize::from(class.size.min(Class::SIZES - 1)))
    }

    /// The place of a class, taken from one that was not seen for long if need be.
    pub(super) fn claim_place(&self, class: Class, now: u64, memory: f32) -> Option<Place<'a>> {
        if class.key == 0 {
            return None;
        }
        if let Some(place) = self.own_place(class) {
            return Some(place);
        }
        let weight = |place: &Place<'a>| match place.key.load(Ordering::Relaxed) {
            0 => -1.0,
            _ => Mean::load(place.overall).weight_at(now, memory),
        };
        let (weight, place) = ways(class.key)
            .filter_map(|slot| self.place(slot))
            .map(|place| (weight(&place), place))
            .min_by(|(a, _), (b, _)| a.total_cmp(b))?;
        let old = place.key.load(Ordering::Relaxed);
        let is_free = weight < RARE;
        let taken = is_free
            && place.key.compare_exchange(old, class.key, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if !taken {
            return None;
        }
        // Who reads before this is done takes the other class's figures for ours, once.
        [place.overall].into_iter().chain(place.on).for_each(|word| word.store(0, Ordering::Relaxed));
        Some(place)
    }
}

fn ways(key: u64) -> impl Iterator<Item = usize> {
    let first = (key >> 32) as usize % SLOTS;
    (0..WAYS).map(move |way| (first + way) % SLOTS)
}
