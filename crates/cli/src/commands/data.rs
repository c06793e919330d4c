//! `innerloop data`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use innerloop::lab::config::{Config, Family, Kind, presets};
use innerloop::lab::{Error, Estimate, Experiment, Measure, checkpoint, verify_data};
use innerloop::tasks::{Distance, Split, Target, contact_sheet, nearest_mean};

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
    /// A family's name (see `data list`), a preset or a .toml file
    set: String,
    /// Folder of the data set [default: tasks.data, else $INNERLOOP_DATA, else data]
    #[arg(long)]
    data: Option<String>,
    /// Overrides one setting, such as tasks.file=own.csv; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Preview {
    #[command(flatten)]
    source: Source,
    /// Path of the PNG file
    #[arg(long, default_value = "preview.png")]
    out: PathBuf,
    /// Number of tasks on the sheet
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
                say!("  sine_line  sine curves and lines with noise, drawn on the fly; no files");
                say!(
                    "\nfamilies in files, in DIR or the folder named; DIR is tasks.data, else $INNERLOOP_DATA, else data"
                );
                for (name, files) in [
                    (
                        "omniglot",
                        "omniglot/images_{background,evaluation}.zip, or the unpacked folders",
                    ),
                    (
                        "double_mnist",
                        "mnist/{train,t10k}-{images-idx3,labels-idx1}-ubyte, or these with .gz",
                    ),
                    ("triple_mnist", "the same files"),
                    (
                        "cifar_fs",
                        "cifar-fs/cifar*.zip, or cifar100/, cifar-100-python/, CIFAR_FS_*.pickle",
                    ),
                    ("fc100", "the same files, or FC100_{train,val,test}.pickle"),
                    (
                        "mini_imagenet",
                        "mini-imagenet/{train,val,test}.csv and images, or {train,val,test}/<class>/, or pickles",
                    ),
                    (
                        "images",
                        "your own: DIR, a folder or zip archive, has a folder of images for each class",
                    ),
                    (
                        "curves",
                        "your own: a CSV file, tasks.file, with columns of task, input and target",
                    ),
                ] {
                    say!("  {name:<14} {files}");
                }
                say!("");
                say!("presets (innerloop train NAME)");
                for preset in Kind::ALL.into_iter().flat_map(presets::of) {
                    say!("  {:<24} {}", preset.name, preset.about);
                }
                Ok(())
            }
            Data::Verify(command) => {
                let mut sets = command.sets;
                sets.extend(command.data.map(|folder| format!("tasks.data={folder:?}")));
                let config = match Family::names().contains(&command.set.as_str()) {
                    true => Config::of_family(&command.set, &sets)?,
                    false => Config::load(&command.set, &sets).map_err(|error| {
                        error.context(format!("not a family ({})", Family::names().join(", ")))
                    })?,
                };
                say!("{}", verify_data(&config)?.trim_end());
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
        checkpoint::write_file(&self.out, &sheet.png())?;
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
            let shown = score(Measure::Accuracy, Estimate::of(&nearest));
            say!("nearest class mean on raw pixels, {tasks} test tasks: {shown}");
        }
        Ok(())
    }
}
