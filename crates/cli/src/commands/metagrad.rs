//! `innerloop metagrad`

use std::path::PathBuf;

use clap::Args;
use innerloop::lab::{Config, metagrad};

use super::{Precision, verify::StrategyName};

#[derive(Args)]
pub(crate) struct Metagrad {
    /// A preset name or a path to a .toml file
    #[arg(long)]
    config: String,
    /// Weights: safetensors in PyTorch's layouts under the parameters' names, or a run's checkpoint
    #[arg(long)]
    weights: PathBuf,
    /// Episode: safetensors with support_x, support_y, query_x, query_y; images [n, c, h, w]
    #[arg(long)]
    episode: PathBuf,
    /// File to write the meta-gradient and the losses to
    #[arg(long)]
    out: PathBuf,
    /// Precision to compute in
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Precision,
    /// How second derivatives are computed [default: as configured]
    #[arg(long, value_enum)]
    strategy: Option<StrategyName>,
    /// Overrides one setting, such as algorithm.inner_lr=0.1; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

impl Metagrad {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut sets = self.sets;
        if let Some(strategy) = self.strategy {
            sets.push(format!("algorithm.strategy={}", strategy.name()));
        }
        let config = Config::load(&self.config, &sets)?;
        let dtype = self.dtype.into();
        let result = metagrad(config, (&self.weights, &self.episode), dtype, &self.out)?;
        for (k, loss) in result.support_losses.iter().enumerate() {
            say!("support loss after {k} steps  {loss:.6}");
        }
        if result.query_loss.is_finite() {
            say!("query loss                  {:.6}", result.query_loss);
        }
        say!("norm of the meta-gradient   {:.6e}", result.norm);
        say!("written to {}", self.out.display());
        Ok(())
    }
}
