//! The `innerloop` command: the only place that prints, except for notes about an image cache that cannot be written
//! (`tasks/src/cache.rs`) and about images that miniImageNet's lists leave out.

mod commands;

use std::process::ExitCode;

use clap::Parser;

/// Gradient-based meta-learning: exact meta-gradients, fast and small.
#[derive(Parser)]
#[command(version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            let code = error.downcast_ref::<innerloop::lab::Error>().map_or(2, |e| e.exit_code());
            ExitCode::from(code)
        }
    }
}
