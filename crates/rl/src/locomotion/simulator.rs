//! A robot in MuJoCo.

use std::path::Path;
use std::sync::Arc;

use innerloop_engine::Key;
use mujoco_rs::wrappers::{MjData, MjModel};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};

use super::{HORIZON, Locomotion, Robot};
use crate::{Environment, Sight, Space, Step};

/// Steps of the simulation in one of the environment.
const FRAMES: usize = 5;
/// Reach of the uniform noise on initial positions, deviation of the normal one on velocities.
const NOISE: f64 = 0.1;

/// A robot at one task, in one episode.
pub(super) struct Runner {
    family: Locomotion,
    model: Arc<MjModel>,
    data: MjData<Arc<MjModel>>,
    target: f64,
    steps: usize,
}

impl Runner {
    /// With the model in a file.
    pub(super) fn new(family: Locomotion, file: &Path) -> Result<Runner, String> {
        if !file.is_file() {
            return Err(format!(
                "{} is not there, expected Gymnasium's {}; name the file in rl.model, or its folder in the environment \
                 variable INNERLOOP_MUJOCO_MODELS: `pip install gymnasium` puts it in gymnasium/envs/mujoco/assets",
                file.display(),
                family.robot.file()
            ));
        }
        let model = MjModel::from_xml(file)
            .map_err(|cause| format!("{}: MuJoCo cannot read it: {cause}", file.display()))?;
        let runner = Runner::with(family, Arc::new(model));
        let data = &runner.data;
        let found = [data.qpos().len(), data.qvel().len(), data.ctrl().len(), data.xpos().len()];
        if found != family.robot.sizes() {
            return Err(format!(
                "{}: positions, velocities, actuators and bodies are {found:?}, expected {:?} as in Gymnasium's {}",
                file.display(),
                family.robot.sizes(),
                family.robot.file()
            ));
        }
        Ok(runner)
    }

    /// With a model that [`Runner::new`] has found good.
    pub(super) fn with(family: Locomotion, model: Arc<MjModel>) -> Runner {
        Runner { family, data: MjData::new(model.clone()), model, target: 0.0, steps: 0 }
    }

    pub(super) fn model(&self) -> Arc<MjModel> {
        self.model.clone()
    }

    /// Starts an episode in a state, and writes its observation.
    pub(super) fn start(&mut self, qpos: &[f64], qvel: &[f64], observation: &mut [f64]) {
        self.data.reset();
        self.data.qpos_mut().copy_from_slice(qpos);
        self.data.qvel_mut().copy_from_slice(qvel);
        self.data.forward();
        self.steps = 0;
        self.observe(observation);
    }

    /// Where the robot is along x.
    fn place(&self) -> f64 {
        match self.family.robot {
            Robot::HalfCheetah => self.data.qpos()[0],
            // The torso's frame as the last frame of the simulation began.
            Robot::Ant => self.data.xpos()[1][0],
        }
    }

    /// Forces on a body, clipped to ±1.
    fn contact(&self) -> impl Iterator<Item = f64> {
        self.data.cfrc_ext().iter().flatten().map(|force| force.clamp(-1.0, 1.0))
    }

    fn observe(&self, observation: &mut [f64]) {
        let hidden = match self.family.robot {
            Robot::HalfCheetah => 1,
            Robot::Ant => 2,
        };
        let state = self.data.qpos()[hidden..].iter().chain(self.data.qvel()).copied();
        // Places last: a zip whose first iterator ends takes nothing from the second.
        let mut places = observation.iter_mut();
        state.zip(places.by_ref()).for_each(|(value, place)| *place = value);
        if self.family.robot == Robot::Ant {
            // The world's own six are always zero.
            self.contact().skip(6).zip(places.by_ref()).for_each(|(value, place)| *place = value);
        }
        if self.family.sight == Sight::Goal {
            places.for_each(|place| *place = self.target);
        }
    }

    /// Whether Ant stands.
    fn healthy(&self) -> bool {
        let mut state = self.data.qpos().iter().chain(self.data.qvel());
        state.all(|value| value.is_finite()) && (0.2..=1.0).contains(&self.data.qpos()[2])
    }
}

impl Environment for Runner {
    fn observation_space(&self) -> Space {
        let seen = match self.family.robot {
            Robot::HalfCheetah => 17,
            Robot::Ant => 105,
        };
        let goal = usize::from(self.family.sight == Sight::Goal);
        Space::uniform(seen + goal, f64::NEG_INFINITY, f64::INFINITY)
    }

    fn action_space(&self) -> Space {
        Space::uniform(self.data.ctrl().len(), -1.0, 1.0)
    }

    fn horizon(&self) -> usize {
        HORIZON
    }

    fn set_task(&mut self, key: Key) {
        self.target = self.family.target_of(key);
    }

    fn reset(&mut self, key: Key, observation: &mut [f64]) {
        let mut rng = key.with_stream("start").rng();
        self.data.reset();
        let uniform = |start: &f64| start + NOISE * (2.0 * rng.random::<f64>() - 1.0);
        let qpos: Vec<f64> = self.data.qpos().iter().map(uniform).collect();
        let normal = |start: &f64| {
            let z: f64 = StandardNormal.sample(&mut rng);
            start + NOISE * z
        };
        let qvel: Vec<f64> = self.data.qvel().iter().map(normal).collect();
        self.start(&qpos, &qvel, observation);
    }

    fn step(&mut self, action: &[f64], observation: &mut [f64]) -> Step {
        let before = self.place();
        for (ctrl, action) in self.data.ctrl_mut().iter_mut().zip(action) {
            *ctrl = action.clamp(-1.0, 1.0);
        }
        for _ in 0..FRAMES {
            self.data.step();
        }
        // Contact forces are computed on demand alone.
        self.data.rne_post_constraint();
        self.steps += 1;
        let velocity = (self.place() - before) / (self.model.opt().timestep * FRAMES as f64);
        let square = |sum: f64, x: f64| sum + x * x;
        let squares =
            [self.data.ctrl().iter().copied().fold(0.0, square), self.contact().fold(0.0, square)];
        self.observe(observation);
        let terminated = self.family.robot == Robot::Ant && !self.healthy();
        Step {
            reward: self.family.reward(self.target, velocity, squares),
            terminated,
            truncated: !terminated && self.steps >= HORIZON,
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
