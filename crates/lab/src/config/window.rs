//! Inner steps that share a gradient or a Hessian, and the keys of `[algorithm]` that say which.

use innerloop_meta::Sharing;

use super::bounds::{MOST, Strangers, fixed};
use super::file::{AlgorithmFile, ConfigFile, MethodName};
use super::layers::Layers;
use super::method::Method;
use crate::Result;

choices! {
    /// Where a window of inner steps shares a gradient.
    pub WindowMode {
        /// Forward and backward: fewer gradients and fewer Hessian-vector products.
        Forward = "forward",
        /// Backward only: every step has its gradient, a window one Hessian.
        Backward = "backward",
    }
}

/// Kim et al. 2020, reconstructed from its abstract: windows of inner steps share gradients in training; adaptation
/// afterwards does without.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowConfig {
    /// `window`: steps that share one. Default 1, which is none; 2 for `multi_step`.
    pub steps: usize,
    /// `window_mode`. Default `forward`.
    pub mode: WindowMode,
}

impl WindowConfig {
    /// Keys that mean nothing without a window.
    pub(super) fn strangers(file: &ConfigFile) -> Strangers {
        match file.method() == MethodName::MultiStep || file.algorithm.window.is_some() {
            true => Strangers::new(),
            false => fixed(&[(
                "algorithm.window_mode",
                "without algorithm.window no inner steps share anything",
            )]),
        }
    }

    pub(super) fn check(at: &Layers, file: &AlgorithmFile, method: Method) -> Result<WindowConfig> {
        at.refuse(&WindowConfig::strangers(&at.file))?;
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

    /// The keys that [`WindowConfig::check`] reads.
    pub(super) fn write(self, into: &mut AlgorithmFile) {
        into.window = Some(self.steps);
        into.window_mode = Some(self.mode);
    }

    /// What the inner loop shares.
    pub fn sharing(self) -> Sharing {
        match self.mode {
            _ if self.steps == 1 => Sharing::None,
            WindowMode::Forward => Sharing::Forward(self.steps),
            WindowMode::Backward => Sharing::Backward(self.steps),
        }
    }
}
