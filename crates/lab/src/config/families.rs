//! The families of tasks and the keys of each: what is legal, and how they are written back.

use super::bounds::Inapplicable;
use super::file::*;
use super::layers::Layers;
use super::setting::Setting;
use super::*;
use crate::Result;

/// Where tasks come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Family {
    /// Characters drawn by random pen strokes, made on the fly.
    Strokes,
    /// Omniglot's handwritten characters.
    Omniglot(OmniglotConfig),
    /// y = A sin(x − φ): regression, made on the fly.
    Sinusoid,
    /// Sine curves and lines with noise: regression, made on the fly.
    SineLine {
        /// Standard deviation of the noise. Default 0.3, as in SHOT's code.
        noise: f64,
    },
    /// Numbers of two digits, composed of MNIST's.
    DoubleMnist(MultiMnistConfig),
    /// Numbers of three digits, composed of MNIST's.
    TripleMnist(MultiMnistConfig),
    /// CIFAR-100's photographs, in the split of Bertinetto et al. 2019.
    CifarFs(CifarConfig),
    /// CIFAR-100's photographs, in the split of Oreshkin et al. 2018.
    Fc100(CifarConfig),
    /// 100 classes of ImageNet's photographs.
    MiniImagenet(MiniImagenetConfig),
    /// Your own images.
    Images(ImagesConfig),
    /// Your own regression tasks, from a CSV file.
    Curves(CurvesConfig),
}

impl Family {
    /// The names of all families, in the order in which they are listed.
    pub fn names() -> &'static [&'static str] {
        FamilyName::names()
    }

    /// Whether tasks consist of images from files.
    pub fn has_image_files(&self) -> bool {
        !self.is_regression() && *self != Family::Strokes
    }

    /// Whether targets are numbers, not classes.
    pub fn is_regression(&self) -> bool {
        matches!(self, Family::Sinusoid | Family::SineLine { .. } | Family::Curves(_))
    }
}

/// Keys of `[tasks]` that go with `family = "double_mnist"` and `"triple_mnist"`.
#[derive(Clone, Debug, PartialEq)]
pub struct MultiMnistConfig {
    /// Folder of MNIST's four files. Default "": the environment variable `INNERLOOP_DATA`, or `./data`.
    pub data: String,
    /// Side to which the images, 64 wide (84 for three digits), are shrunk. Default: not shrunk.
    pub size: usize,
    /// Seed from which the images are composed. Default 123.
    pub images_seed: u64,
}

/// Keys of `[tasks]` that go with `family = "cifar_fs"` and `"fc100"`.
#[derive(Clone, Debug, PartialEq)]
pub struct CifarConfig {
    /// The archive or its folder. Default "": the environment variable `INNERLOOP_DATA`, or `./data`.
    pub data: String,
}

/// Keys of `[tasks]` that go with `family = "mini_imagenet"`.
#[derive(Clone, Debug, PartialEq)]
pub struct MiniImagenetConfig {
    /// Folder or zip archive of the images and their lists. Default "": the environment variable `INNERLOOP_DATA`, or
    /// `./data`.
    pub data: String,
    /// Side to resize to. Default 84.
    pub size: usize,
}

/// Keys of `[tasks]` that go with `family = "images"`.
#[derive(Clone, Debug, PartialEq)]
pub struct ImagesConfig {
    /// A folder, or a zip archive, with one folder of images per class. Required.
    pub data: String,
    /// Side to resize to; images that are not square are cropped to the centre. Default 0: all images already have
    /// the same size.
    pub size: usize,
    /// 1 for grey, 3 for colour. Default 0: all images already have the same number.
    pub channels: usize,
    /// CSV file with the columns `class` and `split`. Default "": the folders `train`, `val` and `test`, or shares
    /// if there are none.
    pub split_file: String,
    /// How classes are split if neither folders nor a file determine it.
    pub shares: SharesConfig,
}

/// Keys of `[tasks]` that go with `family = "curves"`.
#[derive(Clone, Debug, PartialEq)]
pub struct CurvesConfig {
    /// Folder of the file. Default "": the environment variable `INNERLOOP_DATA`, or `./data`.
    pub data: String,
    /// The CSV file, plain or `.gz`: a path relative to the folder, or an absolute one. Required.
    pub file: String,
    /// Default `long`.
    pub layout: Layout,
    /// With `long`: columns that together name the task. Default ["task"].
    pub task_columns: Vec<String>,
    /// With `long` and `wide`: columns of the input. Default ["x"].
    pub x_columns: Vec<String>,
    /// With `long`: columns of the target. Default ["y"].
    pub y_columns: Vec<String>,
    /// Standardise inputs and targets to mean 0 and standard deviation 1 over the training tasks. Default true.
    pub standardise: bool,
    /// How tasks are split.
    pub shares: SharesConfig,
}

/// Keys of `[tasks]` that split classes, or tasks, at random.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SharesConfig {
    /// `train_share`: 0 to 1. Default 0.64.
    pub train: f64,
    /// `validation_share`: 0 to 1; the remainder is the test share. Default 0.16.
    pub validation: f64,
    /// `split_seed`: seed of the split, independent of the run's seed. Default 1.
    pub seed: u64,
}

