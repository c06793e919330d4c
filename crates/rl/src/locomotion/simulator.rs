//! A robot in MuJoCo.

use std::path::Path;
use std::sync::Arc;

use innerloop_engine::Key;
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};

use super::library::{Model, Mujoco, Part, Simulation};
use super::{ADVICE, HORIZON, Locomotion, Robot};
use crate::{Environment, Observation, Space, Step};

/// Simulation steps per environment step.
const FRAMES: usize = 5;
/// Half-width of the uniform noise on initial positions, and deviation of the normal noise on velocities.
const NOISE: f64 = 0.1;
/// Index of Ant's torso among the bodies.
const TORSO: usize = 1;

/// Loads a robot's model from `file`, with the library at `library`.
pub(super) fn model(
    robot: Robot,
    library: Option<&Path>,
    file: &Path,
) -> Result<Arc<Model>, String> {
    let name = robot.file();
    if !file.is_file() {
        return Err(format!(
            "{} is not there, expected Gymnasium's {name}, in rl.model or its folder in INNERLOOP_MUJOCO_MODELS; {ADVICE}",
            file.display(),
        ));
    }
    let model = Model::load(Mujoco::open(library)?, file)
        .map_err(|cause| format!("{}: MuJoCo cannot read it: {cause}", file.display()))?;
    let parts = [Part::Positions, Part::Velocities, Part::Controls].map(|part| model.len(part));
    let found = [parts[0], parts[1], parts[2], model.bodies()];
    if found != robot.sizes() {
        return Err(format!(
            "{}: positions, velocities, actuators and bodies are {found:?}, expected {:?} as in Gymnasium's {name}",
            file.display(),
            robot.sizes(),
        ));
    }
    Ok(Arc::new(model))
}

/// A robot at one task, in one episode.
pub(super) struct Runner {
    family: Locomotion,
    simulation: Simulation,
    /// Seconds per step of the environment.
    duration: f64,
    /// As read from the simulation.
    positions: Vec<f64>,
    velocities: Vec<f64>,
    controls: Vec<f64>,
    target: f64,
    steps: usize,
}

impl Runner {
    /// With a model that [`model`] has checked.
    pub(super) fn new(family: Locomotion, model: Arc<Model>) -> Runner {
        let zeros = |part| vec![0.0; model.len(part)];
        let (positions, velocities, controls) =
            (zeros(Part::Positions), zeros(Part::Velocities), zeros(Part::Controls));
        let mut simulation = Simulation::new(model);
        // Time starts at zero: after one step it equals the time step.
        simulation.step();
        let mut time = [0.0];
        simulation.read(Part::Time, &mut time);
        let duration = time[0] * FRAMES as f64;
        let (target, steps) = (0.0, 0);
        Runner { family, simulation, duration, positions, velocities, controls, target, steps }
    }

    /// Starts an episode in a state, and writes its observation.
    pub(super) fn start(&mut self, positions: &[f64], velocities: &[f64], observation: &mut [f64]) {
        self.simulation.reset();
        self.simulation.write(Part::Positions, positions);
        self.simulation.write(Part::Velocities, velocities);
        self.simulation.forward();
        self.steps = 0;
        self.read();
        self.observe(observation);
    }

    fn read(&mut self) {
        self.simulation.read(Part::Positions, &mut self.positions);
        self.simulation.read(Part::Velocities, &mut self.velocities);
    }

    /// The robot's position along x.
    fn place(&mut self) -> f64 {
        match self.family.robot {
            Robot::HalfCheetah => self.positions[0],
            // The position of the torso's frame when the simulation's last frame began.
            Robot::Ant => self.simulation.body_position(TORSO)[0],
        }
    }

    /// Forces on a body, clipped to ±1.
    fn contact(&self) -> impl Iterator<Item = f64> {
        self.simulation.contact_forces().iter().map(|force| force.clamp(-1.0, 1.0))
    }

    fn observe(&self, observation: &mut [f64]) {
        let hidden = match self.family.robot {
            Robot::HalfCheetah => 1,
            Robot::Ant => 2,
        };
        let state = self.positions[hidden..].iter().chain(&self.velocities).copied();
        // Places last: a zip whose first iterator ends takes no item from the second.
        let mut places = observation.iter_mut();
        state.zip(places.by_ref()).for_each(|(value, place)| *place = value);
        if self.family.robot == Robot::Ant {
            // The world's six values are always zero.
            self.contact().skip(6).zip(places.by_ref()).for_each(|(value, place)| *place = value);
        }
        if self.family.observation == Observation::StateAndGoal {
            places.for_each(|place| *place = self.target);
        }
    }

    /// Whether Ant is upright.
    fn healthy(&self) -> bool {
        let mut state = self.positions.iter().chain(&self.velocities);
        state.all(|value| value.is_finite()) && (0.2..=1.0).contains(&self.positions[2])
    }
}

impl Environment for Runner {
    fn observation_space(&self) -> Space {
        let seen = match self.family.robot {
            Robot::HalfCheetah => 17,
            Robot::Ant => 105,
        };
        let goal = usize::from(self.family.observation == Observation::StateAndGoal);
        Space::uniform(seen + goal, f64::NEG_INFINITY, f64::INFINITY)
    }

    fn action_space(&self) -> Space {
        Space::uniform(self.controls.len(), -1.0, 1.0)
    }

    fn horizon(&self) -> usize {
        HORIZON
    }

    fn set_task(&mut self, key: Key) {
        self.target = self.family.target_of(key);
    }

    fn reset(&mut self, key: Key, observation: &mut [f64]) {
        let mut rng = key.with_stream("start").rng();
        self.simulation.reset();
        self.read();
        let uniform = |start: &f64| start + NOISE * (2.0 * rng.random::<f64>() - 1.0);
        let positions: Vec<f64> = self.positions.iter().map(uniform).collect();
        let normal = |start: &f64| {
            let z: f64 = StandardNormal.sample(&mut rng);
            start + NOISE * z
        };
        let velocities: Vec<f64> = self.velocities.iter().map(normal).collect();
        self.start(&positions, &velocities, observation);
    }

    fn step(&mut self, action: &[f64], observation: &mut [f64]) -> Step {
        let before = self.place();
        for (control, action) in self.controls.iter_mut().zip(action) {
            *control = action.clamp(-1.0, 1.0);
        }
        self.simulation.write(Part::Controls, &self.controls);
        for _ in 0..FRAMES {
            self.simulation.step();
        }
        // Contact forces are computed only on demand.
        self.simulation.compute_contact_forces();
        self.read();
        self.steps += 1;
        let velocity = (self.place() - before) / self.duration;
        let square = |sum: f64, x: f64| sum + x * x;
        let squares =
            [self.controls.iter().copied().fold(0.0, square), self.contact().fold(0.0, square)];
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
