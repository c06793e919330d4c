//! `innerloop verify`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use innerloop::lab::{Error, verify};
use innerloop::meta::Strategy;

use super::Precision;

#[derive(Args)]
pub(crate) struct Verify {
    /// Case file: safetensors as described in docs/verify.md
    file: PathBuf,
    /// Precision to compute in
    #[arg(long, value_enum, default_value = "f64")]
    dtype: Precision,
    /// How second derivatives are computed [default: both strategies]
    #[arg(long, value_enum)]
    strategy: Option<StrategyName>,
    /// Write innerloop's own results to this file, under the case's names
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum StrategyName {
    Unrolled,
    Adjoint,
}

impl StrategyName {
    pub(crate) fn name(self) -> &'static str {
        match self {
            StrategyName::Unrolled => "unrolled",
            StrategyName::Adjoint => "adjoint",
        }
    }
}

impl Verify {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let strategies = match self.strategy {
            None => vec![Strategy::Unrolled, Strategy::Adjoint],
            Some(StrategyName::Unrolled) => vec![Strategy::Unrolled],
            Some(StrategyName::Adjoint) => vec![Strategy::Adjoint],
        };
        let results = verify(&self.file, self.dtype.into(), &strategies, self.out.as_deref())?;
        for result in &results {
            say!("{result}");
        }
        let failed = results.iter().find(|result| !result.passed());
        if let Some((result, worst)) = failed.and_then(|r| Some((r, r.worst()?))) {
            return Err(Error::mismatch(format!(
                "{} with strategy {}: relative error {:.2e}, expected at most {:.0e}",
                worst.name, result.strategy, worst.error, result.tolerance
            ))
            .into());
        }
        say!("verified");
        Ok(())
    }
}
