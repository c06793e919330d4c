//! A case file: a network, tasks, and another framework's results.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use innerloop_engine::{Dtype, Params, Tensor};
use innerloop_nn::{Activation, BatchNorm, Conv4, Downsampling, Head, Init, Mlp, Model, ParamSpec};
use innerloop_tasks::{EpisodeSpec, Target};

use crate::checkpoint::tensors;
use crate::few_shot::{FewShot, Phase, Readout};
use crate::{Error, Result};

/// A case, checked and in innerloop's layouts.
pub(super) struct Case {
    pub(super) metadata: BTreeMap<String, String>,
    /// All arrays as stored in the file, and in `*_extra.safetensors` beside it.
    pub(super) arrays: Params<Tensor>,
    net: Net,
    /// Parameter names of the file in the order of `lr_grad`'s last axis.
    pub(super) param_order: Vec<String>,
    pub(super) batch: usize,
    pub(super) steps: usize,
    pub(super) lr: f64,
    pub(super) spec: EpisodeSpec,
    /// Per task: support inputs and targets, query inputs and targets.
    pub(super) tasks: Vec<[Tensor; 4]>,
    /// θ under innerloop's names.
    pub(super) theta: Params<Tensor>,
}

enum Net {
    Conv4 { image: [usize; 3], filters: usize, eps: f64 },
    Mlp { sizes: Vec<usize> },
}

/// Metadata of the file, with errors that name it.
struct Reader<'a> {
    file: &'a Path,
    metadata: &'a BTreeMap<String, String>,
}

impl Reader<'_> {
    fn bad(&self, what: String) -> Error {
        Error::checkpoint(format!("{}: {what}", self.file.display()))
    }

    fn text(&self, key: &str) -> Result<&str> {
        self.metadata.get(key).map(String::as_str).ok_or_else(|| {
            self.bad(format!(
                "metadata has no {key:?}; see docs/verify.md for the format of a case file"
            ))
        })
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> Result<T> {
        let text = self.text(key)?;
        text.parse()
            .map_err(|_| self.bad(format!("metadata {key:?} is {text:?}, expected a number")))
    }

    fn count(&self, key: &str) -> Result<usize> {
        let count: usize = self.number(key)?;
        if (1..=1 << 20).contains(&count) {
            Ok(count)
        } else {
            Err(self.bad(format!("metadata {key:?} is {count}, expected 1 to 1048576")))
        }
    }

    fn list(&self, key: &str) -> Result<Vec<usize>> {
        let text = self.text(key)?;
        let items =
            text.trim().trim_start_matches(['[', '(']).trim_end_matches([']', ')']).split(',');
        items
            .map(|item| item.trim().parse().ok().filter(|&n| n > 0))
            .collect::<Option<_>>()
            .ok_or_else(|| {
                self.bad(format!(
                    "metadata {key:?} is {text:?}, expected sizes such as [1, 40, 40, 1]"
                ))
            })
    }
}

