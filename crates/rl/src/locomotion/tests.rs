//! Tests against Gymnasium's own rollouts, which `docs/verify/make_rollout.py` records, and for self-consistency. The
//! library is where `INNERLOOP_MUJOCO` says or where the system finds it; the models are Gymnasium's files in the
//! folder named by `INNERLOOP_MUJOCO_MODELS`. Without either, the tests that need them say so and are skipped.

use std::path::PathBuf;

use innerloop_engine::Dtype;
use innerloop_nn::Activation;
use safetensors::SafeTensors;

use super::super::Target;
use super::*;
use crate::{Advantage, InnerLoop, MetaRl, Method, Outer, Policy, Settings, Trpo};

const ROBOTS: [Robot; 2] = [Robot::HalfCheetah, Robot::Ant];

/// Where the library is, if the variable is set.
fn library() -> Option<PathBuf> {
    std::env::var_os("INNERLOOP_MUJOCO").map(PathBuf::from)
}

/// File of a robot's model, if the library can be loaded. A library that is named but fails to load is an error.
fn file(robot: Robot) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("INNERLOOP_MUJOCO_MODELS") else {
        eprintln!(
            "skipped: INNERLOOP_MUJOCO_MODELS does not name the folder of Gymnasium's models"
        );
        return None;
    };
    match Mujoco::open(library().as_deref()) {
        Ok(_) => Some(PathBuf::from(folder).join(robot.file())),
        Err(error) => {
            assert!(library().is_none(), "{error}");
            eprintln!("skipped: {error}");
            None
        }
    }
}

fn runner(family: Locomotion, file: &Path) -> Runner {
    Runner::new(family, model(family.robot, library().as_deref(), file).unwrap())
}

fn family(robot: Robot, target: Target) -> Locomotion {
    Locomotion { robot, target, observation: Observation::State }
}

/// A recorded file's arrays.
struct Recorded {
    bytes: Vec<u8>,
}

impl Recorded {
    fn new(robot: Robot) -> Recorded {
        let name = robot.file().replace(".xml", ".safetensors");
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../golden").join(name);
        Recorded { bytes: std::fs::read(path).unwrap() }
    }

    /// Rows along the last axis, with all axes before it merged into one.
    fn rows(&self, name: &str) -> Vec<Vec<f64>> {
        let all = SafeTensors::deserialize(&self.bytes).unwrap();
        let array = all.tensor(name).unwrap();
        let values =
            array.data().chunks_exact(8).map(|x| f64::from_le_bytes(x.try_into().unwrap()));
        let values: Vec<f64> = values.collect();
        values.chunks_exact(*array.shape().last().unwrap()).map(<[f64]>::to_vec).collect()
    }
}

/// Largest differences of observations and rewards from the recorded ones, and whether all episodes end where they
/// should; each action is shifted by `off`.
fn replay(robot: Robot, file: &Path, off: f64) -> ([f64; 2], bool) {
    let recorded = Recorded::new(robot);
    let [qpos, qvel, actions, observations, rewards, ends] =
        ["qpos", "qvel", "actions", "observations", "rewards", "terminated"]
            .map(|name| recorded.rows(name));
    let steps = ends[0].len();
    let (mut worst, mut ends_alike) = ([0.0_f64; 2], true);
    let mut compare = |i: usize, got: f64, want: f64| {
        let error = (got - want).abs() / want.abs().max(1.0);
        // NaN is the worst error and must not be lost.
        worst[i] = if error.is_nan() { f64::INFINITY } else { worst[i].max(error) };
    };
    let targets = [(Target::Direction, -1.0), (Target::Direction, 1.0), (Target::Velocity, 1.5)];
    for (column, (target, value)) in targets.into_iter().enumerate() {
        let mut runner = runner(family(robot, target), file);
        runner.target = value;
        let mut seen = vec![f64::NAN; runner.observation_space().len()];
        for episode in 0..qpos.len() {
            let wanted = &observations[episode * (steps + 1)..];
            runner.start(&qpos[episode], &qvel[episode], &mut seen);
            seen.iter().zip(&wanted[0]).for_each(|(got, want)| compare(0, *got, *want));
            for t in 0..steps {
                let at = episode * steps + t;
                let action: Vec<f64> = actions[at].iter().map(|a| a + off).collect();
                let step = runner.step(&action, &mut seen);
                seen.iter().zip(&wanted[t + 1]).for_each(|(got, want)| compare(0, *got, *want));
                compare(1, step.reward, rewards[at][column]);
                ends_alike &= step.terminated == (ends[episode][t] == 1.0);
            }
        }
    }
    (worst, ends_alike)
}

