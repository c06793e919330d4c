//! The environment that a configuration names.

use std::path::PathBuf;

use innerloop_rl::{Locomotion, MakeEnvironment, Navigation2d, Robot, Target};

use crate::config::RlConfig;
use crate::config::rl::Environment;
use crate::data::data_folder;
use crate::{Error, Result};

/// Name of the environment variable with MuJoCo's library, or the folder that holds it.
const LIBRARY_VARIABLE: &str = "INNERLOOP_MUJOCO";
/// Name of the environment variable with the folder of MuJoCo's models.
const MODELS_VARIABLE: &str = "INNERLOOP_MUJOCO_MODELS";

impl Environment {
    /// The name in reports.
    pub fn title(self) -> &'static str {
        match self {
            Environment::Nav2d => "2D navigation",
            Environment::HalfCheetahDir => "HalfCheetah's direction",
            Environment::HalfCheetahVel => "HalfCheetah's speed",
            Environment::AntDir => "Ant's direction",
            Environment::AntVel => "Ant's speed",
        }
    }
}

/// Makes the environments of a run.
pub(super) fn environments(config: &RlConfig) -> Result<MakeEnvironment> {
    let observation = config.rl.observation;
    let (robot, target) = match config.rl.environment {
        Environment::Nav2d => {
            return Ok(Box::new(move || Box::new(Navigation2d::new(observation))));
        }
        Environment::HalfCheetahDir => (Robot::HalfCheetah, Target::Direction),
        Environment::HalfCheetahVel => (Robot::HalfCheetah, Target::Velocity),
        Environment::AntDir => (Robot::Ant, Target::Direction),
        Environment::AntVel => (Robot::Ant, Target::Velocity),
    };
    let in_folder = || {
        let folder = std::env::var_os(MODELS_VARIABLE);
        folder.map_or_else(|| data_folder("").join("mujoco"), PathBuf::from).join(robot.file())
    };
    let model = config.rl.model.clone().unwrap_or_else(in_folder);
    let library = std::env::var_os(LIBRARY_VARIABLE).map(PathBuf::from);
    Locomotion { robot, target, observation }.load(library.as_deref(), &model).map_err(Error::data)
}
