//! The settings of a run from the keys.

use innerloop_transfer::Settings;

use super::keys::{FamilyName, MethodName, TransferConfig};
use crate::config::{WindowConfig, WindowMode};

/// Side of miniImageNet's images, unless the other data set fixes one.
const SIDE: usize = 84;

/// A data set that images are drawn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSet {
    /// Its kind.
    pub family: FamilyName,
    /// Folder as configured, or "".
    pub data: String,
    /// `images`: the file that assigns classes to splits, or "".
    pub split_file: String,
}

impl FamilyName {
    /// Side and channels of its images, where they are fixed.
    pub(super) fn fixed(self) -> (Option<usize>, Option<usize>) {
        match self {
            FamilyName::Strokes | FamilyName::Omniglot => (Some(28), Some(1)),
            FamilyName::CifarFs => (Some(32), Some(3)),
            FamilyName::MiniImagenet => (None, Some(3)),
            FamilyName::Images => (None, None),
        }
    }
}

impl TransferConfig {
    /// The source's data set and the target's.
    pub fn data_sets(&self) -> [DataSet; 2] {
        let (teacher, transfer) = (&self.source, &self.transfer);
        let target = DataSet {
            family: transfer.family,
            data: transfer.data.clone(),
            split_file: transfer.split_file.clone(),
        };
        if !self.has_own_source() {
            return [target.clone(), target];
        }
        let source = DataSet {
            family: teacher.family.unwrap_or(transfer.family),
            data: teacher.data.clone(),
            split_file: teacher.split_file.clone(),
        };
        [source, target]
    }

    /// Whether the source's data set differs from the target's.
    pub(super) fn has_own_source(&self) -> bool {
        let other = self.source.family.is_some_and(|family| family != self.transfer.family);
        other || !self.source.data.is_empty()
    }

    /// Side of all images, if the keys determine it.
    pub(super) fn side(&self) -> Option<usize> {
        let fixed = self.data_sets().iter().find_map(|set| set.family.fixed().0);
        fixed.or((self.transfer.size > 0).then_some(self.transfer.size))
    }

    /// Fills in the defaults that depend on other keys.
    pub(super) fn fill(&mut self) {
        let families = self.data_sets().map(|set| set.family);
        let fixed = families.map(FamilyName::fixed);
        let has = |family| families.contains(&family);
        let transfer = &mut self.transfer;
        if transfer.size == 0 && fixed.iter().any(|(side, _)| side.is_none()) {
            let default = if has(FamilyName::MiniImagenet) { SIDE } else { 0 };
            transfer.size = fixed.iter().find_map(|(side, _)| *side).unwrap_or(default);
        }
        if transfer.channels == 0 && has(FamilyName::Images) {
            transfer.channels = fixed.iter().find_map(|(_, channels)| *channels).unwrap_or(0);
        }
        if self.source.weights.is_empty() {
            let trained = self.source_settings();
            self.source.iterations = Some(trained.iterations as usize);
            self.source.batch_size = Some(trained.batch_size);
            self.source.lr = Some(trained.lr);
        }
        if self.algorithm.window > 1 {
            self.algorithm.window_mode = Some(self.window().mode);
        }
    }

    /// Steps of the transfer loss that share a gradient.
    fn window(&self) -> WindowConfig {
        let mode = self.algorithm.window_mode.unwrap_or(WindowMode::Forward);
        WindowConfig { steps: self.algorithm.window, mode }
    }

    /// How targets are trained with a method.
    pub fn settings(&self, method: MethodName) -> Settings {
        let (outer, algorithm) = (&self.outer, &self.algorithm);
        Settings {
            iterations: outer.iterations as u64,
            batch_size: outer.batch_size,
            lr: if method == MethodName::FineTune { outer.fine_tune_lr } else { outer.lr },
            momentum: outer.momentum,
            weight_decay: outer.weight_decay,
            transfer_steps: algorithm.transfer_steps,
            sharing: self.window().sharing(),
            strategy: algorithm.strategy,
            meta_lr: outer.meta_lr,
            meta_weight_decay: outer.meta_weight_decay,
        }
    }

    /// How the source is trained.
    pub fn source_settings(&self) -> Settings {
        Settings {
            iterations: self.source.iterations.unwrap_or(400) as u64,
            batch_size: self.source.batch_size.unwrap_or(32),
            lr: self.source.lr.unwrap_or(0.05),
            ..self.settings(MethodName::Scratch)
        }
    }
}