/// Keys of `[tasks]` that go with `family = "omniglot"`.
#[derive(Clone, Debug, PartialEq)]
pub struct OmniglotConfig {
    /// Folder of the data set. Default "": the environment variable `INNERLOOP_DATA`, or `./data`.
    pub data: String,
    /// `vinyals` (default), `finn` or `lake`.
    pub split: OmniglotSplit,
    /// Which splits get classes of rotated characters as well: `none`, `train` (default) or `all`.
    pub rotations: Rotations,
    /// White strokes on black, as in most implementations; the files are black on white. Default true.
    pub invert: bool,
}

/// Keys that apply only to some families.
const OWNED: &[(&str, &[FamilyName])] = {
    use FamilyName::*;
    const MULTI_MNIST: &[FamilyName] = &[DoubleMnist, TripleMnist];
    const DIVIDED: &[FamilyName] = &[Images, Curves];
    &[
        (
            "tasks.data",
            &[Omniglot, DoubleMnist, TripleMnist, CifarFs, Fc100, MiniImagenet, Images, Curves],
        ),
        ("tasks.split", &[Omniglot]),
        ("tasks.rotations", &[Omniglot]),
        ("tasks.invert", &[Omniglot]),
        ("tasks.size", &[DoubleMnist, TripleMnist, MiniImagenet, Images]),
        ("tasks.channels", &[Images]),
        ("tasks.images_seed", MULTI_MNIST),
        ("tasks.split_file", &[Images]),
        ("tasks.train_share", DIVIDED),
        ("tasks.validation_share", DIVIDED),
        ("tasks.split_seed", DIVIDED),
        ("tasks.file", &[Curves]),
        ("tasks.layout", &[Curves]),
        ("tasks.task_columns", &[Curves]),
        ("tasks.x_columns", &[Curves]),
        ("tasks.y_columns", &[Curves]),
        ("tasks.standardise", &[Curves]),
        ("tasks.noise", &[SineLine]),
        (
            "tasks.augment",
            &[Omniglot, DoubleMnist, TripleMnist, CifarFs, Fc100, MiniImagenet, Images],
        ),
    ]
};

impl FamilyName {
    pub(super) fn is_regression(self) -> bool {
        matches!(self, FamilyName::Sinusoid | FamilyName::SineLine | FamilyName::Curves)
    }

    pub(super) fn inapplicable_keys(self) -> Inapplicable {
        let foreign = OWNED.iter().filter(|(_, owners)| !owners.contains(&self));
        let mut inapplicable: Inapplicable = foreign
            .map(|(key, owners)| {
                let owners: Vec<&str> = owners.iter().map(|owner| owner.name()).collect();
                (*key, format!("only {} tasks have it", owners.join(", ")))
            })
            .collect();
        if self.is_regression() {
            inapplicable.push(("tasks.ways", format!("{self} tasks have no classes")));
        }
        inapplicable
    }
}

pub(super) fn family(at: &Layers, file: &TasksFile, name: FamilyName) -> Result<Family> {
    let data = file.data.clone().unwrap_or_default();
    Ok(match name {
        FamilyName::Strokes => Family::Strokes,
        FamilyName::Sinusoid => Family::Sinusoid,
        FamilyName::SineLine => {
            Family::SineLine { noise: at.not_negative("tasks.noise", file.noise.unwrap_or(0.3))? }
        }
        FamilyName::Omniglot => Family::Omniglot(OmniglotConfig {
            data,
            split: file.split.unwrap_or(OmniglotSplit::Vinyals),
            rotations: file.rotations.unwrap_or(Rotations::Train),
            invert: file.invert.unwrap_or(true),
        }),
        FamilyName::DoubleMnist => Family::DoubleMnist(multi_mnist(at, file, data, 64)?),
        FamilyName::TripleMnist => Family::TripleMnist(multi_mnist(at, file, data, 84)?),
        FamilyName::CifarFs => Family::CifarFs(CifarConfig { data }),
        FamilyName::Fc100 => Family::Fc100(CifarConfig { data }),
        FamilyName::MiniImagenet => Family::MiniImagenet(MiniImagenetConfig {
            data,
            size: at.count("tasks.size", file.size.unwrap_or(84), 8..=1024)?,
        }),
        FamilyName::Images => Family::Images(ImagesConfig {
            data,
            size: at.count("tasks.size", file.size.unwrap_or(0), 0..=1024)?,
            channels: match file.channels.unwrap_or(0) {
                channels @ (0 | 1 | 3) => channels,
                other => {
                    let expected = "1 for grey, 3 for colour, or 0 for what the files have";
                    return Err(at.bad("tasks.channels", other, expected));
                }
            },
            split_file: file.split_file.clone().unwrap_or_default(),
            shares: shares(at, file)?,
        }),
        FamilyName::Curves => Family::Curves(curves(at, file, data)?),
    })
}

fn multi_mnist(
    at: &Layers,
    file: &TasksFile,
    data: String,
    canvas: usize,
) -> Result<MultiMnistConfig> {
    Ok(MultiMnistConfig {
        data,
        size: at.count("tasks.size", file.size.unwrap_or(canvas), 8..=canvas)?,
        images_seed: file.images_seed.map_or(123, |seed| seed as u64),
    })
}

