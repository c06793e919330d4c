//! The keys.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::{Activation, DtypeName};

/// Environment and samples: `[rl]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TasksSection {
    /// Default `nav2d`.
    pub environment: Environment,
    /// File of the robot's MuJoCo model, with a robot alone. Default: Gymnasium's name for it, in the folder that
    /// the environment variable `INNERLOOP_MUJOCO_MODELS` names, or in `mujoco/` of the data folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<PathBuf>,
    /// `position` (default): the state alone, or `goal` for an oracle that sees the task's goal too.
    pub sight: SightName,
    /// Episodes of a task for each gradient; not with `es_maml`. Default 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trajectories: Option<usize>,
    /// γ; not with `es_maml`. Default 0.99.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discount: Option<f64>,
    /// λ of generalised advantage estimation; not with `es_maml`. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gae_lambda: Option<f64>,
}

/// The policy: `[policy]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicySection {
    /// Sizes of the hidden layers. Default [100, 100].
    pub hidden: Vec<usize>,
    /// `relu` (default) or `tanh`.
    pub activation: Activation,
}

/// The inner loop: `[algorithm]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlgorithmSection {
    /// `maml` (default), `fomaml`, `anil`, `reptile`, `multi_step` or `es_maml`.
    pub name: MethodName,
    /// α. Default 0.5.
    pub inner_lr: f64,
    /// Inner steps in training; 0 trains one policy on all tasks. Default 1.
    pub adaptation_steps: usize,
    /// Steps that share a gradient, with `multi_step` alone. Default 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// `es_maml`: σ of the perturbations of both loops. Default 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sigma: Option<f64>,
    /// `es_maml`: perturbations of an adaptation step, an episode each. Default 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queries: Option<usize>,
}

/// The outer loop: `[outer]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OuterSection {
    /// `trpo` (default), `ppo` or `plain`; `es` with ES-MAML.
    pub method: OuterName,
    /// Tasks in one outer step; not with `es_maml`. Default 40.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta_batch_size: Option<usize>,
    /// Outer steps; 0 evaluates a fresh policy. Default 100.
    pub iterations: usize,
    /// `trpo`: largest mean divergence of the adapted policies. Default 0.01.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_divergence: Option<f64>,
    /// `trpo`: steps of conjugate gradients. Default 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cg_steps: Option<usize>,
    /// `trpo`: added to the Hessian's diagonal. Default 1e-5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cg_damping: Option<f64>,
    /// `trpo`: factor from one step of the line search to the next, in (0, 1). Default 0.8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backtrack: Option<f64>,
    /// `trpo`: steps tried. Default 15.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tries: Option<usize>,
    /// `ppo`: the ratio is clipped to 1 ± this. Default 0.2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
    /// `ppo`: steps on the same trajectories. Default 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// `ppo`, `plain`: `adam` (default) or `sgd` (default for Reptile).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<OptimizerName>,
    /// `ppo`, `plain`, `es`: step size. Default 0.01, but 1 with `sgd`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// `es`: pairs of perturbations. Default 150.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perturbations: Option<usize>,
}

/// How results are measured: `[evaluation]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationSection {
    /// Policy-gradient steps, the first with α, later ones with α/2. Default 3.
    pub steps: usize,
    /// Test tasks. Default 40.
    pub tasks: usize,
    /// Episodes of a task for each step; not with `es_maml`, which has one. Default 40.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trajectories: Option<usize>,
}

/// The machine and the records: `[run]`. Threads never change a number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunSection {
    /// `f32` (default) or `f64`.
    pub dtype: DtypeName,
    /// Worker threads; 0, the default, is one for each core.
    pub threads: usize,
    /// Iterations between checkpoints. Default 10.
    pub checkpoint_every: usize,
    /// Minutes of wall clock after which training stops; 0, the default, is no limit.
    pub minutes: f64,
    /// Iterations between lines of `metrics.jsonl`. Default 1.
    pub log_every: usize,
}

choices! {
    /// An environment's name.
    pub Environment {
        /// [`Navigation2d`](innerloop_rl::Navigation2d)
        Nav2d = "nav2d",
        /// HalfCheetah, forward or backward.
        HalfCheetahDir = "half_cheetah_dir",
        /// HalfCheetah at a speed.
        HalfCheetahVel = "half_cheetah_vel",
        /// Ant, forward or backward.
        AntDir = "ant_dir",
        /// Ant at a speed.
        AntVel = "ant_vel",
    }

    /// What is observed.
    pub SightName {
        /// The state alone.
        Position = "position",
        /// The goal too.
        Goal = "goal",
    }

    /// A method's name.
    pub MethodName {
        /// [`Method::Maml`](innerloop_rl::Method::Maml)
        Maml = "maml",
        /// [`Method::Fomaml`](innerloop_rl::Method::Fomaml)
        Fomaml = "fomaml",
        /// [`Method::Anil`](innerloop_rl::Method::Anil)
        Anil = "anil",
        /// [`Method::Reptile`](innerloop_rl::Method::Reptile)
        Reptile = "reptile",
        /// [`Method::MultiStep`](innerloop_rl::Method::MultiStep)
        MultiStep = "multi_step",
        /// [`EsMaml`](innerloop_rl::EsMaml): all it sees is the return of one episode, on a task of its own for every
        /// perturbation.
        EsMaml = "es_maml",
    }

    /// How θ moves.
    pub OuterName {
        /// [`Outer::Trpo`](innerloop_rl::Outer::Trpo)
        Trpo = "trpo",
        /// [`Outer::Ppo`](innerloop_rl::Outer::Ppo)
        Ppo = "ppo",
        /// [`Outer::Plain`](innerloop_rl::Outer::Plain)
        Plain = "plain",
        /// Evolution.
        Es = "es",
    }

    /// What takes an outer step.
    pub OptimizerName {
        /// Adam with its usual settings.
        Adam = "adam",
        /// Gradient descent.
        Sgd = "sgd",
    }
}

impl Default for TasksSection {
    fn default() -> TasksSection {
        TasksSection {
            environment: Environment::Nav2d,
            model: None,
            sight: SightName::Position,
            trajectories: None,
            discount: None,
            gae_lambda: None,
        }
    }
}

impl Default for PolicySection {
    fn default() -> PolicySection {
        PolicySection { hidden: vec![100, 100], activation: Activation::Relu }
    }
}

impl Default for AlgorithmSection {
    fn default() -> AlgorithmSection {
        AlgorithmSection {
            name: MethodName::Maml,
            inner_lr: 0.5,
            adaptation_steps: 1,
            window: None,
            sigma: None,
            queries: None,
        }
    }
}

impl Default for OuterSection {
    fn default() -> OuterSection {
        OuterSection {
            method: OuterName::Trpo,
            meta_batch_size: None,
            iterations: 100,
            max_divergence: None,
            cg_steps: None,
            cg_damping: None,
            backtrack: None,
            tries: None,
            clip: None,
            epochs: None,
            optimizer: None,
            lr: None,
            perturbations: None,
        }
    }
}

impl Default for EvaluationSection {
    fn default() -> EvaluationSection {
        EvaluationSection { steps: 3, tasks: 40, trajectories: None }
    }
}

impl Default for RunSection {
    fn default() -> RunSection {
        RunSection {
            dtype: DtypeName::F32,
            threads: 0,
            checkpoint_every: 10,
            minutes: 0.0,
            log_every: 1,
        }
    }
}
