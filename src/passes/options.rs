//! Which passes run.

use std::collections::BTreeSet;

use super::PASSES;
use crate::error::{Error, nearest};

/// Which passes run, and how far. The default runs all of them, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassOptions {
    /// Names of passes that do not run; see [`PassOptions::without`].
    pub disabled: BTreeSet<String>,
    /// Stops after this many optional rewrites, over all passes: bisect with it when a rewrite is
    /// suspected. Mandatory passes always finish.
    pub stop_after: Option<usize>,
    /// Verifies the graph after each pass that changed it.
    pub verify: bool,
}

impl Default for PassOptions {
    fn default() -> Self {
        PassOptions { disabled: BTreeSet::new(), stop_after: None, verify: true }
    }
}

impl PassOptions {
    /// Only the mandatory passes: every node by itself, in the form that kernels compute.
    pub fn unfused() -> Self {
        let disabled = PASSES.iter().filter(|p| !p.mandatory).map(|p| p.name.to_string()).collect();
        PassOptions { disabled, ..PassOptions::default() }
    }
    /// All passes but these.
    ///
    /// # Errors
    /// [`Error::Option`] for a name that is no pass, or a pass that is mandatory; it lists what can be named.
    pub fn without(names: &[&str]) -> Result<Self, Error> {
        let disabled = names.iter().map(|name| name.to_string()).collect();
        let options = PassOptions { disabled, ..PassOptions::default() };
        options.check().map(|()| options)
    }
    /// Whether the pass `name` may run.
    pub fn runs(&self, name: &str) -> bool {
        !self.disabled.contains(name)
    }

    /// Every disabled pass exists and is optional.
    pub(super) fn check(&self) -> Result<(), Error> {
        for name in &self.disabled {
            let problem = match PASSES.iter().find(|p| p.name == name) {
                Some(pass) if !pass.mandatory => continue,
                Some(_) => "is mandatory",
                None => "does not exist",
            };
            let optional = PASSES.iter().filter(|p| !p.mandatory).map(|p| p.name);
            let known = nearest(name, optional).join(", ");
            return Err(Error::Option {
                option: "disabled passes".to_string(),
                reason: format!("pass \"{name}\" {problem}; these can be switched off: {known}"),
            });
        }
        Ok(())
    }
}
