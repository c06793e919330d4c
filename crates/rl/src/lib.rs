//! Meta-reinforcement learning: environments, a sampler, and policies that adapt in a few gradient steps.
//!
//! An [`Environment`] is a family of control tasks; [`MetaRl`] trains the initial parameters of a [`Policy`] so
//! that one policy-gradient step on twenty trajectories adapts it to a task of the family.
//!
//! | file | what is there |
//! |---|---|
//! | `environment.rs`, `navigation.rs` | the trait, in the Gymnasium convention, and the tasks |
//! | `locomotion/` | running robots in MuJoCo, which is loaded if it is installed |
//! | `policy.rs` | the Gaussian policy |
//! | `sampler.rs` | trajectories of a task, all advanced one step at a time |
//! | `baseline.rs`, `batch.rs` | returns, linear baseline, advantages |
//! | `programs.rs` | all derivatives, compiled |
//! | `method.rs`, `adaptation.rs` | the inner loop, and products with its derivative |
//! | `trpo.rs`, `trainer.rs` | the outer loop |
//! | `es_maml.rs` | evolution instead of gradients |
//! | `picture.rs` | navigation paths as SVG |

mod adaptation;
mod baseline;
mod batch;
mod crew;
mod environment;
mod es_maml;
mod locomotion;
mod method;
mod navigation;
pub mod picture;
mod policy;
mod programs;
mod sampler;
mod trainer;
mod trpo;

pub use baseline::LinearBaseline;
pub use batch::{Advantage, Batch};
pub use environment::{Environment, MakeEnvironment, Space, Step};
pub use es_maml::{EsMaml, EsReport, EsTrainer};
pub use locomotion::{Locomotion, Robot, Target};
pub use method::{InnerLoop, Method};
pub use navigation::{Navigation2d, Observation};
pub use policy::{Gaussian, LOG_STD, Policy};
pub use sampler::{Rollouts, Trajectory};
pub use trainer::{Diverged, MetaRl, Outer, Report, Settings, Trust};
pub use trpo::{Trpo, TrpoStep, conjugate_gradients};

#[cfg(test)]
mod tests;
