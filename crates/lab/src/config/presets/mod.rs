//! Named configurations, one file each. A preset states only what differs from the defaults, or from the preset that it
//! names at its top.

use super::Kind;

/// A configuration with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// A one-line description.
    pub about: &'static str,
    /// Its TOML text.
    pub text: &'static str,
}

/// Presets by file name, with their descriptions.
macro_rules! presets {
    ($($name:literal: $about:literal,)*) => {
        &[$(Preset { name: $name, about: $about, text: include_str!(concat!($name, ".toml")) },)*]
    };
}

/// Name of the preset that `train` runs by default.
pub const DEFAULT: &str = "strokes-maml";

/// Every preset of few-shot learning, in the order in which they are listed.
pub fn all() -> impl Iterator<Item = &'static Preset> {
    of(Kind::FewShot)
}

/// Presets of a kind, in the order in which they are listed.
pub fn of(kind: Kind) -> impl Iterator<Item = &'static Preset> {
    let presets = match kind {
        Kind::FewShot => FEW_SHOT,
        Kind::Rl => RL,
        Kind::Transfer => TRANSFER,
    };
    presets.iter()
}

/// The TOML text of a preset of few-shot learning.
pub fn find(name: &str) -> Option<&'static str> {
    find_of(Kind::FewShot, name)
}

/// The TOML text of a preset of a kind.
pub fn find_of(kind: Kind, name: &str) -> Option<&'static str> {
    of(kind).find(|preset| preset.name == name).map(|preset| preset.text)
}

/// Names of the presets of every kind.
pub fn names() -> Vec<&'static str> {
    Kind::ALL.into_iter().flat_map(of).map(|preset| preset.name).collect()
}

const FEW_SHOT: &[Preset] = presets! {
    "strokes-maml": "MAML on drawn characters, 5-way 1-shot, no data set needed: about 3 minutes",
    "strokes-maml-plus-plus": "MAML++ on drawn characters, 5-way 1-shot: learned rates, multi-step loss, derivative-order annealing",
    "strokes-fomaml": "first-order MAML on drawn characters, 5-way 1-shot",
    "strokes-reptile": "Reptile on drawn characters, 5-way 1-shot",
    "strokes-anil": "ANIL on drawn characters, 5-way 1-shot",
    "strokes-meta-sgd": "Meta-SGD on drawn characters, 5-way 1-shot",
    "strokes-boil": "BOIL on drawn characters, 5-way 1-shot",
    "strokes-cavia": "CAVIA on drawn characters, 5-way 1-shot: 100 context parameters adapt",
    "strokes-sign-maml": "Sign-MAML on drawn characters, 5-way 1-shot",
    "strokes-truncated-maml": "MAML differentiated through the last of 3 steps, on drawn characters, 5-way 1-shot",
    "strokes-binom-maml": "BinomMAML of degree 1 with 3 steps, on drawn characters, 5-way 1-shot",
    "strokes-hf-maml": "Hessian-free MAML on drawn characters, 5-way 1-shot",
    "strokes-multi-step": "multi-step estimation, 3 steps with one gradient, on drawn characters, 5-way 1-shot",
    "strokes-gradient-similarity": "gradient-similarity correction on drawn characters, 5-way 1-shot",
    "strokes-lstm": "the LSTM meta-learner on drawn characters, 5-way 1-shot: a learned update rule",
    "strokes-protonet": "prototypical networks on drawn characters, 5-way 1-shot: the baseline without an inner loop",
    "strokes-fine-tune": "the baseline: a network trained on all classes together, then fine-tuned, on drawn characters",
    "strokes-shot": "MAML with SHOT's regularizer on drawn characters, 5-way 1-shot",
    "strokes-shot-pretrained": "MAML after a tenth of training on SHOT's distance alone, on drawn characters, 5-way 1-shot",
    "strokes-meta-curvature": "Meta-Curvature on drawn characters, 5-way 1-shot",
    "strokes-imaml": "implicit MAML on drawn characters, 5-way 1-shot",
    "sinusoid-maml": "MAML on sinusoids from 10 points",
    "sinusoid-cavia": "CAVIA on sinusoids from 10 points: 5 context parameters adapt",
    "sinusoid-pretrained": "the baseline: one network trained on all sinusoids together, then fine-tuned",
    "omniglot-5w1s-maml": "MAML on Omniglot, 5-way 1-shot, within 20 minutes",
    "omniglot-5w1s-fomaml": "first-order MAML on Omniglot, 5-way 1-shot, within 20 minutes",
    "omniglot-5w1s-reptile": "Reptile on Omniglot, 5-way 1-shot, within 20 minutes",
    "omniglot-5w1s-anil": "ANIL on Omniglot, 5-way 1-shot, within 20 minutes",
    "omniglot-5w1s-meta-sgd": "Meta-SGD on Omniglot, 5-way 1-shot, within 20 minutes",
    "omniglot-5w1s-protonet": "prototypical networks on Omniglot, 5-way 1-shot, within 20 minutes",
    "omniglot-5w1s-fine-tune": "the baseline: a network trained on all classes of Omniglot together, then fine-tuned, within 20 minutes",
    "double-mnist-5w1s-maml": "MAML on Double MNIST at 32×32, 5-way 1-shot",
    "triple-mnist-5w1s-maml": "MAML on Triple MNIST at 42×42, 5-way 1-shot",
    "cifar-fs-5w1s-maml": "MAML on CIFAR-FS, 5-way 1-shot",
    "fc100-5w1s-maml": "MAML on FC100, 5-way 1-shot",
    "mini-imagenet-5w1s-maml": "MAML on miniImageNet at 84×84, 5-way 1-shot",
    "images-5w1s-maml": "MAML on your own images (tasks.data), 5-way 1-shot",
    "ozone-maml": "MAML on ozone curves over 72 months at 576 places, from 10 months",
    "gapminder-maml": "MAML on life-expectancy curves of 142 countries, from 4 years",
    "spruce-maml": "MAML on growth curves of 79 spruce trees, from 4 days",
    "sine-line-maml": "MAML on noisy sine curves and lines, from 5 points",
    "sine-line-shot": "first-order MAML with SHOT's regularizer on noisy sine curves and lines, as in its authors' code",
};

