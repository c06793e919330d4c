//! Meta-reinforcement learning.

use super::Preset;

pub(super) const ALL: &[Preset] = &[
    Preset {
        name: "nav2d-maml",
        about: "MAML with TRPO on 2D navigation, as published",
        text: MAML,
    },
    Preset {
        name: "nav2d-fomaml",
        about: "first-order MAML with TRPO on 2D navigation",
        text: FOMAML,
    },
    Preset { name: "nav2d-anil", about: "ANIL with TRPO on 2D navigation", text: ANIL },
    Preset { name: "nav2d-reptile", about: "Reptile on 2D navigation", text: REPTILE },
    Preset {
        name: "nav2d-multi-step",
        about: "multi-step estimation on 2D navigation: two inner steps share a gradient",
        text: MULTI_STEP,
    },
    Preset {
        name: "nav2d-es-maml",
        about: "ES-MAML on 2D navigation: evolution in both loops, a linear policy",
        text: ES_MAML,
    },
    Preset { name: "nav2d-ppo", about: "MAML with PPO's outer loss on 2D navigation", text: PPO },
    Preset {
        name: "nav2d-plain",
        about: "MAML with Adam as outer step on 2D navigation",
        text: PLAIN,
    },
    Preset {
        name: "nav2d-pretrained",
        about: "a baseline: one policy trained with TRPO on all tasks, then adapted",
        text: PRETRAINED,
    },
    Preset { name: "nav2d-random", about: "a baseline: a fresh policy, adapted", text: RANDOM },
    Preset {
        name: "nav2d-oracle",
        about: "a bound: one policy that sees the goal, trained with TRPO",
        text: ORACLE,
    },
    Preset {
        name: "half-cheetah-dir",
        about: "MAML with TRPO on HalfCheetah, forward or backward; needs MuJoCo",
        text: HALF_CHEETAH_DIR,
    },
    Preset {
        name: "half-cheetah-vel",
        about: "MAML with TRPO on HalfCheetah at a speed; needs MuJoCo",
        text: HALF_CHEETAH_VEL,
    },
    Preset {
        name: "ant-dir",
        about: "MAML with TRPO on Ant, forward or backward; needs MuJoCo",
        text: ANT_DIR,
    },
    Preset {
        name: "ant-vel",
        about: "MAML with TRPO on Ant at a speed; needs MuJoCo",
        text: ANT_VEL,
    },
];

// Finn, Abbeel, Levine 2017, section 5.3 and their code: all of it is default.
const MAML: &str = r#"[rl]
environment = "nav2d"
trajectories = 20

[policy]
hidden = [100, 100]

[algorithm]
name = "maml"
inner_lr = 0.5
adaptation_steps = 1

[outer]
method = "trpo"
meta_batch_size = 40
iterations = 100
"#;

const FOMAML: &str = r#"[rl]
environment = "nav2d"

[algorithm]
name = "fomaml"
"#;

const ANIL: &str = r#"[rl]
environment = "nav2d"

[algorithm]
name = "anil"
"#;

const REPTILE: &str = r#"[rl]
environment = "nav2d"

[algorithm]
name = "reptile"
adaptation_steps = 2

[outer]
method = "plain"
"#;

const MULTI_STEP: &str = r#"[rl]
environment = "nav2d"

[algorithm]
name = "multi_step"
inner_lr = 0.25
adaptation_steps = 4
window = 2
"#;

const ES_MAML: &str = r#"[rl]
environment = "nav2d"

[policy]
hidden = []

[algorithm]
name = "es_maml"
inner_lr = 0.05
sigma = 0.1
queries = 20

[outer]
method = "es"
perturbations = 150
lr = 0.01
"#;

const PPO: &str = r#"[rl]
environment = "nav2d"

[outer]
method = "ppo"
"#;

const PLAIN: &str = r#"[rl]
environment = "nav2d"

[outer]
method = "plain"
"#;

const PRETRAINED: &str = r#"[rl]
environment = "nav2d"

[algorithm]
# No inner loop in training. A gradient step at the rate of the others, 0.5, throws this policy off.
adaptation_steps = 0
inner_lr = 0.05
"#;

const RANDOM: &str = r#"[rl]
environment = "nav2d"

[outer]
iterations = 0
"#;

const ORACLE: &str = r#"[rl]
environment = "nav2d"
sight = "goal"

[algorithm]
adaptation_steps = 0

[evaluation]
steps = 0
"#;

// Finn, Abbeel, Levine 2017, section 5.3 and their code: 4,000 samples a step at test, and 40 episodes a step in
// training with ant-dir alone.
macro_rules! robot {
    ($environment:literal, $trajectories:literal) => {
        concat!(
            "[rl]\nenvironment = \"",
            $environment,
            "\"\ntrajectories = ",
            $trajectories,
            r#"

[algorithm]
name = "maml"
inner_lr = 0.1

[outer]
iterations = 800

[evaluation]
trajectories = 20
"#
        )
    };
}

const HALF_CHEETAH_DIR: &str = robot!("half_cheetah_dir", 20);
const HALF_CHEETAH_VEL: &str = robot!("half_cheetah_vel", 20);
const ANT_DIR: &str = robot!("ant_dir", 40);
const ANT_VEL: &str = robot!("ant_vel", 20);