impl Case {
    pub(super) fn read(file: &Path) -> Result<Case> {
        let (mut arrays, metadata) = tensors::read(file)?;
        if let Some(extra) = extra_file(file).filter(|extra| extra.exists()) {
            for (name, value) in tensors::read(&extra)?.0.iter() {
                if arrays.get(name).is_none() {
                    arrays.push(name, value.clone());
                }
            }
        }
        let reader = Reader { file, metadata: &metadata };
        let array = |name: &str| {
            arrays.get(name).ok_or_else(|| reader.bad(format!("array {name:?} is missing")))
        };
        let batch = reader.count("batch")?;
        let steps = reader.number::<usize>("steps")?;
        let lr: f64 = reader.number("lr")?;
        if !lr.is_finite() || steps > 100_000 {
            return Err(reader.bad(format!(
                "lr is {lr} and steps is {steps}, expected finite and at most 100000"
            )));
        }
        let classes = match reader.text("loss")? {
            "cross_entropy" => true,
            "mse" => false,
            other => {
                return Err(
                    reader.bad(format!("loss is {other:?}, expected \"cross_entropy\" or \"mse\""))
                );
            }
        };
        let net = match reader.text("net")? {
            "conv4" => {
                let size = reader.count("size")?;
                if size < 16 {
                    return Err(
                        reader.bad(format!("size is {size}, conv4 halves four times and needs 16"))
                    );
                }
                let image = [size, size, reader.count("ch")?];
                let eps =
                    if metadata.contains_key("bn_eps") { reader.number("bn_eps")? } else { 1e-5 };
                Net::Conv4 { image, filters: reader.count("filters")?, eps }
            }
            "mlp" => Net::Mlp { sizes: reader.list("sizes")? },
            other => {
                return Err(reader.bad(format!("net is {other:?}, expected \"conv4\" or \"mlp\"")));
            }
        };
        // The arrays tell how many examples a task has; metadata counts them per class or in total.
        let xs = array("xs")?;
        let xq = array("xq")?;
        let rank = match net {
            Net::Conv4 { .. } => 5,
            Net::Mlp { .. } => 3,
        };
        for (name, x) in [("xs", xs), ("xq", xq)] {
            if x.shape().len() != rank || x.shape()[0] != batch || x.is_empty() {
                return Err(reader.bad(format!(
                    "{name} has shape {:?}, expected {rank} axes, the first {batch} (metadata \"batch\"), none empty",
                    x.shape()
                )));
            }
        }
        let (support, query) = (xs.shape()[1], xq.shape()[1]);
        let outputs = match &net {
            Net::Conv4 { .. } => reader.count("ways")?,
            Net::Mlp { sizes } => *sizes.last().unwrap_or(&0),
        };
        let x = match &net {
            Net::Conv4 { image, .. } => image.to_vec(),
            Net::Mlp { sizes } => vec![sizes[0]],
        };
        if let Net::Mlp { sizes } = &net
            && sizes.len() < 2
        {
            return Err(
                reader.bad(format!("sizes is {sizes:?}, expected at least input and output"))
            );
        }
        if classes && metadata.contains_key("ways") && reader.count("ways")? != outputs {
            return Err(reader.bad(format!(
                "metadata \"ways\" is {:?}, expected {outputs}, the outputs of the network",
                metadata["ways"]
            )));
        }
        let target = if classes { Target::Classes(outputs) } else { Target::Values(outputs) };
        let spec = EpisodeSpec { x, target, support, query };
        let specs = net.model(outputs);
        let specs = specs.parameters();
        let file_names: Vec<String> = specs.iter().map(|spec| net.file_name(&spec.name)).collect();
        let param_order = match metadata.get("param_order") {
            Some(order) => order.split(',').map(|name| name.trim().to_string()).collect(),
            None => file_names.clone(),
        };
        let same = |a: &[String], b: &[String]| {
            let (mut a, mut b) = (a.to_vec(), b.to_vec());
            a.sort();
            b.sort();
            a == b
        };
        if !same(&param_order, &file_names) {
            return Err(reader.bad(format!(
                "param_order is {param_order:?}, expected the parameters of the network: {file_names:?}"
            )));
        }
        let mut theta = Params::new();
        for (spec, name) in specs.iter().zip(&file_names) {
            let value = array(&format!("param.{name}"))?;
            if value.shape() != spec.torch_shape() {
                return Err(reader.bad(format!(
                    "param.{name} has shape {:?}, expected {:?}",
                    value.shape(),
                    spec.torch_shape()
                )));
            }
            if !value.is_finite() {
                return Err(reader.bad(format!("param.{name} holds a number that is not finite")));
            }
            // A case with an incomplete answer would pass without having been checked.
            array(&format!("f64.meta_grad.{name}"))?;
            theta.push(spec.name.clone(), spec.from_torch(&value.cast(Dtype::F64)));
        }
        let shapes = spec.shapes();
        let mut tasks = Vec::new();
        for b in 0..batch {
            let names = ["xs", "ys", "xq", "yq"];
            let mut parts = Vec::new();
            for (name, shape) in names.iter().zip(&shapes) {
                parts.push(reader.entry(name, array(name)?, b, batch, shape, target)?);
            }
            tasks.push(parts.try_into().expect("four parts"));
        }
        Ok(Case {
            arrays,
            net,
            param_order,
            batch,
            steps,
            lr,
            spec,
            tasks,
            theta,
            metadata: metadata.clone(),
        })
    }

