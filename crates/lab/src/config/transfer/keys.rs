//! The keys of each section.

use innerloop_meta::Strategy;
use innerloop_transfer::Method;

use crate::config::WindowMode;
use crate::config::setting::Choice;

sectioned! {
    /// A whole run. Every key has a default.
    pub TransferConfig beside ["preset"] {
        /// Source of all random numbers: 0 to 2⁶³ − 1. Default 1.
        seed: u64 = 1,
        /// `[transfer]`
        transfer: DataSection,
        /// `[source]`
        source: SourceSection,
        /// `[target]`
        target: NetworkSection,
        /// `[algorithm]`
        algorithm: AlgorithmSection,
        /// `[outer]`
        outer: OuterSection,
        /// `[run]`
        run: RunSection,
    }
}

section! {
    /// Images: `[transfer]`. The source learns classes of the training split, the target learns classes of the test
    /// split.
    pub DataSection {
        /// The target's data set, and the source's unless it has its own: `strokes` (default), `omniglot`, `cifar_fs`,
        /// `mini_imagenet`, or your own `images`.
        family: FamilyName = FamilyName::Strokes,
        /// Folder of the data sets. Default: the environment variable `INNERLOOP_DATA`, or `./data`. `images`: the
        /// folder, or zip archive, with one folder per class; required.
        data: String = String::new(),
        /// `images`: CSV file with the columns `class` and `split`. Default "": the folders `train`, `val` and
        /// `test`; if there are none, all classes, or shares of 0.64, 0.16 and 0.2 if source and target share a data
        /// set.
        split_file: String = String::new(),
        /// `mini_imagenet` and `images`: side of the images of both data sets. Default 0: that of the other data
        /// set, if it is fixed, else 84 with `mini_imagenet`, else the images' own.
        size: usize = 0,
        /// `images`: 1 for grey, 3 for colour. Default 0: that of the other data set, if it is fixed, else the
        /// images' own.
        channels: usize = 0,
        /// Classes the source is trained on. Default 30.
        source_classes: usize = 30,
        /// Training images of each. Default 30.
        source_shots: usize = 30,
        /// Images of each on which the source is tested. Default 10.
        source_query: usize = 10,
        /// Classes of the target. Default 10.
        target_classes: usize = 10,
        /// Labelled images of each. Default 5.
        target_shots: usize = 5,
        /// Test images of each. Default 30.
        target_query: usize = 30,
    }

    /// The source: `[source]`.
    pub SourceSection {
        /// Its data set. Default: the target's, `transfer.family`.
        family: Option<FamilyName>,
        /// As `transfer.data`, for a data set of its own.
        data: String = String::new(),
        /// As `transfer.split_file`, for a data set of its own.
        split_file: String = String::new(),
        /// Channels of each stage of the residual network. Default [12, 24, 48].
        channels: Vec<usize> = vec![12, 24, 48],
        /// Blocks per stage. Default 1.
        blocks: usize = 1,
        /// Iterations; not with `weights`. Default 400.
        iterations: Option<usize>,
        /// Examples per batch; not with `weights`. Default 32.
        batch_size: Option<usize>,
        /// Initial learning rate of a cosine schedule; not with `weights`. Default 0.05.
        lr: Option<f64>,
        /// `source.safetensors` of another run, whose network is used instead of training one.
        weights: String = String::new(),
    }

    /// The target network: `[target]`.
    pub NetworkSection {
        /// `resnet` (default) or `vgg`.
        network: NetworkName = NetworkName::Resnet,
        /// Channels of each stage. Default [8, 16, 32].
        channels: Vec<usize> = vec![8, 16, 32],
        /// Blocks, or convolutions, per stage. Default 1.
        blocks: usize = 1,
        /// `vgg`: convolutions of each stage, instead of `blocks`; VGG-9 has [1, 1, 2, 2, 2]. Default [].
        depths: Vec<usize> = Vec::new(),
    }

    /// Methods and matching: `[algorithm]`.
    pub AlgorithmSection {
        /// What is compared. Default: `scratch`, `fine_tune`, `uniform`, `l2t_ww`, `first_order`.
        methods: Vec<MethodName> = MethodName::ALL.to_vec(),
        /// β. Default 0.5.
        strength: f64 = 0.5,
        /// T: steps on the transfer loss between two steps on the target's own loss. Default 2.
        transfer_steps: usize = 2,
        /// How many of them share a gradient (multi-step estimation). Default 1.
        window: usize = 1,
        /// With a window above 1: `forward` (default), one gradient per window; or `backward`, a gradient for each
        /// step and one Hessian per window.
        window_mode: Option<WindowMode>,
        /// `auto` (default), `unrolled` or `adjoint`.
        strategy: Strategy = Strategy::Auto,
    }

    /// Training of the targets: `[outer]`.
    pub OuterSection {
        /// Trials of each method; they differ in the classes and images drawn, the initial weights and the order.
        /// Default 3.
        trials: usize = 3,
        /// Iterations of a trial. Default 200.
        iterations: usize = 200,
        /// Examples per batch. Default 25.
        batch_size: usize = 25,
        /// Initial learning rate of a cosine schedule. Default 0.05.
        lr: f64 = 0.05,
        /// The same for fine-tuning. Default 0.02.
        fine_tune_lr: f64 = 0.02,
        /// Default 0.9.
        momentum: f64 = 0.9,
        /// Default 1e-4.
        weight_decay: f64 = 1e-4,
        /// Learning rate of Adam for the meta-networks. Default 1e-3.
        meta_lr: f64 = 1e-3,
        /// Its weight decay, as an L2 penalty (not decoupled). Default 0.
        meta_weight_decay: f64 = 0.0,
    }

    /// How the run goes: `[run]`.
    pub RunSection {
        /// Worker threads; 0 means one per core. Trials run in parallel. Default 0.
        threads: usize = 0,
        /// Iterations between checkpoints, and between lines of `metrics.jsonl`. Default 50.
        checkpoint_every: usize = 50,
    }
}

choices! {
    /// A data set.
    pub FamilyName {
        /// Drawn characters.
        Strokes = "strokes",
        /// Omniglot, in the split of Vinyals et al.
        Omniglot = "omniglot",
        /// CIFAR-FS.
        CifarFs = "cifar_fs",
        /// miniImageNet.
        MiniImagenet = "mini_imagenet",
        /// Your own images.
        Images = "images",
    }

    /// A network.
    pub NetworkName {
        /// [`innerloop_nn::ResNet`]
        Resnet = "resnet",
        /// [`innerloop_nn::Vgg`]
        Vgg = "vgg",
    }

    /// A method.
    pub MethodName {
        /// [`Method::Scratch`]
        Scratch = "scratch",
        /// [`Method::FineTune`]
        FineTune = "fine_tune",
        /// [`Method::Uniform`]
        Uniform = "uniform",
        /// [`Method::L2tWw`]
        L2tWw = "l2t_ww",
        /// [`Method::FirstOrder`]
        FirstOrder = "first_order",
    }
}

impl MethodName {
    /// The method itself.
    pub fn method(self) -> Method {
        match self {
            MethodName::Scratch => Method::Scratch,
            MethodName::FineTune => Method::FineTune,
            MethodName::Uniform => Method::Uniform,
            MethodName::L2tWw => Method::L2tWw,
            MethodName::FirstOrder => Method::FirstOrder,
        }
    }
}