#[test]
fn states_and_rewards_are_those_of_gymnasium() {
    for robot in ROBOTS {
        let Some(file) = file(robot) else { return };
        let (worst, ends_alike) = replay(robot, &file, 0.0);
        eprintln!("{robot:?}: observations differ by {:e}, rewards by {:e}", worst[0], worst[1]);
        assert!(worst.iter().all(|error| *error <= 1e-10), "{robot:?}: {worst:?}");
        assert!(ends_alike, "{robot:?} ends elsewhere");
        let ends = Recorded::new(robot).rows("terminated");
        assert_eq!(ends.iter().flatten().any(|end| *end == 1.0), robot == Robot::Ant);
    }
}

#[test]
fn another_rollout_is_noticed() {
    for robot in ROBOTS {
        let Some(file) = file(robot) else { return };
        let (worst, _) = replay(robot, &file, 1e-6);
        assert!(worst.iter().all(|error| *error > 1e-8), "{robot:?}: {worst:?}");
    }
}

#[test]
fn an_episode_is_a_function_of_its_keys() {
    for robot in ROBOTS {
        let Some(file) = file(robot) else { return };
        let mut runner = runner(family(robot, Target::Velocity), &file);
        let n = runner.observation_space().len();
        let mut episode = |key: Key| {
            let mut states = vec![vec![0.0; n]; 12];
            runner.set_task(key);
            runner.reset(key, &mut states[0]);
            let action = vec![0.7; runner.action_space().len()];
            let step = |state: &mut Vec<f64>| runner.step(&action, state).reward;
            let rewards: Vec<f64> = states[1..].iter_mut().map(step).collect();
            (states, rewards)
        };
        let first = episode(Key::new(1));
        assert_ne!(first, episode(Key::new(2)));
        assert_eq!(first, episode(Key::new(1)), "what came between leaves no trace");
    }
}

#[test]
fn an_oracle_sees_the_target() {
    for robot in ROBOTS {
        let Some(file) = file(robot) else { return };
        let family = Locomotion {
            observation: Observation::StateAndGoal,
            ..family(robot, Target::Velocity)
        };
        let mut runner = runner(family, &file);
        let mut seen = vec![f64::NAN; runner.observation_space().len()];
        runner.set_task(Key::new(3));
        runner.reset(Key::new(3), &mut seen);
        assert_eq!(seen.last(), Some(&family.target_of(Key::new(3))));
        assert!(seen.iter().all(|x| x.is_finite()));
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let Some(file) = file(Robot::HalfCheetah) else { return };
    let family = family(Robot::HalfCheetah, Target::Direction);
    let run = |threads: usize| {
        let settings = Settings {
            seed: 4,
            dtype: Dtype::F32,
            meta_batch_size: 3,
            trajectories: 3,
            advantage: Advantage { discount: 0.99, gae_lambda: 1.0 },
            inner: InnerLoop { method: Method::Maml, rate: 0.1, steps: 1 },
            outer: Outer::Trpo(Trpo::default()),
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let policy = Policy::new(17, &[8], 6, Activation::Relu);
        let mut run =
            MetaRl::new(settings, policy, family.load(library().as_deref(), &file).unwrap(), pool);
        (run.step().unwrap(), run.theta)
    };
    let ((one, theta), (three, other)) = (run(1), run(3));
    assert_eq!(one, three);
    assert_eq!(theta.values(), other.values());
    assert_eq!(one.environment_steps, 3 * 2 * 3 * HORIZON);
}

#[test]
fn a_model_or_library_that_is_missing_is_refused() {
    let family = family(Robot::Ant, Target::Direction);
    let nowhere = Path::new("nowhere");
    let missing = family.load(Some(nowhere), &nowhere.join("ant.xml")).err().unwrap();
    assert!(missing.contains("nowhere/ant.xml is not there"), "{missing}");
    assert!(missing.contains("INNERLOOP_MUJOCO_MODELS"), "{missing}");
    let toml = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let missing = family.load(Some(nowhere), &toml).err().unwrap();
    assert!(missing.contains("nowhere is not there, expected libmujoco"), "{missing}");
}

#[test]
fn another_model_is_refused() {
    let Some(cheetah) = file(Robot::HalfCheetah) else { return };
    let family = family(Robot::Ant, Target::Direction);
    let wrong = family.load(library().as_deref(), &cheetah).err().unwrap();
    assert!(wrong.contains("[9, 9, 6, 8], expected [15, 14, 8, 14]"), "{wrong}");
    let toml = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let other = family.load(library().as_deref(), &toml).err().unwrap();
    assert!(other.contains("MuJoCo cannot read it: "), "{other}");
}

#[test]
fn a_step_takes_five_of_the_models_time_steps() {
    for robot in ROBOTS {
        let Some(file) = file(robot) else { return };
        let runner = runner(family(robot, Target::Direction), &file);
        // Both files say 0.01 s.
        assert_eq!(runner.duration, 0.01 * 5.0, "{robot:?}");
    }
}
