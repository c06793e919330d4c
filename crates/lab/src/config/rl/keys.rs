//! The keys of each section.

use std::path::PathBuf;

use innerloop_engine::Dtype;
use innerloop_nn::Activation;
use innerloop_rl::Observation;

section! {
    /// Environment and samples: `[rl]`.
    pub TasksSection {
        /// Default `nav2d`.
        environment: Environment = Environment::Nav2d,
        /// File of the MuJoCo model, for the robots only. Default: Gymnasium's file for the robot, in the folder
        /// that the environment variable `INNERLOOP_MUJOCO_MODELS` names, or in `mujoco/` in the data folder.
        model: Option<PathBuf>,
        /// What the policy observes: `state` (default; in navigation, the position), or `state_and_goal`, an oracle
        /// that also sees the task's goal.
        observation: Observation = Observation::State,
        /// Episodes per task for each gradient; not with `es_maml`. Default 20.
        trajectories: Option<usize>,
        /// γ; not with `es_maml`. Default 0.99.
        discount: Option<f64>,
        /// λ of generalised advantage estimation; not with `es_maml`. Default 1.
        gae_lambda: Option<f64>,
    }

    /// The policy: `[policy]`.
    pub PolicySection {
        /// Sizes of the hidden layers. Default [100, 100].
        hidden: Vec<usize> = vec![100, 100],
        /// `relu` (default) or `tanh`.
        activation: Activation = Activation::Relu,
    }

    /// The inner loop: `[algorithm]`.
    pub AlgorithmSection {
        /// `maml` (default), `fomaml`, `anil`, `reptile`, `multi_step` or `es_maml`.
        name: MethodName = MethodName::Maml,
        /// α. Default 0.5.
        inner_lr: f64 = 0.5,
        /// Inner steps in training; 0 trains a single policy on all tasks. Default 1.
        adaptation_steps: usize = 1,
        /// `multi_step`: inner steps that share a gradient. Default 2.
        window: Option<usize>,
        /// `es_maml`: σ of the perturbations in both loops. Default 0.1.
        sigma: Option<f64>,
        /// `es_maml`: perturbations per adaptation step, one episode each. Default 20.
        queries: Option<usize>,
    }

    /// The outer loop: `[outer]`.
    pub OuterSection {
        /// `trpo` (default), `ppo` or `plain`; `es` with ES-MAML.
        method: OuterName = OuterName::Trpo,
        /// Tasks in one outer step; not with `es_maml`. Default 40.
        meta_batch_size: Option<usize>,
        /// Outer steps; 0 evaluates an untrained policy. Default 100.
        iterations: usize = 100,
        /// `trpo`: largest mean KL divergence of the adapted policies. Default 0.01.
        max_kl: Option<f64>,
        /// `trpo`: conjugate-gradient iterations. Default 10.
        cg_steps: Option<usize>,
        /// `trpo`: added to the Hessian's diagonal. Default 1e-5.
        cg_damping: Option<f64>,
        /// `trpo`: factor from one step size of the line search to the next, in (0, 1). Default 0.8.
        backtrack_factor: Option<f64>,
        /// `trpo`: step sizes that the line search tries. Default 15.
        line_search_steps: Option<usize>,
        /// `ppo`: the ratio is clipped to 1 ± this. Default 0.2.
        clip: Option<f64>,
        /// `ppo`: steps on the same trajectories. Default 5.
        epochs: Option<usize>,
        /// `ppo`, `plain`: `adam` (default) or `sgd` (default for Reptile).
        optimizer: Option<OptimizerName>,
        /// `ppo`, `plain`, `es`: step size. Default 0.01, but 1 with `sgd`.
        lr: Option<f64>,
        /// `es`: pairs of perturbations. Default 150.
        perturbations: Option<usize>,
    }

    /// How results are measured: `[evaluation]`.
    pub EvaluationSection {
        /// Policy-gradient steps, the first with α, later ones with α/2. Default 3.
        steps: usize = 3,
        /// Test tasks. Default 40.
        tasks: usize = 40,
        /// Episodes per task and step; not with `es_maml`, which uses one. Default 40.
        trajectories: Option<usize>,
    }

    /// How the run is executed and logged: `[run]`. The number of threads never changes a result.
    pub RunSection {
        /// `f32` (default) or `f64`.
        dtype: Dtype = Dtype::F32,
        /// Worker threads; 0, the default, means one per core.
        threads: usize = 0,
        /// Iterations between checkpoints. Default 10.
        checkpoint_every: usize = 10,
        /// Wall-clock minutes after which training stops; 0, the default, means no limit.
        minutes: f64 = 0.0,
        /// Iterations between lines of `metrics.jsonl`. Default 1.
        log_every: usize = 1,
    }
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
        /// [`EsMaml`](innerloop_rl::EsMaml): it sees only episode returns, and every perturbation has a task of its
        /// own.
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
        /// Evolution strategies.
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
