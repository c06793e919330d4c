//! Data sets: from `[tasks]` to a family of tasks, and checking files on disk.

use std::path::{Path, PathBuf};

use innerloop_tasks::cifar::{self, CifarSplit};
use innerloop_tasks::curves::{self, Curves};
use innerloop_tasks::gallery::{self, Division};
use innerloop_tasks::mini_imagenet;
use innerloop_tasks::multi_mnist::{self, MultiMnist, Places};
use innerloop_tasks::omniglot;
use innerloop_tasks::{
    self as tasks, Augmentation, Fit, Form, ImageSet, ImageTasks, Rotations, Shares, SineLine,
    Sinusoid, Sizes, Strokes, TaskFamily,
};

use crate::config::{
    self, Augment, Config, CurvesConfig, Family, ImagesConfig, Layout, MultiMnistConfig,
    SharesConfig,
};
use crate::{Error, Result};

/// Environment variable that names the folder of data sets.
pub const DATA_VARIABLE: &str = "INNERLOOP_DATA";

/// The folder that holds data sets: as configured, else from the environment, else `data`.
pub fn data_folder(configured: &str) -> PathBuf {
    if !configured.is_empty() {
        return PathBuf::from(configured);
    }
    let named = std::env::var_os(DATA_VARIABLE).filter(|folder| !folder.is_empty());
    named.map_or_else(|| PathBuf::from("data"), PathBuf::from)
}

/// The tasks of a configuration; reads the data set from disk if there is one.
pub(crate) fn family(config: &Config) -> Result<Box<dyn TaskFamily>> {
    let config::TasksConfig { ways, train_ways, shots, query, train_shots, train_query, .. } =
        config.tasks;
    let points = Sizes { shots, query, train_shots, train_query };
    let sizes = tasks::FewShot { ways, train_ways, sizes: points };
    let makes = |change| config.tasks.augment.contains(&change);
    let augmentation = Augmentation {
        crop: makes(Augment::Crop),
        flip: makes(Augment::Flip),
        rotate: makes(Augment::Rotate),
    };
    Ok(match &config.tasks.family {
        Family::Strokes => Box::new(Strokes { few_shot: sizes }),
        Family::Sinusoid => Box::new(Sinusoid { sizes: points }),
        Family::SineLine { noise } => Box::new(SineLine { sizes: points, noise: *noise }),
        Family::Omniglot(set) => {
            let (split, rotations) = (set.split, set.rotations);
            let ink = if set.invert { omniglot::Ink::One } else { omniglot::Ink::Zero };
            let images = omniglot::load(&data_folder(&set.data), split, ink)?;
            let tasks = ImageTasks::new(format!("omniglot/{split}"), images, sizes, rotations)?;
            Box::new(tasks.augmented(augmentation)?)
        }
        Family::DoubleMnist(set) => {
            image_tasks(Places::Two.name(), numbers(set, Places::Two)?, sizes, augmentation)?
        }
        Family::TripleMnist(set) => {
            image_tasks(Places::Three.name(), numbers(set, Places::Three)?, sizes, augmentation)?
        }
        Family::CifarFs(set) => image_tasks(
            "cifar_fs",
            cifar::load(&data_folder(&set.data), CifarSplit::Fs)?,
            sizes,
            augmentation,
        )?,
        Family::Fc100(set) => image_tasks(
            "fc100",
            cifar::load(&data_folder(&set.data), CifarSplit::Fc100)?,
            sizes,
            augmentation,
        )?,
        Family::MiniImagenet(set) => image_tasks(
            "mini_imagenet",
            mini_imagenet::load(&data_folder(&set.data), set.size)?,
            sizes,
            augmentation,
        )?,
        Family::Images(set) => {
            let (folder, form, division) = own_images(set)?;
            image_tasks("images", gallery::load(&folder, form, &division)?, sizes, augmentation)?
        }
        Family::Curves(set) => Box::new(own_curves(set, points)?),
    })
}

/// Reads the whole data set of `[tasks]` and reports what was there. Fails at the first thing that is missing or
/// damaged.
pub fn verify(config: &Config) -> Result<String> {
    Ok(match &config.tasks.family {
        Family::Strokes | Family::Sinusoid | Family::SineLine { .. } => {
            format!(
                "{}\nmade on the fly: there are no files to check\n",
                family(config)?.describe()
            )
        }
        Family::Omniglot(set) => omniglot::verify(&data_folder(&set.data))?.to_string(),
        Family::DoubleMnist(set) => {
            multi_mnist::verify(&data_folder(&set.data), Places::Two)?.to_string()
        }
        Family::TripleMnist(set) => {
            multi_mnist::verify(&data_folder(&set.data), Places::Three)?.to_string()
        }
        Family::CifarFs(set) => cifar::verify(&data_folder(&set.data), CifarSplit::Fs)?.to_string(),
        Family::Fc100(set) => {
            cifar::verify(&data_folder(&set.data), CifarSplit::Fc100)?.to_string()
        }
        Family::MiniImagenet(set) => mini_imagenet::verify(&data_folder(&set.data))?.to_string(),
        Family::Images(set) => {
            let (folder, form, division) = own_images(set)?;
            gallery::verify(&folder, form, &division)?.to_string()
        }
        Family::Curves(_) => format!("{}\n", family(config)?.describe()),
    })
}

fn numbers(set: &MultiMnistConfig, places: Places) -> Result<MultiMnist> {
    Ok(MultiMnist::load(&data_folder(&set.data), places, set.size, set.images_seed)?)
}

/// Image tasks without rotations as classes.
fn image_tasks<D: ImageSet + 'static>(
    name: &str,
    images: D,
    sizes: tasks::FewShot,
    augmentation: Augmentation,
) -> Result<Box<dyn TaskFamily>> {
    let tasks = ImageTasks::new(name, images, sizes, Rotations::None)?;
    Ok(Box::new(tasks.augmented(augmentation)?))
}

fn own_images(set: &ImagesConfig) -> Result<(PathBuf, Form, Division)> {
    if set.data.is_empty() {
        return Err(Error::config(
            "tasks.data is not set, expected the folder, or zip archive, of your images: a folder for each class",
        ));
    }
    let some = |value: usize| (value > 0).then_some(value);
    let form = Form { side: some(set.size), fit: Fit::Crop, channels: some(set.channels) };
    let division = match set.split_file.as_str() {
        "" => Division::Shares(shares(set.shares)),
        file => Division::File(PathBuf::from(file)),
    };
    Ok((PathBuf::from(&set.data), form, division))
}

fn own_curves(set: &CurvesConfig, sizes: Sizes) -> Result<Curves> {
    if set.file.is_empty() {
        return Err(Error::config(
            "tasks.file is not set, expected the name of a CSV file in the data folder",
        ));
    }
    let (x, y) = (set.x_columns.clone(), set.y_columns.clone());
    let columns = match set.layout {
        Layout::Long => curves::Columns::Long { task: set.task_columns.clone(), x, y },
        Layout::Wide => curves::Columns::Wide { x },
        Layout::Grid => curves::Columns::Grid,
    };
    let file = data_folder(&set.data).join(Path::new(&set.file));
    Ok(Curves::load(&file, &columns, shares(set.shares), set.standardise, sizes)?)
}

fn shares(shares: SharesConfig) -> Shares {
    Shares { train: shares.train, validation: shares.validation, seed: shares.seed }
}
