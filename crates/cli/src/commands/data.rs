//! `innerloop data`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use innerloop::lab::{Error, Experiment, config::presets, data_folder};
use innerloop::tasks::{Distance, Split, Target, contact_sheet, nearest_mean, omniglot};

use super::{Source, score};

#[derive(Subcommand)]
pub(crate) enum Data {
    /// List task families and presets
    List,
    /// Check a data set on disk
    Verify(VerifySet),
    /// Write a contact sheet of some tasks as PNG, and print the nearest-mean accuracy
    Preview(Preview),
}

#[derive(Args)]
pub(crate) struct VerifySet {
    /// Data set: omniglot
    #[arg(value_parser = ["omniglot"])]
    set: String,
    /// Folder the data set lies in [default: $INNERLOOP_DATA, else data]
    #[arg(long)]
    data: Option<String>,
}

#[derive(Args)]
pub(crate) struct Preview {
    #[command(flatten)]
    source: Source,
    /// Where the PNG goes
    #[arg(long, default_value = "preview.png")]
    out: PathBuf,
    /// Tasks on the sheet
    #[arg(long, default_value_t = 4)]
    tasks: usize,
}

impl Data {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Data::List => {
                say!("families");
                say!("  strokes    characters of random pen strokes, drawn on the fly; no files");
                say!("  sinusoid   y = A sin(x - phase), drawn on the fly; no files");
                say!(
                    "  omniglot   images_background.zip and images_evaluation.zip, or the unpacked folders,\n\
                     \x20            in DIR or DIR/omniglot; DIR is tasks.data, else $INNERLOOP_DATA, else data"
                );
                say!("presets (innerloop train NAME)");
                for preset in presets::all() {
                    say!("  {:<24} {}", preset.name, preset.about);
                }
                Ok(())
            }
            Data::Verify(command) => {
                let folder = data_folder(command.data.as_deref().unwrap_or_default());
                say!("{}", omniglot::verify(&folder).map_err(Error::from)?);
                Ok(())
            }
            Data::Preview(command) => command.run(),
        }
    }
}

impl Preview {
    fn run(self) -> anyhow::Result<()> {
        anyhow::ensure!(
            (1..=64).contains(&self.tasks),
            "--tasks is {}, expected 1 to 64",
            self.tasks
        );
        let experiment = Experiment::new(self.source.load()?)?;
        let family = experiment.family.as_ref();
        let seed = experiment.config.seed;
        let sheet = contact_sheet(family, Split::Test, seed, self.tasks).map_err(Error::from)?;
        std::fs::write(&self.out, sheet.png())
            .map_err(|cause| Error::io("write", &self.out, &cause))?;
        say!("{}", family.describe());
        say!(
            "{} ({}×{} pixels): support left, query right",
            self.out.display(),
            sheet.width,
            sheet.height
        );
        if matches!(experiment.evaluate.spec.target, Target::Classes(_)) {
            let tasks = experiment.config.evaluation.tasks;
            let nearest = nearest_mean(family, Split::Test, seed, tasks, Distance::Cosine)
                .map_err(Error::from)?;
            let estimate = innerloop::lab::Estimate { mean: nearest.mean, ci95: nearest.ci95 };
            let shown = score(innerloop::lab::Measure::Accuracy, estimate);
            say!("nearest class mean on raw pixels, {tasks} test tasks: {shown}");
        }
        Ok(())
    }
}
