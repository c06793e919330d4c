//! Inner steps that share a gradient or a Hessian, and the keys of `[algorithm]` that say which.

use innerloop_meta::Sharing;

use super::bounds::{Inapplicable, MOST, fixed};
use super::file::{AlgorithmFile, ConfigFile, MethodName};
use super::layers::Layers;
use super::method::Method;
use crate::Result;

choices! {
    /// In which pass a window of inner steps shares a gradient.
    pub WindowMode {
        /// In both passes: fewer gradients and fewer Hessian-vector products.
        Forward = "forward",
        /// In the backward pass only: every step has its own gradient, a window has one Hessian.
        Backward = "backward",
    }
}

/// Kim et al. 2020, reconstructed from its abstract: windows of inner steps share gradients in training, but not in
/// adaptation afterwards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowConfig {
    /// `window`: number of steps that share a gradient. Default 1, no sharing; 2 for `multi_step`.
    pub steps: usize,
    /// `window_mode`. Default `forward`.
    pub mode: WindowMode,
}

impl WindowConfig {
    /// Keys that do not apply without a window.
    pub(super) fn inapplicable_keys(file: &ConfigFile) -> Inapplicable {
        match file.method() == MethodName::MultiStep || file.algorithm.window.is_some() {
            true => Inapplicable::new(),
            false => fixed(&[(
                "algorithm.window_mode",
                "without algorithm.window, inner steps share nothing",
            )]),
        }
    }

    pub(super) fn check(at: &Layers, file: &AlgorithmFile, method: Method) -> Result<WindowConfig> {
        at.refuse(&WindowConfig::inapplicable_keys(&at.file))?;
        let default = if matches!(method, Method::MultiStep { .. }) { 2 } else { 1 };
        let steps = at.count("algorithm.window", file.window.unwrap_or(default), 1..=MOST)?;
        let mode = file.window_mode.unwrap_or(WindowMode::Forward);
        if let (true, WindowMode::Backward, Some(why)) = (steps > 1, mode, method.has_no_hessians())
        {
            let expected = format!("\"forward\" with algorithm.name = \"{method}\": {why}");
            return Err(at.bad("algorithm.window_mode", "\"backward\"", &expected));
        }
        Ok(WindowConfig { steps, mode })
    }

    /// Writes the keys that [`WindowConfig::check`] reads.
    pub(super) fn write(self, into: &mut AlgorithmFile) {
        into.window = Some(self.steps);
        into.window_mode = Some(self.mode);
    }

    /// The same as a setting of the inner loop.
    pub fn sharing(self) -> Sharing {
        match self.mode {
            _ if self.steps == 1 => Sharing::None,
            WindowMode::Forward => Sharing::Forward(self.steps),
            WindowMode::Backward => Sharing::Backward(self.steps),
        }
    }
}
