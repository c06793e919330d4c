//! What is rejected.

use std::collections::BTreeMap;

use super::keys::{FamilyName, MethodName, NetworkName, TransferConfig};
use crate::config::bounds;
use crate::{Error, Result};

/// Larger values are taken for mistakes.
const MOST: usize = 1_000_000;
/// This many drawn images take 300 MB.
const MOST_DRAWN: usize = 100_000;

impl TransferConfig {
    pub(super) fn check(&self, source: &str) -> Result<()> {
        let TransferConfig { transfer, source: teacher, target, algorithm, outer, run, .. } = self;
        let bad = |key: &str, found: String, expected: &str| {
            Err(bounds::bad(source, key, found, expected))
        };
        for (key, found, least) in [
            ("transfer.source_classes", transfer.source_classes, 2),
            ("transfer.source_shots", transfer.source_shots, 1),
            ("transfer.source_query", transfer.source_query, 1),
            ("transfer.target_classes", transfer.target_classes, 2),
            ("transfer.target_shots", transfer.target_shots, 1),
            ("transfer.target_query", transfer.target_query, 1),
            ("source.blocks", teacher.blocks, 1),
            ("source.iterations", teacher.iterations.unwrap_or(1), 1),
            ("target.blocks", target.blocks, 1),
            ("algorithm.transfer_steps", algorithm.transfer_steps, 1),
            ("algorithm.window", algorithm.window, 1),
            ("outer.trials", outer.trials, 1),
            ("outer.iterations", outer.iterations, 1),
            ("run.threads", run.threads, 0),
            ("run.checkpoint_every", run.checkpoint_every, 1),
        ] {
            bounds::count(source, key, found, least..=MOST)?;
        }
        let steps = algorithm.transfer_steps;
        if algorithm.window > steps {
            let expected =
                format!("at most {steps}, the steps it can share (algorithm.transfer_steps)");
            return bad("algorithm.window", algorithm.window.to_string(), &expected);
        }
        for (key, channels) in
            [("source.channels", &teacher.channels), ("target.channels", &target.channels)]
        {
            if channels.is_empty() || channels.iter().any(|c| !(1..=4096).contains(c)) {
                return bad(key, format!("{channels:?}"), "a number from 1 to 4096 for each stage");
            }
        }
        self.check_data(source)?;
        if let Some(side) = self.side() {
            self.check_stages(source, side)?;
        }
        let stages = target.channels.len();
        let vgg = target.network == NetworkName::Vgg && target.blocks == 1;
        let each = target.depths.len() == stages && target.depths.iter().all(|&n| n > 0);
        if !(target.depths.is_empty() || vgg && each) {
            let expected = format!(
                "{stages} numbers above 0, one for each stage, with target.network = \"vgg\" and without target.blocks"
            );
            return bad("target.depths", format!("{:?}", target.depths), &expected);
        }
        let images = |classes: usize, shots: usize| classes * shots;
        for (key, found, most) in [
            (
                "source.batch_size",
                teacher.batch_size.unwrap_or(2),
                images(transfer.source_classes, transfer.source_shots),
            ),
            (
                "outer.batch_size",
                outer.batch_size,
                images(transfer.target_classes, transfer.target_shots),
            ),
        ] {
            if !(2..=most).contains(&found) {
                let expected = format!("2 to {most}, the number of labelled images");
                return bad(key, found.to_string(), &expected);
            }
        }
        for (key, found) in [
            ("source.lr", teacher.lr.unwrap_or(1.0)),
            ("outer.lr", outer.lr),
            ("outer.fine_tune_lr", outer.fine_tune_lr),
            ("outer.meta_lr", outer.meta_lr),
            ("algorithm.strength", algorithm.strength),
        ] {
            bounds::above_zero(source, key, found)?;
        }
        for (key, found) in [
            ("outer.weight_decay", outer.weight_decay),
            ("outer.meta_weight_decay", outer.meta_weight_decay),
        ] {
            bounds::not_negative(source, key, found)?;
        }
        if !(0.0..1.0).contains(&outer.momentum) {
            return bad("outer.momentum", outer.momentum.to_string(), "at least 0 and below 1");
        }
        let mut seen = BTreeMap::new();
        for method in &algorithm.methods {
            if seen.insert(method.name(), ()).is_some() {
                return bad(
                    "algorithm.methods",
                    format!("a list with {:?} twice", method.name()),
                    "each method once",
                );
            }
        }
        if algorithm.methods.is_empty() {
            return bad("algorithm.methods", "[]".into(), "at least one method");
        }
        self.refuse_inapplicable(source)
    }