    /// The problem of the case.
    pub(super) fn problem(&self) -> FewShot {
        FewShot {
            model: self.net.model(self.spec.outputs()),
            spec: self.spec.clone(),
            batch_norm: BatchNorm::Transductive,
            momentum: 0.1,
            phase: Phase::Train,
            steps: self.steps,
            readout: Readout::Output,
            views: false,
        }
    }

    /// Specifications of the parameters with their names in the file.
    pub(super) fn parameters(&self) -> Vec<(ParamSpec, String)> {
        let model = self.net.model(self.spec.outputs());
        let named = |spec: &ParamSpec| (spec.clone(), self.net.file_name(&spec.name));
        model.parameters().iter().map(named).collect()
    }
}

impl Reader<'_> {
    /// One task's part of an array, with images converted to `[n, h, w, c]` and labels checked.
    fn entry(
        &self,
        name: &str,
        array: &Tensor,
        b: usize,
        batch: usize,
        shape: &[usize],
        target: Target,
    ) -> Result<Tensor> {
        let expected: Vec<usize> = match *shape {
            [n, h, w, c] => vec![batch, n, c, h, w],
            _ => [&[batch], shape].concat(),
        };
        if array.shape() != expected {
            return Err(
                self.bad(format!("{name} has shape {:?}, expected {expected:?}", array.shape()))
            );
        }
        let n: usize = shape.iter().product();
        let values: Vec<f64> = (b * n..(b + 1) * n).map(|i| array.get(i)).collect();
        if let Some(i) = values.iter().position(|x| !x.is_finite()) {
            return Err(self.bad(format!(
                "{name} of task {b} holds {} at {i}, expected finite numbers",
                values[i]
            )));
        }
        if let (Target::Classes(ways), true) = (target, shape.len() == 1)
            && let Some(&y) =
                values.iter().find(|&&y| y < 0.0 || y >= ways as f64 || y.fract() != 0.0)
        {
            return Err(
                self.bad(format!("{name} of task {b} holds label {y}, expected 0 to {}", ways - 1))
            );
        }
        Ok(match *shape {
            [n, h, w, c] => Tensor::from_f64(&[n, c, h, w], values).permuted(&[0, 2, 3, 1]),
            _ => Tensor::from_f64(shape, values),
        })
    }
}

impl Net {
    fn model(&self, outputs: usize) -> Box<dyn Model> {
        match self {
            Net::Conv4 { image, filters, eps } => {
                let shape = (Downsampling::MaxPool, Head::Flatten);
                Box::new(Conv4::new(*image, *filters, outputs, shape, (Init::Constant(0.0), *eps)))
            }
            Net::Mlp { sizes } => Box::new(Mlp::new(sizes, Activation::Relu, Init::Constant(0.0))),
        }
    }

    /// The file's name of a parameter: `conv1.weight`, `bn1.bias`, `head.weight`, `fc1.weight`.
    fn file_name(&self, name: &str) -> String {
        let (layer, kind) = name.rsplit_once('.').expect("parameters are named layer.kind");
        let mut parts = layer.split('.');
        let index = match (parts.next(), parts.next()) {
            (Some("features"), Some(i)) => i.parse::<usize>().expect("features are numbered") + 1,
            _ => 0,
        };
        match (self, parts.next()) {
            (Net::Conv4 { .. }, Some("conv")) => format!("conv{index}.{kind}"),
            (Net::Conv4 { .. }, Some(_)) => format!("bn{index}.{kind}"),
            (Net::Conv4 { .. }, None) => name.to_string(),
            (Net::Mlp { sizes }, _) => {
                let index = if layer == "head" { sizes.len() - 1 } else { index };
                format!("fc{index}.{kind}")
            }
        }
    }
}

/// `NAME_extra.safetensors` for `NAME.safetensors`.
fn extra_file(file: &Path) -> Option<PathBuf> {
    let stem = file.file_stem()?.to_str()?;
    Some(file.with_file_name(format!("{stem}_extra.safetensors")))
}
