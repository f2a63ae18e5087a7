//! The field of a parameter in `Config`, seen without its type: the table reads and writes every
//! parameter through it. `PerNode` is the field of a parameter that each node may have for itself.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::value::Value;

/// A type that one value of a parameter has.
pub trait Field: Clone {
    /// The value, without its type.
    fn to_value(&self) -> Value;
    /// None if the value is of another kind.
    fn from_value(value: Value) -> Option<Self>;
}

macro_rules! field {
    ($type:ty, $variant:ident) => {
        impl Field for $type {
            fn to_value(&self) -> Value {
                Value::$variant(self.clone())
            }

            fn from_value(value: Value) -> Option<Self> {
                match value {
                    Value::$variant(value) => Some(value),
                    _ => None,
                }
            }
        }
    };
}

field!(bool, Bool);
field!(i64, Int);
field!(f64, Float);
field!(String, Text);
field!(Vec<String>, List);

/// A parameter that nodes may set one by one: `health_check_period`, `health_check_period1`.
#[derive(Clone, Debug, PartialEq)]
pub struct PerNode<T> {
    common: T,
    nodes: BTreeMap<usize, T>,
}

impl<T> PerNode<T> {
    /// The value for a node: its own, or else the one for all.
    pub fn get(&self, id: usize) -> &T {
        self.nodes.get(&id).unwrap_or(&self.common)
    }

    /// Whether the node has a value of its own.
    pub fn is_set(&self, id: usize) -> bool {
        self.nodes.contains_key(&id)
    }

    /// The nodes that have a value of their own, in order.
    pub fn ids(&self) -> impl Iterator<Item = usize> {
        self.nodes.keys().copied()
    }
}

/// A field of `Config`.
pub trait Slot {
    /// A field that holds `value`; None if the value is of another kind.
    fn holding(value: Value) -> Option<Self>
    where
        Self: Sized;
    /// The value; for a node, or for all of them.
    fn get(&self, id: Option<usize>) -> Value;
    /// Puts a value in; nothing happens if it is of another kind. None takes the value of the node away.
    fn set(&mut self, id: Option<usize>, value: Option<Value>);
    /// The nodes that have a value of their own.
    fn ids(&self) -> Vec<usize>;
}

impl<T: Field> Slot for T {
    fn holding(value: Value) -> Option<Self> {
        T::from_value(value)
    }

    fn get(&self, _: Option<usize>) -> Value {
        self.to_value()
    }

    fn set(&mut self, _: Option<usize>, value: Option<Value>) {
        if let Some(value) = value.and_then(T::from_value) {
            *self = value;
        }
    }

    fn ids(&self) -> Vec<usize> {
        Vec::new()
    }
}

impl<T: Field> Slot for PerNode<T> {
    fn holding(value: Value) -> Option<Self> {
        T::from_value(value).map(|common| PerNode { common, nodes: BTreeMap::new() })
    }

    fn get(&self, id: Option<usize>) -> Value {
        id.and_then(|id| self.nodes.get(&id)).unwrap_or(&self.common).to_value()
    }

    fn set(&mut self, id: Option<usize>, value: Option<Value>) {
        match (id, value.map(T::from_value)) {
            (Some(id), None) => drop(self.nodes.remove(&id)),
            (Some(id), Some(Some(value))) => drop(self.nodes.insert(id, value)),
            (None, Some(Some(value))) => self.common = value,
            (None, None) | (_, Some(None)) => {}
        }
    }

    fn ids(&self) -> Vec<usize> {
        self.nodes.keys().copied().collect()
    }
}
