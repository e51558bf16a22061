//! The options of one layer: those that are looked at, and those that are left.

use std::cell::RefCell;
use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::error::Error;
use crate::nn::function::Function;
use crate::nn::schema::misfit;
use crate::nn::windows::Pair;
use crate::types::{Padding, Padding1d};

/// Options that say nothing about what is computed here.
const IGNORED: [&str; 6] = ["name", "dtype", "batch_input_shape", "batch_shape", "synchronized", "seed"];

/// The `config` of a layer.
pub(super) struct Options<'v> {
    place: &'v str,
    values: &'v Map<String, Value>,
    seen: RefCell<HashSet<String>>,
}

impl<'v> Options<'v> {
    pub(super) fn new(place: &'v str, values: &'v Map<String, Value>) -> Self {
        Options { place, values, seen: RefCell::default() }
    }

    /// An error about an option.
    pub(super) fn refuse(&self, option: &str, reason: impl std::fmt::Display) -> Error {
        let value = self.values.get(option).unwrap_or(&Value::Null);
        misfit(self.place, format!("{option} is {value}: {reason}"))
    }
    /// A class that there is no layer for.
    pub(super) fn unsupported(&self, class: &str) -> Error {
        misfit(self.place, format!("there is no layer for Keras's {class} here"))
    }

    /// The option, unless it is missing or null.
    pub(super) fn get(&self, option: &str) -> Option<&'v Value> {
        self.seen.borrow_mut().insert(option.to_string());
        self.values.get(option).filter(|value| !value.is_null())
    }
    fn read<T>(
        &self,
        option: &str,
        default: Option<T>,
        wanted: &str,
        read: impl Fn(&'v Value) -> Option<T>,
    ) -> Result<T, Error> {
        match (self.get(option), default) {
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.refuse(option, format!("must be {wanted}"))),
            (Some(value), _) => read(value).ok_or_else(|| self.refuse(option, format!("must be {wanted}"))),
        }
    }
    pub(super) fn flag(&self, option: &str, default: bool) -> Result<bool, Error> {
        self.read(option, Some(default), "true or false", Value::as_bool)
    }
    pub(super) fn number(&self, option: &str, default: f64) -> Result<f64, Error> {
        self.read(option, Some(default), "a number", Value::as_f64)
    }
    pub(super) fn text(&self, option: &str, default: &'v str) -> Result<&'v str, Error> {
        self.read(option, Some(default), "a text", Value::as_str)
    }
    pub(super) fn whole(&self, option: &str, default: Option<usize>) -> Result<usize, Error> {
        self.read(option, default, "a whole number", whole)
    }
    /// Whole numbers of either sign; one may stand alone.
    pub(super) fn signed(&self, option: &str) -> Result<Vec<i64>, Error> {
        self.read(option, None, "a list of whole numbers", |value| match value.as_array() {
            Some(items) => items.iter().map(Value::as_i64).collect(),
            None => value.as_i64().map(|only| vec![only]),
        })
    }
    /// An axis, which Keras may put into a list.
    pub(super) fn axis(&self) -> Result<Option<isize>, Error> {
        if self.get("axis").is_none() {
            return Ok(None);
        }
        match self.signed("axis")?[..] {
            [axis] => Ok(isize::try_from(axis).ok()),
            _ => Err(self.refuse("axis", "one axis is supported")),
        }
    }
    pub(super) fn wholes(&self, option: &str) -> Result<Vec<usize>, Error> {
        let read = |value: &Value| value.as_array()?.iter().map(whole).collect();
        self.read(option, None, "a list of whole numbers", read)
    }
    /// Rows and columns.
    pub(super) fn pair(&self, option: &str, default: Option<Pair>) -> Result<Pair, Error> {
        self.read(option, default, "two whole numbers", |value| match whole(value) {
            Some(both) => Some(Pair([both; 2])),
            None => match value.as_array()?.as_slice() {
                [rows, columns] => Some(Pair([whole(rows)?, whole(columns)?])),
                _ => None,
            },
        })
    }
    /// A number that stands alone or in a list.
    pub(super) fn single(&self, option: &str, default: Option<usize>) -> Result<usize, Error> {
        self.read(option, default, "a whole number", |value| match value.as_array().map(Vec::as_slice) {
            Some([only]) => whole(only),
            _ => whole(value),
        })
    }
    pub(super) fn padding(&self) -> Result<Padding, Error> {
        match self.text("padding", "valid")? {
            "valid" => Ok(Padding::Valid),
            "same" => Ok(Padding::Same),
            _ => Err(self.refuse("padding", "must be valid or same")),
        }
    }
    pub(super) fn padding1d(&self) -> Result<Padding1d, Error> {
        match self.text("padding", "valid")? {
            "valid" => Ok(Padding1d::Valid),
            "same" => Ok(Padding1d::Same),
            "causal" => Ok(Padding1d::Causal),
            _ => Err(self.refuse("padding", "must be valid, same or causal")),
        }
    }
    /// A function, unless there is none.
    pub(super) fn function(&self) -> Result<Option<Function>, Error> {
        match self.text("activation", "linear")? {
            "linear" => Ok(None),
            name => name.parse().map(Some).map_err(|error: Error| self.refuse("activation", error)),
        }
    }
    /// Only the value that the layer here has, or none.
    pub(super) fn only(&self, option: &str, value: impl Into<Value>) -> Result<(), Error> {
        let value = value.into();
        match self.get(option) {
            Some(given) if *given != value => Err(self.refuse(option, format!("only {value} is supported"))),
            _ => Ok(()),
        }
    }

    /// Refuses what nothing looked at, unless it is off.
    pub(super) fn finish(&self) -> Result<(), Error> {
        let seen = self.seen.borrow();
        let off = |value: &Value| value.is_null() || *value == Value::Bool(false);
        let ignored = |option: &str| IGNORED.contains(&option);
        let left = self.values.iter().find(|(key, value)| !seen.contains(*key) && !ignored(key) && !off(value));
        match left {
            Some((option, _)) => Err(self.refuse(option, "this option is not supported")),
            None => Ok(()),
        }
    }
}

fn whole(value: &Value) -> Option<usize> {
    usize::try_from(value.as_u64()?).ok()
}
