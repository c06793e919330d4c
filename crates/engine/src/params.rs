//! The one container of named values: numbers, graph handles, shapes.

use std::fmt;
use std::ops::Index;
use std::sync::Arc;

/// Named values in a fixed order. Names are shared, so copies of the structure are cheap.
///
/// `Params<Tensor>` holds numbers, `Params<Var>` graph handles, `Params<Shape>` shapes. Nothing outside
/// this type loops over the layers of a model.
#[derive(Clone, PartialEq)]
pub struct Params<T> {
    names: Arc<Vec<String>>,
    values: Vec<T>,
}

impl<T> Default for Params<T> {
    fn default() -> Self {
        Params { names: Arc::new(Vec::new()), values: Vec::new() }
    }
}

impl<T> Params<T> {
    /// No entries.
    pub fn new() -> Params<T> {
        Params::default()
    }

    /// Appends an entry; panics when the name is taken.
    #[track_caller]
    pub fn push(&mut self, name: impl Into<String>, value: T) {
        let name = name.into();
        assert!(self.position(&name).is_none(), "two parameters are named {name}");
        Arc::make_mut(&mut self.names).push(name);
        self.values.push(value);
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// True when there are no entries.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The position of a name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|n| n == name)
    }

    /// The value under a name, if there is one.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.position(name).map(|i| &self.values[i])
    }

    /// Names in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Values in order.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// Values in order, for writing.
    pub fn values_mut(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// Names with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.names.iter().map(String::as_str).zip(&self.values)
    }

    /// Same names, each value transformed.
    pub fn map<U>(&self, mut f: impl FnMut(&T) -> U) -> Params<U> {
        Params { names: self.names.clone(), values: self.values.iter().map(&mut f).collect() }
    }

    /// Same names, each value transformed with its name at hand.
    pub fn map_named<U>(&self, mut f: impl FnMut(&str, &T) -> U) -> Params<U> {
        let values = self.iter().map(|(name, value)| f(name, value)).collect();
        Params { names: self.names.clone(), values }
    }

    /// Entry by entry; panics, naming both, when the structures differ.
    #[track_caller]
    pub fn zip_map<U, V>(&self, other: &Params<U>, mut f: impl FnMut(&T, &U) -> V) -> Params<V> {
        assert_eq!(self.names, other.names, "parameters differ in structure");
        let values = self.values.iter().zip(&other.values).map(|(a, b)| f(a, b)).collect();
        Params { names: self.names.clone(), values }
    }

    /// The structure of `self` with other values, in order; panics when their number differs.
    #[track_caller]
    pub fn with_values<U>(&self, values: Vec<U>) -> Params<U> {
        assert_eq!(values.len(), self.len(), "{} values for {} names", values.len(), self.len());
        Params { names: self.names.clone(), values }
    }
}

impl<T: Clone> Params<T> {
    /// The entries whose name satisfies the predicate, in order.
    pub fn filter(&self, keep: impl Fn(&str) -> bool) -> Params<T> {
        self.iter()
            .filter(|(name, _)| keep(name))
            .map(|(n, v)| (n.to_string(), v.clone()))
            .collect()
    }

    /// Both sets of entries, `self` first; panics on a shared name.
    #[track_caller]
    pub fn merge(&self, other: &Params<T>) -> Params<T> {
        let mut all = self.clone();
        for (name, value) in other.iter() {
            all.push(name, value.clone());
        }
        all
    }

    /// `self` with the values of `other` in place of its own, by name; panics on an unknown name.
    #[track_caller]
    pub fn overlay(&self, other: &Params<T>) -> Params<T> {
        let mut all = self.clone();
        for (name, value) in other.iter() {
            let at = all.position(name).unwrap_or_else(|| panic!("no parameter is named {name}"));
            all.values[at] = value.clone();
        }
        all
    }
}

impl<T> FromIterator<(String, T)> for Params<T> {
    fn from_iter<I: IntoIterator<Item = (String, T)>>(entries: I) -> Self {
        let mut params = Params::new();
        for (name, value) in entries {
            params.push(name, value);
        }
        params
    }
}

impl<T> Index<&str> for Params<T> {
    type Output = T;

    #[track_caller]
    fn index(&self, name: &str) -> &T {
        self.get(name)
            .unwrap_or_else(|| panic!("no parameter is named {name}; have {:?}", self.names))
    }
}

impl<T: fmt::Debug> fmt::Debug for Params<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