    /// Checks the two data sets before anything is read or drawn.
    fn check_data(&self, source: &str) -> Result<()> {
        let transfer = &self.transfer;
        let [of_source, of_target] = self.data_sets();
        for (section, set) in [("transfer", &of_target), ("source", &of_source)] {
            if set.family == FamilyName::Images && set.data.is_empty() {
                let expected =
                    "the folder, or zip archive, of your images, with one folder per class";
                return Err(bounds::bad(source, &format!("{section}.data"), "not set", expected));
            }
        }
        let sizes = [
            ("source", transfer.source_classes, transfer.source_shots, transfer.source_query),
            ("target", transfer.target_classes, transfer.target_shots, transfer.target_query),
        ];
        for ((role, classes, shots, query), set) in sizes.into_iter().zip([&of_source, &of_target])
        {
            let all = classes.saturating_mul(shots + query);
            if set.family == FamilyName::Strokes && all > MOST_DRAWN {
                let key = format!(
                    "transfer.{role}_classes × (transfer.{role}_shots + transfer.{role}_query)"
                );
                let expected = format!("at most {MOST_DRAWN} images drawn");
                return Err(bounds::bad(source, &key, all, &expected));
            }
        }
        let families = [of_source.family, of_target.family];
        let fixed = families.map(FamilyName::fixed);
        if let [(_, Some(one)), (_, Some(other))] = fixed
            && one != other
        {
            let found = format!(
                "\"{}\" with {one} channels, and transfer.family \"{}\" with {other}",
                families[0].name(),
                families[1].name()
            );
            let expected = "the same number in both: two of strokes, omniglot and images, or two of cifar_fs, \
                            mini_imagenet and images; images are converted";
            return Err(bounds::bad(source, "source.family", found, expected));
        }
        let known = |of: fn(FamilyName) -> Option<usize>| {
            families.into_iter().find_map(|family| Some((family.name(), of(family)?)))
        };
        let (size, channels) = (transfer.size, transfer.channels);
        for (key, found, known) in [
            ("transfer.size", size, known(|family| family.fixed().0)),
            ("transfer.channels", channels, known(|family| family.fixed().1)),
        ] {
            if let Some((name, only)) = known
                && ![0, only].contains(&found)
            {
                return Err(bounds::bad(source, key, found, &format!("{only}, as {name} has")));
            }
        }
        if size > 0 {
            bounds::count(source, "transfer.size", size, 8..=1024)?;
        }
        if ![0, 1, 3].contains(&channels) {
            let expected = "1 for grey, 3 for colour, or 0 for what the files have";
            return Err(bounds::bad(source, "transfer.channels", channels, expected));
        }
        Ok(())
    }

    /// Fails unless images with this side are large enough for the target's stages, each of which halves them.
    pub(crate) fn check_stages(&self, source: &str, side: usize) -> Result<()> {
        let (found, most) = (&self.target.channels, side.ilog2() as usize + 1);
        if found.len() > most {
            let expected = format!("at most {most} stages for images {side} pixels wide");
            return Err(bounds::bad(source, "target.channels", format!("{found:?}"), &expected));
        }
        Ok(())
    }

    /// Rejects keys that do not apply with the choices made.
    fn refuse_inapplicable(&self, source: &str) -> Result<()> {
        let TransferConfig { transfer, source: teacher, algorithm, .. } = self;
        let families = self.data_sets().map(|set| set.family);
        let [of_source, of_target] = families;
        let has = |family| families.contains(&family);
        let resized = has(FamilyName::MiniImagenet) || has(FamilyName::Images);
        let (own, trained) = (self.has_own_source(), teacher.weights.is_empty());
        let learns = [MethodName::L2tWw, MethodName::FirstOrder]
            .iter()
            .any(|method| algorithm.methods.contains(method));
        for (key, written, applies, why) in [
            ("transfer.data", !transfer.data.is_empty(), of_target != FamilyName::Strokes, DRAWN),
            ("source.data", !teacher.data.is_empty(), of_source != FamilyName::Strokes, DRAWN),
            (
                "transfer.split_file",
                !transfer.split_file.is_empty(),
                of_target == FamilyName::Images,
                OWN,
            ),
            ("source.split_file", !teacher.split_file.is_empty(), own, SHARED),
            (
                "source.split_file",
                !teacher.split_file.is_empty(),
                of_source == FamilyName::Images,
                OWN,
            ),
            ("transfer.size", transfer.size > 0, resized, "neither data set is resized"),
            ("transfer.channels", transfer.channels > 0, has(FamilyName::Images), OWN),
            ("source.iterations", teacher.iterations.is_some(), trained, TRAINED),
            ("source.batch_size", teacher.batch_size.is_some(), trained, TRAINED),
            ("source.lr", teacher.lr.is_some(), trained, TRAINED),
            (
                "algorithm.window",
                algorithm.window > 1,
                learns,
                "no method of algorithm.methods has a meta-gradient",
            ),
            (
                "algorithm.window_mode",
                algorithm.window_mode.is_some(),
                algorithm.window > 1,
                "it goes with algorithm.window above 1",
            ),
        ] {
            if written && !applies {
                return Err(Error::config(format!(
                    "{source}: {key} does not apply: {why}; leave it out"
                )));
            }
        }
        Ok(())
    }
}

const DRAWN: &str = "strokes are drawn, not read";
const OWN: &str = "it goes with family = \"images\"";
const SHARED: &str =
    "the source has the target's data set; set source.data, or transfer.split_file";
const TRAINED: &str = "source.weights names a network that is already trained";
