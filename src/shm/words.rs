//! How values become 64-bit words and words become values: any word decodes to something.
#![forbid(unsafe_code)]

use std::slice;

/// A value that lives in a row.
pub(super) trait Word: Sized {
    /// Words it takes.
    const WORDS: usize;
    /// Hands its words over in order.
    fn put(&self, out: &mut dyn FnMut(u64));
    /// Takes as many words back. Words that mean nothing give a harmless value.
    fn take(from: &mut Source<'_>) -> Self;
}

/// Words to decode; ends in zeros.
pub(super) struct Source<'a>(slice::Iter<'a, u64>);

impl<'a> Source<'a> {
    pub(super) fn new(words: &'a [u64]) -> Source<'a> {
        Source(words.iter())
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0.next().copied().unwrap_or(0)
    }
}

impl Word for u64 {
    const WORDS: usize = 1;

    fn put(&self, out: &mut dyn FnMut(u64)) {
        out(*self);
    }

    fn take(from: &mut Source<'_>) -> Self {
        from.next()
    }
}

impl Word for u32 {
    const WORDS: usize = 1;

    fn put(&self, out: &mut dyn FnMut(u64)) {
        out(u64::from(*self));
    }

    fn take(from: &mut Source<'_>) -> Self {
        // Truncation undoes `put`.
        from.next() as u32
    }
}

impl Word for i32 {
    const WORDS: usize = 1;

    fn put(&self, out: &mut dyn FnMut(u64)) {
        out(u64::from(self.cast_unsigned()));
    }

    fn take(from: &mut Source<'_>) -> Self {
        (from.next() as u32).cast_signed()
    }
}

impl Word for bool {
    const WORDS: usize = 1;

    fn put(&self, out: &mut dyn FnMut(u64)) {
        out(u64::from(*self));
    }

    fn take(from: &mut Source<'_>) -> Self {
        from.next() != 0
    }
}

impl Word for Option<u64> {
    const WORDS: usize = 2;

    fn put(&self, out: &mut dyn FnMut(u64)) {
        out(u64::from(self.is_some()));
        out(self.unwrap_or(0));
    }

    fn take(from: &mut Source<'_>) -> Self {
        let some = from.next() != 0;
        let value = from.next();
        some.then_some(value)
    }
}

impl<const N: usize> Word for [u64; N] {
    const WORDS: usize = N;

    fn put(&self, out: &mut dyn FnMut(u64)) {
        self.iter().for_each(|word| out(*word));
    }

    fn take(from: &mut Source<'_>) -> Self {
        std::array::from_fn(|_| from.next())
    }
}

/// Declares a row: a struct whose fields are words, in order.
macro_rules! row {
    ($(#[$doc:meta])* $vis:vis struct $name:ident { $($(#[$field_doc:meta])* pub $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        $vis struct $name { $($(#[$field_doc])* pub $field: $type,)* }

        impl $crate::shm::words::Word for $name {
            const WORDS: usize = 0 $(+ <$type as $crate::shm::words::Word>::WORDS)*;

            fn put(&self, out: &mut dyn FnMut(u64)) {
                $($crate::shm::words::Word::put(&self.$field, out);)*
            }

            fn take(from: &mut $crate::shm::words::Source<'_>) -> Self {
                $(let $field = $crate::shm::words::Word::take(from);)*
                $name { $($field,)* }
            }
        }
    };
}

/// Declares an enum that is stored as a number; numbers that mean nothing read as the first variant.
macro_rules! code {
    ($(#[$doc:meta])* pub enum $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $name { #[default] $($(#[$variant_doc])* $variant = $number,)* }

        impl $name {
            pub(super) fn from_word(word: u64) -> $name {
                match word { $($number => $name::$variant,)* _ => $name::default() }
            }
        }

        impl $crate::shm::words::Word for $name {
            const WORDS: usize = 1;

            fn put(&self, out: &mut dyn FnMut(u64)) {
                out(*self as u64);
            }

            fn take(from: &mut $crate::shm::words::Source<'_>) -> Self {
                $name::from_word(from.next())
            }
        }
    };
}

pub(super) use {code, row};
