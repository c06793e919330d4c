//! The keys that go with each family of tasks: what is legal, and what is written.

use super::file::*;
use super::layers::Layers;
use super::valid::Strangers;
use super::*;
use crate::Result;

/// Keys that only some families have.
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
    pub(super) fn strangers(self) -> Strangers {
        use FamilyName::*;
        let foreign = OWNED.iter().filter(|(_, owners)| !owners.contains(&self));
        let mut strangers: Strangers = foreign
            .map(|(key, owners)| {
                let owners: Vec<&str> = owners.iter().map(|owner| owner.name()).collect();
                (*key, format!("only {} tasks have it", owners.join(", ")))
            })
            .collect();
        if matches!(self, Sinusoid | SineLine | Curves) {
            strangers.push(("tasks.ways", format!("{self} tasks have no classes")));
        }
        strangers
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
            split: file.split.unwrap_or(Split::Vinyals),
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
        return Err(valid::bad(source, key, train + validation, "at most 1; the rest is for test"));
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
    let why = format!("the layout \"{layout}\" takes it from the names of the columns");
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
    Ok(CurvesConfig {
        data,
        file: file.file.clone().unwrap_or_default(),
        layout,
        task_columns: columns("tasks.task_columns", &file.task_columns, "task")?,
        x_columns: columns("tasks.x_columns", &file.x_columns, "x")?,
        y_columns: columns("tasks.y_columns", &file.y_columns, "y")?,
        standardise: file.standardise.unwrap_or(true),
        shares: shares(at, file)?,
    })
}

/// The keys that [`family`] turns into this family.
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