const RL: &[Preset] = presets! {
    "nav2d-maml": "MAML with TRPO on 2D navigation, as published",
    "nav2d-fomaml": "first-order MAML with TRPO on 2D navigation",
    "nav2d-anil": "ANIL with TRPO on 2D navigation",
    "nav2d-reptile": "Reptile on 2D navigation",
    "nav2d-multi-step": "multi-step estimation on 2D navigation: two inner steps share a gradient",
    "nav2d-es-maml": "ES-MAML on 2D navigation: evolution strategies in both loops, a linear policy",
    "nav2d-ppo": "MAML with PPO as outer loss on 2D navigation",
    "nav2d-plain": "MAML with Adam as outer step on 2D navigation",
    "nav2d-pretrained": "a baseline: one policy trained with TRPO on all tasks, then adapted",
    "nav2d-random": "a baseline: an untrained policy, adapted",
    "nav2d-oracle": "an upper bound: one policy that observes the goal, trained with TRPO",
    "half-cheetah-dir": "MAML with TRPO on HalfCheetah, forward or backward; needs MuJoCo",
    "half-cheetah-vel": "MAML with TRPO on HalfCheetah at a speed; needs MuJoCo",
    "ant-dir": "MAML with TRPO on Ant, forward or backward; needs MuJoCo",
    "ant-vel": "MAML with TRPO on Ant at a speed; needs MuJoCo",
};

const TRANSFER: &[Preset] = presets! {
    "transfer-strokes": "L2T-ww and baselines: from drawn characters to others, 5 labels per class; no files",
    "transfer-omniglot": "L2T-ww and baselines: from Omniglot's training characters to test characters, 5 labels per class",
    "transfer-cifar-fs": "L2T-ww and baselines: from CIFAR-FS's training classes to test classes, 20 labels per class",
};
