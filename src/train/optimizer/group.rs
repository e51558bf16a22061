//! Groups of parameters with a learning rate and a weight decay of their own.

use serde::{Deserialize, Serialize};

use super::kinds::check_magnitude;
use crate::error::{Error, nearest};
use crate::nn::fits;

/// Parameters that are trained in their own way: PyTorch's parameter groups. A rate of their own is a share of the
/// learning rate, so that a schedule moves all groups alike, as PyTorch's schedulers do.
///
/// ```
/// use outrigger::train::optimizer::ParameterGroup;
///
/// // a network that was trained before, under a new head
/// let backbone = ParameterGroup { lr_scale: 0.1, ..ParameterGroup::new("backbone.*") };
/// // biases are not drawn to zero
/// let biases = ParameterGroup { weight_decay: Some(0.0), ..ParameterGroup::new("*.bias") };
/// assert!(backbone.holds("backbone.conv1.weight") && biases.holds("head.bias") && !biases.holds("head.weight"));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParameterGroup {
    /// The parameters' name, in which `*` stands for anything. A parameter belongs to the first group that holds it.
    pub parameters: String,
    /// Share of the learning rate. 0 keeps the parameters as they are.
    pub lr_scale: f64,
    /// Weight decay instead of the optimizer's.
    pub weight_decay: Option<f64>,
}

impl ParameterGroup {
    /// The parameters of a name, in which `*` stands for anything, trained as the optimizer says.
    pub fn new(parameters: &str) -> Self {
        ParameterGroup { parameters: parameters.to_string(), lr_scale: 1.0, weight_decay: None }
    }

    /// Whether the group's pattern fits a parameter's name.
    pub fn holds(&self, name: &str) -> bool {
        fits(&self.parameters, name)
    }

    /// Refuses numbers that make no sense, and a group that none of `names` belongs to. Those of frozen parameters are
    /// among them: their group may wait for them.
    pub(super) fn check(&self, names: &[&str]) -> Result<(), Error> {
        check_magnitude("lr_scale", self.lr_scale)?;
        check_magnitude("weight_decay", self.weight_decay.unwrap_or(0.0))?;
        if names.iter().any(|name| self.holds(name)) {
            return Ok(());
        }
        let near = nearest(&self.parameters, names.iter().copied());
        Err(Error::UnknownName { what: "parameter", name: self.parameters.clone(), near })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        let holds = |pattern: &str, name: &str| ParameterGroup::new(pattern).holds(name);
        assert!(holds("fc.weight", "fc.weight") && !holds("fc.weight", "fc.weight2") && !holds("fc", "fc.weight"));
        assert!(holds("layer1.*", "layer1.0.conv") && !holds("layer1.*", "layer10.0.conv"));
        assert!(holds("*.bias", "fc.bias") && !holds("*.bias", "bias") && !holds("*.bias", "fc.bias.0"));
        assert!(holds("*", "") && holds("**", "x") && holds("a*b*c", "abbc") && holds("a*a", "aa"));
        assert!(!holds("a*a", "a") && !holds("a*b*b", "ab") && !holds("a*b*c", "acb"));
    }
}
