//! `innerloop bench`

use clap::Args;
use innerloop::lab::{Error, bench};
use serde_json::json;

/// Times whole meta-iterations on built-in workloads.
#[derive(Args)]
pub(crate) struct Bench {
    /// Names of workloads; W1 to W5 if none is given. `--list` shows them all
    #[arg(long = "workload", value_name = "NAME")]
    workloads: Vec<String>,
    /// Iterations to time [default: as many as suit the workload]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: Option<u32>,
    /// Threads; 0 for one per core
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Print a JSON line for each workload
    #[arg(long)]
    json: bool,
    /// Print the workloads and stop
    #[arg(long)]
    list: bool,
}

impl Bench {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let all = bench::workloads();
        if self.list {
            all.iter().for_each(|w| say!("{:<11} {}", w.name, w.about));
            return Ok(());
        }
        let chosen: Vec<_> = if self.workloads.is_empty() {
            let special = |w: &&bench::Workload| w.name.starts_with("W6") || w.name == "S1";
            all.iter().filter(|w| !special(w)).collect()
        } else {
            let find = |name: &String| {
                all.iter().find(|w| w.name == *name).ok_or_else(|| {
                    let names: Vec<_> = all.iter().map(|w| w.name.as_str()).collect();
                    Error::usage(format!(
                        "there is no workload {name:?}; expected one of {}",
                        names.join(", ")
                    ))
                })
            };
            self.workloads.iter().map(find).collect::<Result<_, _>>()?
        };
        if !self.json {
            say!(
                "{:<11} {:>10} {:>10} {:>10} {:>9} {:>8} {:>9} {:>8}",
                "workload",
                "median ms",
                "min ms",
                "max ms",
                "GFLOP/s",
                "of peak",
                "compile",
                "memory"
            );
        }
        let mut peak = None;
        for workload in chosen {
            let repetitions = self.repetitions.map_or(workload.repetitions, |n| n as usize);
            let timing = workload.run(repetitions, self.threads)?;
            // Only now, so that its memory does not count towards the workload's.
            let peak_gflops = match peak {
                Some(known) => known,
                None => *peak.insert(bench::product_peak(self.threads)?),
            };
            let [min, max] = [f64::min, f64::max].map(|pick| {
                timing.milliseconds.iter().copied().reduce(pick).expect("at least one iteration")
            });
            let median = timing.median();
            if self.json {
                let line = json!({
                    "workload": workload.name,
                    "ms": timing.milliseconds,
                    "median_ms": median,
                    "compile_ms": timing.compile_ms,
                    "gflop": timing.gflop,
                    "product_peak_gflops": peak_gflops,
                    "threads": timing.threads,
                    "peak_rss_kib": timing.peak_memory.map(|bytes| bytes >> 10),
                    "version": env!("CARGO_PKG_VERSION"),
                });
                say!("{line}");
            } else {
                let memory = timing.peak_memory.map_or("?".into(), |b| format!("{} MiB", b >> 20));
                let gflops = timing.gflop / median * 1e3;
                say!(
                    "{:<11} {median:>10.3} {min:>10.3} {max:>10.3} {gflops:>9.1} {:>6.0} % {:>6.0} ms {memory:>8}",
                    workload.name,
                    gflops / peak_gflops * 1e2,
                    timing.compile_ms
                );
            }
        }
        if let (false, Some(peak)) = (self.json, peak) {
            say!("peak: {peak:.0} GFLOP/s, in products of matrices that stay in the cache");
        }
        Ok(())
    }
}