fn shares(at: &Layers, file: &TasksFile) -> Result<SharesConfig> {
    let (train, validation) =
        (file.train_share.unwrap_or(0.64), file.validation_share.unwrap_or(0.16));
    for (key, share) in [("tasks.train_share", train), ("tasks.validation_share", validation)] {
        at.not_negative(key, share)?;
    }
    if train + validation > 1.0 {
        let source = at.either("tasks.train_share", "tasks.validation_share");
        let key = "tasks.train_share + tasks.validation_share";
        return Err(bounds::bad(
            source,
            key,
            train + validation,
            "at most 1; the remainder is the test share",
        ));
    }
    Ok(SharesConfig { train, validation, seed: file.split_seed.map_or(1, |seed| seed as u64) })
}

fn curves(at: &Layers, file: &TasksFile, data: String) -> Result<CurvesConfig> {
    let layout = file.layout.unwrap_or(Layout::Long);
    let unused: &[&str] = match layout {
        Layout::Long => &[],
        Layout::Wide => &["tasks.task_columns", "tasks.y_columns"],
        Layout::Grid => &["tasks.task_columns", "tasks.x_columns", "tasks.y_columns"],
    };
    let why = format!("the layout \"{layout}\" derives it from the column names");
    at.refuse(&unused.iter().map(|&key| (key, why.clone())).collect())?;
    let columns = |key: &'static str, found: &Option<Vec<String>>, default: &str| {
        let columns = match found {
            _ if unused.contains(&key) => return Ok(Vec::new()),
            Some(columns) => columns.clone(),
            None => vec![default.to_string()],
        };
        if columns.is_empty() {
            return Err(at.bad(key, "[]", "the name of a column, or several"));
        }
        Ok(columns)
    };
    let x_columns = columns("tasks.x_columns", &file.x_columns, "x")?;
    let y_columns = columns("tasks.y_columns", &file.y_columns, "y")?;
    if let Some(both) = y_columns.iter().find(|&column| x_columns.contains(column)) {
        let expected = "columns that are not among tasks.x_columns: a target that is an input needs no learning";
        return Err(at.bad("tasks.y_columns", format!("a list with \"{both}\""), expected));
    }
    Ok(CurvesConfig {
        data,
        file: file.file.clone().unwrap_or_default(),
        layout,
        task_columns: columns("tasks.task_columns", &file.task_columns, "task")?,
        x_columns,
        y_columns,
        standardise: file.standardise.unwrap_or(true),
        shares: shares(at, file)?,
    })
}

/// Writes the keys from which [`family`] builds this family.
pub(super) fn write(family: &Family, file: &mut TasksFile) {
    let name = match family {
        Family::Strokes => FamilyName::Strokes,
        Family::Sinusoid => FamilyName::Sinusoid,
        Family::SineLine { noise } => {
            file.noise = Some(*noise);
            FamilyName::SineLine
        }
        Family::Omniglot(omniglot) => {
            let OmniglotConfig { data, split, rotations, invert } = omniglot.clone();
            file.data = Some(data);
            file.split = Some(split);
            file.rotations = Some(rotations);
            file.invert = Some(invert);
            FamilyName::Omniglot
        }
        Family::DoubleMnist(set) | Family::TripleMnist(set) => {
            file.data = Some(set.data.clone());
            file.size = Some(set.size);
            file.images_seed = Some(set.images_seed as usize);
            match family {
                Family::DoubleMnist(_) => FamilyName::DoubleMnist,
                _ => FamilyName::TripleMnist,
            }
        }
        Family::CifarFs(set) => {
            file.data = Some(set.data.clone());
            FamilyName::CifarFs
        }
        Family::Fc100(set) => {
            file.data = Some(set.data.clone());
            FamilyName::Fc100
        }
        Family::MiniImagenet(set) => {
            file.data = Some(set.data.clone());
            file.size = Some(set.size);
            FamilyName::MiniImagenet
        }
        Family::Images(set) => {
            let ImagesConfig { data, size, channels, split_file, shares } = set.clone();
            file.data = Some(data);
            file.size = Some(size);
            file.channels = Some(channels);
            file.split_file = Some(split_file);
            write_shares(shares, file);
            FamilyName::Images
        }
        Family::Curves(set) => {
            let set = set.clone();
            let some = |columns: Vec<String>| (!columns.is_empty()).then_some(columns);
            file.data = Some(set.data);
            file.file = Some(set.file);
            file.layout = Some(set.layout);
            file.task_columns = some(set.task_columns);
            file.x_columns = some(set.x_columns);
            file.y_columns = some(set.y_columns);
            file.standardise = Some(set.standardise);
            write_shares(set.shares, file);
            FamilyName::Curves
        }
    };
    file.family = Some(name);
}

fn write_shares(shares: SharesConfig, file: &mut TasksFile) {
    file.train_share = Some(shares.train);
    file.validation_share = Some(shares.validation);
    file.split_seed = Some(shares.seed as usize);
}
